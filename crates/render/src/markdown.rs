//! Writes plans as GitHub's Markdown, for the comment of a pull request. Whatever comes from a stack or from AWS is shown as text: no
//! value can become markup, a link or a mention.

use std::{collections::BTreeMap, fmt::Write as _};

use trunnion_engine::{Action, Document};

use crate::{
    diff,
    estimate::Estimated,
    tree::{Detail, Effect, Entry, Remark, Row, Summary, Tree},
};

/// The longest comment that GitHub takes, in characters.
pub const LONGEST: usize = 65_536;

/// What is kept free of it for what a caller adds.
const SPARE: usize = 1_024;

/// These plans in one text that is shorter than [`LONGEST`], as long as what is deleted or replaced and the notes fit: they are never
/// left out. Where the rest does not fit, details are left out first, each as a whole, then cost and capacity, then what is created
/// and changed, then the reasons of what is deleted and replaced.
pub fn markdown(documents: &[Document]) -> String {
    fitted(&documents.iter().map(plan).collect::<Vec<_>>())
}

/// A part of a text, in the order in which parts are left out where not all fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Weight {
    /// It is never left out.
    Always,
    /// Verdicts and notes: their number is not left out, nor are the first verdicts.
    Said,
    /// What is deleted and replaced: the reasons may be left out, not the resources.
    Lost,
    /// What is created and changed.
    Changes,
    /// Cost and capacity.
    Cost,
    /// Attributes and their differences.
    Details,
}

/// A part of a text, and what takes its place where it does not fit.
pub(crate) struct Part {
    pub(crate) weight: Weight,
    pub(crate) text: String,
    pub(crate) instead: String,
}

impl Part {
    pub(crate) fn always(text: String) -> Self {
        Self { weight: Weight::Always, text, instead: String::new() }
    }
}

/// Texts of parts, one below the other. Of equally heavy parts, the shortest are kept. The last line says what is left out.
pub(crate) fn fitted(texts: &[Vec<Part>]) -> String {
    let length = |text: &str| text.chars().count();
    let parts = || texts.iter().flatten();
    let least = |part: &Part| if part.weight == Weight::Always { length(&part.text) } else { length(&part.instead) };
    let mut left = (LONGEST - SPARE).saturating_sub(parts().map(least).sum::<usize>() + texts.len());
    let mut order: Vec<(Weight, usize, usize)> = parts()
        .enumerate()
        .filter(|(_, part)| part.weight != Weight::Always)
        .map(|(at, part)| (part.weight, length(&part.text).saturating_sub(length(&part.instead)), at))
        .collect();
    order.sort_unstable();
    // Where each part is that does not fit.
    let mut left_out = BTreeMap::new();
    for (weight, more, at) in order {
        match left.checked_sub(more) {
            Some(rest) => left = rest,
            None => drop(left_out.insert(at, weight)),
        }
    }
    let mut at = 0..;
    let mut part = |part: &Part| match at.next() {
        Some(at) if left_out.contains_key(&at) => part.instead.clone(),
        _ => part.text.clone(),
    };
    let text = |parts: &Vec<Part>| parts.iter().map(&mut part).collect::<String>();
    let shown = texts.iter().map(text).collect::<Vec<_>>().join("\n");
    let named = [
        (Weight::Details, "details"),
        (Weight::Cost, "cost and capacity"),
        (Weight::Changes, "what is created and changed"),
        (Weight::Lost, "why resources are deleted and replaced"),
        (Weight::Said, "verdicts and notes"),
    ];
    let named = named.into_iter().filter(|(weight, _)| left_out.values().any(|one| one == weight));
    match named.map(|(_, name)| name).collect::<Vec<_>>().as_slice() {
        [] => shown,
        named => {
            format!(
                "{shown}\nLeft out of some plans, because a comment has a limit: {}. `trunnion plan` shows everything.\n",
                named.join(", ")
            )
        }
    }
}

/// A plan alone.
fn plan(document: &Document) -> Vec<Part> {
    let tree = Tree::of(document);
    let mut top = format!("## {}\n\n{}\n\n", code(&tree.head.stack), summary(&tree.summary));
    top += &about(&tree);
    top += &remarks(&tree);
    vec![
        Part::always(top),
        lost_of(&tree, "Deleted and replaced"),
        changes(&tree, "Created and changed"),
        cost_of(&tree),
        details_of(&tree),
    ]
}

/// Where it is, as whom it was planned, and who applied it last.
pub(crate) fn about(tree: &Tree) -> String {
    let about = tree.head.about.iter().chain(&tree.head.applied);
    format!("{}\n\n", about.map(|part| prose(part)).collect::<Vec<_>>().join(" · "))
}

/// The warnings and notes.
pub(crate) fn remarks(tree: &Tree) -> String {
    tree.warnings.iter().chain(&tree.notes).map(remark).collect()
}

/// What is deleted and replaced, with what forces it; without that where it does not fit.
pub(crate) fn lost_of(tree: &Tree, title: &str) -> Part {
    let all = || tree.entries().filter(|entry| entry.is_lost());
    let mut instead = String::new();
    for action in [Action::Delete, Action::Replace] {
        let resources: Vec<String> = all().filter(|entry| entry.action == action).map(resource).collect();
        if !resources.is_empty() {
            let _ = write!(instead, "\n{}: {}\n", sign(action), resources.join(", "));
        }
    }
    if !instead.is_empty() {
        instead = format!("\n### {title}\n{instead}");
    }
    Part { weight: Weight::Lost, text: table(title, &["", "resource", "because of"], all().map(lost)), instead }
}

/// What is created and changed.
pub(crate) fn changes(tree: &Tree, title: &str) -> Part {
    let others = || tree.entries().filter(|entry| !entry.is_lost());
    let resources: usize = others().map(|entry| entry.count).sum();
    let instead = if resources == 0 { String::new() } else { format!("\n{title}: {resources} resources\n") };
    Part {
        weight: Weight::Changes,
        text: table(title, &["", "resource", "changes"], kept(others()).into_iter()),
        instead,
    }
}

/// What it costs and holds.
pub(crate) fn cost_of(tree: &Tree) -> Part {
    let text = tree.estimate.as_ref().map(cost).unwrap_or_default();
    Part { weight: Weight::Cost, text, instead: String::new() }
}

/// The attributes, folded.
pub(crate) fn details_of(tree: &Tree) -> Part {
    let text = details(tree.entries());
    Part { weight: Weight::Details, text, instead: String::new() }
}

pub(crate) fn summary(summary: &Summary) -> String {
    match summary {
        Summary::Nothing { claim, about } => format!("**{claim}**: {}", prose(about)),
        Summary::Changes { is_partial, counts, phases, effects } => {
            let counts = counts.iter().map(|(effect, count)| format!("{count} {}", words(*effect)));
            let mut text = if *is_partial { "**Partial plan: ".to_owned() } else { "**".to_owned() };
            text += &counts.collect::<Vec<_>>().join(", ");
            if *phases > 1 {
                let _ = write!(text, ", in {phases} phases");
            }
            for effect in effects {
                let _ = write!(text, " · {}", prose(effect));
            }
            text + "**"
        }
    }
}

pub(crate) fn words(effect: Effect) -> &'static str {
    match effect {
        Effect::Create => "to create",
        Effect::Update => "to update",
        Effect::Replace => "to replace",
        Effect::Delete => "to delete",
        Effect::Unchanged => "unchanged",
        Effect::NotPlanned => "not compared",
    }
}

pub(crate) fn remark(remark: &Remark) -> String {
    let detail = match &remark.detail {
        None => String::new(),
        Some(Detail::Help(help)) => format!(" *Help: {}*", prose(help)),
        Some(Detail::Addresses(addresses)) => format!(" {}", code(addresses)),
    };
    format!("- ⚠️ {}{detail}\n", prose(&remark.message))
}

/// A deletion or a replacement, with what forces it.
fn lost(entry: &Entry) -> Vec<String> {
    let forces = entry.forcing().map(code);
    let reasons: Vec<String> = entry.reason.iter().map(|reason| prose(reason)).chain(forces).collect();
    vec![sign(entry.action), resource(entry), reasons.join(", ")]
}

/// What is created and changed: a row for each run of resources in which the same attributes change.
fn kept<'e>(entries: impl Iterator<Item = &'e Entry>) -> Vec<Vec<String>> {
    let mut rows: Vec<Vec<String>> = Vec::new();
    for entry in entries {
        let changed = entry.changing().map(code).collect::<Vec<_>>().join(", ");
        let reason = entry.reason.iter().map(|reason| prose(reason));
        let about: Vec<String> = reason.chain((!changed.is_empty()).then_some(changed)).collect();
        let row = [sign(entry.action), resource(entry), about.join(", ")];
        match rows.last_mut().map(Vec::as_mut_slice) {
            Some([sign, resources, about]) if *sign == row[0] && *about == row[2] && !about.is_empty() => {
                let _ = write!(resources, ", {}", row[1]);
            }
            _ => rows.push(row.into()),
        }
    }
    rows
}

fn sign(action: Action) -> String {
    let sign = match action {
        Action::None => "",
        Action::Create => "➕",
        Action::Update => "✏️",
        Action::Replace => "♻️ replaced",
        Action::Delete => "❌ deleted",
    };
    sign.to_owned()
}

fn resource(entry: &Entry) -> String {
    let count = if entry.count > 1 { format!(" ({} alike)", entry.count) } else { String::new() };
    format!("{}{count}", code(&entry.addresses))
}

fn cost(estimate: &Estimated) -> String {
    let columns = ["pool", "hosts", "virtual users", "an hour", "limited by"];
    let rows = estimate.pools.iter().map(|row| row.iter().map(|cell| prose(cell)).collect());
    let mut text = table("Cost and capacity", &columns, rows);
    for [label, sentence] in &estimate.whole {
        let _ = writeln!(text, "- {}: {}", prose(label), prose(sentence));
    }
    text
}

/// A heading and a table; nothing without rows.
pub(crate) fn table(title: &str, columns: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let rows: String = rows.map(|row| line(&row)).collect();
    if rows.is_empty() {
        return rows;
    }
    let head = line(&columns.iter().map(|&column| column.to_owned()).collect::<Vec<_>>());
    format!("\n### {title}\n\n{head}|{}\n{rows}", "---|".repeat(columns.len()))
}

/// Every attribute that changes, folded.
fn details<'e>(entries: impl Iterator<Item = &'e Entry>) -> String {
    let mut text = String::new();
    let mut last = (Action::None, String::new());
    for entry in entries.filter(|entry| !entry.rows.is_empty()) {
        let this = (entry.action, entry.rows.iter().map(row).collect::<String>());
        // Resources that change alike share what follows.
        if this == last {
            text.truncate(text.len() - this.1.len());
        }
        text += &hunk(entry);
        text += &this.1;
        last = this;
    }
    if text.is_empty() {
        return text;
    }
    let fence = fence(&text, 3);
    format!("\n<details><summary>Details</summary>\n\n{fence}diff\n{text}{fence}\n\n</details>\n")
}

fn hunk(entry: &Entry) -> String {
    let sign = match entry.action {
        Action::None => "",
        Action::Create => "+ ",
        Action::Update => "~ ",
        Action::Replace => "-/+ ",
        Action::Delete => "- ",
    };
    format!("@@ {sign}{} @@\n", entry.addresses)
}

fn row(row: &Row) -> String {
    let mut shown = String::new();
    for (side, text) in diff::lines(row) {
        let _ = writeln!(shown, "{}{text}", side.sign());
    }
    shown
}

/// Backticks that end no run of them in a text.
fn fence(text: &str, least: usize) -> String {
    let mut longest = 0;
    let mut run = 0;
    for letter in text.chars() {
        run = if letter == '`' { run + 1 } else { 0 };
        longest = longest.max(run);
    }
    "`".repeat((longest + 1).max(least))
}

/// Text as code on one line of a table, where a bar would end the cell.
pub(crate) fn code(text: &str) -> String {
    code_alone(&text.replace('|', "\\|"))
}

/// Text as code on one line, to copy.
pub(crate) fn code_alone(text: &str) -> String {
    let text = text.replace(['\n', '\r'], " ");
    let fence = fence(&text, 1);
    let space = if text.starts_with('`') || text.ends_with('`') { " " } else { "" };
    format!("{fence}{space}{text}{space}{fence}")
}

/// Text whose characters mean nothing but themselves, on one line.
pub(crate) fn prose(text: &str) -> String {
    let mut shown = String::new();
    for letter in text.chars() {
        match letter {
            '\n' | '\r' => shown.push(' '),
            // GitLab's references and marks of changes.
            '&' => shown.push_str("&amp;\u{200b}"),
            '%' | '{' => shown.extend([letter, '\u{200b}']),
            '<' => shown.push_str("&lt;"),
            '>' => shown.push_str("&gt;"),
            // The mark of a mention or of an issue is followed by nothing that one can see.
            '@' | '#' => shown.extend(['\\', letter, '\u{200b}']),
            '\\' | '`' | '*' | '_' | '[' | ']' | '(' | ')' | '|' | '~' | '!' | ':' | '$' => {
                shown.extend(['\\', letter]);
            }
            letter => shown.push(letter),
        }
    }
    // These links need no mark in front.
    shown.replace("www.", "www\\.").replace("GH-", "GH\u{200b}-")
}
