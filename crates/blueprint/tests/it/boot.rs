//! The boot template: its rendered text, and what bash does with it when every command is a stub.

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
use trunnion_stack::{Engine, Except, LoadOptions, Spread, Stack};

use crate::common;

/// `printf generator | sha256sum`
const SHA256: &str = "9123dcbb0b42652b0e105956c68d3ca2ff34584f324fa41a29aedd32b883e131";

/// Stubs for every command with an effect. They write their arguments to `$folder/calls`.
const STUBS: &str = r#"
record() { printf '%s\n' "$*" >> "$folder/calls"; }
tee() { cat; }
sleep() { record "sleep $*"; }
rm() { record "rm $*"; }
systemctl() { record "systemctl $*"; [[ $1 != restart || ! -e $folder/slow ]]; }
ip() { record "ip $*"; }
alternatives() { record "alternatives $*"; echo 'openjdk version "21.0.8" 2025-07-15 LTS' > "$folder/java"; }
mktemp() { echo "$folder/fresh"; }
java() { if [[ -e $folder/java ]]; then cat "$folder/java"; else return 127; fi; }
curl() {
  record "curl $*"
  [[ ! -e $folder/unhealthy ]] || { sed -i 1d "$folder/unhealthy"; [[ ! -s $folder/unhealthy ]] || return 22; }
}
dnf() { local word; for word in "$@"; do record "dnf <$word>"; done; [[ -e $folder/java ]] || echo 'openjdk version "21.0.8" 2025-07-15 LTS' > "$folder/java"; }
jq() { if [[ -e $folder/lost ]]; then return 1; else echo 10.0.1.4; fi; }
install() {
  record "install $*"
  if [[ " $* " == *' /dev/stdin '* ]]; then cat > "$folder/$(basename "${!#}")"; fi
}
aws() {
  record "aws $*"
  if [[ -s $folder/refusals ]]; then sed -i 1d "$folder/refusals"; return 1; fi
  cat "$folder/object" > "$folder/fresh"
}
"#;

struct Run {
    directory: TempDir,
    output: Output,
}

impl Run {
    /// Runs the boot script of a stack. S3 has this object and refuses the first `refusals` requests.
    fn boot(stack: &Stack, object: &str, refusals: usize) -> Self {
        Self::boot_with(stack, object, refusals, &[])
    }

    /// Runs the boot script with a shell script as the generator binary. `check` is what its command `check` runs.
    fn boot_checked(files: &[(&str, &str)], check: &str) -> Self {
        let check = format!("#!/bin/bash\n[[ $* == check ]] || exit 2\n{check}\n");
        Self::boot_with(&minimal(), "generator", 0, &[files, &[("trunnion-generator", &check)]].concat())
    }

    /// As [`Run::boot`], with further files that control the stubs.
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
        write("script", &format!("folder={place}\n{STUBS}\n{script}"));
        let output = Command::new("bash").arg("script").current_dir(&directory).output().unwrap();
        Self { directory, output }
    }

    fn file(&self, name: &str) -> String {
        std::fs::read_to_string(self.directory.path().join(name)).unwrap()
    }

    fn calls(&self) -> String {
        self.file("calls").replace(&self.directory.path().display().to_string(), "<folder>")
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
fn the_promised_connections_follow_from_the_sources() {
    let mut stack = common::stack("loadtest.yaml", None);
    let heavy = config(&stack, "heavy");
    assert_eq!(
        (heavy.connections.per_destination, heavy.connections.total),
        (13_547_310, 13_547_310),
        "without those of the tracked primary interface"
    );
    assert_eq!((heavy.ports, heavy.descriptors), (Ports::WIDEST, 13_547_310));
    let probe = config(&stack, "probe");
    assert_eq!((probe.connections.per_destination, probe.connections.total), (3_870_660, 100_000), "tracked");
    // Ports of other services; one of them is that of the metrics, which is left out anyway.
    stack.generator.reserved_ports = vec![9_100, 9_464];
    stack.generator.metadata_access = true;
    stack.generator.dns_cache = true;
    let reserved = config(&stack, "probe");
    assert_eq!((reserved.connections.per_destination, reserved.ports_per_address()), (60 * 64_510, 64_510));
    assert!(reserved.metadata_access && reserved.dns_cache);
    (stack.generator.reserved_ports, stack.generator.metadata_access) = (Vec::new(), false);
    stack.generator.dns_cache = false;
    stack.generator.spread = Spread::Simulation;
    assert_eq!(config(&stack, "heavy").connections, heavy.connections, "simulations can use all addresses");
    stack.generator.spread = Spread::Off;
    let off = config(&stack, "heavy");
    assert_eq!(
        (off.connections.per_destination, off.connections.total),
        (64_511, 64_511),
        "all connections use one source address"
    );
    assert_eq!((off.descriptors, off.spread.mode), (1_048_576, Mode::Off), "at least what Gatling recommends");
}

#[test]
fn traffic_to_gatlings_cloud_is_never_spread() {
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
fn metrics_use_the_port_of_the_stack() {
    let mut stack = minimal();
    assert_eq!(config(&stack, "small").metrics_port, Config::METRICS_PORT, "the language has the same default");
    stack.generator.metrics_port = 9100;
    assert_eq!(config(&stack, "small").metrics_port, 9100);
    let run = Run::boot(&stack, "generator", 0);
    assert!(run.calls().contains(" http://10.0.1.4:9100/health\n"), "{}", run.calls());
}

#[test]
fn a_host_boots() {
    let run = Run::boot(&minimal(), "generator", 0);
    assert!(run.output.status.success(), "{:?}", run.output);
    insta::assert_snapshot!(run.log(), @r"
    boot of a generator host: stack minimal, pool small
    installing java-21-amazon-corretto-headless
    writing the config
    fetching s3://minimal-123456789012-eu-west-3/generator/9123dcbb0b42652b0e105956c68d3ca2ff34584f324fa41a29aedd32b883e131
    starting the generator
    this host holds what it was promised
    boot finished
    ");
    insta::assert_snapshot!(run.calls());
    let config = Config::parse(&run.file("generator.json")).unwrap();
    assert_eq!((&*config.pool, config.interfaces, &*config.ssh.user), ("small", 1, "gatling"));
    assert_eq!(config.ssh.authorized_keys, [minimal().control_plane.ssh.public_key]);
}

#[test]
fn the_java_version_of_the_stack_is_selected_among_several() {
    let run = Run::boot_with(&minimal(), "generator", 0, &[("java", "openjdk version \"17.0.1\" 2021-10-19 LTS\n")]);
    assert!(run.output.status.success(), "{:?}", run.output);
    let chosen = "alternatives --set java <folder>/java-21-amazon-corretto*/bin/java\n";
    assert!(run.calls().contains(chosen), "{}", run.calls());
}

#[test]
fn the_boot_waits_for_a_host_that_becomes_healthy_late() {
    // The first start fails, and the first two health checks too.
    let run = Run::boot_with(&minimal(), "generator", 0, &[("slow", ""), ("unhealthy", "no\nno\nno\n")]);
    assert!(run.output.status.success(), "{:?}", run.output);
    assert_eq!(run.calls().matches("curl --fail").count(), 3, "{}", run.calls());
    let joined = "systemctl restart trunnion-generator.service\nsystemctl start trunnion-generator.service\n";
    assert!(run.calls().contains(joined), "{}", run.calls());
}

#[test]
fn the_boot_of_a_host_without_its_promised_capacity_fails() {
    let never = "no\n".repeat(100);
    let run = Run::boot_checked(&[("unhealthy", &never)], "echo 'check: java 21 is missing'; exit 1");
    assert_eq!(run.output.status.code(), Some(1));
    insta::assert_snapshot!(run.log_from("starting the generator"), @r"
    starting the generator
    attempt 1 failed, next in 2 s: is_healthy
    attempt 2 failed, next in 4 s: is_healthy
    attempt 3 failed, next in 8 s: is_healthy
    attempt 4 failed, next in 16 s: is_healthy
    attempt 5 failed, next in 32 s: is_healthy
    java 21 is missing
    boot failed: this host does not hold what it was promised: see the check above and journalctl --unit trunnion-generator.service
    ");
    let run = Run::boot_checked(&[("lost", "")], "exit 0");
    assert_eq!(run.output.status.code(), Some(1), "without a primary address there is no health check");
    insta::assert_snapshot!(run.log_from("starting the generator"), @r"
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
fn failed_downloads_are_tried_again() {
    let run = Run::boot(&minimal(), "generator", 2);
    assert!(run.output.status.success(), "{:?}", run.output);
    let calls = run.calls();
    let tries: Vec<&str> = calls.lines().filter(|call| call.starts_with("aws") || call.starts_with("sleep")).collect();
    assert_eq!(tries.len(), 5, "{calls}");
    assert_eq!((tries[1], tries[3]), ("sleep 2", "sleep 4"));

    let run = Run::boot(&minimal(), "generator", 100);
    assert_eq!(run.output.status.code(), Some(1));
    assert!(run.log().lines().last().unwrap().starts_with("boot failed: cannot fetch s3://minimal-"), "{}", run.log());
}

#[test]
fn a_binary_with_another_digest_is_deleted_and_not_started() {
    let run = Run::boot(&minimal(), "something else", 0);
    assert_eq!(run.output.status.code(), Some(1));
    assert!(run.calls().contains("rm -f <folder>/fresh"));
    assert!(!run.calls().contains("trunnion-generator.service"));
    let log = run.log();
    let last = log.lines().last().unwrap();
    assert!(last.starts_with("boot failed: s3://") && last.ends_with("it was deleted and not started"), "{last}");
}

#[test]
fn javascript_needs_an_image_with_graalvm() {
    let mut stack = minimal();
    stack.locations.get_mut("prl_small").unwrap().engine = Engine::JavaScript;
    let run = Run::boot(&stack, "generator", 0);
    assert_eq!(run.output.status.code(), Some(1));
    assert!(run.log().contains("boot failed: this pool runs JavaScript"), "{}", run.log());
}

#[test]
fn packages_of_the_stack_are_installed() {
    let mut stack = minimal();
    stack.generator.variables.insert("packages".to_owned(), "tcpdump  htop".to_owned());
    let run = Run::boot(&stack, "generator", 0);
    assert!(run.calls().contains("dnf <tcpdump>\ndnf <htop>\n"), "{}", run.calls());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_of_the_user_runs_as_a_command(
        key in hostile(),
        packages in hostile().prop_filter("it is text for the shell", |text| !text.contains('\0')),
    ) {
        let mut stack = minimal();
        stack.control_plane.ssh.public_key.clone_from(&key);
        stack.generator.variables.insert("packages".to_owned(), packages.clone());
        let run = Run::boot(&stack, "generator", 0);
        prop_assert!(run.output.status.success(), "{:?}", run.output);
        prop_assert!(!run.directory.path().join("pwned").exists());
        let config = Config::parse(&run.file("generator.json")).unwrap();
        prop_assert_eq!(&config.ssh.authorized_keys, &[key]);
        let calls = run.calls();
        let installed: Vec<&str> =
            calls.lines().filter_map(|call| call.strip_prefix("dnf <")?.strip_suffix('>')).skip(4).collect();
        let asked: Vec<&str> = packages.split([' ', '\t', '\n']).filter(|word| !word.is_empty()).collect();
        prop_assert_eq!(installed, asked);
    }
}

/// Text that tries to run as a command.
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
    stack.files = LoadOptions::new().files(directory.path());
    stack.generator.template = Some(path);
    stack.generator.variables.insert("greeting".to_owned(), "it's me".to_owned());
    boot(&stack, "small", &common::binaries())
        .map_err(|error| format!("{error}").replace(&Path::new(directory.path()).display().to_string(), "<directory>"))
}

#[test]
fn a_template_of_the_user_gets_the_same_variables() {
    let text = "#!/bin/sh\necho {{ variables.greeting | quote }} {{ pool }} {{ generator.sha256 }} {{ ssh.user }}";
    assert_eq!(with_template(text).unwrap(), format!("#!/bin/sh\necho 'it'\\''s me' small {} gatling", common::SHA256));
    // The built-in template also renders as a file of the user: nothing depends on its name.
    let built_in = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../templates/boot.sh.tera");
    assert!(with_template(&std::fs::read_to_string(built_in).unwrap()).unwrap().starts_with("#!/bin/bash\n"));
}

#[test]
fn a_template_from_a_windows_editor_renders_without_mark_and_carriage_returns() {
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
    insta::assert_snapshot!(with_template("\n#!/bin/sh\n").unwrap_err(), @"`<directory>/boot.tera` gives user data that cloud-init ignores, by its first line");
    insta::assert_snapshot!(with_template("echo {{ pool }}\n").unwrap_err(), @"`<directory>/boot.tera` gives user data that cloud-init ignores, by its first line");
}

#[test]
fn an_error_in_a_template_names_its_line() {
    insta::assert_snapshot!(with_template("one\ntwo {{ stak }}\n").unwrap_err(), @"`<directory>/boot.tera`, line 2: Variable `stak` is not defined. Available variables: addresses, architecture, config, generator, instance_type, interfaces, java, javascript, metrics_port, pool, public_ip, region, ssh, stack, tracking, variables");
    insta::assert_snapshot!(with_template("one\n{% if stack %}\n").unwrap_err(), @"`<directory>/boot.tera`, line 3: Unexpected end of input");
    insta::assert_snapshot!(with_template("{{ variables.missing | quote }}").unwrap_err(), @"`<directory>/boot.tera`, line 1: Invalid type for the value, expected `&str` but got `undefined`");
    insta::assert_snapshot!(with_template(&format!("#!{}", "x".repeat(USER_DATA_LIMIT - 1))).unwrap_err(), @"the user data of pool `small` has 16385 bytes, but AWS allows 16384");
    assert_eq!(with_template(&format!("#!{}", "x".repeat(USER_DATA_LIMIT - 2))).unwrap().len(), USER_DATA_LIMIT);
}

#[test]
fn a_variable_that_the_template_does_not_use_is_refused() {
    let mut stack = minimal();
    stack.generator.variables.insert("pakages".to_owned(), "htop".to_owned());
    let error = boot(&stack, "small", &common::binaries()).unwrap_err();
    assert_eq!(error.path().as_deref(), Some("generator.variables.pakages"));
    insta::assert_snapshot!(error.to_string(), @"the built-in boot template has no variable `pakages`, only \
                                                 `packages`");
}

#[test]
fn only_the_script_of_a_host_with_an_elastic_ip_waits_for_it() {
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
