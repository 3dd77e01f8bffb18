//! `trunnion sandbox`.

use std::time::Duration;

use tokio::net::TcpListener;
use trunnion::{
    ExitCode,
    sandbox::{ACCESS_KEY_ID, Consistency, Options, SECRET_ACCESS_KEY, Sandbox},
};

use super::{arguments, failure::Failure, output::Output, signals};

fn options(arguments: arguments::Sandbox) -> Options {
    let arguments::Sandbox { strict, seed, account, speed, latency, .. } = arguments;
    let mut options = if strict { Options::strict(seed) } else { Options::new() };
    options = options.with_account(account).with_speed(speed).with_latency(Duration::from_millis(latency));
    if let Some(lag) = arguments.consistency_lag {
        options = options.with_consistency(Consistency::After(Duration::from_millis(lag)));
    }
    if let Some(rate) = arguments.throttle {
        options = options.with_throttling(rate.unwrap_or(speed));
    }
    if let Some(vcpus) = arguments.vcpus {
        options = options.with_vcpus(vcpus);
    }
    if let Some(data) = arguments.data {
        options = options.with_data(data);
    }
    if let Some(file) = arguments.authorizations {
        options = options.with_authorizations(file);
    }
    options
}

pub(crate) async fn serve(arguments: arguments::Sandbox, output: Output) -> Result<ExitCode, Failure> {
    let interrupt = signals::interrupt();
    let listener = TcpListener::bind(arguments.listen).await.map_err(|error| {
        Failure::with_help(
            "sandbox::listen",
            format!("listening on {} failed: {error}", arguments.listen),
            "use `--listen 127.0.0.1:0` for any free port",
        )
    })?;
    if !arguments.listen.ip().is_loopback() {
        output.always_say(
            "Warning: anyone who can reach this address and knows the credentials below can use the \
                           sandbox.",
        );
    }
    let options = options(arguments);
    let running = Sandbox::open(options).and_then(|sandbox| sandbox.serve(listener)).map_err(trunnion::Error::from)?;
    output.data(&format!(
        "export AWS_ENDPOINT_URL={}\n\
         export AWS_ACCESS_KEY_ID={ACCESS_KEY_ID}\n\
         export AWS_SECRET_ACCESS_KEY={SECRET_ACCESS_KEY}\n\
         export AWS_REGION=eu-west-3 AWS_DEFAULT_REGION=eu-west-3\n\
         unset AWS_SESSION_TOKEN AWS_PROFILE",
        running.endpoint()
    ))?;
    output.say("The sandbox runs until you press Ctrl-C. The variables above make any AWS client use it.");
    interrupt.cancelled().await;
    let calls = running.calls();
    running.shutdown().await;
    output.say("Calls served:");
    for (operation, calls) in &calls {
        let refused = if calls.refused > 0 { format!("  ({} refused)", calls.refused) } else { String::new() };
        let writes = if calls.mutating { "  (writes)" } else { "" };
        output.say(&format!("  {:>5}  {operation}{writes}{refused}", calls.count));
    }
    Ok(ExitCode::Done)
}
