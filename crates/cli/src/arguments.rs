//! What can be typed.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Args, ColorChoice, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

/// The stack file of a command that names none.
pub(crate) const DEFAULT_STACK: &str = "stack.yaml";

/// Plans and applies a Gatling load-testing platform on AWS from one YAML file.
#[derive(Debug, Parser)]
#[command(
    name = "trunnion",
    version,
    max_term_width = 100,
    after_help = "\
Start here:
  trunnion validate stack.yaml           is the file right?
  trunnion plan stack.yaml --sandbox     what would happen, without an AWS account
  trunnion apply stack.yaml              do it

Exit codes: 0 done or nothing to do, 1 error, 2 changes pending (plan --detailed-exitcode), 130 interrupted."
)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) talk: Talk,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What is printed, and how.
#[derive(Debug, Args)]
pub(crate) struct Talk {
    /// When to use colours; NO_COLOR is honoured
    #[arg(long, global = true, default_value = "auto", value_name = "WHEN")]
    pub(crate) color: ColorChoice,
    /// Print only results and errors
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// Print the AWS calls made; twice: log every request
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Check a stack file, every environment of it, and say everything that is wrong
    Validate(Validate),
    /// Show what apply would change, and why
    Plan(Plan),
    /// Make AWS look like the stack: plan, ask, execute
    Apply(Apply),
    /// Delete everything that belongs to the stack
    Destroy(Destroy),
    /// Show what was applied, or a plan that was written before
    Show(Show),
    /// Print a generated file: the boot script, the control plane's configuration or the policies
    Render(Render),
    /// Serve an AWS look-alike on loopback, for any AWS client
    Sandbox(Sandbox),
    /// Print the JSON Schema of stack files, plan documents, events or outcomes
    Schema(Schema),
    /// Print completions for a shell
    Completions(Completions),
}

/// Which stack.
#[derive(Debug, Args)]
pub(crate) struct StackArguments {
    /// The stack file
    #[arg(default_value = DEFAULT_STACK, value_name = "STACK")]
    pub(crate) file: PathBuf,
    /// The environment to merge in
    #[arg(long, value_name = "NAME")]
    pub(crate) env: Option<String>,
}

/// Which cloud.
#[derive(Debug, Args)]
pub(crate) struct CloudArguments {
    /// Use an AWS look-alike inside this process; its data is kept in .trunnion/sandbox/ beside the stack file
    #[arg(long)]
    pub(crate) sandbox: bool,
}

/// What of the stack.
#[derive(Debug, Args)]
pub(crate) struct Scope {
    /// Plan only this address and what it needs; `instance.heavy` means all of its hosts (repeatable)
    #[arg(long = "target", value_name = "ADDRESS")]
    pub(crate) targets: Vec<String>,
    /// Replace this resource, for example a host that is sick; `instance.heavy` means all of its hosts (repeatable)
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) replace: Vec<String>,
    /// Take the newest machine images instead of those the launch templates hold
    #[arg(long)]
    pub(crate) update_images: bool,
    /// Take the newest generator and boot script instead of those that the launch templates hold
    #[arg(long)]
    pub(crate) update_generator: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Validate {
    #[command(flatten)]
    pub(crate) stack: StackArguments,
}

#[derive(Debug, Args)]
pub(crate) struct Plan {
    #[command(flatten)]
    pub(crate) stack: StackArguments,
    #[command(flatten)]
    pub(crate) cloud: CloudArguments,
    #[command(flatten)]
    pub(crate) scope: Scope,
    /// Plan the deletion of everything
    #[arg(long, conflicts_with_all = ["update_images", "update_generator", "targets", "replace"])]
    pub(crate) destroy: bool,
    /// Print the plan document instead of the readable plan
    #[arg(long)]
    pub(crate) json: bool,
    /// Write the plan document to this .json file, for `trunnion apply FILE.json` in any folder
    #[arg(long, value_name = "FILE.json")]
    pub(crate) out: Option<PathBuf>,
    /// Exit with 2 when there are changes
    #[arg(long)]
    pub(crate) detailed_exitcode: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Apply {
    /// The stack file, or a plan document (.json) written by `trunnion plan --out`
    #[arg(default_value = DEFAULT_STACK, value_name = "STACK|PLAN")]
    pub(crate) file: PathBuf,
    /// The stack file of a plan document, where it is not where the document says
    #[arg(long, value_name = "FILE")]
    pub(crate) stack: Option<PathBuf>,
    /// The environment to merge in
    #[arg(long, value_name = "NAME")]
    pub(crate) env: Option<String>,
    #[command(flatten)]
    pub(crate) cloud: CloudArguments,
    #[command(flatten)]
    pub(crate) scope: Scope,
    #[command(flatten)]
    pub(crate) execute: Execute,
    /// Do not wait until hosts run and the service is stable
    #[arg(long)]
    pub(crate) no_wait: bool,
}

/// How to execute a plan.
#[derive(Debug, Args)]
pub(crate) struct Execute {
    /// Do not ask
    #[arg(short, long, visible_alias = "auto-approve")]
    pub(crate) yes: bool,
    /// Take over resources that the stack of the same name has in another home: another repository, bucket or folder
    #[arg(long)]
    pub(crate) take_over: bool,
    /// Print what happens as JSON, one event a line and the outcome in the last one
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Destroy {
    #[command(flatten)]
    pub(crate) stack: StackArguments,
    #[command(flatten)]
    pub(crate) cloud: CloudArguments,
    #[command(flatten)]
    pub(crate) execute: Execute,
    /// Accepted for scripts; deletes are always waited for
    #[arg(long, hide = true)]
    pub(crate) no_wait: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Show {
    /// The stack file, or a plan document (.json) written by `trunnion plan --out`
    #[arg(default_value = DEFAULT_STACK, value_name = "STACK|PLAN")]
    pub(crate) file: PathBuf,
    /// The environment to merge in
    #[arg(long, value_name = "NAME")]
    pub(crate) env: Option<String>,
    #[command(flatten)]
    pub(crate) cloud: CloudArguments,
    /// Print state and outputs, or the plan document, as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Render {
    /// What to print
    pub(crate) what: Rendered,
    #[command(flatten)]
    pub(crate) stack: StackArguments,
    /// The pool whose boot template is printed; needed when there are several
    #[arg(long, value_name = "NAME")]
    pub(crate) pool: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Rendered {
    /// The user data of a pool's hosts
    Boot,
    /// The control plane's configuration
    Conf,
    /// Every IAM and bucket policy
    Policy,
}

#[derive(Debug, Args)]
pub(crate) struct Sandbox {
    /// Address to listen on
    #[arg(long, default_value = "127.0.0.1:4600", value_name = "ADDRESS")]
    pub(crate) listen: SocketAddr,
    /// Keep the data in this folder; without it, it is gone with the process
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// The account everything happens in
    #[arg(long, default_value = "123456789012", value_name = "ID", value_parser = account)]
    pub(crate) account: String,
    /// How long asynchronous states take, in milliseconds
    #[arg(long, default_value_t = 300, value_name = "MS")]
    pub(crate) pace: u64,
    /// How long every answer takes, in milliseconds
    #[arg(long, default_value_t = 0, value_name = "MS")]
    pub(crate) latency: u64,
    /// How long something new stays invisible, in milliseconds
    #[arg(long, default_value_t = 0, value_name = "MS")]
    pub(crate) consistency_lag: u64,
    /// Refuse calls beyond AWS's documented rates
    #[arg(long)]
    pub(crate) throttle: bool,
}

fn account(text: &str) -> Result<String, &'static str> {
    let is_account = text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit());
    if is_account { Ok(text.to_owned()) } else { Err("an account has 12 digits") }
}

#[derive(Debug, Args)]
pub(crate) struct Schema {
    /// Of what
    #[arg(default_value = "stack")]
    pub(crate) of: SchemaOf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum SchemaOf {
    /// Stack files
    Stack,
    /// Plan documents
    Plan,
    /// Outcomes, in the last line of `apply --json`
    Outcome,
    /// Events, the lines of `apply --json`
    Event,
}

#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// Which shell
    pub(crate) shell: Shell,
}
