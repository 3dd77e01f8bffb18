//! The addresses of hosts, which are launched together with the same tags or singly with their own.

use std::collections::BTreeMap;

use serde_json::Value;

/// The tag with an address.
const ADDRESS: &str = "trunnion:address";

/// The tag with the numbers of a launch, such as `instance.heavy[0-99]`.
const LAUNCH: &str = "trunnion:launch";

/// The address of a host: its own tag, or what follows from its launch and its place in it.
pub(super) fn address(host: &Value) -> Option<String> {
    let tag = |key: &str| host["tags"][key].as_str();
    if let Some(address) = tag(ADDRESS) {
        return Some(address.to_owned());
    }
    let (pool, numbers) = tag(LAUNCH)?.strip_suffix(']')?.rsplit_once('[')?;
    let number = numbers.split_once('-')?.0.parse::<u64>().ok()? + host["launch_index"].as_u64()?;
    Some(format!("{pool}[{number}]"))
}

/// Gives each host and what belongs to it the tag with its address in the place of that of its launch. A launch of some
/// hosts together and a launch of each of them leave the same.
pub(super) fn spell_addresses(tables: &mut BTreeMap<String, BTreeMap<String, Value>>) {
    let hosts = tables.get("ec2.instances").cloned().unwrap_or_default();
    let mut addresses = BTreeMap::new();
    for (id, host) in &hosts {
        let Some(address) = address(host) else { continue };
        let volumes = host["volumes"].as_object().into_iter().flat_map(|volumes| volumes.values());
        let interfaces = host["interfaces"].as_array().into_iter().flatten();
        let parts = volumes.chain(interfaces).filter_map(Value::as_str);
        addresses.extend(parts.chain([id.as_str()]).map(|id| (id.to_owned(), address.clone())));
    }
    for table in ["ec2.instances", "ec2.volumes", "ec2.interfaces"] {
        for (id, row) in tables.get_mut(table).into_iter().flatten() {
            let Some(tags) = row.get_mut("tags").and_then(Value::as_object_mut) else { continue };
            if tags.remove(LAUNCH).is_some()
                && let Some(address) = addresses.get(id)
            {
                tags.entry(ADDRESS).or_insert_with(|| address.as_str().into());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn hosts_of_one_launch_have_addresses_of_their_own() {
        let first = json!({"trunnion:launch": "instance.a[100-199]"});
        let host = |index: u64, tags: &Value| json!({"launch_index": index, "tags": tags, "volumes": {"/dev/xvda": format!("vol-{index}")}});
        let moved = json!({"trunnion:launch": "instance.a[100-199]", "trunnion:address": "instance.b[7]"});
        let rows = |rows: &[(&str, Value)]| rows.iter().map(|(id, row)| ((*id).to_owned(), row.clone())).collect();
        let mut tables = BTreeMap::from([
            ("ec2.instances".to_owned(), rows(&[("i-0", host(0, &moved)), ("i-2", host(2, &first))])),
            ("ec2.volumes".to_owned(), rows(&[("vol-2", json!({"tags": first})), ("vol-9", json!({"tags": first}))])),
        ]);
        spell_addresses(&mut tables);
        let tags = |table: &str, id: &str| tables[table][id]["tags"].clone();
        assert_eq!(tags("ec2.instances", "i-0"), json!({"trunnion:address": "instance.b[7]"}));
        assert_eq!(tags("ec2.instances", "i-2"), json!({"trunnion:address": "instance.a[102]"}));
        assert_eq!(tags("ec2.volumes", "vol-2"), json!({"trunnion:address": "instance.a[102]"}));
        // A volume without a host has no address.
        assert_eq!(tags("ec2.volumes", "vol-9"), json!({}));
    }
}
