//! The command `comment`, and the comment, the summary and the outputs of `preview --post`.

use std::io::{self, Read as _};

use trunnion::{ExitCode, Preview, preview::Totals};
use trunnion_forge::{Action, Comment, Forge, ForgeError, OutputError, Outputs};

use super::{
    arguments::{Comment as Arguments, CommentArguments},
    failure::Failure,
    output::Output,
};

/// The longest text that is read.
const LONGEST: u64 = 4 << 20;

/// Makes the text of a file the comment.
pub(crate) async fn comment(arguments: Arguments, output: Output) -> Result<ExitCode, Failure> {
    let Arguments { file, comment } = arguments;
    let mut bytes = Vec::new();
    let read = if file.as_os_str() == "-" {
        io::stdin().take(LONGEST).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(&file).and_then(|opened| opened.take(LONGEST).read_to_end(&mut bytes))
    };
    read.map_err(|error| Failure::new("comment::file", format!("`{}` cannot be read: {error}", file.display())))?;
    // A program that shortened it may have cut a letter.
    let text = String::from_utf8_lossy(&bytes);
    if text.trim().is_empty() {
        return Err(Failure::new("comment::empty", format!("`{}` is empty", file.display())));
    }
    send(&forge(&comment)?, &comment.key, &text, output).await?;
    Ok(ExitCode::Done)
}

/// The pull request that is named, or that CI runs for.
pub(crate) fn forge(arguments: &CommentArguments) -> Result<Forge, Failure> {
    let forge = match arguments.request {
        Some(number) => Forge::of_request(number, &variable),
        None => Forge::from_environment(&variable),
    };
    forge.map_err(|error| refused(&error))
}

/// Posts a preview, and writes the summary of the job and the outputs of the step where CI has files for them.
pub(crate) async fn post(
    forge: &Forge,
    key: &str,
    (preview, markdown): (&Preview, &str),
    output: Output,
) -> Result<(), Failure> {
    let files = Outputs::from_environment(&variable);
    if files.has_summary() {
        files.summarize(markdown).map_err(|error| unwritten(&error))?;
    }
    let mut url = String::new();
    if forge.is_fork() {
        output.always_say(
            "The pull request comes from a fork, whose token cannot comment: the preview is in the job's summary.",
        );
    } else {
        url = send(forge, key, markdown, output).await?;
    }
    if files.has_outputs() {
        let Totals { create, update, replace, delete, cost_per_hour, virtual_users, severity } = preview.totals();
        let digests: Vec<&str> = preview.plans().map(|plan| plan.compared.digest.as_str()).collect();
        let outputs = [
            ("stacks", preview.stacks.len().to_string()),
            ("create", create.to_string()),
            ("update", update.to_string()),
            ("replace", replace.to_string()),
            ("delete", delete.to_string()),
            ("cost-per-hour", cost_per_hour.join(" ")),
            ("virtual-users", virtual_users.to_string()),
            ("severity", severity.to_owned()),
            ("digest", digests.join(" ")),
            ("comment", url),
        ];
        let outputs: Vec<(&str, &str)> = outputs.iter().map(|(name, value)| (*name, value.as_str())).collect();
        files.set(&outputs).map_err(|error| unwritten(&error))?;
    }
    Ok(())
}

/// Makes a text the comment, and returns the address of that.
async fn send(forge: &Forge, key: &str, body: &str, output: Output) -> Result<String, Failure> {
    let comment = Comment { key, body, run: forge.run() };
    let posted = forge.post(&comment, &|line: &str| output.always_say(line)).await.map_err(|error| refused(&error))?;
    let done = match posted.action {
        Action::Created => "created",
        Action::Updated => "updated",
        Action::Unchanged => "is the same",
        Action::Outdated => "stays: it is of a later run",
    };
    output.always_say(&format!("Comment on {} {done}: {}", forge.request(), posted.url));
    Ok(posted.url)
}

fn refused(error: &ForgeError) -> Failure {
    match error.help() {
        Some(help) => Failure::with_help("comment::refused", error.to_string(), help),
        None => Failure::new("comment::refused", error.to_string()),
    }
}

fn unwritten(error: &OutputError) -> Failure {
    match error.help() {
        Some(help) => Failure::with_help("comment::outputs", error.to_string(), help),
        None => Failure::new("comment::outputs", error.to_string()),
    }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}
