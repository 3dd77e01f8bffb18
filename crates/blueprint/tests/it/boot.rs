//! The boot template: what it renders to, and what bash does with that where every command is a stand-in.

use std::{
    path::Path,
    process::{Command, Output},
};

use proptest::prelude::*;
use tempfile::TempDir;
use trunnion_blueprint::{Binaries, Binary, USER_DATA_LIMIT, boot};
use trunnion_catalog::Architecture;
use trunnion_generator::Config;
use trunnion_stack::{Engine, Stack};

use crate::common;

/// `printf generator | sha256sum`
const SHA256: &str = "9123dcbb0b42652b0e105956c68d3ca2ff34584f324fa41a29aedd32b883e131";

/// Functions that stand in for every command with an effect; they tell what they were called with in `$world/calls`.
const STAND_INS: &str = r#"
tell() { printf '%s\n' "$*" >> "$world/calls"; }
tee() { cat; }
sleep() { tell "sleep $*"; }
rm() { tell "rm $*"; }
restorecon() { :; }
sysctl() { tell "sysctl $*"; }
systemctl() { tell "systemctl $*"; }
useradd() { tell "useradd $*"; }
getent() {
  if [[ $1 == group ]]; then [[ -e $world/group ]]; return; fi
  echo "gatling:x:1001:1001::$world/home:/bin/bash"
}
id() { if [[ $1 != -u ]]; then echo 1001; elif [[ -e $world/uid ]]; then cat "$world/uid"; else return 1; fi; }
findmnt() { if [[ -e $world/mount ]]; then cat "$world/mount"; else echo rw,relatime; fi; }
alternatives() { tell "alternatives $*"; echo 'openjdk version "21.0.8" 2025-07-15 LTS' > "$world/java"; }
mktemp() { echo "$world/fresh"; }
java() { if [[ -e $world/java ]]; then cat "$world/java"; else return 127; fi; }
curl() { :; }
dnf() { local word; for word in "$@"; do tell "dnf <$word>"; done; [[ -e $world/java ]] || echo 'openjdk version "21.0.8" 2025-07-15 LTS' > "$world/java"; }
jq() { if [[ $2 == .ssh.user ]]; then echo gatling; else echo 'a key'; fi; }
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

    /// The same where these files tell the stand-ins more.
    fn boot_with(stack: &Stack, object: &str, refusals: usize, files: &[(&str, &str)]) -> Self {
        let binary = Binary { path: "generator".into(), sha256: SHA256.to_owned() };
        let script = boot(stack, "small", &Binaries::new([(Architecture::X86_64, binary)])).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
        write("object", object);
        write("refusals", &"no\n".repeat(refusals));
        write("calls", "");
        for (name, text) in files {
            write(name, text);
        }
        let place = directory.path().display().to_string();
        let script = script.replace("/usr/lib/jvm", &place);
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

#[test]
fn a_host_boots() {
    let world = World::boot(&minimal(), "generator", 0);
    assert!(world.output.status.success(), "{:?}", world.output);
    insta::assert_snapshot!(world.log(), @r"
    boot of a generator host: stack minimal, pool small
    installing java-21-amazon-corretto-headless
    raising the limits of kernel and processes
    writing the config
    fetching s3://minimal-123456789012-eu-west-3/generator/9123dcbb0b42652b0e105956c68d3ca2ff34584f324fa41a29aedd32b883e131
    letting the control plane in
    reporting what this host was promised
    boot finished
    ");
    insta::assert_snapshot!(world.calls());
    let config = Config::parse(&world.file("generator.json")).unwrap();
    assert_eq!((&*config.pool, config.interfaces, &*config.ssh.user), ("small", 1, "gatling"));
    assert_eq!(world.file("authorized_keys"), "a key\n");
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
fn a_user_joins_the_group_of_its_name() {
    let world = World::boot_with(&minimal(), "generator", 0, &[("group", "")]);
    let call = "useradd --create-home --shell /bin/bash --gid gatling -- gatling\n";
    assert!(world.calls().contains(call), "{}", world.calls());
}

#[test]
fn a_user_of_the_system_is_left_alone() {
    let world = World::boot_with(&minimal(), "generator", 0, &[("uid", "999\n")]);
    assert_eq!(world.output.status.code(), Some(1));
    assert!(world.log().contains("boot failed: the user gatling belongs to the system"), "{}", world.log());
    assert!(!world.calls().contains("authorized_keys"));
    let world = World::boot_with(&minimal(), "generator", 0, &[("uid", "1000\n")]);
    assert!(world.output.status.success(), "{:?}", world.output);
    assert!(!world.calls().contains("useradd") && world.calls().contains("authorized_keys"));
}

#[test]
fn gatling_has_a_folder_that_programs_run_from() {
    let world = World::boot(&minimal(), "generator", 0);
    assert!(world.calls().contains("install -d -o gatling -g 1001 -m 0755 /var/lib/gatling\n"), "{}", world.calls());
    let world = World::boot_with(&minimal(), "generator", 0, &[("mount", "rw,noexec,nosuid\n")]);
    assert!(world.log().contains("boot failed: no program can run from /var/lib/gatling"), "{}", world.log());
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
    let text = "echo {{ variables.greeting | quote }} {{ pool }} {{ generator.sha256 }} {{ ssh.user }}";
    assert_eq!(with_template(text).unwrap(), format!(r"echo 'it'\''s me' small {} gatling", common::SHA256));
    // The built-in one renders under the user's path too: nothing in it depends on its name.
    let built_in = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../templates/boot.sh.tera");
    assert!(with_template(&std::fs::read_to_string(built_in).unwrap()).unwrap().starts_with("#!/bin/bash\n"));
}

#[test]
fn a_template_that_does_not_render_says_where() {
    insta::assert_snapshot!(with_template("one\ntwo {{ stak }}\n").unwrap_err(), @"`<directory>/boot.tera`, line 2: Variable `stak` is not defined. Available variables: addresses, architecture, config, descriptors, executable_dir, generator, instance_type, interfaces, java, javascript, pool, region, ssh, stack, variables");
    insta::assert_snapshot!(with_template("one\n{% if stack %}\n").unwrap_err(), @"`<directory>/boot.tera`, line 3: Unexpected end of input");
    insta::assert_snapshot!(with_template("{{ variables.missing | quote }}").unwrap_err(), @"`<directory>/boot.tera`, line 1: Invalid type for the value, expected `&str` but got `undefined`");
    insta::assert_snapshot!(with_template(&"x".repeat(USER_DATA_LIMIT + 1)).unwrap_err(), @"the user data of pool `small` has 16385 bytes, and AWS takes 16384");
    assert_eq!(with_template(&"x".repeat(USER_DATA_LIMIT)).unwrap().len(), USER_DATA_LIMIT);
}

#[test]
fn a_variable_that_nothing_reads_is_refused() {
    let mut stack = minimal();
    stack.generator.variables.insert("pakages".to_owned(), "htop".to_owned());
    let error = boot(&stack, "small", &common::binaries()).unwrap_err();
    assert_eq!(error.path().as_deref(), Some("generator.variables.pakages"));
    insta::assert_snapshot!(error.to_string(), @"the built-in boot template knows no variable `pakages`, only `packages`");
}
