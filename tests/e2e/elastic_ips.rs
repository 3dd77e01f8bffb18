//! Pools with Elastic IPs.

use std::fs;

use trunnion_tests::{SandboxProcess, Stage, root};

/// The minimal stack with two hosts and Elastic IPs.
fn public() -> String {
    let minimal = fs::read_to_string(root().join("stacks/minimal.yaml")).unwrap();
    minimal.replace("zone: eu-west-3a }", "zone: eu-west-3a, count: 2, public_ip: true }")
}

/// The minimal stack with one host of two interfaces, each with two addresses.
fn public_pool() -> String {
    public().replace("count: 2, public_ip", "interfaces: 2, addresses: 2, public_ip")
}

fn public_ips(stage: &Stage) -> Vec<String> {
    let shown: serde_json::Value = serde_json::from_str(&stage.succeed(&["show", "--json"]).stdout).unwrap();
    let hosts = shown["outputs"]["hosts"].as_array().unwrap();
    hosts.iter().filter_map(|host| Some(host.get("public_ip")?.as_str()?.to_owned())).collect()
}

#[test]
fn replacements_keep_their_addresses_and_removal_releases_them() {
    let sandbox = SandboxProcess::start(&[]);
    let stage = Stage::new(&public()).at(&sandbox);
    let plan = stage.succeed(&["plan"]);
    assert!(plan.stdout.contains("with `--no-wait`, the next apply does it"), "{}", plan.stdout);
    stage.converge(&[]);
    let before = public_ips(&stage);
    assert_eq!(before.len(), 2);

    stage.succeed(&["apply", "--yes", "--replace", "instance.small[0]"]);
    assert_eq!(stage.changes(&[]), Vec::<String>::new());
    assert_eq!(public_ips(&stage), before, "targets may allow these addresses by number");

    stage.write("stack.yaml", public().replace("count: 2, public_ip: true", "count: 2"));
    stage.converge(&[]);
    assert_eq!(public_ips(&stage), Vec::<String>::new());
    stage.write("stack.yaml", public());
    stage.converge(&[]);
    stage.succeed(&["destroy", "--yes"]);
    assert_eq!(stage.changes(&["--destroy"]), Vec::<String>::new());
}

#[test]
fn the_next_apply_associates_addresses_after_no_wait() {
    // Hosts stay pending for longer than an apply with `--no-wait` takes.
    let sandbox = SandboxProcess::start_friendly(&["--speed", "12"]);
    let stage = Stage::new(&public()).at(&sandbox);
    stage.succeed(&["apply", "--yes", "--no-wait", "--target", "elastic_ip.small"]);
    assert_eq!(public_ips(&stage), Vec::<String>::new(), "allocated, but not associated");
    assert!(sandbox.calls()["ec2:AssociateAddress"].is_null());
    let next = stage.succeed(&["apply", "--yes", "--target", "elastic_ip.small"]);
    assert_eq!(public_ips(&stage).len(), 2);
    assert!(next.stderr.contains("elastic_ip.small[1]: updated"), "{}", next.stderr);
}

#[test]
fn several_addresses_of_a_host_are_public_and_fewer_release_the_others() {
    let sandbox = SandboxProcess::start(&[]);
    let with = |public: &str| public_pool().replace("public_ip: true", public);
    let stage = Stage::new(&with("public_addresses: 3")).at(&sandbox);
    let plan = stage.succeed(&["plan"]);
    assert!(plan.stdout.contains("have 4 addresses each, and 3 of them have a public one"), "{}", plan.stdout);
    let created = stage.changes(&[]);
    let addresses: Vec<&str> = created.iter().filter_map(|change| change.strip_prefix("create elastic_ip.")).collect();
    assert_eq!(addresses, ["small[0]", "small[0.1]", "small[0.2]"]);
    stage.converge(&[]);
    let ips = |stage: &Stage| {
        let shown: serde_json::Value = serde_json::from_str(&stage.succeed(&["show", "--json"]).stdout).unwrap();
        shown["outputs"]["hosts"][0].clone()
    };
    let before = ips(&stage);
    assert_eq!((before["public_ips"].as_array().unwrap().len(), &before["public_ip"]), (3, &before["public_ips"][0]));

    stage.succeed(&["apply", "--yes", "--replace", "instance.small[0]"]);
    assert_eq!(stage.changes(&[]), Vec::<String>::new());
    let after = ips(&stage);
    assert_ne!(after["id"], before["id"]);
    assert_eq!(after["public_ips"], before["public_ips"]);

    stage.write("stack.yaml", with("public_addresses: 1"));
    assert_eq!(stage.changes(&[]), ["delete elastic_ip.small[0.1]", "delete elastic_ip.small[0.2]"]);
    stage.converge(&[]);
    assert_eq!(ips(&stage)["public_ips"].as_array().unwrap(), &[before["public_ip"].clone()]);
    stage.write("stack.yaml", with("public_ip: true"));
    assert_eq!(stage.changes(&[]), Vec::<String>::new(), "it is the same");
    stage.succeed(&["destroy", "--yes"]);
    assert_eq!(sandbox.calls()["ec2:ReleaseAddress"]["count"], 3);
}
