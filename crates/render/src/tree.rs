//! The visible content of a plan. A section has entries, one for each change or group of equal changes. An entry has rows
//! of attributes, and a row may have several lines.
//!
//! This module groups, folds and escapes, and chooses the words. A writer only adds layout and the markup of its format.
//! No text contains terminal control characters, but a writer must still escape what is special in its own format.

use std::collections::BTreeSet;

use trunnion_engine::{Action, Applied, Document, Note, OtherHome, Summary as Counts, Value, preview::TextDifference};

use crate::{
    entry,
    estimate::Estimated,
    group::{self, addresses},
    lines,
    value::safe,
};

/// The visible content of a plan, from top to bottom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    /// Which stack it is, and where and by whom the plan would be applied.
    pub head: Head,
    /// Warnings about the whole plan.
    pub warnings: Vec<Remark>,
    /// The changes, by action.
    pub sections: Vec<Section>,
    /// The notes, after the changes.
    pub notes: Vec<Remark>,
    /// What it costs and holds; nothing where it is not known, or nothing changes: the summary says it then.
    pub estimate: Option<Estimated>,
    /// What would happen, in one line.
    pub summary: Summary,
}

/// Which stack it is, and where and by whom the plan would be applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The stack's name.
    pub stack: String,
    /// The environment, the place and the identity, as far as they are known.
    pub about: Vec<String>,
    /// Who applied the stack last; nothing where nobody did, or where it is not known.
    pub applied: Option<String>,
}

/// A sentence beside the changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remark {
    /// The sentence.
    pub message: String,
    /// A detail after the sentence.
    pub detail: Option<Detail>,
}

/// The detail of a [`Remark`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Detail {
    /// What to do next.
    Help(String),
    /// The addresses that the sentence is about.
    Addresses(String),
}

/// All changes of one action, and in a plan of several phases of one phase.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    /// Which phase it is of how many; nothing in a plan of one.
    pub phase: Option<(usize, usize)>,
    /// What happens.
    pub action: Action,
    /// The changes, sorted by address.
    pub entries: Vec<Entry>,
}

/// One change, or several equal ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What happens.
    pub action: Action,
    /// `instance.heavy[0…3]`
    pub addresses: String,
    /// The number of changes in it.
    pub count: usize,
    /// The IDs or names of the resources; empty if they have none yet.
    pub identity: Folded,
    /// The reason, unless it is obvious.
    pub reason: Option<String>,
    /// Its attributes.
    pub rows: Vec<Row>,
}

/// A shortened list of names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Folded {
    /// The names that are shown.
    pub shown: Vec<String>,
    /// The number of further names.
    pub more: usize,
}

/// One attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Its path.
    pub path: String,
    /// A remark on the attribute.
    pub marks: Vec<Mark>,
    /// Its value or change.
    pub content: Content,
}

/// A remark on an attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mark {
    /// The attribute is the reason to replace the resource.
    ForcesReplacement,
    /// The attribute was changed outside of trunnion since this time.
    ChangedOutside(String),
    /// The two texts differ only in spaces, tabs and line ends.
    WhitespaceOnly,
}

/// The value or the change of an attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// A change of a sensitive attribute, without its values.
    Sensitive,
    /// The value of a new attribute.
    Value(String),
    /// A change on one line.
    Change {
        /// The old value.
        before: String,
        /// The new value.
        after: String,
    },
    /// A value or change over several lines.
    Lines(Vec<Line>),
    /// The number of parts that are not shown.
    NotShown(usize),
    /// A new text with this number of lines.
    LineCount(usize),
}

/// One of several lines of an attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    /// An unchanged line.
    Same(String),
    /// A removed line.
    Gone(String),
    /// An added line.
    Come(String),
    /// A line of a new value.
    New(String),
    /// An element of a new list.
    Element(String),
    /// The number of unchanged lines or list elements that are not shown.
    Unchanged(usize, Part),
    /// The line above is the last of its text and has no line end, but the other text ends with one.
    NoLineEnd,
}

/// The unit of a count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Lines of a text.
    Line,
    /// Elements of a list.
    Element,
}

/// What would happen, in one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Summary {
    /// There are changes.
    Changes {
        /// Whether the plan covers targets only.
        is_partial: bool,
        /// The number of resources for each effect; effects without any are left out.
        counts: Vec<(Effect, usize)>,
        /// In how many phases.
        phases: usize,
        /// How cost and virtual users change.
        effects: Vec<String>,
    },
    /// There are no changes.
    Nothing {
        /// `No changes`
        claim: &'static str,
        /// What is unchanged.
        about: String,
    },
}

/// What happens to a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// It is created.
    Create,
    /// It changes in place.
    Update,
    /// It is deleted and created again.
    Replace,
    /// It is deleted.
    Delete,
    /// It does not change.
    Unchanged,
    /// The plan does not cover it.
    NotPlanned,
}

/// In which order the changes are shown.
const ACTIONS: [Action; 4] = [Action::Delete, Action::Replace, Action::Update, Action::Create];

impl Tree {
    /// The tree of a plan document.
    pub fn of(document: &Document) -> Self {
        let compared = &document.compared;
        // Only phases that occur: a file may claim any number of them.
        let numbers: BTreeSet<Option<usize>> = compared.changes.iter().map(|change| change.phase).collect();
        let sections =
            numbers.into_iter().flat_map(|number| ACTIONS.map(|action| Section::of(document, number, action)));
        let has_changes = !compared.steps.is_empty();
        let partial = compared.partial.then(|| Remark { message: partial(document), detail: None });
        Self {
            head: Head::of(document),
            warnings: partial.into_iter().chain(compared.other_homes.iter().map(other_home)).collect(),
            sections: sections.filter(|section| !section.entries.is_empty()).collect(),
            notes: document.remarks.notes.iter().map(Remark::of).collect(),
            estimate: document.remarks.estimate.as_ref().filter(|_| has_changes).map(Estimated::of),
            summary: Summary::of(document),
        }
    }

    /// Shows the texts of an attribute that the plan hides.
    pub(crate) fn show(&mut self, texts: &TextDifference) {
        let title = safe(&texts.address.to_string());
        let value = |text: &String| Value::Text(text.clone());
        let Some(lines) = lines::between(Some(&value(&texts.before)), Some(&value(&texts.after))) else { return };
        let entries = self.sections.iter_mut().flat_map(|section| &mut section.entries);
        let rows = entries.filter(|entry| entry.addresses == title).flat_map(|entry| &mut entry.rows);
        for row in rows.filter(|row| row.path == texts.path) {
            row.content = Content::Lines(lines.clone());
        }
    }

    /// All changes.
    pub(crate) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.sections.iter().flat_map(|section| &section.entries)
    }
}

impl Entry {
    /// Whether the resource is deleted, at least for some time.
    pub(crate) const fn is_lost(&self) -> bool {
        matches!(self.action, Action::Delete | Action::Replace)
    }

    /// The attributes that force a replacement.
    pub(crate) fn forcing(&self) -> impl Iterator<Item = &str> {
        let forces = |row: &&Row| row.marks.contains(&Mark::ForcesReplacement);
        self.rows.iter().filter(forces).map(|row| row.path.as_str())
    }

    /// The attributes that change in place.
    pub(crate) fn changing(&self) -> impl Iterator<Item = &str> {
        self.rows.iter().filter(|_| self.action == Action::Update).map(|row| row.path.as_str())
    }
}

impl Section {
    /// What happens in a phase, or in the only one.
    fn of(document: &Document, phase: Option<usize>, action: Action) -> Self {
        let compared = &document.compared;
        let changes = compared.changes.iter().filter(|change| change.action == action && change.phase == phase);
        let entries = group::groups(changes).iter().map(|group| entry::entry(group, compared.origin.destroy)).collect();
        Self { phase: phase.map(|phase| (phase, compared.phases)), action, entries }
    }
}

impl Head {
    /// The head of a document.
    pub fn of(document: &Document) -> Self {
        let mut about = vec![match &document.compared.origin.environment {
            Some(environment) => format!("environment {}", safe(environment)),
            None => "no environment".to_owned(),
        }];
        about.extend(document.place().map(|place| safe(&place.to_string())));
        about.extend(document.remarks.identity.as_ref().map(|identity| format!("as {}", safe(identity))));
        let applied = document.remarks.applied.as_ref().map(|Applied { number, at, by }| {
            format!("Last applied at {} by {} (apply number {number})", safe(at), safe(by))
        });
        Self { stack: safe(&document.compared.stack), about, applied }
    }
}

impl Remark {
    /// A note of a plan.
    pub fn of(note: &Note) -> Self {
        let help = note.help.as_ref().map(|help| Detail::Help(safe(help)));
        Self { message: safe(&note.message), detail: help }
    }
}

/// The remark on another home whose resources the plan takes over.
fn other_home(other: &OtherHome) -> Remark {
    let more = match other.count.saturating_sub(other.addresses.len()) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let named = safe(&addresses(&other.addresses)) + &more;
    Remark { message: safe(&other.to_string()), detail: Some(Detail::Addresses(named)) }
}

/// The remark on what a partial plan does not cover.
fn partial(document: &Document) -> String {
    let origin = &document.compared.origin;
    let left_out = excluded(document).map(|named| format!(", without {named}")).unwrap_or_default();
    if let (Some(named), true) = (excluded(document), origin.targets.is_empty()) {
        return format!("This plan is partial: it leaves out {named}.{}", others(&document.compared.summary));
    }
    let named: Vec<String> =
        origin.targets.iter().chain(&origin.replace).map(|target| format!("`{}`", safe(target))).collect();
    let covered = match named.as_slice() {
        [] => "the targets and what they need".to_owned(),
        [only] => format!("{only} and what it needs"),
        several => format!("{} and what they need", several.join(", ")),
    };
    format!("This plan is partial: it covers {covered}{left_out}.{}", others(&document.compared.summary))
}

/// What is excluded, as it was typed.
fn excluded(document: &Document) -> Option<String> {
    let named: Vec<String> =
        document.compared.origin.exclude.iter().map(|address| format!("`{}`", safe(address))).collect();
    (!named.is_empty()).then(|| named.join(", "))
}

/// The sentence on the rest of the stack.
fn others(counts: &Counts) -> String {
    match counts.not_covered {
        0 => String::new(),
        1 => " 1 other resource was not compared.".to_owned(),
        count => format!(" {count} other resources were not compared."),
    }
}

impl Summary {
    /// The summary of a document.
    pub fn of(document: &Document) -> Self {
        let compared = &document.compared;
        let Counts { create, update, replace, delete, unchanged, not_covered } = compared.summary;
        if create + update + replace + delete > 0 {
            let counts = [
                (Effect::Create, create),
                (Effect::Update, update),
                (Effect::Replace, replace),
                (Effect::Delete, delete),
                (Effect::Unchanged, unchanged),
                (Effect::NotPlanned, not_covered),
            ];
            let counts = counts.into_iter().filter(|(_, count)| *count > 0).collect();
            let effects =
                document.remarks.estimate.as_ref().map(|estimate| Estimated::of(estimate).changes).unwrap_or_default();
            return Self::Changes { is_partial: compared.partial, counts, phases: compared.phases, effects };
        }
        let (unchanged, matches) = match unchanged {
            1 => ("the one resource".to_owned(), "matches"),
            count => (format!("all {count} resources"), "match"),
        };
        let stands = document.remarks.estimate.as_ref().map(Estimated::stands).unwrap_or_default();
        match () {
            () if compared.partial => {
                let others = others(&compared.summary);
                let about = format!("{unchanged} covered {matches} the stack.{others}{stands}");
                let is_rest = compared.origin.targets.is_empty() && !compared.origin.exclude.is_empty();
                let claim = if is_rest { "No changes to the rest" } else { "No changes to the targets" };
                Self::Nothing { claim, about }
            }
            () if compared.origin.destroy => {
                let about = format!("nothing of `{}` is left.", safe(&compared.stack));
                Self::Nothing { claim: "No changes", about }
            }
            () => Self::Nothing { claim: "No changes", about: format!("{unchanged} {matches} the stack.{stands}") },
        }
    }
}
