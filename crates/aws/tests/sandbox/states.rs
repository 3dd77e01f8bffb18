//! A state explains and decides nothing: with a right, an old, a damaged or no state, what is observed and planned is the same.

use trunnion_engine::{
    Address, Applied, Cause, Context, Document, Map, Observed, Origin, Plan, Provider as _, Reason, Resolved, State,
    StateStore as _, Value,
};
use trunnion_kinds::{APPLIED_TAG, rule_book};

use crate::{
    common::{self, at, strict},
    every_kind::Scene,
};

/// The scene after a first apply, with its state.
async fn applied() -> (Scene, State) {
    let scene = Scene::set(strict()).await;
    let store = scene.store("state");
    scene.converge("states", &scene.desired, &store).await;
    scene.cloud.running.until_consistent().await;
    let state = store.load().await.unwrap();
    (scene, state)
}

async fn observed(scene: &Scene, state: &State) -> Observed {
    scene.connect().await.observe(&scene.desired, state, &Context::default()).await.unwrap()
}

/// The state with other values everywhere: ids of the next resource of the kind, or of none, and other attributes.
fn damaged(state: &State) -> State {
    let mut damaged = state.clone();
    let ids: Vec<(Address, String)> =
        state.resources.iter().map(|(at, found)| (at.clone(), found.id.clone())).collect();
    for (number, (address, recorded)) in damaged.resources.iter_mut().enumerate() {
        let alike: Vec<&String> = ids.iter().filter(|(at, _)| at.kind == address.kind).map(|(_, id)| id).collect();
        recorded.id = match (number % 3, alike.iter().position(|id| **id == recorded.id)) {
            (0, Some(place)) => alike[(place + 1) % alike.len()].clone(),
            (1, _) => format!("{}0", recorded.id),
            _ => recorded.id.clone(),
        };
        recorded.attributes = scrambled(&recorded.attributes);
    }
    damaged
}

fn scrambled(map: &Map) -> Map {
    fn each(value: &Value) -> Value {
        match value {
            Value::Text(text) => format!("{text}x").into(),
            Value::Number(number) => Value::Number(number + 1),
            Value::Bool(truth) => Value::Bool(!truth),
            Value::Map(map) => Value::Map(scrambled(map)),
            Value::List(list) => Value::List(list.iter().skip(1).map(each).collect()),
            other => other.clone(),
        }
    }
    map.iter().map(|(name, value)| (name.clone(), each(value))).collect()
}

fn states(right: &State) -> [(&'static str, State); 4] {
    let old =
        State { resources: right.resources.clone().into_iter().step_by(2).collect(), ..State::empty(common::STACK) };
    [("right", right.clone()), ("none", State::empty(common::STACK)), ("old", old), ("damaged", damaged(right))]
}

/// The plan without what the state explains.
fn agreed(mut plan: Plan) -> Plan {
    plan.state = (String::new(), 0);
    plan.notes.clear();
    for change in &mut plan.changes {
        if let Reason::Gone { .. } = change.reason {
            change.reason = Reason::New;
        }
        change.differences.iter_mut().for_each(|(_, cause)| *cause = Cause::Unrecorded);
    }
    plan
}

#[tokio::test]
async fn what_is_observed_and_planned_is_the_same_with_every_state() {
    let (scene, right) = applied().await;
    let aws = scene.connect().await;
    let before = observed(&scene, &right).await;

    // A second host at one address, which is as good as the first one; the state knows one of them.
    let host = at("instance.small[1]");
    let change = scene.plan(&scene.desired, &right).await;
    let wanted = change.changes.iter().find(|change| change.address == host).unwrap().desired.clone().unwrap();
    let copy = Resolved { address: host.clone(), attributes: wanted };
    // Whoever knows the first one may launch another.
    aws.observe(&scene.desired, &right, &Context::default()).await.unwrap();
    let copy = aws.create(&copy, &common::token_of("another", &copy).nth(7), &Context::default()).await.unwrap();
    // Somebody else makes a version of the template without a description of ours, and edits a tag of a group.
    let template = &before.remotes[&at("launch_template.small")][0];
    let mut attributes = template.attributes.clone();
    attributes.insert("boot".to_owned(), Value::Null);
    let Some(Value::Map(data)) = attributes.get_mut("data") else { panic!("it has data") };
    data.insert("image_source".to_owned(), "".into());
    data.insert("image".to_owned(), "ami-0123456789abcdef0".into());
    let edited = Resolved { address: at("launch_template.small"), attributes };
    aws.update(template, &edited, &["data".to_owned(), "boot".to_owned()], &Context::default()).await.unwrap();
    scene.cloud.running.until_consistent().await;

    let expected = observed(&scene, &right).await;
    assert_eq!(expected.remotes[&host].len(), 2);
    let found = &expected.remotes[&at("launch_template.small")][0];
    assert_ne!(found.attributes["data"], template.attributes["data"]);
    let earlier = found.earlier.as_ref().unwrap();
    assert_eq!((&earlier["data"], &earlier["boot"]), (&template.attributes["data"], &template.attributes["boot"]));
    let plan = agreed(scene.plan(&scene.desired, &right).await);
    assert!(!plan.is_empty());
    let mut knows_the_copy = right.clone();
    knows_the_copy.resources.get_mut(&host).unwrap().id = copy.id;
    for (name, state) in states(&right).into_iter().chain([("of the copy", knows_the_copy)]) {
        assert_eq!(observed(&scene, &state).await.remotes, expected.remotes, "{name}");
        assert_eq!(agreed(scene.plan(&scene.desired, &state).await), plan, "{name}");
    }
    let document = |plan: &Plan| Document::new(plan, Origin::default(), &rule_book());
    let without = scene.plan(&scene.desired, &State::empty(common::STACK)).await;
    assert_eq!(document(&scene.plan(&scene.desired, &right).await).moved(&document(&without)), None);
}

#[tokio::test]
async fn an_id_that_no_resource_can_have_is_named_for_every_kind() {
    let (scene, right) = applied().await;
    let expected = observed(&scene, &right).await;
    assert_eq!(expected.notes, []);
    for address in right.resources.keys() {
        for damage in ["", "i-0123456789abcdefg\u{1b}[2J é", "arn:aws:ecs:eu-west-9:1:cluster/"] {
            let mut state = right.clone();
            state.resources.get_mut(address).unwrap().id = damage.to_owned();
            let found = observed(&scene, &state).await;
            let [note] = &found.notes[..] else { panic!("{address} {damage:?}: {:?}", found.notes) };
            assert!(note.message.contains(&format!("of `{address}`")), "{note:?}");
            assert!(!note.message.contains('\u{1b}') && note.help.as_ref().unwrap().contains("deleted"), "{note:?}");
            assert_eq!(found.remotes, expected.remotes, "{address} {damage:?}");
        }
    }
    let mut state = right.clone();
    state.resources.values_mut().for_each(|recorded| recorded.id.clear());
    let found = observed(&scene, &state).await;
    assert_eq!(found.notes.len(), 1);
    assert!(found.notes[0].message.ends_with(" more"), "{:?}", found.notes);
}

#[tokio::test]
async fn the_cluster_says_who_applied_last_and_no_plan_compares_it() {
    let (scene, state) = applied().await;
    let cluster = at("ecs_cluster.main");
    let found = observed(&scene, &state).await;
    assert_eq!((found.applied.clone().unwrap().number, state.applied), (1, 1));
    let tags = found.remotes[&cluster][0].attributes["tags"].as_map().unwrap();
    assert!(!tags.contains_key(APPLIED_TAG) && !found.remotes[&cluster][0].attributes.contains_key("applied"));
    assert_eq!(scene.pending(&scene.desired, &state).await, []);

    // A plan without changes writes nothing, and makes the state know the last apply.
    let calls = || scene.cloud.running.calls().get("ecs:TagResource").map_or(0, |calls| calls.count);
    let before = calls();
    let store = scene.store("another");
    scene.converge("nothing", &scene.desired, &store).await;
    assert_eq!((calls(), store.load().await.unwrap().applied), (before, 1));

    // Another apply writes the next number, and a plan with the earlier state says so before anything is changed.
    let aws = scene.connect().await;
    let address = at("log_group.control_plane");
    aws.delete(&address, &found.remotes[&address][0], &Context::default()).await.unwrap();
    scene.cloud.running.until_consistent().await;
    scene.converge("again", &scene.desired, &store).await;
    scene.cloud.running.until_consistent().await;
    assert_eq!((calls(), store.load().await.unwrap().applied), (before + 1, 2));
    let plan = scene.plan(&scene.desired, &state).await;
    assert!(plan.is_empty());
    assert_eq!(plan.notes[0].code, Applied::NOTE);
    assert!(
        plan.notes[0].message.contains("(apply number 2), and the state here knows apply number 1"),
        "{:?}",
        plan.notes
    );
    assert_eq!(scene.plan(&scene.desired, &store.load().await.unwrap()).await.notes, []);

    // A change of the cluster's own tags leaves the remark.
    let mut attributes = found.remotes[&cluster][0].attributes.clone();
    attributes.insert(
        "tags".to_owned(),
        Value::Map(
            tags.iter().filter(|(key, _)| *key != "team").map(|(key, value)| (key.clone(), value.clone())).collect(),
        ),
    );
    let edited = Resolved { address: cluster.clone(), attributes };
    aws.update(&found.remotes[&cluster][0], &edited, &["tags".to_owned()], &Context::default()).await.unwrap();
    scene.cloud.running.until_consistent().await;
    assert_eq!(observed(&scene, &state).await.applied.unwrap().number, 2);
}
