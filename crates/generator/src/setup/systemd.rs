//! Telling systemd what changed, where it runs.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::{Outcome, files::FileError, journal::Journal};

/// Where packages and administrators put units.
const UNITS: [&str; 3] = ["/etc/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"];

/// Whether systemd is this host's init (`sd_booted(3)`).
pub(super) fn runs() -> bool {
    Path::new("/run/systemd/system").is_dir()
}

/// Whether there is a unit of this name.
pub(super) fn has_unit(name: &str) -> bool {
    UNITS.iter().any(|folder| Path::new(folder).join(name).exists())
}

/// Where a unit of this name is masked.
pub(super) fn mask(name: &str) -> PathBuf {
    Path::new("/etc/systemd/system").join(name)
}

/// Runs a program that must succeed; an error is what it said.
pub(super) fn run(command: &mut Command) -> Result<String, String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output =
        command.stdin(Stdio::null()).output().map_err(|error| format!("`{program}` does not start: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let arguments: Vec<_> = command.get_args().map(|argument| argument.to_string_lossy()).collect();
    Err(format!("`{program} {}` ends with {}: {}", arguments.join(" "), output.status, said.trim()))
}

/// `systemctl` with these arguments.
pub(super) fn systemctl(arguments: &str) -> Result<String, String> {
    run(Command::new("systemctl").args(arguments.split(' ')))
}

/// Tells systemd all that is pending, in the order of the alphabet: `daemon-…` comes before `stop` and `try-…`.
pub(super) fn tell(journal: &mut Journal, outcome: &mut Outcome) -> Result<(), FileError> {
    for arguments in journal.before().pending.clone() {
        if runs() {
            match systemctl(&arguments) {
                Ok(_) => outcome.changed(format!("`systemctl {arguments}`"), "done"),
                // A timer that never ran, or has nothing left to run for.
                Err(error) if arguments.starts_with("stop ") || arguments.starts_with("start ") => {
                    outcome.warnings.push(error);
                }
                Err(error) => {
                    outcome.problems.push(error);
                    continue;
                }
            }
        } else {
            outcome.warnings.push(format!("systemd does not run here: nobody was told to `{arguments}`"));
        }
        journal.told(&arguments)?;
    }
    Ok(())
}
