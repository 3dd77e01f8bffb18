//! `setup --undo`: undoes the changes of setup in reverse order, and removes the journal last. It can be killed at any point
//! and run again.

use std::{fs, io, path::Path};

use super::{
    files::{self, Folder},
    journal::Journal,
    network,
    outcome::Outcome,
    queues, resolver, sshd, systemd, users,
};
use crate::{
    failure::{Failure, FileError, causes},
    spread::{Options, Spreader},
    sysctl,
};

pub(super) async fn undo() -> Result<Outcome, Failure> {
    let mut journal = Journal::open().await?;
    let mut outcome = Outcome::default();
    spread(&mut outcome);
    files(&mut journal, &mut outcome)?;
    links(&journal, &mut outcome)?;
    network::undo(&journal, &mut outcome).await?;
    sysctls(&journal, &mut outcome)?;
    queues::undo(&journal, &mut outcome)?;
    unmask(&mut journal, &mut outcome)?;
    let removed = users::undo(&mut journal, &mut outcome);
    outcome.take(removed);
    folders(&journal, &mut outcome)?;
    systemd::run_pending(&mut journal, &mut outcome)?;
    if outcome.problems.is_empty() {
        journal.end()?;
    }
    Ok(outcome)
}

/// Detaches the programs that spread connections, whose sources and user are about to go.
fn spread(outcome: &mut Outcome) {
    match Spreader::detach(Options::PINS.as_ref()) {
        Ok(true) => outcome.changed("the programs that spread connections", "detached"),
        Ok(false) => {}
        Err(error) => outcome.problems.push(format!("{error}{}", causes(&error))),
    }
}

fn files(journal: &mut Journal, outcome: &mut Outcome) -> Result<(), Failure> {
    // Units that an interrupted setup did not stop yet keep running.
    for arguments in journal.before().pending.clone() {
        if arguments.starts_with("stop ") {
            journal.done(&arguments)?;
        }
    }
    for (path, saved) in journal.before().files.clone() {
        // Where the folder is gone, there is nothing to restore.
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
        outcome.changed(format!("`{}`", path.display()), if saved.is_some() { "restored" } else { "removed" });
    }
    Ok(())
}

/// The arguments of `systemctl` to run after this file was restored.
fn consequence(path: &Path) -> Option<String> {
    if ["/etc/systemd/system", "/etc/systemd/system.conf.d"].iter().any(|folder| path.starts_with(folder)) {
        return Some("daemon-reload".to_owned());
    }
    resolver::restart_for(path).or_else(|| sshd::reload_for(path))
}

fn links(journal: &Journal, outcome: &mut Outcome) -> Result<(), Failure> {
    for (path, target) in &journal.before().links {
        if files::link(path).as_ref() != Some(target) {
            files::put_link(path, target)?;
            outcome.changed(format!("`{}`", path.display()), format!("leads to `{}` again", target.display()));
        }
    }
    Ok(())
}

fn sysctls(journal: &Journal, outcome: &mut Outcome) -> Result<(), Failure> {
    for (name, value) in &journal.before().sysctls {
        // The parameters of an interface vanish with it.
        if sysctl::get(name)?.is_none_or(|found| found == *value) {
            continue;
        }
        match sysctl::set(name, value) {
            Ok(()) => outcome.changed(format!("`{}`", name.replace('/', ".")), format!("restored to `{value}`")),
            Err(error) => outcome.problems.push(format!("{error}{}", causes(&error))),
        }
    }
    Ok(())
}

fn unmask(journal: &mut Journal, outcome: &mut Outcome) -> Result<(), Failure> {
    for unit in journal.before().masked.clone() {
        let path = systemd::mask(&unit);
        if fs::read_link(&path).is_ok_and(|target| target == Path::new("/dev/null")) {
            journal.pend("daemon-reload")?;
            // Runs after `daemon-reload`, in alphabetical order.
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
            outcome.changed(format!("folder `{}`", path.display()), "mode and owner restored");
        }
    }
    for path in journal.before().folders.iter().rev() {
        match fs::remove_dir(path) {
            Ok(()) => outcome.changed(format!("folder `{}`", path.display()), "removed"),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {
                outcome.warnings.push(format!("folder `{}` is kept: it is not empty", path.display()));
            }
            Err(error) => return Err(FileError::new("remove", path)(error).into()),
        }
    }
    Ok(())
}
