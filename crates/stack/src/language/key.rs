//! One key of a section: its type, and what applies without it.

use super::{
    Around,
    describe::{Absent, Described, Entry, paragraph},
};
use crate::{
    diagnostic::Findings,
    field::{Field, Map},
    tree,
};

/// A type of values: its reader and its description.
pub(crate) trait Kind {
    type Value;

    /// The value; `None` if it is wrong, with the reason in the findings.
    fn read(&self, field: &Field, around: &Around, findings: &mut Findings) -> Option<Self::Value>;

    fn describe(&self) -> Described;
}

/// The reader of a field of a section, usually from one key.
pub(crate) trait Reader {
    type Value;

    /// The value; `None` if it is wrong, with the reason in the findings.
    fn read(&self, name: &str, map: &Map, around: &Around, findings: &mut Findings) -> Option<Self::Value>;

    /// The keys of this field, in order.
    fn describe(&self, name: &'static str, doc: &[&str]) -> Vec<Entry>;
}

/// A key with values of this kind.
pub(crate) struct Key<K: Kind> {
    kind: K,
    without: Without<K::Value>,
    examples: &'static [&'static str],
}

enum Without<V> {
    /// The key is required. The error about a missing key shows this value.
    Missing(&'static str),
    /// This value applies, written in YAML.
    Value(&'static str),
    /// The value that the text describes. The function makes it from the map without the key, and from [`Around`].
    Otherwise(&'static str, fn(&Map, &Around) -> V),
}

/// A required key. The error about a missing key shows the sketch of its value.
pub(crate) fn required<K: Kind>(kind: K, sketch: &'static str) -> Key<K> {
    Key { kind, without: Without::Missing(sketch), examples: &[] }
}

/// An optional key with this default, written in YAML.
pub(crate) fn or<K: Kind>(kind: K, value: &'static str) -> Key<K> {
    Key { kind, without: Without::Value(value), examples: &[] }
}

/// An optional list or map. The default is empty, and the text says what that means.
pub(crate) fn or_empty<K: Kind<Value: Default>>(kind: K, words: &'static str) -> Key<K> {
    or_else(kind, words, |_, _| K::Value::default())
}

/// An optional key without a default. The text says what applies without it.
pub(crate) fn optional<K: Kind>(kind: K, words: &'static str) -> Key<Maybe<K>> {
    or_else(Maybe(kind), words, |_, _| None)
}

/// An optional key. Its default is computed, as the text says.
pub(crate) fn or_else<K: Kind>(kind: K, words: &'static str, make: fn(&Map, &Around) -> K::Value) -> Key<K> {
    Key { kind, without: Without::Otherwise(words, make), examples: &[] }
}

impl<K: Kind> Key<K> {
    /// Adds example values for the reference and the schema.
    pub(crate) fn such_as(self, examples: &'static [&'static str]) -> Self {
        Key { examples, ..self }
    }
}

impl<K: Kind> Reader for Key<K> {
    type Value = K::Value;

    fn read(&self, name: &str, map: &Map, around: &Around, findings: &mut Findings) -> Option<K::Value> {
        if let Some(field) = map.get(name) {
            return self.kind.read(&field, around, findings);
        }
        match self.without {
            Without::Missing(sketch) => {
                findings.missing(map, name, sketch);
                None
            }
            Without::Value(text) => {
                let node = tree::read(text, &mut Findings::default())?;
                self.kind.read(&map.absent(name, &node), around, findings)
            }
            Without::Otherwise(_, make) => Some(make(map, around)),
        }
    }

    fn describe(&self, name: &'static str, doc: &[&str]) -> Vec<Entry> {
        let absent = match self.without {
            Without::Missing(_) => Absent::Required,
            Without::Value(value) => Absent::Value(value),
            Without::Otherwise(words, _) => Absent::Otherwise(words),
        };
        vec![Entry { name, about: paragraph(doc), absent, examples: self.examples, kind: self.kind.describe() }]
    }
}

/// An optional value.
pub(crate) struct Maybe<K>(K);

impl<K: Kind> Kind for Maybe<K> {
    type Value = Option<K::Value>;

    fn read(&self, field: &Field, around: &Around, findings: &mut Findings) -> Option<Option<K::Value>> {
        self.0.read(field, around, findings).map(Some)
    }

    fn describe(&self) -> Described {
        self.0.describe()
    }
}
