//! The home of a stack: its owner, which every resource has in its tag `trunnion:home`.
//!
//! If the state is in S3, the home is its S3 URL. Else, in a repository, it is the address of the remote `origin` and the
//! folder within the repository, as `host/owner/name/path`. Else it is the folder of the stack file. So two clones of one
//! repository have the same home, and a stack of the same name in another repository has another home.
//!
//! Only `.git/config` is read, without `include`, `insteadOf` or the user's own configuration. Only host and path of an
//! address are used. Its other parts may be secret and appear in no message.

use std::{
    fs, io,
    path::{Component, Path, PathBuf},
};

use gix_config::{File, Source, file::Metadata};
use gix_url::{Scheme, Url};
use sha2::{Digest as _, Sha256};

use crate::{diagnostic::Diagnostic, language::reason, model::StateLocation, sources::shown_text};

/// The longest home, in characters. A tag can have 256.
const LONGEST: usize = 200;

/// The hexadecimal digits of a digest at the end of a home that was changed or cut: 64 bits.
const DIGEST: usize = 16;

/// The longest repository configuration, in bytes.
const LARGEST: u64 = 1 << 20;

const CODE: &str = "stack::home";

/// The home of the stack whose file is in this folder.
pub(crate) fn of(state: &StateLocation, folder: &Path) -> Result<String, Box<Diagnostic>> {
    if let StateLocation::S3 { bucket, key } = state {
        let prefix = key.rsplit_once('/').map(|(prefix, _)| format!("/{prefix}")).unwrap_or_default();
        return Ok(as_tag(&format!("s3://{bucket}{prefix}")));
    }
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    // Links are resolved, so that each folder has one name. A folder that does not exist keeps its given name.
    let folder = fs::canonicalize(folder).or_else(|_| std::path::absolute(folder));
    let folder = folder.map_err(|error| unreadable(Path::new("."), &error))?;
    Ok(as_tag(&repository(&folder)?.unwrap_or_else(|| folder.display().to_string())))
}

/// The home from the repository of a folder; `None` without a repository or without the remote `origin`.
fn repository(folder: &Path) -> Result<Option<String>, Box<Diagnostic>> {
    for root in folder.ancestors() {
        let Some(config) = config_of(&root.join(".git"))? else { continue };
        let Some(origin) = origin(&config)? else { return Ok(None) };
        let address = address(&origin, root).ok_or_else(|| {
            let message = format!("the address of the remote `origin` in `{}` is of no known form", shown(&config));
            trouble(&message, "correct it with `git remote set-url origin`")
        })?;
        let inside = folder.strip_prefix(root).unwrap_or(Path::new(""));
        let parts = inside.components().map(|part| part.as_os_str().to_string_lossy().into_owned());
        return Ok(Some(std::iter::once(address).chain(parts).collect::<Vec<_>>().join("/")));
    }
    Ok(None)
}

/// The configuration file of a repository, from its `.git`; `None` if this is not a repository.
fn config_of(dot_git: &Path) -> Result<Option<PathBuf>, Box<Diagnostic>> {
    let failed = |path: &Path| {
        let path = path.to_path_buf();
        move |error: io::Error| unreadable(&path, &error)
    };
    let found = match fs::metadata(dot_git) {
        Ok(found) => found,
        // A broken link also counts as existing.
        Err(error) if is_absent(&error) && fs::symlink_metadata(dot_git).is_err() => return Ok(None),
        Err(error) => return Err(unreadable(dot_git, &error)),
    };
    if found.is_dir() {
        let config = dot_git.join("config");
        return match fs::metadata(&config) {
            Ok(_) => Ok(Some(config)),
            // Without a configuration and without HEAD, this is not a repository.
            Err(error) if is_absent(&error) => Ok(fs::symlink_metadata(dot_git.join("HEAD")).is_ok().then_some(config)),
            Err(error) => Err(unreadable(&config, &error)),
        };
    }
    // In a linked worktree or a submodule, `.git` is a file with the path of the folder.
    regular(dot_git).map_err(failed(dot_git))?;
    let folder =
        gix_discover::path::from_gitdir_file(dot_git).map_err(|_| malformed(dot_git, "does not name a folder"))?;
    fs::metadata(&folder).map_err(failed(&folder))?;
    let common = folder.join("commondir");
    if fs::symlink_metadata(&common).is_err() {
        return Ok(Some(folder.join("config")));
    }
    regular(&common).map_err(failed(&common))?;
    let read = gix_discover::path::from_plain_file_relative_to_file(&common);
    let shared = read.ok_or_else(|| malformed(&common, "does not name a folder"))?.map_err(failed(&common))?;
    fs::metadata(&shared).map_err(failed(&shared))?;
    Ok(Some(shared.join("config")))
}

/// The address of the remote `origin`: the first one, from which Git fetches. An empty value cancels those before it.
fn origin(config: &Path) -> Result<Option<String>, Box<Diagnostic>> {
    let text = match regular(config).and_then(|()| fs::read(config)) {
        Ok(text) => text,
        Err(error) if is_absent(&error) => return Ok(None),
        Err(error) => return Err(unreadable(config, &error)),
    };
    let file =
        File::from_bytes_no_includes(&text, Metadata::from(Source::Local), gix_config::file::init::Options::default())
            .map_err(|_| malformed(config, "is not a valid Git configuration"))?;
    let mut addresses: Vec<String> = Vec::new();
    for value in file.strings("remote.origin.url").unwrap_or_default() {
        let value = String::from_utf8(value.into()).map_err(|_| malformed(config, "is not in UTF-8"))?;
        match value.trim() {
            "" => addresses.clear(),
            value => addresses.push(value.to_owned()),
        }
    }
    Ok(addresses.into_iter().next())
}

/// `host/owner/name` from a repository's address, or the path of a local repository; `None` if the address has neither.
fn address(origin: &str, root: &Path) -> Option<String> {
    let url = gix_url::parse(bracketed(origin).as_deref().unwrap_or(origin).as_bytes()).ok()?;
    match &url.scheme {
        Scheme::File if url.host().is_none() => {
            let path = lexical(&root.join(text(&url)));
            Some(without_git(&path.to_string_lossy()).to_owned())
        }
        Scheme::Ext => None,
        // `codecommit::eu-west-3://profile@name`, the form of `git-remote-codecommit`.
        Scheme::Helper(helper) if helper == "codecommit" => {
            let inner = text(&url);
            let (region, name) = inner.split_once("://")?;
            let name = name.rsplit('@').next()?;
            let end = if region.starts_with("cn-") { ".cn" } else { "" };
            Some(format!("git-codecommit.{region}.amazonaws.com{end}/v1/repos/{}", path_of(name)?))
        }
        Scheme::Helper(_) => {
            let inner = text(&url);
            inner.contains("://").then(|| address(&inner, root)).flatten()
        }
        _ => {
            let host = url.host()?.trim_start_matches('[').trim_end_matches([']', ':', '.']).to_lowercase();
            let path = text(&url);
            // In `user:secret@host`, Git reads the user as the host, so the secret would be part of the path.
            let is_plain = !host.is_empty() && (url.user().is_some() || !path.contains('@'));
            is_plain.then(|| path_of(&path).map(|path| format!("{host}/{path}"))).flatten()
        }
    }
}

/// Converts `user@[2001:db8::1]:path` and `[user@host:22]:path`, which Git also accepts, to `ssh://`.
fn bracketed(origin: &str) -> Option<String> {
    let (user, rest) = origin.split_once('[')?;
    let (host, path) = rest.split_once("]:")?;
    let is_plain = user.is_empty() || (user.ends_with('@') && !user.contains(['/', ':']));
    let is_bare = host.parse::<std::net::Ipv6Addr>().is_err();
    is_plain
        .then(|| if is_bare { format!("ssh://{user}{host}/{path}") } else { format!("ssh://{user}[{host}]/{path}") })
}

/// The path of an address without query and fragment.
fn text(url: &Url) -> String {
    String::from_utf8_lossy(url.path_query_fragment().path).into_owned()
}

/// `owner/name` of a path such as `/owner//name.git/`.
fn path_of(path: &str) -> Option<String> {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let path = parts.join("/");
    Some(without_git(&path).to_owned()).filter(|path| !path.is_empty())
}

fn without_git(path: &str) -> &str {
    let path = path.trim_end_matches('/');
    path.strip_suffix(".git").map_or(path, |path| path.trim_end_matches('/'))
}

/// A path without `.` and `..`, resolved without the file system.
pub(crate) fn lexical(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                plain.pop();
            }
            other => plain.push(other),
        }
    }
    plain
}

/// A home as a tag that every service accepts: at most 200 ASCII characters. A home that was changed for this ends with a
/// digest of the original.
fn as_tag(home: &str) -> String {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "_.:/=+-@".contains(letter);
    if home.len() <= LONGEST && home.chars().all(is_plain) {
        return home.to_owned();
    }
    let plain = home.chars().map(|letter| if is_plain(letter) { letter } else { '_' });
    let digest = Sha256::digest(home).first_chunk().map_or(0, |start| u64::from_be_bytes(*start));
    format!("{}-{digest:0DIGEST$x}", plain.take(LONGEST - 1 - DIGEST).collect::<String>())
}

/// Refuses pipes and huge files. Opening a pipe would wait for its other end.
fn regular(path: &Path) -> io::Result<()> {
    let found = fs::metadata(path)?;
    match (found.is_file(), found.len() <= LARGEST) {
        (false, _) => Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file")),
        (_, false) => Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is larger than 1 MiB")),
        _ => Ok(()),
    }
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn unreadable(path: &Path, error: &io::Error) -> Box<Diagnostic> {
    let why = if error.get_ref().is_some() { error.to_string() } else { reason(error) };
    let message = format!("`{}` cannot be read: {why}", shown(path));
    trouble(&message, "make it readable")
}

fn malformed(path: &Path, what: &str) -> Box<Diagnostic> {
    trouble(&format!("`{}` {what}", shown(path)), "repair it: `git remote get-url origin` must give the address")
}

/// The error for a repository that cannot be identified. Using another home instead could give the stack to another
/// owner.
fn trouble(message: &str, first: &str) -> Box<Diagnostic> {
    let help = format!("{first}; a stack with `state: s3://bucket/prefix` does not need it");
    let says = format!("{message}, so it is not known which repository the stack belongs to");
    Box::new(Diagnostic::new(CODE, None, says).with_help(help))
}

fn shown(path: &Path) -> String {
    shown_text(&path.display().to_string())
}

#[cfg(test)]
mod tests;
