//! Every kind of the registry, in a stack that has them all: created, killed after the call succeeded, found without a
//! state, changed from outside, corrected, deleted. A kind that the sandbox does not support fails here.

use std::{path::Path, sync::Arc, time::Duration};

use tokio::sync::Notify;
use trunnion_aws::Aws;
use trunnion_blueprint::{Binaries, Binary, blueprint};
use trunnion_catalog::Architecture;
use trunnion_engine::{
    Action, Address, Adoption, Context, Events, FileStore, Graph, LockInfo, Map, Observed, Outcome, Plan, PlanOptions,
    Provider, ProviderError, Remote, Resolved, Resource, Session, Settings, State, StateStore as _, Token, Value,
    from_map, plan,
};
use trunnion_kinds::{LogGroup, rule_book};
use trunnion_sandbox::{Consistency, Options};
use trunnion_stack::{LoadOptions, Stack};

use crate::common::{self, Cloud, cloud, strict};

/// A file name and a content, as far as S3 is concerned.
const GENERATOR: &str = "trunnion-generator";
const CONTENT: &[u8] = b"\x7fELF";

/// A stack with every kind.
pub const STACK: &str = r#"
stack: loadtest
region: eu-west-3
account: "123456789012"
tags: { team: performance }
pools:
  small: { instance_type: c7i.xlarge, zone: eu-west-3a, count: 2, interfaces: 2, public_ip: true }
control_plane:
  image: gatlingcorp/control-plane:2026.42.2
  token: arn:aws:secretsmanager:eu-west-3:123456789012:secret:gatling/token-AbCdEf
  ssh:
    private_key: arn:aws:secretsmanager:eu-west-3:123456789012:secret:gatling/ssh-AbCdEf
    public_key: ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEV4YW1wbGVLZXlOb3RGb3JSZWFsVXNlMDEyMzQ1Njc4 gatling
locations:
  prl_small: { pool: small }
"#;

/// The stack's resources, a sandbox, and a directory for states.
pub struct Scene {
    pub cloud: Cloud,
    pub desired: Graph,
    home: String,
    folder: tempfile::TempDir,
}

impl Scene {
    pub async fn set(options: Options) -> Self {
        Self::of(STACK, options).await
    }

    pub async fn of(stack: &str, options: Options) -> Self {
        let folder = tempfile::tempdir().unwrap();
        tokio::fs::write(folder.path().join(GENERATOR), CONTENT).await.unwrap();
        let (desired, home) = graph(stack, folder.path());
        Self { cloud: cloud(options).await, desired, home, folder }
    }

    /// What another stack asks for.
    pub fn graph(&self, stack: &str) -> Graph {
        graph(stack, self.folder.path()).0
    }

    /// A connection as of a new process, without any knowledge.
    pub async fn connect(&self) -> Aws {
        self.connect_with(true).await
    }

    /// The same; `wait` says whether it waits for hosts.
    pub async fn connect_with(&self, wait: bool) -> Aws {
        common::connect_with(&self.cloud.running, |connection| {
            connection.home.clone_from(&self.home);
            connection.wait = wait;
        })
        .await
    }

    pub fn store(&self, name: &str) -> FileStore {
        FileStore::new(self.folder.path().join(format!("{name}.json")), common::STACK)
    }

    pub async fn plan(&self, desired: &Graph, state: &State) -> Plan {
        self.plan_with(desired, state, PlanOptions::default()).await
    }

    pub async fn plan_with(&self, desired: &Graph, state: &State, mut options: PlanOptions) -> Plan {
        let observed = self.connect().await.observe(desired, state, &Context::default()).await.unwrap();
        options.home = Some(self.home.clone());
        plan(desired, &observed, state, &rule_book(), &options).unwrap()
    }

    /// Applies a plan that was made with the state of this store.
    pub async fn apply(&self, plan: &Plan, provider: &impl Provider, state: State, store: &FileStore) -> Outcome {
        let settings = Settings::default().with_home(&self.home, Adoption::default());
        let info = LockInfo::of_this_process("test");
        let mut session = Session::begin(Arc::new(store.clone()), &info).await.unwrap();
        session.read().await.unwrap();
        let events = Events::nowhere();
        let outcome = session.apply(plan, state, provider, &rule_book(), &events, &settings).await.unwrap();
        session.release().await.unwrap();
        outcome
    }

    /// Plans, and applies until nothing is left to do.
    pub async fn converge(&self, kind: &str, desired: &Graph, store: &FileStore) {
        let state = store.load().await.unwrap();
        let plan = self.plan(desired, &state).await;
        let outcome = self.apply(&plan, &self.connect().await, state, store).await;
        assert!(outcome.is_complete(), "{kind}: {:?}", outcome.failed);
    }

    /// The resources that a plan would change. Without a state, only a complete read shows what exists.
    pub async fn pending(&self, desired: &Graph, state: &State) -> Vec<Address> {
        if state.resources.is_empty() {
            self.cloud.running.until_consistent().await;
        }
        self.plan(desired, state).await.pending().map(|change| change.address.clone()).collect()
    }
}

/// What a stack asks for, and its home. The generator binary is in this folder.
fn graph(stack: &str, folder: &Path) -> (Graph, String) {
    let load = LoadOptions::new().with_executable_dir(folder);
    let stack = Stack::parse(stack, Path::new("stack.yaml"), None, &load).unwrap();
    let path = folder.join(GENERATOR);
    let sha256 = common::object(&path, CONTENT).sha256;
    let binaries = Binaries::new([(Architecture::X86_64, Binary { path, sha256, is_dynamic: false })]);
    (blueprint(&stack, &binaries).unwrap(), stack.home)
}

/// A provider whose calls never return once a resource of the given kind has been created.
struct Killed<'a> {
    aws: &'a Aws,
    kind: &'a str,
    is_reached: Notify,
}

impl Provider for Killed<'_> {
    async fn observe(&self, desired: &Graph, recorded: &State, context: &Context) -> Result<Observed, ProviderError> {
        self.aws.observe(desired, recorded, context).await
    }

    async fn create(&self, resource: &Resolved, token: &Token, context: &Context) -> Result<Remote, ProviderError> {
        let made = self.aws.create(resource, token, context).await?;
        if resource.address.kind.as_str() == self.kind {
            self.is_reached.notify_one();
            std::future::pending::<()>().await;
        }
        Ok(made)
    }

    async fn update(
        &self,
        remote: &Remote,
        resource: &Resolved,
        paths: &[String],
        context: &Context,
    ) -> Result<Remote, ProviderError> {
        self.aws.update(remote, resource, paths, context).await
    }

    async fn delete(&self, address: &Address, remote: &Remote, context: &Context) -> Result<(), ProviderError> {
        self.aws.delete(address, remote, context).await
    }
}

/// Somebody else edits the resource's tags or, if those cannot be edited, deletes it.
async fn meddle(scene: &Scene, resource: &Resource, state: &State) {
    let aws = scene.connect().await;
    let observed = aws.observe(&scene.desired, state, &Context::default()).await.unwrap();
    let remote = &observed.remotes[&resource.address][0];
    if rule_book().get(resource.kind()).unwrap().attribute("tags").create_only {
        aws.delete(&resource.address, remote, &Context::default()).await.unwrap();
        return;
    }
    let mut attributes: Map =
        resource.attributes.keys().map(|name| (name.clone(), remote.attributes[name].clone())).collect();
    let Some(Value::Map(tags)) = attributes.get_mut("tags") else { panic!("{} has no tags", resource.address) };
    tags.insert("team".to_owned(), "another".into());
    let edited = Resolved { address: resource.address.clone(), attributes };
    aws.update(remote, &edited, &["tags.team".to_owned()], &Context::default()).await.unwrap();
}

/// Runs one kind through its life; the stack's other kinds are created with it.
async fn live(kind: &str) {
    let scene = Scene::set(strict()).await;
    let resource = scene.desired.resources().values().find(|resource| resource.kind().as_str() == kind);
    let resource = resource.unwrap_or_else(|| panic!("the stack of this test has no `{kind}`"));

    // Created, and killed after the call succeeded: no state was recorded.
    let nothing = State::empty(common::STACK);
    let first = scene.plan(&scene.desired, &nothing).await;
    let aws = scene.connect().await;
    let never_read = scene.store("killed");
    let killed = Killed { aws: &aws, kind, is_reached: Notify::new() };
    tokio::select! {
        outcome = scene.apply(&first, &killed, nothing.clone(), &never_read) => {
            panic!("no `{kind}` was created: {:?}", outcome.failed)
        }
        () = killed.is_reached.notified() => {}
    }

    // The next apply finds it without a state.
    let store = scene.store("state");
    scene.converge(kind, &scene.desired, &store).await;
    let state = store.load().await.unwrap();
    assert_eq!(scene.pending(&scene.desired, &state).await, [], "{kind}, with its state");
    assert_eq!(scene.pending(&scene.desired, &nothing).await, [], "{kind}, without a state");

    // Somebody changes it, and the next apply corrects it: with a state and without.
    for with_state in [true, false] {
        meddle(&scene, resource, &state).await;
        let without = scene.store("healed");
        let (recorded, store) = if with_state { (&state, &store) } else { (&nothing, &without) };
        let plan = scene.plan(&scene.desired, recorded).await;
        let pending: Vec<_> = plan.pending().map(|change| (change.address.clone(), change.action)).collect();
        assert!(pending.iter().any(|(address, _)| *address == resource.address), "{kind}: {pending:?}");
        assert!(pending.iter().all(|(_, action)| *action != Action::Delete), "{kind}: {pending:?}");
        let outcome = scene.apply(&plan, &scene.connect().await, recorded.clone(), store).await;
        assert!(outcome.is_complete(), "{kind}: {:?}", outcome.failed);
        assert_eq!(scene.pending(&scene.desired, &nothing).await, [], "{kind}, corrected");
    }

    // Everything is deleted.
    let empty = Graph::empty(common::STACK);
    scene.converge(kind, &empty, &scene.store("gone")).await;
    let left = scene.connect().await.observe(&empty, &nothing, &Context::default()).await.unwrap();
    assert!(left.remotes.is_empty(), "{kind}: {:?}", left.remotes);
}

#[tokio::test]
async fn every_kind_of_the_registry_is_created_corrected_and_deleted() {
    let book = rule_book();
    futures::future::join_all(book.kinds().map(|kind| live(kind.as_str()))).await;
}

/// The strict model shows what is new by chance, depending on how fast this machine is. Here no call knows it at first.
#[tokio::test]
async fn what_no_call_knows_yet_is_awaited() {
    let lag = Duration::from_millis(1500);
    let scene = Scene::set(strict().with_consistency(Consistency::After(lag))).await;
    let store = scene.store("state");
    scene.converge("created", &scene.desired, &store).await;
    assert_eq!(scene.pending(&scene.desired, &store.load().await.unwrap()).await, []);
    let changed = STACK
        .replace("{ team: performance }", "{ team: quality }")
        .replace("interfaces: 2", "interfaces: 3")
        .replace("2026.42.2", "2026.43.0");
    let changed = scene.graph(&changed);
    scene.converge("changed", &changed, &store).await;
    assert_eq!(scene.pending(&changed, &store.load().await.unwrap()).await, []);
    scene.converge("deleted", &Graph::empty(common::STACK), &store).await;
}

#[tokio::test]
async fn what_was_applied_a_moment_ago_and_is_not_shown_is_not_gone() {
    let lag = Duration::from_secs(1);
    let scene = Scene::set(strict().with_consistency(Consistency::After(lag))).await;
    let store = scene.store("state");
    scene.converge("created", &scene.desired, &store).await;
    let state = store.load().await.unwrap();
    scene.cloud.running.until_consistent().await;
    let observed = scene.connect().await.observe(&scene.desired, &state, &Context::default()).await.unwrap();
    let group = &observed.remotes[&common::at("log_group.control_plane")][0];
    let group: LogGroup = from_map(&group.attributes).unwrap();
    // A new one of the same name, which no list shows at first, is like one that the last apply created.
    let logs = aws_sdk_cloudwatchlogs::Client::new(&common::sdk(&scene.cloud.running));
    logs.delete_log_group().log_group_name(&group.name).send().await.unwrap();
    let tags = Some(group.tags.into_iter().collect());
    logs.create_log_group().log_group_name(&group.name).set_tags(tags).send().await.unwrap();
    let retention = logs.put_retention_policy().log_group_name(&group.name);
    retention.retention_in_days(group.retention_days).send().await.unwrap();
    let aws = common::connect_with(&scene.cloud.running, |connection| {
        connection.home.clone_from(&scene.home);
        // As slow as with AWS.
        connection.pace = Duration::from_secs(2);
    });
    let observed = aws.await.observe(&scene.desired, &state, &Context::default()).await.unwrap();
    assert!(observed.remotes.contains_key(&common::at("log_group.control_plane")), "{:?}", observed.remotes.keys());
}
