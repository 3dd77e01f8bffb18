//! `trunnion plan`.

use std::path::{Path, PathBuf};

use trunnion::{Document, Engine, LoadOptions, Options, Origin, Planned, Request, Stack};

use super::{
    DONE, PENDING,
    arguments::{CloudArguments, Plan},
    failure::Failure,
    output::Output,
    signals, tell_calls,
};

pub(crate) async fn plan(arguments: Plan, output: Output) -> Result<u8, Failure> {
    let origin = Origin {
        file: arguments.stack.file.display().to_string(),
        environment: arguments.stack.env,
        sandbox: arguments.cloud.sandbox,
        destroy: arguments.destroy,
        targets: arguments.scope.targets,
        update_images: arguments.scope.update_images,
        update_generator: arguments.scope.update_generator,
    };
    if let Some(path) = arguments.out.as_ref().filter(|path| path.extension().is_none_or(|end| end != "json")) {
        let message = format!("`--out {}` names no .json file", path.display());
        return Err(Failure::with_help("plan::out", message, "`trunnion apply` knows a plan by that ending"));
    }
    let options = Options { interrupt: signals::interrupt(), ..Options::default() };
    let interrupt = options.interrupt.clone();
    let engine = connect(&origin, &arguments.cloud, options).await?;
    let request = request(&origin);
    let planned = tokio::select! {
        planned = engine.plan(&request) => planned?,
        () = interrupt.cancelled() => {
            output.always_say("Interrupted. Nothing was changed.");
            return Err(Failure::Told(super::INTERRUPTED));
        }
    };
    let document = planned.document(&origin);
    if let Some(path) = &arguments.out {
        write_document(path, &document)?;
        let sandbox = if origin.sandbox { " --sandbox" } else { "" };
        output.say(&format!("The plan is in `{0}`; `trunnion apply {0}{sandbox}` executes it.", path.display()));
    }
    if arguments.json {
        output.data(&text(&document)?)?;
    } else {
        output.data(&trunnion::render::terminal(&document))?;
    }
    tell_calls(&engine, output);
    engine.close().await;
    Ok(if arguments.detailed_exitcode && !planned.plan.is_empty() { PENDING } else { DONE })
}

/// Loads the stack a plan is about and connects it.
pub(crate) async fn connect(origin: &Origin, cloud: &CloudArguments, options: Options) -> Result<Engine, Failure> {
    let path = Path::new(&origin.file);
    let stack = load(path, origin.environment.as_deref())?;
    let sandbox = cloud.sandbox.then(|| sandbox_folder(path));
    Ok(Engine::connect(stack, Options { sandbox, ..options }).await?)
}

pub(crate) fn load(path: &Path, environment: Option<&str>) -> Result<Stack, Failure> {
    Ok(Stack::load(path, environment, &LoadOptions::of_this_process())?)
}

/// `.trunnion/sandbox` beside the stack file.
fn sandbox_folder(stack: &Path) -> PathBuf {
    stack.parent().unwrap_or(Path::new("")).join(".trunnion/sandbox")
}

pub(crate) fn request(origin: &Origin) -> Request {
    Request {
        destroy: origin.destroy,
        targets: origin.targets.clone(),
        update_images: origin.update_images,
        update_generator: origin.update_generator,
        ..Request::default()
    }
}

fn text(document: &Document) -> Result<String, Failure> {
    serde_json::to_string_pretty(document)
        .map_err(|error| Failure::new("plan::document", format!("the plan document cannot be written: {error}")))
}

#[expect(clippy::disallowed_methods, reason = "the person named this file")]
fn write_document(path: &Path, document: &Document) -> Result<(), Failure> {
    std::fs::write(path, text(document)? + "\n").map_err(|error| {
        let message = format!("writing `{}` failed: {error}", path.display());
        Failure::with_help("plan::out", message, "name a file in a folder that you may write to")
    })
}

/// Reads a plan document back.
pub(crate) fn read_document(path: &Path) -> Result<Document, Failure> {
    let failed = |what: String| {
        Failure::with_help(
            "plan::document",
            format!("`{}` {what}", path.display()),
            "`trunnion plan STACK --out FILE` writes one",
        )
    };
    let bytes = std::fs::read(path).map_err(|error| failed(format!("cannot be read: {error}")))?;
    let document: Document =
        serde_json::from_slice(&bytes).map_err(|error| failed(format!("is no plan document: {error}")))?;
    if document.format != Document::FORMAT {
        return Err(failed(format!("has format {}; this version reads format {}", document.format, Document::FORMAT)));
    }
    Ok(document)
}

/// Refuses when the plan of now is not the one that was written down.
pub(crate) fn compare(path: &Path, written: &Document, planned: &Planned) -> Result<(), Failure> {
    // A note, of a newer image say, changes nothing of what would be done.
    let now = Document { notes: written.notes.clone(), ..planned.document(&written.origin) };
    if now == *written {
        return Ok(());
    }
    let moved = written.moved(&now);
    let shown: String = moved.iter().take(10).flat_map(|what| ["\n  ", what]).collect();
    let more = if moved.len() > 10 { format!("\n  and {} more", moved.len() - 10) } else { String::new() };
    Err(Failure::with_help(
        "plan::moved",
        format!("the plan of now is not that of `{}`, so nothing was changed:{shown}{more}", path.display()),
        "make a new plan, read it, and apply that",
    ))
}
