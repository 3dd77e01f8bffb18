//! The `trunnion` command: reads arguments and prints results. All its functions are available in the library
//! `trunnion`.

mod apply;
mod arguments;
mod catalog;
mod comment;
mod doctor;
mod drift;
mod failure;
mod habits;
mod outcome;
mod output;
mod permissions;
mod plan;
mod preview;
mod progress;
mod read;
mod sandbox;
mod signals;
mod size;
mod stack_file;
mod state;
mod stream;
mod unlock;
mod waiting;

use std::{borrow::Cow, ffi::OsString, future::Future, path::Path, process};

use clap::{ColorChoice, CommandFactory as _, FromArgMatches as _, ValueEnum as _};
use mimalloc::MiMalloc;
use trunnion::{Engine, ExitCode, blueprint};

use self::{
    arguments::{Arguments, Command, SchemaOf},
    failure::Failure,
    output::Output,
};

/// Every AWS call makes thousands of small allocations.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> process::ExitCode {
    let command = Arguments::command();
    let typed = habits::with_two_dashes(std::env::args_os(), &command);
    // clap colours help and usage errors while it parses, so `--color` is read before that.
    let mut command = command.color(color_of(&typed));
    let matches = command.try_get_matches_from_mut(typed);
    let parsed = matches.and_then(|mut matches| Arguments::from_arg_matches_mut(&mut matches));
    let arguments = match parsed.map_err(|message| message.format(&mut command)) {
        Ok(arguments) => arguments,
        Err(message) => return refuse(&message, &command),
    };
    let output = Output::new(&arguments.verbosity);
    let result = run(arguments.command, output);
    result.unwrap_or_else(|failure| failure.report(output)).into()
}

/// The value of `--color`, found without parsing.
fn color_of(typed: &[OsString]) -> ColorChoice {
    let values = typed.iter().zip(typed.iter().skip(1).map(Some).chain([None])).filter_map(|(argument, next)| {
        let argument = argument.to_str()?;
        if argument == "--color" { next?.to_str() } else { argument.strip_prefix("--color=") }
    });
    values.last().and_then(|value| ColorChoice::from_str(value, true).ok()).unwrap_or(ColorChoice::Auto)
}

/// Prints what clap has to say. Help and version go to stdout with exit code 0, mistakes to stderr with 1.
fn refuse(message: &clap::Error, command: &clap::Command) -> process::ExitCode {
    match habits::instead(message, command) {
        Some(instead) => Output::plain().always_say(&instead),
        None => {
            let _ = message.print();
        }
    }
    let code = if message.use_stderr() { ExitCode::Error } else { ExitCode::Done };
    code.into()
}

/// A path, quoted for the shell if necessary.
pub(crate) fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    shlex::try_quote(&text).map(Cow::into_owned).unwrap_or(text)
}

fn run(command: Command, output: Output) -> Result<ExitCode, Failure> {
    trace(output);
    match command {
        Command::Validate(arguments) => read::validate(&arguments, output),
        Command::Size(arguments) => size::size(&arguments, output),
        Command::Catalog(arguments) => catalog::catalog(&arguments, output),
        Command::Plan(arguments) => wait_for(plan::plan(arguments, output)),
        Command::Preview(arguments) => wait_for(preview::preview(arguments, output)),
        Command::Comment(arguments) => wait_for(comment::comment(arguments, output)),
        Command::Drift(arguments) => wait_for(drift::drift(arguments, output)),
        Command::Apply(arguments) => wait_for(apply::apply(arguments, output)),
        Command::Destroy(arguments) => wait_for(apply::destroy(arguments, output)),
        Command::Forget(arguments) => wait_for(apply::forget(arguments, output)),
        Command::Import(arguments) => wait_for(apply::import(arguments, output)),
        Command::Show(arguments) => wait_for(read::show(arguments, output)),
        Command::State(arguments) => wait_for(state::state(arguments, output)),
        Command::Unlock(arguments) => wait_for(unlock::unlock(arguments, output)),
        Command::Render(arguments) => read::render(&arguments, output),
        Command::RenderTemplate => {
            let failed = |error| Failure::new("template", format!("the template is not rendered: {error}"));
            blueprint::render_apart(std::io::stdin(), std::io::stdout()).map_err(failed)?;
            Ok(ExitCode::Done)
        }
        Command::Permissions(arguments) => permissions::permissions(&arguments, output),
        Command::Doctor(arguments) => wait_for(doctor::doctor(arguments, output)),
        Command::Sandbox(arguments) => wait_for(sandbox::serve(arguments, output)),
        Command::Schema(arguments) => {
            let schema = match arguments.of {
                SchemaOf::Stack => trunnion::stack_schema(),
                SchemaOf::Plan => trunnion::Document::json_schema(),
                SchemaOf::Preview => trunnion::Preview::json_schema(),
                SchemaOf::Outcome => trunnion::report::Report::json_schema(),
                SchemaOf::Drift => trunnion::Drift::json_schema(),
                SchemaOf::Examination => trunnion::Examination::json_schema(),
                SchemaOf::Event => trunnion::report::Line::json_schema(),
            };
            output.data(&format!("{schema:#}"))?;
            Ok(ExitCode::Done)
        }
        Command::Completions(arguments) => {
            let mut script = Vec::new();
            clap_complete::generate(arguments.shell, &mut Arguments::command(), "trunnion", &mut script);
            output.data(&String::from_utf8_lossy(&script))?;
            Ok(ExitCode::Done)
        }
    }
}

fn wait_for(work: impl Future<Output = Result<ExitCode, Failure>>) -> Result<ExitCode, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Failure::new("runtime", format!("the runtime did not start: {error}")))?;
    let result = runtime.block_on(work);
    // A thread that still waits for an answer must not keep the process alive.
    runtime.shutdown_background();
    result
}

/// With `-vv`, logs every request of the AWS SDK to stderr.
fn trace(output: Output) {
    if output.verbosity() > 1 {
        tracing_subscriber::fmt()
            .with_writer(std::io::stderr)
            .with_env_filter("trunnion=debug,trunnion_aws=debug,trunnion_sandbox=debug,aws_smithy_runtime=info")
            .init();
    }
}

/// With `-v`, prints how many AWS calls were made.
fn print_calls(engine: &Engine, output: Output) {
    if !output.is_verbose() {
        return;
    }
    let calls = engine.calls();
    output.detail(&format!(
        "AWS calls: {} reads, {} writes; the last observation took {} round trips",
        calls.reads(),
        calls.writes(),
        calls.round_trips
    ));
    for (operation, count) in &calls.by_operation {
        output.detail(&format!("  {count:>5}  {operation}"));
    }
}
