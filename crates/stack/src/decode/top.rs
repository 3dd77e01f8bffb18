//! The top of the file: name, region, account, tags, state, network.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use trunnion_catalog::{Partition, limits};

use super::{Field, Map, control_plane, generator, locations, places, pools, ranges, tags};
use crate::{
    LoadOptions,
    diagnostic::{Diagnostic, Findings},
    model::{ControlPlane, Generator, Location, Network, Pool, StateLocation, Vpc},
    names,
    sources::shown_text,
    tree::{Node, ScalarKind, Value},
    words,
};

/// DNS servers of a VPC: its DHCP options name four at most (VPC User Guide, "DHCP option set concepts").
const MOST_DNS_SERVERS: usize = 4;

/// What surrounds the file.
pub(crate) struct Surroundings<'a> {
    /// Relative paths are relative to this one.
    pub(crate) directory: &'a Path,
    /// The environment that was merged in.
    pub(crate) environment: Option<&'a str>,
    /// What the caller knows.
    pub(crate) options: &'a LoadOptions,
}

/// Everything of a [`crate::Stack`] but the places.
pub(crate) struct Decoded {
    pub(crate) name: String,
    pub(crate) former_name: Option<String>,
    pub(crate) region: String,
    pub(crate) account: String,
    pub(crate) tags: BTreeMap<String, String>,
    pub(crate) state: StateLocation,
    pub(crate) network: Network,
    pub(crate) generator: Generator,
    pub(crate) pools: BTreeMap<String, Pool>,
    pub(crate) control_plane: ControlPlane,
    pub(crate) locations: BTreeMap<String, Location>,
}

/// Reads the merged tree. Every section is read, also behind a mistake in another one.
pub(crate) fn stack(root: &Node, around: &Surroundings, findings: &mut Findings) -> Option<Decoded> {
    let Value::Map(entries) = &root.value else {
        let message = format!("the stack file is {}, but a stack is a map", root.type_in_words());
        let found = Diagnostic::new("stack::wrong_type", Some(root.span.clone()), message);
        findings.push(found.with_help("begin with `stack: <name>`"));
        return None;
    };
    // What is missing at the top is missing from the file as a whole: point at its first key.
    let place = entries.first().map_or(0..0, |first| first.key_span.clone());
    let top = Map { path: String::new(), place, entries };

    let name = name(&top, around.environment, findings);
    let region = region(&top, findings);
    let account = account(&top, findings);
    let tags = tags::read(&top, findings);
    let state = state(&top, name.as_ref().map(|(name, _)| name.as_str()), around.directory, findings);
    let network = network(&top, findings);
    let pools = pools::read(&top, region.as_deref(), findings);
    let generator = generator::read(&top, pools.valid(), around, findings);
    let control_plane = control_plane::read(&top, region.as_deref(), account.as_deref(), findings);
    let locations = locations::read(&top, &pools, generator.as_ref().map(|generator| generator.java), findings);
    let zones = control_plane.as_ref().map(|control_plane| control_plane.zones.len());
    let fits = places::check(&top, pools.valid(), zones, network.as_ref(), findings);
    let (name, former_name) = name?;
    Some(Decoded {
        name,
        former_name,
        region: region?,
        account: account?,
        tags: tags?,
        state: state?,
        network: network?,
        generator: generator?,
        pools: fits.and(pools.all())?,
        control_plane: control_plane?,
        locations: locations?,
    })
}

/// The stack's name, and what earlier versions called it where that is another one.
fn name(top: &Map, environment: Option<&str>, findings: &mut Findings) -> Option<(String, Option<String>)> {
    let field = findings.required(top, "stack", "loadtest")?;
    let text = findings.text(&field)?;
    if text.len() < 2 || !words::is_name(text, names::LONGEST) {
        let says = format!("is `{}`, which no stack can be called", shown_text(text));
        let help = "take 2 to 31 lower-case letters, digits and hyphens, a letter first: such as `loadtest`";
        findings.about(&field, "stack::malformed", says, help);
        return None;
    }
    let (name, former) =
        environment.map_or_else(|| (text.to_owned(), None), |environment| names::joined(text, environment));
    if environment.is_some() && !names::fits(&name) {
        let says = format!("becomes `{}` in this environment, which is no name for a stack", shown_text(&name));
        let help = "take 30 characters at most for both together: lower-case letters, digits and hyphens";
        findings.about(&field, "stack::malformed", says, help);
        return None;
    }
    reserved(&field, &name, findings)?;
    Some((name, former))
}

/// Refuses what a service keeps for itself in the names that are made of the stack's: its bucket is called
/// `<stack>-<account>-<region>`, its security groups `<stack>-<group>`.
fn reserved(field: &Field, name: &str, findings: &mut Findings) -> Option<()> {
    let start = format!("{name}-");
    let (what, reserved) = match limits::RESERVED_BUCKET_PREFIXES.iter().find(|reserved| start.starts_with(**reserved))
    {
        Some(reserved) => ("S3 keeps such names of buckets", *reserved),
        None if start.starts_with(limits::RESERVED_GROUP_PREFIX) => {
            ("EC2 keeps such names of security groups", limits::RESERVED_GROUP_PREFIX)
        }
        None => return Some(()),
    };
    let says = format!("becomes `{start}…` in the names of its resources, but {what} for itself: `{reserved}`");
    findings.about(field, "stack::reserved", says, "take another name");
    None
}

fn region(top: &Map, findings: &mut Findings) -> Option<String> {
    let field = findings.required(top, "region", "eu-west-3")?;
    let text = findings.text(&field)?;
    if words::is_region(text) {
        if Partition::of(text).is_isolated {
            let says = format!("is `{text}`, a region of an isolated partition of AWS");
            let help =
                "take a region that reaches api.gatling.io: the control plane and the hosts cannot work without it";
            findings.about(&field, "stack::isolated_region", says, help);
            return None;
        }
        return Some(text.to_owned());
    }
    let without_letter = text.trim_end_matches(|last: char| last.is_ascii_lowercase());
    let help = if words::is_region(without_letter) {
        format!("that is an availability zone; its region is `{without_letter}`")
    } else {
        "write it as AWS does, such as `eu-west-3`".to_owned()
    };
    findings.about(&field, "stack::malformed", format!("is `{}`, which is no region", shown_text(text)), help);
    None
}

fn account(top: &Map, findings: &mut Findings) -> Option<String> {
    let field = findings.required(top, "account", "\"123456789012\"")?;
    if let Some(spelled) = field.spelled().filter(|_| field.kind() != Some(ScalarKind::Text)) {
        let is_digits = !spelled.is_empty() && spelled.bytes().all(|byte| byte.is_ascii_digit());
        let help = match spelled.len() {
            1..=12 if is_digits => format!("quote it, with its leading zeros: \"{spelled:0>12}\""),
            _ => "write twelve digits in quotes, such as \"123456789012\"".to_owned(),
        };
        findings.wrong_type(&field, "text", help);
        return None;
    }
    let text = findings.text(&field)?;
    if words::is_account(text) {
        return Some(text.to_owned());
    }
    let says = format!("is `{}`, which is no AWS account", shown_text(text));
    findings.about(&field, "stack::malformed", says, "write its twelve digits in quotes, without hyphens");
    None
}

fn state(top: &Map, name: Option<&str>, directory: &Path, findings: &mut Findings) -> Option<StateLocation> {
    // Without a valid name there is no stack; the location's own mistakes are still found.
    let file = format!("{}.json", name.unwrap_or("stack"));
    let Some(field) = top.get("state") else {
        return Some(StateLocation::File(directory.join(".trunnion").join(file)));
    };
    let text = findings.text(&field)?;
    let Some((scheme, rest)) = text.split_once("://") else {
        if Path::new(text).extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json")) {
            let help = format!("name the directory; the file in it is called `{file}`");
            findings.about(&field, "stack::state", "names a file, but takes a directory", help);
            return None;
        }
        return Some(StateLocation::File(directory.join(PathBuf::from(text)).join(file)));
    };
    if scheme != "s3" {
        let says = format!("does not know `{}://`", shown_text(scheme));
        findings.about(&field, "stack::state", says, "write `s3://bucket/prefix`, or a directory");
        return None;
    }
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    if !words::is_bucket(bucket) {
        let says = format!("names the bucket `{}`, which no bucket can be called", shown_text(bucket));
        findings.about(&field, "stack::state", says, "write `s3://bucket/prefix`");
        return None;
    }
    let prefix = prefix.trim_end_matches('/');
    if prefix.len() > 900 || (!prefix.is_empty() && prefix.split('/').any(|part| matches!(part, "" | "." | ".."))) {
        let help = "write `s3://bucket/prefix`, with single slashes and no dots alone between them";
        findings.about(&field, "stack::state", "has a prefix that no object can have safely", help);
        return None;
    }
    let key = if prefix.is_empty() { file } else { format!("{prefix}/{file}") };
    Some(StateLocation::S3 { bucket: bucket.to_owned(), key })
}

fn network(top: &Map, findings: &mut Findings) -> Option<Network> {
    let network = findings.map_or_empty(top, "network")?;
    let dns_servers = ranges::addresses(&network, "dns_servers", MOST_DNS_SERVERS, findings);
    let vpc = vpc(&network, findings);
    Some(Network { vpc: vpc?, dns_servers: dns_servers? })
}

fn vpc(network: &Map, findings: &mut Findings) -> Option<Vpc> {
    let Some(field) = network.get("vpc") else { return Some(Vpc::Default) };
    let vpc = match &field.node.value {
        Value::Map(_) => vpc_by_tag(&field, findings)?,
        _ => match findings.text(&field)? {
            "default" => Vpc::Default,
            id if words::is_id(id, "vpc") => Vpc::Id(id.to_owned()),
            other => {
                let says = format!("is `{}`, which is no VPC", shown_text(other));
                let help = "write `default`, an id such as `vpc-0123456789abcdef0`, or a tag: `{ Name: loadtest }`";
                findings.about(&field, "stack::malformed", says, help);
                return None;
            }
        },
    };
    Some(vpc)
}

fn vpc_by_tag(field: &Field, findings: &mut Findings) -> Option<Vpc> {
    let map = findings.map(field)?;
    let mut tags = map.fields();
    let (Some((key, tag)), None) = (tags.next(), tags.next()) else {
        let says = format!("has {} tags, but takes one", map.entries.len());
        findings.about(
            field,
            "stack::wrong_type",
            says,
            "write the one tag that only this VPC has: `{ Name: loadtest }`",
        );
        return None;
    };
    let value = findings.text(&tag)?;
    if key.is_empty() || key.chars().count() > 128 || value.chars().count() > 256 {
        findings.about(
            &tag,
            "stack::tag",
            "is no tag that AWS takes",
            "keys have 1 to 128 characters, values 256 at most",
        );
        return None;
    }
    Some(Vpc::Tag { key: key.to_owned(), value: value.to_owned() })
}
