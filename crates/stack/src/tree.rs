//! The stack file as a tree. Every node has its place.
//!
//! Makes one [`Node`] from YAML text and resolves aliases and merge keys (`<<`). It reads the parser's events directly,
//! because the spelling of a scalar matters (`java: 021`, a variable `1.10`) and because every duplicate key is
//! reported, not only the first. Depth and the size of alias copies are limited.

use std::{
    collections::{BTreeMap, HashMap},
    ops::Range,
};

use serde_saphyr::granit_parser::{Event, Options, Parser, ScalarStyle, ScanError, Span, StrInput, Tag};

use crate::{
    diagnostic::{Diagnostic, Findings},
    sources::shown_text,
};

/// The deepest allowed nesting.
const DEEPEST: usize = 32;
/// The longest allowed key, in bytes. Messages contain paths, which consist of keys.
const LONGEST_KEY: usize = 256;
/// The most bytes that all aliases of a file together may copy.
const MOST_COPIED: usize = 1 << 20;

/// A value and its place.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    pub(crate) span: Range<usize>,
    pub(crate) value: Value,
}

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Scalar(Scalar),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// A single value: its spelling and its YAML type.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Scalar {
    pub(crate) text: String,
    pub(crate) kind: ScalarKind,
}

/// The YAML 1.2 type of a plain scalar.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum ScalarKind {
    Null,
    Bool(bool),
    Integer(i64),
    /// A fraction, or a whole number that is too large for any key.
    Number,
    Text,
}

/// A key with its value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) key_span: Range<usize>,
    pub(crate) value: Node,
}

impl Entry {
    /// The place for messages: the value, or the key if the value is long or empty.
    pub(crate) fn place(&self) -> Range<usize> {
        match &self.value.value {
            Value::Scalar(scalar) if scalar.kind != ScalarKind::Null => self.value.span.clone(),
            _ => self.key_span.clone(),
        }
    }
}

impl Node {
    /// Its type, for messages.
    pub(crate) fn type_in_words(&self) -> &'static str {
        match &self.value {
            Value::List(_) => "a list",
            Value::Map(_) => "a map",
            Value::Scalar(scalar) => match scalar.kind {
                ScalarKind::Null => "empty",
                ScalarKind::Bool(_) => "a boolean",
                ScalarKind::Integer(_) => "a whole number",
                ScalarKind::Number => "a number",
                ScalarKind::Text => "text",
            },
        }
    }

    /// The entries of a map; empty for other values.
    pub(crate) fn entries(&self) -> &[Entry] {
        match &self.value {
            Value::Map(entries) => entries,
            _ => &[],
        }
    }

    pub(crate) fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar(Scalar { kind: ScalarKind::Null, .. }))
    }

    /// Whether the value is an explicit `null` or `~`, not an empty value.
    pub(crate) fn is_written_null(&self) -> bool {
        self.is_null() && !self.span.is_empty()
    }

    fn bytes(&self) -> usize {
        // A node counts even if its text is empty.
        32 + match &self.value {
            Value::Scalar(scalar) => scalar.text.len(),
            Value::List(items) => items.iter().map(Node::bytes).sum(),
            Value::Map(entries) => entries.iter().map(|entry| entry.key.len() + entry.value.bytes()).sum(),
        }
    }

    fn height(&self) -> usize {
        match &self.value {
            Value::Scalar(_) => 0,
            Value::List(items) => 1 + items.iter().map(Node::height).max().unwrap_or(0),
            Value::Map(entries) => 1 + entries.iter().map(|entry| entry.value.height()).max().unwrap_or(0),
        }
    }
}

/// Reads the only document of a YAML text. On failure, the findings contain the reason.
pub(crate) fn read(text: &str, findings: &mut Findings) -> Option<Node> {
    let mut options = Options::default();
    options.set_emit_comments(false);
    let parser = Parser::new_from_str_with_options(text, options);
    Reader { text, parser, anchors: HashMap::new(), copied: 0, findings }.document().ok()
}

/// Reading cannot continue. The findings contain the reason.
struct Stopped;

#[derive(Clone)]
struct Anchored {
    node: Node,
    bytes: usize,
    height: usize,
}

struct Reader<'t, 'f> {
    text: &'t str,
    parser: Parser<'t, StrInput<'t>>,
    anchors: HashMap<usize, Anchored>,
    copied: usize,
    findings: &'f mut Findings,
}

impl<'t> Reader<'t, '_> {
    fn document(&mut self) -> Result<Node, Stopped> {
        loop {
            match self.next()? {
                (Event::DocumentStart(..), _) => break,
                (Event::StreamEnd, _) => return Err(self.empty()),
                _ => {}
            }
        }
        let (event, span) = self.next()?;
        let root = self.node(event, span, 0)?;
        loop {
            match self.next()? {
                (Event::StreamEnd, _) if root.is_null() => return Err(self.empty()),
                (Event::StreamEnd, _) => return Ok(root),
                (Event::DocumentStart(..), span) => {
                    let message = "the file holds more than one YAML document";
                    let help = "keep one stack per file; what differs between two of them belongs in `environments`";
                    return Err(self.stop("stack::several_documents", span, message, help));
                }
                _ => {}
            }
        }
    }

    fn node(&mut self, event: Event<'t>, span: Range<usize>, depth: usize) -> Result<Node, Stopped> {
        if depth > DEEPEST {
            return Err(self.too_deep(span));
        }
        let (node, anchor) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                let is_text = style != ScalarStyle::Plain || self.is_text(tag.as_deref(), &span)?;
                let kind = if is_text { ScalarKind::Text } else { plain(&text) };
                (Node { span, value: Value::Scalar(Scalar { text: text.into_owned(), kind }) }, anchor)
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.is_text(tag.as_deref(), &span)?;
                (self.list(span.start, depth)?, anchor)
            }
            Event::MappingStart(_, anchor, tag) => {
                self.is_text(tag.as_deref(), &span)?;
                (self.map(span.start, depth)?, anchor)
            }
            Event::Alias(anchor) => return self.alias(anchor, span, depth),
            _ => {
                return Err(self.stop("stack::syntax", span, "the YAML is malformed here", "write a value here"));
            }
        };
        if anchor != 0 {
            let (bytes, height) = (node.bytes(), node.height());
            self.copied += bytes;
            self.anchors.insert(anchor, Anchored { node: node.clone(), bytes, height });
        }
        Ok(node)
    }

    fn list(&mut self, start: usize, depth: usize) -> Result<Node, Stopped> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, span) => {
                    return Ok(Node { span: self.written(start, span.end), value: Value::List(items) });
                }
                (event, span) => items.push(self.node(event, span, depth + 1)?),
            }
        }
    }

    fn map(&mut self, start: usize, depth: usize) -> Result<Node, Stopped> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut places: BTreeMap<String, Range<usize>> = BTreeMap::new();
        let mut merged: Vec<Node> = Vec::new();
        let end = loop {
            let key = match self.next()? {
                (Event::MappingEnd, span) => break span.end,
                (event, span) => self.node(event, span, depth + 1)?,
            };
            let (event, span) = self.next()?;
            let value = self.node(event, span, depth + 1)?;
            let Some(name) = self.key(&key) else { continue };
            if name == "<<" {
                merged.push(value);
                continue;
            }
            if let Some(first) = places.get(name) {
                let message = format!("`{}` is written twice in the same map", shown_text(name));
                self.findings.push(
                    Diagnostic::new("stack::duplicate_key", Some(key.span.clone()), message)
                        .with_help("keep one of the two")
                        .with_also(first.clone(), "written first here"),
                );
                continue;
            }
            places.insert(name.to_owned(), key.span.clone());
            entries.push(Entry { key: name.to_owned(), key_span: key.span.clone(), value });
        };
        for node in merged {
            self.merge(node, &mut entries, &mut places)?;
        }
        Ok(Node { span: self.written(start, end), value: Value::Map(entries) })
    }

    /// The text of a key. Another type of key is a finding.
    fn key<'k>(&mut self, key: &'k Node) -> Option<&'k str> {
        if let Value::Scalar(Scalar { text, kind: ScalarKind::Text }) = &key.value {
            if text.len() <= LONGEST_KEY {
                return Some(text);
            }
            let message = format!("a key is longer than {LONGEST_KEY} bytes");
            let found = Diagnostic::new("stack::key_type", Some(key.span.clone()), message);
            self.findings.push(found.with_help("no key of a stack is longer; look for a missing colon"));
            return None;
        }
        let help = match &key.value {
            Value::Scalar(scalar) if scalar.kind != ScalarKind::Null => {
                format!("quote it: \"{}\"", shown_text(&scalar.text))
            }
            _ => "write a plain word before the colon".to_owned(),
        };
        let message = format!("a key is {}, but keys are text", key.type_in_words());
        self.findings.push(Diagnostic::new("stack::key_type", Some(key.span.clone()), message).with_help(help));
        None
    }

    /// Adds the entries of a merge key. Keys of the map itself take precedence, then earlier ones.
    fn merge(
        &mut self,
        node: Node,
        entries: &mut Vec<Entry>,
        places: &mut BTreeMap<String, Range<usize>>,
    ) -> Result<(), Stopped> {
        match node.value {
            Value::Map(brought) => {
                for entry in brought {
                    if !places.contains_key(&entry.key) {
                        places.insert(entry.key.clone(), entry.key_span.clone());
                        entries.push(entry);
                    }
                }
                Ok(())
            }
            Value::List(items) if items.iter().all(|item| matches!(item.value, Value::Map(_))) => {
                items.into_iter().try_for_each(|item| self.merge(item, entries, places))
            }
            _ => {
                let help = "give it the alias of a map, such as `<<: *defaults`";
                Err(self.stop("stack::merge_key", node.span, "`<<` must be a map, or a list of maps", help))
            }
        }
    }

    fn alias(&mut self, anchor: usize, span: Range<usize>, depth: usize) -> Result<Node, Stopped> {
        let Some(Anchored { node, bytes, height }) = self.anchors.get(&anchor).cloned() else {
            let help = "write the value out";
            return Err(self.stop("stack::alias", span, "this alias is inside the value that it stands for", help));
        };
        if depth + height > DEEPEST {
            return Err(self.too_deep(span));
        }
        self.copied += bytes;
        if self.copied > MOST_COPIED {
            let message = "the aliases of this file copy more than 1 MiB";
            return Err(self.stop("stack::alias", span, message, "write the values out, or use fewer aliases"));
        }
        Ok(node)
    }

    /// Whether a tag makes the value text. Only `!!str` and tags without effect are accepted.
    fn is_text(&mut self, tag: Option<&Tag>, span: &Range<usize>) -> Result<bool, Stopped> {
        let Some(tag) = tag else { return Ok(false) };
        match (tag.handle(), tag.suffix()) {
            ("tag:yaml.org,2002:", "str") => Ok(true),
            ("tag:yaml.org,2002:", "map" | "seq") => Ok(false),
            _ => {
                let message = format!("the YAML tag `{}` has no meaning here", shown_text(&tag.to_string()));
                Err(self.stop("stack::yaml_tag", span.clone(), message, "remove the tag"))
            }
        }
    }

    fn next(&mut self) -> Result<(Event<'t>, Range<usize>), Stopped> {
        match self.parser.next_event() {
            Some(Ok((event, span))) => Ok((event, self.bytes_of(span))),
            Some(Err(error)) => Err(self.malformed(&error)),
            None => {
                let end = self.text.len();
                Err(self.stop("stack::syntax", end..end, "the YAML ends too early", "finish what the last line began"))
            }
        }
    }

    fn bytes_of(&self, span: Span) -> Range<usize> {
        self.written(span.start.byte_offset().unwrap_or(0), span.end.byte_offset().unwrap_or(0))
    }

    /// The bytes from start to end without trailing blanks and newlines, which the parser includes.
    fn written(&self, start: usize, end: usize) -> Range<usize> {
        let start = start.min(end);
        let written = self.text.get(start..end).unwrap_or_default().trim_end();
        start..start + written.len()
    }

    fn malformed(&mut self, error: &ScanError) -> Stopped {
        let at = error.marker().byte_offset().unwrap_or(0).min(self.text.len());
        let at = (0..=at).rev().find(|&at| self.text.is_char_boundary(at)).unwrap_or(0);
        let line_start = self.text[..at].rfind('\n').map_or(0, |newline| newline + 1);
        // The parser reports a tab at its place or at the end of the line before.
        let mut start = line_start;
        for line in self.text[line_start..].split_inclusive('\n').take(2) {
            let indent = &line[..line.len() - line.trim_start_matches([' ', '\t']).len()];
            if let Some(tab) = indent.find('\t') {
                let message = "the YAML is malformed: a tab in the indentation";
                let help = "indent this line with spaces, like the lines around it";
                return self.stop("stack::syntax", start + tab..start + tab + 1, message, help);
            }
            start += line.len();
        }
        let help = if self.text[at..].starts_with(['@', '`', '%', '&', '!']) {
            "a value that begins with this character needs quotes"
        } else if self.text[at..].starts_with('*') {
            "`*name` stands for the value that was marked with `&name` further up; text needs quotes"
        } else if self.text[line_start..]
            .lines()
            .next()
            .is_some_and(|line| line.contains(": arn:") && line.trim_end().ends_with(':'))
        {
            "a value that ends in a colon needs quotes"
        } else {
            "look at the indentation, the colons and the quotes of this line and of the line above it"
        };
        self.stop("stack::syntax", at..at, format!("the YAML is malformed: {}", shown_text(&error.info())), help)
    }

    fn empty(&mut self) -> Stopped {
        let help = "begin with `stack: <name>`; the JSON Schema lists every key";
        self.stop("stack::empty", 0..0, "the stack file is empty", help)
    }

    fn too_deep(&mut self, span: Range<usize>) -> Stopped {
        let message = format!("the file is nested more than {DEEPEST} levels deep");
        self.stop("stack::too_deep", span, message, "no key of a stack needs more than six levels")
    }

    fn stop(&mut self, code: &'static str, span: Range<usize>, message: impl Into<String>, help: &str) -> Stopped {
        self.findings.push(Diagnostic::new(code, Some(span), message).with_help(help));
        Stopped
    }
}

/// The type of an unquoted scalar in the core schema of YAML 1.2.
fn plain(text: &str) -> ScalarKind {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return ScalarKind::Null,
        "true" | "True" | "TRUE" => return ScalarKind::Bool(true),
        "false" | "False" | "FALSE" => return ScalarKind::Bool(false),
        _ => {}
    }
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    if !unsigned.is_empty() && unsigned.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().map_or(ScalarKind::Number, ScalarKind::Integer);
    }
    let radix = |prefix, radix| text.strip_prefix(prefix).map(|digits| i64::from_str_radix(digits, radix));
    if let Some(Ok(integer)) = radix("0x", 16).or_else(|| radix("0o", 8)) {
        return ScalarKind::Integer(integer);
    }
    let is_number = unsigned.starts_with(|first: char| first.is_ascii_digit() || first == '.')
        && unsigned.bytes().all(|byte| byte.is_ascii_digit() || b".eE+-".contains(&byte))
        && text.parse::<f64>().is_ok();
    let is_special = matches!(unsigned, ".inf" | ".Inf" | ".INF") || matches!(text, ".nan" | ".NaN" | ".NAN");
    if is_number || is_special { ScalarKind::Number } else { ScalarKind::Text }
}

#[cfg(test)]
mod tests;
