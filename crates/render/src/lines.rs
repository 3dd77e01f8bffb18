//! Compares texts and JSON documents line by line, with context.

use serde_json::Value as Json;
use similar::{Change, ChangeTag, TextDiff};
use trunnion_engine::{JsonText, Value};

use crate::{
    tree::{Line, Part},
    value, visible,
};

/// The number of unchanged lines around a change.
const CONTEXT: usize = 2;

/// Keys that identify an object in a list.
const IDENTITIES: [&str; 3] = ["sid", "id", "name"];

/// The lines of a new JSON document.
pub(crate) fn of_json(text: &JsonText) -> impl Iterator<Item = String> {
    spread(text.document()).into_iter().map(|line| value::safe(line.text.trim_end()))
}

/// The differing lines, if at least one text has several lines or both are JSON.
pub(crate) fn between(before: Option<&Value>, after: Option<&Value>) -> Option<Vec<Line>> {
    let spread = |value: &JsonText| spread(value.document());
    match (before, after) {
        (Some(Value::Json(before)), Some(Value::Json(after))) => Some(differences(&spread(before), &spread(after))),
        (Some(Value::Json(before)), None) => Some(differences(&spread(before), &[])),
        (None, Some(Value::Json(after))) => Some(differences(&[], &spread(after))),
        (Some(before), Some(after)) => {
            let (before, after) = (value::spelled_out(before)?, value::spelled_out(after)?);
            let is_long = before.lines().count() > 1 || after.lines().count() > 1;
            is_long.then(|| differences(&split(&before), &split(&after)))
        }
        _ => None,
    }
}

/// The line, with its line end.
struct Source {
    text: String,
    /// The index of the line that names the block of this one.
    owner: Option<usize>,
}

/// Splits a text into lines. A line belongs to the last line before it with a name, such as `id = "prl_paris"`, in the
/// same indented block or in an outer one.
fn split(text: &str) -> Vec<Source> {
    let mut owners: Vec<(usize, usize)> = Vec::new();
    let line = |(index, line): (usize, &str)| {
        let content = line.trim_start_matches(' ');
        let indent = line.len() - content.len();
        owners.retain(|(depth, _)| *depth <= indent || content.trim().is_empty());
        if indent > 0 && is_identity(content) {
            owners.retain(|(depth, _)| *depth < indent);
            owners.push((indent, index));
        }
        Source { text: line.to_owned(), owner: owners.last().map(|(_, index)| *index) }
    };
    text.split_inclusive('\n').enumerate().map(line).collect()
}

/// Whether a line contains a name, such as `name: x` or `id = "x"`.
fn is_identity(line: &str) -> bool {
    let key = line.split_once([':', '=']).map(|(key, _)| key.trim().trim_matches('"'));
    key.is_some_and(|key| IDENTITIES.iter().any(|identity| key.eq_ignore_ascii_case(identity)))
}

/// Formats a JSON document over several lines. Each line refers to the line that names its object.
fn spread(json: &Json) -> Vec<Source> {
    let mut lines = Vec::new();
    write(&mut lines, json, 0, "", "");
    lines
}

fn write(lines: &mut Vec<Source>, json: &Json, depth: usize, key: &str, comma: &str) {
    let indent = "  ".repeat(depth);
    let comma_after = |index: usize, count: usize| if index + 1 < count { "," } else { "" };
    let line = |text: &str| Source { text: format!("{indent}{text}\n"), owner: None };
    match json {
        Json::Array(list) if !list.is_empty() => {
            lines.push(line(&format!("{key}[")));
            for (index, element) in list.iter().enumerate() {
                write(lines, element, depth + 1, "", comma_after(index, list.len()));
            }
            lines.push(line(&format!("]{comma}")));
        }
        Json::Object(object) if !object.is_empty() => {
            let first = lines.len();
            let mut owner = None;
            lines.push(line(&format!("{key}{{")));
            for (index, (name, element)) in object.iter().enumerate() {
                if element.is_string() && IDENTITIES.iter().any(|identity| name.eq_ignore_ascii_case(identity)) {
                    owner = owner.or(Some(lines.len()));
                }
                write(
                    lines,
                    element,
                    depth + 1,
                    &format!("{}: ", Json::from(name.as_str())),
                    comma_after(index, object.len()),
                );
            }
            lines.push(line(&format!("}}{comma}")));
            for line in lines.iter_mut().skip(first) {
                line.owner = line.owner.or(owner);
            }
        }
        other => lines.push(line(&format!("{key}{other}{comma}"))),
    }
}

/// One line of a comparison.
struct Compared<'a> {
    change: Change<&'a str>,
    /// Whether ambiguous characters are escaped.
    is_exact: bool,
    is_shown: bool,
}

/// The changed lines with context and the names of their blocks, and the number of other lines.
fn differences(before: &[Source], after: &[Source]) -> Vec<Line> {
    let texts = |sources: &'_ [Source]| -> Vec<String> { sources.iter().map(|line| line.text.clone()).collect() };
    let (old, new) = (texts(before), texts(after));
    let (old, new): (Vec<&str>, Vec<&str>) =
        (old.iter().map(String::as_str).collect(), new.iter().map(String::as_str).collect());
    let diff = TextDiff::from_slices(&old, &new);
    let mut all: Vec<Compared<'_>> = Vec::new();
    for operation in diff.ops() {
        let changes: Vec<Change<&str>> = diff.iter_changes(operation).collect();
        let is_exact = hides_a_difference(&changes);
        all.extend(changes.into_iter().map(|change| Compared { change, is_exact, is_shown: false }));
    }
    choose(&mut all, before, after);
    let has_end = |lines: &[&str]| lines.last().is_none_or(|last| last.ends_with('\n'));
    let is_end_changed = has_end(&old) != has_end(&new);
    let mut lines = Vec::new();
    for run in all.chunk_by(|one, other| one.is_shown == other.is_shown) {
        match run {
            // A note about one hidden line takes as much space as the line.
            [first, _, ..] if !first.is_shown => lines.push(Line::Unchanged(run.len(), Part::Line)),
            shown => {
                for compared in shown {
                    lines.push(line(compared));
                    if is_end_changed && !compared.change.value().ends_with('\n') {
                        lines.push(Line::NoLineEnd);
                    }
                }
            }
        }
    }
    lines
}

/// Marks the lines that are shown.
fn choose(all: &mut [Compared<'_>], before: &[Source], after: &[Source]) {
    for index in 0..all.len() {
        let change = all[index].change;
        let (lines, own) = match change.tag() {
            ChangeTag::Equal => continue,
            ChangeTag::Delete => (before, change.old_index()),
            ChangeTag::Insert => (after, change.new_index()),
        };
        let last = all.len().min(index + CONTEXT + 1);
        all[index.saturating_sub(CONTEXT)..last].iter_mut().for_each(|compared| compared.is_shown = true);
        let owner = own.and_then(|own| lines.get(own)?.owner);
        let is_owner = |compared: &&mut Compared<'_>| match change.tag() {
            ChangeTag::Insert => owner.is_some() && compared.change.new_index() == owner,
            _ => owner.is_some() && compared.change.old_index() == owner,
        };
        if let Some(owner) = all.iter_mut().find(is_owner) {
            owner.is_shown = true;
        }
    }
}

/// Whether a removed line looks like an added one although they differ. A difference in line ends is visible anyway.
fn hides_a_difference(changes: &[Change<&str>]) -> bool {
    let lines = |tag| {
        let of_tag = changes.iter().filter(move |change| change.tag() == tag);
        of_tag.map(|change| change.value().strip_suffix('\n').unwrap_or(change.value()))
    };
    lines(ChangeTag::Delete).any(|old| {
        let shown = visible::changed_line(old);
        lines(ChangeTag::Insert).any(|new| old != new && visible::is_alike(&shown, &visible::changed_line(new)))
    })
}

fn line(compared: &Compared<'_>) -> Line {
    let text = compared.change.value();
    let changed = |text| if compared.is_exact { visible::exact_line(text) } else { visible::changed_line(text) };
    match compared.change.tag() {
        ChangeTag::Equal => Line::Same(value::safe(text.trim_end_matches(['\n', '\r']))),
        ChangeTag::Delete => Line::Gone(changed(text)),
        ChangeTag::Insert => Line::Come(changed(text)),
    }
}
