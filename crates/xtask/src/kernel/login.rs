//! Logs in to a host that `setup` has set up, with the SSH libraries that a program on a JVM would use. Gatling does not say which
//! one its control plane has. The host is a Debian with systemd and sshd; under Amazon Linux's crypto policy too.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    fs,
    path::PathBuf,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use super::{
    Test, debian, ensure,
    stage::{Stage, StageOptions},
};
use crate::{Failure, maven, root, run, target_folder};

pub(crate) const TESTS: &[Test] =
    &[("login_with_each_library_under_debian", debian_default), ("login_with_each_library_under_amazon_linux", amazon)];

const SOURCES: &str = "crates/xtask/src/kernel/login";

/// Private keys: the name, and the arguments of `ssh-keygen`. `+passphrase` means that it has one.
const KEYS: &[(&str, &str)] = &[
    ("ed25519", "-t ed25519"),
    ("ed25519+passphrase", "-t ed25519"),
    ("ecdsa256", "-t ecdsa -b 256"),
    ("ecdsa256+passphrase", "-t ecdsa -b 256"),
    ("ecdsa384", "-t ecdsa -b 384"),
    ("ecdsa521", "-t ecdsa -b 521"),
    ("rsa", "-t rsa -b 3072"),
    ("rsa+passphrase", "-t rsa -b 3072"),
    ("ecdsa-pem", "-t ecdsa -b 256 -m PEM"),
    ("ecdsa-pem+passphrase", "-t ecdsa -b 256 -m PEM"),
    ("rsa-pem", "-t rsa -b 3072 -m PEM"),
    ("rsa-pem+passphrase", "-t rsa -b 3072 -m PEM"),
];

/// A library, and what it cannot log in with.
struct Library {
    name: &'static str,
    /// What `Login.java` calls it.
    client: &'static str,
    /// How the names of its jars begin.
    jars: &'static [&'static str],
    refuses: &'static [&'static str],
}

const LIBRARIES: &[Library] = &[
    Library { name: "Apache MINA SSHD", client: "mina", jars: &["sshd-"], refuses: &["ed25519", "ed25519+passphrase"] },
    Library { name: "Apache MINA SSHD with EdDSA", client: "mina", jars: &["sshd-", "eddsa-"], refuses: &[] },
    Library { name: "sshj", client: "sshj", jars: &["sshj-", "bc", "asn-one-"], refuses: &[] },
    Library { name: "JSch", client: "jsch", jars: &["jsch-2"], refuses: &[] },
    // It reads PEM only, and no key of these kinds but ECDSA.
    Library {
        name: "JSch 0.1.55",
        client: "jsch",
        jars: &["jsch-0"],
        refuses: &[
            "ed25519",
            "ed25519+passphrase",
            "ecdsa256",
            "ecdsa256+passphrase",
            "ecdsa384",
            "ecdsa521",
            "rsa",
            "rsa+passphrase",
            "rsa-pem",
            "rsa-pem+passphrase",
        ],
    },
];

/// What a deployment needs in a session: the limits of a login, the programs, a folder for executables, and the journal.
const DEPLOYMENT: &str = r#"exec 2>&1
set -e
test "$(id -un)" = gatling
echo "descriptors $(ulimit -Sn) $(ulimit -Hn)"
test "$(bash -c 'echo $((1 + 1))')" = 2
test "$(echo '{"a": [1]}' | jq -c .a)" = '[1]'
curl -fsS --max-time 10 URL > /dev/null
java -version 2> /dev/null
cd /var/lib/gatling
printf '#!/bin/sh\necho executed\n' > LIBRARY
chmod +x LIBRARY
./LIBRARY
rm LIBRARY
echo "a login with LIBRARY" | systemd-cat --identifier gatling
"#;

const PATIENCE: Duration = Duration::from_secs(30);

fn debian_default() -> Result<(), Failure> {
    let stage = stage()?;
    let effective = stage.host(&["sshd", "-T"])?.succeeded()?.stdout;
    ensure!(effective.contains("kexalgorithms sntrup761x25519-sha512"), "this is not Debian's default:\n{effective}");
    every_library_logs_in(&stage)
}

fn amazon() -> Result<(), Failure> {
    let stage = stage()?;
    stage.write(
        "/etc/ssh/sshd_config.d/50-redhat.conf",
        &fs::read_to_string(root().join(SOURCES).join("al2023.conf"))?,
    )?;
    // Amazon Linux makes no RSA key for a host.
    stage.script("rm /etc/ssh/ssh_host_rsa_key*; systemctl restart ssh.service")?.succeeded()?;
    let effective = stage.host(&["sshd", "-T"])?.succeeded()?.stdout;
    for line in ["\nkexalgorithms curve25519-sha256,", "\nrequiredrsasize 2048\n", "\nciphers aes256-gcm@openssh.com,"]
    {
        ensure!(effective.contains(line), "the policy does not apply:\n{effective}");
    }
    every_library_logs_in(&stage)
}

/// A booted host with the generator and the keys.
fn stage() -> Result<Stage, Failure> {
    let stage = Stage::new(StageOptions { root: debian::files()?, booted: true, ..StageOptions::one_subnet(2, 2) })?;
    stage.install()?;
    let mut script = String::from("mkdir /root/keys\ncd /root/keys\n");
    for (name, arguments) in KEYS {
        let passphrase = if name.ends_with("+passphrase") { "open sesame" } else { "" };
        writeln!(script, "ssh-keygen -q {arguments} -N '{passphrase}' -C {name} -f {name}")?;
    }
    stage.script(&script)?.succeeded()?;
    Ok(stage)
}

fn every_library_logs_in(stage: &Stage) -> Result<(), Failure> {
    let keys: Result<Vec<_>, Failure> =
        KEYS.iter().map(|(name, _)| Ok(stage.read(&format!("/root/keys/{name}.pub"))?.trim().to_owned())).collect();
    let keys = keys?;
    let config = stage.config(|config| config.ssh.authorized_keys = keys)?;
    stage.generator(&["setup"])?.succeeded()?;
    listens_on_the_primary_address(stage)?;

    let server = stage.serve(0, 8080)?;
    let (classes, jars) = clients()?;
    let host = stage.primary_address()?.to_string();
    let folder = stage.path("/root/keys").display().to_string();
    let names: Vec<_> = KEYS.iter().map(|(name, _)| *name).collect();
    let all = names.join(",");
    let mut wrong = Vec::new();
    for Library { name, client, jars: own, refuses } in LIBRARIES {
        let file = |jar: &&PathBuf| jar.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let own = jars.iter().filter(|jar| own.iter().chain(&["slf4j-"]).any(|own| file(jar).starts_with(own)));
        let path: Vec<_> = [&classes].into_iter().chain(own).map(|path| path.display().to_string()).collect();
        let one = names.iter().find(|name| !refuses.contains(name)).ok_or("it refuses every key")?;
        let commands = DEPLOYMENT.replace("URL", &server.url()).replace("LIBRARY", &name.replace(' ', "-"));
        let java = ["java", "-XX:TieredStopAtLevel=1", "-cp", &path.join(":"), "Login", client];
        let java = [&java[..], &[&host, &config.ssh.user, &all, &folder, one]].concat();
        let said = stage.router().run_with(&java, &commands)?.succeeded()?.stdout;
        let (logins, session) = said.split_once("\n\n").ok_or_else(|| format!("{name} says\n{said}"))?;
        let refused: BTreeSet<_> =
            logins.lines().filter(|line| !line.ends_with(" yes")).filter_map(|line| line.split(' ').next()).collect();
        if logins.lines().count() != KEYS.len() || refused != refuses.iter().copied().collect() {
            wrong.push(format!("{name}:\n{logins}"));
        }
        let limits = config.descriptors;
        if session != format!("descriptors {limits} {limits}\nexecuted\n") {
            wrong.push(format!("a session of {name} says:\n{session}"));
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));

    let journal =
        stage.host(&["journalctl", "--no-pager", "--output", "cat", "--identifier", "gatling"])?.succeeded()?;
    for Library { name, .. } in LIBRARIES {
        let line = format!("a login with {}\n", name.replace(' ', "-"));
        ensure!(journal.stdout.contains(&line), "the journal has no line of {name}:\n{}", journal.stdout);
    }
    Ok(())
}

/// sshd reads its configuration after `systemctl` has returned.
fn listens_on_the_primary_address(stage: &Stage) -> Result<(), Failure> {
    let wanted = format!("{}:22", stage.primary_address()?);
    let end = Instant::now() + PATIENCE;
    loop {
        let listeners = stage.host(&["ss", "-Hltn", "sport = 22"])?.succeeded()?.stdout;
        if listeners.lines().count() == 1 && listeners.contains(&wanted) {
            return Ok(());
        }
        ensure!(Instant::now() < end, "sshd listens on\n{listeners}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// The folder of the compiled program, and the libraries' jars. Maven gets what is not there yet.
fn clients() -> Result<(PathBuf, Vec<PathBuf>), Failure> {
    let sources = root().join(SOURCES);
    let folder = target_folder().join("kernel/login");
    let (jars, classes) = (folder.join("jars"), folder.join("classes"));
    maven::libraries(&sources.join("pom.xml"), &jars)?;
    let paths: Result<Vec<_>, _> = fs::read_dir(&jars)?.map(|entry| entry.map(|entry| entry.path())).collect();
    let mut paths = paths?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "jar"));
    paths.sort();
    // The two libraries of JSch have classes of the same names; the newer one comes first.
    let path: Vec<_> = paths.iter().rev().map(|path| path.display().to_string()).collect();
    run(Command::new("javac")
        .args(["-nowarn", "-XDsuppressNotes", "-cp", &path.join(":"), "-d"])
        .arg(&classes)
        .arg(sources.join("Login.java")))?;
    Ok((classes, paths))
}
