//! A plan for a terminal: one line that says where it would be applied, then what goes, what changes and what comes, then
//! one line that sums it up.

use std::fmt::Write as _;

use anstyle::Style;
use serde_json::Value as Json;
use trunnion_engine::{Action, Cause, Document, DocumentChange, DocumentDifference, Note, Reason};

use crate::{
    group::{self, Group},
    lines, style, value, visible,
};

const NESTED: &str = "        ";

/// The whole plan, with ANSI styles.
pub fn terminal(document: &Document) -> String {
    let mut out = format!("{}\n", head(document));
    if document.partial {
        let _ = writeln!(out, "{}", partial(document));
    }
    out.push_str(&other_homes(document));
    out.push('\n');
    let sections = [
        ("Delete", Action::Delete),
        ("Replace", Action::Replace),
        ("Update in place", Action::Update),
        ("Create", Action::Create),
    ];
    for (title, action) in sections {
        let groups = group::groups(document.changes.iter().filter(|change| change.action == action));
        if groups.is_empty() {
            continue;
        }
        let _ = writeln!(out, "{}{title}{:#}", style::STRONG, style::STRONG);
        for group in &groups {
            append_group(&mut out, group, document.origin.destroy);
        }
        out.push('\n');
    }
    out.push_str(&notes(&document.notes));
    let _ = writeln!(out, "{}", summary(document));
    out
}

/// One line: which stack it is, and where and by whom the plan would be applied.
pub fn head(document: &Document) -> String {
    let mut parts = vec![match &document.origin.environment {
        Some(environment) => format!("environment {}", value::safe(environment)),
        None => "no environment".to_owned(),
    }];
    parts.extend(document.place.as_ref().map(|place| value::safe(&place.to_string())));
    parts.extend(document.identity.as_ref().map(|identity| format!("as {}", value::safe(identity))));
    let strong = style::STRONG;
    format!("{strong}Stack {}{strong:#} · {}", value::safe(&document.stack), parts.join(" · "))
}

/// Whose resources the plan takes over.
fn other_homes(document: &Document) -> String {
    let mut out = String::new();
    for other in &document.other_homes {
        let _ = writeln!(out, "{}!{:#} {}", style::WARNING, style::WARNING, value::safe(&other.to_string()));
        let more = if other.count > other.addresses.len() { ", …" } else { "" };
        let named = value::safe(&other.addresses.join(", "));
        let _ = writeln!(out, "  {}{named}{more}{:#}", style::FAINT, style::FAINT);
    }
    out
}

/// What a plan for targets leaves out.
fn partial(document: &Document) -> String {
    let origin = &document.origin;
    let named: Vec<String> =
        origin.targets.iter().chain(&origin.replace).map(|target| format!("`{}`", value::safe(target))).collect();
    let covered = match named.as_slice() {
        [] => "the targets and what they need".to_owned(),
        [only] => format!("{only} and what it needs"),
        several => format!("{} and what they need", several.join(", ")),
    };
    let warning = style::WARNING;
    format!("{warning}!{warning:#} This plan is partial: it covers {covered}. {} not planned.", others(document))
}

fn others(document: &Document) -> String {
    match document.summary.not_covered {
        0 => "No other address is".to_owned(),
        1 => "1 other address is".to_owned(),
        count => format!("{count} other addresses are"),
    }
}

/// One line: what would happen.
pub fn summary(document: &Document) -> String {
    let Document { summary, partial, .. } = document;
    let strong = style::STRONG;
    let counts = [
        (summary.create, "to create", style::CREATE),
        (summary.update, "to update", style::UPDATE),
        (summary.replace, "to replace", style::DELETE),
        (summary.delete, "to delete", style::DELETE),
        (summary.unchanged, "unchanged", style::FAINT),
        (summary.not_covered, "not planned", style::WARNING),
    ];
    if counts.iter().take(4).any(|(count, ..)| *count > 0) {
        let parts: Vec<String> = counts
            .iter()
            .filter(|(count, ..)| *count > 0)
            .map(|(count, what, style)| format!("{style}{count} {what}{style:#}"))
            .collect();
        let plan = if *partial { "Partial plan:" } else { "Plan:" };
        return format!("{strong}{plan}{strong:#} {}", parts.join(", "));
    }
    let unchanged = match summary.unchanged {
        1 => "the one resource".to_owned(),
        count => format!("all {count} resources"),
    };
    let matches = if summary.unchanged == 1 { "matches" } else { "match" };
    match () {
        () if *partial => {
            let others = others(document);
            format!(
                "{strong}No changes to the targets{strong:#}: {unchanged} covered {matches} the stack. {others} not planned."
            )
        }
        () if document.origin.destroy => {
            format!("{strong}No changes{strong:#}: nothing of `{}` is left.", document.stack)
        }
        () => format!("{strong}No changes{strong:#}: {unchanged} {matches} the stack."),
    }
}

/// What is worth telling beside the changes.
pub fn notes(notes: &[Note]) -> String {
    let mut out = String::new();
    for note in notes {
        let _ = writeln!(out, "{}!{:#} {}", style::WARNING, style::WARNING, value::safe(&note.message));
        if let Some(help) = &note.help {
            let _ = writeln!(out, "  {}help: {}{:#}", style::FAINT, value::safe(help), style::FAINT);
        }
    }
    if !out.is_empty() {
        out.push('\n');
    }
    out
}

fn append_group(out: &mut String, group: &Group<'_>, is_destroy: bool) {
    let change = group.first;
    let (sign, style) = match change.action {
        Action::None => (" ", Style::new()),
        Action::Create => ("+", style::CREATE),
        Action::Update => ("~", style::UPDATE),
        Action::Replace => ("-/+", style::DELETE),
        Action::Delete => ("-", style::DELETE),
    };
    let _ = write!(out, "{style}{sign:>4}{style:#} {}{}{:#}", style::STRONG, group.title(), style::STRONG);
    let about: Vec<String> =
        [count(group), id(group), reason(change).filter(|_| !is_destroy)].into_iter().flatten().collect();
    if !about.is_empty() {
        let _ = write!(out, "  {}{}{:#}", style::FAINT, about.join(" · "), style::FAINT);
    }
    out.push('\n');
    if change.action == Action::Create {
        for (name, value) in change.desired.iter().filter_map(Json::as_object).flatten() {
            append_attribute(out, name, value);
        }
    }
    for difference in &change.differences {
        append_difference(out, difference);
    }
}

fn count(group: &Group<'_>) -> Option<String> {
    (group.all.len() > 1).then(|| format!("{} alike", group.all.len()))
}

fn id(group: &Group<'_>) -> Option<String> {
    let ids: Vec<&str> = group.all.iter().filter_map(|change| change.id.as_deref()).collect();
    match ids.len() {
        0 => None,
        1..=4 => Some(ids.join(", ")),
        _ => Some(format!("{}, … {}", ids[0], ids[ids.len() - 1])),
    }
}

fn reason(change: &DocumentChange) -> Option<String> {
    match &change.reason {
        Reason::Gone { id, applied_at } => {
            Some(format!("drift: {} of {} is gone", value::safe(id), value::safe(applied_at)))
        }
        Reason::NotInStack => Some("not in the stack any more".to_owned()),
        Reason::LeftOver => Some("a left-over: another one stands at its address".to_owned()),
        Reason::Asked => Some("asked for with `--replace`".to_owned()),
        Reason::New | Reason::Differs | Reason::Unchanged | Reason::NotSelected => None,
    }
}

/// One line per attribute of something new; what is empty or goes without saying is left out.
fn append_attribute(out: &mut String, name: &str, value: &Json) {
    let is_empty = match value {
        Json::Null => true,
        Json::Array(list) => list.is_empty(),
        Json::Object(object) => object.is_empty(),
        _ => false,
    };
    if is_empty || name == "tags" {
        return;
    }
    if let Json::Object(object) = value
        && value::spelled_out(value).is_none()
    {
        for (key, value) in object {
            append_attribute(out, &format!("{name}.{}", visible::line(key)), value);
        }
        return;
    }
    let label = format!("{NESTED}{}{name}{:#}", style::FAINT, style::FAINT);
    match (value, value::spelled_out(value)) {
        // Whoever reviews a policy reads all of it.
        (Json::String(text), _) if text.starts_with('{') && lines::is_json(text) => {
            let _ = writeln!(out, "{label}");
            for line in lines::pretty(text).lines() {
                let _ = writeln!(out, "{NESTED}  {}", value::safe(line));
            }
        }
        (Json::Array(list), _) if list.iter().any(|element| element.is_object() && !value::is_unknown(element)) => {
            let _ = writeln!(out, "{label}");
            for element in list {
                let _ = writeln!(out, "{NESTED}  - {}", value::whole(element));
            }
        }
        (_, Some(text)) if text.lines().count() > 1 => {
            let _ = writeln!(out, "{label} {} lines", text.lines().count());
        }
        _ => {
            let _ = writeln!(out, "{label} {}", value::inline(value));
        }
    }
}

fn append_difference(out: &mut String, difference: &DocumentDifference) {
    let path = visible::line(&difference.path);
    let mut marks = Vec::new();
    if difference.forces_replacement {
        marks.push("forces replacement".to_owned());
    }
    if let Cause::Outside { since } = &difference.cause {
        marks.push(format!("drift: changed outside since {}", value::safe(since)));
    }
    let marks = if marks.is_empty() {
        String::new()
    } else {
        format!("  {}{}{:#}", style::WARNING, marks.join(" · "), style::WARNING)
    };
    let _ = write!(out, "{NESTED}{path}");
    if difference.sensitive {
        let _ = writeln!(out, " (sensitive) changed{marks}");
        return;
    }
    let empty = Json::Null;
    let before = difference.before.as_ref().unwrap_or(&empty);
    let after = difference.after.as_ref().unwrap_or(&empty);
    if let Some((before, after)) = lines::texts(before, after, difference.json) {
        let _ = writeln!(out, "{marks}");
        lines::append(out, &before, &after, &format!("{NESTED}  "));
        return;
    }
    if let (Json::Array(before), Json::Array(after)) = (before, after) {
        let _ = writeln!(out, "{marks}");
        append_elements(out, before, after);
        return;
    }
    let absent = "(none)";
    let (shown_before, shown_after) = match (before.is_null(), after.is_null()) {
        (false, false) => value::pair(before, after),
        (true, _) => (absent.to_owned(), value::whole(after)),
        (_, true) => (value::whole(before), absent.to_owned()),
    };
    if shown_before.chars().count() + shown_after.chars().count() <= value::LONGEST {
        let _ = writeln!(out, " {shown_before} → {shown_after}{marks}");
        return;
    }
    let _ = writeln!(out, "{marks}");
    for (sign, style, shown) in [('-', style::DELETE, shown_before), ('+', style::CREATE, shown_after)] {
        let _ = writeln!(out, "{NESTED}  {style}{sign} {shown}{style:#}");
    }
}

/// The elements that go and those that come; both lists as a whole where they hold the same ones in another order.
fn append_elements(out: &mut String, before: &[Json], after: &[Json]) {
    let without = |of: &[Json], other: &[Json]| -> Vec<Json> {
        of.iter().filter(|element| !other.contains(element)).cloned().collect()
    };
    let (mut gone, mut come) = (without(before, after), without(after, before));
    if gone.is_empty() && come.is_empty() {
        (gone, come) = (vec![Json::from(before)], vec![Json::from(after)]);
    }
    let hides = gone.iter().any(|old| come.iter().any(|new| visible::is_alike(&value::whole(old), &value::whole(new))));
    let shown = if hides { value::exact } else { value::whole };
    for (sign, style, elements) in [('-', style::DELETE, gone), ('+', style::CREATE, come)] {
        for element in &elements {
            let _ = writeln!(out, "{NESTED}  {style}{sign} {}{style:#}", shown(element));
        }
    }
}
