//! Reads single values of the tree: text, numbers, lists, maps. Every mistake is a finding with its place and the next step.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::{Range, RangeInclusive},
};

use crate::{
    diagnostic::{Diagnostic, Findings},
    shape::{either, nearest},
    sources::{is_unprintable, path_below, shown_text},
    tree::{Entry, Node, ScalarKind, Value},
};

/// The codes of mistakes in values that must be ASCII. Their help names a look-alike character by its code point.
const ASCII_ALONE: [&str; 5] =
    ["stack::malformed", "stack::zone", "stack::unknown_word", "stack::unknown_pool", "stack::unknown_instance_type"];

/// A key in the file, with its path.
#[derive(Debug, Clone)]
pub(crate) struct Field<'t> {
    pub(crate) path: String,
    pub(crate) place: Range<usize>,
    pub(crate) key_place: Range<usize>,
    pub(crate) node: &'t Node,
}

/// A map in the file, with its path.
#[derive(Debug, Clone)]
pub(crate) struct Map<'t> {
    pub(crate) path: String,
    pub(crate) place: Range<usize>,
    pub(crate) entries: &'t [Entry],
}

impl<'t> Map<'t> {
    pub(crate) fn get(&self, key: &str) -> Option<Field<'t>> {
        self.entries.iter().find(|entry| entry.key == key).map(|entry| self.field(entry))
    }

    pub(crate) fn fields(&self) -> impl Iterator<Item = (&'t str, Field<'t>)> + '_ {
        self.entries.iter().map(|entry| (entry.key.as_str(), self.field(entry)))
    }

    pub(crate) fn field(&self, entry: &'t Entry) -> Field<'t> {
        let path = path_below(&self.path, &entry.key);
        Field { path, place: entry.place(), key_place: entry.key_span.clone(), node: &entry.value }
    }

    /// A key that is not in the file, with its default value.
    pub(crate) fn absent<'n>(&self, key: &str, node: &'n Node) -> Field<'n> {
        let (place, key_place) = (self.place.clone(), self.place.clone());
        Field { path: path_below(&self.path, key), place, key_place, node }
    }

    /// Its path as a message shows it.
    pub(crate) fn shown(&self) -> String {
        if self.path.is_empty() { "the stack".to_owned() } else { format!("`{}`", shown_text(&self.path)) }
    }
}

impl<'t> Field<'t> {
    /// The keys below it, if it is a map. This does not check whether a map is allowed.
    pub(crate) fn keys(&self) -> Vec<(&'t str, Field<'t>)> {
        let map = Map { path: self.path.clone(), place: self.place.clone(), entries: self.node.entries() };
        map.fields().collect()
    }

    /// Its path as a message shows it.
    pub(crate) fn shown(&self) -> String {
        format!("`{}`", shown_text(&self.path))
    }

    /// The YAML type of its value, if it is a single value.
    pub(crate) fn kind(&self) -> Option<ScalarKind> {
        match &self.node.value {
            Value::Scalar(scalar) => Some(scalar.kind),
            _ => None,
        }
    }

    /// The first character in its value or its name that looks like ASCII but is not, or that is invisible.
    pub(crate) fn strange_letter(&self) -> Option<char> {
        let mut letters = self.spelled().unwrap_or_default().chars().chain(self.path.chars());
        letters.find(|letter| !letter.is_ascii())
    }

    /// Its value as written, if it is a single value.
    pub(crate) fn spelled(&self) -> Option<&str> {
        match &self.node.value {
            Value::Scalar(scalar) => Some(&scalar.text),
            _ => None,
        }
    }
}

/// Whether a number has a leading zero: YAML 1.1 reads such a number as octal, YAML 1.2 as decimal.
fn has_leading_zero(spelled: &str) -> bool {
    let digits = spelled.trim_start_matches(['+', '-']);
    digits.len() > 1 && digits.starts_with('0') && digits.bytes().all(|byte| byte.is_ascii_digit())
}

impl Findings {
    /// An error about a key. The message continues after the name of the key.
    pub(crate) fn about(&mut self, field: &Field, code: &'static str, says: impl AsRef<str>, help: impl Into<String>) {
        let message = format!("{} {}", field.shown(), says.as_ref());
        let strange = ASCII_ALONE.contains(&code).then(|| field.strange_letter()).flatten();
        let help = match strange {
            Some(letter) => {
                format!("{}; it contains U+{:04X}, which is not an ASCII character", help.into(), u32::from(letter))
            }
            None => help.into(),
        };
        self.push(Diagnostic::new(code, Some(field.place.clone()), message).with_help(help));
    }

    /// An error about the name that the user gave a key.
    pub(crate) fn about_name(&mut self, field: &Field, code: &'static str, says: &str, help: &str) {
        let field = Field { place: field.key_place.clone(), ..field.clone() };
        self.about(&field, code, says, help);
    }

    pub(crate) fn wrong_type(&mut self, field: &Field, wanted: &str, help: impl Into<String>) {
        let says = format!("is {}, but must be {wanted}", field.node.type_in_words());
        self.about(field, "stack::wrong_type", says, help);
    }

    /// An error about a missing required key. A mistyped key was reported already.
    pub(crate) fn missing(&mut self, map: &Map, key: &str, sketch: &str) {
        let path = path_below(&map.path, key);
        if self.is_mistyped(&path) {
            return;
        }
        let (place, message, help) = if let Some((environment, place)) = self.removal(&path) {
            let needed_by = if map.path.is_empty() { "every stack".to_owned() } else { map.shown() };
            let (environment, path) = (shown_text(environment), shown_text(&path));
            let message = format!("environment `{environment}` removes `{path}`, which {needed_by} needs");
            (place, message, "give it a value there, or remove the line".to_owned())
        } else {
            let message = format!("{} has no `{key}`", map.shown());
            (map.place.clone(), message, format!("add `{key}: {sketch}`"))
        };
        self.push(Diagnostic::new("stack::missing_key", Some(place), message).with_help(help));
    }

    /// Text of one line, not empty.
    pub(crate) fn text<'t>(&mut self, field: &Field<'t>) -> Option<&'t str> {
        let Value::Scalar(scalar) = &field.node.value else {
            self.wrong_type(field, "text", "write a single value");
            return None;
        };
        if scalar.kind != ScalarKind::Text {
            let help = match scalar.kind {
                ScalarKind::Null => "give it a value".to_owned(),
                _ => format!("quote it: \"{}\"", shown_text(&scalar.text)),
            };
            self.wrong_type(field, "text", help);
            return None;
        }
        self.printable(field, &scalar.text)?;
        if scalar.text.trim().is_empty() {
            self.about(field, "stack::wrong_type", "is empty", "give it a value");
            return None;
        }
        Some(&scalar.text)
    }

    /// Refuses characters that would break lines or steer terminals.
    pub(crate) fn printable<'t>(&mut self, field: &Field, text: &'t str) -> Option<&'t str> {
        let Some(found) = text.chars().find(|&letter| is_unprintable(letter)) else { return Some(text) };
        let says = format!("contains the control character U+{:04X}", u32::from(found));
        self.about(field, "stack::control_character", says, "write it on one line, without control characters");
        None
    }

    /// A whole number within a range.
    pub(crate) fn integer(&mut self, field: &Field, range: &RangeInclusive<u32>) -> Option<u32> {
        let wanted = match *range.end() {
            u32::MAX => format!("a whole number from {} up", range.start()),
            end => format!("a whole number from {} to {end}", range.start()),
        };
        let Some(ScalarKind::Integer(integer)) = field.kind() else {
            let is_quoted = field.spelled().is_some_and(|spelled| spelled.parse::<u32>().is_ok());
            let help = if is_quoted { "remove the quotes".to_owned() } else { format!("write {wanted}") };
            self.wrong_type(field, &wanted, help);
            return None;
        };
        if let Some(spelled) = field.spelled().filter(|spelled| has_leading_zero(spelled)) {
            let says = format!(
                "is `{}`, which is {integer} to some YAML readers and another number to others",
                shown_text(spelled)
            );
            self.about(field, "stack::leading_zero", says, format!("write {integer}, without zeros in front"));
            return None;
        }
        let inside = u32::try_from(integer).ok().filter(|integer| range.contains(integer));
        if inside.is_none() {
            let says = format!("is {integer}, but must be {wanted}");
            let nearest = if integer < i64::from(*range.start()) { range.start() } else { range.end() };
            self.about(field, "stack::out_of_range", says, format!("use {nearest}, the nearest allowed value"));
        }
        inside
    }

    pub(crate) fn boolean(&mut self, field: &Field) -> Option<bool> {
        if let Some(ScalarKind::Bool(boolean)) = field.kind() {
            return Some(boolean);
        }
        let help = match field.spelled().map(str::to_lowercase).as_deref() {
            Some("yes" | "on" | "y" | "1" | "true") => "write `true`, without quotes",
            Some("no" | "off" | "n" | "0" | "false") => "write `false`, without quotes",
            _ => "write `true` or `false`",
        };
        self.wrong_type(field, "`true` or `false`", help);
        None
    }

    /// One of a few words.
    pub(crate) fn word(&mut self, field: &Field, words: &[&str]) -> Option<usize> {
        let allowed = || format!("use {}", either(words));
        // Quotes do not help here: no number or boolean is one of the words.
        if !matches!(&field.node.value, Value::Scalar(scalar) if scalar.kind == ScalarKind::Text) {
            self.wrong_type(field, "text", allowed());
            return None;
        }
        let text = self.text(field)?;
        if let Some(at) = words.iter().position(|word| *word == text) {
            return Some(at);
        }
        let help = match nearest(text, words.iter().copied()) {
            Some(nearest) => format!("did you mean `{nearest}`?"),
            None => allowed(),
        };
        self.about(field, "stack::unknown_word", format!("does not know `{}`", shown_text(text)), help);
        None
    }

    /// A map. An empty value counts as an empty map.
    pub(crate) fn map<'t>(&mut self, field: &Field<'t>) -> Option<Map<'t>> {
        if !field.node.is_null() && !matches!(field.node.value, Value::Map(_)) {
            self.wrong_type(field, "a map", "write its keys on lines of their own below it, indented");
            return None;
        }
        Some(Map { path: field.path.clone(), place: field.place.clone(), entries: field.node.entries() })
    }

    /// The items of a list. An empty value counts as an empty list.
    pub(crate) fn items<'t>(&mut self, field: &Field<'t>) -> Option<Vec<Field<'t>>> {
        match &field.node.value {
            Value::List(items) => {
                let item = |(at, node): (usize, &'t Node)| Field {
                    path: format!("{}[{at}]", field.path),
                    place: node.span.clone(),
                    key_place: node.span.clone(),
                    node,
                };
                Some(items.iter().enumerate().map(item).collect())
            }
            _ if field.node.is_null() => Some(Vec::new()),
            _ => {
                self.wrong_type(field, "a list", "write it in brackets: `[…, …]`");
                None
            }
        }
    }

    /// A map of the user's own keys to single values, each value as written.
    pub(crate) fn scalars(
        &mut self,
        field: &Field,
        mut check: impl FnMut(&mut Self, &str, &str, &Field) -> Option<()>,
    ) -> Option<BTreeMap<String, String>> {
        let map = self.map(field)?;
        let mut values = BTreeMap::new();
        let mut whole = true;
        for (key, field) in map.fields() {
            let value = match field.spelled() {
                Some(value) if !field.node.is_null() => self.printable(&field, value),
                _ => {
                    self.wrong_type(&field, "a single value", "write text, a number or a boolean");
                    None
                }
            };
            match value {
                Some(value) if check(self, key, value, &field).is_some() => {
                    values.insert(key.to_owned(), value.to_owned());
                }
                _ => whole = false,
            }
        }
        whole.then_some(values)
    }

    /// Refuses equal values.
    pub(crate) fn written_twice<'f>(&mut self, fields: impl Iterator<Item = (&'f str, &'f Field<'f>)>) -> Option<()> {
        let mut seen = BTreeSet::new();
        let mut whole = true;
        for (value, field) in fields {
            if !seen.insert(value) {
                let says = format!("names `{}` a second time", shown_text(value));
                self.about(field, "stack::duplicate_value", says, "remove it, or name a different one");
                whole = false;
            }
        }
        whole.then_some(())
    }
}
