//! The control plane's conf, read with an independent HOCON parser.

use std::collections::HashMap;

use proptest::prelude::*;
use serde_json::Value as Json;
use trunnion_blueprint::{control_plane_conf, with_placeholders};
use trunnion_engine::Value;
use trunnion_stack::Stack;

use crate::common;

/// Simulations do not start without it.
const OPENS: &str = "--add-opens=java.base/java.lang=ALL-UNNAMED";

fn conf(stack: &Stack) -> String {
    with_placeholders(&control_plane_conf(stack).unwrap())
}

fn read(text: &str) -> Json {
    let environment = HashMap::from([("CONTROL_PLANE_TOKEN".to_owned(), "cpt_1".to_owned())]);
    hocon::parse_with_env(text, &environment).unwrap().deserialize().unwrap()
}

#[test]
fn the_reference_stack() {
    insta::assert_snapshot!(conf(&common::stack("loadtest.yaml", None)));
}

#[test]
fn hosts_are_references_until_they_have_addresses() {
    let conf = control_plane_conf(&common::stack("loadtest.yaml", None)).unwrap();
    let mut found = Vec::new();
    conf.visit_references(&mut |reference| found.push(format!("{}#{}", reference.address, reference.attribute)));
    let heavy = (0..4).map(|number| format!("instance.heavy[{number}]#private_ip"));
    let expected: Vec<String> = heavy.chain(["instance.probe[0]#private_ip".to_owned()]).collect();
    assert_eq!(found, expected);
    let address = |_: &trunnion_engine::Reference| Some(Value::from("10.0.0.7"));
    let known = read(conf.resolve(&address).as_text().unwrap());
    assert_eq!(known["control-plane"]["locations"][1]["hosts"], serde_json::json!(["10.0.0.7"]));
}

#[test]
fn an_independent_parser_reads_the_conf() {
    let read = read(&conf(&common::stack("loadtest.yaml", None)));
    let control_plane = &read["control-plane"];
    assert_eq!(control_plane["token"], "cpt_1", "the token comes from the environment");
    let location = &control_plane["locations"][0];
    assert_eq!(location["id"], "prl_heavy_paris");
    assert_eq!(location["type"], "dedicated");
    assert_eq!(location["ssh"]["private-key"]["path"], "/app/conf/ssh-private-key");
    assert_eq!(location["executable-dir"], "/var/lib/gatling", "the boot template creates it");
    assert_eq!(location["jvm-options"], serde_json::json!([OPENS, "-Xmx128g"]));
    assert_eq!(location["system-properties"]["load.profile"], "heavy", "the dot does not split the key");
}

#[test]
fn options_of_the_jvm_always_hold_the_one_that_gatling_needs() {
    let mut stack = common::stack("minimal.yaml", None);
    let mut options = |options: &[&str]| {
        let location = stack.locations.get_mut("prl_small").unwrap();
        location.jvm_options = options.iter().map(|option| (*option).to_owned()).collect();
        read(&conf(&stack))["control-plane"]["locations"][0]["jvm-options"].clone()
    };
    assert_eq!(options(&[]), Json::Null, "Gatling's defaults apply");
    assert_eq!(options(&["-Xmx1g"]), serde_json::json!([OPENS, "-Xmx1g"]));
    assert_eq!(options(&["-Xmx1g", OPENS]), serde_json::json!(["-Xmx1g", OPENS]), "it is not written twice");
    let other = "--add-opens=java.base/java.nio=ALL-UNNAMED";
    assert_eq!(options(&[other]), serde_json::json!([OPENS, other]));
}

#[test]
fn an_older_control_plane_gets_the_older_key() {
    let mut stack = common::stack("loadtest.yaml", None);
    let key = |stack: &Stack| {
        let location = read(&conf(stack))["control-plane"]["locations"][0].clone();
        ["executable-dir", "working-directory"].map(|key| location[key] == "/var/lib/gatling")
    };
    for (image, has) in [
        ("gatlingcorp/control-plane:2026.4.0", [true, false]),
        ("gatlingcorp/control-plane:2026.3.9", [false, true]),
        ("docker.io/gatlingcorp/control-plane:2025.37.0-builder", [false, true]),
        ("mirror.example.org/control-plane:2025.37.0", [true, false]),
        ("gatlingcorp/control-plane:edge", [true, false]),
    ] {
        stack.control_plane.image = image.to_owned();
        assert_eq!(key(&stack), has, "{image}");
    }
}

/// Text that tries to end its string early.
fn hostile() -> impl Strategy<Value = String> {
    prop_oneof![
        "\\PC*",
        any::<String>(),
        Just("\"\n} include file(\"/etc/passwd\")".to_owned()),
        Just("${?PATH} ${CONTROL_PLANE_TOKEN} \\\" \"\"\" # // \\u0022".to_owned()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_ends_its_string_early(
        description in hostile(),
        option in hostile(),
        properties in prop::collection::btree_map(hostile(), hostile(), 0..4),
    ) {
        let mut stack = common::stack("minimal.yaml", None);
        let location = stack.locations.get_mut("prl_small").unwrap();
        location.description.clone_from(&description);
        location.jvm_options = vec![option.clone()];
        location.system_properties.clone_from(&properties);
        let read = read(&conf(&stack));
        let location = &read["control-plane"]["locations"][0];
        prop_assert_eq!(&location["description"], &description);
        prop_assert_eq!(&location["jvm-options"], &serde_json::json!([OPENS, option]));
        let none = serde_json::json!({});
        let read_properties = location.get("system-properties").unwrap_or(&none);
        prop_assert_eq!(read_properties, &serde_json::json!(properties));
        prop_assert_eq!(location.as_object().unwrap().len(), if properties.is_empty() { 8 } else { 9 });
        prop_assert_eq!(read.as_object().unwrap().len(), 1);
    }
}
