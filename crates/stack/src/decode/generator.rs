//! The generator: its binaries, one for each architecture that the pools have, and what is baked with them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::{self, Read as _},
    ops::RangeInclusive,
    path::{Path, PathBuf},
};

use ipnet::IpNet;
use trunnion_catalog::Architecture;

use super::{Field, Map, ranges, top::Surroundings};
use crate::{
    diagnostic::Findings,
    model::{Except, Generator, Pool, Spread, Tracking},
    shape::nearest,
    sources::shown_text,
    tree::Value,
    words,
};

/// The file that is taken where no binary is named.
const DEFAULT_BINARY: &str = "trunnion-generator";
/// The words of `spread`, the default first.
const SPREAD: [(&str, Spread); 3] =
    [("kernel", Spread::Kernel), ("simulation", Spread::Simulation), ("off", Spread::Off)];
/// Ranges of `spread_except`: every one is a line of the user data, which ends at 16,384 bytes.
const MOST_EXCEPT: usize = 100;
/// Where hosts serve metrics unless the stack says otherwise.
pub(crate) const METRICS_PORT: u32 = 9_464;
/// Ports of the system are not for us: 22 is that of sshd.
pub(crate) const METRICS_PORTS: RangeInclusive<u32> = 1_024..=65_535;
/// Ranges of `metrics_from`: every one is a rule of the group that also lets SSH in, and AWS takes 60 of them.
const MOST_FROM: usize = 50;

pub(crate) fn read(
    top: &Map,
    pools: &BTreeMap<String, Pool>,
    around: &Surroundings,
    findings: &mut Findings,
) -> Option<Generator> {
    let map = findings.map_or_empty(top, "generator")?;
    let needed = needed(pools);
    let binaries = binaries(&map, &needed, around, findings);
    let sha256 = sha256(&map, &needed, findings);
    let java = findings.integer_or(&map, "java", 21, &(11..=25)).and_then(|java| u8::try_from(java).ok());
    let template = match map.get("template") {
        Some(field) => file(&field, around.directory, findings).map(Some),
        None => Some(None),
    };
    let variables = findings.scalars(&map, "variables", |findings, key, _, field| {
        let is_identifier = words::is_identifier(key, "");
        if !is_identifier {
            let help = "take letters, digits and `_`, no digit first: templates read it as a name";
            findings.about_name(field, "stack::malformed", "is no name for a variable", help);
        }
        is_identifier.then_some(())
    });
    let spread = findings.choice_or_first(&map, "spread", &SPREAD).filter(|&spread| {
        let opened = pools.iter().find(|(_, pool)| spread == Spread::Off && pool.tracking == Tracking::Untracked);
        let (Some((name, _)), Some(field)) = (opened, map.get("spread")) else { return true };
        let says = format!("is `off`, so pool `{name}` would open its load interfaces and use none of them");
        findings.about(&field, "stack::interfaces", says, "leave `tracking` of the pool out, or `spread`");
        false
    });
    let spread_except = ranges::list(&map, "spread_except", MOST_EXCEPT, findings, except);
    let metrics_port = findings.integer_or(&map, "metrics_port", METRICS_PORT, &METRICS_PORTS);
    let metrics_from = ranges::list(&map, "metrics_from", MOST_FROM, findings, |field, findings| {
        ranges::range(field, findings).and_then(|range| ranges::network(field, range, findings))
    });
    Some(Generator {
        binaries: binaries?,
        sha256: sha256?,
        java: java?,
        template: template?,
        variables: variables?,
        spread: spread?,
        spread_except: spread_except?,
        metrics_port: metrics_port.and_then(|port| u16::try_from(port).ok())?,
        metrics_from: metrics_from?,
    })
}

/// Destinations that are not spread.
fn except(field: &Field, findings: &mut Findings) -> Option<Except> {
    let text = findings.text(field)?;
    if text == Except::OWN_SUBNETS {
        return Some(Except::OwnSubnets);
    }
    if nearest(text, [Except::OWN_SUBNETS].into_iter()).is_some() {
        let says = format!("does not know `{}`", shown_text(text));
        findings.about(field, "stack::unknown_word", says, format!("did you mean `{}`?", Except::OWN_SUBNETS));
        return None;
    }
    let range = ranges::range(field, findings)?;
    if matches!(range, IpNet::V4(range) if range.prefix_len() == 0) {
        let help = "write `spread: off` where no connection is to be spread";
        findings.about(field, "stack::too_wide", "leaves nothing to spread", help);
        return None;
    }
    Some(Except::Range(range))
}

/// The architectures that the pools have, each with its first pool, for the messages.
fn needed(pools: &BTreeMap<String, Pool>) -> BTreeMap<Architecture, &str> {
    let mut needed: BTreeMap<Architecture, &str> = BTreeMap::new();
    for (name, pool) in pools {
        needed.entry(pool.instance_type.architecture).or_insert(name);
    }
    needed
}

/// Where the binary of each architecture is to lie. A named file that is there must be the right one. One that is not there
/// may never be needed, and nor may the one beside the executable: that shows once a plan boots hosts with it.
fn binaries(
    map: &Map,
    needed: &BTreeMap<Architecture, &str>,
    around: &Surroundings,
    findings: &mut Findings,
) -> Option<BTreeMap<Architecture, PathBuf>> {
    let for_all = |path: PathBuf| needed.keys().map(|&architecture| (architecture, path.clone())).collect();
    let Some(field) = map.get("binary") else {
        let path = around.options.executable_dir.as_ref().map(|directory| directory.join(DEFAULT_BINARY));
        return Some(path.map(for_all).unwrap_or_default());
    };
    if let Value::Map(_) = field.node.value {
        return by_architecture(&field, needed, findings, "<path>", |field, architecture, findings| {
            let path = binary(field, around.directory, findings)?;
            serves(&path, &[(architecture, "")].into(), field, findings).then_some(path)
        });
    }
    let path = binary(&field, around.directory, findings)?;
    serves(&path, needed, &field, findings).then(|| for_all(path))
}

/// The digests that the stack names.
fn sha256(
    map: &Map,
    needed: &BTreeMap<Architecture, &str>,
    findings: &mut Findings,
) -> Option<BTreeMap<Architecture, String>> {
    let Some(field) = map.get("sha256") else { return Some(BTreeMap::new()) };
    let several = |field: &Field, findings: &mut Findings| {
        let says = "is the same for every architecture, which no two binaries are";
        findings.about(field, "stack::malformed", says, "give each its own: `sha256: { x86_64: …, arm64: … }`");
    };
    if let Value::Map(_) = field.node.value {
        let read = |field: &Field, _, findings: &mut Findings| digest(field, findings);
        let found = by_architecture(&field, needed, findings, "<digest>", read)?;
        if found.len() > 1 && found.values().collect::<BTreeSet<_>>().len() == 1 {
            several(&field, findings);
            return None;
        }
        return Some(found);
    }
    let digest = digest(&field, findings)?;
    if needed.len() > 1 {
        several(&field, findings);
        return None;
    }
    Some(needed.keys().map(|&architecture| (architecture, digest.clone())).collect())
}

/// A SHA-256 as `sha256sum` prints it.
fn digest(field: &Field, findings: &mut Findings) -> Option<String> {
    let text = findings.text(field)?;
    let is_digest = text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if !is_digest {
        let says = format!("is `{}`, which is no SHA-256", shown_text(text));
        findings.about(field, "stack::malformed", says, "write its 64 lower-case digits, as `sha256sum` prints them");
    }
    is_digest.then(|| text.to_owned())
}

/// One for each architecture that the pools have; the others are not looked at.
fn by_architecture<T>(
    field: &Field,
    needed: &BTreeMap<Architecture, &str>,
    findings: &mut Findings,
    what: &str,
    read: impl Fn(&Field, Architecture, &mut Findings) -> Option<T>,
) -> Option<BTreeMap<Architecture, T>> {
    let map = findings.map(field)?;
    let mut found = BTreeMap::new();
    for (&architecture, pool) in needed {
        let Some(field) = map.get(architecture.as_str()) else {
            let says = format!("has none for {architecture}, which the hosts of pool `{pool}` are");
            findings.about(field, "stack::missing_key", says, format!("add `{architecture}: {what}`"));
            continue;
        };
        if let Some(one) = read(&field, architecture, findings) {
            found.insert(architecture, one);
        }
    }
    (found.len() == needed.len()).then_some(found)
}

/// Whether a binary is for these architectures, as far as it is there.
fn serves(path: &Path, needed: &BTreeMap<Architecture, &str>, field: &Field, findings: &mut Findings) -> bool {
    let mut header = [0; HEADER];
    let built_for = match File::open(path).and_then(|mut file| file.read_exact(&mut header)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return true,
        Err(_) => Err(NO_PROGRAM.to_owned()),
        Ok(()) => built_for(&header),
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

/// How many bytes of an ELF file [`built_for`] looks at.
const HEADER: usize = 20;
const NO_PROGRAM: &str = "is no Linux program (its first bytes are not those of an ELF file)";

/// The architecture that an ELF file is built for, read from its first 20 bytes; else what is wrong with it, such as "is no
/// Linux program".
///
/// # Errors
/// When it is no program for hosts that EC2 has.
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

/// Where a binary is to lie, by its path from the stack file: a regular file, if it is there.
fn binary(field: &Field, directory: &Path, findings: &mut Findings) -> Option<PathBuf> {
    let path = directory.join(findings.text(field)?);
    match fs::metadata(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Some(path),
        _ => file(field, directory, findings),
    }
}

/// A regular file, by its path from the stack file.
fn file(field: &Field, directory: &Path, findings: &mut Findings) -> Option<PathBuf> {
    let text = findings.text(field)?;
    let path = directory.join(text);
    let (says, help) = match fs::metadata(&path) {
        Ok(metadata) if metadata.is_file() => return Some(path),
        Ok(_) => (format!("is `{}`, which is no regular file", shown_text(text)), "name a file"),
        Err(error) => (
            format!("is `{}`, which cannot be read: {}", shown_text(text), reason(&error)),
            "relative paths start at the directory of the stack file",
        ),
    };
    findings.about(field, "stack::missing_file", says, help);
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
