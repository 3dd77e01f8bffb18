//! `trunnion state`: the documents of the state, present and earlier ones.

use std::{fmt::Write as _, path::Path};

use serde_json::json;
use trunnion::{Engine, Error, ExitCode, Options, StoreError, Version, plain, render::style};

use super::{
    arguments::{CloudArguments, StackArguments, State, StateCommand, StateList, StateRestore, StateShow},
    failure::Failure,
    output::Output,
    plan::connect,
};

pub(crate) async fn state(arguments: State, output: Output) -> Result<ExitCode, Failure> {
    match arguments.command {
        StateCommand::List(arguments) => list(&arguments, output).await,
        StateCommand::Show(arguments) => show(&arguments, output).await,
        StateCommand::Restore(arguments) => restore(&arguments, output).await,
    }
}

async fn connected(
    verb: &str,
    stack: &StackArguments,
    cloud: &CloudArguments,
    output: Output,
) -> Result<Engine, Failure> {
    let file: &Path = &stack.file;
    Box::pin(connect(verb, file, &stack.reading, cloud, Options::new(), output)).await
}

async fn list(arguments: &StateList, output: Output) -> Result<ExitCode, Failure> {
    let engine = connected("state list", &arguments.stack, &arguments.cloud, output).await?;
    let versions = engine.versions(arguments.limit.into()).await?;
    if arguments.json {
        let rows: Vec<_> = versions
            .iter()
            .map(|version| {
                let content = version.content.as_ref().ok();
                json!({
                    "version": version.id,
                    "written": version.written,
                    "current": version.is_current,
                    "serial": content.map(|state| state.serial),
                    "lineage": content.map(|state| &state.lineage),
                    "resources": content.map(|state| state.resources.len()),
                    "error": version.content.as_ref().err().map(ToString::to_string),
                })
            })
            .collect();
        output.data(&format!("{:#}", json!(rows)))?;
    } else if versions.is_empty() {
        output.say("No state was written yet.");
    } else {
        output.readable(&table(&versions))?;
    }
    engine.close().await;
    Ok(ExitCode::Done)
}

fn table(versions: &[Version]) -> String {
    let width = versions.iter().map(|version| version.id.len()).max().unwrap_or_default().max("VERSION".len());
    let mut text = format!("{}{:width$}  WRITTEN               CONTENT{:#}\n", style::STRONG, "VERSION", style::STRONG);
    for version in versions {
        let content = match &version.content {
            Ok(state) => format!("serial {}, {} resources", state.serial, state.resources.len()),
            Err(error) => error.to_string(),
        };
        let current = if version.is_current { " (current)" } else { "" };
        let (id, written) = (plain(&version.id), plain(&version.written));
        let _ = writeln!(text, "{id:width$}  {written:20}  {}{current}", plain(&content));
    }
    text
}

/// The document of this name, or an error that says where the names are.
async fn version(engine: &Engine, id: &str) -> Result<trunnion::State, Failure> {
    engine.version(id).await?.ok_or_else(|| {
        let message = format!("the state has no document `{}`", plain(id));
        Failure::with_help("state::version", message, "`trunnion state list` lists those that there are")
    })
}

async fn show(arguments: &StateShow, output: Output) -> Result<ExitCode, Failure> {
    let engine = connected("state show", &arguments.stack, &arguments.cloud, output).await?;
    let state = version(&engine, &arguments.version).await?;
    output.data(&format!("{:#}", json!(state)))?;
    engine.close().await;
    Ok(ExitCode::Done)
}

async fn restore(arguments: &StateRestore, output: Output) -> Result<ExitCode, Failure> {
    let engine = connected("state restore", &arguments.stack, &arguments.cloud, output).await?;
    let earlier = version(&engine, &arguments.version).await?;
    let what = format!("serial {}, {} resources", earlier.serial, earlier.resources.len());
    if !arguments.yes {
        let about =
            format!("The document `{}` ({what}) becomes the state. No AWS resource changes.", arguments.version);
        match output.ask(&about, "Type yes to continue: ").await {
            Some(answer) if answer == "yes" => {}
            Some(_) => {
                output.always_say("Nothing was changed.");
                return Err(Failure::Reported(ExitCode::Error));
            }
            None => {
                let message = "nothing was changed: there is no terminal to ask for confirmation";
                return Err(Failure::with_help(
                    "state::consent",
                    message,
                    "to restore without a question, use `--yes`",
                ));
            }
        }
    }
    let mut session = engine.lock("state restore").await.map_err(|error| match error {
        Error::Store(locked @ StoreError::Locked { .. }) => Failure::with_help(
            "state::locked",
            plain(&locked.to_string()),
            "run it again once the other command has ended; `trunnion unlock` takes the lock away from one that hangs",
        ),
        other => other.into(),
    })?;
    let restored = session.restore(earlier).await;
    session.release().await?;
    let restored = restored?;
    output.say(&format!(
        "The document `{}` ({what}) is the state again, with serial {}. `trunnion plan` compares it with AWS.",
        plain(&arguments.version),
        restored.serial
    ));
    engine.close().await;
    Ok(ExitCode::Done)
}
