//! The lock of a state: one command works at a time, also after a kill, a stop and an unlock.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _},
    process::{Child, Stdio},
};

use aws_config::{BehaviorVersion, Region};
use aws_credential_types::Credentials;
use aws_sdk_s3::{
    Client,
    config::retry::RetryConfig,
    types::{BucketLocationConstraint, BucketVersioningStatus, CreateBucketConfiguration, VersioningConfiguration},
};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use trunnion_tests::{Ended, SandboxProcess, Stage, root};

const BUCKET: &str = "acme-states";
const KEY: &str = "team/minimal.json";
const LOCK: &str = "team/minimal.lock.json";

/// A bucket with versions that the stacks of several machines keep their state in.
struct Shared {
    sandbox: SandboxProcess,
    runtime: Runtime,
    s3: Client,
}

impl Shared {
    /// With a sandbox of these options, and the bucket in this region.
    fn new(options: &[&str], region: &'static str) -> Self {
        let sandbox = SandboxProcess::start(options);
        let runtime = Runtime::new().unwrap();
        let config = runtime.block_on(
            aws_config::defaults(BehaviorVersion::latest())
                .endpoint_url(&sandbox.endpoint)
                .region(Region::new(region))
                .credentials_provider(Credentials::new("sandbox", "sandbox", None, None, "test"))
                .retry_config(RetryConfig::standard().with_max_attempts(20))
                .load(),
        );
        let s3 = Client::from_conf(aws_sdk_s3::config::Builder::from(&config).force_path_style(true).build());
        let place =
            CreateBucketConfiguration::builder().location_constraint(BucketLocationConstraint::from(region)).build();
        let shared = Self { sandbox, runtime, s3 };
        shared.insist(|| shared.s3.create_bucket().bucket(BUCKET).create_bucket_configuration(place.clone()).send());
        let enabled = VersioningConfiguration::builder().status(BucketVersioningStatus::Enabled).build();
        shared.insist(|| {
            shared.s3.put_bucket_versioning().bucket(BUCKET).versioning_configuration(enabled.clone()).send()
        });
        shared
    }

    /// Repeats a call until the sandbox knows everywhere what it needs.
    fn insist<T, E: std::fmt::Debug, F: Future<Output = Result<T, E>>>(&self, call: impl Fn() -> F) -> T {
        for _ in 0..1000 {
            if let Ok(answer) = self.runtime.block_on(call()) {
                return answer;
            }
        }
        self.runtime.block_on(call()).unwrap()
    }

    /// A machine with the stack.
    fn machine(&self) -> Stage {
        let stack = fs::read_to_string(root().join("stacks/minimal.yaml")).unwrap();
        let stack = stack.replace("\npools:", &format!("\nstate: s3://{BUCKET}/team\n\npools:"));
        Stage::new(&stack).at(&self.sandbox)
    }

    fn read(&self, key: &str) -> Option<Value> {
        self.runtime.block_on(async {
            let found = self.s3.get_object().bucket(BUCKET).key(key).send().await.ok()?;
            serde_json::from_slice(&found.body.collect().await.unwrap().to_vec()).ok()
        })
    }

    fn put(&self, key: &str, document: &Value) {
        self.insist(|| {
            self.s3.put_object().bucket(BUCKET).key(key).body(document.to_string().into_bytes().into()).send()
        });
    }
}

fn start(stage: &Stage, arguments: &[&str]) -> Child {
    stage.command(arguments).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

fn signal(child: &Child, name: &str) {
    let status = std::process::Command::new("kill").args([name, &child.id().to_string()]).status().unwrap();
    assert!(status.success());
}

/// Stops a process, and waits until all its threads have stopped.
fn stop(child: &Child) {
    signal(child, "-STOP");
    let state = |task: &std::path::Path| {
        let stat = fs::read_to_string(task.join("stat")).unwrap_or_default();
        stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('T'))
    };
    let tasks = format!("/proc/{}/task", child.id());
    while !fs::read_dir(&tasks).unwrap().all(|task| state(&task.unwrap().path())) {
        std::thread::yield_now();
    }
}

fn ended(child: Child) -> Ended {
    Ended::of(&child.wait_with_output().unwrap())
}

/// Waits until the sandbox answered a call.
fn until_called(sandbox: &SandboxProcess, operation: &str) {
    while sandbox.calls()[operation]["count"].as_u64().unwrap_or(0) == 0 {
        std::thread::yield_now();
    }
}

/// An apply that is stopped while several of its changes are under way.
fn stopped_apply(sandbox: &SandboxProcess, stage: &Stage) -> Child {
    let child = start(stage, &["apply", "--yes", "--no-wait"]);
    // What CreateRole made needs further calls.
    until_called(sandbox, "iam:CreateRole");
    stop(&child);
    child
}

/// The stopped apply goes on: it says what happened, and signs no call that changes anything. What it had signed and not
/// sent when it was stopped, the operating system may still send.
fn goes_on_without_a_change(sandbox: &SandboxProcess, child: Child, place: &str) {
    let before = sandbox.last_change_signed();
    // Signatures count whole seconds.
    while Timestamp::now().strftime("%FT%TZ").to_string() <= before {
        std::thread::yield_now();
    }
    signal(&child, "-CONT");
    let ended = ended(child);
    assert_eq!(ended.code, 1, "{}", ended.stderr);
    assert!(ended.said().contains(&format!("The lock of `{place}` was lost")), "{}", ended.stderr);
    assert!(ended.said().contains("No call that changes anything was signed after that"), "{}", ended.stderr);
    assert_eq!(sandbox.last_change_signed(), before, "{}", ended.stderr);
}

#[cfg(target_os = "linux")]
#[test]
fn a_holder_that_was_stopped_past_its_lease_changes_nothing_more() {
    let shared = Shared::new(&["--latency", "60"], "eu-west-3");
    let (one, other) = (shared.machine(), shared.machine());
    let first = stopped_apply(&shared.sandbox, &one);
    let holder = format!("(process {})", first.id());
    let refused = other.run(&["apply", "--yes", "--no-wait"]);
    assert_eq!(refused.code, 1);
    assert!(refused.said().contains(&holder) && refused.said().contains("--lock-timeout"), "{}", refused.stderr);
    // The process still exists, so its lock is taken over after its lease only: that takes two minutes.
    let second = other.succeed(&["apply", "--yes", "--no-wait", "--lock-timeout", "10m"]);
    assert!(
        second.said().contains("Waiting: `s3://acme-states/team/minimal.lock.json` is locked by"),
        "{}",
        second.stderr
    );
    assert!(second.said().contains(&holder), "{}", second.stderr);
    let state = shared.read(KEY);
    goes_on_without_a_change(&shared.sandbox, first, &format!("s3://{BUCKET}/{KEY}"));
    assert_eq!((shared.read(KEY), shared.read(LOCK)), (state, None));
    assert_eq!(one.changes(&[]), Vec::<String>::new());
}

#[cfg(target_os = "linux")]
#[test]
fn an_unlock_names_the_holder_and_ends_its_changes() {
    let sandbox = SandboxProcess::start(&["--latency", "60"]);
    let stage = Stage::with("minimal").at(&sandbox);
    assert!(stage.succeed(&["unlock"]).said().contains("The state is not locked."));
    let first = stopped_apply(&sandbox, &stage);
    let holder = format!("(process {}), who runs `apply` since", first.id());
    for (arguments, code) in [(&["unlock"][..], 1), (&["unlock", "--yes"], 0)] {
        let unlocked = stage.run(arguments);
        assert_eq!(unlocked.code, code, "{}", unlocked.stderr);
        assert!(unlocked.said().contains(&holder), "{}", unlocked.stderr);
    }
    stage.succeed(&["apply", "--yes", "--no-wait"]);
    goes_on_without_a_change(&sandbox, first, ".trunnion/minimal.json");
    assert_eq!(stage.changes(&[]), Vec::<String>::new());
    assert!(stage.succeed(&["unlock", "--yes"]).said().contains("The state is not locked."));
}

#[cfg(target_os = "linux")]
#[test]
fn the_lock_of_a_killed_holder_is_taken_over_at_once_on_its_machine_only() {
    let shared = Shared::new(&["--latency", "60"], "eu-west-3");
    let stage = shared.machine();
    let mut killed = start(&stage, &["apply", "--yes", "--no-wait"]);
    until_called(&shared.sandbox, "iam:CreateRole");
    killed.kill().unwrap();
    killed.wait().unwrap();
    let left = shared.read(LOCK).unwrap();
    for (field, other) in [("boot", "1b2f9f9c-2f5e-4f0e-8a53-0a8f1f3d7c11"), ("namespaces", "pid:[1]")] {
        let mut elsewhere = left.clone();
        elsewhere["life"][field] = json!(other);
        shared.put(LOCK, &elsewhere);
        let refused = stage.run(&["apply", "--yes", "--no-wait"]);
        assert_eq!(refused.code, 1, "{field}: {}", refused.stderr);
        assert!(refused.said().contains(&format!("(process {})", killed.id())), "{}", refused.stderr);
    }
    shared.put(LOCK, &left);
    stage.converge(&[]);
    assert_eq!(shared.read(LOCK), None);
    // An unlock takes that of another machine, and names whom it takes it from.
    shared.put(
        LOCK,
        &json!({"owner": "ann", "host": "her-laptop", "process": 7, "operation": "destroy",
        "since": "2026-11-01T00:00:00Z", "id": "1", "renewal": 3}),
    );
    let unlocked = stage.succeed(&["unlock", "--yes"]);
    assert!(
        unlocked.said().contains("ann@her-laptop (process 7), who runs `destroy` since 2026-11-01"),
        "{}",
        unlocked.stderr
    );
    assert_eq!(shared.read(LOCK), None);
}

/// Each of them has another number of hosts in its stack file, and waits for the others.
fn ten_at_once(stages: &[Stage]) {
    for (number, stage) in stages.iter().enumerate() {
        stage.edit("zone: eu-west-3a }", &format!("zone: eu-west-3a, count: {} }}", number % 3 + 1));
    }
    let children: Vec<Child> =
        stages.iter().map(|stage| start(stage, &["apply", "--yes", "--no-wait", "--lock-timeout", "10m"])).collect();
    for child in children {
        let ended = ended(child);
        assert_eq!(ended.code, 0, "{}", ended.stderr);
    }
}

#[test]
fn ten_applies_at_once_on_one_state_in_s3_work_one_after_the_other() {
    let shared = Shared::new(&[], "eu-west-3");
    let stages: Vec<Stage> = (0..10).map(|_| shared.machine()).collect();
    ten_at_once(&stages);
    let versions = shared.runtime.block_on(shared.s3.list_object_versions().bucket(BUCKET).prefix(KEY).send()).unwrap();
    let mut documents = Vec::new();
    for version in versions.versions() {
        let get = shared.s3.get_object().bucket(BUCKET).key(KEY).version_id(version.version_id().unwrap());
        let body = shared.runtime.block_on(async { get.send().await.unwrap().body.collect().await.unwrap() });
        documents.push(serde_json::from_slice::<Value>(&body.to_vec()).unwrap());
    }
    documents.reverse();
    // Each document follows the one before it: no update is lost.
    let lineage = &documents[0]["lineage"];
    for (number, document) in (1..).zip(&documents) {
        assert_eq!((&document["serial"], &document["lineage"]), (&json!(number), lineage));
    }
    let last = stages.last().unwrap();
    last.converge(&[]);
    let state = shared.read(KEY).unwrap();
    let ids: Vec<&Value> = state["resources"]
        .as_object()
        .unwrap()
        .iter()
        .filter(|(address, _)| address.starts_with("instance."))
        .map(|(_, resource)| &resource["id"])
        .collect();
    assert_eq!(ids.len(), 1, "{ids:?}");
    assert_eq!(shared.read(LOCK), None);
    last.succeed(&["destroy", "--yes"]);
    assert_eq!(last.changes(&["--destroy"]), Vec::<String>::new(), "no host is left that no state knows");
}

#[test]
fn more_calls_than_are_made_at_a_time_do_not_keep_the_state_from_being_saved() {
    let shared = Shared::new(&[], "eu-west-3");
    let stage = shared.machine();
    stage.edit("zone: eu-west-3a }", "zone: eu-west-3a, count: 90 }");
    stage.converge(&[]);
    // The tags of each host become others.
    stage.edit("  small: {", "  large: {");
    stage.edit("pool: small }", "pool: large }");
    stage.edit("\npools:", "\nmoved: [{ from: small, to: large }]\n\npools:");
    stage.converge(&[]);
    assert!(shared.sandbox.changing_calls()["ec2:CreateTags"] >= 90);
}

/// How many hosts of the stack exist.
fn running(sandbox: &SandboxProcess) -> usize {
    Runtime::new().unwrap().block_on(async {
        let config = aws_config::defaults(BehaviorVersion::latest())
            .endpoint_url(&sandbox.endpoint)
            .region(Region::new("eu-west-3"))
            .credentials_provider(Credentials::new("sandbox", "sandbox", None, None, "test"))
            .load()
            .await;
        let filter = |name: &str, values: &[&str]| {
            let values = values.iter().map(|&value| value.to_owned()).collect();
            aws_sdk_ec2::types::Filter::builder().name(name).set_values(Some(values)).build()
        };
        let found = aws_sdk_ec2::Client::new(&config)
            .describe_instances()
            .filters(filter("tag:trunnion:stack", &["minimal"]))
            .filters(filter("instance-state-name", &["pending", "running"]))
            .send();
        found.await.unwrap().reservations().iter().map(|found| found.instances().len()).sum()
    })
}

#[test]
fn ten_applies_at_once_in_one_folder_work_one_after_the_other() {
    let sandbox = SandboxProcess::start(&[]);
    let stage = Stage::with("minimal").at(&sandbox);
    let arguments = ["apply", "--yes", "--lock-timeout", "10m"];
    let children: Vec<Child> = (0..10).map(|_| start(&stage, &arguments)).collect();
    for child in children {
        let ended = ended(child);
        assert_eq!(ended.code, 0, "{}", ended.stderr);
    }
    assert_eq!(stage.changes(&[]), Vec::<String>::new());
    let calls = sandbox.changing_calls();
    assert_eq!((calls["ec2:RunInstances"], running(&sandbox)), (1, 1), "{calls:?}");
}

#[test]
fn ten_folders_without_a_common_lock_make_no_host_twice() {
    let sandbox = SandboxProcess::start(&[]);
    let origin = "[remote \"origin\"]\n\turl = https://git.example.org/acme/load.git\n";
    let stages: Vec<Stage> = (0..10)
        .map(|_| {
            let stage = Stage::with("minimal").at(&sandbox);
            for folder in [".git/objects", ".git/refs"] {
                fs::create_dir_all(stage.path(folder)).unwrap();
            }
            stage.write(".git/HEAD", "ref: refs/heads/main\n");
            stage.write(".git/config", format!("[core]\n\trepositoryformatversion = 0\n{origin}"));
            stage
        })
        .collect();
    let children: Vec<Child> = stages.iter().map(|stage| start(stage, &["apply", "--yes"])).collect();
    // Some of them find what another one changes at that moment, and say so.
    let said: Vec<String> = children.into_iter().map(|child| ended(child).stderr).collect();
    stages[0].converge(&[]);
    assert_eq!(running(&sandbox), 1, "{said:#?}");
    assert!(stages.iter().all(|stage| stage.changes(&[]).is_empty()));
    stages[0].succeed(&["destroy", "--yes"]);
    assert_eq!((stages[0].changes(&["--destroy"]), running(&sandbox)), (Vec::new(), 0));
}

#[test]
fn a_bucket_can_be_in_any_region() {
    let shared = Shared::new(&[], "us-west-2");
    let stage = shared.machine();
    stage.converge(&[]);
    assert_eq!(shared.read(KEY).unwrap()["stack"], "minimal");
    assert_eq!(shared.read(LOCK), None);
    let examined = stage.run(&["doctor"]);
    assert!(examined.stdout.contains("exists, in us-west-2"), "{}", examined.stdout);
    stage.succeed(&["destroy", "--yes"]);
}

/// The names of the listed documents, the newest first.
fn listed(stage: &Stage) -> Vec<Value> {
    serde_json::from_str(&stage.succeed(&["state", "list", "--json"]).stdout).unwrap()
}

/// Lists, shows and restores documents. `damage` replaces the present one.
fn restores(stage: &Stage, damage: impl Fn(&[u8])) {
    assert!(stage.succeed(&["state", "list"]).said().contains("No state was written yet"));
    stage.converge(&[]);
    let first = listed(stage);
    let first = first.iter().find(|version| version["current"] == true).unwrap();
    let id = first["version"].as_str().unwrap();
    let shown: Value = serde_json::from_str(&stage.succeed(&["state", "show", id]).stdout).unwrap();
    assert_eq!(shown["resources"].as_object().unwrap().len(), 15);
    stage.edit("zone: eu-west-3a }", "zone: eu-west-3a, count: 2 }");
    stage.converge(&[]);
    let later = listed(stage);
    assert!(later.len() > 1 && later[0]["resources"] == 16 && later[0]["current"] == true, "{later:?}");
    assert!(later.iter().any(|version| version["version"] == id && version["resources"] == 15), "{later:?}");
    assert!(stage.succeed(&["state", "list"]).stdout.contains(id));
    // It explains, and changes no plan.
    let asked = stage.run(&["state", "restore", id]);
    assert!(asked.code == 1 && asked.said().contains("use `--yes`"), "{}", asked.stderr);
    stage.succeed(&["state", "restore", id, "--yes"]);
    let restored = listed(stage);
    assert_eq!(restored[0]["resources"], 15);
    assert!(restored[0]["serial"].as_u64() > later[0]["serial"].as_u64());
    assert_eq!(stage.changes(&[]), Vec::<String>::new());
    let unknown = stage.run(&["state", "show", "no-such-version"]);
    assert!(unknown.code == 1 && unknown.said().contains("`trunnion state list`"), "{}", unknown.stderr);

    damage(b"{\"format\": 1, \"lin");
    let refused = stage.run(&["apply", "--yes"]);
    assert!(refused.code == 1 && refused.said().contains("`trunnion state list`"), "{}", refused.stderr);
    stage.succeed(&["state", "restore", id, "--yes"]);
    assert_eq!(listed(stage)[0]["serial"], 1);
    stage.converge(&[]);

    damage(b"{\"format\": 99}");
    for arguments in [&["plan"][..], &["apply", "--yes"], &["destroy", "--yes"], &["state", "restore", id, "--yes"]] {
        let refused = stage.run(arguments);
        assert!(refused.code == 1 && refused.said().contains("update trunnion"), "{arguments:?} {}", refused.stderr);
    }
    assert!(listed(stage)[0]["error"].as_str().unwrap().contains("format 99"));
}

#[test]
fn an_earlier_state_in_s3_is_listed_shown_and_restored() {
    let shared = Shared::new(&[], "eu-west-3");
    let stage = shared.machine();
    restores(&stage, |bytes| {
        shared.insist(|| shared.s3.put_object().bucket(BUCKET).key(KEY).body(bytes.to_vec().into()).send());
    });
}

#[test]
fn an_earlier_state_file_is_listed_shown_and_restored() {
    let sandbox = SandboxProcess::start(&[]);
    let stage = Stage::with("minimal").at(&sandbox);
    restores(&stage, |bytes| stage.write(".trunnion/minimal.json", bytes));
}

#[cfg(unix)]
#[test]
fn only_their_owner_can_read_a_state_and_a_saved_plan() {
    use std::os::unix::fs::PermissionsExt as _;
    let sandbox = SandboxProcess::start(&[]);
    let stage = Stage::with("minimal").at(&sandbox);
    let mode = |name: &str| fs::metadata(stage.path(name)).unwrap().permissions().mode() & 0o777;
    let set = |name: &str, mode: u32| fs::set_permissions(stage.path(name), fs::Permissions::from_mode(mode)).unwrap();
    stage.succeed(&["plan", "--out", "plan.json"]);
    stage.converge(&[]);
    assert_eq!((mode("plan.json"), mode(".trunnion/minimal.json")), (0o600, 0o600));
    // Files of earlier versions, which everybody can read.
    set("plan.json", 0o644);
    set(".trunnion/minimal.json", 0o664);
    stage.edit("zone: eu-west-3a }", "zone: eu-west-3a, count: 2 }");
    stage.succeed(&["plan", "--out", "plan.json"]);
    stage.succeed(&["apply", "plan.json", "--yes", "--no-wait"]);
    assert_eq!((mode("plan.json"), mode(".trunnion/minimal.json")), (0o600, 0o600));
    // Somebody chose to share them with a group.
    set(".trunnion/minimal.json", 0o660);
    stage.edit("count: 2", "count: 1");
    stage.converge(&[]);
    assert_eq!(mode(".trunnion/minimal.json"), 0o660);
}

#[test]
fn a_wait_for_a_lock_is_interrupted_and_a_wrong_duration_is_refused() {
    let sandbox = SandboxProcess::start(&[]);
    let stage = Stage::with("minimal").at(&sandbox);
    for wrong in ["10", "soon", "-5m", "1 month"] {
        let refused = stage.run(&["apply", "--yes", &format!("--lock-timeout={wrong}")]);
        assert_eq!(refused.code, 1);
        assert!(refused.said().contains("30s, 10m or 1h30m"), "{wrong}: {}", refused.stderr);
    }
    stage.succeed(&["plan"]);
    fs::create_dir_all(stage.path(".trunnion")).unwrap();
    stage.write(".trunnion/minimal.lock", "");
    let held = fs::File::options().write(true).open(stage.path(".trunnion/minimal.lock")).unwrap();
    held.lock().unwrap();
    let mut child = start(&stage, &["destroy", "--yes", "--lock-timeout", "1h"]);
    let mut said = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("Waiting:") {
        line.clear();
        assert!(said.read_line(&mut line).unwrap() > 0);
    }
    signal(&child, "-INT");
    let mut rest = String::new();
    said.read_to_string(&mut rest).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{rest}");
    assert!(rest.contains("Nothing was changed."), "{rest}");
}

#[test]
fn a_restore_that_finds_a_lock_names_what_it_can_do() {
    let sandbox = SandboxProcess::start(&[]);
    let stage = Stage::with("minimal").at(&sandbox);
    stage.converge(&[]);
    let versions: Value = serde_json::from_str(&stage.succeed(&["state", "list", "--json"]).stdout).unwrap();
    let lock = fs::File::options().write(true).open(stage.path(".trunnion/minimal.lock")).unwrap();
    lock.lock().unwrap();
    let ended = stage.run(&["state", "restore", versions[0]["version"].as_str().unwrap(), "--yes"]);
    assert_eq!(ended.code, 1, "{}", ended.stderr);
    assert!(ended.said().contains("is locked") && ended.said().contains("`trunnion unlock`"), "{}", ended.stderr);
    assert!(!ended.said().contains("--lock-timeout"), "{}", ended.stderr);
}
