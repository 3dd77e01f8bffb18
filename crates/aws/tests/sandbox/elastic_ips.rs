//! Elastic IPs are allocated once, associated once their hosts run, and reused for the next host.

use std::time::Duration;

use trunnion_engine::{Action, Context, Observed, PlanOptions, Provider as _, State, StateStore as _, Value};
use trunnion_kinds::lookup;
use trunnion_sandbox::{Delay, Effect, FaultRule};

use crate::{
    common::{STACK, at, refused, strict},
    every_kind::Scene,
};

const FIRST: &str = "elastic_ip.small[0]";

async fn observe(scene: &Scene) -> Observed {
    // Without a state, nothing says what the reads may still hide.
    scene.cloud.running.until_consistent().await;
    scene.connect().await.observe(&scene.desired, &State::empty(STACK), &Context::default()).await.unwrap()
}

/// Allocation id, public address and host of the first one.
fn first(observed: &Observed) -> (String, Value, Value) {
    let remotes = &observed.remotes[&at(FIRST)];
    assert_eq!(remotes.len(), 1, "{remotes:?}");
    let attribute = |name: &str| remotes[0].attributes[name].clone();
    (remotes[0].id.clone(), attribute("public_ip"), attribute("instance"))
}

#[tokio::test]
async fn the_host_after_a_replacement_gets_the_same_address() {
    let scene = Scene::set(strict()).await;
    let store = scene.store("state");
    scene.converge("elastic_ip", &scene.desired, &store).await;
    let before = first(&observe(&scene).await);

    let state = store.load().await.unwrap();
    let mut options = PlanOptions::default();
    options.replace = vec![at("instance.small[0]")];
    let plan = scene.plan_with(&scene.desired, &state, options).await;
    let changed = plan.pending().find(|change| change.address == at(FIRST)).unwrap();
    assert_eq!(changed.action, Action::Update);
    let outcome = scene.apply(&plan, &scene.connect().await, state, &store).await;
    assert!(outcome.is_complete(), "{:?}", outcome.failed);

    let observed = observe(&scene).await;
    let after = first(&observed);
    assert_eq!((&before.0, &before.1), (&after.0, &after.1));
    assert_ne!(before.2, after.2);
    assert_eq!(after.2, observed.remotes[&at("instance.small[0]")][0].attributes["id"]);
    assert_eq!(scene.pending(&scene.desired, &store.load().await.unwrap()).await, []);
}

#[tokio::test]
async fn without_waiting_the_next_apply_associates() {
    // Hosts are pending for longer than an apply without waiting takes.
    let scene = Scene::set(strict().with_delay(Delay::InstanceStart, Duration::from_secs(20))).await;
    let kinds = ["security_group", "iam_role", "iam_instance_profile", "s3_bucket", "s3_object", "launch_template"];
    let wanted = kinds.iter().chain(&["instance", "elastic_ip"]);
    let resources = scene.desired.resources().values();
    let resources = resources.filter(|one| wanted.clone().any(|kind| *kind == one.kind().as_str())).cloned();
    let lookups = scene.desired.lookups().values().cloned();
    let desired = trunnion_engine::Graph::new(STACK, resources, lookups).unwrap();
    let store = scene.store("state");
    let state = State::empty(STACK);
    let plan = scene.plan(&desired, &state).await;
    let outcome = scene.apply(&plan, &scene.connect_with(false).await, state, &store).await;
    assert!(outcome.is_complete(), "{:?}", outcome.failed);
    assert_eq!(first(&observe(&scene).await).2, Value::Null);

    let state = store.load().await.unwrap();
    let plan = scene.plan(&desired, &state).await;
    let pending: Vec<String> = plan.pending().map(|change| change.address.to_string()).collect();
    assert_eq!(pending, [FIRST, "elastic_ip.small[1]"]);
    let causes = plan.pending().flat_map(|change| &change.differences).map(|(_, cause)| cause.clone());
    assert!(causes.into_iter().all(|cause| cause == trunnion_engine::Cause::Stack), "nobody changed it outside");
    let outcome = scene.apply(&plan, &scene.connect().await, state, &store).await;
    assert!(outcome.is_complete(), "{:?}", outcome.failed);
    assert_ne!(first(&observe(&scene).await).2, Value::Null);
    assert_eq!(scene.pending(&desired, &store.load().await.unwrap()).await, []);
}

#[tokio::test]
async fn a_lost_answer_allocates_nothing_twice() {
    let scene = Scene::set(strict()).await;
    let lost = |operation: &str| FaultRule { operation: operation.into(), nth: 1, times: 2, effect: Effect::DropAfter };
    let calls = ["ec2:AllocateAddress", "ec2:AssociateAddress"];
    scene.cloud.running.set_faults(calls.map(lost).into());
    scene.converge("elastic_ip", &scene.desired, &scene.store("state")).await;
    scene.cloud.running.until_consistent().await;
    assert_eq!(scene.pending(&scene.desired, &State::empty(STACK)).await, []);
    let calls = scene.cloud.running.calls();
    assert_eq!(calls["ec2:AllocateAddress"].count, 2, "one for each host");
}

#[tokio::test]
async fn a_throttled_call_is_repeated() {
    let scene = Scene::set(strict()).await;
    scene.cloud.running.set_faults(vec![refused("ec2:AllocateAddress", 3, 503, "RequestLimitExceeded")]);
    scene.converge("elastic_ip", &scene.desired, &scene.store("state")).await;
    assert_eq!(scene.cloud.running.calls()["ec2:AllocateAddress"].count, 5);
    scene.cloud.running.until_consistent().await;
    assert_eq!(scene.pending(&scene.desired, &State::empty(STACK)).await, []);
}

#[tokio::test]
async fn an_exhausted_quota_names_the_next_step() {
    let scene = Scene::set(strict().with_elastic_ips(1)).await;
    let quota = || async { observe(&scene).await.lookups[&at("elastic_ip_quota.main")]["most"].clone() };
    assert_eq!(quota().await, Value::Number(1));
    // An identity without the permission to read the quota gets AWS's default.
    scene.cloud.running.set_faults(vec![refused("ec2:DescribeAccountAttributes", 9, 403, "UnauthorizedOperation")]);
    assert_eq!(quota().await, Value::Number(lookup::ElasticIpQuota::DEFAULT));
    scene.cloud.running.set_faults(Vec::new());
    let (state, store) = (State::empty(STACK), scene.store("state"));
    let plan = scene.plan(&scene.desired, &state).await;
    let outcome = scene.apply(&plan, &scene.connect().await, state, &store).await;
    let [(address, _, error)] = outcome.failed.as_slice() else { panic!("{:?}", outcome.failed) };
    assert_eq!(address.kind.as_str(), "elastic_ip");
    assert!(error.message.contains("AddressLimitExceeded"), "{error}");
    assert!(error.help.as_ref().is_some_and(|help| help.contains("L-0263D0A3")), "{error:?}");
}

#[tokio::test]
async fn each_address_belongs_to_a_private_one_and_follows_its_host() {
    let pool = "count: 1, interfaces: 2, addresses: 2, public_addresses: 3";
    let text = crate::every_kind::STACK.replace("count: 2, interfaces: 2, public_ip: true", pool);
    let scene = Scene::of(&text, strict()).await;
    let store = scene.store("state");
    scene.converge("elastic_ip", &scene.desired, &store).await;
    let addresses = [FIRST, "elastic_ip.small[0.1]", "elastic_ip.small[0.2]"];
    let associated = |observed: &Observed| {
        let host = &observed.remotes[&at("instance.small[0]")][0].attributes;
        let private = host["private_ips"].as_list().unwrap().to_vec();
        assert_eq!((private.len(), &private[0]), (4, &host["private_ip"]));
        let interfaces = host["network_interfaces"].as_list().unwrap();
        assert_eq!(
            private[1],
            interfaces[1].as_map().unwrap()["private_ip"],
            "the primary one of the second interface"
        );
        for (number, address) in addresses.iter().enumerate() {
            let remotes = &observed.remotes[&at(address)];
            assert_eq!(remotes.len(), 1, "{remotes:?}");
            let attributes = &remotes[0].attributes;
            assert_eq!((&attributes["instance"], &attributes["private_ip"]), (&host["id"], &private[number]));
        }
        addresses.map(|address| observed.remotes[&at(address)][0].attributes["public_ip"].clone())
    };
    let before = associated(&observe(&scene).await);

    let state = store.load().await.unwrap();
    let mut options = PlanOptions::default();
    options.replace = vec![at("instance.small[0]")];
    let plan = scene.plan_with(&scene.desired, &state, options).await;
    let outcome = scene.apply(&plan, &scene.connect().await, state, &store).await;
    assert!(outcome.is_complete(), "{:?}", outcome.failed);
    assert_eq!(associated(&observe(&scene).await), before);
    assert_eq!(scene.pending(&scene.desired, &store.load().await.unwrap()).await, []);
}
