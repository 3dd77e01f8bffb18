//! A plan for a terminal: what goes first, then what changes, then what comes, then one line that sums it up.

use std::fmt::Write as _;

use anstyle::Style;
use serde_json::Value as Json;
use trunnion_engine::{Action, Cause, Document, DocumentChange, DocumentDifference, Note, Reason, Summary};

use crate::{
    group::{self, Group},
    lines, style, value,
};

const NESTED: &str = "        ";

/// The whole plan, with ANSI styles.
pub fn terminal(document: &Document) -> String {
    let mut out = String::new();
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
    if document.origin.destroy && document.summary == Summary::default() {
        let _ =
            writeln!(out, "{}No changes.{:#} Nothing of `{}` is left.", style::STRONG, style::STRONG, document.stack);
    } else {
        let _ = writeln!(out, "{}", summary(&document.summary));
    }
    out
}

/// One line: what would happen.
pub fn summary(summary: &Summary) -> String {
    let Summary { create, update, replace, delete, unchanged } = *summary;
    if create + update + replace + delete == 0 {
        return format!("{}No changes.{:#} {unchanged} resources are as they shall be.", style::STRONG, style::STRONG);
    }
    let counts = [
        (create, "to create", style::CREATE),
        (update, "to update", style::UPDATE),
        (replace, "to replace", style::DELETE),
        (delete, "to delete", style::DELETE),
        (unchanged, "unchanged", style::FAINT),
    ];
    let parts: Vec<String> = counts
        .iter()
        .filter(|(count, ..)| *count > 0)
        .map(|(count, what, style)| format!("{style}{count} {what}{style:#}"))
        .collect();
    format!("{}Plan:{:#} {}", style::STRONG, style::STRONG, parts.join(", "))
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
            append_attribute(out, &format!("{name}.{}", value::safe(key)), value);
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
    let path = value::safe(&difference.path);
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
        append_elements(out, '-', style::DELETE, before, after);
        append_elements(out, '+', style::CREATE, after, before);
        return;
    }
    let shown = |value: &Json, absent: &str| {
        if value.is_null() { absent.to_owned() } else { value::inline(value) }
    };
    let _ = writeln!(out, " {} → {}{marks}", shown(before, "(none)"), shown(after, "(none)"));
}

fn append_elements(out: &mut String, sign: char, style: Style, of: &[Json], but_not_of: &[Json]) {
    for element in of.iter().filter(|element| !but_not_of.contains(element)) {
        let _ = writeln!(out, "{NESTED}  {style}{sign} {}{style:#}", value::whole(element));
    }
}
