//! The SSH user: its account, its keys, and the folder that Gatling's programs run from.
//!
//! Accounts are read from `/etc/passwd`: a static binary has no name service switch.

use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Duration,
};

use nix::sys::statvfs::{FsFlags, statvfs};
use trunnion_host::Config;

use super::{
    Failure, Outcome,
    files::{self, FileError, Folder, Wanted},
    journal::{Journal, Owned},
    systemd,
};

/// Users below belong to the system.
const FIRST_UID: u32 = 1_000;

/// How often a command of the accounts is tried again, and how long to wait before.
const ATTEMPTS: u32 = 10;
const PAUSE: Duration = Duration::from_millis(500);

/// An account of this host.
#[derive(Debug, Clone, PartialEq, Eq)]
struct User {
    uid: u32,
    gid: u32,
    home: PathBuf,
}

/// The uid of the user of this name, if there is one.
pub(crate) fn uid(name: &str) -> io::Result<Option<u32>> {
    Ok(find(&fs::read_to_string("/etc/passwd")?, name).map(|user| user.uid))
}

pub(super) fn admit(config: &Config, journal: &mut Journal, outcome: &mut Outcome) -> Result<(), Failure> {
    let name = &config.ssh.user;
    let user = match find(&passwd()?, name) {
        Some(user) => user,
        None => create(name, journal, outcome)?,
    };
    if user.uid < FIRST_UID {
        return Err(
            format!("the user `{name}` belongs to the system: take another one as `control_plane.ssh.user`").into()
        );
    }
    // `useradd` may have been killed before it came to the home.
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
        // These two alone: whatever else the user keeps there would hold us up.
        systemd::run(Command::new("/usr/sbin/restorecon").args([&folder, &path]))?;
    }
    own_folder(&config.executable_dir, &user, 0o755, journal, outcome)?;
    let executables = statvfs(&config.executable_dir).map_err(io::Error::from);
    let executables = executables.map_err(FileError::new("read", &config.executable_dir))?;
    if executables.flags().contains(FsFlags::ST_NOEXEC) {
        let folder = config.executable_dir.display();
        outcome.problems.push(format!("no program can run from `{folder}`: its file system is mounted noexec"));
    }
    Ok(())
}

fn create(name: &str, journal: &mut Journal, outcome: &mut Outcome) -> Result<User, Failure> {
    journal.remember(|before| before.user = Some(name.to_owned()))?;
    let mut command = Command::new("useradd");
    command.args(["--create-home", "--shell", "/bin/bash"]);
    // Without it, useradd refuses the name of a group.
    let groups = Path::new("/etc/group");
    let groups = fs::read_to_string(groups).map_err(FileError::new("read", groups))?;
    if groups.lines().any(|line| line.split(':').next() == Some(name)) {
        command.args(["--gid", name]);
    }
    until(command.arg("--").arg(name), |passwd| find(passwd, name).is_some())?;
    outcome.changed(format!("user `{name}`"), "created");
    find(&passwd()?, name).ok_or_else(|| format!("`useradd` created no user `{name}`").into())
}

/// Removes the user that setup created, its home included.
pub(super) fn dismiss(journal: &mut Journal, outcome: &mut Outcome) -> Result<(), Failure> {
    let Some(name) = journal.before().user.clone() else { return Ok(()) };
    if let Some(user) = find(&passwd()?, &name) {
        // `userdel` may be killed before it comes to the home.
        journal.remember(|before| before.home = Some(user.home))?;
        until(Command::new("userdel").args(["--remove", "--", &name]), |passwd| find(passwd, &name).is_none())?;
        outcome.changed(format!("user `{name}`"), "removed");
    }
    if let Some(home) = &journal.before().home {
        // One that was killed with an earlier undo may still be at it.
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

/// Runs a command of the accounts until they are as it is to make them. One that an earlier, killed setup began may be
/// ahead, and holds their lock.
fn until(command: &mut Command, done: impl Fn(&str) -> bool) -> Result<(), Failure> {
    for attempt in 0.. {
        let result = systemd::run(command);
        if done(&passwd()?) {
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

/// Makes the folder the user's.
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
            files::folders(journal, path)?;
            Folder::open(path)
        }
        other => other,
    };
    let folder = match folder {
        // A link would lead root to give away something else.
        Err(error) if files::is_no_folder(&error) => return Err(format!("`{}` is no folder", path.display()).into()),
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

fn passwd() -> Result<String, FileError> {
    let path = Path::new("/etc/passwd");
    fs::read_to_string(path).map_err(FileError::new("read", path))
}

/// The user of this name in the text of `/etc/passwd` (`passwd(5)`).
fn find(passwd: &str, name: &str) -> Option<User> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let is_it = fields.next() == Some(name) && !name.is_empty();
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        let home = PathBuf::from(fields.nth(1)?);
        is_it.then_some(User { uid, gid, home })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_are_found_by_their_whole_name() {
        let text = "root:x:0:0:root:/root:/bin/bash\nbroken:x\n\ngatling:x:1001:1002:,,:/home/gatling:/bin/bash\n";
        let gatling = User { uid: 1001, gid: 1002, home: "/home/gatling".into() };
        assert_eq!(find(text, "gatling"), Some(gatling));
        assert_eq!(find(text, "root").unwrap().uid, 0);
        for name in ["gatlin", "gatling2", "broken", ""] {
            assert_eq!(find(text, name), None, "{name}");
        }
    }
}
