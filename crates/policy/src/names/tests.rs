use std::path::Path;

use super::*;

/// The fields of a source's structs, as they are in documents.
fn fields(source: &str) -> Vec<String> {
    let (mut fields, mut renamed, mut is_struct) = (Vec::new(), None, false);
    for line in source.lines() {
        is_struct = line.starts_with("pub struct ") || (is_struct && !line.starts_with('}'));
        if let Some((_, rest)) = line.split_once("rename = \"") {
            renamed = rest.split('"').next().map(str::to_owned);
        } else if let Some((name, _)) =
            line.strip_prefix("    pub ").and_then(|rest| rest.split_once(": ")).filter(|_| is_struct)
        {
            fields.push(renamed.take().unwrap_or_else(|| name.trim_start_matches("r#").to_owned()));
        }
    }
    fields
}

#[test]
#[expect(clippy::unwrap_used, reason = "a folder of this repository")]
fn every_attribute_of_every_kind_is_a_name() {
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("../kinds/src")];
    let names = Names::new();
    let mut count = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if !path.ends_with("lookup.rs") {
                for field in fields(&std::fs::read_to_string(&path).unwrap()) {
                    assert!(names.has(&field), "`{field}` of {} is not in names.txt", path.display());
                    count += 1;
                }
            }
        }
    }
    assert!(count > 100, "{count} fields are too few: are structs written in another way now?");
}

#[test]
#[expect(clippy::unwrap_used, reason = "names of the schema")]
fn the_schema_says_what_is_where() {
    let names = Names::new();
    let at = |path: &[&str]| {
        path.iter().try_fold(names.document(), |place, name| match *name {
            "*" => Some(names.elements(&place)),
            name => names.property(&place, name),
        })
    };
    assert!(at(&["changes"]).is_none());
    assert!(at(&["compared", "changes", "*", "adress"]).is_none());
    assert_eq!(at(&["compared", "changes", "*", "desired", "anything", "at all"]), Some(Place::Open));
    let action = at(&["compared", "changes", "*", "action"]).unwrap();
    let actions = action.texts().unwrap();
    assert_eq!(actions, ["none", "create", "update", "replace", "delete"]);
    assert!(at(&["compared", "changes", "*", "differences", "*", "path"]).is_some());
    assert!(at(&["remarks", "estimate", "cost", "monthly"]).is_some());
    assert!(at(&["remarks", "estimate", "pools", "*", "capacity", "virtual_users"]).is_some());
    assert!(at(&["remarks", "estimate", "cost", "monthy"]).is_none());
    assert!(at(&["compared", "changes", "*", "address"]).unwrap().texts().is_none());
}
