//! Differences of long texts, line by line.

use std::fmt::Write as _;

use serde_json::Value as Json;
use similar::{Change, ChangeTag, TextDiff};

use crate::{style, value, visible};

/// How many unchanged lines stand around a change.
const CONTEXT: usize = 2;

/// Both texts if the difference is worth showing by lines: one of them has several, or holds JSON.
pub(crate) fn texts(before: &Json, after: &Json, is_json: bool) -> Option<(String, String)> {
    let (before, after) = (value::spelled_out(before)?, value::spelled_out(after)?);
    if is_json {
        let (shown_before, shown_after) = (pretty(&before), pretty(&after));
        // Equal documents in different words: those are the difference then.
        return if shown_before == shown_after { None } else { Some((shown_before, shown_after)) };
    }
    (before.lines().count() > 1 || after.lines().count() > 1).then_some((before, after))
}

/// Whether a text is a JSON document.
pub(crate) fn is_json(text: &str) -> bool {
    serde_json::from_str::<Json>(text).is_ok()
}

/// JSON over several lines; other text as it is.
pub(crate) fn pretty(text: &str) -> String {
    serde_json::from_str::<Json>(text)
        .ok()
        .and_then(|json| serde_json::to_string_pretty(&json).ok())
        .unwrap_or_else(|| text.to_owned())
}

/// Appends the changed lines with a little of what surrounds them.
pub(crate) fn append(out: &mut String, before: &str, after: &str, indent: &str) {
    let diff = TextDiff::from_lines(before, after);
    for (index, group) in diff.grouped_ops(CONTEXT).iter().enumerate() {
        if index > 0 {
            let _ = writeln!(out, "{indent}{}⋮{:#}", style::FAINT, style::FAINT);
        }
        for operation in group {
            let changes: Vec<Change<&str>> = diff.iter_changes(operation).collect();
            let is_exact = hides_a_difference(&changes);
            for change in changes {
                append_line(out, change, is_exact, indent);
            }
        }
    }
}

/// Whether a line that goes looks like one that comes, and is another one.
fn hides_a_difference(changes: &[Change<&str>]) -> bool {
    let lines = |tag| changes.iter().filter(move |change| change.tag() == tag).map(Change::value);
    lines(ChangeTag::Delete).any(|old| {
        let shown = visible::changed_line(old);
        lines(ChangeTag::Insert).any(|new| old != new && visible::is_alike(&shown, &visible::changed_line(new)))
    })
}

fn append_line(out: &mut String, change: Change<&str>, is_exact: bool, indent: &str) {
    let (sign, style) = match change.tag() {
        ChangeTag::Delete => ('-', style::DELETE),
        ChangeTag::Insert => ('+', style::CREATE),
        ChangeTag::Equal => (' ', style::FAINT),
    };
    let line = match change.tag() {
        ChangeTag::Equal => value::safe(change.value().trim_end_matches(['\n', '\r'])),
        _ if is_exact => visible::exact_line(change.value()),
        _ => visible::changed_line(change.value()),
    };
    let _ = writeln!(out, "{indent}{style}{sign} {line}{style:#}");
}
