//! The findings for results of the lookups.

use std::fmt::Write as _;

use trunnion_blueprint::{Binaries, Finding, blueprint, findings};
use trunnion_engine::{Map, Observed, Remote, Value};
use trunnion_stack::{Engine, Image, Placement, Stack};

use crate::common;

fn map<const N: usize>(fields: [(&str, Value); N]) -> Map {
    fields.map(|(name, value)| (name.to_owned(), value)).into()
}

/// Both subnets of the reference stack, with a default route to a transit gateway.
fn observed(free_a: i64, free_b: i64) -> Observed {
    let mut observed = Observed::default();
    for (zone, id, free) in [("eu-west-3a", "subnet-0a", free_a), ("eu-west-3b", "subnet-0b", free_b)] {
        let subnet = map([
            ("id", id.into()),
            ("zone", zone.into()),
            ("free_addresses", Value::Number(free)),
            ("default_route", "transit_gateway".into()),
        ]);
        observed.lookups.insert(format!("subnet.main[{zone}]").parse().unwrap(), subnet);
    }
    observed
}

fn route(observed: &mut Observed, to: &str) {
    for subnet in observed.lookups.values_mut() {
        subnet.insert("default_route".to_owned(), to.into());
    }
}

fn host(interfaces: i64, addresses: i64) -> Vec<Remote> {
    let attributes = map([("interfaces", Value::Number(interfaces)), ("addresses", Value::Number(addresses))]);
    vec![Remote::new("i-1", attributes)]
}

fn report(stack: &Stack, observed: &Observed) -> String {
    let desired = blueprint(stack, &common::binaries()).unwrap();
    let found = findings(stack, &common::binaries(), &desired, observed);
    let mut text = String::new();
    let mut write = |severity: &str, one: &Finding| {
        writeln!(text, "{severity}[{}] at {}: {}", one.code, one.path, one.message).unwrap();
        one.help.iter().for_each(|help| writeln!(text, "  help: {help}").unwrap());
    };
    found.errors.iter().for_each(|one| write("error", one));
    found.warnings.iter().for_each(|one| write("warning", one));
    text
}

#[test]
fn a_stack_that_fits_gives_no_finding() {
    let stack = common::stack("loadtest.yaml", None);
    // 4 × 240 addresses in one subnet and 60 in the other, plus one for the task.
    assert_eq!(report(&stack, &observed(960, 61)), "");
}

#[test]
fn a_pool_that_does_not_fit_is_refused() {
    let stack = common::stack("loadtest.yaml", None);
    insta::assert_snapshot!(report(&stack, &observed(959, 59)), @r"
    error[pool_does_not_fit] at pools.heavy.count: pool `heavy` needs 960 private addresses (4 × 8 interfaces × 30), but subnet-0a has 959 free
      help: lower `count` to 3, or place the pool in a larger subnet
    error[pool_does_not_fit] at pools.probe.count: pool `probe` needs 60 private addresses (1 × 4 interfaces × 15), but subnet-0b has 59 free
      help: lower `interfaces` or `addresses`, or place the pool in a larger subnet
    error[control_plane_does_not_fit] at control_plane.zones: the control plane's task needs an address, but none is free in subnet-0a, subnet-0b
      help: set `control_plane.zones` to zones with free addresses
    ");
}

#[test]
fn existing_hosts_already_hold_their_addresses() {
    let stack = common::stack("loadtest.yaml", None);
    let mut observed = observed(240, 1000);
    for number in 0..3 {
        observed.remotes.insert(format!("instance.heavy[{number}]").parse().unwrap(), host(8, 30));
    }
    assert_eq!(report(&stack, &observed), "");
    observed.remotes.insert("instance.heavy[2]".parse().unwrap(), host(8, 29));
    insta::assert_snapshot!(report(&stack, &observed), @r"
    error[pool_does_not_fit] at pools.heavy.count: pool `heavy` needs 960 private addresses (4 × 8 interfaces × 30) and has 712, but subnet-0a has 240 free
      help: lower `count` to 3, or place the pool in a larger subnet
    ");
}

#[test]
fn the_control_plane_needs_a_free_address() {
    let stack = common::stack("loadtest.yaml", None);
    let mut full = observed(960, 60);
    insta::assert_snapshot!(report(&stack, &full), @r"
    error[control_plane_does_not_fit] at control_plane.zones: the control plane's task needs an address, but none is free in subnet-0a, subnet-0b
      help: set `control_plane.zones` to zones with free addresses
    ");
    full.remotes.insert("ecs_service.control_plane".parse().unwrap(), host(0, 0));
    assert_eq!(report(&stack, &full), "");
}

#[test]
fn hosts_with_several_interfaces_do_not_reach_the_internet_through_an_internet_gateway() {
    let mut stack = common::stack("loadtest.yaml", None);
    let mut observed = observed(2000, 2000);
    route(&mut observed, "internet_gateway");
    insta::assert_snapshot!(report(&stack, &observed), @r"
    warning[pool_unreachable] at pools.heavy.zone: the hosts of pool `heavy` cannot reach the internet (api.gatling.io, package repositories, S3), so their boot fails: the default route of subnet-0a is an internet gateway, but AWS gives no public address to hosts with several interfaces
      help: give each host a public address (`public_ip: true`), or place the pool in a subnet whose default route is a NAT gateway or similar
    warning[pool_unreachable] at pools.probe.zone: the hosts of pool `probe` cannot reach the internet (api.gatling.io, package repositories, S3), so their boot fails: the default route of subnet-0b is an internet gateway, but AWS gives no public address to hosts with several interfaces
      help: give each host a public address (`public_ip: true`), or place the pool in a subnet whose default route is a NAT gateway or similar
    ");
    stack.control_plane.public_ip = false;
    stack.pools.values_mut().for_each(|pool| pool.interfaces = 1);
    insta::assert_snapshot!(report(&stack, &observed), @r"
    warning[control_plane_unreachable] at control_plane.public_ip: the control plane cannot reach api.gatling.io: the default route of subnet-0a is an internet gateway, but its task has no public address
      help: set `control_plane.public_ip` to true, or choose zones whose subnets route to a NAT gateway
    warning[control_plane_unreachable] at control_plane.public_ip: the control plane cannot reach api.gatling.io: the default route of subnet-0b is an internet gateway, but its task has no public address
      help: set `control_plane.public_ip` to true, or choose zones whose subnets route to a NAT gateway
    ");
}

#[test]
fn a_subnet_without_a_default_route_gives_warnings() {
    let stack = common::stack("loadtest.yaml", None);
    let mut observed = observed(2000, 2000);
    route(&mut observed, "none");
    insta::assert_snapshot!(report(&stack, &observed), @r"
    warning[pool_unreachable] at pools.heavy.zone: the hosts of pool `heavy` cannot reach the internet (api.gatling.io, package repositories, S3), so their boot fails: subnet-0a has no default route
      help: place the pool in a subnet whose default route is an internet gateway, a NAT gateway or similar
    warning[pool_unreachable] at pools.probe.zone: the hosts of pool `probe` cannot reach the internet (api.gatling.io, package repositories, S3), so their boot fails: subnet-0b has no default route
      help: place the pool in a subnet whose default route is an internet gateway, a NAT gateway or similar
    warning[control_plane_unreachable] at control_plane.zones: the control plane cannot reach api.gatling.io: subnet-0a has no default route
      help: choose zones whose subnets have a default route to an internet gateway or a NAT gateway
    warning[control_plane_unreachable] at control_plane.zones: the control plane cannot reach api.gatling.io: subnet-0b has no default route
      help: choose zones whose subnets have a default route to an internet gateway or a NAT gateway
    ");
    route(&mut observed, "other");
    assert_eq!(report(&stack, &observed), "", "another kind of route is accepted");
}

#[test]
fn the_public_reference_stack_boots_in_subnets_with_an_internet_gateway() {
    let stack = common::stack("loadtest.yaml", Some("public"));
    let mut observed = observed(2000, 2000);
    route(&mut observed, "internet_gateway");
    let quota = map([("most", Value::Number(5)), ("used", Value::Number(0))]);
    observed.lookups.insert("elastic_ip_quota.main".parse().unwrap(), quota);
    insta::assert_snapshot!(report(&stack, &observed));
}

#[test]
fn pools_behind_a_nat_gateway_give_a_note() {
    let stack = common::stack("loadtest.yaml", None);
    let mut observed = observed(2000, 2000);
    route(&mut observed, "nat");
    insta::assert_snapshot!(report(&stack, &observed), @r"
    warning[nat_gateway] at pools.heavy.zone: the hosts of pools `heavy`, `probe` reach the internet through a NAT gateway: it bills each gigabyte, and holds 55,000 connections to one destination for each of its addresses
      help: for load on the internet, place the pool in a subnet whose default route is an internet gateway, with `public_ip: true`
    ");
}

#[test]
fn a_host_in_a_subnet_without_public_addresses_needs_its_own() {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../stacks/minimal.yaml")).unwrap();
    let mut observed = observed(2000, 2000);
    route(&mut observed, "internet_gateway");
    let subnet = observed.lookups.get_mut(&"subnet.main[eu-west-3a]".parse().unwrap()).unwrap();
    subnet.insert("gives_public_address".to_owned(), Value::Bool(false));
    insta::assert_snapshot!(report(&common::parse(&text, None), &observed), @r"
    warning[pool_unreachable] at pools.small.zone: the hosts of pool `small` cannot reach the internet (api.gatling.io, package repositories, S3), so their boot fails: the default route of subnet-0a is an internet gateway, but the subnet gives no public address to hosts
      help: give each host a public address (`public_ip: true`), or place the pool in a subnet whose default route is a NAT gateway or similar
    ");
    let public = text.replace("zone: eu-west-3a }", "zone: eu-west-3a, public_ip: true }");
    assert_eq!(report(&common::parse(&public, None), &observed), "");
}

#[test]
fn a_pool_with_ipv6_needs_a_range_a_route_and_a_type_that_supports_it() {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../stacks/minimal.yaml")).unwrap();
    let stack = common::parse(&text.replace("zone: eu-west-3a }", "zone: eu-west-3a, ipv6: true }"), None);
    let mut observed = observed(2000, 2000);
    let kind = map([
        ("interfaces", Value::Number(4)),
        ("addresses", Value::Number(15)),
        ("ipv6_prefixes", Value::Bool(false)),
    ]);
    observed.lookups.insert("instance_type.main[c7i.xlarge]".parse().unwrap(), kind);
    insta::assert_snapshot!(report(&stack, &observed), @r"
    error[type_without_ipv6] at pools.small.ipv6: `pools.small.ipv6` is true, but AWS says that c7i.xlarge supports no IPv6 prefixes
      help: use an instance type of the Nitro system, or remove `ipv6`
    ");
    let kind = observed.lookups.get_mut(&"instance_type.main[c7i.xlarge]".parse().unwrap()).unwrap();
    kind.insert("ipv6_prefixes".to_owned(), Value::Bool(true));
    insta::assert_snapshot!(report(&stack, &observed), @r"
    error[subnet_without_ipv6] at pools.small.ipv6: `pools.small.ipv6` is true, but subnet-0a has no range of IPv6 addresses
      help: associate an IPv6 range of the VPC with it, place the pool in a subnet that has one, or remove `ipv6`
    ");
    let subnet = observed.lookups.get_mut(&"subnet.main[eu-west-3a]".parse().unwrap()).unwrap();
    subnet.insert("ipv6_cidr".to_owned(), "2001:db8:1:1::/64".into());
    subnet.insert("default_route_ipv6".to_owned(), "none".into());
    insta::assert_snapshot!(report(&stack, &observed), @r"
    warning[ipv6_unreachable] at pools.small.ipv6: the hosts of pool `small` reach no destination on the internet over IPv6: subnet-0a has no route for `::/0`
      help: add a route for `::/0` to an internet gateway or an egress-only internet gateway
    ");
    for target in ["internet_gateway", "egress_only_gateway"] {
        let subnet = observed.lookups.get_mut(&"subnet.main[eu-west-3a]".parse().unwrap()).unwrap();
        subnet.insert("default_route_ipv6".to_owned(), target.into());
        assert_eq!(report(&stack, &observed), "");
    }
    let without = common::parse(&text, None);
    assert_eq!(report(&without, &self::observed(2000, 2000)), "", "no other pool needs them");
}

#[test]
fn limits_from_aws_take_precedence_over_the_catalog() {
    let stack = common::stack("loadtest.yaml", None);
    let mut observed = observed(2000, 2000);
    let facts = map([("interfaces", Value::Number(16)), ("addresses", Value::Number(20))]);
    observed.lookups.insert("instance_type.main[c6in.32xlarge]".parse().unwrap(), facts);
    insta::assert_snapshot!(report(&stack, &observed), @r"
    error[type_too_small] at pools.heavy.addresses: `pools.heavy.addresses` asks for 30, but AWS says that c6in.32xlarge allows 20
      help: lower it to 20, or use a larger instance type
    ");
}

#[test]
fn javascript_needs_graalvm() {
    let mut stack = common::stack("loadtest.yaml", None);
    stack.locations.get_mut("prl_probe_paris").unwrap().engine = Engine::JavaScript;
    insta::assert_snapshot!(report(&stack, &observed(2000, 2000)), @r"
    error[no_graalvm] at pools.probe.image: a location of pool `probe` runs JavaScript, which needs GraalVM, but Amazon Linux 2023 has no package of it
      help: set `pools.probe.image` to an image with GraalVM, or use a template that installs it
    ");
    stack.pools.get_mut("probe").unwrap().image = Image::Id("ami-0123456789abcdef0".to_owned());
    assert_eq!(report(&stack, &observed(2000, 2000)), "");
}

#[test]
fn a_java_version_without_a_package_is_refused() {
    let mut stack = common::stack("loadtest.yaml", None);
    stack.generator.java = 19;
    insta::assert_snapshot!(report(&stack, &observed(2000, 2000)), @r"
    error[no_such_java] at generator.java: the hosts of pool `heavy` need Java 19, but Amazon Linux 2023 has no package of it
      help: use Java 11, 17, 21 or 25, set `pools.heavy.image` to an image with Java 19, or use a template that installs it
    ");
    for java in [11, 17, 21, 25] {
        stack.generator.java = java;
        assert_eq!(report(&stack, &observed(2000, 2000)), "", "{java}");
    }
    stack.generator.java = 19;
    stack.pools.values_mut().for_each(|pool| pool.image = Image::Id("ami-0123456789abcdef0".to_owned()));
    assert_eq!(report(&stack, &observed(2000, 2000)), "", "the image may contain it");
    stack.pools.values_mut().for_each(|pool| pool.image = Image::AmazonLinux2023);
    stack.generator.template = Some("boot.sh.tera".into());
    let desired = blueprint(&common::stack("loadtest.yaml", None), &common::binaries()).unwrap();
    let found = findings(&stack, &common::binaries(), &desired, &observed(2000, 2000));
    assert_eq!(found.errors, [], "the template may install it");
}

#[test]
fn a_secret_with_a_customer_managed_key_gives_a_warning() {
    let stack = common::stack("loadtest.yaml", None);
    let mut observed = observed(2000, 2000);
    observed.lookups.insert("secret.token".parse().unwrap(), map([("arn", "arn:token".into())]));
    let private_key = map([("arn", "arn:ssh".into()), ("kms_key", "arn:key".into())]);
    observed.lookups.insert("secret.ssh_private_key".parse().unwrap(), private_key);
    insta::assert_snapshot!(report(&stack, &observed), @r"
    warning[secret_with_own_key] at control_plane.ssh.private_key: the secret `arn:ssh` is encrypted with the key `arn:key`, but the execution role cannot use that key
      help: allow kms:Decrypt for the role `loadtest-execution` in the key's policy
    ");
}

#[test]
fn a_dynamically_linked_binary_gives_a_warning() {
    let directory = common::executables();
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../stacks/loadtest.yaml")).unwrap();
    let mut stack = common::parse_beside(&directory, &text, None);
    let binary = |bytes: &[u8]| {
        let path = directory.path().join("trunnion-generator");
        std::fs::write(&path, bytes).unwrap();
        let binaries = Binaries::of(&stack);
        binaries.read();
        binaries
    };
    // The test program itself is dynamically linked.
    let dynamic = binary(&std::fs::read(std::env::current_exe().unwrap()).unwrap());
    // Two program headers of 56 bytes follow the file header: PT_LOAD, then PT_INTERP or PT_NOTE.
    let with_header = |kind: u8| {
        let mut bytes = std::fs::read(directory.path().join("trunnion-generator")).unwrap();
        bytes.truncate(64);
        bytes[32] = 64;
        (bytes[54], bytes[56]) = (56, 2);
        bytes.resize(64 + 2 * 56, 0);
        (bytes[64], bytes[120]) = (1, kind);
        bytes
    };
    let (made, fixed) = (binary(&with_header(3)), binary(&with_header(4)));
    let found = |stack: &Stack, binaries: &Binaries| {
        let desired = blueprint(stack, binaries).unwrap();
        findings(stack, binaries, &desired, &observed(2000, 2000)).warnings
    };
    for binaries in [&dynamic, &made] {
        let [warning] = &found(&stack, binaries)[..] else { panic!("expected one warning") };
        assert_eq!((warning.code, &*warning.path), ("dynamic_generator", "generator.binary"));
        assert!(warning.message.contains("trunnion-generator` is linked dynamically"), "{}", warning.message);
    }
    assert_eq!(found(&stack, &fixed), []);
    let another = blueprint(&stack, &common::binaries()).unwrap();
    let unused = findings(&stack, &dynamic, &another, &observed(2000, 2000)).warnings;
    assert_eq!(unused, [], "no host boots it");
    stack.pools.values_mut().for_each(|pool| pool.image = Image::Id("ami-0123456789abcdef0".to_owned()));
    assert_eq!(found(&stack, &dynamic), [], "another image may have a newer C library");
}

#[test]
fn without_zones_the_control_plane_uses_the_pools_subnets() {
    let mut stack = common::stack("loadtest.yaml", None);
    stack.control_plane.zones.clear();
    stack.pools.get_mut("heavy").unwrap().placement = Placement::Subnet("subnet-0b".to_owned());
    let mut observed = observed(0, 2000);
    let same = observed.lookups[&"subnet.main[eu-west-3b]".parse().unwrap()].clone();
    observed.lookups.insert("subnet.main[subnet-0b]".parse().unwrap(), same);
    assert_eq!(report(&stack, &observed), "", "the other zone does not matter");
    route(&mut observed, "none");
    let text = report(&stack, &observed);
    assert_eq!(text.matches("[control_plane_unreachable]").count(), 1, "{text}");
}

#[test]
fn a_volume_smaller_than_its_image_is_refused() {
    let stack = common::stack("loadtest.yaml", None);
    let mut observed = observed(2000, 2000);
    let image = |gib| map([("id", "ami-0123456789abcdef0".into()), ("root_size_gib", Value::Number(gib))]);
    observed.lookups.insert("image.heavy".parse().unwrap(), image(100));
    assert_eq!(report(&stack, &observed), "");
    observed.lookups.insert("image.heavy".parse().unwrap(), image(101));
    insta::assert_snapshot!(report(&stack, &observed), @r"
    error[volume_too_small] at pools.heavy.volume_gib: `pools.heavy.volume_gib` is 100, but the root volume of the image `ami-0123456789abcdef0` has 101 GiB
      help: raise it to 101
    ");
}

#[test]
fn secrets_in_plain_text_give_warnings() {
    let mut stack = common::stack("loadtest.yaml", None);
    let location = stack.locations.get_mut("prl_heavy_paris").unwrap();
    location.jvm_options.push("-Dgithub=ghp_0123456789abcdefABCD".to_owned());
    location.system_properties.insert("db.password".to_owned(), "correct horse".to_owned());
    stack.tags.insert("token".to_owned(), "0123456789abcdef".to_owned());
    let text = report(&stack, &observed(2000, 2000));
    for path in [
        "locations.prl_heavy_paris.jvm_options[1]",
        "locations.prl_heavy_paris.system_properties.db.password",
        "tags.token",
    ] {
        assert!(text.contains(&format!("warning[secret_in_clear] at {path}: ")), "{path} in {text}");
    }
    assert!(!text.contains("ghp_") && !text.contains("horse") && !text.contains("0123456789"), "{text}");
}

#[test]
fn the_subnets_of_an_ecs_service_are_limited() {
    let mut stack = common::stack("loadtest.yaml", None);
    stack.control_plane.zones.clear();
    let probe = stack.pools["probe"].clone();
    let mut observed = observed(2000, 2000);
    for number in 0..15 {
        let id = format!("subnet-{number}");
        let pool = trunnion_stack::Pool { placement: Placement::Subnet(id.clone()), ..probe.clone() };
        stack.pools.insert(format!("more-{number}"), pool);
        let found = map([
            ("id", id.as_str().into()),
            ("free_addresses", Value::Number(2000)),
            ("default_route", "transit_gateway".into()),
        ]);
        observed.lookups.insert(format!("subnet.main[{id}]").parse().unwrap(), found);
    }
    insta::assert_snapshot!(report(&stack, &observed), @r"
    error[too_many_subnets] at control_plane.zones: the control plane uses the 17 subnets of the pools, but an ECS service allows at most 16
      help: set `control_plane.zones` to at most 16 zones
    ");
    // The same subnet, by zone and by ID.
    let zone = observed.lookups.get_mut(&"subnet.main[eu-west-3b]".parse().unwrap()).unwrap();
    zone.insert("id".to_owned(), "subnet-0".into());
    assert_eq!(report(&stack, &observed), "");
}

/// The findings for a pool with Elastic IPs in a subnet that routes to an internet gateway.
fn report_for_public(pool: &str, more: &str, used: i64) -> String {
    report_with_quota(pool, more, used, false)
}

/// The same, where the quota is AWS's default because it could not be read.
fn report_with_quota(pool: &str, more: &str, used: i64, is_default: bool) -> String {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../stacks/minimal.yaml")).unwrap();
    let text = text.replace("zone: eu-west-3a }", &format!("zone: eu-west-3a, public_ip: true, {pool} }}"));
    let stack = common::parse(&format!("{text}{more}"), None);
    let mut observed = observed(1000, 1000);
    route(&mut observed, "internet_gateway");
    let mut quota = map([("most", Value::Number(5)), ("used", Value::Number(used))]);
    if is_default {
        quota.insert("is_default".to_owned(), Value::Bool(true));
    }
    observed.lookups.insert("elastic_ip_quota.main".parse().unwrap(), quota);
    report(&stack, &observed)
}

#[test]
fn elastic_ips_fit_the_quota_and_the_spread_addresses() {
    assert_eq!(report_for_public("count: 2", "", 3), "");
    let assumed = report_with_quota("count: 3", "", 3, true);
    assert!(assumed.starts_with("warning[too_few_elastic_ips]"), "{assumed}");
    insta::assert_snapshot!(report_for_public("count: 3", "", 3));
    insta::assert_snapshot!(report_for_public("interfaces: 4, addresses: 2", "", 0));
    insta::assert_snapshot!(report_for_public("interfaces: 4, addresses: 2, tracking: untracked", "", 0));
    assert_eq!(report_for_public("interfaces: 4", "generator: { spread: 'off' }", 0), "");
    assert_eq!(report_for_public("interfaces: 2, addresses: 2, public_addresses: 4", "", 0), "");
    let several = report_for_public("count: 2, interfaces: 2, addresses: 2, public_addresses: 3", "", 0);
    assert!(
        several.starts_with("error[too_few_elastic_ips] at pools: the stack needs 6 more Elastic IPs"),
        "{several}"
    );
    assert!(several.contains("have 4 addresses each, and 3 of them have a public one"), "{several}");
}
