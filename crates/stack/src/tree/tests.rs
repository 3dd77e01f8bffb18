//! Tests of places, spellings, aliases, and refused YAML.

use std::fmt::Write as _;

use super::*;

fn tree(text: &str) -> Node {
    let mut findings = Findings::default();
    let root = read(text, &mut findings);
    assert!(findings.is_empty(), "{findings:?}");
    root.unwrap()
}

fn at<'n>(node: &'n Node, path: &[&str]) -> &'n Node {
    path.iter().fold(node, |node, key| &node.entries().iter().find(|entry| entry.key == *key).unwrap().value)
}

fn mistakes(text: &str) -> Vec<&'static str> {
    let mut findings = Findings::default();
    read(text, &mut findings);
    let source = std::sync::Arc::new(crate::excerpt::Shown { name: "x".to_owned(), text: text.to_owned() });
    findings.into_invalid(&source).diagnostics().iter().map(|found| found.code).collect()
}

#[test]
fn every_node_has_its_place_in_bytes() {
    let text = "ä: ü\r\nb:\r\n  c: 'x y'\r\n  d: [1, two]\r\n";
    let root = tree(text);
    let entry = &root.entries()[0];
    assert_eq!((&text[entry.key_span.clone()], &text[entry.value.span.clone()]), ("ä", "ü"));
    assert_eq!(&text[at(&root, &["b", "c"]).span.clone()], "'x y'");
    assert_eq!(&text[at(&root, &["b", "d"]).span.clone()], "[1, two]");
}

#[test]
fn scalars_keep_their_spelling() {
    use ScalarKind::{Bool, Integer, Null, Number, Text};
    for (spelled, kind) in [
        ("012", Integer(12)),
        ("-3", Integer(-3)),
        ("0x10", Integer(16)),
        ("1.10", Number),
        ("1e3", Number),
        (".inf", Number),
        ("99999999999999999999", Number),
        ("true", Bool(true)),
        ("yes", Text),
        ("~", Null),
        ("1.2.3", Text),
        ("e", Text),
        ("-", Text),
    ] {
        assert_eq!(plain(spelled), kind, "{spelled}");
    }
    for text in ["a: \"12\"", "a: '12'", "a: !!str 12", "a: >-\n  12"] {
        let root = tree(text);
        assert_eq!(root.entries()[0].value.value, Value::Scalar(Scalar { text: "12".to_owned(), kind: Text }));
    }
}

#[test]
fn aliases_and_merge_keys_are_resolved() {
    let root = tree("a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\nc: {<<: [{z: 0, x: 9}, *a]}\nd: *a\n");
    let text = |path: &[&str]| match &at(&root, path).value {
        Value::Scalar(scalar) => scalar.text.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!((text(&["b", "x"]), text(&["b", "y"])), ("1".to_owned(), "3".to_owned()));
    assert_eq!((text(&["c", "x"]), text(&["c", "y"])), ("9".to_owned(), "2".to_owned()));
    assert_eq!(text(&["d", "y"]), "2");
}

#[test]
fn every_duplicate_is_reported() {
    assert_eq!(mistakes("a: 1\na: 2\nb: {c: 1, c: 2}\n"), ["stack::duplicate_key", "stack::duplicate_key"]);
}

#[test]
fn other_yaml_is_refused() {
    assert_eq!(mistakes(""), ["stack::empty"]);
    assert_eq!(mistakes("# nothing\n"), ["stack::empty"]);
    assert_eq!(mistakes("a: 1\n---\nb: 2\n"), ["stack::several_documents"]);
    assert_eq!(mistakes("1: x\n"), ["stack::key_type"]);
    assert_eq!(mistakes("? [a]\n: x\n"), ["stack::key_type"]);
    assert_eq!(mistakes("a: !include x\n"), ["stack::yaml_tag"]);
    assert_eq!(mistakes("a: *b\n"), ["stack::syntax"]);
    assert_eq!(mistakes("a: &a [*a]\n"), ["stack::alias"]);
    assert_eq!(mistakes("a:\n\tb: 1\n"), ["stack::syntax"]);
    assert_eq!(mistakes("a: [1\n"), ["stack::syntax"]);
    assert_eq!(mistakes("<<: 1\n"), ["stack::merge_key"]);
    assert_eq!(mistakes(&format!("{}{}", "[".repeat(40), "]".repeat(40))), ["stack::too_deep"]);
}

#[test]
fn alias_bombs_are_stopped() {
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..10 {
        let below = vec![format!("*a{}", level - 1); 10].join(", ");
        writeln!(bomb, "a{level}: &a{level} [{below}]").unwrap();
    }
    assert_eq!(mistakes(&bomb), ["stack::alias"]);
    let mut deep = "a0: &a0 [x]\n".to_owned();
    for level in 1..100 {
        writeln!(deep, "a{level}: &a{level} [*a{}]", level - 1).unwrap();
    }
    assert_eq!(mistakes(&deep), ["stack::too_deep"]);
}
