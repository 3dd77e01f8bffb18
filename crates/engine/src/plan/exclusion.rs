//! What a plan leaves alone because a person excluded it, and what follows from that for the rest.

use std::collections::{BTreeMap, BTreeSet};

use super::{Action, Change, Note, PlanError, PlanOptions, Protection, is_meant, plan};
use crate::{Address, Graph, Observed, Resource, RuleBook, State};

/// The addresses that stay as they are: those that are named, and those that need one of them that does not exist.
pub(super) fn excluded(
    desired: &Graph,
    observed: &Observed,
    options: &PlanOptions,
) -> Result<BTreeSet<Address>, PlanError> {
    let all = || desired.resources().keys().chain(observed.remotes.keys());
    let mut excluded = BTreeSet::new();
    for named in &options.exclude {
        let before = excluded.len();
        excluded.extend(all().filter(|address| is_meant(address, named)).cloned());
        if excluded.len() == before && !all().any(|address| is_meant(address, named)) {
            return Err(PlanError::UnknownTarget(named.clone()));
        }
    }
    for asked in options.targets.iter().chain(&options.replace) {
        let mut meant = all().filter(|address| is_meant(address, asked)).peekable();
        if meant.peek().is_some() && meant.all(|address| excluded.contains(address)) {
            return Err(PlanError::Excluded(asked.clone()));
        }
    }
    if excluded.is_empty() {
        return Ok(excluded);
    }
    let is_there =
        |address: &Address| observed.remotes.get(address).is_some_and(|remotes| remotes.iter().any(|it| !it.is_spent));
    for address in desired.in_order() {
        let needs = desired.resources().get(address).map(Resource::dependencies).unwrap_or_default();
        if needs.into_iter().any(|need| excluded.contains(need) && !is_there(need)) {
            excluded.insert(address.clone());
        }
    }
    Ok(excluded)
}

/// What the exclusion leaves out: the same plan is made without it, and compared.
pub(super) fn remarks(
    desired: &Graph,
    observed: &Observed,
    recorded: &State,
    rules: &RuleBook,
    options: &PlanOptions,
    changes: &[Change],
) -> Vec<Note> {
    if options.exclude.is_empty() {
        return Vec::new();
    }
    let whole = PlanOptions { exclude: Vec::new(), protection: Protection::default(), ..options.clone() };
    // Without the exclusion there may be no plan, such as where the name of what is excluded is taken.
    let whole = plan(desired, observed, recorded, rules, &whole);
    whole.map_or_else(|_| Vec::new(), |whole| notes(desired, changes, &whole.changes, &options.exclude))
}

/// What is left out, and what else would happen without the exclusion: `whole` has the changes of the same plan without it.
fn notes(desired: &Graph, planned: &[Change], whole: &[Change], named: &[Address]) -> Vec<Note> {
    let (planned, whole) = (pending(planned), pending(whole));
    let (mut left_out, mut others) = (BTreeMap::new(), BTreeMap::new());
    for (address, change) in &whole {
        if planned.get(address).is_some_and(|same| is_same(same, change)) {
            continue;
        }
        let group = (&address.kind, &address.name, word(change.action));
        if named.iter().any(|named| is_meant(address, named)) {
            left_out.entry(group).or_insert_with(Vec::new).push(*address);
        } else {
            others.entry(group).or_insert_with(Vec::new).push(*address);
        }
    }
    let causes: BTreeSet<&Address> = left_out.values().flatten().copied().collect();
    let mut notes: Vec<Note> =
        left_out.iter().map(|((.., word), addresses)| note(&format!("{} would be {word}", list(addresses)))).collect();
    for ((.., word), addresses) in &others {
        let needed = addresses.iter().flat_map(|address| needed_by(desired, address));
        let needed: BTreeSet<&Address> = needed.filter(|need| causes.contains(*need)).collect();
        let needed: Vec<&Address> = needed.into_iter().collect();
        let because = match needed.as_slice() {
            [] => String::new(),
            needed => format!(", because of {}", list(needed)),
        };
        let otherwise =
            if addresses.iter().any(|address| planned.contains_key(address)) { " to other values" } else { "" };
        notes.push(note(&format!("{} would be {word}{otherwise}{because}", list(addresses))));
    }
    notes
}

fn note(what: &str) -> Note {
    Note {
        code: "plan::excluded".to_owned(),
        message: format!("without `--exclude`, {what}"),
        help: Some("plan again without `--exclude` to see and to make that change".to_owned()),
    }
}

/// The changes that do something; of several at one address, the last one.
fn pending(changes: &[Change]) -> BTreeMap<&Address, &Change> {
    let pending = changes.iter().filter(|change| change.action != Action::None);
    pending.map(|change| (&change.address, change)).collect()
}

/// Whether two changes do the same to the same attributes.
fn is_same(one: &Change, other: &Change) -> bool {
    one.action == other.action && one.differences == other.differences && one.desired == other.desired
}

/// Everything that an address needs, directly or through others.
pub(super) fn needed_by<'a>(desired: &'a Graph, address: &Address) -> BTreeSet<&'a Address> {
    let needs = |address: &Address| desired.resources().get(address).map(Resource::dependencies).unwrap_or_default();
    let mut found = BTreeSet::new();
    let mut queue: Vec<&Address> = needs(address).into_iter().collect();
    while let Some(need) = queue.pop() {
        if found.insert(need) {
            queue.extend(needs(need));
        }
    }
    found
}

fn word(action: Action) -> &'static str {
    match action {
        Action::None => "left as it is",
        Action::Create => "created",
        Action::Update => "changed",
        Action::Replace => "replaced",
        Action::Delete => "deleted",
    }
}

/// How many addresses a note names.
const NAMED: usize = 3;

fn list(addresses: &[&Address]) -> String {
    let named: Vec<String> = addresses.iter().take(NAMED).map(|address| format!("`{address}`")).collect();
    match addresses.len().saturating_sub(NAMED) {
        0 => named.join(", "),
        more => format!("{} and {more} more", named.join(", ")),
    }
}
