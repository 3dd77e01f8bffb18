//! The places of all keys in the stack file, so that later stages can point at them.
//!
//! The stored text has the same length and places as the file. Control characters, bidirectional marks and secrets in
//! it are replaced.

use std::{collections::BTreeMap, fmt::Write as _, ops::Range, path::Path, sync::Arc};

use miette::SourceSpan;

use crate::{
    diagnostic::Diagnostic,
    excerpt::Shown,
    secrets,
    tree::{Node, Value},
};

/// The text of the stack file for messages, and the places of its keys after the environment was merged in.
#[derive(Debug, Clone)]
pub struct Sources {
    source: Arc<Shown>,
    spans: Arc<BTreeMap<String, Range<usize>>>,
}

impl Sources {
    pub(crate) fn new(source: Arc<Shown>, root: &Node) -> Self {
        let mut spans = BTreeMap::new();
        collect(root, "", &mut spans);
        Sources { source, spans: Arc::new(spans) }
    }

    /// The file's name, as it was given.
    pub fn name(&self) -> &str {
        &self.source.name
    }

    /// The file's text for messages, without secrets and control characters.
    pub fn text(&self) -> &str {
        &self.source.text
    }

    /// The place of a key path such as `pools.heavy.count` or `control_plane.zones[0]`: its value, or its key if the
    /// value is a map or a list. A key that is not in the file has the place of the nearest key around it.
    pub fn span(&self, path: &str) -> Option<SourceSpan> {
        let mut path = path;
        loop {
            if let Some(span) = self.spans.get(path) {
                return Some(span.clone().into());
            }
            path = &path[..path.rfind(['.', '['])?];
        }
    }

    /// Whether the file has the key at `path`.
    pub fn has(&self, path: &str) -> bool {
        self.spans.contains_key(path)
    }

    /// An error about the key at `path`.
    pub fn diagnostic(
        &self,
        path: &str,
        code: &'static str,
        message: impl Into<String>,
        help: Option<String>,
    ) -> Diagnostic {
        let span = self.span(path).map(|span| span.offset()..span.offset() + span.len());
        let mut found = Diagnostic::new(code, span, message).with_source(&self.source);
        found.help = help;
        found
    }
}

fn collect(node: &Node, path: &str, spans: &mut BTreeMap<String, Range<usize>>) {
    match &node.value {
        Value::Scalar(_) => {}
        Value::List(items) => {
            for (at, item) in items.iter().enumerate() {
                let path = format!("{path}[{at}]");
                collect(item, &path, spans);
                spans.insert(path, item.span.clone());
            }
        }
        Value::Map(entries) => {
            for entry in entries {
                let path = path_below(path, &entry.key);
                collect(&entry.value, &path, spans);
                spans.insert(path, entry.place());
            }
        }
    }
}

/// The path of a key below this one.
pub(crate) fn path_below(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// The file's text for messages, with the same length in bytes.
pub(crate) fn shown_source(path: &Path, text: &str, hidden: &[Range<usize>]) -> Arc<Shown> {
    let mut masked = vec![false; text.len()];
    for span in hidden.iter().cloned().chain(secrets::hidden_places(text)) {
        if let Some(bytes) = masked.get_mut(span) {
            bytes.fill(true);
        }
    }
    let mut shown = String::with_capacity(text.len());
    for (at, letter) in text.char_indices() {
        let is_blank = matches!(letter, '\n' | '\r' | '\t' | ' ');
        let instead = match masked.get(at) {
            _ if is_blank => None,
            Some(true) => Some('*'),
            _ => (is_unprintable(letter) || is_invisible(letter)).then_some('?'),
        };
        match instead {
            // One replacement for each byte of the character, so that places do not move.
            Some(instead) => shown.extend(std::iter::repeat_n(instead, letter.len_utf8())),
            None => shown.push(letter),
        }
    }
    Arc::new(Shown { name: shown_path(path), text: shown })
}

/// A part of a message, without control or invisible characters and not longer than a line.
pub(crate) fn shown_text(text: &str) -> String {
    let mut letters = text.chars();
    let mut shown = visible(letters.by_ref().take(100));
    if letters.next().is_some() {
        shown.push('…');
    }
    shown
}

/// The full path of a file, so that editors can open it.
pub(crate) fn shown_path(path: &Path) -> String {
    visible(path.display().to_string().chars())
}

fn visible(letters: impl Iterator<Item = char>) -> String {
    letters.fold(String::new(), |mut shown, letter| {
        if is_unprintable(letter) {
            shown.push(char::REPLACEMENT_CHARACTER);
        } else if is_invisible(letter) {
            let _ = write!(shown, "<U+{:04X}>", u32::from(letter));
        } else {
            shown.push(letter);
        }
        shown
    })
}

/// Control characters, and characters that change the direction of text.
pub(crate) fn is_unprintable(letter: char) -> bool {
    letter.is_control() || matches!(letter, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}')
}

/// Unusual spaces and characters without width, which are invisible beside other text.
pub(crate) fn is_invisible(letter: char) -> bool {
    match letter {
        ' ' => false,
        '\u{ad}'
        | '\u{34f}'
        | '\u{61c}'
        | '\u{115f}'
        | '\u{1160}'
        | '\u{17b4}'
        | '\u{17b5}'
        | '\u{180b}'..='\u{180e}'
        | '\u{200b}'..='\u{200d}'
        | '\u{2028}'
        | '\u{2029}'
        | '\u{2060}'..='\u{206f}'
        | '\u{3164}'
        | '\u{fe00}'..='\u{fe0f}'
        | '\u{feff}'
        | '\u{ffa0}'
        | '\u{e0000}'..='\u{e0fff}' => true,
        other => other.is_whitespace() && !other.is_control(),
    }
}
