//! `trunnion unlock`: takes the lock of the state away from its holder.

use trunnion::{ExitCode, Options, plain};

use super::{arguments::Unlock, failure::Failure, output::Output, plan::connect};

pub(crate) async fn unlock(arguments: Unlock, output: Output) -> Result<ExitCode, Failure> {
    let file = &arguments.stack.file;
    let engine =
        Box::pin(connect("unlock", file, &arguments.stack.reading, &arguments.cloud, Options::new(), output)).await?;
    let Some(found) = engine.found_lock().await? else {
        output.say("The state is not locked.");
        engine.close().await;
        return Ok(ExitCode::Done);
    };
    let (place, holder) = (plain(&found.place), plain(&found.to_string()));
    if !arguments.yes {
        let head = format!("`{place}` is locked by {holder}.");
        let question = "If this command still runs, end it first. Type yes to take the lock away: ";
        match output.ask(&head, question).await {
            Some(answer) if answer == "yes" => {}
            Some(_) => {
                output.always_say("Nothing was changed.");
                return Err(Failure::Reported(ExitCode::Error));
            }
            None => {
                let message =
                    format!("`{place}` is still locked by {holder}: there is no terminal to ask for confirmation");
                return Err(Failure::with_help(
                    "unlock::consent",
                    message,
                    "to unlock without a question, use `--yes`",
                ));
            }
        }
    }
    if !engine.take_lock_away(&found).await? {
        let message = format!("`{place}` is not locked any more by {holder}");
        return Err(Failure::with_help("unlock::moved", message, "run it again to see whether somebody holds it now"));
    }
    output.say(&format!("Took the lock `{place}` away from {holder}."));
    engine.close().await;
    Ok(ExitCode::Done)
}
