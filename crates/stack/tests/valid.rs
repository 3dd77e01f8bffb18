//! Valid stack files: keys, defaults, environments, places.

#![expect(clippy::unwrap_used, reason = "a test may panic")]
#![expect(clippy::disallowed_methods, reason = "a test writes the files it reads")]

use std::{
    fs,
    path::{Path, PathBuf},
};

use trunnion_stack::{
    Engine, Except, Image, Invalid, LoadOptions, Market, Placement, Spread, Stack, StateLocation, Tracking, Vpc,
};

mod common;

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIMGVH7KsOWsGmhAFfFG3n0Tz6F5O47qcMX94zGVJZA1E";

fn smallest() -> String {
    format!(
        "stack: loadtest
region: eu-west-3
account: \"123456789012\"
pools:
  heavy: {{ instance_type: c6in.32xlarge, zone: eu-west-3a }}
control_plane:
  image: gatlingcorp/control-plane:2026.42.2
  token: arn:aws:secretsmanager:eu-west-3:123456789012:secret:gatling/token-AbCdEf
  ssh:
    private_key: arn:aws:secretsmanager:eu-west-3:123456789012:secret:gatling/ssh-AbCdEf
    public_key: {KEY}
"
    )
}

/// Loads a stack file from a directory that holds generators of both architectures.
fn load(text: &str, environment: Option<&str>) -> Result<(Stack, PathBuf), Invalid> {
    let directory = common::directory_with_generator(62);
    let path = directory.path().join("loadtest.yaml");
    fs::write(&path, text).unwrap();
    fs::write(directory.path().join("generator-arm64"), common::elf(183)).unwrap();
    fs::write(directory.path().join("boot.sh.tera"), "#!/bin/sh").unwrap();
    let options = LoadOptions::new().with_executable_dir(directory.path());
    Stack::load(&path, environment, &options).map(|stack| (stack, directory.path().to_owned()))
}

#[test]
fn defaults_are_filled_in() {
    let (stack, directory) = load(&smallest(), None).unwrap();
    assert_eq!((stack.name.as_str(), stack.environment.as_deref()), ("loadtest", None));
    assert_eq!(stack.state, StateLocation::File(directory.join(".trunnion/loadtest.json")));
    assert_eq!(stack.network.vpc, Vpc::Default);
    assert_eq!(stack.generator.java, 21);
    assert_eq!(stack.generator.template, None);
    assert_eq!((stack.generator.spread, stack.generator.metrics_port), (Spread::Kernel, 9464));
    assert!(stack.generator.spread_except.is_empty() && stack.generator.metrics_from.is_empty());
    let binaries: Vec<_> = stack.generator.binaries.iter().collect();
    assert_eq!(binaries, [(&trunnion_catalog::Architecture::X86_64, &directory.join("trunnion-generator"))]);
    let pool = &stack.pools["heavy"];
    assert_eq!(pool.instance_type.name, "c6in.32xlarge");
    assert_eq!((pool.count, pool.interfaces, pool.addresses, pool.volume_gib), (1, 1, 1, 30));
    assert_eq!((&pool.image, pool.market), (&Image::AmazonLinux2023, Market::OnDemand));
    assert_eq!(pool.tracking, Tracking::Tracked);
    assert_eq!(pool.placement, Placement::Zone("eu-west-3a".to_owned()));
    let control_plane = &stack.control_plane;
    assert_eq!((control_plane.cpu, control_plane.memory, control_plane.log_retention_days), (1024, 3072, 30));
    assert!(control_plane.public_ip);
    assert!(control_plane.zones.is_empty(), "it uses the subnets of the pools");
    assert_eq!((control_plane.ssh.user.as_str(), control_plane.ssh.public_key.as_str()), ("gatling", KEY));
    assert!(stack.locations.is_empty() && stack.tags.is_empty());
}

#[test]
fn every_key_is_read() {
    let text = smallest()
        .replace(
            "  heavy: { instance_type: c6in.32xlarge, zone: eu-west-3a }",
            "  heavy:
    instance_type: c8gn.48xlarge
    count: 4
    subnet: subnet-0123456789abcdef0
    image: { ssm: /golden/arm64 }
    interfaces: 24
    addresses: 50
    volume_gib: 100
    market: spot
    tracking: untracked
  light: { instance_type: c7i.xlarge, zone: eu-west-3b, count: 0, image: ami-0123456789abcdef0 }",
        )
        .replace(
            "  ssh:\n",
            "  public_ip: false
  cpu: 2048
  memory: 8192
  zones: [eu-west-3c]
  log_retention_days: 7
  ssh:
    user: load
",
        )
        + "state: s3://acme-trunnion/state/
tags: { team: performance, cost center: 1.10, spot: true }
network: { vpc: { Name: loadtest } }
generator:
  binary: { x86_64: trunnion-generator, arm64: generator-arm64 }
  java: 25
  template: boot.sh.tera
  variables: { proxy: \"http://proxy:3128\", retries: 03, ratio: 1.10 }
  spread: simulation
  spread_except: [own-subnets, 10.20.0.0/16, \"2001:db8::/32\"]
  metrics_port: 9100
  metrics_from: [10.0.0.0/8, 192.168.7.1/32]
locations:
  prl_heavy_paris:
    pool: heavy
    description: Paris, four very large generators
    engine: javascript
    jvm_options: [-Xmx128g, -XX:+UseZGC]
    system_properties: { load.profile: heavy, load.users: 1_000 }
  prl_light: { pool: light }
";
    let (stack, directory) = load(&text, None).unwrap();
    let key = "state/loadtest.json".to_owned();
    assert_eq!(stack.state, StateLocation::S3 { bucket: "acme-trunnion".to_owned(), key });
    assert_eq!(stack.tags["cost center"], "1.10", "as written in the file");
    assert_eq!(stack.network.vpc, Vpc::Tag { key: "Name".to_owned(), value: "loadtest".to_owned() });
    assert_eq!(stack.generator.binaries.len(), 2);
    assert_eq!(stack.generator.template, Some(directory.join("boot.sh.tera")));
    assert_eq!(stack.generator.variables["retries"], "03");
    assert_eq!((stack.generator.spread, stack.generator.metrics_port), (Spread::Simulation, 9100));
    let range = |text: &str| Except::Range(text.parse().unwrap());
    assert_eq!(stack.generator.spread_except, [Except::OwnSubnets, range("10.20.0.0/16"), range("2001:db8::/32")]);
    assert_eq!(stack.generator.metrics_from, ["10.0.0.0/8", "192.168.7.1/32"].map(|from| from.parse().unwrap()));
    let heavy = &stack.pools["heavy"];
    assert_eq!((heavy.count, heavy.interfaces, heavy.addresses, heavy.volume_gib), (4, 24, 50, 100));
    assert_eq!((&heavy.image, heavy.market), (&Image::Parameter("/golden/arm64".to_owned()), Market::Spot));
    assert_eq!((heavy.tracking, stack.pools["light"].tracking), (Tracking::Untracked, Tracking::Tracked));
    assert_eq!(heavy.placement, Placement::Subnet("subnet-0123456789abcdef0".to_owned()));
    assert_eq!(stack.pools["light"].image, Image::Id("ami-0123456789abcdef0".to_owned()));
    assert_eq!(stack.pools["light"].count, 0);
    let control_plane = &stack.control_plane;
    assert_eq!((control_plane.cpu, control_plane.memory, control_plane.log_retention_days), (2048, 8192, 7));
    assert_eq!((control_plane.public_ip, control_plane.ssh.user.as_str()), (false, "load"));
    assert_eq!(control_plane.zones, ["eu-west-3c"]);
    let heavy = &stack.locations["prl_heavy_paris"];
    assert_eq!((heavy.pool.as_str(), heavy.engine), ("heavy", Engine::JavaScript));
    assert_eq!(heavy.description, "Paris, four very large generators");
    assert_eq!(heavy.jvm_options, ["-Xmx128g", "-XX:+UseZGC"]);
    assert_eq!(heavy.system_properties["load.users"], "1_000");
    assert_eq!(stack.locations["prl_light"].description, "pool light");
}

#[test]
fn a_jvm_option_can_hold_a_space_in_its_value_only() {
    let read = |option: &str| {
        let option = serde_json::to_string(option).unwrap();
        load(&(smallest() + &format!("locations: {{ prl_a: {{ pool: heavy, jvm_options: [{option}] }} }}\n")), None)
    };
    for whole in [
        "-XX:OnOutOfMemoryError=kill -9 %p",
        "-XX:OnError=gdb --pid %p; logger -t gatling -p user.err crash",
        "-Dgreeting=good  morning ",
        "-javaagent:/opt/the agent/agent.jar=a,b",
        "--add-opens=java.base/java.lang=ALL-UNNAMED",
        "-Xlog:gc*:file=/var/log/gc of gatling.log",
    ] {
        let (stack, _) = read(whole).unwrap();
        assert_eq!(stack.locations["prl_a"].jvm_options, [whole]);
    }
    for several in [
        "-Xmx1g -Xms1g",
        "-XX:MaxInlineLevel=20 -XX:MaxTrivialSize=12",
        "-XX:+UseZGC -Xmx1g",
        "-Da=1 -Db=2",
        "-Da=1 --add-opens=java.base/java.lang=ALL-UNNAMED",
        "kill -9 %p",
    ] {
        assert!(read(several).is_err(), "{several}");
    }
}

#[test]
fn an_environment_is_a_separate_stack() {
    let text = smallest()
        + "environments:
  staging: { pools: { heavy: { count: 2, subnet: subnet-01234567 } }, control_plane: { zones: [eu-west-3b] } }
  same: {}
  bare:
";
    let (stack, directory) = load(&text, Some("staging")).unwrap();
    assert_eq!((stack.name.as_str(), stack.environment.as_deref()), ("loadtest-staging", Some("staging")));
    assert_eq!(stack.state, StateLocation::File(directory.join(".trunnion/loadtest-staging.json")));
    assert_eq!(stack.pools["heavy"].count, 2);
    assert_eq!(stack.pools["heavy"].placement, Placement::Subnet("subnet-01234567".to_owned()));
    assert_eq!(load(&text, Some("same")).unwrap().0.name, "loadtest-same");
    assert_eq!(load(&text, Some("bare")).unwrap().0.name, "loadtest-bare");
    assert_eq!(load(&text, None).unwrap().0.pools["heavy"].count, 1);
}

#[test]
fn an_environment_can_change_spread_and_tracking() {
    let text = smallest()
        + "generator: { spread_except: [10.0.0.0/8], metrics_from: [10.1.0.0/16] }
environments:
  staging:
    generator: { spread: simulation, spread_except: [own-subnets], metrics_from: null }
    pools: { heavy: { interfaces: 2, tracking: untracked } }
";
    let (stack, _) = load(&text, Some("staging")).unwrap();
    assert_eq!(stack.generator.spread, Spread::Simulation);
    assert_eq!(stack.generator.spread_except, [Except::OwnSubnets], "a list is replaced");
    assert!(stack.generator.metrics_from.is_empty(), "null removes it");
    assert_eq!(stack.pools["heavy"].tracking, Tracking::Untracked);
}

#[test]
fn later_stages_can_point_at_the_file() {
    let text = smallest() + "environments:\n  staging:\n    pools: { heavy: { count: 2 } }\n";
    let (stack, _) = load(&text, Some("staging")).unwrap();
    let sources = &stack.sources;
    let shown = |path: &str| {
        let span = sources.span(path).unwrap();
        &sources.text()[span.offset()..span.offset() + span.len()]
    };
    assert_eq!(shown("pools.heavy.instance_type"), "c6in.32xlarge");
    assert_eq!(shown("pools.heavy.addresses"), "heavy", "for a default: the nearest key around it");
    assert_eq!(shown("control_plane.ssh"), "ssh");
    assert_eq!(sources.span("nothing.of.it"), None);
    let found = sources.diagnostic("pools.heavy.count", "plan::subnet", "the subnet is full", Some("lower it".into()));
    let line = text.lines().position(|line| line.contains("count: 2")).unwrap() + 1;
    assert_eq!(found.line_and_column(), Some((line, 30)), "the place in the environment");
    assert_eq!((found.to_string().as_str(), found.help.as_deref()), ("the subnet is full", Some("lower it")));
}

#[test]
fn without_zones_the_control_plane_uses_the_pools_subnets() {
    let text = smallest().replace("zone: eu-west-3a", "subnet: subnet-0123456789abcdef0");
    let (stack, _) = load(&text, None).unwrap();
    assert!(stack.control_plane.zones.is_empty(), "zones have no default value");
    assert_eq!(stack.pools["heavy"].placement, Placement::Subnet("subnet-0123456789abcdef0".to_owned()));
}

#[test]
fn aliases_share_settings() {
    let text = smallest().replace(
        "  heavy: { instance_type: c6in.32xlarge, zone: eu-west-3a }",
        "  heavy: &big { instance_type: c6in.32xlarge, zone: eu-west-3a }\n  other: { <<: *big, zone: eu-west-3b }",
    );
    let (stack, _) = load(&text, None).unwrap();
    assert_eq!(stack.pools["other"].instance_type.name, "c6in.32xlarge");
    assert_eq!(stack.pools["other"].placement, Placement::Zone("eu-west-3b".to_owned()));
}

#[test]
fn byte_order_mark_and_windows_line_ends_are_accepted() {
    let (stack, _) = load(&format!("\u{feff}{}", smallest().replace('\n', "\r\n")), None).unwrap();
    assert_eq!(stack.control_plane.ssh.public_key, KEY);
    let span = stack.sources.span("region").unwrap();
    assert_eq!(&stack.sources.text()[span.offset()..span.offset() + span.len()], "eu-west-3");
}

/// The mistakes of the smallest stack with this section, in a directory with generators of both architectures.
fn mistakes(generator: &str) -> Vec<(&'static str, String)> {
    let loaded = load(&(smallest() + "generator:\n  " + generator + "\n"), None);
    let found = |invalid: Invalid| {
        invalid.diagnostics().iter().map(|found| (found.code, found.message.clone())).collect::<Vec<_>>()
    };
    loaded.err().map(found).unwrap_or_default()
}

#[test]
fn a_named_generator_for_another_architecture_is_refused() {
    let says = "is built for arm64, but the hosts of pool `heavy` are x86_64";
    let [(code, message)] = &mistakes("binary: generator-arm64")[..] else { panic!("expected one mistake") };
    assert_eq!(*code, "stack::generator_binary");
    assert!(message.ends_with(says), "{message}");
    for wrong in ["{ x86_64: generator-arm64 }", "{ x86_64: trunnion-generator, arm64: trunnion-generator }"] {
        let [(code, _)] = mistakes(&format!("binary: {wrong}"))[..] else { panic!("expected one mistake") };
        assert_eq!(code, "stack::generator_binary");
    }
}

#[test]
fn a_missing_generator_file_is_not_a_mistake() {
    let text = smallest() + "generator: { binary: dist/nowhere }\n";
    let (stack, directory) = load(&text, None).unwrap();
    let x86_64 = trunnion_catalog::Architecture::X86_64;
    assert_eq!(stack.generator.binaries[&x86_64], directory.join("dist/nowhere"));
    // The file beside the executable is for another architecture or missing, or the executable's folder is unknown.
    for around in [common::directory_with_generator(183), tempfile::tempdir().unwrap()] {
        let options = LoadOptions::new().with_executable_dir(around.path());
        let stack = Stack::parse(&smallest(), Path::new("loadtest.yaml"), None, &options).unwrap();
        assert_eq!(stack.generator.binaries[&x86_64], around.path().join("trunnion-generator"));
    }
    let stack = Stack::parse(&smallest(), Path::new("loadtest.yaml"), None, &LoadOptions::default()).unwrap();
    assert!(stack.generator.binaries.is_empty());
}

#[test]
fn a_stack_can_set_the_digest_of_its_generator() {
    let digest = "9123dcbb0b42652b0e105956c68d3ca2ff34584f324fa41a29aedd32b883e131";
    let other = "a".repeat(64);
    let (stack, _) = load(&smallest(), None).unwrap();
    assert!(stack.generator.sha256.is_empty());
    for written in [digest.to_owned(), format!("{{ x86_64: {digest}, arm64: {other} }}")] {
        let (stack, _) = load(&format!("{}generator: {{ sha256: {written} }}\n", smallest()), None).unwrap();
        let named: Vec<_> = stack.generator.sha256.into_iter().collect();
        assert_eq!(named, [(trunnion_catalog::Architecture::X86_64, digest.to_owned())]);
    }
    // No pool has arm64 hosts here, but one of another environment may.
    let of_others = format!("{{ x86_64: {digest}, arm64: latest }}");
    for written in [&digest[1..], &digest.to_uppercase(), "latest", &of_others] {
        assert_eq!(mistakes(&format!("sha256: {written}"))[0].0, "stack::malformed", "{written}");
    }
    assert_eq!(mistakes(&format!("sha256: {{ arm64: {digest} }}"))[0].0, "stack::missing_key");
    let two = smallest()
        .replace("\ncontrol_plane:", "\n  arm: { instance_type: c7gn.4xlarge, zone: eu-west-3a }\ncontrol_plane:");
    let binaries = "binary: { x86_64: trunnion-generator, arm64: generator-arm64 }";
    for written in [digest.to_owned(), format!("{{ x86_64: {digest}, arm64: {digest} }}")] {
        let text = format!("{two}generator:\n  {binaries}\n  sha256: {written}\n");
        let refused = load(&text, None).unwrap_err();
        assert!(refused.diagnostics()[0].message.contains("different binaries never have the same"), "{refused:?}");
    }
}

#[test]
fn public_ip_stands_for_the_first_of_the_public_addresses() {
    let read = |keys: &str| {
        let text = include_str!("../../../stacks/minimal.yaml");
        let text = text.replace("zone: eu-west-3a }", &format!("zone: eu-west-3a, addresses: 4{keys} }}"));
        let stack = Stack::parse(&text, "stack.yaml".as_ref(), None, &LoadOptions::default()).unwrap();
        (stack.pools["small"].public_ip, stack.pools["small"].public_addresses)
    };
    assert_eq!(read(""), (false, 0));
    assert_eq!(read(", public_ip: true"), (true, 1));
    assert_eq!(read(", public_addresses: 3"), (true, 3));
    assert_eq!(read(", public_addresses: 3, public_ip: true"), (true, 3));
    assert_eq!(read(", public_addresses: 0"), (false, 0));
}
