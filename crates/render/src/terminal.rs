//! Writes a tree for a terminal: a line with the place of the plan, then deletions, changes and creations, then a summary
//! line. Each piece of text has a role, from which its style follows.

use anstyle::Style;
use trunnion_engine::{Action, Document, Note};

use crate::{
    Column,
    estimate::Estimated,
    style,
    table::table,
    tree::{Content, Detail, Effect, Entry, Folded, Head, Line, Mark, Part, Remark, Row, Summary, Tree},
};

const NESTED: &str = "        ";

/// The whole plan, with ANSI styles.
pub fn terminal(document: &Document) -> String {
    let tree = Tree::of(document);
    let mut page = Page::default();
    page.top(&tree);
    for section in &tree.sections {
        if let Some((number, count)) = section.phase {
            page.put(Role::Strong, format!("Phase {number} of {count}: "));
        }
        page.put(Role::Strong, title(section.action));
        page.end();
        for entry in &section.entries {
            page.entry(entry);
        }
        page.end();
    }
    page.notes(&tree.notes);
    if let Some(estimate) = &tree.estimate {
        page.estimate(estimate);
    }
    // Where a long plan ends is what a terminal shows.
    if !(tree.sections.is_empty() && tree.notes.is_empty()) {
        page.summary(&tree.summary);
        page.end();
    }
    page.styled()
}

/// The place and the summary of a plan, one line for each change or group of equal changes, and the notes without their details.
pub fn brief(document: &Document) -> String {
    let tree = Tree::of(document);
    let mut page = Page::default();
    page.top(&tree);
    for entry in tree.sections.iter().flat_map(|section| &section.entries) {
        page.change(entry);
    }
    if !tree.notes.is_empty() {
        page.end();
    }
    for note in &tree.notes {
        page.put(Role::Warning, "!");
        page.put(Role::Plain, format!(" {}\n", note.message));
    }
    page.styled()
}

/// One line with the stack, and the place and the identity with which the plan would be applied.
pub fn head(document: &Document) -> String {
    let mut page = Page::default();
    page.head(&Head::of(document));
    page.styled()
}

/// One line with the number of changes.
pub fn summary(document: &Document) -> String {
    let mut page = Page::default();
    page.summary(&Summary::of(document));
    page.styled()
}

/// The notes of a plan.
pub fn notes(notes: &[Note]) -> String {
    let mut page = Page::default();
    page.notes(&notes.iter().map(Remark::of).collect::<Vec<_>>());
    page.styled()
}

/// The role of a piece of text.
#[derive(Clone, Copy)]
enum Role {
    Plain,
    Strong,
    Faint,
    Warning,
    Created,
    Updated,
    Deleted,
}

impl Role {
    fn style(self) -> Style {
        match self {
            Self::Plain => Style::new(),
            Self::Strong => style::STRONG,
            Self::Faint => style::FAINT,
            Self::Warning => style::WARNING,
            Self::Created => style::CREATE,
            Self::Updated => style::UPDATE,
            Self::Deleted => style::DELETE,
        }
    }
}

/// Text whose pieces have roles.
#[derive(Default)]
struct Page(Vec<(Role, String)>);

impl Page {
    fn put(&mut self, role: Role, text: impl Into<String>) {
        self.0.push((role, text.into()));
    }

    fn end(&mut self) {
        self.put(Role::Plain, "\n");
    }

    fn styled(&self) -> String {
        let styled = |(role, text): &(Role, String)| {
            let style = role.style();
            format!("{style}{text}{style:#}")
        };
        self.0.iter().map(styled).collect()
    }

    fn head(&mut self, head: &Head) {
        self.put(Role::Strong, format!("Stack {}", head.stack));
        self.put(Role::Plain, format!(" · {}", head.about.join(" · ")));
    }

    /// Where the plan would be applied, what would happen, and the warnings.
    fn top(&mut self, tree: &Tree) {
        self.head(&tree.head);
        self.end();
        if let Some(applied) = &tree.head.applied {
            self.put(Role::Faint, applied.clone());
            self.end();
        }
        self.summary(&tree.summary);
        self.end();
        for warning in &tree.warnings {
            self.remark(warning);
        }
        self.end();
    }

    fn remark(&mut self, remark: &Remark) {
        self.put(Role::Warning, "!");
        self.put(Role::Plain, format!(" {}\n", remark.message));
        let detail = match &remark.detail {
            None => return,
            Some(Detail::Help(help)) => format!("help: {help}"),
            Some(Detail::Addresses(addresses)) => addresses.clone(),
        };
        self.put(Role::Plain, "  ");
        self.put(Role::Faint, detail);
        self.end();
    }

    fn notes(&mut self, notes: &[Remark]) {
        for note in notes {
            self.remark(note);
        }
        if !notes.is_empty() {
            self.end();
        }
    }

    fn estimate(&mut self, estimate: &Estimated) {
        self.put(Role::Strong, "Cost and capacity");
        self.end();
        if !estimate.pools.is_empty() {
            let columns = [
                Column::Left("pool"),
                Column::Left("hosts"),
                Column::Right("virtual users"),
                Column::Right("an hour"),
                Column::Left("limited by"),
            ];
            self.put(Role::Plain, table(&columns, &estimate.pools));
        }
        let labels = estimate.whole.iter().map(|[label, _]| label.chars().count());
        let width = labels.max().unwrap_or_default();
        for [label, text] in &estimate.whole {
            self.put(Role::Plain, "  ");
            self.put(Role::Faint, format!("{label:width$}"));
            self.put(Role::Plain, format!("  {text}\n"));
        }
        self.end();
    }

    fn entry(&mut self, entry: &Entry) {
        self.change(entry);
        for row in &entry.rows {
            self.row(row);
        }
    }

    /// The line of an entry.
    fn change(&mut self, entry: &Entry) {
        let (sign, role) = sign(entry.action);
        self.put(role, format!("{sign:>4}"));
        self.put(Role::Plain, " ");
        self.put(Role::Strong, entry.addresses.clone());
        let count = (entry.count > 1).then(|| format!("{} alike", entry.count));
        let about: Vec<String> =
            [count, identity(&entry.identity), entry.reason.clone()].into_iter().flatten().collect();
        if !about.is_empty() {
            self.put(Role::Plain, "  ");
            self.put(Role::Faint, about.join(" · "));
        }
        self.end();
    }

    fn row(&mut self, row: &Row) {
        // Values matter most for a new resource, attribute names for a changed one.
        let is_new = match &row.content {
            Content::Value(_) | Content::NotShown(_) | Content::LineCount(_) => true,
            Content::Lines(lines) => lines.iter().all(|line| matches!(line, Line::New(_) | Line::Element(_))),
            Content::Sensitive | Content::Change { .. } => false,
        };
        self.put(Role::Plain, NESTED);
        self.put(if is_new { Role::Faint } else { Role::Plain }, row.path.clone());
        match &row.content {
            Content::Sensitive => self.put(Role::Plain, " (sensitive) changed"),
            Content::Value(value) => self.put(Role::Plain, format!(" {value}")),
            Content::Change { before, after } => self.put(Role::Plain, format!(" {before} → {after}")),
            Content::NotShown(count) => self.put(Role::Plain, format!(" ({count}, not shown)")),
            Content::LineCount(count) => self.put(Role::Plain, format!(" {count} lines")),
            Content::Lines(_) => {}
        }
        if !row.marks.is_empty() {
            self.put(Role::Plain, "  ");
            self.put(Role::Warning, row.marks.iter().map(mark).collect::<Vec<_>>().join(" · "));
        }
        self.end();
        if let Content::Lines(lines) = &row.content {
            for line in lines {
                self.line(line);
            }
        }
    }

    fn line(&mut self, line: &Line) {
        let (role, text) = match line {
            Line::Same(text) => (Role::Faint, format!("  {text}")),
            Line::Gone(text) => (Role::Deleted, format!("- {text}")),
            Line::Come(text) => (Role::Created, format!("+ {text}")),
            Line::New(text) => (Role::Plain, text.clone()),
            Line::Element(text) => (Role::Plain, format!("- {text}")),
            Line::Unchanged(count, part) => (Role::Faint, format!("⋮ {count} {} unchanged", parts(*count, *part))),
            Line::NoLineEnd => (Role::Faint, "\\ no newline at the end".to_owned()),
        };
        self.put(Role::Plain, format!("{NESTED}  "));
        self.put(role, text);
        self.end();
    }

    fn summary(&mut self, summary: &Summary) {
        match summary {
            Summary::Nothing { claim, about } => {
                self.put(Role::Strong, *claim);
                self.put(Role::Plain, format!(": {about}"));
            }
            Summary::Changes { is_partial, counts, phases, effects } => {
                self.put(Role::Strong, if *is_partial { "Partial plan:" } else { "Plan:" });
                for (index, (effect, count)) in counts.iter().enumerate() {
                    let (words, role) = words(*effect);
                    self.put(Role::Plain, if index == 0 { " " } else { ", " });
                    self.put(role, format!("{count} {words}"));
                }
                if *phases > 1 {
                    self.put(Role::Plain, format!(", in {phases} phases"));
                }
                for effect in effects {
                    self.put(Role::Plain, format!(" · {effect}"));
                }
            }
        }
    }
}

fn title(action: Action) -> &'static str {
    match action {
        Action::None => "Unchanged",
        Action::Create => "Create",
        Action::Update => "Update in place",
        Action::Replace => "Replace",
        Action::Delete => "Delete",
    }
}

fn sign(action: Action) -> (&'static str, Role) {
    match action {
        Action::None => (" ", Role::Plain),
        Action::Create => ("+", Role::Created),
        Action::Update => ("~", Role::Updated),
        Action::Replace => ("-/+", Role::Deleted),
        Action::Delete => ("-", Role::Deleted),
    }
}

fn words(effect: Effect) -> (&'static str, Role) {
    match effect {
        Effect::Create => ("to create", Role::Created),
        Effect::Update => ("to update", Role::Updated),
        Effect::Replace => ("to replace", Role::Deleted),
        Effect::Delete => ("to delete", Role::Deleted),
        Effect::Unchanged => ("unchanged", Role::Faint),
        Effect::NotPlanned => ("not compared", Role::Warning),
    }
}

pub(crate) fn identity(identity: &Folded) -> Option<String> {
    let shown = identity.shown.join(", ");
    match identity.more {
        _ if identity.shown.is_empty() => None,
        0 => Some(shown),
        more => Some(format!("{shown} and {more} more")),
    }
}

pub(crate) fn mark(mark: &Mark) -> String {
    match mark {
        Mark::ForcesReplacement => "forces replacement".to_owned(),
        Mark::ChangedOutside(since) => format!("drift: changed outside since {since}"),
        Mark::WhitespaceOnly => "whitespace only".to_owned(),
    }
}

pub(crate) fn parts(count: usize, part: Part) -> &'static str {
    match (part, count) {
        (Part::Line, 1) => "line",
        (Part::Line, _) => "lines",
        (Part::Element, 1) => "element",
        (Part::Element, _) => "elements",
    }
}
