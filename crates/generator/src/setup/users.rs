//! The SSH user: its account, its keys, and the folder from which Gatling's programs run.

use std::{fs, io, os::unix::fs::MetadataExt as _, path::Path, process::Command, thread, time::Duration};

use nix::sys::statvfs::{FsFlags, statvfs};
use trunnion_host::Config;

use super::{
    files::{self, Folder, Owned, Wanted},
    journal::Journal,
    outcome::Outcome,
    systemd,
};
use crate::{
    accounts::{self, User},
    failure::{Failure, FileError},
};

/// Lower user ids belong to accounts of the system.
const FIRST_UID: u32 = 1_000;

/// How often a command that changes accounts is tried again, and the pause before each attempt.
const ATTEMPTS: u32 = 10;
const PAUSE: Duration = Duration::from_millis(500);

/// Creates the user if there is none, and gives it its keys and folders.
pub(super) fn set_up(config: &Config, journal: &mut Journal, outcome: &mut Outcome) -> Result<(), Failure> {
    let name = &config.ssh.user;
    let user = match accounts::user(name)? {
        Some(user) => user,
        None => create(name, journal, outcome)?,
    };
    if user.uid < FIRST_UID {
        return Err(
            format!("`{name}` is an account of the system: name another user in `control_plane.ssh.user`").into()
        );
    }
    // A killed `useradd` can leave the home without its owner.
    if journal.before().user.as_ref() == Some(name) || !user.home.exists() {
        let mode = fs::metadata(&user.home).map_or(0o700, |found| found.mode() & 0o7777);
        own_folder(&user.home, &user, mode, journal, outcome)?;
    }
    let folder = user.home.join(".ssh");
    own_folder(&folder, &user, 0o700, journal, outcome)?;
    let keys = config.ssh.authorized_keys.iter().flat_map(|key| [key.as_str(), "\n"]).collect::<String>();
    let path = folder.join("authorized_keys");
    let changed =
        outcome.put(&Wanted { path: &path, text: &keys, mode: 0o600, owner: (user.uid, user.gid) }, journal)?;
    if changed && Path::new("/usr/sbin/restorecon").exists() {
        // These two paths only: restoring everything in the folder could take long.
        systemd::run(Command::new("/usr/sbin/restorecon").args([&folder, &path]))?;
    }
    own_folder(&config.executable_dir, &user, 0o755, journal, outcome)?;
    let executables = statvfs(&config.executable_dir).map_err(io::Error::from);
    let executables = executables.map_err(FileError::new("read", &config.executable_dir))?;
    if executables.flags().contains(FsFlags::ST_NOEXEC) {
        let folder = config.executable_dir.display();
        outcome.problems.push(format!("programs cannot run from `{folder}`: its file system is mounted with `noexec`"));
    }
    Ok(())
}

fn create(name: &str, journal: &mut Journal, outcome: &mut Outcome) -> Result<User, Failure> {
    journal.remember(|before| before.user = Some(name.to_owned()))?;
    let mut command = Command::new("useradd");
    command.args(["--create-home", "--shell", "/bin/bash"]);
    // Without `--gid`, useradd refuses the name of an existing group.
    let groups = Path::new("/etc/group");
    let groups = fs::read_to_string(groups).map_err(FileError::new("read", groups))?;
    if groups.lines().any(|line| line.split(':').next() == Some(name)) {
        command.args(["--gid", name]);
    }
    until(command.arg("--").arg(name), || Ok(accounts::user(name)?.is_some()))?;
    outcome.changed(format!("user `{name}`"), "created");
    accounts::user(name)?.ok_or_else(|| format!("`useradd` created no user `{name}`").into())
}

/// Removes the user that setup created, with its home.
pub(super) fn undo(journal: &mut Journal, outcome: &mut Outcome) -> Result<(), Failure> {
    let Some(name) = journal.before().user.clone() else { return Ok(()) };
    if let Some(user) = accounts::user(&name)? {
        // A killed `userdel` can leave the home.
        journal.remember(|before| before.home = Some(user.home))?;
        until(Command::new("userdel").args(["--remove", "--", &name]), || Ok(accounts::user(&name)?.is_none()))?;
        outcome.changed(format!("user `{name}`"), "removed");
    }
    if let Some(home) = &journal.before().home {
        // A `userdel` of an earlier, killed undo can still be removing files.
        for attempt in 0.. {
            match fs::remove_dir_all(home) {
                Ok(()) => {
                    outcome.changed(format!("folder `{}`", home.display()), "removed");
                    break;
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound && !home.exists() => break,
                Err(error) if attempt == ATTEMPTS => return Err(FileError::new("remove", home)(error).into()),
                Err(_) => thread::sleep(PAUSE),
            }
        }
    }
    Ok(())
}

/// Runs a command that changes accounts until `done`. A command of an earlier, killed setup can still run, hold the lock of
/// the accounts and make the same change.
fn until(command: &mut Command, done: impl Fn() -> Result<bool, FileError>) -> Result<(), Failure> {
    for attempt in 0.. {
        let result = systemd::run(command);
        if done()? {
            break;
        }
        match result {
            Err(_) if attempt < ATTEMPTS => thread::sleep(PAUSE),
            Err(error) => return Err(error.into()),
            Ok(_) => break,
        }
    }
    Ok(())
}

/// Makes the user the owner of the folder, and creates it if there is none.
fn own_folder(
    path: &Path,
    user: &User,
    mode: u32,
    journal: &mut Journal,
    outcome: &mut Outcome,
) -> Result<(), Failure> {
    let failed = || FileError::new("own", path);
    let folder = match Folder::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            journal.make_folders(path)?;
            Folder::open(path)
        }
        other => other,
    };
    let folder = match folder {
        // With a link in its place, root would change the owner of something else.
        Err(error) if files::is_no_folder(&error) => {
            return Err(format!("`{}` is not a folder: remove it", path.display()).into());
        }
        other => other.map_err(failed())?,
    };
    let found = folder.owned().map_err(failed())?;
    let owned = Owned { mode, uid: user.uid, gid: user.gid };
    if found == owned {
        return Ok(());
    }
    if !journal.before().folders.iter().any(|folder| folder == path) {
        journal.remember(|before| {
            before.owned.entry(path.to_owned()).or_insert(found);
        })?;
    }
    folder.give(owned).map_err(failed())?;
    outcome.changed(format!("folder `{}`", path.display()), format!("owned by uid {}, mode {mode:04o}", user.uid));
    Ok(())
}
