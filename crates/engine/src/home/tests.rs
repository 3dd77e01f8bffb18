use std::sync::Mutex;

use serde_json::{Value as Json, json};

use super::*;
use crate::{
    Attribute, Computed, Context, Events, Graph, Plan, PlanOptions, Provider, ProviderError, Replacement, Resolved,
    Resource, Rules, Settings, Token, Value,
    apply::tests::{Memory, session},
    plan,
};

const fn rules(kind: &'static str, depends_on: &'static [&'static str]) -> Rules {
    Rules {
        kind,
        depends_on,
        blocks: &[],
        attributes: &[],
        computed: &[("id", Computed::AtCreation)],
        replacement: Replacement::DeleteFirst,
    }
}

fn book() -> RuleBook {
    let object =
        Rules { attributes: &[("tags", Attribute::CREATE_ONLY)], blocks: &["bucket"], ..rules("object", &["bucket"]) };
    RuleBook::new([rules("bucket", &[]), object, rules("thing", &["object"])])
        .with_home(HomeRule { tag: "our:home", last: "bucket" })
}

fn map(json: Json) -> Map {
    match Value::from(json) {
        Value::Map(map) => map,
        other => panic!("no map: {other:?}"),
    }
}

fn at(text: &str) -> Address {
    text.parse().unwrap()
}

/// A bucket with an object in it, and two things that need the object.
fn stack(home: &str) -> Graph {
    let tags = json!({"our:home": home});
    let resource = |address: &str| Resource::new(at(address), map(json!({"tags": tags})));
    let resources = [
        resource("bucket.b"),
        resource("object.o").after([at("bucket.b")]),
        resource("thing.one").after([at("object.o")]),
        resource("thing.two").after([at("object.o")]),
    ];
    Graph::new("test", resources, []).unwrap()
}

const ALL: [&str; 4] = ["bucket.b", "object.o", "thing.one", "thing.two"];

/// All of it with this home; without one where there is none.
fn standing(home: Option<&str>) -> Observed {
    let tags = home.map_or_else(|| json!({}), |home| json!({"our:home": home}));
    let remotes = ALL.map(|address| {
        let remote = Remote::new(format!("id-of-{address}"), map(json!({"tags": tags, "id": "x"})));
        (at(address), vec![remote])
    });
    Observed { remotes: remotes.into(), ..Observed::default() }
}

fn state(home: Option<&str>, addresses: &[&str]) -> State {
    let mut state = State { home: home.map(str::to_owned), ..State::empty("test") };
    for address in addresses {
        let recorded = Recorded {
            id: format!("id-of-{address}"),
            applied_at: "2026-08-01T00:00:00Z".to_owned(),
            attributes: map(json!({"tags": {}})),
        };
        state.resources.insert(at(address), recorded);
    }
    state
}

fn planned(desired: &Graph, observed: &Observed, state: &State) -> Plan {
    let options = PlanOptions { home: Some("here".to_owned()), ..PlanOptions::default() };
    plan(desired, observed, state, &book(), &options).unwrap()
}

fn pending(plan: &Plan) -> Vec<String> {
    plan.pending().map(|change| format!("{:?} {}", change.action, change.address)).collect()
}

fn others(plan: &Plan) -> Vec<(Option<&str>, usize)> {
    plan.other_homes.iter().map(|other| (other.home.as_deref(), other.count)).collect()
}

const UPDATES: [&str; 3] = ["Update bucket.b", "Update thing.one", "Update thing.two"];

#[test]
fn what_has_this_home_is_nobody_elses_with_or_without_state() {
    for state in [State::empty("test"), state(Some("here"), &ALL), state(Some("elsewhere"), &ALL)] {
        let plan = planned(&stack("here"), &standing(Some("here")), &state);
        assert!(plan.is_empty() && plan.other_homes.is_empty(), "{:?}", plan.other_homes);
    }
}

#[test]
fn what_has_another_home_is_named_and_would_get_this_one() {
    for state in [State::empty("test"), state(Some("here"), &ALL), state(None, &ALL)] {
        let plan = planned(&stack("here"), &standing(Some("elsewhere")), &state);
        assert_eq!(others(&plan), [(Some("elsewhere"), 3)]);
        let named: Vec<String> = plan.other_homes[0].addresses.iter().map(ToString::to_string).collect();
        assert_eq!(named, ["bucket.b", "thing.one", "thing.two"]);
        assert_eq!(pending(&plan), UPDATES);
    }
    let gone = planned(&Graph::empty("test"), &standing(Some("elsewhere")), &State::empty("test"));
    assert_eq!(others(&gone), [(Some("elsewhere"), 3)]);
    assert_eq!(pending(&gone).len(), 4);
}

#[test]
fn the_home_that_the_state_recorded_is_ours() {
    let plan = planned(&stack("here"), &standing(Some("before")), &state(Some("before"), &[]));
    assert_eq!(others(&plan), []);
    assert_eq!(pending(&plan), UPDATES);
}

#[test]
fn a_missing_home_is_added_with_every_state_and_the_state_saves_only_the_question() {
    for (state, expected) in [
        (state(None, &ALL), vec![]),
        (state(None, &ALL[..3]), vec![(None, 1)]),
        (State::empty("test"), vec![(None, 3)]),
    ] {
        let plan = planned(&stack("here"), &standing(None), &state);
        assert_eq!(others(&plan), expected);
        assert_eq!(pending(&plan), UPDATES);
    }
}

#[test]
fn without_a_home_of_ones_own_nobody_asks() {
    let plan = plan(&stack("here"), &standing(Some("x")), &State::empty("test"), &book(), &PlanOptions::default());
    assert!(plan.unwrap().other_homes.is_empty());
}

#[test]
fn the_bucket_changes_its_home_after_everything_else() {
    let mut observed = standing(Some("elsewhere"));
    observed.remotes.remove(&at("object.o"));
    observed.remotes.insert(at("thing.other"), standing(Some("elsewhere")).remotes.remove(&at("thing.one")).unwrap());
    let plan = planned(&stack("here"), &observed, &State::empty("test"));
    let steps: Vec<String> =
        plan.steps.iter().map(|step| format!("{:?} {}", step.operation, plan.changes[step.change].address)).collect();
    let expected = ["Create object.o", "Update thing.one", "Update thing.two", "Delete thing.other", "Update bucket.b"];
    let mut sorted = steps.clone();
    sorted.sort();
    let mut expected = expected.map(str::to_owned).to_vec();
    assert_eq!(steps.last(), expected.last());
    expected.sort();
    assert_eq!(sorted, expected);
    assert_eq!(plan.steps.last().unwrap().after, [0, 1, 2, 3]);
}

/// A cloud that says yes, but to one call.
#[derive(Default)]
struct Cloud {
    updated: Mutex<Vec<String>>,
    refuses: Option<&'static str>,
}

impl Provider for Cloud {
    async fn observe(&self, _: &Graph, _: &State, _: &Context) -> Result<Observed, ProviderError> {
        Ok(Observed::default())
    }

    async fn create(&self, resource: &Resolved, _: &Token, _: &Context) -> Result<Remote, ProviderError> {
        Ok(Remote::new("new", resource.attributes.clone()))
    }

    async fn update(
        &self,
        remote: &Remote,
        resource: &Resolved,
        _: &[String],
        _: &Context,
    ) -> Result<Remote, ProviderError> {
        let address = resource.address.to_string();
        if self.refuses == Some(address.as_str()) {
            return Err(ProviderError::new("no", None));
        }
        self.updated.lock().unwrap().push(address);
        Ok(Remote { attributes: resource.attributes.clone(), ..remote.clone() })
    }

    async fn delete(&self, _: &Address, _: &Remote, _: &Context) -> Result<(), ProviderError> {
        Ok(())
    }
}

async fn applied(observed: &Observed, state: &State, refuses: Option<&'static str>) -> (Vec<String>, Vec<State>) {
    let (cloud, store) = (Cloud { refuses, ..Cloud::default() }, Memory::of(state));
    let plan = planned(&stack("here"), observed, state);
    let settings = Settings::default().with_home("here", Adoption::default());
    let mut session = session(&store).await;
    let read = session.read().await.unwrap();
    session.apply(&plan, read, &cloud, &book(), &Events::nowhere(), &settings).await.unwrap();
    let saved = store.saved.lock().unwrap().split_off(1);
    (cloud.updated.into_inner().unwrap(), saved)
}

#[tokio::test]
async fn after_a_failure_nothing_of_the_bucket_changes() {
    let observed = standing(Some("elsewhere"));
    let (updated, _) = applied(&observed, &State::empty("test"), Some("thing.two")).await;
    assert_eq!(updated, ["thing.one"]);
    let (updated, _) = applied(&observed, &State::empty("test"), None).await;
    assert_eq!(updated.last().map(String::as_str), Some("bucket.b"));
}

#[tokio::test]
async fn the_recorded_home_counts_until_everything_has_the_new_one() {
    let homes = |saved: &[State]| saved.iter().map(|state| state.home.clone().unwrap()).collect::<Vec<_>>();
    let observed = standing(Some("before"));
    let (_, saved) = applied(&observed, &state(Some("before"), &ALL), Some("thing.two")).await;
    assert!(!saved.is_empty() && homes(&saved).iter().all(|home| home == "before"), "{:?}", homes(&saved));
    let (_, saved) = applied(&observed, &state(Some("before"), &ALL), None).await;
    assert_eq!(homes(&saved).last().map(String::as_str), Some("here"));
    // A state that knows no home yet records it at once.
    let (_, saved) = applied(&standing(None), &state(None, &ALL), None).await;
    assert!(!saved.is_empty() && homes(&saved).iter().all(|home| home == "here"), "{:?}", homes(&saved));
}
