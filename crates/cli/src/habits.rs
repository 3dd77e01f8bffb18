//! Helps users of other tools: accepts long options with one dash, and names the command for a name from another tool.

use std::ffi::OsString;

use clap::{Command, error::ContextKind, error::ContextValue, error::ErrorKind};

/// Adds the second dash to long options with one, such as `-auto-approve` and `-target=instance.probe`.
pub(crate) fn with_two_dashes(arguments: impl Iterator<Item = OsString>, command: &Command) -> Vec<OsString> {
    let long = long_options(command);
    let mut is_option = true;
    arguments
        .map(|argument| {
            is_option &= argument != "--";
            let name = argument.to_str().filter(|_| is_option).and_then(|text| text.strip_prefix('-'));
            let name = name.and_then(|text| text.split('=').next());
            if !name.is_some_and(|name| long.iter().any(|known| known == name)) {
                return argument;
            }
            let mut corrected = OsString::from("-");
            corrected.push(&argument);
            corrected
        })
        .collect()
}

/// Every long option of every command, `help` and `version` too.
fn long_options(command: &Command) -> Vec<String> {
    let nested = command.get_subcommands().flat_map(Command::get_subcommands);
    let commands = std::iter::once(command).chain(command.get_subcommands()).chain(nested);
    let mut long: Vec<String> = commands
        .flat_map(Command::get_arguments)
        .flat_map(|argument| argument.get_long_and_visible_aliases().unwrap_or_default())
        .map(str::to_owned)
        .collect();
    long.extend(["help".to_owned(), "version".to_owned()]);
    // A single letter such as `-y` is a short option.
    long.retain(|name| name.len() > 1);
    long
}

/// A better message than clap's for an unknown command; `None` for other errors, for which clap's message is used.
pub(crate) fn instead(message: &clap::Error, command: &Command) -> Option<String> {
    if message.kind() != ErrorKind::InvalidSubcommand {
        return None;
    }
    let Some(ContextValue::String(typed)) = message.get(ContextKind::InvalidSubcommand) else { return None };
    let typed = trunnion::plain(typed);
    if message.render().to_string().contains("trunnion state ") {
        return Some(format!(
            "`trunnion state {typed}` does not exist: the state is only a cache; to read it, type `trunnion state list`, or \
             `trunnion show --json`"
        ));
    }
    if let Some(instead) = of_other_tools(&typed) {
        return Some(format!("`trunnion {typed}` does not exist: {instead}"));
    }
    // clap would suggest `destroy` for `deploy`.
    let near = command.get_subcommands().map(Command::get_name);
    let near = near.filter(|name| strsim::damerau_levenshtein(&typed, name) <= 2);
    let near = near.min_by_key(|name| strsim::damerau_levenshtein(&typed, name));
    let next = near.map(|name| format!("did you mean `trunnion {name}`? ")).unwrap_or_default();
    Some(format!("`trunnion {typed}` does not exist: {next}`trunnion --help` lists every command"))
}

fn of_other_tools(typed: &str) -> Option<&'static str> {
    Some(match typed {
        "init" | "get" | "providers" | "new" => "no setup is needed; type `trunnion plan`",
        "output" | "outputs" | "status" | "list" | "ls" | "ps" => {
            "type `trunnion show`, or `trunnion show --json` in scripts"
        }
        "refresh" => "every plan reads the present state of AWS; type `trunnion plan`",
        "up" | "deploy" | "update" | "create" | "run" | "start" => "type `trunnion apply`",
        "down" | "delete" | "remove" | "rm" | "teardown" | "undeploy" | "stop" => "type `trunnion destroy`",
        "diff" | "changes" => "type `trunnion plan`",
        "version" => "type `trunnion --version`",
        "fmt" | "format" => "stack files are not reformatted; to check one, type `trunnion validate`",
        "lint" | "check" => "to check a stack file, type `trunnion validate`",
        "test" => "to check a stack file, type `trunnion validate`; to try one without AWS, `trunnion apply --sandbox`",
        "import" | "adopt" => "a plan finds every resource with the stack's tags; type `trunnion plan`",
        "stack" => "the state is only a cache; to read it, type `trunnion show --json`",
        "workspace" | "env" | "environment" | "select" | "switch" => {
            "environments are in the stack file; type `trunnion plan --env NAME`"
        }
        "console" | "graph" => "to see every resource and reference, type `trunnion plan --json`",
        "synth" | "compile" | "template" => {
            "type `trunnion render boot`, `trunnion render conf` or `trunnion render policy`"
        }
        "taint" | "untaint" | "replace" | "recreate" => "type `trunnion apply --replace ADDRESS`",
        "force-unlock" | "cancel" => {
            "to wait for a lock, type `trunnion apply --lock-timeout 30m`; to take it away, `trunnion unlock`"
        }
        "login" | "logout" | "config" | "configure" => {
            "Trunnion uses the credentials of the AWS CLI; type `aws sso login` or `aws configure`"
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command() -> Command {
        Command::new("trunnion")
            .subcommand(Command::new("plan").arg(clap::Arg::new("target").long("target").short('t')))
            .subcommand(Command::new("destroy").arg(clap::Arg::new("yes").long("yes").visible_alias("auto-approve")))
    }

    #[test]
    fn only_long_options_with_one_dash_change() {
        let typed = ["trunnion", "-auto-approve", "-target=a.b", "--yes", "-y", "-vv", "-help", "--", "-target", "-"];
        let expected =
            ["trunnion", "--auto-approve", "--target=a.b", "--yes", "-y", "-vv", "--help", "--", "-target", "-"];
        assert_eq!(with_two_dashes(typed.iter().map(OsString::from), &command()), expected);
    }

    #[test]
    fn deploy_never_suggests_destroy() {
        let message_for = |typed: &str| {
            let message = command().try_get_matches_from(["trunnion", typed]).err()?;
            instead(&message, &command())
        };
        assert_eq!(message_for("deploy").as_deref(), Some("`trunnion deploy` does not exist: type `trunnion apply`"));
        assert!(message_for("destry").is_some_and(|text| text.contains("did you mean `trunnion destroy`")));
        assert!(message_for("dploy").is_some_and(|text| !text.contains("destroy")));
        assert_eq!(message_for("plan"), None);
    }
}
