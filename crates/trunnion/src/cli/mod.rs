//! From arguments to an exit code.

mod apply;
mod arguments;
mod failure;
mod output;
mod plan;
mod progress;
mod read;
mod sandbox;
mod signals;

use std::{future::Future, process::ExitCode};

use clap::{CommandFactory as _, Parser as _};
use trunnion::Engine;

use self::{
    arguments::{Arguments, Command, SchemaOf},
    failure::Failure,
    output::Output,
};

/// Nothing to do, or all of it done.
pub(crate) const DONE: u8 = 0;
/// An error; what was done is said and recorded.
pub(crate) const ERROR: u8 = 1;
/// Changes are pending (`plan --detailed-exitcode`).
pub(crate) const PENDING: u8 = 2;
/// Interrupted; what was done is said and recorded.
pub(crate) const INTERRUPTED: u8 = 130;

pub(crate) fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(message) => {
            // Help and versions are data; what was mistyped is an error like any other.
            let _ = message.print();
            return ExitCode::from(if message.use_stderr() { ERROR } else { DONE });
        }
    };
    let output = Output::new(&arguments.talk);
    let result = run(arguments.command, output);
    ExitCode::from(result.unwrap_or_else(|failure| failure.tell(output)))
}

fn run(command: Command, output: Output) -> Result<u8, Failure> {
    trace(output);
    match command {
        Command::Validate(arguments) => read::validate(&arguments, output),
        Command::Plan(arguments) => wait_for(plan::plan(arguments, output)),
        Command::Apply(arguments) => wait_for(apply::apply(arguments, output)),
        Command::Destroy(arguments) => wait_for(apply::destroy(arguments, output)),
        Command::Show(arguments) => wait_for(read::show(arguments, output)),
        Command::Render(arguments) => read::render(&arguments, output),
        Command::Sandbox(arguments) => wait_for(sandbox::serve(arguments, output)),
        Command::Schema(arguments) => {
            let schema = match arguments.of {
                SchemaOf::Stack => trunnion::stack_schema(),
                SchemaOf::Plan => trunnion::Document::json_schema(),
            };
            output.data(&format!("{schema:#}"))?;
            Ok(DONE)
        }
        Command::Completions(arguments) => {
            let mut script = Vec::new();
            clap_complete::generate(arguments.shell, &mut Arguments::command(), "trunnion", &mut script);
            output.data(&String::from_utf8_lossy(&script))?;
            Ok(DONE)
        }
    }
}

fn wait_for(work: impl Future<Output = Result<u8, Failure>>) -> Result<u8, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Failure::new("runtime", format!("the runtime did not start: {error}")))?;
    let result = runtime.block_on(work);
    // A question that nobody answered must not keep the process.
    runtime.shutdown_background();
    result
}

/// `-vv` logs every request, in the SDK's words, to stderr.
fn trace(output: Output) {
    if output.verbosity() > 1 {
        tracing_subscriber::fmt()
            .with_writer(std::io::stderr)
            .with_env_filter("trunnion=debug,trunnion_aws=debug,trunnion_sandbox=debug,aws_smithy_runtime=info")
            .init();
    }
}

/// What `-v` tells of the AWS calls made.
fn tell_calls(engine: &Engine, output: Output) {
    if !output.is_verbose() {
        return;
    }
    let calls = engine.calls();
    output.detail(&format!(
        "AWS calls: {} reads, {} writes; the last observation took {} waves",
        calls.reads(),
        calls.writes(),
        calls.waves
    ));
    for (operation, count) in &calls.by_operation {
        output.detail(&format!("  {count:>5}  {operation}"));
    }
}
