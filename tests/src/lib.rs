//! Helpers for end-to-end tests: a folder with a stack file, in which the real `trunnion` runs.

#![expect(clippy::unwrap_used, clippy::missing_panics_doc, reason = "a test may panic")]

mod forge;
pub mod github;
pub mod gitlab;
mod network;

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

use serde_json::Value;
use tempfile::TempDir;

pub use self::{
    forge::{Asked, Fault, Turns, What},
    network::{Authority, Network, Proxy},
};

/// A binary that `cargo test --workspace` built beside this test.
pub fn binary(name: &str) -> PathBuf {
    let this = std::env::current_exe().unwrap();
    let path = this.ancestors().nth(2).unwrap().join(name);
    assert!(path.exists(), "`{}` does not exist: run `cargo build --workspace` first", path.display());
    path
}

/// The repository's root.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// The packages of the workspace, as Cargo knows them.
pub fn packages() -> Vec<Value> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut metadata = Command::new(cargo);
    metadata.args(["metadata", "--no-deps", "--offline", "--format-version", "1"]).current_dir(root());
    let metadata: Value = serde_json::from_slice(&metadata.output().unwrap().stdout).unwrap();
    metadata["packages"].as_array().unwrap().clone()
}

/// A temporary folder with a stack file.
#[derive(Debug)]
pub struct Stage {
    folder: TempDir,
    endpoint: Option<String>,
    machine: Option<TempDir>,
}

/// The result of a command.
#[derive(Debug)]
pub struct Ended {
    /// The exit code.
    pub code: i32,
    /// The text on stdout.
    pub stdout: String,
    /// The text on stderr.
    pub stderr: String,
}

impl Stage {
    /// A folder with this text as `stack.yaml`.
    pub fn new(stack: &str) -> Self {
        let stage = Self { folder: tempfile::tempdir().unwrap(), endpoint: None, machine: None };
        stage.write("stack.yaml", stack);
        stage
    }

    /// A folder with a stack of the repository, such as `loadtest`.
    pub fn with(stack: &str) -> Self {
        Self::new(&fs::read_to_string(root().join("stacks").join(stack).with_extension("yaml")).unwrap())
    }

    /// Makes every command use this sandbox.
    #[must_use]
    pub fn at(self, sandbox: &SandboxProcess) -> Self {
        Self { endpoint: Some(sandbox.endpoint.clone()), ..self }
    }

    /// As [`Stage::new`], on a separate machine with this generator, or none, beside `trunnion`. The folder is a clone of
    /// one repository, which all these machines share.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "files in the test's own folders")]
    pub fn on_a_machine_with(mut self, generator: Option<&[u8]>) -> Self {
        let trunnion = binary("trunnion");
        let machine = tempfile::tempdir_in(trunnion.parent().unwrap()).unwrap();
        let own = machine.path().join("trunnion");
        fs::hard_link(&trunnion, &own).or_else(|_| fs::copy(&trunnion, &own).map(|_| ())).unwrap();
        if let Some(generator) = generator {
            fs::write(machine.path().join("trunnion-generator"), generator).unwrap();
        }
        self.machine = Some(machine);
        for folder in [".git/objects", ".git/refs"] {
            fs::create_dir_all(self.path(folder)).unwrap();
        }
        self.write(".git/HEAD", "ref: refs/heads/main\n");
        let origin = "[remote \"origin\"]\n\turl = https://git.example.org/acme/load.git\n";
        self.write(".git/config", format!("[core]\n\trepositoryformatversion = 0\n{origin}"));
        self
    }

    /// Makes `--sandbox` keep its data in this folder, which several stages can share.
    #[must_use]
    pub fn with_sandbox_data(self, data: &Path) -> Self {
        fs::create_dir_all(self.path(".trunnion")).unwrap();
        std::os::unix::fs::symlink(data, self.path(".trunnion/sandbox")).unwrap();
        self
    }

    /// A path in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file of the folder.
    #[expect(clippy::disallowed_methods, reason = "a file in the test's own folder")]
    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        fs::write(self.path(name), text).unwrap();
    }

    /// Replaces text in the stack file. `from` must occur exactly once.
    pub fn edit(&self, from: &str, to: &str) {
        let text = fs::read_to_string(self.path("stack.yaml")).unwrap();
        assert_eq!(text.matches(from).count(), 1, "`{from}` is not in the stack once");
        self.write("stack.yaml", text.replace(from, to));
    }

    /// Runs Git in the folder, with an identity.
    pub fn git(&self, arguments: &[&str]) {
        let identity = ["-c", "user.name=a", "-c", "user.email=a@example.com"];
        let done = Command::new("git").args(identity).arg("-C").arg(self.path("")).args(arguments).output().unwrap();
        assert!(done.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
    }

    /// Commits everything in the folder.
    pub fn commit(&self) {
        self.git(&["add", "--all"]);
        self.git(&["commit", "--allow-empty", "-m", "a change"]);
    }

    /// A command in the folder, without variables of this process that could change its behaviour.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let own = self.machine.as_ref().map(|machine| machine.path().join("trunnion"));
        let mut command = Command::new(own.unwrap_or_else(|| binary("trunnion")));
        command.current_dir(self.folder.path()).env_clear().args(arguments).stdin(Stdio::null());
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("HOME", self.folder.path());
        if let Some(endpoint) = &self.endpoint {
            command
                .env("AWS_ENDPOINT_URL", endpoint)
                .env("AWS_ACCESS_KEY_ID", "sandbox")
                .env("AWS_SECRET_ACCESS_KEY", "sandbox");
        }
        command
    }

    /// Runs `trunnion` with these variables and without `--sandbox`.
    pub fn run_with(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Ended {
        let mut command = self.command(arguments);
        Ended::of(&command.envs(variables.iter().copied()).output().unwrap())
    }

    /// Runs `trunnion` against the stage's sandbox. Without one, adds `--sandbox` to the commands that have this
    /// option.
    pub fn run(&self, arguments: &[&str]) -> Ended {
        let mut arguments = arguments.to_vec();
        if self.endpoint.is_none() && ["plan", "apply", "destroy", "drift", "show"].contains(&arguments[0]) {
            arguments.push("--sandbox");
        }
        Ended::of(&self.command(&arguments).output().unwrap())
    }

    /// Runs `trunnion`, which must succeed.
    pub fn succeed(&self, arguments: &[&str]) -> Ended {
        let ended = self.run(arguments);
        assert_eq!(ended.code, 0, "{arguments:?}\n{}\n{}", ended.stdout, ended.stderr);
        ended
    }

    /// The changes of a plan, one line per resource, such as `replace instance.heavy[0]`.
    pub fn changes(&self, more: &[&str]) -> Vec<String> {
        let ended = self.run(&[&["plan", "--json", "--detailed-exitcode"], more].concat());
        let document: Value = serde_json::from_str(&ended.stdout).unwrap_or_else(|_| panic!("{}", ended.stderr));
        let changes: Vec<String> = document["compared"]["changes"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|change| change["action"] != "none")
            .map(|change| format!("{} {}", change["action"].as_str().unwrap(), change["address"].as_str().unwrap()))
            .collect();
        assert_eq!(ended.code, if changes.is_empty() { 0 } else { 2 }, "{}", ended.stderr);
        changes
    }

    /// Applies, and checks that the next plan is empty.
    pub fn converge(&self, more: &[&str]) -> Ended {
        let ended = self.succeed(&[&["apply", "--yes"], more].concat());
        assert_eq!(self.changes(more), Vec::<String>::new());
        ended
    }
}

impl Ended {
    /// The events that `apply --json` wrote.
    pub fn events(&self) -> Vec<Value> {
        let event = |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        self.stdout.lines().map(event).collect()
    }

    /// The messages in one line, because long ones are wrapped.
    pub fn said(&self) -> String {
        self.stderr.replace('│', " ").split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// Converts the output of a process.
    pub fn of(output: &Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        Self { code: output.status.code().unwrap_or(-1), stdout: text(&output.stdout), stderr: text(&output.stderr) }
    }

    /// The numbers of reads, writes and round trips in the line that `-v` prints.
    pub fn calls(&self) -> (u64, u64, u64) {
        let line = self
            .stderr
            .lines()
            .find(|line| line.starts_with("AWS calls:"))
            .unwrap_or_else(|| panic!("{}", self.stderr));
        let numbers: Vec<u64> =
            line.split(|character: char| !character.is_ascii_digit()).filter_map(|word| word.parse().ok()).collect();
        (numbers[0], numbers[1], numbers[2])
    }
}

/// A running `trunnion sandbox`.
#[derive(Debug)]
pub struct SandboxProcess {
    process: Child,
    /// Its URL.
    pub endpoint: String,
}

impl SandboxProcess {
    /// Its address and port.
    pub fn address(&self) -> &str {
        self.endpoint.strip_prefix("http://").unwrap()
    }

    /// Starts a strict sandbox on any free port, in an account whose quota of vCPUs has been raised unless `more` has one.
    /// `TRUNNION_SEED` sets its seed. Without `--data`, its data is in memory.
    pub fn start(more: &[&str]) -> Self {
        Self::start_at(500, more)
    }

    /// The same, this many times faster than AWS.
    #[expect(clippy::print_stdout, reason = "a failing test shows it")]
    pub fn start_at(times: u32, more: &[&str]) -> Self {
        let seed = std::env::var("TRUNNION_SEED").unwrap_or_else(|_| "1".to_owned());
        println!("the sandbox is strict: TRUNNION_SEED={seed}");
        let times = times.to_string();
        let quota: &[&str] = if more.contains(&"--vcpus") { &[] } else { &["--vcpus", "100000"] };
        Self::start_friendly(&[&["--strict", "--seed", &seed, "--speed", &times], quota, more].concat())
    }

    /// Starts a sandbox that is not strict.
    pub fn start_friendly(options: &[&str]) -> Self {
        Self::run(Command::new(binary("trunnion")), options)
    }

    /// Starts a sandbox that is not strict and whose files cannot be longer than this many blocks of 512 bytes.
    #[cfg(unix)]
    pub fn start_with_file_size_limit(blocks: u32, options: &[&str]) -> Self {
        let script = format!("ulimit -f {blocks}; trap '' XFSZ; exec \"$0\" \"$@\"");
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(script).arg(binary("trunnion"));
        Self::run(shell, options)
    }

    fn run(mut trunnion: Command, options: &[&str]) -> Self {
        let mut process = trunnion
            .args(["sandbox", "--listen", "127.0.0.1:0", "--quiet"])
            .args(options)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let endpoint = line.trim().strip_prefix("export AWS_ENDPOINT_URL=").unwrap().to_owned();
        Self { process, endpoint }
    }

    /// Sets the fault rules, a list in JSON.
    pub fn faults(&self, rules: &Value) {
        self.request("POST", "/_sandbox/faults", &rules.to_string());
    }

    /// The number of calls, by operation such as `ec2:RunInstances`.
    pub fn calls(&self) -> Value {
        serde_json::from_str(&self.request("GET", "/_sandbox/calls", "")).unwrap()
    }

    /// Every row of the sandbox, by table and id: also what no call shows any more.
    pub fn rows(&self) -> Value {
        serde_json::from_str(&self.request("GET", "/_sandbox/rows", "")).unwrap()
    }

    /// The calls so far that change something, with their counts.
    pub fn changing_calls(&self) -> BTreeMap<String, u64> {
        let calls = self.calls();
        let changing = calls.as_object().unwrap().iter().filter(|(_, call)| call["mutating"] == true);
        changing.map(|(operation, call)| (operation.clone(), call["count"].as_u64().unwrap())).collect()
    }

    /// When the latest of the calls was signed that change something: the time in its header, in whole seconds.
    pub fn last_change_signed(&self) -> String {
        let calls = self.calls();
        let changing = calls.as_object().unwrap().values().filter(|call| call["mutating"] == true);
        changing.map(|call| call["signed"].as_str().unwrap().to_owned()).max().unwrap()
    }

    /// The highest number of tasks that were not STOPPED at the same time, over all services.
    pub fn most_tasks(&self) -> u64 {
        let most: Value = serde_json::from_str(&self.request("GET", "/_sandbox/tasks", "")).unwrap();
        most.as_object().unwrap().values().filter_map(Value::as_u64).max().unwrap_or(0)
    }

    /// The number of calls, and of those refused because of rate limits.
    pub fn made_and_refused(&self) -> (u64, u64) {
        let calls = self.calls();
        let sum = |key: &str| calls.as_object().unwrap().values().map(|call| call[key].as_u64().unwrap()).sum();
        (sum("count"), sum("refused"))
    }

    fn request(&self, method: &str, path: &str, body: &str) -> String {
        let host = self.endpoint.strip_prefix("http://").unwrap();
        let mut stream = TcpStream::connect(host).unwrap();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 2"), "{answer}");
        answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default()
    }
}

impl Drop for SandboxProcess {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
