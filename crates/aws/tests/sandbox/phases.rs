//! A plan of several phases: a host leaves the control plane's list before it is replaced, and joins it again once it is there.

use trunnion_engine::{Action, Graph, PlanOptions, Resource, State, StateStore as _};
use trunnion_sandbox::FaultRule;

use crate::{
    common::{DEFINITION, SERVICE, STACK as NAME, at, refused, strict},
    every_kind::{STACK, Scene},
};

const HOST: &str = "instance.small[1]";

fn private(count: u32) -> String {
    STACK.replace("public_ip: true", "public_ip: false").replace("count: 2", &format!("count: {count}"))
}

/// The stack in phases in which its second host leaves the list and is replaced.
fn rolled(scene: &Scene) -> Graph {
    let of = |graph: &Graph, address: &str| graph.resources()[&at(address)].clone();
    let without = scene.graph(&private(1));
    let leave: Vec<Resource> = vec![of(&without, DEFINITION), of(&without, SERVICE)];
    scene.desired.clone().in_phases([leave, vec![of(&scene.desired, HOST)]]).unwrap()
}

fn replace() -> PlanOptions {
    let mut options = PlanOptions::default();
    options.replace = vec![at(HOST)];
    options
}

fn calls(scene: &Scene, operation: &str) -> u64 {
    scene.cloud.running.calls().get(operation).map_or(0, |calls| calls.count)
}

#[tokio::test]
async fn a_host_leaves_the_list_before_it_is_replaced_and_joins_it_again() {
    let scene = Scene::of(&private(2), strict()).await;
    let store = scene.store("state");
    scene.converge("the stack", &scene.desired, &store).await;
    let registered = calls(&scene, "ecs:RegisterTaskDefinition");

    let state = store.load().await.unwrap();
    let plan = scene.plan_with(&rolled(&scene), &state, replace()).await;
    let found: Vec<_> =
        plan.pending().map(|change| (change.address.to_string(), change.phase, change.action)).collect();
    let expected = [
        (SERVICE, 1, Action::Update),
        (SERVICE, 3, Action::Update),
        (DEFINITION, 1, Action::Replace),
        (DEFINITION, 3, Action::Replace),
        (HOST, 2, Action::Replace),
    ];
    assert_eq!(found, expected.map(|(address, phase, action)| (address.to_owned(), phase, action)));
    let outcome = scene.apply(&plan, &scene.connect().await, state, &store).await;
    assert!(outcome.is_complete(), "{:?}", outcome.failed);

    assert_eq!(calls(&scene, "ecs:RegisterTaskDefinition"), registered + 2);
    assert_eq!(scene.cloud.running.most_tasks().into_values().collect::<Vec<_>>(), [1]);
    let state = store.load().await.unwrap();
    assert_eq!(scene.pending(&rolled(&scene), &state).await, []);
    assert_eq!(scene.pending(&scene.desired, &State::empty(NAME)).await, [], "nothing is left over");
}

/// The n-th call of an operation is refused.
async fn refused_once(operation: &str, nth: u64) {
    let scene = Scene::of(&private(2), strict()).await;
    let store = scene.store("state");
    scene.converge("the stack", &scene.desired, &store).await;
    let state = store.load().await.unwrap();
    let plan = scene.plan_with(&rolled(&scene), &state, replace()).await;
    scene.cloud.running.set_faults(vec![FaultRule { nth, ..refused(operation, 1, 403, "AccessDeniedException") }]);
    let outcome = scene.apply(&plan, &scene.connect().await, state, &store).await;
    assert_eq!(outcome.failed.len(), 1, "{operation} {nth}: {:?}", outcome.failed);

    scene.converge(operation, &rolled(&scene), &store).await;
    let state = store.load().await.unwrap();
    assert_eq!(scene.pending(&rolled(&scene), &state).await, [], "{operation} {nth}");
    assert_eq!(scene.pending(&scene.desired, &State::empty(NAME)).await, [], "{operation} {nth}");
    assert_eq!(scene.cloud.running.most_tasks().into_values().collect::<Vec<_>>(), [1]);
}

#[tokio::test]
async fn wherever_it_is_refused_the_next_apply_ends_it() {
    // Leave, replace, join, and what is left behind.
    let calls = [
        ("ecs:RegisterTaskDefinition", 1),
        ("ecs:UpdateService", 1),
        ("ec2:TerminateInstances", 1),
        ("ec2:RunInstances", 1),
        ("ecs:RegisterTaskDefinition", 2),
        ("ecs:UpdateService", 3),
        ("ecs:DeregisterTaskDefinition", 2),
    ];
    futures::future::join_all(calls.map(|(operation, nth)| refused_once(operation, nth))).await;
}
