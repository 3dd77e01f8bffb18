//! Runs `systemctl` where systemd runs, and other programs that setup needs.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::{journal::Journal, outcome::Outcome};
use crate::failure::FileError;

/// The folders of units of packages and administrators.
const UNITS: [&str; 3] = ["/etc/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"];

/// Whether systemd is the init of this host (`sd_booted(3)`).
pub(super) fn runs() -> bool {
    Path::new("/run/systemd/system").is_dir()
}

/// Whether there is a unit of this name.
pub(super) fn has_unit(name: &str) -> bool {
    UNITS.iter().any(|folder| Path::new(folder).join(name).exists())
}

/// The path of the link that masks a unit.
pub(super) fn mask(name: &str) -> PathBuf {
    Path::new("/etc/systemd/system").join(name)
}

/// Runs a program and returns its stdout. If it fails, the error has its stderr.
pub(super) fn run(command: &mut Command) -> Result<String, String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output().map_err(|error| format!("cannot start `{program}`: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let arguments: Vec<_> = command.get_args().map(|argument| argument.to_string_lossy()).collect();
    Err(format!("`{program} {}` failed with {}: {}", arguments.join(" "), output.status, said.trim()))
}

/// Runs `systemctl` with these arguments.
pub(super) fn systemctl(arguments: &str) -> Result<String, String> {
    run(Command::new("systemctl").args(arguments.split(' ')))
}

/// Runs `systemctl` with all pending arguments, in alphabetical order: `daemon-reload` comes before `stop` and `try-…`.
pub(super) fn run_pending(journal: &mut Journal, outcome: &mut Outcome) -> Result<(), FileError> {
    for arguments in journal.before().pending.clone() {
        if runs() {
            match systemctl(&arguments) {
                Ok(_) => outcome.changed(format!("`systemctl {arguments}`"), "done"),
                // Such as a timer that never ran.
                Err(error) if arguments.starts_with("stop ") || arguments.starts_with("start ") => {
                    outcome.warnings.push(error);
                }
                Err(error) => {
                    outcome.problems.push(error);
                    continue;
                }
            }
        } else {
            outcome.warnings.push(format!("systemd does not run here, so `systemctl {arguments}` was not run"));
        }
        journal.done(&arguments)?;
    }
    Ok(())
}
