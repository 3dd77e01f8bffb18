//! `trunnion apply` and `trunnion destroy`: plan, show, ask, execute, tell.

use std::path::Path;

use serde_json::json;
use trunnion::{Document, Engine, Events, Options, Origin, Outcome, Outputs, Planned};
use trunnion_render::style;

use super::{
    DONE, ERROR, INTERRUPTED,
    arguments::{Apply, CloudArguments, Destroy, Execute},
    failure::Failure,
    output::Output,
    plan::{compare, connect, read_document, request},
    progress::Progress,
    read::hosts,
    signals, tell_calls,
};

pub(crate) async fn apply(arguments: Apply, output: Output) -> Result<u8, Failure> {
    let is_document = arguments.file.extension().is_some_and(|extension| extension == "json");
    if !is_document {
        let origin = Origin {
            file: arguments.file.display().to_string(),
            environment: arguments.env,
            sandbox: arguments.cloud.sandbox,
            targets: arguments.scope.targets,
            update_images: arguments.scope.update_images,
            update_generator: arguments.scope.update_generator,
            ..Origin::default()
        };
        return execute(&origin, None, &arguments.cloud, &arguments.execute, output).await;
    }
    let scope = &arguments.scope;
    let is_scoped = scope.update_images || scope.update_generator || !scope.targets.is_empty();
    if arguments.env.is_some() || is_scoped {
        return Err(Failure::with_help(
            "apply::arguments",
            "a plan document says itself what it is about",
            "leave `--env`, `--target`, `--update-images` and `--update-generator` out, or make a new plan with them",
        ));
    }
    let document = read_document(&arguments.file)?;
    let origin = document.origin.clone();
    if origin.sandbox != arguments.cloud.sandbox {
        let (of, help) =
            if origin.sandbox { ("the sandbox", "add `--sandbox`") } else { ("AWS", "leave `--sandbox` out") };
        let message = format!("`{}` is a plan for {of}", arguments.file.display());
        return Err(Failure::with_help("apply::arguments", message, help));
    }
    execute(&origin, Some((&arguments.file, &document)), &arguments.cloud, &arguments.execute, output).await
}

pub(crate) async fn destroy(arguments: Destroy, output: Output) -> Result<u8, Failure> {
    let origin = Origin {
        file: arguments.stack.file.display().to_string(),
        environment: arguments.stack.env,
        sandbox: arguments.cloud.sandbox,
        destroy: true,
        ..Origin::default()
    };
    execute(&origin, None, &arguments.cloud, &arguments.execute, output).await
}

async fn execute(
    origin: &Origin,
    written: Option<(&Path, &Document)>,
    cloud: &CloudArguments,
    how: &Execute,
    output: Output,
) -> Result<u8, Failure> {
    let interrupt = signals::interrupt();
    let options = Options { wait: !how.no_wait, interrupt: interrupt.clone(), ..Options::default() };
    let engine = connect(origin, cloud, options).await?;
    let operation = if origin.destroy { "destroy" } else { "apply" };
    let lock = engine.lock(operation).await?;
    let result = async {
        // Until the first change there is nothing to finish: an interruption just ends it.
        let planned = tokio::select! {
            planned = agreed(&engine, origin, written, how, output) => planned?,
            () = interrupt.cancelled() => {
                output.always_say("\nInterrupted. Nothing was changed.");
                return Err(Failure::Told(INTERRUPTED));
            }
        };
        let outcome = run(&engine, &planned, output).await;
        tell(&engine, origin, &outcome, how, output)
    }
    .await;
    if let Err(error) = lock.release().await {
        output.always_say(&format!(
            "The lock could not be given back: {error}. Nobody renews it any more, so it ends by itself."
        ));
    }
    tell_calls(&engine, output);
    engine.close().await;
    result
}

/// The plan, once it was shown and agreed to.
async fn agreed(
    engine: &Engine,
    origin: &Origin,
    written: Option<(&Path, &Document)>,
    how: &Execute,
    output: Output,
) -> Result<Planned, Failure> {
    let planned = engine.plan(&request(origin)).await?;
    if let Some((path, document)) = written {
        compare(path, document, &planned)?;
    }
    let document = planned.document(origin);
    let readable = trunnion::render::terminal(&document);
    let must_ask = !planned.plan.is_empty() && !how.yes;
    if must_ask {
        // Nobody agrees to what they have not seen.
        output.always_say(readable.trim_end());
    } else if !how.json || !planned.plan.is_empty() {
        output.say(readable.trim_end());
    }
    if must_ask {
        consent(engine, origin, output).await?;
    }
    Ok(planned)
}

async fn consent(engine: &Engine, origin: &Origin, output: Output) -> Result<(), Failure> {
    let stack = &engine.stack().name;
    let (question, expected) = if origin.destroy {
        (format!("\nThis deletes it all. Type the stack's name ({stack}) to go on: "), stack.as_str())
    } else {
        (format!("\nApply this to `{stack}`? Type yes to go on: "), "yes")
    };
    match output.ask(&question).await {
        Some(answer) if answer == expected => Ok(()),
        Some(_) => {
            output.always_say("Nothing was changed.");
            Err(Failure::Told(ERROR))
        }
        None => Err(Failure::with_help(
            "apply::consent",
            "there is no terminal to ask on, so nothing was changed",
            "`--yes` goes on without asking",
        )),
    }
}

async fn run(engine: &Engine, planned: &Planned, output: Output) -> Outcome {
    let (events, receiver) = Events::channel();
    let progress = Progress::new(output, planned.plan.steps.len());
    let apply = async {
        let outcome = engine.apply(planned, &events).await;
        drop(events);
        outcome
    };
    let (outcome, ()) = tokio::join!(apply, progress.follow(receiver));
    outcome
}

fn tell(engine: &Engine, origin: &Origin, outcome: &Outcome, how: &Execute, output: Output) -> Result<u8, Failure> {
    let outputs = Outputs::new(engine.stack(), &outcome.state);
    if how.json {
        let step = |address: &trunnion::Address, operation| json!({"address": address, "operation": operation});
        output.data(&format!(
            "{:#}",
            json!({
                "done": outcome.done.iter().map(|(address, operation)| step(address, *operation)).collect::<Vec<_>>(),
                "failed": outcome.failed.iter().map(|(address, operation, error)| {
                    json!({"address": address, "operation": operation, "error": error.message, "help": error.help})
                }).collect::<Vec<_>>(),
                "skipped": outcome.skipped.iter().map(|(address, operation, because)| {
                    json!({"address": address, "operation": operation, "because": because})
                }).collect::<Vec<_>>(),
                "not_started": outcome.not_started,
                "outputs": outputs,
            })
        ))?;
    } else if !origin.destroy && !outputs.hosts.is_empty() {
        output.data(&hosts(&outputs))?;
    }
    for (address, _, error) in &outcome.failed {
        if let Some(help) = &error.help {
            output.always_say(&format!("{}help:{:#} {address}: {help}", style::STRONG, style::STRONG));
        }
    }
    let summary = format!(
        "{} of {} steps done, {} failed, {} skipped, {} not started",
        outcome.done.len(),
        outcome.done.len() + outcome.failed.len() + outcome.skipped.len() + outcome.not_started,
        outcome.failed.len(),
        outcome.skipped.len(),
        outcome.not_started
    );
    if let Some(error) = &outcome.unsaved {
        let causes = std::iter::successors(std::error::Error::source(error), |cause| cause.source());
        let why: String = causes.flat_map(|cause| [": ".to_owned(), cause.to_string()]).collect();
        output.always_say(&format!(
            "The state could not be saved: {error}{why}. The next plan finds everything by its tags."
        ));
    }
    if outcome.is_complete() {
        if !outcome.done.is_empty() {
            output.say(&format!("{}Done.{:#} {summary}.", style::STRONG, style::STRONG));
        }
        return Ok(DONE);
    }
    let interrupted = outcome.not_started > 0 && outcome.failed.is_empty() && outcome.unsaved.is_none();
    let what = if interrupted { "Interrupted." } else { "Not all was done." };
    output.always_say(&format!(
        "{}{what}{:#} {summary}. Running the same again goes on from here.",
        style::STRONG,
        style::STRONG
    ));
    Ok(if interrupted { INTERRUPTED } else { ERROR })
}
