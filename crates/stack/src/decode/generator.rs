//! The generator: its binaries, one for each architecture that the pools have, and what is baked with them.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Read,
    ops::RangeInclusive,
    path::{Path, PathBuf},
};

use ipnet::IpNet;
use trunnion_catalog::Architecture;

use super::{Field, Map, ranges, top::Surroundings};
use crate::{
    diagnostic::{Diagnostic, Findings},
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
    let binaries = binaries(&map, pools, around, findings);
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

fn binaries(
    map: &Map,
    pools: &BTreeMap<String, Pool>,
    around: &Surroundings,
    findings: &mut Findings,
) -> Option<BTreeMap<Architecture, PathBuf>> {
    // The first pool of each architecture, for the messages.
    let mut needed: BTreeMap<Architecture, &str> = BTreeMap::new();
    for (name, pool) in pools {
        needed.entry(pool.instance_type.architecture).or_insert(name);
    }
    let Some(field) = map.get("binary") else {
        let path = around.options.executable_dir.as_ref().map(|directory| directory.join(DEFAULT_BINARY));
        let Some(path) = path.filter(|path| path.is_file()) else {
            let message =
                format!("no `generator.binary` is named, and none lies beside trunnion as `{DEFAULT_BINARY}`");
            let help =
                "build one with `cargo xtask generator` and name it: `generator: { binary: dist/trunnion-generator }`";
            findings.push(Diagnostic::new("stack::missing_file", Some(map.place.clone()), message).with_help(help));
            return None;
        };
        let of_default = |says: String| format!("`{DEFAULT_BINARY}` beside trunnion {says}");
        return serve_all(path, &needed, |says, help| {
            let found = Diagnostic::new("stack::generator_binary", Some(map.place.clone()), of_default(says));
            findings.push(found.with_help(help));
        });
    };
    if let Value::Map(_) = field.node.value {
        return by_architecture(&field, &needed, around.directory, findings);
    }
    let path = file(&field, around.directory, findings)?;
    serve_all(path, &needed, |says, help| findings.about(&field, "stack::generator_binary", says, help))
}

/// One binary for every pool.
fn serve_all(
    path: PathBuf,
    needed: &BTreeMap<Architecture, &str>,
    mut wrong: impl FnMut(String, String),
) -> Option<BTreeMap<Architecture, PathBuf>> {
    let built_for = match built_for(&path) {
        Ok(built_for) => built_for,
        Err(says) => {
            wrong(says, "name the trunnion-generator that was built for the hosts".to_owned());
            return None;
        }
    };
    let mut fits = true;
    for (architecture, pool) in needed.iter().filter(|(architecture, _)| **architecture != built_for) {
        let help = "give one for each architecture: `binary: { x86_64: …, arm64: … }`".to_owned();
        wrong(format!("is built for {built_for}, but the hosts of pool `{pool}` are {architecture}"), help);
        fits = false;
    }
    fits.then(|| BTreeMap::from([(built_for, path)]))
}

/// A binary for each architecture that the pools have; the others are not looked at.
fn by_architecture(
    field: &Field,
    needed: &BTreeMap<Architecture, &str>,
    directory: &Path,
    findings: &mut Findings,
) -> Option<BTreeMap<Architecture, PathBuf>> {
    let map = findings.map(field)?;
    let mut binaries = BTreeMap::new();
    for (architecture, pool) in needed {
        let Some(field) = map.get(architecture.as_str()) else {
            let says = format!("has none for {architecture}, which the hosts of pool `{pool}` are");
            findings.about(field, "stack::missing_key", says, format!("add `{architecture}: <path>`"));
            continue;
        };
        let Some(path) = file(&field, directory, findings) else { continue };
        match built_for(&path) {
            Ok(built_for) if built_for == *architecture => {
                binaries.insert(*architecture, path);
            }
            Ok(built_for) => {
                let help = format!("name the one that was built for {architecture}");
                findings.about(&field, "stack::generator_binary", format!("is built for {built_for}"), help);
            }
            Err(says) => {
                let help = "name the trunnion-generator that was built for the hosts";
                findings.about(&field, "stack::generator_binary", says, help);
            }
        }
    }
    (binaries.len() == needed.len()).then_some(binaries)
}

/// The architecture that an ELF file is built for, read from its first bytes; else what is wrong with it.
fn built_for(path: &Path) -> Result<Architecture, String> {
    let mut header = [0; 20];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut header));
    if read.is_err() || !header.starts_with(b"\x7fELF") {
        return Err("is no Linux program (its first bytes are not those of an ELF file)".to_owned());
    }
    // e_ident: 64 bit, little-endian; then e_machine (ELF-64 object file format, AMD64 and AArch64 supplements).
    match (header[4], header[5], u16::from_le_bytes([header[18], header[19]])) {
        (2, 1, 62) => Ok(Architecture::X86_64),
        (2, 1, 183) => Ok(Architecture::Arm64),
        (_, _, machine) => Err(format!("is built for a machine that EC2 does not have (ELF machine {machine})")),
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
