//! `trunnion plan`.

use std::path::{Path, PathBuf};

use trunnion::{Document, Engine, Moved, Options, Origin, Planned, Request};

use super::{
    DONE, PENDING,
    arguments::{CloudArguments, Plan},
    failure::Failure,
    output::Output,
    quoted, signals, stack_file, tell_calls,
    waiting::patiently,
};

pub(crate) async fn plan(arguments: Plan, output: Output) -> Result<u8, Failure> {
    let file = arguments.stack.file;
    if let Some(path) = arguments.out.as_ref().filter(|path| path.extension().is_none_or(|end| end != "json")) {
        let message = format!("`--out {}` names no .json file", path.display());
        return Err(Failure::with_help("plan::out", message, "`trunnion apply` knows a plan by that ending"));
    }
    let named = arguments.out.as_ref().map_or_else(|| file.clone(), |out| stack_file::named_from(out, &file));
    let origin = Origin {
        file: named.display().to_string(),
        environment: arguments.stack.env,
        sandbox: arguments.cloud.sandbox,
        destroy: arguments.destroy,
        targets: arguments.scope.targets,
        replace: arguments.scope.replace,
        update_images: arguments.scope.update_images,
        update_generator: arguments.scope.update_generator,
    };
    let interrupt = signals::interrupt();
    let planned = async {
        let options = Options { interrupt: interrupt.clone(), ..Options::default() };
        let engine = Box::pin(connect("plan", &file, &origin, &arguments.cloud, options, output)).await?;
        let what = format!("reading {}", engine.place());
        let planned = patiently(output, &what, engine.plan(&request(&origin))).await?;
        Ok::<_, Failure>((engine, planned))
    };
    let (engine, planned) = tokio::select! {
        planned = planned => planned?,
        () = interrupt.cancelled() => {
            output.always_say("Interrupted. Nothing was changed.");
            return Err(Failure::Told(super::INTERRUPTED));
        }
    };
    let document = planned.document(&origin);
    if let Some(path) = &arguments.out {
        write_document(path, &document)?;
        let sandbox = if origin.sandbox { " --sandbox" } else { "" };
        let typed = quoted(path);
        output.say(&format!("The plan is in `{}`; `trunnion apply {typed}{sandbox}` executes it.", path.display()));
    }
    if arguments.json {
        output.data(&text(&document)?)?;
    } else {
        output.readable(&trunnion::render::terminal(&document))?;
    }
    tell_calls(&engine, output);
    engine.close().await;
    Ok(if arguments.detailed_exitcode && !planned.plan.is_empty() { PENDING } else { DONE })
}

/// Loads the stack file of a plan and connects it. `verb` is the command.
pub(crate) async fn connect(
    verb: &str,
    file: &Path,
    origin: &Origin,
    cloud: &CloudArguments,
    options: Options,
    output: Output,
) -> Result<Engine, Failure> {
    let stack = stack_file::load(file, origin.environment.as_deref(), verb)?;
    let sandbox = cloud.sandbox.then(|| sandbox_folder(file));
    Ok(Box::pin(patiently(output, "connecting", Engine::connect(stack, Options { sandbox, ..options }))).await?)
}

/// `.trunnion/sandbox` beside the stack file.
fn sandbox_folder(stack: &Path) -> PathBuf {
    stack.parent().unwrap_or(Path::new("")).join(".trunnion/sandbox")
}

pub(crate) fn request(origin: &Origin) -> Request {
    Request {
        destroy: origin.destroy,
        targets: origin.targets.clone(),
        replace: origin.replace.clone(),
        update_images: origin.update_images,
        update_generator: origin.update_generator,
    }
}

pub(crate) fn text(document: &Document) -> Result<String, Failure> {
    document
        .to_text()
        .map_err(|error| Failure::new("plan::document", format!("the plan document cannot be written: {error}")))
}

fn write_document(path: &Path, document: &Document) -> Result<(), Failure> {
    trunnion::replace_file(path, text(document)?.as_bytes()).map_err(|error| {
        let message = format!("writing `{}` failed: {error}", path.display());
        let help = if trunnion::is_full(&error) {
            "free some space there, or name a file on another disk; an earlier plan of that name is as it was"
        } else {
            "name a file in a folder that you may write to"
        };
        Failure::with_help("plan::out", message, help)
    })
}

/// Reads a plan document back.
pub(crate) fn read_document(path: &Path) -> Result<Document, Failure> {
    let shown = path.display();
    let bytes = std::fs::read(path).map_err(|error| {
        let message = format!("`{shown}` cannot be read: {error}");
        Failure::with_help("plan::document", message, "`trunnion plan STACK --out FILE` writes a plan document")
    })?;
    Document::parse(&bytes)
        .map_err(|error| Failure::with_help("plan::document", format!("`{shown}` {error}"), error.help()))
}

/// Refuses when a fresh plan is not the one that was written down.
pub(crate) fn compare(path: &Path, written: &Document, planned: &Planned, state: &str) -> Result<(), Failure> {
    let Some(moved) = written.moved(&planned.document(&written.compared.origin)) else { return Ok(()) };
    let again = "make a new plan, read it, and apply that";
    let path = path.display();
    let (message, help) = match moved {
        Moved::Stack(why) => (
            format!("`{path}` cannot be applied: {why}"),
            "name the stack file that it was made for with `--stack FILE`".to_owned(),
        ),
        Moved::Place(why) => (format!("`{path}` cannot be applied: {why}"), again.to_owned()),
        Moved::State(why) if written.compared.state.lineage.is_empty() => {
            (format!("`{path}` cannot be applied: {why}"), again.to_owned())
        }
        Moved::State(why) => (
            format!("`{path}` cannot be applied: {why}"),
            format!(
                "bring the state that the plan was made with to `{state}`, or keep it in S3 \
                 (`state: s3://BUCKET/PREFIX` in the stack file); or {again}"
            ),
        ),
        Moved::Content(different) => {
            let shown: String = different.iter().take(10).flat_map(|what| ["\n  ", what]).collect();
            let more =
                if different.len() > 10 { format!("\n  and {} more", different.len() - 10) } else { String::new() };
            (format!("a fresh plan is not that of `{path}`, so nothing was changed:{shown}{more}"), again.to_owned())
        }
    };
    Err(Failure::with_help("plan::moved", message, help))
}
