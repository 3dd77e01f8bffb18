//! The command line: subcommands and options.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::{Args, ColorChoice, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use rust_decimal::Decimal;

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
  trunnion validate stack.yaml           check the stack file
  trunnion plan stack.yaml --sandbox     show what would change, without an AWS account
  trunnion apply stack.yaml              make the changes in AWS

Exit codes: 0 done or nothing to do, 1 error, 2 changes pending (plan
--detailed-exitcode) or drift (drift), 130 interrupted."
)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) verbosity: Verbosity,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options for the messages on stderr.
#[derive(Debug, Args)]
pub(crate) struct Verbosity {
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
    /// Check a stack file with all its environments, and list every mistake
    Validate(Validate),
    /// Show what apply would change, and why
    Plan(Plan),
    /// Show what a pull request changes, compared with its base
    Preview(Preview),
    /// Make a text the comment of the pull request that CI runs for
    Comment(Comment),
    /// Show what was changed outside of trunnion since the last apply
    Drift(Drift),
    /// Change AWS to match the stack: plan, ask, execute
    Apply(Apply),
    /// Delete everything that belongs to the stack
    Destroy(Destroy),
    /// Take the stack's tags off a resource and leave it as it is
    Forget(Forget),
    /// Make a resource that exists the one at an address of the stack
    Import(Import),
    /// Show what was applied, or a saved plan
    Show(Show),
    /// List, show and restore the earlier documents of the state
    State(State),
    /// Take the lock of the state away from a command that hangs
    Unlock(Unlock),
    /// Print a generated file: the boot script, the control plane's configuration or the policies
    Render(Render),
    /// Find the cheapest pool that holds a number of virtual users
    Size(Size),
    /// List instance types with their interfaces, addresses, bandwidth and prices
    Catalog(Catalog),
    /// Print the least IAM policy with which a command works on a stack
    Permissions(Permissions),
    /// Check, without changing anything, whether an account has what a stack needs
    Doctor(Doctor),
    /// Serve a simulated AWS on the loopback interface, for any AWS client
    Sandbox(Sandbox),
    /// Print the JSON Schema of stack files, plan documents, previews, events, outcomes, examinations or drift
    Schema(Schema),
    /// Print completions for a shell
    Completions(Completions),
    /// Render a boot template that is read from stdin (used by this program itself)
    #[command(name = trunnion::blueprint::RENDER, hide = true)]
    RenderTemplate,
}

/// How a stack file is read.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Reading {
    /// The environment to merge in
    #[arg(long, value_name = "NAME")]
    pub(crate) env: Option<String>,
    /// A file outside of its repository that the stack may name, such as a boot template (repeatable)
    #[arg(long, value_name = "PATH")]
    pub(crate) allow_file: Vec<PathBuf>,
}

/// The stack of a command.
#[derive(Debug, Args)]
pub(crate) struct StackArguments {
    /// The stack file
    #[arg(default_value = DEFAULT_STACK, value_name = "STACK")]
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) reading: Reading,
}

/// The cloud: AWS or the sandbox.
#[derive(Debug, Args)]
pub(crate) struct CloudArguments {
    /// Use a simulated AWS inside this process; its data is kept in .trunnion/sandbox/ beside the stack file
    #[arg(long)]
    pub(crate) sandbox: bool,
    /// Append every AWS call to this file, for a bug report: one JSON document per line, without
    /// secrets, account IDs, public addresses and what identifies a person
    #[arg(long, value_name = "FILE")]
    pub(crate) transcript: Option<PathBuf>,
}

/// The parts of the stack in a plan.
#[derive(Debug, Args)]
pub(crate) struct Scope {
    /// Plan only this address and its dependencies; `instance.heavy` means all of its hosts (repeatable)
    #[arg(long = "target", value_name = "ADDRESS")]
    pub(crate) targets: Vec<String>,
    /// Leave this address as it is: neither changed, replaced nor deleted; `instance.heavy` means all of its hosts (repeatable)
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) exclude: Vec<String>,
    /// Replace this resource, for example an unhealthy host; `instance.heavy` means all of its hosts (repeatable)
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) replace: Vec<String>,
    /// Use the newest machine images instead of those in the launch templates
    #[arg(long)]
    pub(crate) update_images: bool,
    /// Use the newest generator and boot script instead of those in the launch templates
    #[arg(long)]
    pub(crate) update_generator: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Validate {
    #[command(flatten)]
    pub(crate) stack: StackArguments,
}

#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each one is an independent flag of the command")]
pub(crate) struct Plan {
    #[command(flatten)]
    pub(crate) stack: StackArguments,
    #[command(flatten)]
    pub(crate) cloud: CloudArguments,
    #[command(flatten)]
    pub(crate) scope: Scope,
    /// Plan the deletion of everything in the stack
    #[arg(long, conflicts_with_all = ["update_images", "update_generator", "targets", "exclude", "replace"])]
    pub(crate) destroy: bool,
    /// Print the plan document (JSON) instead of the readable plan
    #[arg(long)]
    pub(crate) json: bool,
    /// Print only the place, the totals and one line for each change
    #[arg(long, conflicts_with = "json")]
    pub(crate) summary: bool,
    /// Print the plan as GitHub's Markdown, for the comment of a pull request
    #[arg(long, conflicts_with_all = ["json", "summary"])]
    pub(crate) markdown: bool,
    /// Write the plan document to this .json file, for `trunnion apply FILE.json` in any folder
    #[arg(long, value_name = "FILE.json")]
    pub(crate) out: Option<PathBuf>,
    /// Exit with 2 when there are changes
    #[arg(long)]
    pub(crate) detailed_exitcode: bool,
}

/// Which comment is written.
#[derive(Debug, Args)]
pub(crate) struct CommentArguments {
    /// The name of the comment, where several workflows each have one
    #[arg(long, value_name = "NAME", default_value = "preview")]
    pub(crate) key: String,
    /// The number of the pull request, where CI does not run for one
    #[arg(long, value_name = "NUMBER")]
    pub(crate) request: Option<u64>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
The comment is created once and updated after that: only one of the token's own user is changed. In
GitHub Actions, it needs GITHUB_TOKEN and the permission `pull-requests: write`; in GitLab CI,
GITLAB_TOKEN.

  trunnion comment applied.md --request 7")]
pub(crate) struct Comment {
    /// The file with the text, in Markdown; `-` for stdin
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) comment: CommentArguments,
}

/// How a preview is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum PreviewFormat {
    /// For the comment of a pull request
    Markdown,
    /// For programs
    Json,
    /// A page for a browser, with charts
    Html,
}

#[derive(Debug, Args)]
#[command(after_help = "\
It plans each stack in each of its environments, and says which changes the base asks for already. The
base is read from Git's objects: nothing is checked out. The pull request may come from a stranger, so
the policies, the budget, the workload and the prices that it is judged by, and what is protected are
those of the base.

  trunnion preview stacks/*.yaml --base origin/main
  trunnion preview stacks/*.yaml --base origin/main --offline
  trunnion preview stacks/*.yaml --base origin/main --out preview --post

In GitHub Actions, `--post` needs GITHUB_TOKEN and the permission `pull-requests: write`; it also writes
the job's summary and the step's outputs. In GitLab CI, it needs GITLAB_TOKEN.

Exit codes: 0 the preview is complete and nothing forbids the change, 1 otherwise.")]
pub(crate) struct Preview {
    /// The stack files
    #[arg(default_value = DEFAULT_STACK, value_name = "STACK")]
    pub(crate) files: Vec<PathBuf>,
    /// The branch, tag or commit that the pull request goes to; or a file in place of the stack file, beginning with `./`, `../` or `/`
    #[arg(long, value_name = "REF|FILE")]
    pub(crate) base: String,
    /// Only this environment of each stack
    #[arg(long, value_name = "NAME")]
    pub(crate) env: Option<String>,
    /// A file outside of its repository that a stack may name, such as a boot template (repeatable)
    #[arg(long, value_name = "PATH")]
    pub(crate) allow_file: Vec<PathBuf>,
    /// How it is printed
    #[arg(long, value_name = "FORMAT", default_value = "markdown")]
    pub(crate) format: PreviewFormat,
    /// Write the preview in each format into this folder, and each plan for `trunnion apply PLAN`
    #[arg(long, value_name = "FOLDER")]
    pub(crate) out: Option<PathBuf>,
    /// The folder of policies, `*.rego`; otherwise `policies` of the base, if it has that folder
    #[arg(long, value_name = "FOLDER")]
    pub(crate) policies: Option<PathBuf>,
    /// Take policies, budget, workload, prices and protection from the files as they are now
    #[arg(long)]
    pub(crate) trust_head: bool,
    /// Make it the comment of the pull request that CI runs for
    #[arg(long)]
    pub(crate) post: bool,
    #[command(flatten)]
    pub(crate) comment: CommentArguments,
    /// Make no call to AWS: compare the files with those of the base, as if the base were applied
    #[arg(long, conflicts_with_all = ["sandbox", "transcript"])]
    pub(crate) offline: bool,
    #[command(flatten)]
    pub(crate) cloud: CloudArguments,
}

#[derive(Debug, Args)]
#[command(after_help = "\
For each attribute, it shows what the stack asks for, what was last applied, and what AWS has. What
the stack asks for since the last apply is no drift: `trunnion plan` shows that.

Exit codes: 0 no drift, 1 error, 2 drift.")]
pub(crate) struct Drift {
    #[command(flatten)]
    pub(crate) stack: StackArguments,
    #[command(flatten)]
    pub(crate) cloud: CloudArguments,
    /// Print the drift as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Apply {
    /// The stack file, or a plan document (.json) written by `trunnion plan --out`
    #[arg(default_value = DEFAULT_STACK, value_name = "STACK|PLAN")]
    pub(crate) file: PathBuf,
    /// The stack file of a plan document, if it has moved since the plan was made
    #[arg(long, value_name = "FILE")]
    pub(crate) stack: Option<PathBuf>,
    /// Refuse a plan document that `trunnion preview` does not write: one with options such as `--destroy`, or of a stack file
    /// that Git does not track
    #[arg(long)]
    pub(crate) previewed: bool,
    #[command(flatten)]
    pub(crate) reading: Reading,
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
    /// Do not ask for confirmation
    #[arg(short, long, visible_alias = "auto-approve")]
    pub(crate) yes: bool,
    /// Take over the resources of a stack with the same name that was applied from another repository, bucket or folder
    #[arg(long)]
    pub(crate) take_over: bool,
    /// Wait this long for the lock of the state if another command holds it, such as 30s, 10m or 1h30m
    #[arg(long, value_name = "DURATION", default_value = "0s", hide_default_value = true, value_parser = duration)]
    pub(crate) lock_timeout: Duration,
    /// Print events as JSON, one per line; the last line has the outcome
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
    /// Accepted for scripts and ignored: destroy always waits for deletes
    #[arg(long, hide = true)]
    pub(crate) no_wait: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
The stack must not ask for the address any more: remove it from the stack file first, for example
with a lower `count`. What is forgotten keeps running, and no later command finds it.")]
pub(crate) struct Forget {
    /// The address, such as `instance.heavy[3]`; `instance.heavy` means all hosts of a pool
    #[arg(value_name = "ADDRESS")]
    pub(crate) address: String,
    #[command(flatten)]
    pub(crate) stack: StackArguments,
    #[command(flatten)]
    pub(crate) cloud: CloudArguments,
    #[command(flatten)]
    pub(crate) execute: Execute,
}

#[derive(Debug, Args)]
#[command(after_help = "\
The stack must ask for the address, and nothing may exist there yet. The plan shows each difference.
It is refused if one of them cannot change in place.")]
pub(crate) struct Import {
    /// The address, such as `security_group.load`
    #[arg(value_name = "ADDRESS")]
    pub(crate) address: String,
    /// The ID of the resource in AWS, such as `sg-0123456789abcdef0`
    #[arg(value_name = "ID")]
    pub(crate) id: String,
    #[command(flatten)]
    pub(crate) stack: StackArguments,
    #[command(flatten)]
    pub(crate) cloud: CloudArguments,
    #[command(flatten)]
    pub(crate) execute: Execute,
}

#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each one is an independent flag of the command")]
pub(crate) struct Show {
    /// The stack file, or a plan document (.json) written by `trunnion plan --out`
    #[arg(default_value = DEFAULT_STACK, value_name = "STACK|PLAN")]
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) reading: Reading,
    #[command(flatten)]
    pub(crate) cloud: CloudArguments,
    /// Print state and outputs, or the plan document, as JSON; with --cost or --capacity, only these figures
    #[arg(long)]
    pub(crate) json: bool,
    /// Print only the place, the totals and one line for each change of a plan document
    #[arg(long, conflicts_with_all = ["json", "cost", "capacity"])]
    pub(crate) summary: bool,
    /// Print a plan document as GitHub's Markdown, for the comment of a pull request
    #[arg(long, conflicts_with_all = ["json", "cost", "capacity", "summary"])]
    pub(crate) markdown: bool,
    /// Print what everything costs, line by line, with the source of each price
    #[arg(long)]
    pub(crate) cost: bool,
    /// Print how many virtual users each pool holds, with each limit
    #[arg(long)]
    pub(crate) capacity: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
It compares every instance type with a price in the region, and every number of hosts. The model is
that of a plan: `trunnion show --capacity` lists its limits and assumptions. Options that are not
given are those of the stack, if one is named, else the defaults of `workload`.")]
#[expect(clippy::struct_excessive_bools, reason = "each one is an independent flag of the command")]
pub(crate) struct Size {
    /// How many virtual users the pool must hold
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    pub(crate) virtual_users: Option<u64>,
    /// The AWS region, whose prices are compared
    #[arg(long, value_name = "REGION", required_unless_present = "stack", conflicts_with = "stack")]
    pub(crate) region: Option<String>,
    /// A stack file, whose `workload` and `prices` are used
    #[arg(long, value_name = "STACK")]
    pub(crate) stack: Option<PathBuf>,
    /// The environment to merge in
    #[arg(long, value_name = "NAME", requires = "stack")]
    pub(crate) env: Option<String>,
    /// A file outside of its repository that the stack may name (repeatable)
    #[arg(long, value_name = "PATH", requires = "stack")]
    pub(crate) allow_file: Vec<PathBuf>,
    /// Connections of a user
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub(crate) connections_per_user: Option<u32>,
    /// Requests of a user a second
    #[arg(long, value_name = "RATE", value_parser = rate)]
    pub(crate) requests_per_second_per_user: Option<Decimal>,
    /// Size of a request and its response together
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(0..=1_073_741_824))]
    pub(crate) bytes_per_request: Option<u32>,
    /// Destinations (address and port) with private addresses
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    pub(crate) private_targets: Option<u32>,
    /// Destinations on the internet
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    pub(crate) public_targets: Option<u32>,
    /// Memory of Gatling for a user
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(1..=1_073_741_824))]
    pub(crate) memory_per_user: Option<u32>,
    /// What scripts need beside that, in percent
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u32).range(0..=10_000))]
    pub(crate) memory_margin_percent: Option<u32>,
    /// At most this many hosts
    #[arg(long, value_name = "COUNT", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub(crate) most_hosts: u32,
    /// Only this architecture
    #[arg(long, value_name = "ARCH")]
    pub(crate) arch: Option<Arch>,
    /// Only types whose name begins like this, such as `c6in`; may be repeated
    #[arg(long, value_name = "PREFIX")]
    pub(crate) family: Vec<String>,
    /// A zone with at least one host; may be repeated, for a pool in each zone
    #[arg(long, value_name = "ZONE")]
    pub(crate) zone: Vec<String>,
    /// Spot prices
    #[arg(long)]
    pub(crate) spot: bool,
    /// The others hold the workload if one host fails
    #[arg(long)]
    pub(crate) one_may_fail: bool,
    /// With connections that EC2 tracks, at most 100,000 for each host
    #[arg(long)]
    pub(crate) tracked: bool,
    /// Where the default route of the hosts leads
    #[arg(long, value_name = "GATEWAY", default_value = "other")]
    pub(crate) network: Network,
    /// Size of the root volume
    #[arg(long, value_name = "GIB", default_value_t = 30, value_parser = clap::value_parser!(u32).range(8..=65_536))]
    pub(crate) volume_gib: u32,
    /// How many pools to show
    #[arg(long, value_name = "COUNT", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) show: u16,
    /// Print the pools as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Requests a second.
fn rate(text: &str) -> Result<Decimal, String> {
    let wanted = || "write a number from 0 to 100000 with at most 6 decimal places".to_owned();
    let rate = Decimal::from_str_exact(text).map_err(|_| wanted())?.normalize();
    let is_valid = rate >= Decimal::ZERO && rate <= Decimal::from(100_000) && rate.scale() <= 6;
    if is_valid { Ok(rate) } else { Err(wanted()) }
}

/// An architecture.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Arch {
    /// Intel and AMD
    #[value(name = "x86_64")]
    X86_64,
    /// AWS Graviton
    Arm64,
}

/// The target of a default route.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Network {
    /// Only public addresses reach the internet
    InternetGateway,
    /// 55,000 connections to each public destination
    NatGateway,
    /// Anything without a limit of its own
    Other,
}

#[derive(Debug, Args)]
pub(crate) struct Catalog {
    /// Only types whose name begins like one of these, such as `c6in`
    #[arg(value_name = "PREFIX")]
    pub(crate) names: Vec<String>,
    /// The AWS region of the prices
    #[arg(long, value_name = "REGION", default_value = "us-east-1")]
    pub(crate) region: String,
    /// Only this architecture
    #[arg(long, value_name = "ARCH")]
    pub(crate) arch: Option<Arch>,
    /// At least this many vCPUs
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    pub(crate) min_vcpu: u32,
    /// At least this much memory
    #[arg(long, value_name = "GIB", default_value_t = 0)]
    pub(crate) min_memory_gib: u32,
    /// At least this much sustained bandwidth, in Gbit/s
    #[arg(long, value_name = "GBPS", default_value_t = 0)]
    pub(crate) min_gbps: u32,
    /// At least this many private IPv4 addresses on all interfaces together
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    pub(crate) min_addresses: u32,
    /// Also types without a price in the region
    #[arg(long)]
    pub(crate) unpriced: bool,
    /// Print the types as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct State {
    #[command(subcommand)]
    pub(crate) command: StateCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum StateCommand {
    /// List the documents of the state, the newest first: in S3 the versions of the object, for a file
    /// the documents that the last ten commands found
    List(StateList),
    /// Print a document of the state as JSON
    Show(StateShow),
    /// Make an earlier document the present one; no AWS resource changes
    Restore(StateRestore),
}

#[derive(Debug, Args)]
pub(crate) struct StateList {
    #[command(flatten)]
    pub(crate) stack: StackArguments,
    #[command(flatten)]
    pub(crate) cloud: CloudArguments,
    /// How many documents to list
    #[arg(long, value_name = "NUMBER", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) limit: u16,
    /// Print the list as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct StateShow {
    /// The document, as `trunnion state list` names it
    #[arg(value_name = "VERSION")]
    pub(crate) version: String,
    #[command(flatten)]
    pub(crate) stack: StackArguments,
    #[command(flatten)]
    pub(crate) cloud: CloudArguments,
}

#[derive(Debug, Args)]
pub(crate) struct StateRestore {
    /// The document, as `trunnion state list` names it
    #[arg(value_name = "VERSION")]
    pub(crate) version: String,
    #[command(flatten)]
    pub(crate) stack: StackArguments,
    #[command(flatten)]
    pub(crate) cloud: CloudArguments,
    /// Do not ask for confirmation
    #[arg(short, long)]
    pub(crate) yes: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
A lock is seldom in the way for long. That of a killed command on this machine is taken over at
once, and any other lock in S3 two minutes after its last renewal. Unlock is for a command that
still runs and cannot be ended. It makes no further change once it notices the loss: within 20
seconds.")]
pub(crate) struct Unlock {
    #[command(flatten)]
    pub(crate) stack: StackArguments,
    #[command(flatten)]
    pub(crate) cloud: CloudArguments,
    /// Do not ask for confirmation
    #[arg(short, long)]
    pub(crate) yes: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Render {
    /// What to print
    pub(crate) what: Rendered,
    #[command(flatten)]
    pub(crate) stack: StackArguments,
    /// The pool for `boot`; required if the stack has several
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
#[command(after_help = "\
The policy is computed from the stack file, without any AWS call. It goes to stdout as JSON:
  trunnion permissions stack.yaml --for plan > plan.json
  aws iam create-policy --policy-name loadtest-plan --policy-document file://plan.json

A policy that is too long for one managed policy is printed as a list of parts. Print each part:
  trunnion permissions stack.yaml --for apply --part 1 > apply-1.json

`apply` does not delete what every stack has: that needs the policy of `destroy` as well.

In IAM, S3, ECS and CloudWatch Logs, the names of the stack limit the policy. In EC2, the tag
`trunnion:stack` does: hosts, security groups, launch templates and Elastic IPs of other stacks
cannot be changed or given to this stack. So apply cannot repair a resource that lost this tag.

The policy does not cover keys of your own in KMS: that of the state's bucket, or that of EBS.")]
pub(crate) struct Permissions {
    #[command(flatten)]
    pub(crate) stack: StackArguments,
    /// The command that the policy is for
    #[arg(long = "for", value_name = "COMMAND", default_value = "apply")]
    pub(crate) purpose: Purpose,
    /// Print only this part of a policy that is too long for one managed policy; the first part is 1
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u8).range(1..))]
    pub(crate) part: Option<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Purpose {
    /// Reads only; `preview` is the same
    #[value(alias = "preview")]
    Plan,
    /// Creates and changes resources
    Apply,
    /// Deletes everything
    Destroy,
    /// Reads what `plan` and `trunnion doctor` read
    Doctor,
    /// Lists, shows and restores versions of a state in S3
    State,
    /// Takes the stack's tags off resources
    Forget,
    /// Gives resources the stack's tags, and changes them in place
    Import,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Each line is `ok`, `missing` or `unknown`. An `unknown` line says what would answer it, if anything
does. `trunnion permissions --for doctor` prints the policy with which doctor sees all that it can.

Permissions are those of the identity that runs it. EC2 is asked with dry runs, which change
nothing. For other services, IAM simulates the policies of the identity.

Exit codes: 0 nothing is missing, 1 something is missing or doctor failed.")]
pub(crate) struct Doctor {
    #[command(flatten)]
    pub(crate) stack: StackArguments,
    #[command(flatten)]
    pub(crate) cloud: CloudArguments,
    /// Check only the permissions of this command (repeatable); without it, those of all three
    #[arg(long = "for", value_name = "COMMAND")]
    pub(crate) purposes: Vec<Examined>,
    /// Print the findings as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Examined {
    /// Reads only
    Plan,
    /// Creates and changes resources
    Apply,
    /// Deletes everything
    Destroy,
}

#[derive(Debug, Args)]
pub(crate) struct Sandbox {
    /// The address to listen on
    #[arg(long, default_value = "127.0.0.1:4600", value_name = "ADDRESS")]
    pub(crate) listen: SocketAddr,
    /// Keep the data in this folder; without it, the data is lost when the process ends
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// The ID of the simulated account
    #[arg(long, default_value = "123456789012", value_name = "ID", value_parser = account)]
    pub(crate) account: String,
    /// Be at least as strict as AWS with a new account: reads are eventually consistent, deletions take their time,
    /// calls are throttled, and the quotas are low
    #[arg(long)]
    pub(crate) strict: bool,
    /// Decides which reads of a strict sandbox show what is new
    #[arg(long, default_value_t = 1, value_name = "NUMBER", requires = "strict")]
    pub(crate) seed: u64,
    /// How many times faster than on AWS everything happens that takes time there; 1 is real time
    #[arg(long, default_value_t = 200.0, value_name = "FACTOR", value_parser = factor)]
    pub(crate) speed: f64,
    /// How long every response takes, in milliseconds
    #[arg(long, default_value_t = 0, value_name = "MS")]
    pub(crate) latency: u64,
    /// How long new resources stay invisible to all reads, in milliseconds
    #[arg(long, value_name = "MS")]
    pub(crate) consistency_lag: Option<u64>,
    /// Refuse calls beyond the documented rate limits of AWS, which `--speed` raises unless another factor is given
    #[arg(long, value_name = "FACTOR", num_args = 0..=1, require_equals = true, value_parser = factor)]
    #[expect(clippy::option_option, reason = "its value can be left out")]
    pub(crate) throttle: Option<Option<f64>>,
    /// The quota of vCPUs of running instances in a region; a strict sandbox has 5
    #[arg(long, value_name = "NUMBER")]
    pub(crate) vcpus: Option<u32>,
    /// Write every decision on a permission to this file, one JSON document per line
    #[arg(long, value_name = "FILE")]
    pub(crate) authorizations: Option<PathBuf>,
}

fn factor(text: &str) -> Result<f64, &'static str> {
    let factor: Option<f64> = text.parse().ok().filter(|factor| (0.001..=1_000_000.0).contains(factor));
    factor.ok_or("a factor is a number from 0.001 to 1000000")
}

fn duration(text: &str) -> Result<Duration, &'static str> {
    let wrong = "a duration is a number with a unit, such as 30s, 10m or 1h30m";
    let duration: jiff::SignedDuration = text.parse().map_err(|_| wrong)?;
    Duration::try_from(duration).map_err(|_| wrong)
}

fn account(text: &str) -> Result<String, &'static str> {
    let is_account = text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit());
    if is_account { Ok(text.to_owned()) } else { Err("an account ID has 12 digits") }
}

#[derive(Debug, Args)]
pub(crate) struct Schema {
    /// The kind of document
    #[arg(default_value = "stack")]
    pub(crate) of: SchemaOf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum SchemaOf {
    /// Stack files
    Stack,
    /// Plan documents
    Plan,
    /// Previews: `preview --format json`
    Preview,
    /// Outcomes: `outcome` in the last line of `apply --json`
    Outcome,
    /// Events: every line of `apply --json`
    Event,
    /// Examinations: `doctor --json`
    Examination,
    /// Drift: `drift --json`
    Drift,
}

#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// The shell
    pub(crate) shell: Shell,
}
