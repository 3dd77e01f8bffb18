//! `cargo xtask demo`: builds everything and applies the reference stack to a sandbox.

use std::process::Command;

use crate::{Failure, build, root, run};

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "a chore talks to the person who runs it")]
pub(crate) fn demo() -> Result<(), Failure> {
    eprintln!("Building the command and the generator; the first time, the AWS SDKs take some minutes …");
    let programs = build("dev")?;
    run(Command::new(programs.join("trunnion")).current_dir(root()).args([
        "apply",
        "stacks/loadtest.yaml",
        "--sandbox",
        "--yes",
    ]))?;
    println!(
        "
Try next:
  cargo run -- apply stacks/loadtest.yaml --sandbox --yes        again: no changes
  cargo run -- plan stacks/loadtest.yaml --sandbox --env staging another environment beside it
  cargo run -- show stacks/loadtest.yaml --sandbox               the hosts and resources
  cargo run -- render boot stacks/loadtest.yaml --pool heavy     what a host boots with
  cargo run -- destroy stacks/loadtest.yaml --sandbox --yes      all of it gone"
    );
    Ok(())
}
