//! The folder of one case: a sandbox with its data, the proxy before it, and the folder that `trunnion` runs in.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::json;
use tempfile::TempDir;
use tokio::runtime::Handle;

use super::{
    order::Order,
    proxy::{Proxy, Run},
    scenario::{BUCKET, KEY},
    world::{Past, World, is_past},
};
use crate::{Failure, replay::Client, sandbox::Sandbox};

/// The endpoint in every case. The state contains it, so it is the same for all sandboxes: the proxy leads to them.
const ENDPOINT: &str = "http://aws.test";

/// The region of every stack.
pub(super) const REGION: &str = "eu-west-3";

/// The longest time that a run of `trunnion` can take.
const LONGEST: Duration = Duration::from_mins(5);

/// How often a running process is looked at.
const LOOK: Duration = Duration::from_millis(5);

/// The longest wait until deletions that were accepted are done.
const PATIENCE: Duration = Duration::from_secs(4);

/// What all cases share.
#[derive(Debug, Clone)]
pub(super) struct Bench {
    pub program: PathBuf,
    pub runtime: Handle,
    /// How many times faster than AWS the sandboxes are.
    pub speed: u32,
}

/// How the sandbox of a case shows what is new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reads {
    pub seed: u64,
    /// How long everything new stays hidden, in milliseconds, on top of what the seed decides.
    pub lag: u64,
}

/// A running case. Its processes end and its folder goes when it is dropped.
pub(super) struct Stage {
    bench: Bench,
    folder: TempDir,
    proxy: Proxy,
    sandbox: Sandbox,
}

/// A run of `trunnion` that ended.
pub(super) struct Ended {
    /// None if it was killed.
    pub code: Option<i32>,
    pub said: String,
    pub run: Run,
}

impl Stage {
    /// Starts a case with the data and the folder of another one, or with empty ones.
    pub fn start(bench: &Bench, from: Option<&Path>, reads: Reads) -> Result<Self, Failure> {
        let folder = tempfile::Builder::new().prefix("killpoints-").tempdir()?;
        match from {
            Some(from) => copy(from, folder.path())?,
            None => prepare(folder.path())?,
        }
        let mut options = vec!["--strict".to_owned(), format!("--seed={}", reads.seed)];
        options.extend([format!("--speed={}", bench.speed), "--vcpus=1000000".to_owned()]);
        options.push(format!("--data={}", folder.path().join("data").display()));
        if reads.lag > 0 {
            options.push(format!("--consistency-lag={}", reads.lag));
        }
        let sandbox = Sandbox::start(&bench.program, &options)?;
        let proxy = Proxy::start(&bench.runtime, &sandbox.address)?;
        Ok(Self { bench: bench.clone(), folder, proxy, sandbox })
    }

    /// Ends the processes, and keeps a copy of the data and the folder.
    pub fn keep(self, at: &Path) -> Result<(), Failure> {
        let Self { folder, sandbox, proxy, .. } = self;
        drop((sandbox, proxy));
        copy(folder.path(), at)
    }

    pub fn client(&self) -> Result<Client, Failure> {
        Client::new(&self.sandbox.address)
    }

    fn home(&self) -> PathBuf {
        self.folder.path().join("home")
    }

    /// The state document; none if the stack file says that it is in S3.
    fn document(&self) -> Option<PathBuf> {
        let stack = fs::read_to_string(self.home().join("stack.yaml")).unwrap_or_default();
        (!stack.contains("\nstate: s3:")).then(|| self.home().join(".trunnion/kill.json"))
    }

    /// The present state, if there is one.
    pub fn state(&self) -> Result<Option<Vec<u8>>, Failure> {
        if let Some(document) = self.document() {
            return Ok(document.exists().then(|| fs::read(document)).transpose()?);
        }
        let found = self.client()?.s3(REGION, "GET", &format!("/{BUCKET}/{KEY}"), Vec::new())?;
        Ok(found.is_success().then(|| found.body.to_vec()))
    }

    /// Makes this the state.
    pub fn give_state(&self, content: Option<&[u8]>) -> Result<(), Failure> {
        if let Some(document) = self.document() {
            return match content {
                Some(content) => write(&document, content),
                None if document.exists() => Ok(fs::remove_file(&document)?),
                None => Ok(()),
            };
        }
        let (method, body) = content.map_or(("DELETE", Vec::new()), |content| ("PUT", content.to_vec()));
        let answer = self.client()?.s3(REGION, method, &format!("/{BUCKET}/{KEY}"), body)?;
        if answer.is_success() { Ok(()) } else { Err(format!("{method} of the state: {}", answer.tree).into()) }
    }

    /// Writes a file of the folder.
    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) -> Result<(), Failure> {
        write(&self.home().join(name), text)
    }

    /// Runs `trunnion` with these arguments on the stack.
    pub fn run(&self, arguments: &[impl AsRef<OsStr>], order: Option<Order>) -> Result<Ended, Failure> {
        self.proxy.begin(order, self.document());
        let said = self.folder.path().join("said");
        #[expect(clippy::disallowed_methods, reason = "what the command says, kept in a temporary folder")]
        let log = fs::File::create(&said)?;
        let mut child = Command::new(&self.bench.program)
            .args(arguments)
            .arg("stack.yaml")
            .current_dir(self.home())
            .env_clear()
            .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
            .envs([("http_proxy", format!("http://{}", self.proxy.address)), ("AWS_ENDPOINT_URL", ENDPOINT.to_owned())])
            .envs([("AWS_ACCESS_KEY_ID", "sandbox"), ("AWS_SECRET_ACCESS_KEY", "sandbox")])
            .env("HOME", self.home())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .map_err(|error| format!("`{}` did not start: {error}", self.bench.program.display()))?;
        self.proxy.aim(child.id())?;
        let status = wait(&mut child);
        let run = self.proxy.end();
        let said = String::from_utf8_lossy(&fs::read(&said)?).into_owned();
        Ok(Ended { code: status?.code(), said, run })
    }

    /// The number of calls of each operation that changed something, by the sandbox's own count.
    pub fn changing_calls(&self) -> Result<Vec<(String, u64)>, Failure> {
        let calls: serde_json::Value = serde_json::from_str(&self.sandbox.get("/_sandbox/calls")?)?;
        let calls = calls.as_object().ok_or("the sandbox names no calls")?;
        let changing = calls.iter().filter(|(_, call)| call["mutating"] == true);
        Ok(changing.map(|(name, call)| (name.clone(), call["count"].as_u64().unwrap_or_default())).collect())
    }

    /// Every row of the sandbox, by table and id.
    pub fn rows(&self) -> Result<serde_json::Value, Failure> {
        Ok(serde_json::from_str(&self.sandbox.get("/_sandbox/rows")?)?)
    }

    /// All that exists, after what AWS does later is done.
    pub fn world(&self, past: Past) -> Result<World, Failure> {
        let client = self.client()?;
        for action in ["DescribeInstances", "DescribeVolumes", "DescribeNetworkInterfaces"] {
            client.ec2(REGION, &[("Action", action)])?;
        }
        let clusters = json!({"cluster": "kill"});
        client.json("ecs", REGION, "AmazonEC2ContainerServiceV20141113.ListTasks", &clusters)?;
        World::of(&self.sandbox.get("/_sandbox/rows")?, past)
    }

    /// How what exists differs from what is expected, after waiting for what AWS does later.
    pub fn differences(&self, expected: &World) -> Result<Vec<String>, Failure> {
        let begin = Instant::now();
        loop {
            let differences = expected.differences(&self.world(expected.past)?);
            if differences.is_empty() || begin.elapsed() > PATIENCE {
                return Ok(differences);
            }
            std::thread::sleep(Duration::from_millis(150));
        }
    }

    /// The ids of the hosts and Elastic IPs that exist, whoever made them.
    pub fn hosts_and_addresses(&self) -> Result<BTreeSet<String>, Failure> {
        let rows = self.rows()?;
        let of = |table: &str| rows[table].as_object().into_iter().flatten();
        let hosts = of("ec2.instances").filter(|(_, row)| !is_past("ec2.instances", row));
        Ok(hosts.chain(of("ec2.elastic_ips")).map(|(id, _)| id.clone()).collect())
    }

    /// What is beside the state and should not be there. Earlier documents are in a folder of their own.
    pub fn strays(&self) -> Result<Vec<String>, Failure> {
        let folder = self.home().join(".trunnion");
        let mut strays = Vec::new();
        for at in [folder.join("kill.history"), folder] {
            for entry in fs::read_dir(&at).into_iter().flatten() {
                let name = entry?.file_name().to_string_lossy().into_owned();
                let is_document = if at.ends_with("kill.history") {
                    Path::new(&name).extension().is_none_or(|ending| ending != "tmp")
                } else {
                    ["kill.json", "kill.lock", "kill.history"].contains(&name.as_str())
                };
                if !is_document {
                    strays.push(format!("the file `{name}` beside the state is left over"));
                }
            }
        }
        for key in self.objects()?.iter().filter(|key| *key != KEY) {
            strays.push(format!("the object `{key}` beside the state is left over"));
        }
        Ok(strays)
    }

    /// The keys in the bucket of states.
    fn objects(&self) -> Result<BTreeSet<String>, Failure> {
        let rows = self.rows()?;
        let mut newest: BTreeMap<String, (u64, bool)> = BTreeMap::new();
        for (_, row) in rows["s3.versions"].as_object().into_iter().flatten().filter(|(_, row)| row["bucket"] == BUCKET)
        {
            let key = row["key"].as_str().unwrap_or_default().to_owned();
            let version = (row["sequence"].as_u64().unwrap_or_default(), row["is_marker"] == true);
            let newest = newest.entry(key).or_insert(version);
            *newest = version.max(*newest);
        }
        Ok(newest.into_iter().filter(|(_, (_, is_marker))| !is_marker).map(|(key, _)| key).collect())
    }
}

/// Waits for a process, which is killed if it takes too long.
fn wait(child: &mut Child) -> Result<std::process::ExitStatus, Failure> {
    let begin = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if begin.elapsed() > LONGEST {
            child.kill()?;
            child.wait()?;
            return Err("`trunnion` did not end".into());
        }
        std::thread::sleep(LOOK);
    }
}

/// A folder that is a clone of a repository, so that the home of its stack is the same everywhere, with two builds of
/// the generator.
fn prepare(folder: &Path) -> Result<(), Failure> {
    let home = folder.join("home");
    for name in [".git/objects", ".git/refs", ".trunnion"] {
        fs::create_dir_all(home.join(name))?;
    }
    write(&home.join(".git/HEAD"), "ref: refs/heads/main\n")?;
    let origin = "[remote \"origin\"]\n\turl = https://git.example.org/acme/load.git\n";
    write(&home.join(".git/config"), format!("[core]\n\trepositoryformatversion = 0\n{origin}"))?;
    for build in ["a", "b"] {
        // The start of an ELF file for x86_64.
        let mut bytes = b"\x7fELF\x02\x01\x01".to_vec();
        bytes.resize(16, 0);
        bytes.extend([3, 0, 62, 0]);
        bytes.resize(64, 0);
        bytes.extend(build.as_bytes());
        write(&home.join(format!("generator-{build}")), bytes)?;
    }
    Ok(())
}

/// Copies a folder with all that is in it.
fn copy(from: &Path, to: &Path) -> Result<(), Failure> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), &target)?;
        }
    }
    Ok(())
}

/// Writes a new file. The old one can have a second name, so its content stays.
#[expect(clippy::disallowed_methods, reason = "a file of a case, in a temporary folder")]
pub(super) fn write(path: &Path, text: impl AsRef<[u8]>) -> Result<(), Failure> {
    if path.exists() {
        fs::remove_file(path)?;
    }
    Ok(fs::write(path, text)?)
}
