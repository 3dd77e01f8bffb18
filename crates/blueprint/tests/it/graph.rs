//! The resources of the stacks, in a form for review.

use std::fmt::Write as _;

use trunnion_blueprint::{Binaries, blueprint, complete};
use trunnion_engine::{Address, Graph, Map, Value};
use trunnion_stack::{Stack, Tracking};

use crate::common;

/// Every resource after its dependencies, and every lookup with its query.
fn outline(graph: &Graph) -> String {
    let mut text = String::new();
    for address in graph.in_order() {
        writeln!(text, "{address}").unwrap();
        for needed in graph.resources()[address].dependencies() {
            writeln!(text, "    {needed}").unwrap();
        }
    }
    for lookup in graph.lookups().values() {
        writeln!(text, "look up {} {}", lookup.address, json(&Value::Map(lookup.query.clone()))).unwrap();
    }
    text
}

fn json(value: &Value) -> String {
    serde_json::Value::from(value.clone()).to_string()
}

fn attributes<'a>(graph: &'a Graph, address: &str) -> &'a Map {
    &graph.resources()[&address.parse::<Address>().unwrap()].attributes
}

fn at<'a>(map: &'a Map, path: &str) -> &'a Value {
    let (first, rest) = path.split_once('.').unwrap_or((path, ""));
    let value = &map[first];
    if rest.is_empty() { value } else { at(value.as_map().unwrap(), rest) }
}

#[test]
fn the_reference_stack() {
    let stack = common::stack("loadtest.yaml", None);
    let graph = blueprint(&stack, &common::binaries()).unwrap();
    insta::assert_snapshot!(outline(&graph));
}

#[test]
fn every_attribute_of_the_minimal_stack() {
    let stack = common::stack("minimal.yaml", None);
    let graph = blueprint(&stack, &common::binaries()).unwrap();
    let mut text = String::new();
    for resource in graph.resources().values() {
        let mut value = serde_json::Value::from(Value::Map(resource.attributes.clone()));
        if let Some(user_data) = value.pointer_mut("/data/user_data") {
            *user_data = "(boot.rs)".into();
        }
        writeln!(text, "{} {}\n", resource.address, serde_json::to_string_pretty(&value).unwrap()).unwrap();
    }
    insta::assert_snapshot!(text);
}

#[test]
fn the_same_stack_gives_the_same_bytes() {
    let digest = || {
        blueprint(&common::stack("loadtest.yaml", None), &common::binaries())
            .unwrap()
            .digest(&trunnion_kinds::rule_book())
    };
    assert_eq!(digest(), digest());
}

#[test]
fn environments_are_separate_stacks() {
    for environment in ["staging", "dr"] {
        let stack = common::stack("loadtest.yaml", Some(environment));
        let graph = blueprint(&stack, &common::binaries()).unwrap();
        let name = format!("loadtest-{environment}");
        assert_eq!(graph.stack(), name);
        for resource in graph.resources().values() {
            let tags = resource.attributes["tags"].as_map().unwrap();
            assert_eq!(tags["trunnion:stack"].as_text(), Some(&*name), "{}", resource.address);
            assert_eq!(tags["trunnion:address"].as_text(), Some(&*resource.address.to_string()));
            // S3 allows ten tags on an object, so it gets none of the user's.
            let team = tags.get("team").and_then(|tag| tag.as_text());
            let expected = (resource.kind().as_str() != "s3_object").then_some("performance");
            assert_eq!(team, expected, "{}", resource.address);
        }
    }
}

#[test]
fn interfaces_use_both_cards_and_only_the_primary_one_allows_ssh() {
    let stack = common::stack("loadtest.yaml", None);
    let graph = blueprint(&stack, &common::binaries()).unwrap();
    let interfaces = at(attributes(&graph, "launch_template.heavy"), "data.interfaces").as_list().unwrap();
    let found: Vec<(i64, i64, String)> = interfaces
        .iter()
        .map(|interface| {
            let interface = interface.as_map().unwrap();
            let number = |name: &str| interface[name].as_number().unwrap();
            (number("card"), number("device"), json(&interface["security_groups"]))
        })
        .collect();
    let group = |name: &str| format!(r#"[{{"$reference":"security_group.{name}#id"}}]"#);
    let places: Vec<(i64, i64)> = found.iter().map(|(card, device, _)| (*card, *device)).collect();
    assert_eq!(places, [(0, 0), (0, 1), (0, 2), (0, 3), (1, 0), (1, 1), (1, 2), (1, 3)]);
    assert_eq!(found[0].2, group("generator"));
    assert!(found[1..].iter().all(|(_, _, groups)| *groups == group("untracked")));
}

/// The inbound rules of a group: protocol, ports and peer.
fn ingress(graph: &Graph, group: &str) -> Vec<String> {
    rules(graph, group, "ingress")
}

fn rules(graph: &Graph, group: &str, direction: &str) -> Vec<String> {
    let rules = attributes(graph, &format!("security_group.{group}"))[direction].as_list().unwrap();
    let line = |rule: &Value| {
        let rule = rule.as_map().unwrap();
        let [protocol, from, to, peer] =
            ["protocol", "from_port", "to_port", "peer"].map(|name| rule.get(name).map_or("*".to_owned(), json));
        format!("{protocol} {from}-{to} {peer}").replace('"', "")
    };
    rules.iter().map(line).collect()
}

#[test]
fn only_untracked_load_interfaces_allow_inbound_tcp() {
    let mut stack = common::stack("loadtest.yaml", None);
    stack.generator.metrics_from.clear();
    let groups = |graph: &Graph, pool: &str| {
        let interfaces = at(attributes(graph, &format!("launch_template.{pool}")), "data.interfaces").clone();
        let group = |interface: &Value| json(&interface.as_map().unwrap()["security_groups"]);
        interfaces.as_list().unwrap().iter().map(group).collect::<Vec<_>>()
    };
    let group = |name: &str| format!(r#"[{{"$reference":"security_group.{name}#id"}}]"#);
    let exists = |graph: &Graph, name: &str| {
        graph.resources().contains_key(&format!("security_group.{name}").parse::<Address>().unwrap())
    };
    let track = |stack: &mut Stack, tracking: [Tracking; 2]| {
        for (pool, tracking) in ["heavy", "probe"].into_iter().zip(tracking) {
            stack.pools.get_mut(pool).unwrap().tracking = tracking;
        }
        blueprint(stack, &common::binaries()).unwrap()
    };

    let both = track(&mut stack, [Tracking::Untracked, Tracking::Tracked]);
    assert_eq!(groups(&both, "heavy")[0], group("generator"));
    assert!(groups(&both, "heavy")[1..].iter().all(|one| *one == group("untracked")));
    assert!(groups(&both, "probe")[1..].iter().all(|one| *one == group("load")));
    assert_eq!(ingress(&both, "untracked"), ["tcp 0-65535 0.0.0.0/0"]);
    assert!(ingress(&both, "load").is_empty());
    assert_eq!(ingress(&both, "generator").len(), 1, "only SSH");
    let open = track(&mut stack, [Tracking::Untracked; 2]);
    assert!(exists(&open, "untracked") && !exists(&open, "load"));
    let closed = track(&mut stack, [Tracking::Tracked; 2]);
    assert!(!exists(&closed, "untracked") && exists(&closed, "load"));
}

#[test]
fn only_ranges_of_the_stack_can_read_metrics() {
    let mut stack = common::stack("minimal.yaml", None);
    let of = |stack: &Stack| ingress(&blueprint(stack, &common::binaries()).unwrap(), "generator");
    let ssh = "tcp 22-22 {$reference:security_group.control_plane#id}";
    assert_eq!(of(&stack), [ssh]);
    stack.generator.metrics_port = 9100;
    stack.generator.metrics_from = ["10.0.0.0/8", "192.168.7.1/32"].map(|from| from.parse().unwrap()).into();
    assert_eq!(of(&stack), [ssh, "tcp 9100-9100 10.0.0.0/8", "tcp 9100-9100 192.168.7.1/32"]);
}

#[test]
fn a_change_of_user_tags_replaces_no_host() {
    let mut stack = common::stack("loadtest.yaml", None);
    let data = |stack: &Stack| {
        let graph = blueprint(stack, &common::binaries()).unwrap();
        (
            attributes(&graph, "launch_template.heavy")["data"].clone(),
            attributes(&graph, "instance.heavy[0]")["tags"].clone(),
        )
    };
    let (data_before, tags_before) = data(&stack);
    stack.tags.insert("team".to_owned(), "another".to_owned());
    let (data_after, tags_after) = data(&stack);
    assert_eq!(data_before, data_after);
    assert_ne!(tags_before, tags_after);
}

#[test]
fn a_new_binary_changes_its_object_and_the_hosts() {
    let directory = common::executables();
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../stacks/loadtest.yaml")).unwrap();
    let stack = common::parse_beside(&directory, &text, None);
    let path = directory.path().join("trunnion-generator");
    let graph = |stack| blueprint(stack, &Binaries::of(stack)).unwrap();
    let before = graph(&stack);
    let binary = [&std::fs::read(&path).unwrap()[..], b"another binary"].concat();
    std::fs::write(&path, &binary).unwrap();
    let after = graph(&stack);
    let digest = trunnion_engine::hex(&<sha2::Sha256 as sha2::Digest>::digest(&binary));
    let key = format!("generator/{digest}");
    assert_eq!(attributes(&after, "s3_object.generator[x86_64]")["key"].as_text(), Some(&*key));
    let user_data = |graph| at(attributes(graph, "launch_template.heavy"), "data.user_data").clone();
    assert_ne!(user_data(&before), user_data(&after));
    assert!(user_data(&after).as_text().unwrap().contains(&digest));
}

#[test]
fn rules_for_everywhere_include_ipv6_in_a_vpc_with_ipv6() {
    let graph = blueprint(&common::stack("loadtest.yaml", None), &common::binaries()).unwrap();
    let with = |attributes: &[(&str, Value)]| {
        let vpc = attributes.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        let mut observed = trunnion_engine::Observed::default();
        observed.lookups.insert("vpc.main".parse().unwrap(), vpc);
        complete(graph.clone(), &observed).unwrap()
    };
    let digest = |graph: &Graph| graph.digest(&trunnion_kinds::rule_book());
    assert_eq!(digest(&with(&[("id", "vpc-1".into())])), digest(&graph), "without an IPv6 range nothing changes");
    let dual = with(&[("ipv6", Value::Bool(true))]);
    for group in ["generator", "load", "untracked"] {
        assert_eq!(rules(&dual, group, "egress"), ["-1 *-* 0.0.0.0/0", "-1 *-* ::/0"], "{group}");
    }
    assert_eq!(ingress(&dual, "untracked"), ["tcp 0-65535 0.0.0.0/0", "tcp 0-65535 ::/0"]);
    assert_eq!(ingress(&dual, "generator"), ingress(&graph, "generator"), "SSH and metrics do not change");
    assert_eq!(rules(&dual, "control_plane", "egress").last().unwrap(), "tcp 443-443 ::/0");
}

#[test]
fn the_control_plane_can_reach_dns_servers_of_vpc_and_stack() {
    let mut stack = common::stack("minimal.yaml", None);
    let plain = blueprint(&stack, &common::binaries()).unwrap();
    let dns = ["udp 53-53 10.0.0.2/32", "tcp 53-53 10.0.0.2/32"];
    let egress = |graph: &Graph| {
        let mut rules = rules(graph, "control_plane", "egress");
        rules.retain(|rule| rule.contains(" 53-53 "));
        rules
    };
    let mut observed = trunnion_engine::Observed::default();
    let vpc = [("dns_servers".to_owned(), Value::List(vec!["10.0.0.2".into()]))].into();
    observed.lookups.insert("vpc.main".parse().unwrap(), vpc);
    assert!(egress(&plain).is_empty());
    assert_eq!(egress(&complete(plain, &observed).unwrap()), dns);
    stack.network.dns_servers = vec!["10.0.0.2".parse().unwrap(), "fd00::2".parse().unwrap()];
    let named = blueprint(&stack, &common::binaries()).unwrap();
    let all = [dns.as_slice(), &["udp 53-53 fd00::2/128", "tcp 53-53 fd00::2/128"]].concat();
    assert_eq!(egress(&named), all);
    assert_eq!(egress(&complete(named, &observed).unwrap()), all, "no rule exists twice");
}

#[test]
fn a_too_long_task_definition_is_refused() {
    let mut stack = common::stack("minimal.yaml", None);
    let properties =
        |count: usize| (0..count).map(|number| (format!("property-{number:04}"), "x".repeat(40))).collect();
    let of = |stack: &Stack| blueprint(stack, &common::binaries()).map(|_| ());
    stack.locations.get_mut("prl_small").unwrap().system_properties = properties(800);
    of(&stack).unwrap();
    stack.locations.get_mut("prl_small").unwrap().system_properties = properties(1000);
    let error = of(&stack).unwrap_err();
    assert_eq!(error.path().as_deref(), Some("locations"));
    assert!(error.to_string().ends_with("but ECS allows 65536"), "{error}");
    // Every host adds a line to the conf, although its address is not known yet.
    stack.locations.get_mut("prl_small").unwrap().system_properties.clear();
    let small = stack.pools["small"].clone();
    for number in 0..3 {
        let name = format!("more-{number}");
        stack.pools.insert(name.clone(), trunnion_stack::Pool { count: 900, ..small.clone() });
        let location = trunnion_stack::Location { pool: name, ..stack.locations["prl_small"].clone() };
        stack.locations.insert(format!("prl_{number}"), location);
    }
    assert!(of(&stack).unwrap_err().to_string().starts_with("the control plane's task definition has "));
}

#[test]
fn every_dependency_is_allowed_by_the_rule_book() {
    let book = trunnion_kinds::rule_book();
    let all = [("loadtest.yaml", None), ("loadtest.yaml", Some("staging")), ("minimal.yaml", None)];
    for (name, environment) in all {
        let graph = blueprint(&common::stack(name, environment), &common::binaries()).unwrap();
        for resource in graph.resources().values() {
            let needed = resource.dependencies();
            for needed in needed.into_iter().filter(|needed| graph.resources().contains_key(*needed)) {
                assert!(book.may_depend(resource.kind(), &needed.kind), "{} needs {needed}", resource.address);
            }
        }
    }
}
