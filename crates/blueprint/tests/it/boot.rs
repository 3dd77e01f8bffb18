//! The boot template: what it renders to, and what bash does with that where every command is a stand-in.

use std::{
    fs::Permissions,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Command, Output},
};

use proptest::prelude::*;
use tempfile::TempDir;
use trunnion_blueprint::{Binaries, Binary, USER_DATA_LIMIT, boot};
use trunnion_catalog::Architecture;
use trunnion_host::{Config, Mode, Ports};
use trunnion_stack::{Engine, Except, Spread, Stack};

use crate::common;

/// `printf generator | sha256sum`
const SHA256: &str = "9123dcbb0b42652b0e105956c68d3ca2ff34584f324fa41a29aedd32b883e131";

/// Functions that stand in for every command with an effect; they tell what they were called with in `$world/calls`.
const STAND_INS: &str = r#"
tell() { printf '%s\n' "$*" >> "$world/calls"; }
tee() { cat; }
sleep() { tell "sleep $*"; }
rm() { tell "rm $*"; }
systemctl() { tell "systemctl $*"; [[ $1 != restart || ! -e $world/slow ]]; }
ip() { tell "ip $*"; }
alternatives() { tell "alternatives $*"; echo 'openjdk version "21.0.8" 2025-07-15 LTS' > "$world/java"; }
mktemp() { echo "$world/fresh"; }
java() { if [[ -e $world/java ]]; then cat "$world/java"; else return 127; fi; }
curl() {
  tell "curl $*"
  [[ ! -e $world/unhealthy ]] || { sed -i 1d "$world/unhealthy"; [[ ! -s $world/unhealthy ]] || return 22; }
}
dnf() { local word; for word in "$@"; do tell "dnf <$word>"; done; [[ -e $world/java ]] || echo 'openjdk version "21.0.8" 2025-07-15 LTS' > "$world/java"; }
jq() { if [[ -e $world/lost ]]; then return 1; else echo 10.0.1.4; fi; }
install() {
  tell "install $*"
  if [[ " $* " == *' /dev/stdin '* ]]; then cat > "$world/$(basename "${!#}")"; fi
}
aws() {
  tell "aws $*"
  if [[ -s $world/refusals ]]; then sed -i 1d "$world/refusals"; return 1; fi
  cat "$world/object" > "$world/fresh"
}
"#;

struct World {
    directory: TempDir,
    output: Output,
}

impl World {
    /// Runs the boot script of a stack where S3 has this object and refuses it so many times first.
    fn boot(stack: &Stack, object: &str, refusals: usize) -> Self {
        Self::boot_with(stack, object, refusals, &[])
    }

    /// Where the binary, once it was fetched, is this script.
    fn boot_checked(files: &[(&str, &str)], check: &str) -> Self {
        let check = format!("#!/bin/bash\n[[ $* == check ]] || exit 2\n{check}\n");
        Self::boot_with(&minimal(), "generator", 0, &[files, &[("trunnion-generator", &check)]].concat())
    }

    /// The same where these files tell the stand-ins more.
    fn boot_with(stack: &Stack, object: &str, refusals: usize, files: &[(&str, &str)]) -> Self {
        let binary = Binary { path: "generator".into(), sha256: SHA256.to_owned(), is_dynamic: false };
        let script = boot(stack, "small", &Binaries::new([(Architecture::X86_64, binary)])).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = directory.path().join(name);
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        };
        write("object", object);
        write("refusals", &"no\n".repeat(refusals));
        write("calls", "");
        for (name, text) in files {
            write(name, text);
        }
        let place = directory.path().display().to_string();
        let script = script.replace("/usr/lib/jvm", &place).replace("/usr/local/bin/", &format!("{place}/"));
        write("script", &format!("world={place}\n{STAND_INS}\n{script}"));
        let output = Command::new("bash").arg("script").current_dir(&directory).output().unwrap();
        Self { directory, output }
    }

    fn file(&self, name: &str) -> String {
        std::fs::read_to_string(self.directory.path().join(name)).unwrap()
    }

    fn calls(&self) -> String {
        self.file("calls").replace(&self.directory.path().display().to_string(), "<world>")
    }

    /// The log from this line on.
    fn log_from(&self, line: &str) -> String {
        let log = self.log();
        log.find(line).map(|start| log[start..].to_owned()).unwrap_or_default()
    }

    /// The log without its times.
    fn log(&self) -> String {
        let log = String::from_utf8_lossy(&self.output.stdout);
        log.lines().map(|line| line.split_once(' ').map_or(line, |(_, text)| text).to_owned() + "\n").collect()
    }
}

fn minimal() -> Stack {
    common::stack("minimal.yaml", None)
}

#[test]
fn the_reference_stack() {
    let stack = common::stack("loadtest.yaml", None);
    let script = boot(&stack, "heavy", &common::binaries()).unwrap();
    assert!(script.starts_with("#!/bin/bash\n"));
    assert!(script.len() < 6 * 1024, "{} bytes", script.len());
    insta::assert_snapshot!(script);
}

/// The config that is baked into a pool's boot script.
fn config(stack: &Stack, pool: &str) -> Config {
    let script = boot(stack, pool, &common::binaries()).unwrap();
    let start = script.find("\n{\n").unwrap();
    let end = script.find("\n}\nEND\n").unwrap();
    Config::parse(&script[start..end + 2]).unwrap()
}

#[test]
fn a_host_is_promised_what_its_sources_hold() {
    let mut stack = common::stack("loadtest.yaml", None);
    let heavy = config(&stack, "heavy");
    assert_eq!(
        (heavy.connections.per_destination, heavy.connections.total),
        (13_547_310, 13_547_310),
        "not those of the tracked primary interface"
    );
    assert_eq!((heavy.ports, heavy.descriptors), (Ports::WIDEST, 13_547_310));
    let probe = config(&stack, "probe");
    assert_eq!((probe.connections.per_destination, probe.connections.total), (3_870_660, 100_000), "tracked");
    stack.generator.spread = Spread::Simulation;
    assert_eq!(config(&stack, "heavy").connections, heavy.connections, "simulations name all addresses");
    stack.generator.spread = Spread::Off;
    let off = config(&stack, "heavy");
    assert_eq!((off.connections.per_destination, off.connections.total), (64_511, 64_511), "one address is the source");
    assert_eq!((off.descriptors, off.spread.mode), (1_048_576, Mode::Off), "never fewer than Gatling asks for");
}

#[test]
fn what_goes_to_gatlings_cloud_is_never_spread() {
    let mut stack = minimal();
    let except = |stack: &Stack| {
        let spread = config(stack, "small").spread;
        assert_eq!(spread.mode, Mode::Kernel);
        spread.except.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(except(&stack), ["18.98.64.240/29"]);
    let range = |text: &str| Except::Range(text.parse().unwrap());
    stack.generator.spread_except = vec![range("2001:db8::/32"), range("18.98.64.240/29"), Except::OwnSubnets];
    assert_eq!(except(&stack), ["own-subnets", "18.98.64.240/29", "2001:db8::/32"]);
}

#[test]
fn metrics_are_served_where_the_stack_says() {
    let mut stack = minimal();
    assert_eq!(config(&stack, "small").metrics_port, Config::METRICS_PORT, "the language has the same default");
    stack.generator.metrics_port = 9100;
    assert_eq!(config(&stack, "small").metrics_port, 9100);
    let world = World::boot(&stack, "generator", 0);
    assert!(world.calls().contains(" http://10.0.1.4:9100/health\n"), "{}", world.calls());
}

#[test]
fn a_host_boots() {
    let world = World::boot(&minimal(), "generator", 0);
    assert!(world.output.status.success(), "{:?}", world.output);
    insta::assert_snapshot!(world.log(), @r"
    boot of a generator host: stack minimal, pool small
    installing java-21-amazon-corretto-headless
    writing the config
    fetching s3://minimal-123456789012-eu-west-3/generator/9123dcbb0b42652b0e105956c68d3ca2ff34584f324fa41a29aedd32b883e131
    starting the generator
    this host holds what it was promised
    boot finished
    ");
    insta::assert_snapshot!(world.calls());
    let config = Config::parse(&world.file("generator.json")).unwrap();
    assert_eq!((&*config.pool, config.interfaces, &*config.ssh.user), ("small", 1, "gatling"));
    assert_eq!(config.ssh.authorized_keys, [minimal().control_plane.ssh.public_key]);
}

#[test]
fn the_java_that_was_asked_for_is_chosen_among_several() {
    let world =
        World::boot_with(&minimal(), "generator", 0, &[("java", "openjdk version \"17.0.1\" 2021-10-19 LTS\n")]);
    assert!(world.output.status.success(), "{:?}", world.output);
    let chosen = "alternatives --set java <world>/java-21-amazon-corretto*/bin/java\n";
    assert!(world.calls().contains(chosen), "{}", world.calls());
}

#[test]
fn a_host_that_is_healthy_late_is_waited_for() {
    // The first start fails, and the first two answers are no.
    let world = World::boot_with(&minimal(), "generator", 0, &[("slow", ""), ("unhealthy", "no\nno\nno\n")]);
    assert!(world.output.status.success(), "{:?}", world.output);
    assert_eq!(world.calls().matches("curl --fail").count(), 3, "{}", world.calls());
    let joined = "systemctl restart trunnion-generator.service\nsystemctl start trunnion-generator.service\n";
    assert!(world.calls().contains(joined), "{}", world.calls());
}

#[test]
fn a_host_that_does_not_hold_its_promise_fails_loudly() {
    let never = "no\n".repeat(100);
    let world = World::boot_checked(&[("unhealthy", &never)], "echo 'check: java 21 is missing'; exit 1");
    assert_eq!(world.output.status.code(), Some(1));
    insta::assert_snapshot!(world.log_from("starting the generator"), @r"
    starting the generator
    attempt 1 failed, next in 2 s: is_healthy
    attempt 2 failed, next in 4 s: is_healthy
    attempt 3 failed, next in 8 s: is_healthy
    attempt 4 failed, next in 16 s: is_healthy
    attempt 5 failed, next in 32 s: is_healthy
    java 21 is missing
    boot failed: this host does not hold what it was promised: see the check above and journalctl --unit trunnion-generator.service
    ");
    let world = World::boot_checked(&[("lost", "")], "exit 0");
    assert_eq!(world.output.status.code(), Some(1), "no primary address to ask at");
    insta::assert_snapshot!(world.log_from("starting the generator"), @r"
    starting the generator
    attempt 1 failed, next in 2 s: is_healthy
    attempt 2 failed, next in 4 s: is_healthy
    attempt 3 failed, next in 8 s: is_healthy
    attempt 4 failed, next in 16 s: is_healthy
    attempt 5 failed, next in 32 s: is_healthy
    boot failed: trunnion-generator.service does not say that it is healthy: see journalctl --unit trunnion-generator.service
    ");
}

#[test]
fn what_the_network_refuses_is_tried_again() {
    let world = World::boot(&minimal(), "generator", 2);
    assert!(world.output.status.success(), "{:?}", world.output);
    let calls = world.calls();
    let tries: Vec<&str> = calls.lines().filter(|call| call.starts_with("aws") || call.starts_with("sleep")).collect();
    assert_eq!(tries.len(), 5, "{calls}");
    assert_eq!((tries[1], tries[3]), ("sleep 2", "sleep 4"));

    let world = World::boot(&minimal(), "generator", 100);
    assert_eq!(world.output.status.code(), Some(1));
    assert!(
        world.log().lines().last().unwrap().starts_with("boot failed: cannot fetch s3://minimal-"),
        "{}",
        world.log()
    );
}

#[test]
fn another_binary_is_deleted_and_never_started() {
    let world = World::boot(&minimal(), "something else", 0);
    assert_eq!(world.output.status.code(), Some(1));
    assert!(world.calls().contains("rm -f <world>/fresh"));
    assert!(!world.calls().contains("trunnion-generator.service"));
    let log = world.log();
    let last = log.lines().last().unwrap();
    assert!(last.starts_with("boot failed: s3://") && last.ends_with("it was deleted and not started"), "{last}");
}

#[test]
fn javascript_needs_an_image_with_graalvm() {
    let mut stack = minimal();
    stack.locations.get_mut("prl_small").unwrap().engine = Engine::JavaScript;
    let world = World::boot(&stack, "generator", 0);
    assert_eq!(world.output.status.code(), Some(1));
    assert!(world.log().contains("boot failed: this pool runs JavaScript"), "{}", world.log());
}

#[test]
fn further_packages_are_installed() {
    let mut stack = minimal();
    stack.generator.variables.insert("packages".to_owned(), "tcpdump  htop".to_owned());
    let world = World::boot(&stack, "generator", 0);
    assert!(world.calls().contains("dnf <tcpdump>\ndnf <htop>\n"), "{}", world.calls());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_becomes_a_command(
        key in hostile(),
        packages in hostile().prop_filter("it is text for the shell", |text| !text.contains('\0')),
    ) {
        let mut stack = minimal();
        stack.control_plane.ssh.public_key.clone_from(&key);
        stack.generator.variables.insert("packages".to_owned(), packages.clone());
        let world = World::boot(&stack, "generator", 0);
        prop_assert!(world.output.status.success(), "{:?}", world.output);
        prop_assert!(!world.directory.path().join("pwned").exists());
        let config = Config::parse(&world.file("generator.json")).unwrap();
        prop_assert_eq!(&config.ssh.authorized_keys, &[key]);
        let calls = world.calls();
        let installed: Vec<&str> =
            calls.lines().filter_map(|call| call.strip_prefix("dnf <")?.strip_suffix('>')).skip(4).collect();
        let asked: Vec<&str> = packages.split([' ', '\t', '\n']).filter(|word| !word.is_empty()).collect();
        prop_assert_eq!(installed, asked);
    }
}

/// Text that would become a command if it could.
fn hostile() -> impl Strategy<Value = String> {
    prop_oneof![
        "[^\0\n]{0,20}",
        Just("\nEND\ntouch pwned\n".to_owned()),
        Just("'; touch pwned; '".to_owned()),
        Just("\"; touch pwned; $(touch pwned) `touch pwned` ${IFS}".to_owned()),
        Just("\\'\ntouch pwned #".to_owned()),
        Just("{{ stack }} {% raw %} {# #}".to_owned()),
    ]
}

/// A boot template of the user's own.
fn with_template(text: &str) -> Result<String, String> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("boot.tera");
    std::fs::write(&path, text).unwrap();
    let mut stack = minimal();
    stack.generator.template = Some(path);
    stack.generator.variables.insert("greeting".to_owned(), "it's me".to_owned());
    boot(&stack, "small", &common::binaries())
        .map_err(|error| format!("{error}").replace(&Path::new(directory.path()).display().to_string(), "<directory>"))
}

#[test]
fn a_template_of_the_users_own_is_handed_the_same() {
    let text = "#!/bin/sh\necho {{ variables.greeting | quote }} {{ pool }} {{ generator.sha256 }} {{ ssh.user }}";
    assert_eq!(with_template(text).unwrap(), format!("#!/bin/sh\necho 'it'\\''s me' small {} gatling", common::SHA256));
    // The built-in one renders under the user's path too: nothing in it depends on its name.
    let built_in = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../templates/boot.sh.tera");
    assert!(with_template(&std::fs::read_to_string(built_in).unwrap()).unwrap().starts_with("#!/bin/bash\n"));
}

#[test]
fn a_template_of_a_windows_editor_reaches_the_hosts_as_any_other() {
    let plain = with_template("#!/bin/sh\necho {{ pool }}\n").unwrap();
    assert_eq!(with_template("\u{feff}#!/bin/sh\r\necho {{ pool }}\r\n").unwrap(), plain);
    assert_eq!(plain, "#!/bin/sh\necho small\n");
}

#[test]
fn user_data_that_cloud_init_would_ignore_is_refused() {
    for fine in
        ["#cloud-config\n", "#include\n", "## template: jinja\n#cloud-config\n", "content-type: multipart/mixed\n"]
    {
        assert_eq!(with_template(fine).unwrap(), fine);
    }
    insta::assert_snapshot!(with_template("\n#!/bin/sh\n").unwrap_err(), @r#"`<directory>/boot.tera` gives user data that cloud-init ignores: it begins with """#);
    insta::assert_snapshot!(with_template("echo {{ pool }}\n").unwrap_err(), @r#"`<directory>/boot.tera` gives user data that cloud-init ignores: it begins with "echo small""#);
}

#[test]
fn a_template_that_does_not_render_says_where() {
    insta::assert_snapshot!(with_template("one\ntwo {{ stak }}\n").unwrap_err(), @"`<directory>/boot.tera`, line 2: Variable `stak` is not defined. Available variables: addresses, architecture, config, generator, instance_type, interfaces, java, javascript, metrics_port, pool, public_ip, region, ssh, stack, tracking, variables");
    insta::assert_snapshot!(with_template("one\n{% if stack %}\n").unwrap_err(), @"`<directory>/boot.tera`, line 3: Unexpected end of input");
    insta::assert_snapshot!(with_template("{{ variables.missing | quote }}").unwrap_err(), @"`<directory>/boot.tera`, line 1: Invalid type for the value, expected `&str` but got `undefined`");
    insta::assert_snapshot!(with_template(&format!("#!{}", "x".repeat(USER_DATA_LIMIT - 1))).unwrap_err(), @"the user data of pool `small` has 16385 bytes, but AWS allows 16384");
    assert_eq!(with_template(&format!("#!{}", "x".repeat(USER_DATA_LIMIT - 2))).unwrap().len(), USER_DATA_LIMIT);
}

#[test]
fn a_variable_that_nothing_reads_is_refused() {
    let mut stack = minimal();
    stack.generator.variables.insert("pakages".to_owned(), "htop".to_owned());
    let error = boot(&stack, "small", &common::binaries()).unwrap_err();
    assert_eq!(error.path().as_deref(), Some("generator.variables.pakages"));
    insta::assert_snapshot!(error.to_string(), @"the built-in boot template knows no variable `pakages`, only `packages`");
}

#[test]
fn a_host_with_an_elastic_ip_waits_for_it_and_no_other_script_changes() {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../stacks/minimal.yaml")).unwrap();
    let script = |text: &str| boot(&common::parse(text, None), "small", &common::binaries()).unwrap();
    let (closed, public) =
        (script(&text), script(&text.replace("zone: eu-west-3a }", "zone: eu-west-3a, public_ip: true }")));
    let start = public
        .find(
            "
# AWS associates the Elastic IP",
        )
        .unwrap();
    let end = public[start..]
        .find(
            "
fi
",
        )
        .unwrap()
        + start
        + "
fi
"
        .len();
    assert_eq!(format!("{}{}", &public[..start], &public[end..]), closed);
    assert!(public[start..end].contains("until has_public_address"));
}
