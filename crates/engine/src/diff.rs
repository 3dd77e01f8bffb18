//! The attributes in which a resource differs from what the stack asks for, by the rules of its kind.

use std::collections::BTreeSet;

use serde_json::Value as Json;

use crate::{Map, Rules, Value};

/// One attribute that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Path of the attribute: `data.interfaces[0].addresses`, `tags["cost.center"]`.
    pub path: String,
    /// The observed value; `None` where there is none.
    pub before: Option<Value>,
    /// The value that the stack asks for, which may be unknown until apply; `None` where the attribute is removed.
    pub after: Option<Value>,
    /// Whether it can only change by a replacement of the resource.
    pub forces_replacement: bool,
    /// Whether its values must not be shown.
    pub sensitive: bool,
}

/// The differences between `observed` and `desired`, for the attributes that `desired` has at the top.
pub fn differences(rules: &Rules, desired: &Map, observed: &Map) -> Vec<Difference> {
    let mut found = Vec::new();
    for (name, after) in desired {
        if rules.computed(name).is_none() {
            compare(rules, name, observed.get(name), Some(after), &mut found);
        }
    }
    found
}

fn compare(rules: &Rules, path: &str, before: Option<&Value>, after: Option<&Value>, found: &mut Vec<Difference>) {
    let present = |value: Option<&Value>| value.is_some_and(|value| *value != Value::Null);
    let rule = rules.attribute(path);
    if rule.create_only || before == after || (!present(before) && (rule.optional || !present(after))) {
        return;
    }
    match (before, after) {
        (Some(Value::Map(before)), Some(Value::Map(after))) => {
            for key in before.keys().chain(after.keys()).collect::<BTreeSet<_>>() {
                compare(rules, &step_into(path, key), before.get(key), after.get(key), found);
            }
            return;
        }
        (Some(Value::List(before)), Some(Value::List(after))) if rule.unordered && sorted(before) == sorted(after) => {
            return;
        }
        (Some(Value::List(before)), Some(Value::List(after))) if !rule.unordered && before.len() == after.len() => {
            for (index, (before, after)) in before.iter().zip(after).enumerate() {
                compare(rules, &format!("{path}[{index}]"), Some(before), Some(after), found);
            }
            return;
        }
        (Some(Value::Text(before)), Some(Value::Text(after))) if rule.json => {
            let normalised = normalised_json(before);
            if normalised.is_some() && normalised == normalised_json(after) {
                return;
            }
        }
        _ => {}
    }
    found.push(Difference {
        path: path.to_owned(),
        before: before.filter(|value| **value != Value::Null).cloned(),
        after: after.filter(|value| **value != Value::Null).cloned(),
        forces_replacement: rule.immutable,
        sensitive: rule.sensitive,
    });
}

fn sorted(list: &[Value]) -> Vec<&Value> {
    let mut list: Vec<_> = list.iter().collect();
    list.sort();
    // A value that is named twice counts once.
    list.dedup();
    list
}

pub(crate) fn step_into(path: &str, key: &str) -> String {
    if !key.is_empty() && key.chars().all(|character| character.is_alphanumeric() || "_-".contains(character)) {
        format!("{path}.{key}")
    } else {
        format!("{path}[{}]", Json::from(key))
    }
}

/// A policy as IAM reads it: a value and a list of only that value are the same, and lists of texts have no order.
pub fn normalised_json(text: &str) -> Option<Json> {
    fn normalise(json: Json) -> Json {
        match json {
            Json::Array(list) => {
                let mut list: Vec<Json> = list.into_iter().map(normalise).collect();
                if list.len() == 1 {
                    return list.remove(0);
                }
                if list.iter().all(Json::is_string) {
                    list.sort_by(|a, b| a.as_str().cmp(&b.as_str()));
                }
                Json::Array(list)
            }
            Json::Object(object) => object.into_iter().map(|(key, value)| (key, normalise(value))).collect(),
            other => other,
        }
    }
    serde_json::from_str(text).ok().map(normalise)
}

/// Removes repeated values from lists without order: two subnets that are named differently may be the same one, and AWS
/// refuses a permission that is repeated.
pub fn drop_repeats(rules: &Rules, map: &mut Map) {
    for (path, _) in rules.attributes.iter().filter(|(_, rule)| rule.unordered) {
        if let Some(Value::List(list)) = at(map, path) {
            let mut seen = BTreeSet::new();
            let distinct = list.iter().filter(|value| seen.insert(*value)).cloned().collect();
            put(map, path, Value::List(distinct));
        }
    }
}

/// Whether a path is `parent`, or names something inside of it.
pub fn lies_under(path: &str, parent: &str) -> bool {
    path.strip_prefix(parent).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

/// The value at a path of plain names, `data.image_id`.
pub fn at<'a>(map: &'a Map, path: &str) -> Option<&'a Value> {
    match path.split_once('.') {
        None => map.get(path),
        Some((name, rest)) => at(map.get(name)?.as_map()?, rest),
    }
}

/// Puts a value at a path of plain names whose parents exist.
pub fn put(map: &mut Map, path: &str, value: Value) {
    match path.split_once('.') {
        None => {
            map.insert(path.to_owned(), value);
        }
        Some((name, rest)) => {
            if let Some(Value::Map(inner)) = map.get_mut(name) {
                put(inner, rest, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::{Attribute, Computed, Replacement};

    const RULES: Rules = Rules {
        kind: "thing",
        depends_on: &[],
        blocks: &[],
        attributes: &[
            ("name", Attribute::IMMUTABLE),
            ("rules", Attribute::UNORDERED),
            ("policy", Attribute::JSON),
            ("source", Attribute::CREATE_ONLY),
            ("data.secret", Attribute::SENSITIVE),
        ],
        computed: &[("arn", Computed::AtCreation)],
        replacement: Replacement::DeleteFirst,
    };

    fn map(json: Json) -> Map {
        match Value::from(json) {
            Value::Map(map) => map,
            other => panic!("no map: {other:?}"),
        }
    }

    fn paths(desired: Json, observed: Json) -> Vec<String> {
        differences(&RULES, &map(desired), &map(observed)).into_iter().map(|difference| difference.path).collect()
    }

    #[test]
    fn only_what_is_asked_for_is_compared() {
        assert!(paths(json!({"name": "a"}), json!({"name": "a", "arn": "arn:x", "other": 1})).is_empty());
        assert_eq!(paths(json!({"name": "a", "arn": "b"}), json!({"name": "c", "arn": "d"})), ["name"]);
    }

    #[test]
    fn maps_differ_key_by_key_and_lists_of_one_length_element_by_element() {
        assert_eq!(
            paths(
                json!({"tags": {"a": "1", "b.c": "2"}, "list": [1, {"x": 1}]}),
                json!({"tags": {"a": "0", "d": "3"}, "list": [1, {"x": 2}]}),
            ),
            ["list[1].x", "tags.a", "tags[\"b.c\"]", "tags.d"],
        );
    }

    #[test]
    fn the_kind_decides_how_attributes_compare() {
        assert!(paths(json!({"rules": [2, 1]}), json!({"rules": [1, 2]})).is_empty());
        assert!(
            paths(
                json!({"policy": r#"{"Action":["b","a"],"Resource":["*"]}"#}),
                json!({"policy": r#"{ "Resource": "*", "Action": ["a","b"] }"#}),
            )
            .is_empty()
        );
        assert!(paths(json!({"source": "here"}), json!({})).is_empty());
        assert!(paths(json!({"other": null}), json!({})).is_empty());
        let found = differences(&RULES, &map(json!({"data": {"secret": "a"}})), &map(json!({"data": {"secret": "b"}})));
        assert!(found[0].sensitive);
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<bool>().prop_map(Value::Bool),
            any::<i64>().prop_map(Value::Number),
            "[a-z.\"]{0,4}".prop_map(Value::Text),
        ];
        leaf.prop_recursive(3, 16, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::List),
                prop::collection::btree_map("[a-z.]{1,3}", inner, 0..4).prop_map(Value::Map),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_look_never_differs_from_itself(value in value()) {
            let look = Map::from([("a".to_owned(), value)]);
            prop_assert!(differences(&RULES, &look, &look).is_empty());
        }

        #[test]
        fn different_looks_differ(before in value(), after in value()) {
            prop_assume!(before != after);
            let look = |value| Map::from([("a".to_owned(), value)]);
            let found = differences(&RULES, &look(after), &look(before));
            prop_assert!(!found.is_empty());
            for difference in found {
                prop_assert!(difference.before != difference.after);
            }
        }

        #[test]
        fn values_survive_json(value in value()) {
            prop_assert_eq!(Value::from(Json::from(value.clone())), value);
        }
    }
}
