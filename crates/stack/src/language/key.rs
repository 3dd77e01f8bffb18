//! One key of a section: its values, and what holds without it.

use super::{
    Around,
    describe::{Absent, Described, Entry, paragraph},
};
use crate::{
    diagnostic::Findings,
    field::{Field, Map},
    tree,
};

/// A type of values: how one is read, and what is known about all of them.
pub(crate) trait Kind {
    type Value;

    /// The value, or nothing and the reason among the findings.
    fn read(&self, field: &Field, around: &Around, findings: &mut Findings) -> Option<Self::Value>;

    fn describe(&self) -> Described;
}

/// What one field of a section is read from: almost always one key.
pub(crate) trait Reader {
    type Value;

    /// The value, or nothing and the reason among the findings.
    fn read(&self, name: &str, map: &Map, around: &Around, findings: &mut Findings) -> Option<Self::Value>;

    /// Every key that is read, in order.
    fn describe(&self, name: &'static str, doc: &[&str]) -> Vec<Entry>;
}

/// A key with values of this kind.
pub(crate) struct Key<K: Kind> {
    kind: K,
    without: Without<K::Value>,
    examples: &'static [&'static str],
}

enum Without<V> {
    /// The key is required. Somebody who left it out is shown this value.
    Missing(&'static str),
    /// This value holds, as a file would have it.
    Value(&'static str),
    /// What the words say. It is made from the map that has no such key, and from what is known around it.
    Otherwise(&'static str, fn(&Map, &Around) -> V),
}

/// A key that has to be there. The sketch of its value is shown to somebody who left it out.
pub(crate) fn required<K: Kind>(kind: K, sketch: &'static str) -> Key<K> {
    Key { kind, without: Without::Missing(sketch), examples: &[] }
}

/// A key that may be left out: then it has this value, as a file would have it.
pub(crate) fn or<K: Kind>(kind: K, value: &'static str) -> Key<K> {
    Key { kind, without: Without::Value(value), examples: &[] }
}

/// A list or a map that may be left out: then it is empty, and the words say what that means.
pub(crate) fn or_empty<K: Kind<Value: Default>>(kind: K, words: &'static str) -> Key<K> {
    or_else(kind, words, |_, _| K::Value::default())
}

/// A key that may be left out: the words say what holds then.
pub(crate) fn optional<K: Kind>(kind: K, words: &'static str) -> Key<Maybe<K>> {
    or_else(Maybe(kind), words, |_, _| None)
}

/// A key that may be left out: then its value is made as the words say.
pub(crate) fn or_else<K: Kind>(kind: K, words: &'static str, make: fn(&Map, &Around) -> K::Value) -> Key<K> {
    Key { kind, without: Without::Otherwise(words, make), examples: &[] }
}

impl<K: Kind> Key<K> {
    /// Values for the reference and for editors.
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

/// A value that may not be there.
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
