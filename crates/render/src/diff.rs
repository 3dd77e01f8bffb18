//! The lines of an attribute, each with the side that has it, as Markdown and HTML show them.

use crate::{
    terminal::parts,
    tree::{Content, Line, Row},
};

/// Which side of a change has a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// Both, or there is only one.
    Both,
    /// The old one.
    Before,
    /// The new one.
    After,
}

impl Side {
    /// The sign in front of the line, and a space.
    pub(crate) const fn sign(self) -> &'static str {
        match self {
            Self::Both => "  ",
            Self::Before => "- ",
            Self::After => "+ ",
        }
    }
}

/// The lines of an attribute.
pub(crate) fn lines(row: &Row) -> Vec<(Side, String)> {
    let path = &row.path;
    let only = |text| vec![(Side::Both, text)];
    match &row.content {
        Content::Sensitive => only(format!("{path} (sensitive) changed")),
        Content::Value(value) => only(format!("{path} {value}")),
        Content::Change { before, after } => {
            vec![(Side::Before, format!("{path} {before}")), (Side::After, format!("{path} {after}"))]
        }
        Content::NotShown(count) => only(format!("{path} ({count}, not shown)")),
        Content::LineCount(count) => only(format!("{path} {count} lines")),
        Content::Lines(lines) => {
            let lines = lines.iter().map(line).map(|(side, text)| (side, format!("  {text}")));
            std::iter::once((Side::Both, path.clone())).chain(lines).collect()
        }
    }
}

fn line(line: &Line) -> (Side, String) {
    match line {
        Line::Same(text) | Line::New(text) => (Side::Both, text.clone()),
        Line::Element(text) => (Side::Both, format!("- {text}")),
        Line::Gone(text) => (Side::Before, text.clone()),
        Line::Come(text) => (Side::After, text.clone()),
        Line::Unchanged(count, part) => (Side::Both, format!("⋮ {count} {} unchanged", parts(*count, *part))),
        Line::NoLineEnd => (Side::Both, "\\ no newline at the end".to_owned()),
    }
}
