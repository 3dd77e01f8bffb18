//! Takes everything back that setup changed, the last thing first, and the journal at the very end: killed half-way and run
//! again, it goes on.

use std::{
    fs::{self, Permissions},
    io,
    os::unix::fs::{PermissionsExt as _, chown},
    path::Path,
    process::Command,
};

use super::{Failure, Outcome, files, files::FileError, journal::Journal, network, sshd, systemd, users};

pub(super) async fn undo() -> Result<Outcome, Failure> {
    let mut journal = Journal::open()?;
    let mut outcome = Outcome::default();
    files(&mut journal, &mut outcome)?;
    network::undo(&journal, &mut outcome).await?;
    sysctls(&journal, &mut outcome)?;
    unmask(&mut journal, &mut outcome)?;
    user(&journal, &mut outcome)?;
    folders(&journal, &mut outcome)?;
    systemd::tell(&mut journal, &mut outcome)?;
    if outcome.problems.is_empty() {
        journal.end()?;
    }
    Ok(outcome)
}

fn files(journal: &mut Journal, outcome: &mut Outcome) -> Result<(), Failure> {
    // What an interrupted setup wanted stopped is to go on.
    for arguments in journal.before().pending.clone() {
        if arguments.starts_with("stop ") {
            journal.told(&arguments)?;
        }
    }
    for (path, saved) in journal.before().files.clone() {
        // A folder that is gone took its files along.
        if saved.is_some() && !path.parent().is_some_and(Path::exists) {
            continue;
        }
        if files::is_as_found(&path, saved.as_ref())? {
            continue;
        }
        if let Some(arguments) = consequence(&path) {
            journal.pend(&arguments)?;
        }
        files::restore(&path, saved.as_ref())?;
        outcome.changed(format!("`{}`", path.display()), if saved.is_some() { "put back" } else { "removed" });
    }
    Ok(())
}

/// What systemd is to be told when this file is as it was.
fn consequence(path: &Path) -> Option<String> {
    if ["/etc/systemd/system", "/etc/systemd/system.conf.d"].iter().any(|folder| path.starts_with(folder)) {
        return Some("daemon-reload".to_owned());
    }
    sshd::reload_for(path)
}

fn sysctls(journal: &Journal, outcome: &mut Outcome) -> Result<(), Failure> {
    for (name, value) in &journal.before().sysctls {
        // A parameter of an interface goes with it.
        if files::sysctl(name)?.is_none_or(|found| found == *value) {
            continue;
        }
        match files::set_sysctl(name, value) {
            Ok(()) => outcome.changed(format!("`{}`", name.replace('/', ".")), format!("set back to `{value}`")),
            Err(error) => outcome.problems.push(format!("{error}{}", crate::cli::causes(&error))),
        }
    }
    Ok(())
}

fn unmask(journal: &mut Journal, outcome: &mut Outcome) -> Result<(), Failure> {
    for unit in journal.before().masked.clone() {
        let path = systemd::mask(&unit);
        if fs::read_link(&path).is_ok_and(|target| target == Path::new("/dev/null")) {
            journal.pend("daemon-reload")?;
            // By the alphabet it comes after `daemon-reload`.
            journal.pend(&format!("start {unit}"))?;
            files::remove(&path)?;
            outcome.changed(format!("`{unit}`"), "unmasked");
        }
    }
    Ok(())
}

fn user(journal: &Journal, outcome: &mut Outcome) -> Result<(), Failure> {
    let Some(name) = &journal.before().user else { return Ok(()) };
    if users::exists(name)? {
        match systemd::run(Command::new("userdel").args(["--remove", "--", name])) {
            Ok(_) => outcome.changed(format!("user `{name}`"), "removed"),
            Err(error) => outcome.problems.push(error),
        }
    }
    Ok(())
}

fn folders(journal: &Journal, outcome: &mut Outcome) -> Result<(), Failure> {
    for (path, owned) in &journal.before().owned {
        let Ok(found) = fs::symlink_metadata(path) else { continue };
        if found.is_dir() && super::journal::Owned::of(&found) != *owned {
            chown(path, Some(owned.uid), Some(owned.gid)).map_err(FileError::new("own", path))?;
            fs::set_permissions(path, Permissions::from_mode(owned.mode)).map_err(FileError::new("own", path))?;
            outcome.changed(format!("folder `{}`", path.display()), "given back");
        }
    }
    for path in journal.before().folders.iter().rev() {
        match fs::remove_dir(path) {
            Ok(()) => outcome.changed(format!("folder `{}`", path.display()), "removed"),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {
                outcome.warnings.push(format!("`{}` is kept: others put something there", path.display()));
            }
            Err(error) => return Err(FileError::new("remove", path)(error).into()),
        }
    }
    Ok(())
}
