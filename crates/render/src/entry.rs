//! Makes the entry of a group of equal changes.

use trunnion_engine::{Action, Cause, DocumentChange, DocumentDifference, Reason, Value};

use crate::{
    group::Group,
    lines,
    tree::{Content, Entry, Folded, Line, Mark, Part, Row},
    value::{self, safe},
    visible,
};

/// Up to this number, all identities are shown.
const IDENTITIES: usize = 4;

pub(crate) fn entry(group: &Group<'_>, is_destroy: bool) -> Entry {
    let change = group.first;
    let mut rows = Vec::new();
    if change.action == Action::Create {
        for (name, value) in change.desired.iter().flatten() {
            attribute(&mut rows, &visible::line(name), value);
        }
    }
    rows.extend(change.differences.iter().map(difference));
    Entry {
        action: change.action,
        addresses: safe(&group.title()),
        count: group.all.len(),
        identity: identity(group),
        reason: if is_destroy { None } else { reason(change) },
        rows,
    }
}

/// The IDs or names of an entry's resources.
fn identity(group: &Group<'_>) -> Folded {
    let is_alone = group.all.len() == 1;
    let named = |change: &&DocumentChange| {
        // A new resource shows its name among its attributes, except if the name is a tag.
        let is_shown_below =
            change.action == Action::Create && change.desired.as_ref().is_some_and(|it| it.contains_key("name"));
        match (&change.id, change.name.as_ref().filter(|_| !is_shown_below)) {
            (Some(id), Some(name)) if is_alone => Some(format!("{} ({})", safe(id), safe(name))),
            (Some(only), _) | (None, Some(only)) => Some(safe(only)),
            (None, None) => None,
        }
    };
    let mut shown: Vec<String> = group.all.iter().filter_map(named).collect();
    // The hosts of a pool have one name.
    shown.dedup();
    let more = if shown.len() > IDENTITIES { shown.len() - 2 } else { 0 };
    if more > 0 {
        shown.drain(1..=more);
    }
    Folded { shown, more }
}

fn reason(change: &DocumentChange) -> Option<String> {
    match &change.reason {
        Reason::Gone { id, applied_at } => Some(format!("drift: {} of {} is gone", safe(id), safe(applied_at))),
        Reason::NotInStack => Some("not in the stack any more".to_owned()),
        Reason::Moved { to } => Some(format!("`{}` takes its place", safe(&to.to_string()))),
        Reason::Forgotten => Some("forgotten: it stays as it is, without the stack's tags".to_owned()),
        Reason::LeftOver => Some("duplicate: another one at this address stays".to_owned()),
        Reason::Asked => Some("asked for with `--replace`".to_owned()),
        Reason::New | Reason::Differs | Reason::Unchanged | Reason::NotSelected => None,
    }
}

/// Adds the row of an attribute of a new resource. Empty values are left out, and tags are only counted.
fn attribute(rows: &mut Vec<Row>, name: &str, value: &Value) {
    let content = match value {
        Value::Null => return,
        Value::List(list) if list.is_empty() => return,
        Value::Map(map) if map.is_empty() => return,
        Value::Map(map) if name == "tags" => Content::NotShown(map.len()),
        Value::Map(map) => {
            for (key, value) in map {
                attribute(rows, &format!("{name}.{}", visible::line(key)), value);
            }
            return;
        }
        // A policy is shown completely, for review.
        Value::Json(text) => Content::Lines(lines::of_json(text).map(Line::New).collect()),
        Value::List(list) if list.iter().any(|element| matches!(element, Value::Map(_))) => {
            Content::Lines(list.iter().map(|element| Line::Element(value::whole(element))).collect())
        }
        value => match value::spelled_out(value).map_or(0, |text| text.lines().count()) {
            0 | 1 => Content::Value(value::inline(value)),
            count => Content::LineCount(count),
        },
    };
    rows.push(Row { path: name.to_owned(), marks: Vec::new(), content });
}

fn difference(difference: &DocumentDifference) -> Row {
    let DocumentDifference { path, before, after, cause, forces_replacement, sensitive } = difference;
    let mut marks = Vec::new();
    if *forces_replacement {
        marks.push(Mark::ForcesReplacement);
    }
    if let Cause::Outside { since } = cause {
        marks.push(Mark::ChangedOutside(safe(since)));
    }
    let content = if *sensitive {
        Content::Sensitive
    } else {
        let (before, after) = (before.as_ref(), after.as_ref());
        if let (Some(before), Some(after)) = (before, after)
            && value::differ_in_whitespace_only(before, after)
        {
            marks.push(Mark::WhitespaceOnly);
        }
        change(before, after)
    };
    Row { path: visible::line(path), marks, content }
}

/// The old and the new value of an attribute.
fn change(before: Option<&Value>, after: Option<&Value>) -> Content {
    if let Some(lines) = lines::between(before, after) {
        return Content::Lines(lines);
    }
    if let (Some(Value::List(before)), Some(Value::List(after))) = (before, after) {
        return Content::Lines(elements(before, after));
    }
    let absent = || "(none)".to_owned();
    let (before, after) = match (before, after) {
        (Some(before), Some(after)) => value::pair(before, after),
        (before, after) => (before.map_or_else(absent, value::whole), after.map_or_else(absent, value::whole)),
    };
    if before.chars().count() + after.chars().count() <= value::LONGEST {
        Content::Change { before, after }
    } else {
        Content::Lines(vec![Line::Gone(before), Line::Come(after)])
    }
}

/// The removed and the added elements, and the number of unchanged ones. If only the order differs, both lists are
/// shown.
fn elements(before: &[Value], after: &[Value]) -> Vec<Line> {
    let without = |of: &[Value], other: &[Value]| -> Vec<Value> {
        of.iter().filter(|element| !other.contains(element)).cloned().collect()
    };
    let (mut gone, mut come) = (without(before, after), without(after, before));
    let mut unchanged = after.len() - come.len();
    if gone.is_empty() && come.is_empty() {
        (gone, come) = (vec![Value::List(before.to_vec())], vec![Value::List(after.to_vec())]);
        unchanged = 0;
    }
    let hides = gone.iter().any(|old| come.iter().any(|new| visible::is_alike(&value::whole(old), &value::whole(new))));
    let shown = if hides { value::exact } else { value::whole };
    let mut lines: Vec<Line> = gone.iter().map(|element| Line::Gone(shown(element))).collect();
    lines.extend(come.iter().map(|element| Line::Come(shown(element))));
    if unchanged > 0 {
        lines.push(Line::Unchanged(unchanged, Part::Element));
    }
    lines
}
