//! The plan: every change that leads from what was observed to what is desired, with its reasons, and the steps in which
//! apply executes it. A pure function: same input, same plan.

mod exclusion;
mod handover;
mod import;
mod planner;
mod protection;
mod steps;

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::planner::Planner;
pub use self::protection::{Protected, ProtectedBy, Protection};
pub use self::{
    handover::{Marks, forgetting},
    import::{NoImport, importing},
};
use crate::{
    Address, Applied, Difference, Graph, KindName, Map, Move, Observed, OtherHome, ProviderError, Remote, Replacement,
    Resource, RuleBook, State, home,
};

/// What apply does at one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Nothing: the resource stays as it is.
    None,
    /// Creates the resource.
    Create,
    /// Changes the resource in place.
    Update,
    /// Deletes the resource and creates another one, in the order that its kind asks for.
    Replace,
    /// Deletes the resource.
    Delete,
}

/// Why a change is planned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Reason {
    /// The resource is as the stack asks.
    Unchanged,
    /// No target selects the resource: it was not compared with what the stack asks for.
    NotSelected,
    /// The resource is new in the stack.
    New,
    /// The resource was applied and does not exist any more: somebody deleted it.
    Gone {
        /// The id that the cloud gave it.
        id: String,
        /// When it was last applied, in RFC 3339.
        applied_at: String,
    },
    /// The resource differs from what the stack asks for.
    Differs,
    /// The replacement of the resource was requested by its address.
    Asked,
    /// The stack does not ask for the resource any more.
    NotInStack,
    /// What the resource belongs to has another name now, and a resource of that name takes its place.
    Moved {
        /// The address of that one.
        to: Address,
    },
    /// The stack gives the resource away: it loses the stack's tags and stays as it is.
    Forgotten,
    /// Another resource at the same address stays: this one is left from a replacement that was interrupted, or is
    /// somebody's copy.
    LeftOver,
}

/// Why an attribute differs from what the stack asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Cause {
    /// The stack changed since the last apply.
    Stack,
    /// Somebody changed the resource outside of this tool since the last apply.
    Outside {
        /// When the resource was last applied, in RFC 3339.
        since: String,
    },
    /// Unknown: the state does not have this resource.
    Unrecorded,
    /// Only this plan asks for it: an earlier phase made it what it is, or a later one will make it something else.
    Phase,
}

/// The change of one resource, in one phase.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The address of the resource.
    pub address: Address,
    /// The phase of the plan, counted from 1.
    pub phase: usize,
    /// What apply does.
    pub action: Action,
    /// Why apply does it.
    pub reason: Reason,
    /// The attributes that differ, each with the cause.
    pub differences: Vec<(Difference, Cause)>,
    /// All attributes after the change: known references are resolved, pinned attributes keep their values. `None` for a
    /// delete.
    pub desired: Option<Map>,
    /// The resource before the change. `None` where there is none yet, or where an earlier phase creates it.
    pub remote: Option<Remote>,
    /// The index in [`Plan::changes`] of the change of an earlier phase whose result this one changes.
    pub follows: Option<usize>,
}

/// What apply does in one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// Calls the provider's create.
    Create,
    /// Calls the provider's update.
    Update,
    /// Calls the provider's delete.
    Delete,
}

/// One call of apply to the provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The index in [`Plan::changes`] of the change it belongs to.
    pub change: usize,
    /// Which call of the provider it is.
    pub operation: Operation,
    /// The indices in [`Plan::steps`] of the steps that must have succeeded before.
    pub after: Vec<usize>,
}

/// Information for a person. It changes nothing that apply does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Note {
    /// A stable name of its sort: `plan::pinned`, `blueprint::no_route`.
    pub code: String,
    /// One sentence.
    pub message: String,
    /// What the person can do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
}

impl Note {
    /// The code of the note that something has no tags of the stack and is left alone.
    pub const UNTAGGED: &str = "plan::untagged";
}

/// All changes of a stack, and the steps that execute them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The stack's name.
    pub stack: String,
    /// [`Graph::digest`] of what the stack asks for.
    pub digest: String,
    /// Lineage and serial of the state it was made with.
    pub state: (String, u64),
    /// How many phases it has.
    pub phases: usize,
    /// One change per address and phase, in the order of addresses and then of phases; a left-over comes behind the one
    /// that stays.
    pub changes: Vec<Change>,
    /// What apply does, each step behind those it waits for.
    pub steps: Vec<Step>,
    /// What a person should know beside the changes.
    pub notes: Vec<Note>,
    /// Who applied the stack last, as the cloud says it.
    pub applied: Option<Applied>,
    /// The resources of other homes that apply would take over.
    pub other_homes: Vec<OtherHome>,
    /// Whether it covers the whole stack, and not only targets.
    pub is_whole: bool,
    /// How many addresses no target covers.
    pub not_covered: usize,
}

/// What to plan for, and how.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PlanOptions {
    /// Only these addresses (`instance.heavy` means all of its hosts) and what they need; everything if empty.
    pub targets: Vec<Address>,
    /// These addresses stay as they are (`instance.heavy` means all of its hosts), and so does what cannot be made without them.
    pub exclude: Vec<Address>,
    /// Take the newest value of pinned attributes.
    pub update_pinned: bool,
    /// Addresses that are replaced although nothing of them differs (`instance.heavy` means all of its hosts).
    pub replace: Vec<Address>,
    /// What has another name now. What the cloud can rename is in the observation at its new address.
    pub moves: Vec<Move>,
    /// What must neither be deleted nor replaced.
    pub protection: Protection,
    /// The stack's home. Without one, the plan does not look for resources of other homes.
    pub home: Option<String>,
}

/// Why no plan can be made.
#[derive(Debug, Clone, thiserror::Error)]
pub enum PlanError {
    /// Lookups found nothing.
    #[error("{} of what the stack looks up was not found", .0.len())]
    Missing(BTreeMap<Address, ProviderError>),
    /// Resources of somebody else have names that the stack needs.
    #[error("{} of the names that the stack needs belong to something else", .0.len())]
    Taken(BTreeMap<Address, ProviderError>),
    /// The rule book does not have this kind.
    #[error("there are no rules for `{0}`")]
    UnknownKind(KindName),
    /// A target is neither in the stack nor in the cloud.
    #[error("`{0}` is neither in the stack nor among its resources on AWS")]
    UnknownTarget(Address),
    /// A resource that [`PlanOptions::replace`] names cannot be replaced.
    #[error("`{address}` cannot be replaced by its address: {reason}")]
    CannotReplace {
        /// The resource.
        address: Address,
        /// Why it cannot be.
        reason: String,
    },
    /// Protected resources would be deleted or replaced.
    #[error("{}", protected(.0))]
    Protected(Vec<Protected>),
    /// All that a target or a replacement names is excluded too.
    #[error("`{0}` is asked for and excluded at the same time")]
    Excluded(Address),
    /// What is to be forgotten is still in the stack.
    #[error("the stack still asks for `{0}`, so it cannot be forgotten")]
    StillAsked(Address),
    /// The address for an import is not in the stack.
    #[error("the stack does not ask for `{address}`, so nothing can be imported there")]
    NotAsked {
        /// The address.
        address: Address,
        /// One that the stack asks for, where the address means several.
        one: Option<Address>,
    },
    /// A resource cannot become the one at an address.
    #[error("`{id}` cannot become `{address}`: {reason}")]
    CannotImport {
        /// The address.
        address: Address,
        /// The id of the resource.
        id: String,
        /// Why it cannot.
        reason: NoImport,
    },
    /// The changes of these addresses wait for each other.
    #[error("the changes of {} wait for each other", .0.iter().map(|address| format!("`{address}`")).collect::<Vec<_>>().join(", "))]
    Cycle(Vec<Address>),
}

impl Plan {
    /// Whether nothing is to be done.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// The changes that do something.
    pub fn pending(&self) -> impl Iterator<Item = &Change> {
        self.changes.iter().filter(|change| change.action != Action::None)
    }
}

fn protected(refused: &[Protected]) -> String {
    refused.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// Plans the way from what was observed to what is desired. `recorded` only explains: the actions, their differences and
/// their order are the same with every state.
///
/// Phases are left out where nothing that they list is to change, so that the plan of what was applied is empty.
///
/// # Errors
/// When a lookup found nothing, a name belongs to somebody else, a target is nowhere, what is to be replaced cannot be, or
/// changes wait for each other.
pub fn plan(
    desired: &Graph,
    observed: &Observed,
    recorded: &State,
    rules: &RuleBook,
    options: &PlanOptions,
) -> Result<Plan, PlanError> {
    if !observed.missing.is_empty() {
        return Err(PlanError::Missing(observed.missing.clone()));
    }
    let observed = &*with_recorded(observed, recorded);
    if !desired.phases().is_empty() {
        let whole = plan(&desired.without_phases(), observed, recorded, rules, options)?;
        let is_listed = |address| desired.phases().iter().any(|phase| phase.contains_key(address));
        if !whole.pending().any(|change| change.desired.is_some() && is_listed(&change.address)) {
            return Ok(whole);
        }
    }
    let selected = selection(desired, observed, options)?;
    let taken = observed.taken.iter().filter(|(address, _)| {
        desired.resources().contains_key(*address)
            && selected.as_ref().is_none_or(|selected| selected.contains(*address))
    });
    let taken: BTreeMap<_, _> = taken.map(|(address, error)| (address.clone(), error.clone())).collect();
    if !taken.is_empty() {
        return Err(PlanError::Taken(taken));
    }
    let asked = asked(desired, observed, rules, &options.replace)?;
    let planner = Planner {
        desired,
        observed,
        recorded,
        rules,
        options,
        asked,
        selected: selected.as_ref(),
        phase: 0,
        changes: BTreeMap::new(),
        notes: Vec::new(),
    };
    let (mut changes, found) = planner.run()?;
    let later = observed.applied.as_ref().and_then(|applied| applied.note(recorded));
    let mut notes: Vec<Note> = later.into_iter().chain(observed.notes.iter().cloned()).chain(found).collect();
    let held = selected.as_ref().map(|selected| held(observed, selected, rules)).unwrap_or_default();
    for (address, remotes) in &observed.remotes {
        if rules.get(&address.kind).is_none() {
            return Err(PlanError::UnknownKind(address.kind.clone()));
        }
        if selected.as_ref().is_some_and(|selected| !selected.contains(address)) {
            continue;
        }
        let reason = reason_to_delete(desired, options, address);
        let current = changes.get(address).and_then(|changes| changes.first()?.remote.as_ref()).map(|it| it.id.clone());
        for remote in remotes.iter().filter(|remote| current.as_ref() != Some(&remote.id)) {
            if remote.is_untagged {
                notes.push(untagged_note(address, &remote.id));
                continue;
            }
            if held.contains(address.kind.as_str()) {
                notes.push(held_note(address, &remote.id));
                continue;
            }
            changes.entry(address.clone()).or_default().push(Change {
                address: address.clone(),
                phase: steps::last_phase(desired),
                action: Action::Delete,
                reason: reason.clone(),
                differences: Vec::new(),
                desired: None,
                remote: Some(remote.clone()),
                follows: None,
            });
        }
    }
    let mut changes: Vec<Change> = changes.into_values().flatten().collect();
    // What an earlier phase creates has no observed resource.
    let follows =
        |change: &Change| change.remote.is_none() && matches!(change.action, Action::Update | Action::Replace);
    for (index, change) in changes.iter_mut().enumerate().filter(|(_, change)| follows(change)) {
        change.follows = index.checked_sub(1);
    }
    notes.extend(unseen(desired, &changes, observed, recorded));
    let stays = |change: &&Change| change.is_create_first(rules) && held.contains(change.address.kind.as_str());
    let staying = changes.iter().filter(stays);
    notes.extend(staying.filter_map(|change| Some(held_note(&change.address, &change.remote.as_ref()?.id))));
    let refused = protection::refused(desired, &changes, rules, &options.protection);
    if !refused.is_empty() {
        return Err(PlanError::Protected(refused));
    }
    let steps = steps::steps(desired, &changes, rules, &held)?;
    let phases = number_phases(&mut changes);
    notes.extend(exclusion::remarks(desired, observed, recorded, rules, options, &changes));
    Ok(Plan {
        stack: desired.stack().to_owned(),
        digest: desired.digest(rules),
        state: (recorded.lineage.clone(), recorded.serial),
        phases,
        changes,
        steps,
        notes,
        applied: observed.applied.clone(),
        other_homes: options
            .home
            .as_deref()
            .map_or_else(Vec::new, |home| home::others(observed, recorded, rules, home)),
        is_whole: selected.is_none(),
        not_covered: selected.as_ref().map_or(0, |selected| not_covered(desired, observed, selected)),
    })
}

/// What the state alone knows is the stack's like everything else, unless somebody applied after what the state knows: it may
/// have been given away since.
fn with_recorded<'a>(observed: &'a Observed, recorded: &State) -> Cow<'a, Observed> {
    let mut all = observed.remotes.values().flatten();
    if !all.any(|remote| remote.is_untagged) || observed.applied.as_ref().is_some_and(|it| it.is_after(recorded)) {
        return Cow::Borrowed(observed);
    }
    let mut observed = observed.clone();
    observed.remotes.values_mut().flatten().for_each(|remote| remote.is_untagged = false);
    Cow::Owned(observed)
}

/// Why an observed resource that is not the current one of its address goes.
fn reason_to_delete(desired: &Graph, options: &PlanOptions, address: &Address) -> Reason {
    if desired.resources().contains_key(address) {
        return Reason::LeftOver;
    }
    // What keeps its id and is not at its new address cannot be moved there: nothing takes its place.
    let moved = options.moves.iter().filter(|made| made.is_remade).find_map(|made| made.target(address));
    moved.map_or(Reason::NotInStack, |to| Reason::Moved { to })
}

/// The addresses that targets select, with everything they need, without what is excluded; nothing means all.
///
/// # Errors
/// When a target or what is excluded is neither in the stack nor in the cloud, or when all of a target is excluded.
pub fn selection(
    desired: &Graph,
    observed: &Observed,
    options: &PlanOptions,
) -> Result<Option<BTreeSet<Address>>, PlanError> {
    let excluded = exclusion::excluded(desired, observed, options)?;
    let targeted = targeted(desired, observed, &options.targets)?;
    if excluded.is_empty() {
        return Ok(targeted);
    }
    let all = || desired.resources().keys().chain(observed.remotes.keys()).cloned().collect();
    let selected = targeted.unwrap_or_else(all);
    Ok(Some(selected.into_iter().filter(|address| !excluded.contains(address)).collect()))
}

fn targeted(desired: &Graph, observed: &Observed, targets: &[Address]) -> Result<Option<BTreeSet<Address>>, PlanError> {
    if targets.is_empty() {
        return Ok(None);
    }
    let mut selected = BTreeSet::new();
    let mut queue: Vec<&Address> = Vec::new();
    for target in targets {
        let before = queue.len();
        queue.extend(desired.resources().keys().chain(observed.remotes.keys()).filter(|it| is_meant(it, target)));
        if queue.len() == before {
            return Err(PlanError::UnknownTarget(target.clone()));
        }
    }
    while let Some(address) = queue.pop() {
        if selected.insert(address.clone())
            && let Some(resource) = desired.resources().get(address)
        {
            queue.extend(resource.dependencies().into_iter().filter(|need| desired.resources().contains_key(*need)));
        }
    }
    Ok(Some(selected))
}

/// The kinds of which nothing is deleted, because a resource that no target selects may use it.
fn held(observed: &Observed, selected: &BTreeSet<Address>, rules: &RuleBook) -> BTreeSet<&'static str> {
    let others = observed.remotes.keys().filter(|address| !selected.contains(*address));
    others.filter_map(|address| rules.get(&address.kind)).flat_map(|rules| rules.depends_on).copied().collect()
}

/// Without a state, what lost its tags is not found: this says why a plan makes something that may exist, or leaves it.
fn unseen(desired: &Graph, changes: &[Change], observed: &Observed, recorded: &State) -> Option<Note> {
    if !recorded.lineage.is_empty() || observed.remotes.is_empty() {
        return None;
    }
    if desired.resources().is_empty() {
        return Some(Note {
            code: "plan::no_state".to_owned(),
            message: "there is no state, so only what has the stack's tags is found and deleted".to_owned(),
            help: Some("if resources lost their tags, restore the state, or delete them yourself".to_owned()),
        });
    }
    let mut created = changes.iter().filter(|change| change.action == Action::Create && change.reason == Reason::New);
    let first = &created.next()?.address;
    let others = match created.count() {
        0 => String::new(),
        1 => " and 1 other resource".to_owned(),
        others => format!(" and {others} other resources"),
    };
    Some(Note {
        code: "plan::no_state".to_owned(),
        message: format!("`{first}`{others} will be created: nothing has the tags, and no state knows what lost them"),
        help: Some(
            "if it exists, put back all of its tags that begin with `trunnion:`, or restore the state".to_owned(),
        ),
    })
}

fn untagged_note(address: &Address, id: &str) -> Note {
    Note {
        code: Note::UNTAGGED.to_owned(),
        message: format!("`{id}`, which the state has at `{address}`, has no tags of the stack and stays as it is"),
        help: Some(
            "if it belongs to the stack, put back all of its tags that begin with `trunnion:`; otherwise it is \
             somebody else's now"
                .to_owned(),
        ),
    }
}

fn held_note(address: &Address, id: &str) -> Note {
    Note {
        code: "plan::held".to_owned(),
        message: format!("`{id}` at `{address}` stays for now: what this plan does not cover may still use it"),
        help: Some("apply the whole stack to delete it".to_owned()),
    }
}

/// Whether a target means an address: `instance.heavy` means all hosts of the pool.
fn is_meant(address: &Address, target: &Address) -> bool {
    address == target || (target.index.is_none() && address.kind == target.kind && address.name == target.name)
}

/// The addresses whose replacement was asked for: each is in the stack, and can go before its successor comes.
fn asked(
    desired: &Graph,
    observed: &Observed,
    rules: &RuleBook,
    targets: &[Address],
) -> Result<BTreeSet<Address>, PlanError> {
    let mut asked = BTreeSet::new();
    for target in targets {
        let found: Vec<&Address> = desired.resources().keys().filter(|address| is_meant(address, target)).collect();
        if found.is_empty() {
            let stands = observed.remotes.keys().find(|address| is_meant(address, target)).cloned();
            let reason = "the stack does not ask for it any more".to_owned();
            return Err(stands.map_or_else(
                || PlanError::UnknownTarget(target.clone()),
                |address| PlanError::CannotReplace { address, reason },
            ));
        }
        // What is gone is made again anyway.
        for address in found.into_iter().filter(|address| observed.remotes.contains_key(*address)) {
            let refused = |reason: String| PlanError::CannotReplace { address: address.clone(), reason };
            if rules.get(&address.kind).is_some_and(|rules| rules.replacement == Replacement::CreateFirst) {
                let reason = "its successor comes first, and the two cannot differ in nothing";
                return Err(refused(reason.to_owned()));
            }
            let needs_it = |other: &&Address| {
                let dependencies = desired.resources().get(*other).map(Resource::dependencies).unwrap_or_default();
                rules.blocks(&other.kind, &address.kind) && dependencies.contains(address)
            };
            if let Some(other) = observed.remotes.keys().find(needs_it) {
                return Err(refused(format!("`{other}` uses it")));
            }
            asked.insert(address.clone());
        }
    }
    Ok(asked)
}

/// How many addresses are neither selected nor needed by what is.
fn not_covered(desired: &Graph, observed: &Observed, selected: &BTreeSet<Address>) -> usize {
    let all: BTreeSet<&Address> = desired.resources().keys().chain(observed.remotes.keys()).collect();
    all.into_iter().filter(|address| !selected.contains(*address)).count()
}

/// Numbers the phases in which something happens from 1, and returns how many there are; a plan has one at least.
fn number_phases(changes: &mut [Change]) -> usize {
    let happening = changes.iter().filter(|change| change.action != Action::None);
    let numbers: BTreeSet<usize> = happening.map(|change| change.phase).collect();
    let numbers: BTreeMap<usize, usize> = numbers.into_iter().zip(1..).collect();
    let count = numbers.len().max(1);
    for change in changes {
        change.phase = numbers.get(&change.phase).copied().unwrap_or(count);
    }
    count
}

impl Change {
    /// Whether the new one is made before the old one goes.
    pub(crate) fn is_create_first(&self, rules: &RuleBook) -> bool {
        self.action == Action::Replace
            && rules.get(&self.address.kind).is_some_and(|rules| rules.replacement == Replacement::CreateFirst)
    }
}

#[cfg(test)]
mod tests;
