//! The command `drift`.

use trunnion::{ExitCode, Options};

use super::{
    arguments::Drift, failure::Failure, output::Output, plan::connect, print_calls, signals, waiting::with_progress,
};

/// Prints the drift. The exit code says whether there is any.
pub(crate) async fn drift(arguments: Drift, output: Output) -> Result<ExitCode, Failure> {
    let Drift { stack, cloud, json } = arguments;
    let interrupt = signals::interrupt();
    let work = async {
        let engine = Box::pin(connect("drift", &stack.file, &stack.reading, &cloud, Options::new(), output)).await?;
        let what = format!("reading {}", engine.place());
        let drift = with_progress(output, &what, Box::pin(engine.drift(&interrupt))).await?;
        Ok::<_, Failure>((engine, drift))
    };
    let (engine, drift) = signals::unless_interrupted(&interrupt, output, work).await?;
    if json {
        let text = serde_json::to_string_pretty(&drift);
        let failed = |error| Failure::new("drift::json", format!("the drift cannot be written as JSON: {error}"));
        output.data(&text.map_err(failed)?)?;
    } else {
        output.readable(&trunnion::render::drift(&drift))?;
    }
    print_calls(&engine, output);
    engine.close().await;
    Ok(if drift.is_empty() { ExitCode::Done } else { ExitCode::Pending })
}
