//! Takes everything back that setup changed, the last thing first, and the journal at the very end: killed half-way and run
//! again, it goes on.

use std::{fs, io, path::Path};

use super::{
    Failure, Outcome, files,
    files::{FileError, Folder},
    journal::Journal,
    network, sshd, systemd, users,
};

pub(super) async fn undo() -> Result<Outcome, Failure> {
    let mut journal = Journal::open().await?;
    let mut outcome = Outcome::default();
    files(&mut journal, &mut outcome)?;
    network::undo(&journal, &mut outcome).await?;
    sysctls(&journal, &mut outcome)?;
    unmask(&mut journal, &mut outcome)?;
    let dismissed = users::dismiss(&mut journal, &mut outcome);
    outcome.take(dismissed);
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
        let is_folder = |path: &Path| fs::symlink_metadata(path).is_ok_and(|found| found.is_dir());
        if saved.is_some() && !path.parent().is_some_and(is_folder) {
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

fn folders(journal: &Journal, outcome: &mut Outcome) -> Result<(), Failure> {
    for (path, owned) in &journal.before().owned {
        let failed = || FileError::new("own", path);
        let folder = match Folder::open(path) {
            Err(error) if files::is_no_folder(&error) => continue,
            other => other.map_err(failed())?,
        };
        if folder.owned().map_err(failed())? != *owned {
            folder.give(*owned).map_err(failed())?;
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
