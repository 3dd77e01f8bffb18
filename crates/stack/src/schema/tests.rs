//! Checks the schema of environments, and that strict validators accept the schema.

use super::*;

/// The alternative of a schema that is a map.
fn map_of(schema: &Value) -> &Value {
    let is_map = |schema: &&Value| schema.get("properties").or(schema.get("additionalProperties")).is_some();
    let choices = schema["anyOf"].as_array().map(Vec::as_slice).unwrap_or_default();
    std::iter::once(schema).chain(choices).find(is_map).unwrap_or_else(|| panic!("{schema} has no map"))
}

#[test]
fn environments_have_the_same_keys_and_need_none() {
    fn keys(schema: &Value) -> Vec<&String> {
        map_of(schema)["properties"].as_object().unwrap().keys().collect()
    }
    let schema = json_schema();
    let overlay = &map_of(&schema["properties"][ENVIRONMENTS])["additionalProperties"];
    let (mut of_stack, of_environment) = (keys(&schema), keys(overlay));
    of_stack.retain(|key| *key != ENVIRONMENTS);
    assert_eq!(of_stack, of_environment);
    let generators = [&schema, overlay].map(|schema| keys(&map_of(schema)["properties"]["generator"]));
    assert_eq!(generators[0], generators[1]);
    assert_eq!(overlay["anyOf"][1], json!({ "type": "null" }), "an environment may be empty");
    // A value that is no section is replaced as a whole, so it is whole itself.
    let whole = [r#""required":["ssm"]"#, r#""required":["from","to"]"#];
    let sections = whole.iter().fold(overlay.to_string(), |text, value| text.replace(value, ""));
    assert!(!sections.contains(r#""required":"#), "{overlay}");
    assert!(!overlay.to_string().contains(r#""default":"#), "without a key, the stack's value applies: {overlay}");
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

#[test]
fn a_section_has_at_most_one_pair_of_alternative_keys() {
    fn check(section: &Description) {
        let either = section.keys.iter().filter(|entry| matches!(entry.absent, Absent::Either(_)));
        assert!(matches!(either.count(), 0 | 2), "{section:?}");
        for entry in &section.keys {
            match &entry.kind.below {
                Below::Anything => {}
                Below::Keys(section) => check(section),
                Below::Named(named) => check(&named.each),
            }
        }
    }
    check(&STACK);
}
