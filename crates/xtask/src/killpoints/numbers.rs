//! The numbers of hosts: whether hosts were launched together or singly makes no difference.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// The tags with a host's address and with the numbers of its launch.
const ADDRESS: &str = "trunnion:address";
const LAUNCH: &str = "trunnion:launch";

/// Gives every host that was launched with others, its interfaces and its volumes the tag that a host has which was launched
/// singly.
pub(super) fn tell_apart(tables: &mut BTreeMap<String, BTreeMap<String, Value>>) {
    let instances = tables.get("ec2.instances").into_iter().flatten();
    let addresses: BTreeMap<String, String> =
        instances.filter_map(|(id, row)| Some((id.clone(), address(row)?))).collect();
    for table in ["ec2.instances", "ec2.interfaces", "ec2.volumes"] {
        for (id, row) in tables.get_mut(table).into_iter().flatten() {
            let owner = [row.pointer("/attachment/instance"), row.get("instance")].into_iter().flatten().next();
            let address = addresses.get(owner.and_then(Value::as_str).unwrap_or(id)).cloned();
            if let (Some(tags), Some(address)) = (row.get_mut("tags").and_then(Value::as_object_mut), address)
                && tags.remove(LAUNCH).is_some()
            {
                tags.entry(ADDRESS).or_insert(json!(address));
            }
        }
    }
}

/// `instance.heavy[102]` for the launch `instance.heavy[100-199]` and the launch index 2.
fn address(row: &Value) -> Option<String> {
    let (pool, numbers) = row.pointer(&format!("/tags/{LAUNCH}"))?.as_str()?.strip_suffix(']')?.split_once('[')?;
    let first: u64 = numbers.split_once('-')?.0.parse().ok()?;
    Some(format!("{pool}[{}]", first.checked_add(row.get("launch_index")?.as_u64()?)?))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    #[test]
    fn hosts_of_one_launch_get_their_addresses() {
        let launched = json!({ LAUNCH: "instance.heavy[100-199]", "Name": "heavy" });
        let moved = json!({ LAUNCH: "instance.heavy[100-199]", ADDRESS: "instance.light[0]" });
        let tables = json!({
            "ec2.instances": {
                "i-1": { "launch_index": 2, "tags": launched },
                "i-2": { "launch_index": 3, "tags": moved },
                "i-3": { "launch_index": 0, "tags": { ADDRESS: "instance.heavy[7]" } },
            },
            "ec2.interfaces": {
                "eni-1": { "attachment": { "instance": "i-1" }, "tags": launched },
                "eni-2": { "attachment": null, "tags": {} },
            },
            "ec2.volumes": { "vol-1": { "instance": "i-1", "tags": launched } },
        });
        let mut tables = serde_json::from_value(tables).unwrap();
        tell_apart(&mut tables);
        let tags = |table: &str, id: &str| tables[table][id]["tags"].clone();
        let expected = json!({ ADDRESS: "instance.heavy[102]", "Name": "heavy" });
        assert_eq!(tags("ec2.instances", "i-1"), expected);
        assert_eq!(tags("ec2.interfaces", "eni-1"), expected);
        assert_eq!(tags("ec2.volumes", "vol-1"), expected);
        assert_eq!(tags("ec2.instances", "i-2"), json!({ ADDRESS: "instance.light[0]" }));
        assert_eq!(tags("ec2.instances", "i-3"), json!({ ADDRESS: "instance.heavy[7]" }));
        assert_eq!(tags("ec2.interfaces", "eni-2"), json!({}));
    }
}
