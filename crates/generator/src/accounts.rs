//! The user accounts of this host, read from `/etc/passwd`: a static binary has no name service switch.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::failure::FileError;

/// A user account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) home: PathBuf,
}

/// The account of this name, if there is one.
pub(crate) fn user(name: &str) -> Result<Option<User>, FileError> {
    let path = Path::new("/etc/passwd");
    let text = fs::read_to_string(path).map_err(FileError::new("read", path))?;
    Ok(find(&text, name))
}

/// The account of this name in the text of `/etc/passwd` (`passwd(5)`).
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
