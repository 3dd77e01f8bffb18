//! The plan by its golden output: what a person would see, and the steps.

mod phases;

use std::fmt::Write as _;

use serde_json::json;

use super::*;
use crate::{Applied, Attribute, Computed, Document, Lookup, Recorded, Rules, Value};

const BOOK: [Rules; 4] = [
    Rules {
        kind: "group",
        depends_on: &[],
        blocks: &[],
        attributes: &[("name", Attribute::IMMUTABLE), ("rules", Attribute::UNORDERED)],
        computed: &[("id", Computed::AtCreation)],
        replacement: Replacement::CreateFirst,
    },
    Rules {
        kind: "template",
        depends_on: &["group"],
        blocks: &[],
        attributes: &[("name", Attribute::IMMUTABLE), ("data.image", Attribute::PLAIN.pinned_by("data.source"))],
        computed: &[
            ("id", Computed::AtCreation),
            ("version", Computed::ChangesWith(&["data"])),
            ("digest", Computed::DigestOf("data")),
        ],
        replacement: Replacement::DeleteFirst,
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
];

fn map(json: serde_json::Value) -> Map {
    match Value::from(json) {
        Value::Map(map) => map,
        other => panic!("no map: {other:?}"),
    }
}

fn address(text: &str) -> Address {
    text.parse().unwrap_or_else(|error| panic!("{error}"))
}

fn resource(at: &str, attributes: serde_json::Value) -> Resource {
    Resource::new(address(at), map(attributes))
}

/// A group, a template in it, hosts of the template, a task that lists the hosts.
fn stack(hosts: u32, user_data: &str) -> Graph {
    let mut resources = vec![
        resource("group.g", json!({"name": "g", "rules": ["a", "b"]})),
        resource(
            "template.t",
            json!({"name": "t", "data": {
                "group": {"$reference": "group.g#id"},
                "source": "latest",
                "image": {"$reference": "image.main#id"},
                "user_data": user_data,
            }}),
        ),
        resource(
            "task.t",
            json!({"conf": {"$concat": (0..hosts).map(|host| json!({"$reference": format!("host.h[{host}]#ip")})).collect::<Vec<_>>()}}),
        ),
    ];
    resources.extend((0..hosts).map(|host| {
        resource(
            &format!("host.h[{host}]"),
            json!({
                "version": {"$reference": "template.t#version"},
                "template": {"$reference": "template.t#digest"},
                "tags": {"team": "a"},
            }),
        )
    }));
    let image = Lookup { address: address("image.main"), query: Map::new() };
    Graph::new("test", resources, [image]).unwrap_or_else(|error| panic!("{error}"))
}

fn data(image: &str, user_data: &str) -> serde_json::Value {
    json!({"group": "g-1", "source": "latest", "image": image, "user_data": user_data})
}

fn remote(id: &str, attributes: serde_json::Value) -> Vec<Remote> {
    vec![Remote::new(id, map(attributes))]
}

/// What stands after `stack(hosts, user_data)` was applied, with image `ami-1`.
fn applied(hosts: u32, user_data: &str) -> Observed {
    let digest = Value::from(data("ami-1", user_data)).digest();
    let conf = (0..hosts).map(|host| format!("10.0.0.{host}")).collect::<Vec<_>>().concat();
    let mut observed = Observed::default();
    observed.lookups.insert(address("image.main"), map(json!({"id": "ami-1"})));
    observed.remotes.insert(address("group.g"), remote("g-1", json!({"name": "g", "rules": ["b", "a"], "id": "g-1"})));
    observed.remotes.insert(
        address("template.t"),
        remote("lt-1", json!({"name": "t", "data": data("ami-1", user_data), "id": "lt-1", "version": 1})),
    );
    for host in 0..hosts {
        observed.remotes.insert(
            address(&format!("host.h[{host}]")),
            remote(
                &format!("i-{host}"),
                json!({"template": digest, "ip": format!("10.0.0.{host}"), "tags": {"team": "a"}}),
            ),
        );
    }
    observed.remotes.insert(address("task.t"), remote("task:1", json!({"conf": conf, "arn": "task:1"})));
    observed
}

fn record(observed: &Observed) -> State {
    let mut state = State::empty("test");
    for (address, remotes) in &observed.remotes {
        let recorded = Recorded {
            id: remotes[0].id.clone(),
            applied_at: "2026-08-01T00:00:00Z".to_owned(),
            attributes: remotes[0].attributes.clone(),
        };
        state.resources.insert(address.clone(), recorded);
    }
    state
}

fn planned(desired: &Graph, observed: &Observed, recorded: &State, options: &PlanOptions) -> Plan {
    plan(desired, observed, recorded, &RuleBook::new(BOOK), options).unwrap_or_else(|error| panic!("{error}"))
}

fn shown(plan: &Plan) -> String {
    let mut text = String::new();
    for change in plan.pending() {
        let phase = if plan.phases > 1 { format!("{}: ", change.phase) } else { String::new() };
        let _ = writeln!(text, "{phase}{:?} {} ({:?})", change.action, change.address, change.reason);
        for (difference, cause) in &change.differences {
            let force = if difference.forces_replacement { " forces replacement" } else { "" };
            let _ = writeln!(text, "    {} {cause:?}{force}", difference.path);
        }
    }
    for (index, step) in plan.steps.iter().enumerate() {
        let change = &plan.changes[step.change];
        let _ = writeln!(text, "{index}: {:?} {} after {:?}", step.operation, change.address, step.after);
    }
    for note in &plan.notes {
        let _ = writeln!(text, "note: {}", note.message);
    }
    text
}

fn shown_of(desired: &Graph, observed: &Observed, recorded: &State) -> String {
    shown(&planned(desired, observed, recorded, &PlanOptions::default()))
}

#[test]
fn nothing_there_creates_everything_in_order() {
    let mut observed = Observed::default();
    observed.lookups.insert(address("image.main"), map(json!({"id": "ami-1"})));
    insta::assert_snapshot!(shown_of(&stack(2, "v1"), &observed, &State::empty("test")), @r"
    Create group.g (New)
    Create host.h[0] (New)
    Create host.h[1] (New)
    Create task.t (New)
    Create template.t (New)
    0: Create group.g after []
    1: Create template.t after [0]
    2: Create host.h[0] after [1]
    3: Create host.h[1] after [1]
    4: Create task.t after [2, 3]
    ");
}

#[test]
fn what_is_as_the_stack_asks_stays() {
    let observed = applied(2, "v1");
    for recorded in [State::empty("test"), record(&observed)] {
        let plan = planned(&stack(2, "v1"), &observed, &recorded, &PlanOptions::default());
        assert!(plan.is_empty(), "{}", shown(&plan));
    }
}

#[test]
fn a_new_template_version_rolls_the_hosts_one_by_one() {
    let observed = applied(3, "v1");
    insta::assert_snapshot!(shown_of(&stack(3, "v2"), &observed, &record(&observed)), @r"
    Replace host.h[0] (Differs)
        template Stack forces replacement
    Replace host.h[1] (Differs)
        template Stack forces replacement
    Replace host.h[2] (Differs)
        template Stack forces replacement
    Replace task.t (Differs)
        conf Stack forces replacement
    Update template.t (Differs)
        data.user_data Stack
    0: Update template.t after []
    1: Delete host.h[0] after [0]
    2: Create host.h[0] after [0, 1]
    3: Delete host.h[1] after [0, 2]
    4: Create host.h[1] after [0, 3]
    5: Delete host.h[2] after [0, 4]
    6: Create host.h[2] after [0, 5]
    7: Create task.t after [2, 4, 6]
    8: Delete task.t after [7]
    ");
}

#[test]
fn hosts_that_are_not_wanted_go_after_nobody_lists_them() {
    let observed = applied(3, "v1");
    insta::assert_snapshot!(shown_of(&stack(2, "v1"), &observed, &record(&observed)), @r"
    Delete host.h[2] (NotInStack)
    Replace task.t (Differs)
        conf Stack forces replacement
    0: Create task.t after []
    1: Delete task.t after [0]
    2: Delete host.h[2] after [0, 1]
    ");
}

#[test]
fn drift_and_a_changed_stack_have_different_causes() {
    let applied_state = record(&applied(2, "v1"));
    let mut observed = applied(2, "v1");
    observed.remotes.insert(address("group.g"), remote("g-1", json!({"name": "g", "rules": ["a", "c"], "id": "g-1"})));
    observed.remotes.remove(&address("host.h[1]"));
    insta::assert_snapshot!(shown_of(&stack(2, "v1"), &observed, &applied_state), @r#"
    Update group.g (Differs)
        rules Outside { since: "2026-08-01T00:00:00Z" }
    Create host.h[1] (Gone { id: "i-1", applied_at: "2026-08-01T00:00:00Z" })
    Replace task.t (Differs)
        conf Stack forces replacement
    0: Update group.g after []
    1: Create host.h[1] after []
    2: Create task.t after [1]
    3: Delete task.t after [2]
    "#);
}

#[test]
fn an_edited_template_is_healed_without_touching_its_hosts() {
    let mut observed = applied(2, "v1");
    let edited = json!({"name": "t", "data": data("ami-1", "hacked"), "id": "lt-1", "version": 2});
    observed.remotes.insert(address("template.t"), remote("lt-1", edited));
    insta::assert_snapshot!(shown_of(&stack(2, "v1"), &observed, &record(&applied(2, "v1"))), @r#"
    Update template.t (Differs)
        data.user_data Outside { since: "2026-08-01T00:00:00Z" }
    0: Update template.t after []
    "#);
}

#[test]
fn a_newer_image_is_a_note_until_it_is_asked_for() {
    let mut observed = applied(1, "v1");
    observed.lookups.insert(address("image.main"), map(json!({"id": "ami-2"})));
    let recorded = record(&observed);
    insta::assert_snapshot!(shown_of(&stack(1, "v1"), &observed, &recorded), @"note: `template.t` stays with `data.image` ami-1; ami-2 is newer");
    let options = PlanOptions { update_pinned: true, ..PlanOptions::default() };
    let plan = planned(&stack(1, "v1"), &observed, &recorded, &options);
    assert_eq!(plan.pending().count(), 3, "{}", shown(&plan));
}

#[test]
fn a_pin_that_somebody_removed_comes_from_the_cloud_and_never_from_the_state() {
    let recorded = record(&applied(1, "v1"));
    let mut observed = applied(1, "v1");
    observed.lookups.insert(address("image.main"), map(json!({"id": "ami-2"})));
    let edited =
        json!({"name": "t", "data": {"group": "g-1", "image": "ami-1", "user_data": "v1"}, "id": "lt-1", "version": 2});
    observed.remotes.insert(address("template.t"), remote("lt-1", edited));
    let image = |observed: &Observed, recorded: &State| {
        let plan = planned(&stack(1, "v1"), observed, recorded, &PlanOptions::default());
        let change = plan.changes.iter().find(|change| change.address == address("template.t")).unwrap();
        crate::diff::at(change.desired.as_ref().unwrap(), "data.image").cloned()
    };
    for state in [&recorded, &State::empty("test")] {
        assert_eq!(image(&observed, state), Some("ami-2".into()));
    }
    let template = &mut observed.remotes.get_mut(&address("template.t")).unwrap()[0];
    template.earlier = Some(applied(1, "v1").remotes[&address("template.t")][0].attributes.clone());
    for state in [&recorded, &State::empty("test")] {
        assert_eq!(image(&observed, state), Some("ami-1".into()));
    }
}

#[test]
fn everything_goes_in_the_reverse_order() {
    let observed = applied(2, "v1");
    insta::assert_snapshot!(shown_of(&Graph::empty("test"), &observed, &State::empty("test")), @r"
    Delete group.g (NotInStack)
    Delete host.h[0] (NotInStack)
    Delete host.h[1] (NotInStack)
    Delete task.t (NotInStack)
    Delete template.t (NotInStack)
    0: Delete task.t after []
    1: Delete host.h[0] after [0]
    2: Delete host.h[1] after [0]
    3: Delete template.t after [0, 1, 2]
    4: Delete group.g after [0, 1, 2, 3]
    note: there is no state, so only what has the stack's tags is found and deleted
    ");
    let mut known = State::empty("test");
    known.advance();
    let said = shown_of(&Graph::empty("test"), &observed, &known);
    assert!(!said.contains("there is no state"), "{said}");
}

#[test]
fn a_left_over_goes_and_the_current_one_stays() {
    let mut observed = applied(1, "v1");
    let extra = Remote::new("task:0", map(json!({"conf": "old"})));
    observed.remotes.entry(address("task.t")).or_default().push(extra);
    insta::assert_snapshot!(shown_of(&stack(1, "v1"), &observed, &record(&applied(1, "v1"))), @r"
    Delete task.t (LeftOver)
    0: Delete task.t after []
    ");
}

/// What the state alone knows, because it has no tags.
fn untagged(remote: &Remote) -> Remote {
    Remote { is_untagged: true, ..remote.clone() }
}

#[test]
fn what_lost_its_tags_gets_them_back_and_by_an_old_state_nothing_else() {
    let host = address("host.h[0]");
    let mut observed = applied(1, "v1");
    let state = record(&observed);
    let mut lost = untagged(&observed.remotes[&host][0]);
    lost.attributes.insert("tags".to_owned(), Value::Map(Map::new()));
    observed.remotes.insert(host.clone(), vec![lost.clone()]);
    insta::assert_snapshot!(shown_of(&stack(1, "v1"), &observed, &state), @r#"
    Update host.h[0] (Differs)
        tags.team Outside { since: "2026-08-01T00:00:00Z" }
    0: Update host.h[0] after []
    "#);

    // With the state of the last apply it is the stack's like everything else.
    assert!(shown_of(&stack(1, "v2"), &observed, &state).contains("Replace host.h[0] (Differs)"));
    assert!(shown_of(&stack(0, "v1"), &observed, &state).contains("Delete host.h[0] (NotInStack)"));
    let tagged = Remote { id: "i-9".to_owned(), ..applied(1, "v1").remotes[&host][0].clone() };
    let mut doubled = observed.clone();
    doubled.remotes.insert(host.clone(), vec![lost.clone(), tagged.clone()]);
    let shown_doubled = shown_of(&stack(1, "v1"), &doubled, &state);
    assert!(shown_doubled.contains("Delete host.h[0] (LeftOver)"), "{shown_doubled}");

    // Somebody applied since then, and may have given it away. It would be replaced, by what the stack asks for or by what a person asks for.
    let note = "note: `i-0`, which the state has at `host.h[0]`, has no tags of the stack and stays as it is";
    let later = Applied { number: state.applied + 1, at: "2026-08-02T00:00:00Z".to_owned(), by: "ana".to_owned() };
    observed.applied = Some(later);
    let asked = PlanOptions { replace: vec![host.clone()], ..PlanOptions::default() };
    for (data, options) in [("v2", PlanOptions::default()), ("v1", asked)] {
        let shown = shown(&planned(&stack(1, data), &observed, &state, &options));
        assert!(shown.contains("Create host.h[0] (New)") && shown.contains(note), "{shown}");
        assert!(!shown.contains("Delete host") && !shown.contains("Update host"), "{shown}");
    }
    // The stack does not ask for it.
    for graph in [stack(0, "v1"), Graph::empty("test")] {
        let shown = shown_of(&graph, &observed, &state);
        assert!(shown.contains(note) && !shown.contains("Delete host"), "{shown}");
    }
    // Another one has the tags, whatever differs there.
    observed.remotes.insert(host, vec![lost, tagged]);
    let shown = shown_of(&stack(1, "v1"), &observed, &state);
    assert!(shown.contains(note) && !shown.contains("host.h[0] ("), "{shown}");
    let shown = shown_of(&stack(1, "v2"), &observed, &state);
    assert!(
        shown.contains("Replace host.h[0]") && shown.contains(note) && !shown.contains("Delete host.h[0] ("),
        "{shown}"
    );
}

#[test]
fn nothing_that_is_made_waits_for_the_deletion_of_a_left_over() {
    let mut observed = applied(1, "v1");
    let extra = Remote::new("task:0", map(json!({"conf": "old"})));
    observed.remotes.entry(address("task.t")).or_default().push(extra);
    let plan = planned(&stack(1, "v2"), &observed, &record(&applied(1, "v1")), &PlanOptions::default());
    insta::assert_snapshot!(shown(&plan), @r"
    Replace host.h[0] (Differs)
        template Stack forces replacement
    Replace task.t (Differs)
        conf Stack forces replacement
    Delete task.t (LeftOver)
    Update template.t (Differs)
        data.user_data Stack
    0: Update template.t after []
    1: Delete host.h[0] after [0]
    2: Create host.h[0] after [0, 1]
    3: Create task.t after [2]
    4: Delete task.t after [3]
    5: Delete task.t after [3]
    ");
}

#[test]
fn of_several_the_one_that_needs_no_replacement_stays() {
    let mut observed = applied(1, "v1");
    let current = observed.remotes[&address("task.t")][0].clone();
    let old = Remote::new("task:0", map(json!({"conf": "old", "arn": "task:0"})));
    let spent = Remote { is_spent: true, ..Remote::new("task:2", current.attributes.clone()) };
    let mut state = record(&observed);
    // Even where the state knows the other one.
    state.resources.get_mut(&address("task.t")).unwrap().id = "task:0".to_owned();
    observed.remotes.insert(address("task.t"), vec![spent.clone(), old, current]);
    insta::assert_snapshot!(shown_of(&stack(1, "v1"), &observed, &state), @r"
    Delete task.t (LeftOver)
    Delete task.t (LeftOver)
    0: Delete task.t after []
    1: Delete task.t after []
    ");
    observed.remotes.insert(address("task.t"), vec![spent]);
    insta::assert_snapshot!(shown_of(&stack(1, "v1"), &observed, &state), @r#"
    Create task.t (Gone { id: "task:0", applied_at: "2026-08-01T00:00:00Z" })
    Delete task.t (LeftOver)
    0: Create task.t after []
    1: Delete task.t after [0]
    "#);
}

#[test]
fn what_does_as_well_as_what_is_asked_for_stays() {
    let accepts: fn(&Value, &Value) -> bool =
        |desired, observed| desired.as_text() == observed.as_text().map(str::trim);
    let mut book = BOOK;
    let rules: &'static [(&str, Attribute)] =
        Box::leak(Box::new([("name", Attribute::KEPT), ("data.user_data", Attribute::PLAIN.accepting(accepts))]));
    book[1].attributes = rules;
    let book = RuleBook::new(book);
    let mut observed = applied(2, "v1 ");
    observed.remotes.get_mut(&address("template.t")).unwrap()[0].attributes.insert("name".to_owned(), "old".into());
    let plan_of = |user_data| {
        plan(&stack(2, user_data), &observed, &State::empty("test"), &book, &PlanOptions::default()).unwrap()
    };
    assert!(plan_of("v1").is_empty(), "its hosts see what stands, too: {}", shown(&plan_of("v1")));
    assert!(!plan_of("v2").is_empty());
}

#[test]
fn of_several_that_need_no_replacement_the_one_nearest_to_what_is_asked_for_stays() {
    let mut book = BOOK;
    book[1].attributes = const { &[("name", Attribute::KEPT)] };
    let mut observed = applied(1, "v1");
    let own = observed.remotes[&address("template.t")][0].clone();
    let named = |name: &str| {
        let mut attributes = own.attributes.clone();
        attributes.insert("name".to_owned(), name.into());
        attributes
    };
    let kept = Remote::new("lt-0", named("another"));
    let mut edited = Remote::new("lt-2", named("t"));
    edited.attributes.insert("data".to_owned(), Value::from(data("ami-1", "edited")));
    observed.remotes.insert(address("template.t"), vec![edited, kept, own]);
    let (state, options) = (State::empty("test"), PlanOptions::default());
    let plan = plan(&stack(1, "v1"), &observed, &state, &RuleBook::new(book), &options).unwrap();
    let deleted: Vec<&str> = plan.pending().filter_map(|change| Some(change.remote.as_ref()?.id.as_str())).collect();
    assert_eq!(deleted, ["lt-2", "lt-0"], "{}", shown(&plan));
}

#[test]
fn a_replacement_can_be_asked_for() {
    let observed = applied(2, "v1");
    let replace = |at: &str| PlanOptions { replace: vec![address(at)], ..PlanOptions::default() };
    let plan = planned(&stack(2, "v1"), &observed, &record(&observed), &replace("host.h[1]"));
    insta::assert_snapshot!(shown(&plan), @r"
    Replace host.h[1] (Asked)
    Replace task.t (Differs)
        conf Stack forces replacement
    0: Delete host.h[1] after []
    1: Create host.h[1] after [0]
    2: Create task.t after [1]
    3: Delete task.t after [2]
    ");
    let mut gone = observed.clone();
    gone.remotes.remove(&address("host.h[1]"));
    let plan = planned(&stack(2, "v1"), &gone, &State::empty("test"), &replace("host.h[1]"));
    assert!(shown(&plan).starts_with("Create host.h[1] (New)"), "what is gone is made again anyway: {}", shown(&plan));
    let error = plan_error(&stack(2, "v1"), &observed, &replace("host.h[7]"));
    assert_eq!(error, "`host.h[7]` is neither in the stack nor among its resources on AWS");
    let error = plan_error(&stack(1, "v1"), &observed, &replace("host.h[1]"));
    assert_eq!(error, "`host.h[1]` cannot be replaced by its address: the stack does not ask for it any more");
    let error = plan_error(&stack(2, "v1"), &observed, &replace("task.t"));
    assert_eq!(
        error,
        "`task.t` cannot be replaced by its address: its successor comes first, and the two cannot differ in nothing"
    );
}

#[test]
fn what_no_target_selects_is_not_called_unchanged() {
    let observed = applied(1, "v1");
    let options = PlanOptions { targets: vec![address("group.g")], ..PlanOptions::default() };
    let plan = planned(&stack(1, "v2"), &observed, &record(&observed), &options);
    let reasons: Vec<_> = plan.changes.iter().map(|change| (change.address.to_string(), &change.reason)).collect();
    let expected = [
        ("group.g", &Reason::Unchanged),
        ("host.h[0]", &Reason::NotSelected),
        ("task.t", &Reason::NotSelected),
        ("template.t", &Reason::NotSelected),
    ];
    assert_eq!(reasons, expected.map(|(address, reason)| (address.to_owned(), reason)));
    let document = Document::new(&plan, crate::Origin::default(), &RuleBook::new(BOOK));
    let compared = document.compared;
    assert!(compared.partial);
    assert_eq!((compared.summary.unchanged, compared.summary.not_covered), (1, 3));
    let addresses: Vec<String> = compared.changes.iter().map(|change| change.address.to_string()).collect();
    assert_eq!(addresses, ["group.g"], "nothing is said of the others");
}

#[test]
fn a_name_that_somebody_else_has_refuses_the_plan_that_needs_it() {
    let mut observed = Observed::default();
    observed.lookups.insert(address("image.main"), map(json!({"id": "ami-1"})));
    observed.taken.insert(address("task.t"), ProviderError::new("somebody has it", None));
    let error = plan_error(&stack(1, "v1"), &observed, &PlanOptions::default());
    assert_eq!(error, "1 of the names that the stack needs belong to something else");
    let options = PlanOptions { targets: vec![address("host.h")], ..PlanOptions::default() };
    planned(&stack(1, "v1"), &observed, &State::empty("test"), &options);
    planned(&Graph::empty("test"), &observed, &State::empty("test"), &PlanOptions::default());
}

#[test]
fn targets_bring_what_they_need_and_nothing_else() {
    let mut observed = Observed::default();
    observed.lookups.insert(address("image.main"), map(json!({"id": "ami-1"})));
    let options = PlanOptions { targets: vec![address("host.h")], ..PlanOptions::default() };
    let plan = planned(&stack(2, "v1"), &observed, &State::empty("test"), &options);
    let addresses: Vec<String> = plan.pending().map(|change| change.address.to_string()).collect();
    assert_eq!(addresses, ["group.g", "host.h[0]", "host.h[1]", "template.t"]);
    let options = PlanOptions { targets: vec![address("host.x")], ..PlanOptions::default() };
    let error = plan_error(&stack(2, "v1"), &observed, &options);
    assert_eq!(error, "`host.x` is neither in the stack nor among its resources on AWS");
}

#[test]
fn nothing_is_deleted_that_something_not_selected_may_stand_on() {
    let mut observed = applied(1, "v1");
    let old = json!({"name": "old", "rules": ["a", "b"], "id": "g-1"});
    let older = Remote::new("g-0", map(json!({"name": "older", "rules": [], "id": "g-0"})));
    observed.remotes.insert(address("group.g"), [remote("g-1", old), vec![older]].concat());
    let options = |at: &str| PlanOptions { targets: vec![address(at)], ..PlanOptions::default() };
    let state = record(&observed);
    insta::assert_snapshot!(shown(&planned(&stack(1, "v1"), &observed, &state, &options("group.g"))), @r"
    Replace group.g (Differs)
        name Stack forces replacement
    0: Create group.g after []
    note: `g-0` at `group.g` stays for now: what this plan does not cover may still use it
    note: `g-1` at `group.g` stays for now: what this plan does not cover may still use it
    ");
    let plan = planned(&stack(1, "v1"), &observed, &state, &options("task.t"));
    let deleted = plan.steps.iter().filter(|step| step.operation == Operation::Delete);
    let deleted: Vec<_> = deleted.map(|step| plan.changes[step.change].address.to_string()).collect();
    assert_eq!(deleted, ["host.h[0]", "task.t", "group.g", "group.g"], "the task needs them all");
}

#[test]
fn of_a_kind_that_refers_to_itself_the_one_that_is_referred_to_goes_last() {
    let mut book = BOOK;
    book[0].depends_on = &["group"];
    let group = |id: &str, peer: &str| remote(id, json!({"name": id, "rules": [{"peer": peer}], "id": id}));
    let mut observed = Observed::default();
    for (at, id, peer) in [("group.a", "g-a", "g-c"), ("group.b", "g-b", "g-a"), ("group.c", "g-c", "everywhere")] {
        observed.remotes.insert(address(at), group(id, peer));
    }
    let order = |observed: &Observed| {
        let (nothing, state, options) = (Graph::empty("test"), State::empty("test"), PlanOptions::default());
        shown(&plan(&nothing, observed, &state, &RuleBook::new(book), &options).unwrap())
    };
    insta::assert_snapshot!(order(&observed), @r"
    Delete group.a (NotInStack)
    Delete group.b (NotInStack)
    Delete group.c (NotInStack)
    0: Delete group.b after []
    1: Delete group.a after [0]
    2: Delete group.c after [1]
    note: there is no state, so only what has the stack's tags is found and deleted
    ");
    observed.remotes.insert(address("group.c"), group("g-c", "g-b"));
    assert!(order(&observed).contains("2: Delete group.c after []"), "{}", order(&observed));
}

#[test]
fn a_digest_is_that_of_the_json_with_all_names_in_the_order_of_the_alphabet() {
    use sha2::{Digest as _, Sha256};
    let graph = stack(12, "v1");
    let json = |graph: &Graph| serde_json::Value::from(Value::from_serialize(graph).unwrap()).to_string();
    let expected = crate::hex(&Sha256::digest(json(&graph)));
    assert_eq!(graph.digest(&RuleBook::default()), expected);
    let book = RuleBook::new(BOOK);
    assert_ne!(graph.digest(&book), expected, "what only a create needs is left out");
    let mut resources: Vec<Resource> = graph.resources().values().cloned().collect();
    resources.iter_mut().filter(|it| it.kind().as_str() == "host").for_each(|it| drop(it.attributes.remove("version")));
    let without = Graph::new("test", resources, graph.lookups().values().cloned()).unwrap();
    assert_eq!(graph.digest(&book), crate::hex(&Sha256::digest(json(&without))));
}

fn plan_error(desired: &Graph, observed: &Observed, options: &PlanOptions) -> String {
    match plan(desired, observed, &State::empty("test"), &RuleBook::new(BOOK), options) {
        Ok(plan) => panic!("planned: {}", shown(&plan)),
        Err(error) => error.to_string(),
    }
}

#[test]
fn hosts_on_something_that_must_go_first_all_go_first() {
    let mut observed = applied(2, "v1");
    let renamed = json!({"name": "other", "data": data("ami-1", "v2"), "id": "lt-1", "version": 1});
    observed.remotes.insert(address("template.t"), remote("lt-1", renamed));
    let plan = planned(&stack(2, "v2"), &observed, &record(&observed), &PlanOptions::default());
    insta::assert_snapshot!(shown(&plan), @r"
    Replace host.h[0] (Differs)
        template Stack forces replacement
    Replace host.h[1] (Differs)
        template Stack forces replacement
    Replace task.t (Differs)
        conf Stack forces replacement
    Replace template.t (Differs)
        name Stack forces replacement
    0: Delete host.h[0] after []
    1: Delete host.h[1] after []
    2: Delete template.t after [0, 1]
    3: Create template.t after [2]
    4: Create host.h[0] after [0, 3]
    5: Create host.h[1] after [1, 3]
    6: Create task.t after [4, 5]
    7: Delete task.t after [6]
    ");
}

#[test]
fn cycles_are_named() {
    let resources = [
        resource("group.a", json!({"name": {"$reference": "group.b#id"}})),
        resource("group.b", json!({"name": {"$reference": "group.c#id"}})),
        resource("group.c", json!({"name": {"$reference": "group.a#id"}})),
    ];
    let error = Graph::new("test", resources, []).map(|_| ()).unwrap_err();
    assert_eq!(error.to_string(), "`group.a` → `group.b` → `group.c` → `group.a` wait for each other");
    let error = Graph::new("test", [resource("group.a", json!({"name": {"$reference": "group.z#id"}}))], []);
    assert_eq!(error.unwrap_err().to_string(), "`group.a` needs `group.z`, which is not in the stack");
}

#[test]
fn the_document_hides_what_is_sensitive() {
    let rules = Rules { attributes: &[("password", Attribute::SENSITIVE)], ..BOOK[0] };
    let book = RuleBook::new([rules]);
    let graph = |password: &str| {
        Graph::new("test", [resource("group.g", json!({"password": password}))], [])
            .unwrap_or_else(|error| panic!("{error}"))
    };
    let observed = Observed {
        remotes: [(address("group.g"), remote("g-1", json!({"password": "old secret"})))].into(),
        ..Observed::default()
    };
    for observed in [observed, Observed::default()] {
        let plan = plan(&graph("new secret"), &observed, &State::empty("test"), &book, &PlanOptions::default())
            .unwrap_or_else(|error| panic!("{error}"));
        let text = serde_json::to_string(&crate::Document::new(&plan, crate::Origin::default(), &book)).unwrap();
        assert!(text.contains("sha256:") && !text.contains("secret\""), "{text}");
        assert!(!text.contains("new secret") && !text.contains("old secret"), "{text}");
    }
}

#[test]
fn the_document_holds_json_as_json_and_names_what_it_speaks_of() {
    let rules = Rules { attributes: &[("policy", Attribute::JSON)], ..BOOK[0] };
    let book = RuleBook::new([rules]);
    let graph = |policy: &str| {
        let group = resource("group.g", json!({"name": "load", "policy": policy}));
        Graph::new("test", [group], []).unwrap_or_else(|error| panic!("{error}"))
    };
    let written = |desired: &str, observed: &Observed| {
        let plan = plan(&graph(desired), observed, &State::empty("test"), &book, &PlanOptions::default());
        let document = Document::new(&plan.unwrap_or_else(|error| panic!("{error}")), crate::Origin::default(), &book);
        serde_json::to_value(&document.compared.changes[0]).unwrap()
    };
    let new = written(r#"{"b": 1, "a": 2}"#, &Observed::default());
    assert_eq!(new["desired"]["policy"].to_string(), r#"{"$json":{"b":1,"a":2}}"#);
    assert_eq!(new["name"], "load");
    let observed = Observed {
        remotes: [(address("group.g"), remote("sg-1", json!({"name": "load", "policy": r#"{"a": 1}"#})))].into(),
        ..Observed::default()
    };
    let changed = written(r#"{"a": 2}"#, &observed);
    assert_eq!((&changed["id"], &changed["name"]), (&json!("sg-1"), &json!("load")));
    let sides = |change: &serde_json::Value| {
        (change["differences"][0]["before"].clone(), change["differences"][0]["after"].clone())
    };
    assert_eq!(sides(&changed), (json!({"$json": {"a": 1}}), json!({"$json": {"a": 2}})));
    assert_eq!(sides(&written("no JSON", &observed)), (json!(r#"{"a": 1}"#), json!("no JSON")), "both as text");
}
