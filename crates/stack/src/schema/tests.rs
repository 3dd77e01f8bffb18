//! The schema and the reader know the same keys, and the published file is fresh.

use super::*;
use crate::shape::{OVERLAY, Shape};

#[test]
fn the_published_schema_is_fresh() {
    let published = include_str!("../../../../schemas/stack.schema.json");
    let published: Value = serde_json::from_str(published).unwrap();
    assert!(
        published == json_schema(),
        "schemas/stack.schema.json is old: refresh it with `cargo run -- schema > schemas/stack.schema.json`"
    );
}

/// The map among the choices that a schema gives.
fn section(schema: &Value) -> Option<&Value> {
    if schema.get("properties").or(schema.get("additionalProperties")).is_some() {
        return Some(schema);
    }
    schema.get("anyOf")?.as_array()?.iter().find_map(section)
}

/// The schema has exactly the keys of the shape, at every place.
fn same_keys(schema: &Value, shape: &Shape, path: &str) {
    if let Shape::Value = shape {
        return;
    }
    let Some(schema) = section(schema) else { panic!("{path} has no keys") };
    match shape {
        Shape::Value => {}
        Shape::Named(below) => same_keys(&schema["additionalProperties"], below, &format!("{path}.*")),
        Shape::Keys(keys) => {
            let properties = schema["properties"].as_object().unwrap_or_else(|| panic!("{path} has no properties"));
            let mut known: Vec<&str> = keys.iter().map(|(key, _)| *key).collect();
            let mut published: Vec<&str> =
                properties.keys().map(String::as_str).filter(|key| *key != "environments").collect();
            known.sort_unstable();
            published.sort_unstable();
            assert_eq!(known, published, "keys of {path}");
            assert_eq!(schema["additionalProperties"], Value::Bool(false), "{path} takes any key");
            for (key, below) in *keys {
                same_keys(&properties[*key], below, &format!("{path}.{key}"));
            }
        }
    }
}

#[test]
fn schema_and_reader_know_the_same_keys() {
    same_keys(&json_schema(), &OVERLAY, "stack");
}

#[test]
fn environments_have_the_same_keys_and_need_none() {
    let schema = json_schema();
    let overlay = &section(&schema["properties"]["environments"]).unwrap()["additionalProperties"];
    same_keys(overlay, &OVERLAY, "environments.*");
    assert_eq!(overlay["anyOf"][1], json!({ "type": "null" }), "it may have nothing but a name");
    assert!(!overlay.to_string().replace(r#""required":["ssm"]"#, "").contains(r#""required":"#), "{overlay}");
    assert_eq!(schema["required"], json!(["stack", "region", "account", "pools", "control_plane"]));
    assert_eq!(schema["properties"]["pools"]["additionalProperties"]["required"], json!(["instance_type"]));
}

#[test]
fn strict_validators_find_one_type_each_and_no_format_of_ours() {
    fn check(schema: &Value, path: &str) {
        match schema {
            Value::Object(object) => {
                assert!(!object.get("type").is_some_and(Value::is_array), "{path} has several types");
                assert!(!object.get("format").is_some_and(Value::is_string), "{path} has a format");
                object.iter().for_each(|(key, below)| check(below, &format!("{path}.{key}")));
            }
            Value::Array(items) => items.iter().for_each(|item| check(item, path)),
            _ => {}
        }
    }
    check(&json_schema(), "stack");
}
