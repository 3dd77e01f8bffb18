//! Plans of several phases, planned and applied: a roll that takes hosts out of a list before they go, and puts them back
//! once they are there again.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use serde_json::json;

use super::*;
use crate::{
    Context, Events, HomeRule, Origin, Outcome, Provider, Resolved, Settings, Token,
    apply::tests::{Memory, session},
};

const BOOK: [Rules; 5] = [
    Rules {
        kind: "group",
        depends_on: &[],
        blocks: &[],
        attributes: &[],
        computed: &[("id", Computed::AtCreation)],
        replacement: Replacement::CreateFirst,
    },
    Rules {
        kind: "template",
        depends_on: &["group"],
        blocks: &[],
        attributes: &[],
        computed: &[("version", Computed::ChangesWith(&["data"])), ("digest", Computed::DigestOf("data"))],
        replacement: Replacement::CreateFirst,
    },
    Rules {
        kind: "host",
        depends_on: &["template"],
        blocks: &[],
        attributes: &[("version", Attribute::CREATE_ONLY), ("template", Attribute::IMMUTABLE)],
        computed: &[("ip", Computed::AtCreation)],
        replacement: Replacement::DeleteFirstOneByOne,
    },
    Rules {
        kind: "task",
        depends_on: &["host"],
        blocks: &[],
        attributes: &[("conf", Attribute::IMMUTABLE)],
        computed: &[("arn", Computed::AtCreation)],
        replacement: Replacement::CreateFirst,
    },
    Rules {
        kind: "service",
        depends_on: &["task", "group"],
        blocks: &[],
        attributes: &[("name", Attribute::IMMUTABLE)],
        computed: &[("arn", Computed::AtCreation)],
        replacement: Replacement::DeleteFirst,
    },
];

fn book() -> RuleBook {
    RuleBook::new(BOOK)
}

fn resource(at: &str, attributes: serde_json::Value) -> Resource {
    Resource::new(address(at), map(attributes))
}

fn task(hosts: impl IntoIterator<Item = u32>) -> Resource {
    let parts = hosts
        .into_iter()
        .flat_map(|host| [Value::reference(address(&format!("host.h[{host}]")), "ip"), Value::Text(" ".to_owned())]);
    Resource::new(address("task.t"), Map::from([("conf".to_owned(), Value::concat(parts))]))
}

fn service(name: &str) -> Resource {
    let attributes = json!({"name": name, "task": {"$reference": "task.t#arn"}, "group": {"$reference": "group.g#id"}});
    resource("service.s", attributes)
}

fn host(number: u32) -> Resource {
    let attributes = json!({
        "version": {"$reference": "template.t#version"}, "template": {"$reference": "template.t#digest"},
    });
    resource(&format!("host.h[{number}]"), attributes)
}

/// A group, a template, hosts of the template, a task that lists the hosts, and a service that runs the task.
fn stack(hosts: u32, user_data: &str) -> Graph {
    let fixed = [
        resource("group.g", json!({"rules": "r"})),
        resource("template.t", json!({"data": {"user_data": user_data}})),
        task(0..hosts),
        service("s"),
    ];
    Graph::new("test", fixed.into_iter().chain((0..hosts).map(host)), []).unwrap()
}

/// The same graph in phases in which hosts leave the list, are replaced and join it again, `size` at a time.
fn rolled(graph: Graph, hosts: u32, rolling: &BTreeSet<u32>, size: usize) -> Graph {
    let rolling: Vec<u32> = rolling.iter().copied().collect();
    let phases = rolling.chunks(size).flat_map(|group| {
        let stays = (0..hosts).filter(|host| !group.contains(host));
        [vec![task(stays), service("s")], group.iter().map(|number| host(*number)).collect()]
    });
    let phases: Vec<Vec<Resource>> = phases.collect();
    graph.in_phases(phases).unwrap()
}

/// A cloud in memory in which every resource has an id of its own, and which fails once.
#[derive(Default)]
struct Cloud {
    remotes: Mutex<BTreeMap<Address, Vec<Remote>>>,
    calls: Mutex<Vec<String>>,
    made: AtomicUsize,
    /// Which call fails, and whether it takes effect all the same.
    fails_at: Option<(usize, bool)>,
}

impl Cloud {
    fn call(&self, what: &str, address: &Address) -> (bool, Result<(), ProviderError>) {
        let mut calls = self.calls.lock().unwrap();
        calls.push(format!("{what} {address}"));
        match self.fails_at {
            Some((at, takes_effect)) if at == calls.len() => (takes_effect, Err(ProviderError::new("no", None))),
            _ => (true, Ok(())),
        }
    }

    fn observed(&self) -> Observed {
        Observed { remotes: self.remotes.lock().unwrap().clone(), ..Observed::default() }
    }

    /// The addresses that the running service lists.
    fn listed(&self) -> String {
        let remotes = self.remotes.lock().unwrap();
        let text = |remote: &Remote, name: &str| remote.attributes[name].as_text().unwrap().to_owned();
        let Some(service) = remotes.get(&address("service.s")).and_then(|it| it.first()) else { return String::new() };
        let arn = text(service, "task");
        let tasks = remotes.get(&address("task.t")).into_iter().flatten();
        tasks.filter(|task| text(task, "arn") == arn).map(|task| text(task, "conf")).collect()
    }
}

impl Provider for Cloud {
    async fn observe(&self, _: &Graph, _: &State, _: &Context) -> Result<Observed, ProviderError> {
        Ok(self.observed())
    }

    async fn create(&self, resource: &Resolved, _: &Token, _: &Context) -> Result<Remote, ProviderError> {
        let (takes_effect, answer) = self.call("create", &resource.address);
        let id = format!("{}-{}", resource.address.kind, self.made.fetch_add(1, Ordering::Relaxed));
        let mut remote = Remote::new(id.clone(), resource.attributes.clone());
        for name in ["id", "ip", "arn"] {
            remote.attributes.insert(name.to_owned(), id.clone().into());
        }
        remote.attributes.insert("version".to_owned(), Value::Number(1));
        if takes_effect {
            self.remotes.lock().unwrap().entry(resource.address.clone()).or_default().push(remote.clone());
        }
        answer.map(|()| remote)
    }

    async fn update(
        &self,
        remote: &Remote,
        resource: &Resolved,
        _: &[String],
        _: &Context,
    ) -> Result<Remote, ProviderError> {
        let (takes_effect, answer) = self.call("update", &resource.address);
        let mut remotes = self.remotes.lock().unwrap();
        let found = remotes.get_mut(&resource.address).and_then(|all| all.iter_mut().find(|it| it.id == remote.id));
        let found = found.unwrap_or_else(|| panic!("{} is not there", remote.id));
        if takes_effect {
            found.attributes.extend(resource.attributes.clone());
            if let Some(Value::Number(version)) = found.attributes.get_mut("version") {
                *version += 1;
            }
        }
        answer.map(|()| found.clone())
    }

    async fn delete(&self, address: &Address, remote: &Remote, _: &Context) -> Result<(), ProviderError> {
        if address.kind.as_str() == "host" {
            let listed = self.listed();
            assert!(!listed.split(' ').any(|ip| ip == remote.id), "{} is still listed", remote.id);
        }
        let (takes_effect, answer) = self.call("delete", address);
        let mut remotes = self.remotes.lock().unwrap();
        let all = remotes.get_mut(address).unwrap();
        assert!(all.iter().any(|it| it.id == remote.id), "{} is not there", remote.id);
        if takes_effect {
            all.retain(|it| it.id != remote.id);
            if all.is_empty() {
                remotes.remove(address);
            }
        }
        answer
    }
}

fn plan_of(desired: &Graph, cloud: &Cloud, options: &PlanOptions) -> Plan {
    plan(desired, &cloud.observed(), &State::empty("test"), &book(), options).unwrap_or_else(|error| panic!("{error}"))
}

async fn apply(plan: &Plan, cloud: &Cloud) -> Outcome {
    let store = Memory::default();
    let mut session = session(&store).await;
    let state = session.read().await.unwrap();
    session.apply(plan, state, cloud, &book(), &Events::nowhere(), &Settings::default()).await.unwrap()
}

async fn applied(desired: &Graph) -> Cloud {
    let cloud = Cloud::default();
    let outcome = apply(&plan_of(desired, &cloud, &PlanOptions::default()), &cloud).await;
    assert!(outcome.is_complete(), "{:?}", outcome.failed);
    cloud.calls.lock().unwrap().clear();
    cloud
}

/// The graph in the phases that the changes of its hosts need.
fn for_changes(graph: Graph, hosts: u32, cloud: &Cloud, options: &PlanOptions, size: usize) -> Graph {
    let plan = plan_of(&graph, cloud, options);
    let rolling = plan.pending().filter(|change| change.address.kind.as_str() == "host" && change.desired.is_some());
    let numbers = rolling.filter_map(|change| match change.address.index {
        Some(crate::Index::Number(number)) => Some(number),
        _ => None,
    });
    let numbers = numbers.collect();
    rolled(graph, hosts, &numbers, size)
}

#[tokio::test]
async fn a_roll_takes_each_host_out_of_the_list_and_puts_it_back() {
    let cloud = applied(&stack(2, "v1")).await;
    let desired = rolled(stack(2, "v2"), 2, &[0, 1].into(), 1);
    let plan = plan_of(&desired, &cloud, &PlanOptions::default());
    insta::assert_snapshot!(shown(&plan), @r"
    2: Replace host.h[0] (Differs)
        template Unrecorded forces replacement
    4: Replace host.h[1] (Differs)
        template Unrecorded forces replacement
    1: Update service.s (Differs)
        task Unrecorded
    3: Update service.s (Differs)
        task Phase
    5: Update service.s (Differs)
        task Phase
    1: Replace task.t (Differs)
        conf Phase forces replacement
    3: Replace task.t (Differs)
        conf Phase forces replacement
    5: Replace task.t (Differs)
        conf Phase forces replacement
    2: Update template.t (Differs)
        data.user_data Unrecorded
    0: Create task.t after []
    1: Update service.s after [0]
    2: Update template.t after [1]
    3: Delete host.h[0] after [2]
    4: Create host.h[0] after [2, 3]
    5: Create task.t after [4]
    6: Update service.s after [5]
    7: Delete host.h[1] after [6]
    8: Create host.h[1] after [7]
    9: Create task.t after [8]
    10: Update service.s after [9]
    11: Delete task.t after [9, 10]
    12: Delete task.t after [9, 10]
    13: Delete task.t after [9, 10]
    ");
    let outcome = apply(&plan, &cloud).await;
    assert!(outcome.is_complete(), "{:?}", outcome.failed);
    insta::assert_snapshot!(cloud.calls.lock().unwrap().join("\n"), @r"
    create task.t
    update service.s
    update template.t
    delete host.h[0]
    create host.h[0]
    create task.t
    update service.s
    delete host.h[1]
    create host.h[1]
    create task.t
    update service.s
    delete task.t
    delete task.t
    delete task.t
    ");
    assert!(plan_of(&desired, &cloud, &PlanOptions::default()).is_empty());
}

#[tokio::test]
async fn wherever_a_roll_ends_the_next_ones_end_it_and_no_listed_host_is_ever_deleted() {
    let asked = PlanOptions { replace: vec![address("host.h")], ..PlanOptions::default() };
    let nothing = PlanOptions::default();
    for (hosts, wanted, user_data, first, size) in [
        (3, 3, "v2", &nothing, 1),
        (3, 3, "v2", &nothing, 2),
        (3, 3, "v2", &nothing, 9),
        (2, 4, "v2", &nothing, 1),
        (2, 3, "v1", &nothing, 1),
        (2, 2, "v1", &asked, 1),
        (3, 3, "v1", &asked, 2),
    ] {
        let mut was_complete = false;
        for at in 1.. {
            for takes_effect in [false, true] {
                let mut cloud = applied(&stack(hosts, "v1")).await;
                cloud.fails_at = Some((at, takes_effect));
                let mut options = first;
                for run in 1..=4 {
                    let desired = for_changes(stack(wanted, user_data), wanted, &cloud, options, size);
                    let plan = plan_of(&desired, &cloud, options);
                    if plan.is_empty() {
                        break;
                    }
                    assert!(run < 4, "call {at} failed, and this is still to do: {}", shown(&plan));
                    let outcome = apply(&plan, &cloud).await;
                    was_complete |= run == 1 && outcome.is_complete();
                    options = &nothing;
                }
                let left: usize = cloud.remotes.lock().unwrap().values().map(Vec::len).sum();
                assert_eq!(left, 4 + wanted as usize, "call {at}");
                let hosts = cloud.remotes.lock().unwrap().keys().filter(|it| it.kind.as_str() == "host").count();
                assert_eq!(cloud.listed().split_whitespace().count(), hosts);
            }
            if was_complete {
                break;
            }
        }
    }
}

#[tokio::test]
async fn phases_in_which_nothing_happens_do_not_count() {
    let cloud = applied(&stack(2, "v1")).await;
    let unchanged = plan_of(&rolled(stack(2, "v1"), 2, &[].into(), 1), &cloud, &PlanOptions::default());
    assert!(unchanged.is_empty() && unchanged.phases == 1, "{}", shown(&unchanged));

    // The group changes, the list stays: both phases find what they ask for.
    let desired = stack(2, "v1").in_phases([vec![task(0..2)], vec![host(1)]]).unwrap();
    let plan = plan_of(&desired, &cloud, &PlanOptions::default());
    assert!(plan.is_empty() && plan.phases == 1, "{}", shown(&plan));
    assert!(plan.changes.iter().all(|change| change.reason == Reason::Unchanged && change.phase == 1));
}

#[tokio::test]
async fn what_an_update_of_an_earlier_phase_keeps_replaces_nothing_later() {
    let on_group = |rules: &str| {
        let host = resource("host.h[0]", json!({"version": 1, "template": {"$reference": "group.g#id"}}));
        let group = resource("group.g", json!({"rules": rules}));
        (group.clone(), Graph::new("test", [group, host], []).unwrap())
    };
    let (_, before) = on_group("r");
    let cloud = applied(&before).await;
    let (interim, _) = on_group("in between");
    let (_, after) = on_group("s");
    let plan = plan_of(&after.in_phases([vec![interim]]).unwrap(), &cloud, &PlanOptions::default());
    insta::assert_snapshot!(shown(&plan), @r"
    1: Update group.g (Differs)
        rules Phase
    2: Update group.g (Differs)
        rules Phase
    0: Update group.g after []
    1: Update group.g after [0]
    ");

    // Made in a phase and updated in the next one: its id is unknown, and one and the same.
    let cloud = Cloud::default();
    let (interim, host) = (
        on_group("in between").0,
        resource("host.h[0]", json!({"version": 1, "template": {"$reference": "group.g#id"}})),
    );
    let plan = plan_of(&on_group("s").1.in_phases([vec![interim, host]]).unwrap(), &cloud, &PlanOptions::default());
    insta::assert_snapshot!(shown(&plan), @r"
    1: Create group.g (New)
    2: Update group.g (Differs)
        rules Phase
    1: Create host.h[0] (New)
    0: Create group.g after []
    1: Create host.h[0] after [0]
    2: Update group.g after [1]
    ");
    assert!(apply(&plan, &cloud).await.is_complete());
}

#[tokio::test]
async fn what_a_phase_needs_and_is_not_there_is_made_in_it() {
    let cloud = Cloud::default();
    let desired = stack(2, "v1").in_phases([vec![host(0)]]).unwrap();
    let plan = plan_of(&desired, &cloud, &PlanOptions::default());
    insta::assert_snapshot!(shown(&plan), @r"
    2: Create group.g (New)
    1: Create host.h[0] (New)
    2: Create host.h[1] (New)
    2: Create service.s (New)
    2: Create task.t (New)
    1: Create template.t (New)
    0: Create template.t after []
    1: Create host.h[0] after [0]
    2: Create group.g after [1]
    3: Create host.h[1] after [1]
    4: Create task.t after [3]
    5: Create service.s after [2, 4]
    ");
    assert!(apply(&plan, &cloud).await.is_complete());
}

#[tokio::test]
async fn what_is_deleted_first_may_be_replaced_in_several_phases() {
    let graph = |name: &str| Graph::new("test", [resource("group.g", json!({})), task([]), service(name)], []).unwrap();
    let cloud = applied(&graph("before")).await;
    let desired = graph("after").in_phases([[service("a")], [service("b")]]).unwrap();
    let plan = plan_of(&desired, &cloud, &PlanOptions::default());
    assert!(apply(&plan, &cloud).await.is_complete());
    assert_eq!(*cloud.calls.lock().unwrap(), ["delete service.s", "create service.s"].repeat(3));
    assert!(plan_of(&desired, &cloud, &PlanOptions::default()).is_empty());
}

#[tokio::test]
async fn targets_select_what_phases_do() {
    let cloud = applied(&stack(2, "v1")).await;
    let desired = rolled(stack(2, "v2"), 2, &[0, 1].into(), 1);
    let options = PlanOptions { targets: vec![address("host.h[1]")], ..PlanOptions::default() };
    let plan = plan_of(&desired, &cloud, &options);
    let pending: Vec<String> = plan.pending().map(|change| change.address.to_string()).collect();
    assert_eq!(pending, ["host.h[1]", "template.t"]);
}

#[tokio::test]
async fn a_written_plan_shows_every_phase_and_counts_each_resource_once() {
    let cloud = applied(&stack(2, "v1")).await;
    let desired = rolled(stack(2, "v2"), 2, &[0, 1].into(), 1);
    let plan = plan_of(&desired, &cloud, &PlanOptions::default());
    let document = Document::new(&plan, Origin::default(), &book());
    assert_eq!(Document::parse(document.to_text().unwrap().as_bytes()).unwrap(), document);
    let compared = &document.compared;
    assert_eq!(compared.phases, 5);
    let summary = &compared.summary;
    assert_eq!((summary.create, summary.update, summary.replace, summary.unchanged), (0, 2, 3, 1));
    let of = |at: &str| -> Vec<_> {
        let changes = compared.changes.iter().filter(|change| change.address == address(at));
        changes.map(|change| (change.phase, change.id.as_deref())).collect()
    };
    assert_eq!(of("service.s"), [(Some(1), Some("service-5")), (Some(3), None), (Some(5), None)]);
    assert_eq!(of("group.g"), [(None, Some("group-0"))]);
    let difference =
        &compared.changes.iter().filter(|it| it.address == address("service.s")).nth(1).unwrap().differences[0];
    assert_eq!(difference.cause, Cause::Phase);
    assert_eq!(difference.before, Some(Value::reference(address("task.t"), "arn of phase 1")));
    assert_eq!(difference.after, Some(Value::reference(address("task.t"), "arn")));
    assert!(compared.steps.iter().all(|step| step.phase.is_some()));

    let whole = Document::new(&plan_of(&stack(2, "v2"), &cloud, &PlanOptions::default()), Origin::default(), &book());
    let text = whole.to_text().unwrap();
    assert!(!text.contains("phase"), "a plan of one phase says nothing of phases: {text}");
}

#[tokio::test]
async fn a_take_over_is_complete_in_the_last_phase() {
    let at_home = |home: &str, rules: &str| resource("group.g", json!({"rules": rules, "tags": {"home": home}}));
    let graph = |home: &str, rules: &str| Graph::new("test", [at_home(home, rules)], []).unwrap();
    let cloud = applied(&graph("there", "r")).await;
    let book = RuleBook::new(BOOK).with_home(HomeRule { tag: "home", last: "group" });
    let desired = graph("here", "s").in_phases([vec![at_home("here", "in between")]]).unwrap();
    let options = PlanOptions { home: Some("here".to_owned()), ..PlanOptions::default() };
    let plan = plan(&desired, &cloud.observed(), &State::empty("test"), &book, &options).unwrap();
    assert_eq!((plan.phases, plan.pending().count()), (1, 1), "{}", shown(&plan));
}

#[test]
fn a_phase_lists_what_the_stack_asks_for_once() {
    let refused = |phase: Vec<Resource>| stack(1, "v1").in_phases([phase]).unwrap_err().to_string();
    assert_eq!(refused(vec![host(7)]), "`host.h[7]` is in a phase and not in the stack");
    assert_eq!(refused(vec![host(0), host(0)]), "`host.h[0]` is there twice");
    let needs = |at: &str, needed: &str| resource(at, json!({"needs": {"$reference": format!("{needed}#id")}}));
    assert_eq!(refused(vec![needs("group.g", "host.h[3]")]), "`group.g` needs `host.h[3]`, which is not in the stack");
    assert_eq!(
        refused(vec![needs("template.t", "host.h[0]")]),
        "`host.h[0]` → `template.t` → `host.h[0]` wait for each other"
    );
}
