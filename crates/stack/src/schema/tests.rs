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

/// The schema has exactly the keys of the shape, at every place.
fn same_keys(schema: &Value, shape: &Shape, path: &str) {
    // An optional section may be null, which schemars writes as a choice.
    let choices: Vec<&Value> =
        schema.get("anyOf").and_then(Value::as_array).map(|all| all.iter().collect()).unwrap_or_default();
    let schema = choices.into_iter().find(|choice| choice.get("properties").is_some()).unwrap_or(schema);
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
    let overlay = &schema["properties"]["environments"]["additionalProperties"];
    same_keys(overlay, &OVERLAY, "environments.*");
    assert!(!overlay.to_string().replace(r#""required":["ssm"]"#, "").contains("required"), "{overlay}");
    assert_eq!(schema["required"].as_array().map(Vec::len), Some(5));
}
