//! `trunnion apply`, `destroy`, `forget` and `import`: plan, show, ask, execute, report.

use std::path::Path;

use trunnion::{
    Applied, CancellationToken, Document, Engine, Error, Events, ExitCode, LockedPlan, Options, Origin, OtherHomes,
    Outcome, Request, Session, StoreError, plain,
    report::{Ending, causes},
};

use super::{
    arguments::{Apply, CloudArguments, Destroy, Execute, Forget, Import, Reading, StackArguments},
    failure::Failure,
    outcome::{self, capitalized},
    output::Output,
    plan::{connect, read_document},
    print_calls,
    progress::Progress,
    signals::{self, unless_interrupted},
    stack_file,
    stream::Stream,
    waiting::with_progress,
};

/// One apply or destroy.
struct Job<'a> {
    /// The name of the command.
    verb: &'static str,
    /// The stack file.
    file: &'a Path,
    reading: Reading,
    origin: Origin,
    aim: Aim<'a>,
    is_waited_for: bool,
}

/// What a command plans.
enum Aim<'a> {
    /// What its origin says.
    Request,
    /// A saved plan, with its file.
    Written(&'a Path, Box<Document>),
    /// To take the stack's tags off these addresses.
    Forget(Vec<String>),
    /// To make a resource the one at an address.
    Import { address: String, id: String },
}

impl Job<'_> {
    /// How to continue after an incomplete run.
    fn next(&self, ending: Ending) -> &'static str {
        match &self.aim {
            Aim::Written(..) => "Make a new plan and apply it to continue.",
            Aim::Request if !self.origin.replace.is_empty() => {
                "To continue, run it without `--replace`: with it, hosts that are already replaced are replaced again."
            }
            _ if ending == Ending::Interrupted => "Run the same command again to continue.",
            _ => "Remove the cause, then run the same command again: it continues from here.",
        }
    }
}

pub(crate) async fn apply(arguments: Apply, output: Output) -> Result<ExitCode, Failure> {
    if stack_file::is_plan(&arguments.file) {
        return apply_document(arguments, output).await;
    }
    let only_for_plans = [("--stack", arguments.stack.is_some()), ("--previewed", arguments.previewed)];
    if let Some((option, _)) = only_for_plans.into_iter().find(|(_, is_given)| *is_given) {
        let message =
            format!("`{option}` is only for a plan document, but `{}` is not a plan", arguments.file.display());
        return Err(Failure::with_help("apply::arguments", message, format!("remove `{option}`")));
    }
    let origin = Origin {
        file: arguments.file.display().to_string(),
        environment: arguments.reading.env.clone(),
        sandbox: arguments.cloud.sandbox,
        destroy: false,
        targets: arguments.scope.targets,
        exclude: arguments.scope.exclude,
        replace: arguments.scope.replace,
        update_images: arguments.scope.update_images,
        update_generator: arguments.scope.update_generator,
    };
    let is_waited_for = !arguments.no_wait;
    let job = Job {
        verb: "apply",
        file: &arguments.file,
        reading: arguments.reading,
        origin,
        aim: Aim::Request,
        is_waited_for,
    };
    Box::pin(execute(job, &arguments.cloud, &arguments.execute, output)).await
}

async fn apply_document(arguments: Apply, output: Output) -> Result<ExitCode, Failure> {
    let scope = &arguments.scope;
    let is_updated = scope.update_images || scope.update_generator;
    let named = [&scope.targets, &scope.exclude, &scope.replace];
    let is_scoped = is_updated || named.iter().any(|named| !named.is_empty());
    if arguments.reading.env.is_some() || is_scoped {
        return Err(Failure::with_help(
            "apply::arguments",
            "a plan document already contains these options",
            "remove `--env`, `--target`, `--exclude`, `--replace`, `--update-images` and `--update-generator`, or make \
             a new plan with them",
        ));
    }
    let document = read_document(&arguments.file)?;
    let origin = document.compared.origin.clone();
    if origin.sandbox != arguments.cloud.sandbox {
        let (of, help) = if origin.sandbox {
            ("the sandbox", "add `--sandbox`, or make a new plan without it")
        } else {
            ("AWS", "remove `--sandbox`, or make a new plan with it")
        };
        let message = format!("`{}` is a plan for {of}", arguments.file.display());
        return Err(Failure::with_help("apply::arguments", message, help));
    }
    let file = match &arguments.stack {
        Some(file) => file.clone(),
        None => stack_file::of_plan(&arguments.file, &origin.file)?,
    };
    if arguments.previewed {
        is_of_a_preview(&arguments.file, &origin, &file)?;
    }
    let reading = Reading { env: origin.environment.clone(), ..arguments.reading };
    let aim = Aim::Written(arguments.file.as_path(), Box::new(document));
    let job = Job { verb: "apply", file: &file, reading, origin, aim, is_waited_for: !arguments.no_wait };
    Box::pin(execute(job, &arguments.cloud, &arguments.execute, output)).await
}

/// Refuses what somebody could have put in the place of a preview's plan.
fn is_of_a_preview(plan: &Path, origin: &Origin, stack: &Path) -> Result<(), Failure> {
    let without_options = Origin {
        file: origin.file.clone(),
        environment: origin.environment.clone(),
        sandbox: origin.sandbox,
        ..Origin::default()
    };
    let why = if *origin != without_options {
        "it was made with options such as `--destroy` or `--replace`".to_owned()
    } else if !trunnion::is_tracked(Path::new("."), stack) {
        format!("Git does not track its stack file `{}`", stack.display())
    } else {
        return Ok(());
    };
    let message = format!("`{}` is no plan of a preview: {why}", plan.display());
    Err(Failure::with_help("apply::previewed", message, "read the plan, and apply it without `--previewed`"))
}

pub(crate) async fn destroy(arguments: Destroy, output: Output) -> Result<ExitCode, Failure> {
    let origin = Origin {
        file: arguments.stack.file.display().to_string(),
        environment: arguments.stack.reading.env.clone(),
        sandbox: arguments.cloud.sandbox,
        destroy: true,
        ..Origin::default()
    };
    let is_waited_for = !arguments.no_wait;
    let job = Job {
        verb: "destroy",
        file: &arguments.stack.file,
        reading: arguments.stack.reading,
        origin,
        aim: Aim::Request,
        is_waited_for,
    };
    Box::pin(execute(job, &arguments.cloud, &arguments.execute, output)).await
}

pub(crate) async fn forget(arguments: Forget, output: Output) -> Result<ExitCode, Failure> {
    let Forget { address, stack, cloud, execute: how } = arguments;
    let origin = of_one(&address, &stack, &cloud);
    let aim = Aim::Forget(vec![address]);
    let job = Job { verb: "forget", file: &stack.file, reading: stack.reading, origin, aim, is_waited_for: true };
    Box::pin(execute(job, &cloud, &how, output)).await
}

pub(crate) async fn import(arguments: Import, output: Output) -> Result<ExitCode, Failure> {
    let Import { address, id, stack, cloud, execute: how } = arguments;
    let origin = of_one(&address, &stack, &cloud);
    let aim = Aim::Import { address, id };
    let job = Job { verb: "import", file: &stack.file, reading: stack.reading, origin, aim, is_waited_for: true };
    Box::pin(execute(job, &cloud, &how, output)).await
}

/// The origin of a plan for one address.
fn of_one(address: &str, stack: &StackArguments, cloud: &CloudArguments) -> Origin {
    Origin {
        file: stack.file.display().to_string(),
        environment: stack.reading.env.clone(),
        sandbox: cloud.sandbox,
        targets: vec![address.to_owned()],
        ..Origin::default()
    }
}

async fn execute(job: Job<'_>, cloud: &CloudArguments, how: &Execute, output: Output) -> Result<ExitCode, Failure> {
    let interrupt = signals::interrupt();
    let options = if job.is_waited_for { Options::new() } else { Options::new().without_waiting() };
    let connect = connect(job.verb, job.file, &job.reading, cloud, options, output);
    let engine = Box::pin(unless_interrupted(&interrupt, output, connect)).await?;
    let mut session = locked(&engine, job.verb, how, output, &interrupt).await?;
    let result = async {
        // Nothing is changed before the first step, so an interruption simply ends the command.
        let agreed = agreed(&engine, &mut session, &job, how, output, &interrupt);
        let plan = Box::pin(unless_interrupted(&interrupt, output, agreed)).await?;
        let (outcome, stream) = run(plan, how, output, &interrupt).await?;
        outcome::report(&engine, &job.origin, job.next(outcome.ending()), &outcome, stream, output)
    }
    .await;
    match session.release().await {
        Ok(()) => {}
        Err(Error::Store(lost @ StoreError::Lost { .. })) => {
            output.always_say(&format!(
                "{}. This was noticed only at the end, so another command may have changed something meanwhile: `trunnion \
                 plan` shows it.",
                capitalized(&causes(&lost))
            ));
        }
        Err(error) => output.always_say(&format!(
            "Could not release the lock: {}. A lock in S3 expires two minutes after its last renewal, a lock file ends with \
             this process.",
            causes(&error)
        )),
    }
    print_calls(&engine, output);
    engine.close().await;
    result
}

/// Takes the lock of the state, and waits for it as long as `--lock-timeout` says.
async fn locked(
    engine: &Engine,
    operation: &str,
    how: &Execute,
    output: Output,
    interrupt: &CancellationToken,
) -> Result<Session, Failure> {
    let mut said = String::new();
    let waiting = |locked: &StoreError| {
        let now = plain(&locked.to_string());
        // The holder can change between two tries without a moment at which nobody holds it.
        if now != said {
            output.say(&format!("Waiting: {now}."));
            said = now;
        }
    };
    let lock = async { Ok(engine.lock_within(how.lock_timeout, operation, interrupt, waiting).await?) };
    let what = "waiting for the lock of the state";
    with_progress(output, what, unless_interrupted(&CancellationToken::new(), output, lock)).await
}

/// Makes the plan, shows it, and returns it after the user agreed.
async fn agreed<'session>(
    engine: &Engine,
    session: &'session mut Session,
    job: &Job<'_>,
    how: &Execute,
    output: Output,
    interrupt: &CancellationToken,
) -> Result<LockedPlan<'session>, Failure> {
    let what = format!("reading {}", engine.place());
    let mut planned = match &job.aim {
        Aim::Request => with_progress(output, &what, session.plan(&Request::from(&job.origin), interrupt)).await?,
        Aim::Forget(addresses) => with_progress(output, &what, session.forget(addresses, interrupt)).await?,
        Aim::Import { address, id } => {
            let planned = with_progress(output, &what, session.import(address, id, interrupt)).await;
            planned.inspect_err(|error| show_differences(error, job, output))?
        }
        Aim::Written(path, document) => {
            let planned = with_progress(output, &what, session.plan_written(document, interrupt)).await;
            planned.map_err(|error| named(path, error))?
        }
    };
    let document = planned.document(&job.origin);
    let readable = trunnion::render::terminal(&document);
    let takes_over = !document.compared.other_homes.is_empty();
    let must_ask = (!planned.plan.is_empty() || takes_over) && !how.yes;
    if must_ask {
        // The user must see the plan before the question, even with `--quiet`.
        output.always_say(readable.trim_end());
    } else if !how.json || !planned.plan.is_empty() {
        output.say(readable.trim_end());
    }
    if let Some(over) = planned.over_budget() {
        return Err(Error::OverBudget(over).into());
    }
    if how.take_over {
        planned.agree_to_take_over();
    }
    if let Some(others) = planned.not_agreed() {
        if how.yes {
            return Err(Error::OtherHome(others).into());
        }
        consent_to_take_over(&document, &others, output).await?;
        planned.agree_to_take_over();
    }
    if must_ask {
        consent(&document, output).await?;
    }
    Ok(planned)
}

/// Shows why a resource cannot be imported, before the error that says so.
fn show_differences(error: &Error, job: &Job<'_>, output: Output) {
    if let Error::Differs { planned, .. } = error {
        output.always_say(trunnion::render::terminal(&planned.document(&job.origin)).trim_end());
    }
}

/// Names the file of a saved plan in the error that it is out of date.
fn named(path: &Path, error: Error) -> Failure {
    match error {
        Error::Stale(stale) => {
            Failure::with_help("plan::moved", stale.message_for(&format!("`{}`", path.display())), stale.help())
        }
        other => other.into(),
    }
}

/// Asks for what `--take-over` allows without a question.
async fn consent_to_take_over(document: &Document, others: &OtherHomes, output: Output) -> Result<(), Failure> {
    let question = format!("{}. Type `take over` to take over these resources: ", plain(&others.to_string()));
    ask(document, &question, "take over", "to apply without a question, use `--take-over` and `--yes`", output).await
}

async fn consent(document: &Document, output: Output) -> Result<(), Failure> {
    let stack = &document.compared.stack;
    let (question, expected) = if document.compared.origin.destroy {
        (format!("This deletes everything in the stack. Type the stack's name ({stack}) to continue: "), stack.as_str())
    } else {
        ("Apply this plan? Type yes to continue: ".to_owned(), "yes")
    };
    // The note may have scrolled out of view.
    let later = document.remarks.notes.iter().find(|note| note.code == Applied::NOTE);
    let question = later.map_or(question.clone(), |note| format!("{}. {question}", plain(&note.message)));
    ask(document, &question, expected, "to continue without a question, use `--yes`", output).await
}

/// Asks for this answer; any other one ends the command. `help` is for a command without a terminal.
async fn ask(document: &Document, question: &str, expected: &str, help: &str, output: Output) -> Result<(), Failure> {
    // The start of a long plan may have scrolled out of view.
    match output.ask(&trunnion::render::head(document), question).await {
        Some(answer) if answer == expected => Ok(()),
        Some(_) => {
            output.always_say("Nothing was changed.");
            Err(Failure::Reported(ExitCode::Error))
        }
        None => {
            let message = "nothing was changed: there is no terminal to ask for confirmation";
            Err(Failure::with_help("apply::consent", message, help))
        }
    }
}

async fn run(
    plan: LockedPlan<'_>,
    how: &Execute,
    output: Output,
    interrupt: &CancellationToken,
) -> Result<(Outcome, Option<Stream>), Failure> {
    let (events, receiver) = Events::channel();
    let steps = plan.plan.steps.len();
    let stream = if how.json { Some(Stream::begin(output, &plan.plan.stack, steps)?) } else { None };
    let progress = Progress::new(output, steps, stream);
    let apply = async {
        let outcome = plan.apply(&events, interrupt).await;
        drop(events);
        outcome
    };
    let (outcome, stream) = tokio::join!(apply, progress.follow(receiver));
    Ok((outcome?, stream))
}
