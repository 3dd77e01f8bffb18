//! What is to be seen of a plan: sections of entries, one for each change or group of alike changes; rows of attributes in
//! each entry; lines in a row that needs several.
//!
//! Every choice is made here: what is grouped, folded, escaped or said in words. A writer only lays the tree out and adds
//! the markup of its format. All texts are free of characters that steer a terminal; a writer still escapes what its own
//! format gives a meaning to.

use trunnion_engine::{Action, Document, Note, OtherHome, Summary as Counts};

use crate::{
    entry,
    group::{self, addresses},
    value::safe,
};

/// A plan as it is to be seen, from top to bottom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    /// Which stack it is, and where and by whom the plan would be applied.
    pub head: Head,
    /// What has to be known before the changes are read.
    pub warnings: Vec<Remark>,
    /// The changes, by what happens.
    pub sections: Vec<Section>,
    /// What is worth knowing beside the changes.
    pub notes: Vec<Remark>,
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
}

/// A sentence beside the changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remark {
    /// The sentence.
    pub message: String,
    /// What follows it.
    pub detail: Option<Detail>,
}

/// What follows a [`Remark`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Detail {
    /// What to do next.
    Help(String),
    /// What it is about.
    Addresses(String),
}

/// All changes of one action, and in a plan of several phases of one phase.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    /// Which phase it is of how many; nothing in a plan of one.
    pub phase: Option<(usize, usize)>,
    /// What happens.
    pub action: Action,
    /// To what, in the order of addresses.
    pub entries: Vec<Entry>,
}

/// One change, or several that are alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What happens.
    pub action: Action,
    /// `instance.heavy[0…3]`
    pub addresses: String,
    /// How many changes it stands for.
    pub count: usize,
    /// What the cloud or people call what it is about: empty for what has no name yet.
    pub identity: Folded,
    /// Why it happens, where that is not obvious.
    pub reason: Option<String>,
    /// Its attributes.
    pub rows: Vec<Row>,
}

/// Some of a number of names, and how many are not among them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Folded {
    /// Those that are shown.
    pub shown: Vec<String>,
    /// How many are not.
    pub more: usize,
}

/// One attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Its path.
    pub path: String,
    /// What to know of it.
    pub marks: Vec<Mark>,
    /// What it is or becomes.
    pub content: Content,
}

/// What to know of an attribute beside its values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mark {
    /// The whole resource is replaced because of it.
    ForcesReplacement,
    /// It was changed outside since then.
    ChangedOutside(String),
    /// The two texts differ in nothing but spaces, tabs and line ends.
    WhitespaceOnly,
}

/// What an attribute is or becomes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// It changes, and its values are not shown.
    Sensitive,
    /// The value of something new.
    Value(String),
    /// What it was and what it becomes, short enough for one line.
    Change {
        /// What it was.
        before: String,
        /// What it becomes.
        after: String,
    },
    /// What needs several lines.
    Lines(Vec<Line>),
    /// So many parts that go without saying.
    NotShown(usize),
    /// A new text of so many lines.
    LineCount(usize),
}

/// One of several lines of an attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    /// It stays.
    Same(String),
    /// It was there and goes.
    Gone(String),
    /// It was not there and comes.
    Come(String),
    /// Of something new.
    New(String),
    /// An element of a new list.
    Element(String),
    /// So many lines, or elements of a list, that stay and are not shown.
    Unchanged(usize, Part),
    /// The line before this one is the last of its text and has no line end; the last one of the other text has one.
    NoLineEnd,
}

/// What is counted where it is not shown.
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
    /// Something.
    Changes {
        /// Whether the plan covers targets only.
        is_partial: bool,
        /// How many resources have each effect, without the effects that none has.
        counts: Vec<(Effect, usize)>,
        /// In how many phases.
        phases: usize,
    },
    /// Nothing.
    Nothing {
        /// `No changes`
        claim: &'static str,
        /// Of what.
        about: String,
    },
}

/// What a plan does to a resource.
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
    /// It stays as it is.
    Unchanged,
    /// No target covers it.
    NotPlanned,
}

/// In which order the changes are shown.
const ACTIONS: [Action; 4] = [Action::Delete, Action::Replace, Action::Update, Action::Create];

impl Tree {
    /// What is to be seen of a document.
    pub fn of(document: &Document) -> Self {
        let compared = &document.compared;
        let numbers = (1..=compared.phases).map(|number| (compared.phases > 1).then_some(number));
        let sections = numbers.flat_map(|number| ACTIONS.map(|action| Section::of(document, number, action)));
        let partial = compared.partial.then(|| Remark { message: partial(document), detail: None });
        Self {
            head: Head::of(document),
            warnings: partial.into_iter().chain(compared.other_homes.iter().map(other_home)).collect(),
            sections: sections.filter(|section| !section.entries.is_empty()).collect(),
            notes: document.remarks.notes.iter().map(Remark::of).collect(),
            summary: Summary::of(document),
        }
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
        Self { stack: safe(&document.compared.stack), about }
    }
}

impl Remark {
    /// A note of a plan.
    pub fn of(note: &Note) -> Self {
        let help = note.help.as_ref().map(|help| Detail::Help(safe(help)));
        Self { message: safe(&note.message), detail: help }
    }
}

/// Whose resources the plan takes over.
fn other_home(other: &OtherHome) -> Remark {
    let more = match other.count.saturating_sub(other.addresses.len()) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let named = safe(&addresses(&other.addresses)) + &more;
    Remark { message: safe(&other.to_string()), detail: Some(Detail::Addresses(named)) }
}

/// What a plan for targets leaves out.
fn partial(document: &Document) -> String {
    let origin = &document.compared.origin;
    let named: Vec<String> =
        origin.targets.iter().chain(&origin.replace).map(|target| format!("`{}`", safe(target))).collect();
    let covered = match named.as_slice() {
        [] => "the targets and what they need".to_owned(),
        [only] => format!("{only} and what it needs"),
        several => format!("{} and what they need", several.join(", ")),
    };
    format!("This plan is partial: it covers {covered}. {} not planned.", others(&document.compared.summary))
}

fn others(counts: &Counts) -> String {
    match counts.not_covered {
        0 => "No other address is".to_owned(),
        1 => "1 other address is".to_owned(),
        count => format!("{count} other addresses are"),
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
            return Self::Changes { is_partial: compared.partial, counts, phases: compared.phases };
        }
        let (unchanged, matches) = match unchanged {
            1 => ("the one resource".to_owned(), "matches"),
            count => (format!("all {count} resources"), "match"),
        };
        match () {
            () if compared.partial => {
                let others = others(&compared.summary);
                let about = format!("{unchanged} covered {matches} the stack. {others} not planned.");
                Self::Nothing { claim: "No changes to the targets", about }
            }
            () if compared.origin.destroy => {
                let about = format!("nothing of `{}` is left.", safe(&compared.stack));
                Self::Nothing { claim: "No changes", about }
            }
            () => Self::Nothing { claim: "No changes", about: format!("{unchanged} {matches} the stack.") },
        }
    }
}
