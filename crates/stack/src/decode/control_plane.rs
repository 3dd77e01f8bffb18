//! The control plane: its size and place, and how it reaches the hosts.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use trunnion_catalog::limits::SERVICE_SUBNETS;

use super::{Field, Map, images, pools, secret_arns};
use crate::{
    diagnostic::{Diagnostic, Findings},
    model::{ControlPlane, Ssh},
    secrets,
    shape::listed,
    sources::shown_text,
    tree::ScalarKind,
    words,
};

/// Key types that a control plane logs in with.
const KEY_TYPES: [&str; 5] =
    ["ssh-ed25519", "ssh-rsa", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521"];
/// Fargate's sizes: CPU units, then memory in MiB from, to, in steps of (ECS developer guide, "Task size").
const FARGATE: [(u32, u32, u32, u32); 7] = [
    (256, 512, 2048, 512),
    (512, 1024, 4096, 1024),
    (1024, 2048, 8192, 1024),
    (2048, 4096, 16384, 1024),
    (4096, 8192, 30720, 1024),
    (8192, 16384, 61440, 4096),
    (16384, 32768, 122_880, 8192),
];
/// Periods of `PutRetentionPolicy` (CloudWatch Logs API reference).
const RETENTION_DAYS: [u32; 22] =
    [1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653];

pub(crate) fn read(
    top: &Map,
    region: Option<&str>,
    account: Option<&str>,
    findings: &mut Findings,
) -> Option<ControlPlane> {
    let field = findings.required(top, "control_plane", "{ image: …, token: …, ssh: … }")?;
    let map = findings.map(&field)?;
    let image = findings
        .required(&map, "image", "gatlingcorp/control-plane:2026.42.2")
        .and_then(|field| images::control_plane(&field, findings));
    let init_image = images::init_image(&map, findings);
    let example = "arn:aws:secretsmanager:…";
    let token = findings
        .required(&map, "token", example)
        .and_then(|field| secret_arns::read(&field, region, account, findings));
    let ssh = findings
        .required(&map, "ssh", "{ private_key: …, public_key: … }")
        .and_then(|field| findings.map(&field))
        .and_then(|map| ssh(&map, region, account, findings));
    let public_ip = findings.boolean_or(&map, "public_ip", true);
    let size = size(&map, findings);
    let zones = zones(&map, region, findings);
    let log_retention_days = retention(&map, findings);
    let (cpu, memory) = size?;
    Some(ControlPlane {
        image: image?,
        init_image: init_image?,
        token: token?,
        ssh: ssh?,
        public_ip: public_ip?,
        cpu,
        memory,
        zones: zones?,
        log_retention_days: log_retention_days?,
    })
}

fn ssh(map: &Map, region: Option<&str>, account: Option<&str>, findings: &mut Findings) -> Option<Ssh> {
    let user = match map.get("user") {
        Some(field) => user(&field, findings),
        None => Some("gatling".to_owned()),
    };
    let private_key = findings
        .required(map, "private_key", "arn:aws:secretsmanager:…")
        .and_then(|field| secret_arns::read(&field, region, account, findings));
    let public_key =
        findings.required(map, "public_key", "ssh-ed25519 …").and_then(|field| public_key(&field, findings));
    Some(Ssh { user: user?, private_key: private_key?, public_key: public_key? })
}

fn user(field: &Field, findings: &mut Findings) -> Option<String> {
    let text = findings.text(field)?;
    if words::is_of_system(text) {
        let says = format!("is `{}`, which belongs to the hosts' system", shown_text(text));
        let help = "take a name of its own, such as `gatling`: who is not there yet is made";
        findings.about(field, "stack::system_user", says, help);
        return None;
    }
    if words::is_user(text) {
        return Some(text.to_owned());
    }
    let says = format!("is `{}`, which cannot be the user", shown_text(text));
    let help = "take 1 to 32 lower-case letters, digits, `_` and `-`, no digit first";
    findings.about(field, "stack::malformed", says, help);
    None
}

/// One line of `authorized_keys`: type, key, comment.
fn public_key(field: &Field, findings: &mut Findings) -> Option<String> {
    if field.spelled().is_some_and(|spelled| !KEY_TYPES.iter().any(|known| spelled.trim().starts_with(known))) {
        findings.hide(field.node.span.clone());
    }
    if field.spelled().is_some_and(secrets::is_secret) {
        return None;
    }
    if field.spelled().is_some_and(|spelled| spelled.trim().lines().count() > 1) {
        let help = "write the one line that ends in `.pub`; each stack has one key";
        findings.about(field, "stack::public_key", "has several lines", help);
        return None;
    }
    // A block scalar ends in a newline that is no part of the key.
    let text = match field.spelled().filter(|_| field.kind() == Some(ScalarKind::Text)) {
        Some(spelled) if !spelled.trim().is_empty() => findings.printable(field, spelled.trim())?,
        _ => findings.text(field)?,
    };
    let mut words = text.split(' ').filter(|word| !word.is_empty());
    let kind = words.next().unwrap_or_default();
    if !KEY_TYPES.contains(&kind) {
        let help = format!(
            "write the one line that `ssh-keygen` puts into the `.pub` file: {}",
            listed(&KEY_TYPES).replace(" and ", " or ")
        );
        findings.about(field, "stack::public_key", "is no public key of a known type; its value is not shown", help);
        return None;
    }
    if !words.next().is_some_and(|body| is_key_of(kind, body)) {
        let help = "copy the whole line of the `.pub` file";
        findings.about(field, "stack::public_key", format!("is not a whole `{kind}` key"), help);
        return None;
    }
    Some(text.to_owned())
}

/// Whether the key's body says itself that it is of this type (RFC 4253: the type's name with its length in front).
fn is_key_of(kind: &str, body: &str) -> bool {
    let Ok(bytes) = STANDARD.decode(body) else { return false };
    let Some((length, rest)) = bytes.split_first_chunk::<4>() else { return false };
    let length = u32::from_be_bytes(*length) as usize;
    length == kind.len() && rest.starts_with(kind.as_bytes()) && rest.len() >= kind.len() + 32
}

fn size(map: &Map, findings: &mut Findings) -> Option<(u32, u32)> {
    let cpu = findings.integer_or(map, "cpu", 1024, &(1..=u32::MAX));
    let memory = findings.integer_or(map, "memory", 3072, &(1..=u32::MAX));
    let (cpu, memory) = (cpu?, memory?);
    let Some((_, from, to, step)) = FARGATE.into_iter().find(|(known, ..)| *known == cpu) else {
        let field = map.get("cpu")?;
        let sizes = FARGATE.map(|(cpu, ..)| cpu.to_string()).join(", ");
        findings.about(
            &field,
            "stack::fargate_size",
            format!("is {cpu}, which Fargate does not have"),
            format!("it has {sizes}"),
        );
        return None;
    };
    // 256 CPU units have 512, 1024 and 2048 MiB, but not 1536.
    if (from..=to).contains(&memory) && memory % step == 0 && (cpu, memory) != (256, 1536) {
        return Some((cpu, memory));
    }
    let field = map.get("memory").or_else(|| map.get("cpu"))?;
    let message = format!("Fargate has no task with {cpu} CPU units and {memory} MiB of memory");
    let help = if cpu == 256 {
        "with 256 CPU units, `memory` is 512, 1024 or 2048".to_owned()
    } else {
        format!("with {cpu} CPU units, `memory` goes from {from} to {to} in steps of {step}")
    };
    findings.push(Diagnostic::new("stack::fargate_size", Some(field.place), message).with_help(help));
    None
}

fn zones(map: &Map, region: Option<&str>, findings: &mut Findings) -> Option<Vec<String>> {
    let items = findings.items(map, "zones")?;
    let read: Vec<Option<&str>> = items.iter().map(|item| pools::zone(item, region, findings)).collect();
    let zones: Vec<&str> = read.into_iter().collect::<Option<_>>()?;
    findings.written_twice(zones.iter().copied().zip(&items))?;
    if zones.len() > SERVICE_SUBNETS
        && let Some(field) = map.get("zones")
    {
        let says = format!("holds {} zones, each with a subnet, but ECS takes {SERVICE_SUBNETS}", zones.len());
        findings.about(&field, "stack::subnets", says, "leave some out: one is enough to run");
        return None;
    }
    Some(zones.into_iter().map(str::to_owned).collect())
}

fn retention(map: &Map, findings: &mut Findings) -> Option<u32> {
    let days = findings.integer_or(map, "log_retention_days", 30, &(1..=3653))?;
    if RETENTION_DAYS.contains(&days) {
        return Some(days);
    }
    let field = map.get("log_retention_days")?;
    let longer = RETENTION_DAYS.into_iter().find(|known| *known > days).unwrap_or(3653);
    let says = format!("is {days}, which CloudWatch Logs does not have");
    findings.about(&field, "stack::retention", says, format!("the next longer period is {longer} days"));
    None
}
