//! Types of values that several keys use.

use std::{collections::BTreeMap, fmt::Display, marker::PhantomData, ops::RangeInclusive, sync::LazyLock};

use serde_json::{Value as Json, json};

use super::{Around, Below, Described, Named as Names, key::Kind, section::Section};
use crate::{diagnostic::Findings, field::Field, forms::Form, shape::nearest, sources::shown_text};

/// A form that is created on first use.
pub(super) type Pattern = &'static LazyLock<Form>;

/// A whole number within these bounds. `u32::MAX` as the upper bound means that another check limits it.
pub(super) struct Integer<T>(pub(super) RangeInclusive<T>);

impl<T: Copy + Into<u32> + TryFrom<u32>> Kind for Integer<T> {
    type Value = T;

    fn read(&self, field: &Field, _: &Around, findings: &mut Findings) -> Option<T> {
        let range = (*self.0.start()).into()..=(*self.0.end()).into();
        findings.integer(field, &range).and_then(|integer| T::try_from(integer).ok())
    }

    fn describe(&self) -> Described {
        let (from, to) = ((*self.0.start()).into(), (*self.0.end()).into());
        let mut schema = json!({ "type": "integer", "minimum": from });
        if to < u32::MAX {
            schema["maximum"] = json!(to);
        }
        let bounds = if to < u32::MAX { format!("{from} to {to}") } else { format!("{from} or more") };
        Described { name: "whole number".to_owned(), bounds: vec![bounds], forms: vec![schema], ..Described::default() }
    }
}

/// `true` or `false`.
pub(super) struct Boolean;

impl Kind for Boolean {
    type Value = bool;

    fn read(&self, field: &Field, _: &Around, findings: &mut Findings) -> Option<bool> {
        findings.boolean(field)
    }

    fn describe(&self) -> Described {
        let forms = vec![json!({ "type": "boolean" })];
        Described { name: "`true` or `false`".to_owned(), forms, ..Described::default() }
    }
}

/// One of a few words, each with its value and its meaning.
pub(super) struct Word<T: 'static>(pub(super) &'static [(&'static str, T, &'static str)]);

impl<T: Copy> Kind for Word<T> {
    type Value = T;

    fn read(&self, field: &Field, _: &Around, findings: &mut Findings) -> Option<T> {
        let words: Vec<&str> = self.0.iter().map(|(word, ..)| *word).collect();
        findings.word(field, &words).and_then(|at| self.0.get(at)).map(|(_, value, _)| *value)
    }

    fn describe(&self) -> Described {
        let words: Vec<&str> = self.0.iter().map(|(word, ..)| *word).collect();
        let bounds = self.0.iter().map(|(word, _, meaning)| format!("`{word}`: {meaning}")).collect();
        let forms = vec![json!({ "type": "string", "enum": words })];
        Described { name: "one of these words".to_owned(), bounds, forms, ..Described::default() }
    }
}

/// Text on one line.
pub(super) struct Line;

impl Kind for Line {
    type Value = String;

    fn read(&self, field: &Field, _: &Around, findings: &mut Findings) -> Option<String> {
        findings.text(field).map(str::to_owned)
    }

    fn describe(&self) -> Described {
        Described {
            name: "text".to_owned(),
            bounds: vec!["one line, not empty".to_owned()],
            forms: vec![json!({ "type": "string", "minLength": 1 })],
            ..Described::default()
        }
    }
}

/// Text of a form.
pub(super) struct Shaped {
    pub(super) form: Pattern,
    /// The error for another form, such as `not a valid SHA-256`.
    pub(super) otherwise: &'static str,
    pub(super) help: &'static str,
}

impl Kind for Shaped {
    type Value = String;

    fn read(&self, field: &Field, _: &Around, findings: &mut Findings) -> Option<String> {
        let text = findings.text(field)?;
        let fits = self.form.fits(text);
        if !fits {
            let says = format!("is `{}`, which is {}", shown_text(text), self.otherwise);
            findings.about(field, "stack::malformed", says, self.help);
        }
        fits.then(|| text.to_owned())
    }

    fn describe(&self) -> Described {
        shaped(self.form)
    }
}

/// The description of a text with a form.
pub(super) fn shaped(form: &Form) -> Described {
    Described {
        name: "text".to_owned(),
        bounds: vec![form.words().to_owned()],
        forms: vec![json!({ "type": "string", "pattern": form.pattern() })],
        ..Described::default()
    }
}

/// The most items of a list or a map, and the error for more.
pub(super) struct Limit {
    pub(super) most: usize,
    pub(super) code: &'static str,
    /// Makes the message from the number of items and the limit.
    pub(super) says: fn(usize, usize) -> String,
    pub(super) help: &'static str,
}

impl Limit {
    /// The limit of a list of ranges or addresses.
    pub(super) const fn of_items(most: usize) -> Self {
        let says = |found, most| format!("has {found} items, but at most {most} are allowed");
        Limit { most, code: "stack::out_of_range", says, help: "join neighbours, or remove some" }
    }

    pub(super) fn holds(&self, found: usize, field: &Field, findings: &mut Findings) -> Option<()> {
        if found > self.most {
            findings.about(field, self.code, (self.says)(found, self.most), self.help);
        }
        (found <= self.most).then_some(())
    }
}

/// A list.
pub(super) struct List<K> {
    pub(super) item: K,
    pub(super) limit: Option<Limit>,
    /// Whether items must be distinct.
    pub(super) is_distinct: bool,
}

impl<K: Kind<Value: Display>> Kind for List<K> {
    type Value = Vec<K::Value>;

    fn read(&self, field: &Field, around: &Around, findings: &mut Findings) -> Option<Vec<K::Value>> {
        let items = findings.items(field)?;
        if let Some(limit) = &self.limit {
            limit.holds(items.len(), field, findings)?;
        }
        let read: Vec<(Option<K::Value>, &Field)> =
            items.iter().map(|item| (self.item.read(item, around, findings), item)).collect();
        if self.is_distinct {
            let shown: Vec<(String, &Field)> =
                read.iter().filter_map(|(value, item)| Some((value.as_ref()?.to_string(), *item))).collect();
            findings.written_twice(shown.iter().map(|(shown, item)| (shown.as_str(), *item)))?;
        }
        read.into_iter().map(|(value, _)| value).collect()
    }

    fn describe(&self) -> Described {
        let item = self.item.describe();
        let mut bounds = Vec::new();
        let mut schema = json!({ "type": "array", "items": one_of(item.forms) });
        if let Some(limit) = &self.limit {
            schema["maxItems"] = json!(limit.most);
            bounds.push(format!("at most {} items", limit.most));
        }
        if self.is_distinct {
            schema["uniqueItems"] = json!(true);
            bounds.push("no item twice".to_owned());
        }
        bounds.extend(item.bounds.iter().map(|bounds| format!("each item: {bounds}")));
        Described { name: "list".to_owned(), bounds, forms: vec![schema], may_be_empty: true, ..Described::default() }
    }
}

/// The schema of a value with one of these forms.
pub(super) fn one_of(forms: Vec<Json>) -> Json {
    match <[Json; 1]>::try_from(forms) {
        Ok([only]) => only,
        Err(forms) => json!({ "anyOf": forms }),
    }
}

/// A map of the user's own names to single values. The values become text as written.
pub(super) struct Scalars {
    pub(super) names: Pattern,
    /// The error for a name of another form, such as `is not a valid variable name`.
    pub(super) otherwise: &'static str,
}

impl Kind for Scalars {
    type Value = BTreeMap<String, String>;

    fn read(&self, field: &Field, _: &Around, findings: &mut Findings) -> Option<Self::Value> {
        findings.scalars(field, |findings, key, _, field| {
            let fits = self.names.fits(key);
            if !fits {
                findings.about_name(field, "stack::malformed", self.otherwise, &format!("use {}", self.names.words()));
            }
            fits.then_some(())
        })
    }

    fn describe(&self) -> Described {
        Described {
            name: "map of names to single values".to_owned(),
            bounds: vec![format!("each name: {}", self.names.words())],
            forms: vec![json!({
                "type": "object",
                "propertyNames": { "pattern": self.names.pattern() },
                "additionalProperties": { "anyOf": [{ "type": "string" }, { "type": "number" }, { "type": "boolean" }] },
            })],
            may_be_empty: true,
            ..Described::default()
        }
    }
}

/// The keys of another section.
pub(super) struct Nested<S>(PhantomData<S>);

impl<S> Nested<S> {
    pub(super) const fn new() -> Self {
        Nested(PhantomData)
    }
}

impl<S: Section> Kind for Nested<S> {
    type Value = S;

    fn read(&self, field: &Field, around: &Around, findings: &mut Findings) -> Option<S> {
        let map = findings.map(field)?;
        S::read(&map, around, findings)
    }

    fn describe(&self) -> Described {
        let below = Below::Keys(S::describe());
        Described { name: "map".to_owned(), below, may_be_empty: true, ..Described::default() }
    }
}

/// Names chosen by the user, each with the keys of a section below it.
pub(super) struct Named<S> {
    pub(super) placeholder: &'static str,
    pub(super) example: &'static str,
    pub(super) names: Pattern,
    /// The error for a name of another form, such as `is not a valid pool name`.
    pub(super) otherwise: &'static str,
    /// The error and its help if at least one name is required and there is none.
    pub(super) none: Option<(&'static str, &'static str)>,
    pub(super) limit: Limit,
    pub(super) of: PhantomData<S>,
}

/// The sections below names chosen by the user.
#[derive(Debug)]
pub(crate) struct Readings<S> {
    /// The sections without a mistake.
    pub(super) valid: BTreeMap<String, S>,
    /// All names, in the order of the file.
    pub(super) written: Vec<String>,
}

impl<S> Default for Readings<S> {
    fn default() -> Self {
        Readings { valid: BTreeMap::new(), written: Vec::new() }
    }
}

impl<S> Readings<S> {
    /// Whether the file has this name, even if its section has mistakes.
    pub(super) fn is_written(&self, name: &str) -> bool {
        self.written.iter().any(|written| written == name)
    }

    /// The most similar name.
    pub(super) fn nearest(&self, name: &str) -> Option<&str> {
        nearest(name, self.written.iter().map(String::as_str))
    }

    /// All sections, if none has a mistake.
    pub(super) fn all(self) -> Option<BTreeMap<String, S>> {
        (self.valid.len() == self.written.len()).then_some(self.valid)
    }
}

impl<S: Section> Kind for Named<S> {
    type Value = Readings<S>;

    fn read(&self, field: &Field, around: &Around, findings: &mut Findings) -> Option<Readings<S>> {
        let map = findings.map(field)?;
        if let (Some((says, help)), true) = (self.none, map.entries.is_empty()) {
            findings.about(field, "stack::missing_key", says, help);
            return None;
        }
        self.limit.holds(map.entries.len(), field, findings)?;
        let mut readings = Readings::default();
        for (name, field) in map.fields() {
            readings.written.push(name.to_owned());
            let is_name = self.names.fits(name);
            if !is_name {
                let help = format!("use {}, such as `{}`", self.names.words(), self.example);
                findings.about(&field, "stack::malformed", self.otherwise, help);
            }
            let read = findings.map(&field).and_then(|map| S::read(&map, around, findings));
            if let Some(read) = read.filter(|_| is_name) {
                readings.valid.insert(name.to_owned(), read);
            }
        }
        Some(readings)
    }

    fn describe(&self) -> Described {
        let at_least = usize::from(self.none.is_some());
        let names = Names {
            placeholder: self.placeholder,
            example: self.example,
            pattern: self.names.pattern(),
            at_least,
            at_most: self.limit.most,
            each: S::describe(),
        };
        Described {
            name: "map of names to maps".to_owned(),
            bounds: vec![
                format!("{at_least} to {} names", self.limit.most),
                format!("each name: {}", self.names.words()),
            ],
            below: Below::Named(names),
            may_be_empty: self.none.is_none(),
            ..Described::default()
        }
    }
}
