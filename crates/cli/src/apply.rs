//! `trunnion apply` and `trunnion destroy`: plan, show, ask, execute, tell.

use std::path::Path;

use trunnion::{
    CancellationToken, Document, Engine, Error, Events, ExitCode, LockedPlan, Options, Origin, OtherHomes, Outcome,
    Request, Session, plain, report::causes,
};

use super::{
    arguments::{Apply, CloudArguments, Destroy, Execute},
    failure::Failure,
    outcome,
    output::Output,
    plan::{connect, read_document},
    progress::Progress,
    signals::{self, unless_interrupted},
    stack_file,
    stream::Stream,
    tell_calls,
    waiting::patiently,
};

/// What is to be executed.
struct Job<'a> {
    /// The command, as it is typed.
    verb: &'static str,
    /// The stack file.
    file: &'a Path,
    origin: Origin,
    /// A plan that was written down, with its file.
    written: Option<(&'a Path, Document)>,
    is_waited_for: bool,
}

impl Job<'_> {
    /// How to continue after an incomplete run.
    fn next(&self) -> &'static str {
        match &self.written {
            Some(_) => "Make a new plan and apply it to continue.",
            None if !self.origin.replace.is_empty() => {
                "Run it without `--replace` to continue: with it, what was already replaced is replaced again."
            }
            None => "Run the same command again to continue.",
        }
    }
}

pub(crate) async fn apply(arguments: Apply, output: Output) -> Result<ExitCode, Failure> {
    if stack_file::is_plan(&arguments.file) {
        return apply_document(arguments, output).await;
    }
    if arguments.stack.is_some() {
        let message = format!(
            "`--stack` says where the stack file of a plan is, and `{}` is not a plan",
            arguments.file.display()
        );
        return Err(Failure::with_help("apply::arguments", message, "remove `--stack`"));
    }
    let origin = Origin {
        file: arguments.file.display().to_string(),
        environment: arguments.env,
        sandbox: arguments.cloud.sandbox,
        destroy: false,
        targets: arguments.scope.targets,
        replace: arguments.scope.replace,
        update_images: arguments.scope.update_images,
        update_generator: arguments.scope.update_generator,
    };
    let is_waited_for = !arguments.no_wait;
    let job = Job { verb: "apply", file: &arguments.file, origin, written: None, is_waited_for };
    Box::pin(execute(job, &arguments.cloud, &arguments.execute, output)).await
}

async fn apply_document(arguments: Apply, output: Output) -> Result<ExitCode, Failure> {
    let scope = &arguments.scope;
    let is_updated = scope.update_images || scope.update_generator;
    let is_scoped = is_updated || !scope.targets.is_empty() || !scope.replace.is_empty();
    if arguments.env.is_some() || is_scoped {
        return Err(Failure::with_help(
            "apply::arguments",
            "a plan document says itself what it is about",
            "remove `--env`, `--target`, `--replace`, `--update-images` and `--update-generator`, or make a new plan with \
             them",
        ));
    }
    let document = read_document(&arguments.file)?;
    let origin = document.compared.origin.clone();
    if origin.sandbox != arguments.cloud.sandbox {
        let (of, help) =
            if origin.sandbox { ("the sandbox", "add `--sandbox`") } else { ("AWS", "remove `--sandbox`") };
        let message = format!("`{}` is a plan for {of}", arguments.file.display());
        return Err(Failure::with_help("apply::arguments", message, help));
    }
    let file = match &arguments.stack {
        Some(file) => file.clone(),
        None => stack_file::of_plan(&arguments.file, &origin.file)?,
    };
    let written = Some((arguments.file.as_path(), document));
    let job = Job { verb: "apply", file: &file, origin, written, is_waited_for: !arguments.no_wait };
    Box::pin(execute(job, &arguments.cloud, &arguments.execute, output)).await
}

pub(crate) async fn destroy(arguments: Destroy, output: Output) -> Result<ExitCode, Failure> {
    let origin = Origin {
        file: arguments.stack.file.display().to_string(),
        environment: arguments.stack.env,
        sandbox: arguments.cloud.sandbox,
        destroy: true,
        ..Origin::default()
    };
    let is_waited_for = !arguments.no_wait;
    let job = Job { verb: "destroy", file: &arguments.stack.file, origin, written: None, is_waited_for };
    Box::pin(execute(job, &arguments.cloud, &arguments.execute, output)).await
}

async fn execute(job: Job<'_>, cloud: &CloudArguments, how: &Execute, output: Output) -> Result<ExitCode, Failure> {
    let interrupt = signals::interrupt();
    let options = if job.is_waited_for { Options::new() } else { Options::new().without_waiting() };
    let connect = connect(job.verb, job.file, &job.origin, cloud, options, output);
    let engine = Box::pin(unless_interrupted(&interrupt, output, connect)).await?;
    let operation = if job.origin.destroy { "destroy" } else { "apply" };
    let mut session = patiently(output, "waiting for the lock of the state", engine.lock(operation)).await?;
    let result = async {
        // Until the first change there is nothing to finish: an interruption just ends it.
        let agreed = agreed(&engine, &mut session, &job, how, output, &interrupt);
        let plan = Box::pin(unless_interrupted(&interrupt, output, agreed)).await?;
        let (outcome, stream) = run(plan, how, output, &interrupt).await?;
        outcome::tell(&engine, &job.origin, job.next(), &outcome, stream, output)
    }
    .await;
    if let Err(error) = session.release().await {
        output.always_say(&format!(
            "Could not release the lock: {}. A lock in S3 expires two minutes after its last renewal, a lock file ends with this process.",
            causes(&error)
        ));
    }
    tell_calls(&engine, output);
    engine.close().await;
    result
}

/// The plan, once it was shown and agreed to.
async fn agreed<'session>(
    engine: &Engine,
    session: &'session mut Session,
    job: &Job<'_>,
    how: &Execute,
    output: Output,
    interrupt: &CancellationToken,
) -> Result<LockedPlan<'session>, Failure> {
    let what = format!("reading {}", engine.place());
    let mut planned = match &job.written {
        None => patiently(output, &what, session.plan(&Request::from(&job.origin), interrupt)).await?,
        Some((path, document)) => {
            let planned = patiently(output, &what, session.plan_written(document, interrupt)).await;
            planned.map_err(|error| named(path, error))?
        }
    };
    let document = planned.document(&job.origin);
    let readable = trunnion::render::terminal(&document);
    let takes_over = !document.compared.other_homes.is_empty();
    let must_ask = (!planned.plan.is_empty() || takes_over) && !how.yes;
    if must_ask {
        // Nobody agrees to what they have not seen.
        output.always_say(readable.trim_end());
    } else if !how.json || !planned.plan.is_empty() {
        output.say(readable.trim_end());
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

/// A written plan that is not applied has its path as its name.
fn named(path: &Path, error: Error) -> Failure {
    match error {
        Error::Stale(stale) => {
            Failure::with_help("plan::moved", stale.said_of(&format!("`{}`", path.display())), stale.help())
        }
        other => other.into(),
    }
}

/// `--take-over` of a person at the keyboard.
async fn consent_to_take_over(document: &Document, others: &OtherHomes, output: Output) -> Result<(), Failure> {
    let question = format!("{}. Type take over to make them this home's: ", plain(&others.to_string()));
    ask(document, &question, "take over", "`--take-over` together with `--yes` continues without asking", output).await
}

async fn consent(document: &Document, output: Output) -> Result<(), Failure> {
    let stack = &document.compared.stack;
    let (question, expected) = if document.compared.origin.destroy {
        (format!("This deletes all of it. Type the stack's name ({stack}) to go on: "), stack.as_str())
    } else {
        ("Apply this plan? Type yes to go on: ".to_owned(), "yes")
    };
    ask(document, &question, expected, "`--yes` continues without asking", output).await
}

/// Asks the person for this answer; any other one ends the command. `help` is for where nobody can be asked.
async fn ask(document: &Document, question: &str, expected: &str, help: &str, output: Output) -> Result<(), Failure> {
    // The head of a long plan is out of sight by now.
    match output.ask(&trunnion::render::head(document), question).await {
        Some(answer) if answer == expected => Ok(()),
        Some(_) => {
            output.always_say("Nothing was changed.");
            Err(Failure::Told(ExitCode::Error))
        }
        None => {
            Err(Failure::with_help("apply::consent", "there is no terminal to ask on, so nothing was changed", help))
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
