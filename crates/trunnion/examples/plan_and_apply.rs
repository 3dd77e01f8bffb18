//! Plan and apply without the command: `cargo run --example plan_and_apply -- stacks/minimal.yaml FOLDER`, where FOLDER
//! keeps the sandbox's data. Without FOLDER it works on AWS.

use std::{error::Error, io::Write as _, path::PathBuf};

use trunnion::{CancellationToken, Engine, Events, LoadOptions, Options, Origin, Request, Stack};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let file = arguments.next().ok_or("name a stack file")?;
    // Examples are built one folder below the command and its generator.
    let executable = std::env::current_exe()?;
    let programs = executable.ancestors().nth(2).ok_or("the example has no folder")?;
    let stack = Stack::load(&file, None, &LoadOptions::new().with_executable_dir(programs))?;

    let options = arguments.next().map_or_else(Options::new, Options::in_sandbox);
    let engine = Engine::connect(stack, options).await?;
    let interrupt = CancellationToken::new();
    let mut session = engine.lock("apply").await?;
    let plan = session.plan(&Request::new(), &interrupt).await?;
    std::io::stderr().write_fmt(format_args!("{:?}\n", plan.document(&Origin::default()).compared.summary))?;
    let outcome = plan.apply(&Events::nowhere(), &interrupt).await?;
    session.release().await?;
    engine.close().await;

    if outcome.is_complete() { Ok(()) } else { Err(format!("failed: {:?}", outcome.failed).into()) }
}
