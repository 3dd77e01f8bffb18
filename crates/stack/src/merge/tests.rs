//! Merging by examples, and properties that hold for any two trees.

use proptest::prelude::*;

use super::*;
use crate::{
    diagnostic::Findings,
    tree::{Scalar, ScalarKind, read},
};

fn tree(text: &str) -> Node {
    read(text, &mut Findings::default()).unwrap()
}

/// A tree as text, sorted by key and without places.
fn plain(node: &Node) -> String {
    match &node.value {
        Value::Scalar(scalar) => scalar.text.clone(),
        Value::List(items) => format!("[{}]", items.iter().map(plain).collect::<Vec<_>>().join(", ")),
        Value::Map(entries) => {
            let mut lines: Vec<String> =
                entries.iter().map(|entry| format!("{}: {}", entry.key, plain(&entry.value))).collect();
            lines.sort();
            format!("{{{}}}", lines.join(", "))
        }
    }
}

#[track_caller]
fn merged(base: &str, over: &str, expected: &str) {
    assert_eq!(plain(&overlay(tree(base), tree(over))), plain(&tree(expected)));
}

#[test]
fn maps_are_merged_and_everything_else_is_replaced() {
    merged("{a: {b: 1, c: 2}, d: 3}", "{a: {c: 4}}", "{a: {b: 1, c: 4}, d: 3}");
    merged("{a: [1, 2]}", "{a: [3]}", "{a: [3]}");
    merged("{a: {b: 1}}", "{a: x}", "{a: x}");
    merged("{a: x}", "{a: {b: 1}}", "{a: {b: 1}}");
}

#[test]
fn null_removes_a_key() {
    merged("{pools: {a: {x: 1}, b: {}}}", "{pools: {a: null}}", "{pools: {b: {}}}");
    merged("{a: 1}", "{b: {c: null, d: 2}}", "{a: 1, b: {d: 2}}");
    merged("{a: {b: 1}}", "{a: ~}", "{}");
    merged("{a: {b: 1}}", "a:", "{a: {b: 1}}");
}

#[test]
fn a_zone_replaces_a_subnet_and_vice_versa() {
    merged("{pools: {a: {subnet: s, count: 1}}}", "{pools: {a: {zone: z}}}", "{pools: {a: {zone: z, count: 1}}}");
    merged("{pools: {a: {zone: z}}}", "{pools: {a: {subnet: s}}}", "{pools: {a: {subnet: s}}}");
}

#[test]
fn alternative_forms_are_not_merged() {
    merged("{network: {vpc: {Name: a}}}", "{network: {vpc: {Team: b}}}", "{network: {vpc: {Team: b}}}");
    merged("{pools: {a: {image: {ssm: /x}}}}", "{pools: {a: {image: {ssm: /y}}}}", "{pools: {a: {image: {ssm: /y}}}}");
}

#[test]
fn each_value_keeps_the_place_it_came_from() {
    let root = overlay(tree("{a: {b: one}}"), tree("\n\n{a: {c: two}}"));
    let of =
        |key: &str| root.entries()[0].value.entries().iter().find(|entry| entry.key == key).unwrap().value.span.clone();
    assert_eq!((of("b"), of("c")), (8..11, 10..13));
}

/// Trees with few different keys, so that two of them overlap.
fn any_tree() -> impl Strategy<Value = Node> {
    let node = |value| Node { span: 0..0, value };
    let leaf = prop_oneof![
        "[a-c]".prop_map(move |text| node(Value::Scalar(Scalar { text, kind: ScalarKind::Text }))),
        prop::collection::vec("[a-c]", 0..3).prop_map(move |texts| {
            let item = |text| node(Value::Scalar(Scalar { text, kind: ScalarKind::Text }));
            node(Value::List(texts.into_iter().map(item).collect()))
        }),
    ];
    leaf.prop_recursive(4, 32, 4, map_of).prop_flat_map(|below| map_of(Just(below)))
}

fn map_of(below: impl Strategy<Value = Node> + 'static) -> impl Strategy<Value = Node> {
    prop::collection::btree_map("[k-n]", below, 0..4).prop_map(|map| {
        let entries = map.into_iter().map(|(key, value)| Entry { key, key_span: 0..0, value }).collect();
        Node { span: 0..0, value: Value::Map(entries) }
    })
}

/// Every leaf with its path; empty maps count as leaves.
fn leaves(node: &Node, path: &str, found: &mut std::collections::BTreeMap<String, String>) {
    match &node.value {
        Value::Map(entries) if !entries.is_empty() => {
            for entry in entries {
                leaves(&entry.value, &format!("{path}.{}", entry.key), found);
            }
        }
        _ => {
            found.insert(path.to_owned(), plain(node));
        }
    }
}

proptest! {
    #[test]
    fn merging_a_tree_over_itself_changes_nothing(tree in any_tree()) {
        prop_assert_eq!(plain(&overlay(tree.clone(), tree.clone())), plain(&tree));
    }

    #[test]
    fn an_empty_environment_changes_nothing(tree in any_tree()) {
        let empty = Node { span: 0..0, value: Value::Map(Vec::new()) };
        prop_assert_eq!(plain(&overlay(tree.clone(), empty.clone())), plain(&tree));
        prop_assert_eq!(plain(&overlay(empty, tree.clone())), plain(&tree));
    }

    #[test]
    fn leaves_come_from_the_environment_else_from_the_base(base in any_tree(), over in any_tree()) {
        let (mut of_base, mut of_over, mut of_both) = Default::default();
        leaves(&base, "", &mut of_base);
        leaves(&over, "", &mut of_over);
        leaves(&overlay(base, over), "", &mut of_both);
        for (path, value) in &of_over {
            // An empty map leaves a full one unchanged.
            if value != "{}" {
                prop_assert_eq!(of_both.get(path), Some(value));
            }
        }
        for (path, value) in &of_both {
            prop_assert!(of_over.get(path) == Some(value) || of_base.get(path) == Some(value), "{} is in neither tree", path);
        }
    }
}
