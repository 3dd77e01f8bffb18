//! Writes drift: each resource, and for each attribute what is desired, recorded and observed, one below the other.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use trunnion_engine::{Drift, DriftKind, Drifted, DriftedAttribute, Value};

use crate::{
    lines, style, terminal,
    tree::{Line, Part},
    value::{exact, safe, whole},
    visible,
};

/// The whole drift, with ANSI styles.
pub fn drift(drift: &Drift) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = writeln!(
        text,
        "{}Drift of {}{:#} in {}\n",
        style::STRONG,
        safe(&drift.stack),
        style::STRONG,
        safe(&drift.place)
    );
    for resource in &drift.resources {
        write_resource(&mut text, resource);
        text.push('\n');
    }
    if !drift.notes.is_empty() {
        text += &terminal::notes(&drift.notes);
        text.push('\n');
    }
    let summary = match (drift.resources.len(), drift.compared) {
        (0, 0) => "No drift: there are no resources.".to_owned(),
        (0, 1) => "No drift: the one resource is as it was applied.".to_owned(),
        (0, count) => format!("No drift: all {count} resources are as they were applied."),
        (1, _) => "Drift: 1 resource is not as it was applied.".to_owned(),
        (count, _) => format!("Drift: {count} resources are not as they were applied."),
    };
    let _ = writeln!(text, "{}{summary}{:#}", style::STRONG, style::STRONG);
    text
}

/// How many resources drifted.
pub(crate) fn drift_claim(drift: &Drift) -> String {
    match drift.resources.len() {
        1 => "1 resource is not as it was applied".to_owned(),
        count => format!("{count} resources are not as they were applied"),
    }
}

/// Resources of one kind that drifted in the same way.
pub(crate) struct DriftRow<'d> {
    pub(crate) kind: &'d str,
    /// In which way: `changed`, `gone`, `not recorded`.
    pub(crate) what: &'static str,
    /// The path of the attribute; nothing of a resource that is gone or not recorded.
    pub(crate) attribute: Option<String>,
    /// How many resources.
    pub(crate) count: usize,
}

/// The drift by kind and attribute. The key of a tag is part of it, the position in a list is not.
pub(crate) fn drift_rows(drift: &Drift) -> Vec<DriftRow<'_>> {
    let mut counts = BTreeMap::new();
    for resource in &drift.resources {
        let attributes: BTreeSet<Option<String>> = match resource.kind {
            DriftKind::Changed => resource.attributes.iter().map(|attribute| Some(alike(&attribute.path))).collect(),
            DriftKind::Gone | DriftKind::Unrecorded => BTreeSet::from([None]),
        };
        for attribute in attributes {
            *counts.entry((resource.address.kind.as_str(), word(resource.kind), attribute)).or_default() += 1;
        }
    }
    let row = |((kind, what, attribute), count)| DriftRow { kind, what, attribute, count };
    counts.into_iter().map(row).collect()
}

/// A path without the positions in lists: `ingress[2].peer` becomes `ingress[].peer`.
fn alike(path: &str) -> String {
    let mut text = String::new();
    let mut parts = path.split('[');
    text.extend(parts.next());
    for part in parts {
        text.push('[');
        text += part.trim_start_matches(|letter: char| letter.is_ascii_digit());
    }
    text
}

fn word(kind: DriftKind) -> &'static str {
    match kind {
        DriftKind::Changed => "changed",
        DriftKind::Gone => "gone",
        DriftKind::Unrecorded => "not recorded",
    }
}

fn write_resource(text: &mut String, resource: &Drifted) {
    let what = word(resource.kind);
    let style = match resource.kind {
        DriftKind::Changed => style::UPDATE,
        DriftKind::Gone => style::DELETE,
        DriftKind::Unrecorded => style::CREATE,
    };
    let since = resource.applied_at.as_ref().map(|at| format!(" · last applied {}", safe(at))).unwrap_or_default();
    let address = visible::line(&resource.address.to_string());
    let _ = writeln!(text, "{style}{address}{style:#} {what}");
    let _ = writeln!(text, "  {}{}{since}{:#}", style::FAINT, visible::line(&resource.id), style::FAINT);
    for attribute in &resource.attributes {
        let _ = writeln!(text, "  {}", visible::line(&attribute.path));
        write_attribute(text, attribute, resource.kind != DriftKind::Unrecorded);
    }
}

/// Values are never cut: what differs may be at their end.
fn write_attribute(text: &mut String, attribute: &DriftedAttribute, is_recorded: bool) {
    let DriftedAttribute { desired, recorded, observed, .. } = attribute;
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(text, "    {}{name:8}{:#}  {value}", style::FAINT, style::FAINT);
    };
    let before = if is_recorded { recorded } else { desired };
    if let Some(lines) = lines::between(before.as_ref(), observed.as_ref()) {
        let is_like = |other: &Option<Value>| desired == other;
        let known = if is_recorded { "as recorded" } else { "see below" };
        line(
            "desired",
            if is_like(before) {
                known
            } else if is_like(observed) {
                "as observed"
            } else {
                "another text"
            },
        );
        line("recorded", if is_recorded { "see below" } else { UNKNOWN });
        line("observed", "see below");
        for one in lines {
            let _ = writeln!(text, "      {}", written(&one));
        }
        return;
    }
    let values = [desired, recorded, observed];
    let usual = values.map(|value| value.as_ref().map(whole));
    let is_alike = |one: usize, other: usize| values[one] != values[other] && usual[one] == usual[other];
    let spell = if is_alike(0, 1) || is_alike(1, 2) || is_alike(0, 2) { exact } else { whole };
    let shown = |value: &Option<Value>| value.as_ref().map_or_else(|| "(none)".to_owned(), spell);
    line("desired", &shown(desired));
    line("recorded", &if is_recorded { shown(recorded) } else { UNKNOWN.to_owned() });
    line("observed", &shown(observed));
}

/// What nobody recorded.
const UNKNOWN: &str = "(unknown)";

fn written(line: &Line) -> String {
    match line {
        Line::Same(text) => format!("  {text}"),
        Line::Gone(text) => format!("- {text}"),
        Line::Come(text) | Line::New(text) | Line::Element(text) => format!("+ {text}"),
        Line::Unchanged(count, Part::Line) => format!("  … {count} unchanged lines"),
        Line::Unchanged(count, Part::Element) => format!("  … {count} unchanged elements"),
        Line::NoLineEnd => "  (no line end)".to_owned(),
    }
}
