//! The generator binaries: one for each architecture of the pools, by path or by digest.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use serde_json::json;
use trunnion_catalog::Architecture;

use super::{Absent, Around, Below, Described, Description, Entry, key::Kind, kinds::shaped};
use crate::{
    diagnostic::Findings,
    field::{Field, Map},
    files::FileError,
    forms,
    sources::{path_below, shown_text},
    tree::Value,
};

/// The file that is used if the stack names no binary.
pub(crate) const DEFAULT_BINARY: &str = "trunnion-generator";

/// The binary of each architecture. A named file must have the right architecture if it exists. A missing file is not
/// an error here, because it may never be needed. A plan that boots hosts with it reports the error.
pub(super) struct Binaries;

impl Kind for Binaries {
    type Value = BTreeMap<Architecture, PathBuf>;

    fn read(&self, field: &Field, around: &Around, findings: &mut Findings) -> Option<Self::Value> {
        let needed = &needed(around);
        let for_all = |path: PathBuf| needed.keys().map(|&architecture| (architecture, path.clone())).collect();
        if let Value::Map(_) = field.node.value {
            return by_architecture(field, needed, findings, "<path>", |field, architecture, findings| {
                let path = binary(field, around, findings)?;
                serves(&path, &[(architecture, "")].into(), (field, around), findings).then_some(path)
            });
        }
        let path = binary(field, around, findings)?;
        serves(&path, needed, (field, around), findings).then(|| for_all(path))
    }

    fn describe(&self) -> Described {
        for_each_architecture(path, &["dist/generator"])
    }
}

/// The default binaries.
pub(super) fn default_binaries(_: &Map, around: &Around) -> BTreeMap<Architecture, PathBuf> {
    let path = around.options.executable_dir.as_ref().map(|directory| directory.join(DEFAULT_BINARY));
    path.map(|path| needed(around).keys().map(|&one| (one, path.clone())).collect()).unwrap_or_default()
}

/// The digests of the binaries.
pub(super) struct Digests;

impl Kind for Digests {
    type Value = BTreeMap<Architecture, String>;

    fn read(&self, field: &Field, around: &Around, findings: &mut Findings) -> Option<Self::Value> {
        let needed = &needed(around);
        let several = |field: &Field, findings: &mut Findings| {
            let says = "is the same for every architecture, but two different binaries never have the same SHA-256";
            findings.about(field, "stack::malformed", says, "give each its own: `sha256: { x86_64: …, arm64: … }`");
        };
        if let Value::Map(_) = field.node.value {
            let read = |field: &Field, _, findings: &mut Findings| digest(field, findings);
            let found = by_architecture(field, needed, findings, "<digest>", read)?;
            if found.len() > 1 && found.values().collect::<BTreeSet<_>>().len() == 1 {
                several(field, findings);
                return None;
            }
            return Some(found);
        }
        let digest = digest(field, findings)?;
        if needed.len() > 1 {
            several(field, findings);
            return None;
        }
        Some(needed.keys().map(|&architecture| (architecture, digest.clone())).collect())
    }

    fn describe(&self) -> Described {
        let one = || shaped(&forms::DIGEST);
        for_each_architecture(one, &["9123dcbb0b42652b0e105956c68d3ca2ff34584f324fa41a29aedd32b883e131"])
    }
}

/// An existing file, relative to the stack file.
pub(super) struct File;

impl Kind for File {
    type Value = PathBuf;

    fn read(&self, field: &Field, around: &Around, findings: &mut Findings) -> Option<PathBuf> {
        file(field, around, findings)
    }

    fn describe(&self) -> Described {
        path()
    }
}

/// The description of a path.
fn path() -> Described {
    Described {
        name: "path".to_owned(),
        bounds: vec!["relative to the stack file, and inside its repository".to_owned()],
        forms: vec![json!({ "type": "string", "minLength": 1 })],
        ..Described::default()
    }
}

/// The description of one value for all architectures, or one for each.
fn for_each_architecture(one: fn() -> Described, example: &'static [&'static str]) -> Described {
    let key = |architecture: Architecture| Entry {
        name: architecture.as_str(),
        about: format!("The one for {architecture} hosts."),
        absent: Absent::Otherwise("none: then no pool can have such hosts"),
        examples: example,
        kind: one(),
    };
    let about = "One for each architecture that a pool has.".to_owned();
    let below = Below::Keys(Description { about, keys: Architecture::ALL.map(key).into() });
    let one = one();
    Described { name: format!("{}, or a map with one for each architecture", one.name), below, ..one }
}

/// The architectures of the pools, each with its first pool, for messages.
fn needed<'a>(around: &Around<'a>) -> BTreeMap<Architecture, &'a str> {
    let mut needed: BTreeMap<Architecture, &str> = BTreeMap::new();
    for (name, pool) in around.pools.iter().flat_map(|pools| &pools.valid) {
        needed.entry(pool.instance_type.architecture).or_insert(name);
    }
    needed
}

/// A SHA-256 as `sha256sum` prints it.
fn digest(field: &Field, findings: &mut Findings) -> Option<String> {
    let text = findings.text(field)?;
    let is_digest = forms::DIGEST.fits(text);
    if !is_digest {
        let says = format!("is `{}`, which is not a valid SHA-256", shown_text(text));
        findings.about(field, "stack::malformed", says, "write its 64 lower-case digits, as `sha256sum` prints them");
    }
    is_digest.then(|| text.to_owned())
}

/// Reads the value of each architecture that a pool has. The others are checked as well, because a pool of another environment
/// may have them, and left out.
fn by_architecture<T>(
    field: &Field,
    needed: &BTreeMap<Architecture, &str>,
    findings: &mut Findings,
    what: &str,
    read: impl Fn(&Field, Architecture, &mut Findings) -> Option<T>,
) -> Option<BTreeMap<Architecture, T>> {
    let map = findings.map(field)?;
    let mut found = BTreeMap::new();
    let mut is_valid = true;
    for architecture in Architecture::ALL {
        let one = map.get(architecture.as_str());
        match (one, needed.get(&architecture)) {
            (Some(one), pool) => match read(&one, architecture, findings) {
                Some(one) if pool.is_some() => drop(found.insert(architecture, one)),
                one => is_valid &= one.is_some(),
            },
            (None, Some(pool)) => {
                is_valid = false;
                if !findings.is_mistyped(&path_below(&map.path, architecture.as_str())) {
                    let says = format!("has none for {architecture}, the architecture of pool `{pool}`");
                    findings.about(field, "stack::missing_key", says, format!("add `{architecture}: {what}`"));
                }
            }
            (None, None) => {}
        }
    }
    is_valid.then_some(found)
}

/// Whether a binary is built for these architectures. A missing file counts as right.
fn serves(
    path: &Path,
    needed: &BTreeMap<Architecture, &str>,
    (field, around): (&Field, &Around),
    findings: &mut Findings,
) -> bool {
    let mut header = [0; HEADER];
    let built_for = match around.files.open(path) {
        Err(FileError::System(error)) if error.kind() == io::ErrorKind::NotFound => return true,
        Err(_) => Err(NO_PROGRAM.to_owned()),
        Ok(mut file) => match file.read_exact(&mut header) {
            Err(_) => Err(NO_PROGRAM.to_owned()),
            Ok(()) => built_for(&header),
        },
    };
    let mut wrong = |says: String, help: &str| findings.about(field, "stack::generator_binary", says, help);
    let built_for = match built_for {
        Ok(built_for) => built_for,
        Err(says) => {
            wrong(says, "name the trunnion-generator that was built for the hosts");
            return false;
        }
    };
    let mut fits = true;
    for (architecture, pool) in needed.iter().filter(|(architecture, _)| **architecture != built_for) {
        fits = false;
        if pool.is_empty() {
            wrong(format!("is built for {built_for}"), &format!("name the one that was built for {architecture}"));
        } else {
            let help = "give one for each architecture: `binary: { x86_64: …, arm64: … }`";
            wrong(format!("is built for {built_for}, but the hosts of pool `{pool}` are {architecture}"), help);
        }
    }
    fits
}

/// How many bytes of an ELF file [`built_for`] reads.
const HEADER: usize = 20;
const NO_PROGRAM: &str = "is not a Linux program (its first bytes are not those of an ELF file)";

/// The architecture of an ELF file, from its first 20 bytes. The error is the end of a sentence about the file, such as "is
/// not a Linux program".
///
/// # Errors
/// When the file is not a program for an architecture of EC2.
pub fn built_for(head: &[u8]) -> Result<Architecture, String> {
    let (Some(header), true) = (head.first_chunk::<HEADER>(), head.starts_with(b"\x7fELF")) else {
        return Err(NO_PROGRAM.to_owned());
    };
    // e_ident: 64 bit, little-endian; then e_machine (ELF-64 object file format, AMD64 and AArch64 supplements).
    match (header[4], header[5], u16::from_le_bytes([header[18], header[19]])) {
        (2, 1, 62) => Ok(Architecture::X86_64),
        (2, 1, 183) => Ok(Architecture::Arm64),
        (_, _, machine) => Err(format!("is built for a machine that EC2 does not have (ELF machine {machine})")),
    }
}

/// The path of a binary, relative to the stack file. If the file exists, it must be a regular file.
fn binary(field: &Field, around: &Around, findings: &mut Findings) -> Option<PathBuf> {
    let path = around.directory.join(findings.text(field)?);
    match around.files.open(&path) {
        Err(FileError::System(error)) if error.kind() == io::ErrorKind::NotFound => Some(path),
        _ => file(field, around, findings),
    }
}

fn file(field: &Field, around: &Around, findings: &mut Findings) -> Option<PathBuf> {
    let text = findings.text(field)?;
    let path = around.directory.join(text);
    let Err(error) = around.files.open(&path) else { return Some(path) };
    let shown = shown_text(text);
    let (code, says, help) = match error {
        FileError::Outside { root } => (
            "stack::outside",
            format!("is `{shown}`, which is outside of `{}`", root.display()),
            format!("put the file into that folder, or allow it with `--allow-file {shown}`"),
        ),
        FileError::OfGit => (
            "stack::outside",
            format!("is `{shown}`, which belongs to Git"),
            "name a file of the repository itself".to_owned(),
        ),
        FileError::NotRegular => {
            ("stack::missing_file", format!("is `{shown}`, which is not a regular file"), "name a file".to_owned())
        }
        FileError::System(error) => (
            "stack::missing_file",
            format!("is `{shown}`, which cannot be read: {}", reason(&error)),
            "relative paths start at the directory of the stack file".to_owned(),
        ),
    };
    findings.about(field, code, says, help);
    None
}

/// Why a file cannot be read, without the system's error number.
pub(crate) fn reason(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "there is no such file".to_owned(),
        std::io::ErrorKind::PermissionDenied => "permission is denied".to_owned(),
        kind => kind.to_string(),
    }
}
