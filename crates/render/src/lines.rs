//! Differences of long texts, line by line.

use std::fmt::Write as _;

use serde_json::Value as Json;
use similar::{ChangeTag, TextDiff};

use crate::{style, value};

/// How many unchanged lines stand around a change.
const CONTEXT: usize = 2;

/// Both texts if the difference is worth showing by lines: one of them has several, or holds JSON.
pub(crate) fn texts(before: &Json, after: &Json, is_json: bool) -> Option<(String, String)> {
    let (before, after) = (value::spelled_out(before)?, value::spelled_out(after)?);
    if is_json {
        return Some((pretty(&before), pretty(&after)));
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
            for change in diff.iter_changes(operation) {
                let (sign, style) = match change.tag() {
                    ChangeTag::Delete => ('-', style::DELETE),
                    ChangeTag::Insert => ('+', style::CREATE),
                    ChangeTag::Equal => (' ', style::FAINT),
                };
                let line = value::safe(change.value().trim_end_matches(['\n', '\r']));
                let _ = writeln!(out, "{indent}{style}{sign} {line}{style:#}");
            }
        }
    }
}
