//! The command: reads arguments, talks to people. Everything it does, the library `trunnion` can do without it.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
