//! `trunnion plan`.

use std::path::{Path, PathBuf};

use trunnion::{Document, Engine, Error, ExitCode, Options, Origin, OverBudget, Request, Stack, stack::StateLocation};

use super::{
    arguments::{CloudArguments, Plan, Reading},
    failure::Failure,
    output::Output,
    print_calls, quoted, signals, stack_file,
    waiting::with_progress,
};

pub(crate) async fn plan(arguments: Plan, output: Output) -> Result<ExitCode, Failure> {
    let file = arguments.stack.file;
    if let Some(path) = arguments.out.as_ref().filter(|path| path.extension().is_none_or(|end| end != "json")) {
        let message = format!("the file name of `--out {}` does not end in .json", path.display());
        return Err(Failure::with_help(
            "plan::out",
            message,
            "use a name that ends in .json: `trunnion apply` recognises a plan by it",
        ));
    }
    let named = arguments.out.as_ref().map_or_else(|| file.clone(), |out| stack_file::named_from(out, &file));
    let origin = Origin {
        file: named.display().to_string(),
        environment: arguments.stack.reading.env.clone(),
        sandbox: arguments.cloud.sandbox,
        destroy: arguments.destroy,
        targets: arguments.scope.targets,
        exclude: arguments.scope.exclude,
        replace: arguments.scope.replace,
        update_images: arguments.scope.update_images,
        update_generator: arguments.scope.update_generator,
    };
    let interrupt = signals::interrupt();
    let work = async {
        let engine =
            Box::pin(connect("plan", &file, &arguments.stack.reading, &arguments.cloud, Options::new(), output))
                .await?;
        if let Some(out) = &arguments.out {
            is_not_the_state(out, engine.stack())?;
        }
        let what = format!("reading {}", engine.place());
        let planned = with_progress(output, &what, engine.plan(&Request::from(&origin), &interrupt)).await?;
        Ok::<_, Failure>((engine, planned))
    };
    let (engine, planned) = Box::pin(signals::unless_interrupted(&interrupt, output, work)).await?;
    let document = planned.document(&origin);
    let over = OverBudget::of_document(engine.stack(), &document);
    if let Some(path) = &arguments.out {
        write_document(path, &document)?;
        let sandbox = if origin.sandbox { " --sandbox" } else { "" };
        let next = match &over {
            Some(_) => String::new(),
            None => format!(" To execute it: `trunnion apply {}{sandbox}`", quoted(path)),
        };
        output.say(&format!("The plan is saved in `{}`.{next}", path.display()));
    }
    if arguments.json {
        output.data(&text(&document)?)?;
    } else {
        let form = Form::of(arguments.summary, arguments.markdown);
        form.print(&document, output)?;
    }
    print_calls(&engine, output);
    engine.close().await;
    if let Some(over) = over {
        return Err(Error::OverBudget(over).into());
    }
    Ok(if arguments.detailed_exitcode { planned.exit_code() } else { ExitCode::Done })
}

/// How a person reads a plan.
#[derive(Clone, Copy)]
pub(crate) enum Form {
    Whole,
    Summary,
    Markdown,
}

impl Form {
    pub(crate) const fn of(summary: bool, markdown: bool) -> Self {
        match (summary, markdown) {
            (true, _) => Self::Summary,
            (false, true) => Self::Markdown,
            (false, false) => Self::Whole,
        }
    }

    pub(crate) fn print(self, document: &Document, output: Output) -> Result<(), Failure> {
        match self {
            Self::Whole => output.readable(&trunnion::render::terminal(document)),
            Self::Summary => output.readable(&trunnion::render::brief(document)),
            Self::Markdown => output.data(trunnion::render::markdown(std::slice::from_ref(document)).trim_end()),
        }
    }
}

/// Loads the stack file and connects to its cloud. `verb` is the command's name.
pub(crate) async fn connect(
    verb: &str,
    file: &Path,
    reading: &Reading,
    cloud: &CloudArguments,
    options: Options,
    output: Output,
) -> Result<Engine, Failure> {
    let stack = stack_file::load(file, reading, verb)?;
    let mut options = options;
    options.sandbox = cloud.sandbox.then(|| sandbox_folder(file));
    options.transcript.clone_from(&cloud.transcript);
    Ok(Box::pin(with_progress(output, "connecting", Engine::connect(stack, options))).await?)
}

/// `.trunnion/sandbox` beside the stack file.
pub(crate) fn sandbox_folder(stack: &Path) -> PathBuf {
    stack.parent().unwrap_or(Path::new("")).join(StateLocation::FOLDER).join("sandbox")
}

pub(crate) fn text(document: &Document) -> Result<String, Failure> {
    document
        .to_text()
        .map_err(|error| Failure::new("plan::document", format!("the plan document cannot be written: {error}")))
}

/// Refuses to overwrite the stack's state with a plan.
fn is_not_the_state(out: &Path, stack: &Stack) -> Result<(), Failure> {
    let place = |path: &Path| {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        path.canonicalize().ok().or_else(|| Some(folder.canonicalize().ok()?.join(path.file_name()?)))
    };
    match &stack.state {
        StateLocation::File(state) if place(out).is_some_and(|out| place(state) == Some(out)) => {
            let message = format!("`--out {}` is the file of the stack's state", out.display());
            Err(Failure::with_help("plan::out", message, "use another file"))
        }
        _ => Ok(()),
    }
}

fn write_document(path: &Path, document: &Document) -> Result<(), Failure> {
    trunnion::replace_file(path, text(document)?.as_bytes()).map_err(|error| {
        let message = format!("writing `{}` failed: {error}", path.display());
        let help = if trunnion::is_full(&error) {
            "free some space there, or use a file on another disk; an earlier plan in this file is unchanged"
        } else {
            "use a file in a folder with write permission"
        };
        Failure::with_help("plan::out", message, help)
    })
}

/// Reads a saved plan document.
pub(crate) fn read_document(path: &Path) -> Result<Document, Failure> {
    let shown = path.display();
    let bytes = trunnion::read_file(path).map_err(|error| {
        let why = match error.kind() {
            std::io::ErrorKind::NotFound => "there is no such file".to_owned(),
            _ => error.to_string(),
        };
        let message = format!("the saved plan `{shown}` cannot be read: {why}");
        let help = "`trunnion plan STACK --out FILE` saves a plan; a file whose name ends in `.json` is read as one";
        Failure::with_help("plan::document", message, help)
    })?;
    Document::parse(&bytes)
        .map_err(|error| Failure::with_help("plan::document", format!("`{shown}` {error}"), error.help()))
}
