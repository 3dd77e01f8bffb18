//! Executes the rendered user data in a Debian with systemd on the stage. The binary is in a sandbox behind the router,
//! to which `trunnion apply` uploaded it.

use std::{
    fs,
    path::PathBuf,
    sync::OnceLock,
    thread,
    time::{Duration, Instant},
};

use nix::sys::resource::{Resource, getrlimit};
use tempfile::TempDir;

use super::{
    Test,
    command::{Ended, Service},
    debian, ensure,
    stage::{self, GENERATOR, Stage, StageOptions},
};
use crate::{Failure, cargo, root, run, target_folder};

pub(crate) const TESTS: &[Test] = &[
    ("boot_ends_with_a_healthy_generator", boot_ends_with_a_healthy_generator),
    ("boot_refuses_a_corrupted_binary", boot_refuses_a_corrupted_binary),
];

const PATIENCE: Duration = Duration::from_mins(1);

/// The sandbox's address outside the VPC, where the host finds AWS.
const AWS: &str = "198.51.100.1";
const ENDPOINT: &str = "AWS_ENDPOINT_URL=http://198.51.100.1:4600";
/// The sandbox's credentials, as the metadata service returns them for the instance profile.
const CREDENTIALS: (&str, &str) = ("sandbox", "sandbox");
const USER_DATA: &str = "/var/lib/cloud/user-data";
const KEY: &str = "/root/key";

fn boot_ends_with_a_healthy_generator() -> Result<(), Failure> {
    let cloud = Cloud::new()?;
    let stage = &cloud.stage;
    let config = cloud.hand_out(&cloud.lowered_user_data()?)?;

    let ended = cloud.boot()?.succeeded()?;
    ensure!(ended.stdout.contains("fetching s3://"), "it fetched nothing:\n{}", ended.stdout);
    ensure!(ended.stdout.contains("this host holds what it was promised"), "{}", ended.stdout);
    cloud.is_healthy(config.metrics_port)?;
    let journal = stage.host(&["journalctl", "--no-pager", "--unit", "trunnion-generator"])?.succeeded()?.stdout;
    ensure!(journal.contains("setup: user `gatling`: created"), "the setup says nothing:\n{journal}");
    ensure!(!journal.contains("failed"), "the first setup failed:\n{journal}");
    let pid = cloud.main_process()?;

    // Connections of Gatling's user use every source address equally often.
    let server = stage.serve(0, 8080)?;
    let addresses = stage.addresses();
    let many = format!("for n in {{1..{}}}; do curl -sS --max-time 10 {}; done", 2 * addresses.len(), server.url());
    stage.as_user("gatling", &["bash", "-euc", &many])?.succeeded()?;
    let sources = server.by_source();
    ensure!(
        sources.len() == addresses.len() && sources.values().all(|&times| times == 2),
        "the sources are not even: {sources:?}"
    );
    // Connections of other users keep the primary address.
    server.close_all();
    stage.host(&["curl", "-sS", "--max-time", "10", &server.url()])?.succeeded()?;
    ensure!(server.by_source().contains_key(&stage.primary_address()?.into()), "root's source was replaced");

    // The control plane can log in, on the primary address only.
    let primary = stage.primary_address()?;
    let ssh = ["ssh", "-i", KEY, "-o", "StrictHostKeyChecking=no", "-o", "BatchMode=yes"];
    let login = format!("gatling@{primary}");
    let output = stage.host(&[&ssh[..], &[&login, "id -un; ulimit -Hn"]].concat())?.succeeded()?.stdout;
    ensure!(output == format!("gatling\n{}\n", config.descriptors), "the login says {output}");
    let listeners = stage.host(&["ss", "-Hltn", "sport = 22"])?.succeeded()?.stdout;
    let listeners: Vec<_> = listeners.lines().filter_map(|line| line.split_whitespace().nth(3)).collect();
    ensure!(listeners == [format!("{primary}:22")], "sshd listens on {listeners:?}");

    // Run it again, as after a reboot: nothing is downloaded, and nothing changes.
    let again = cloud.boot()?.succeeded()?;
    ensure!(!again.stdout.contains("fetching"), "it fetched again:\n{}", again.stdout);
    cloud.is_healthy(config.metrics_port)?;
    ensure!(cloud.main_process()? != pid, "the service was not restarted");
    let changes = stage.generator(&["setup", "--json"])?.succeeded()?.json()?;
    ensure!(changes.as_array().is_some_and(Vec::is_empty), "the boot left something to set up: {changes}");
    Ok(())
}

fn boot_refuses_a_corrupted_binary() -> Result<(), Failure> {
    let cloud = Cloud::new()?;
    let stage = &cloud.stage;
    let user_data = cloud.lowered_user_data()?;
    let config = cloud.hand_out(&user_data)?;
    let object = user_data.lines().find_map(|line| line.strip_prefix("readonly object=")).ok_or("no object")?;
    stage.script("cp /bin/true /tmp/other; printf x >> /tmp/other")?.succeeded()?;
    cloud.aws(&["s3", "cp", "--quiet", "/tmp/other", object])?.succeeded()?;

    let ended = cloud.boot()?.ended_with(1)?;
    let refusal = format!("boot failed: {object} has not the SHA-256 ");
    ensure!(ended.stdout.lines().any(|line| line.contains(&refusal)), "it does not say so:\n{}", ended.stdout);
    ensure!(stage.read("/var/log/trunnion-boot.log")?.contains(&refusal), "the log does not say so");
    for path in [GENERATOR, "/etc/systemd/system/trunnion-generator.service", "/etc/sysctl.d/90-trunnion.conf"] {
        ensure!(!stage.path(path).exists(), "{path} is there");
    }
    let left = fs::read_dir(stage.path("/var/tmp"))?
        .flatten()
        .any(|entry| entry.file_name().to_string_lossy().starts_with("trunnion"));
    ensure!(!left, "the refused file is still in /var/tmp");
    stage.host(&["systemctl", "cat", "trunnion-generator.service"])?.ended_with(1)?;
    ensure!(stage.get(config.metrics_port, "/health").is_err(), "something serves /health");
    Ok(())
}

/// A host before its user data ran, and its sandbox.
struct Cloud {
    /// Dropped before the stage that contains it.
    _sandbox: Service,
    stage: Stage,
    folder: TempDir,
}

impl Cloud {
    /// Applies a stack of one host to a sandbox, and boots the host up to its user data.
    fn new() -> Result<Self, Failure> {
        let trunnion = trunnion()?;
        let options = StageOptions { root: debian::files()?, booted: true, ..StageOptions::one_subnet(3, 4) };
        let stage = Stage::new(options)?;
        stage.change(|metadata| metadata.credentials = Some((CREDENTIALS.0.into(), CREDENTIALS.1.into())))?;
        stage.host(&["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "control-plane", "-f", KEY])?.succeeded()?;
        let public_key = stage.read(&format!("{KEY}.pub"))?;
        let folder = tempfile::tempdir()?;
        write(&folder.path().join("stack.yaml"), &stack(public_key.trim())?)?;

        let router = stage.router();
        router.ip(&format!("addr add {AWS}/32 dev lo\n"))?;
        let listen = format!("{AWS}:4600");
        let mut serve = router.command(&[&trunnion, "sandbox", "--listen", &listen, "--speed", "1200"]);
        serve.env("HOME", folder.path());
        let mut sandbox = Service::start(serve, "trunnion sandbox".into(), router)?;
        let end = Instant::now() + PATIENCE;
        while !sandbox.said()?.0.contains("AWS_ENDPOINT_URL=") {
            ensure!(sandbox.is_running()? && Instant::now() < end, "no sandbox: {:?}", sandbox.said()?);
            thread::sleep(Duration::from_millis(10));
        }
        let cloud = Self { _sandbox: sandbox, stage, folder };
        cloud.trunnion(&["apply", "stack.yaml", "--yes", "--quiet"])?.succeeded()?;
        Ok(cloud)
    }

    /// Runs a command of an operator, on a machine that can reach AWS.
    fn trunnion(&self, arguments: &[&str]) -> Result<Ended, Failure> {
        let program = trunnion()?;
        // The binary is in the target folder.
        let generator = stage::binary()?.display().to_string();
        let allowed: [&str; 2] = ["--allow-file", &generator];
        let mut command = self.stage.router().command(&[&[program.as_str()], arguments, &allowed].concat());
        command.current_dir(self.folder.path()).env("HOME", self.folder.path());
        for (name, value) in environment().iter().filter_map(|variable| variable.split_once('=')) {
            command.env(name, value);
        }
        Ended::of(command, format!("trunnion {}", arguments.join(" ")), "")
    }

    /// Runs the AWS CLI with an operator's permissions.
    fn aws(&self, arguments: &[&str]) -> Result<Ended, Failure> {
        let environment = environment();
        let environment: Vec<_> = environment.iter().map(String::as_str).collect();
        self.stage.host(&[&["env"], &environment[..], &["aws"], arguments].concat())
    }

    /// The user data with a lower promise: without the permission to raise the limit, no process can have more descriptors
    /// than this one.
    fn lowered_user_data(&self) -> Result<String, Failure> {
        let user_data = self.trunnion(&["render", "boot", "stack.yaml"])?.succeeded()?.stdout;
        let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
        let mut lines = Vec::new();
        for line in user_data.lines() {
            let field =
                line.split_once(": ").filter(|(name, _)| matches!(name.trim(), "\"descriptors\"" | "\"total\""));
            let number = field.and_then(|(_, value)| value.trim_end_matches(',').parse::<u64>().ok());
            match (field, number) {
                (Some((name, value)), Some(number)) if number > most => {
                    lines.push(format!("{name}: {most}{}", if value.ends_with(',') { "," } else { "" }));
                }
                _ => lines.push(line.to_owned()),
            }
        }
        Ok(lines.join("\n") + "\n")
    }

    /// Gives the host its user data, and returns the config in it.
    fn hand_out(&self, user_data: &str) -> Result<trunnion_host::Config, Failure> {
        self.stage.change(|metadata| metadata.user_data = Some(user_data.to_owned()))?;
        let config = user_data.split_once("\n{\n").and_then(|(_, rest)| rest.split_once("\n}\n"));
        let (config, _) = config.ok_or("the user data holds no config")?;
        Ok(trunnion_host::Config::parse(&format!("{{\n{config}\n}}"))?)
    }

    /// Fetches the user data from the metadata service and executes it, as cloud-init does.
    fn boot(&self) -> Result<Ended, Failure> {
        self.stage
            .script(&format!(
                "ttl='X-aws-ec2-metadata-token-ttl-seconds: 60'
            token=$(curl -fsS -X PUT -H \"$ttl\" http://169.254.169.254/latest/api/token)
            mkdir -p {folder}
            curl -fsS -H \"X-aws-ec2-metadata-token: $token\" -o {USER_DATA} http://169.254.169.254/latest/user-data
            chmod 0700 {USER_DATA}",
                folder = USER_DATA.rsplit_once('/').map_or("/", |(folder, _)| folder)
            ))?
            .succeeded()?;
        self.stage.host(&["env", ENDPOINT, USER_DATA])
    }

    fn is_healthy(&self, port: u16) -> Result<(), Failure> {
        let (status, body) = self.stage.get(port, "/health")?;
        ensure!(status == 200, "/health says {status}: {body}");
        let body: serde_json::Value = serde_json::from_str(&body)?;
        ensure!(body["status"] == "healthy", "/health says {body}");
        let state = self.stage.host(&["systemctl", "is-active", "trunnion-generator.service"])?.stdout;
        ensure!(state == "active\n", "the service is {state}");
        Ok(())
    }

    fn main_process(&self) -> Result<String, Failure> {
        let show = ["systemctl", "show", "--property", "MainPID", "--value", "trunnion-generator.service"];
        Ok(self.stage.host(&show)?.succeeded()?.stdout)
    }
}

fn environment() -> [String; 4] {
    [
        ENDPOINT.to_owned(),
        format!("AWS_ACCESS_KEY_ID={}", CREDENTIALS.0),
        format!("AWS_SECRET_ACCESS_KEY={}", CREDENTIALS.1),
        "AWS_DEFAULT_REGION=eu-west-3".to_owned(),
    ]
}

/// The minimal stack, with the host of the stage.
fn stack(public_key: &str) -> Result<String, Failure> {
    let mut text = fs::read_to_string(root().join("stacks/minimal.yaml"))?;
    let binary = serde_json::to_string(stage::binary()?)?;
    for (before, after) in [
        ("\npools:", format!("\ngenerator: {{ binary: {binary}, java: 17 }}\n\npools:")),
        ("zone: eu-west-3a }", "zone: eu-west-3a, interfaces: 3, addresses: 4 }".to_owned()),
    ] {
        ensure!(text.matches(before).count() == 1, "stacks/minimal.yaml has not one `{before}`");
        text = text.replace(before, &after);
    }
    let key = text.lines().find(|line| line.trim_start().starts_with("public_key:")).ok_or("no public key")?.to_owned();
    Ok(text.replace(&key, &format!("    public_key: {public_key}")))
}

/// The command, built once.
fn trunnion() -> Result<String, Failure> {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    if PROGRAM.get().is_none() {
        // The whole workspace: single packages would have other features and be compiled again.
        run(cargo().current_dir(root()).args(["test", "--workspace", "--locked", "--quiet", "--no-run"]))?;
    }
    Ok(PROGRAM.get_or_init(|| target_folder().join("debug/trunnion")).display().to_string())
}

#[expect(clippy::disallowed_methods, reason = "a stack file in a temporary folder")]
fn write(path: &std::path::Path, text: &str) -> Result<(), Failure> {
    Ok(fs::write(path, text)?)
}
