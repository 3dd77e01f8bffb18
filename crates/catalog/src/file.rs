//! Reads the embedded table of instance types: comma-separated lines; a line that starts with `#` is a comment.

use crate::{Architecture, InstanceType};

/// Every valid line, sorted by name. The crate's tests prove that every line of the embedded file is valid.
pub(crate) fn read(text: &'static str) -> Vec<InstanceType> {
    let mut types: Vec<InstanceType> = text.lines().filter_map(line).collect();
    types.sort_unstable_by_key(|known| known.name);
    types
}

fn line(line: &'static str) -> Option<InstanceType> {
    if line.starts_with('#') {
        return None;
    }
    let mut fields = line.split(',');
    Some(InstanceType {
        name: fields.next()?,
        architecture: match fields.next()? {
            "x86_64" => Architecture::X86_64,
            "arm64" => Architecture::Arm64,
            _ => return None,
        },
        vcpu: fields.next()?.parse().ok()?,
        memory_mib: fields.next()?.parse().ok()?,
        baseline_mbps: fields.next()?.parse().ok()?,
        peak_mbps: fields.next()?.parse().ok()?,
        cards: fields.next()?.split('+').map(str::parse).collect::<Result<_, _>>().ok()?,
        ipv4_per_interface: fields.next()?.parse().ok()?,
    })
}
