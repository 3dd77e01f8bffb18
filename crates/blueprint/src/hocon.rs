//! Writes HOCON, the format of `control-plane.conf`. All text goes through this module; none is concatenated elsewhere.
//!
//! Strings and keys are written as JSON strings, which are valid HOCON: no character in them can end the string early,
//! and `${…}` inside quotes stays text. Only [`Hocon::Substitution`] is written without quotes.

use trunnion_engine::{Reference, Value};

/// One HOCON value.
#[derive(Debug, Clone)]
pub(crate) enum Hocon {
    /// A string.
    Text(String),
    /// A string that is known only after AWS created the resource, such as an address. Its characters need no escape.
    Unknown(Reference),
    /// A whole number.
    Number(u32),
    /// `${?NAME}`: the environment variable, if it is set.
    Substitution(&'static str),
    /// Values in order.
    List(Vec<Hocon>),
    /// Values by key, in order.
    Object(Vec<(String, Hocon)>),
}

impl Hocon {
    /// An object of fixed keys.
    pub(crate) fn object(fields: impl IntoIterator<Item = (&'static str, Hocon)>) -> Self {
        Self::Object(fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
    }

    /// Strings in order.
    pub(crate) fn texts(texts: &[String]) -> Self {
        Self::List(texts.iter().cloned().map(Self::Text).collect())
    }

    /// The document with this object as its root: text, with references for what is not known yet.
    pub(crate) fn document(&self) -> serde_json::Result<Value> {
        let mut writer = Writer { parts: Vec::new(), text: String::new() };
        match self {
            Self::Object(fields) => writer.fields(fields, 0)?,
            other => writer.value(other, 0)?,
        }
        writer.parts.push(Value::Text(writer.text));
        Ok(Value::concat(writer.parts))
    }
}

struct Writer {
    parts: Vec<Value>,
    text: String,
}

impl Writer {
    fn value(&mut self, value: &Hocon, depth: usize) -> serde_json::Result<()> {
        match value {
            Hocon::Text(text) => self.text.push_str(&serde_json::to_string(text)?),
            Hocon::Unknown(reference) => {
                let before = std::mem::take(&mut self.text) + "\"";
                self.parts.extend([Value::Text(before), Value::Reference(reference.clone())]);
                self.text.push('"');
            }
            Hocon::Number(number) => self.text.push_str(&number.to_string()),
            Hocon::Substitution(name) => self.text.extend(["${?", name, "}"]),
            Hocon::List(list) if list.is_empty() => self.text.push_str("[]"),
            Hocon::List(list) => {
                self.text.push_str("[\n");
                for item in list {
                    self.indent(depth + 1);
                    self.value(item, depth + 1)?;
                    self.text.push('\n');
                }
                self.indent(depth);
                self.text.push(']');
            }
            Hocon::Object(fields) if fields.is_empty() => self.text.push_str("{}"),
            Hocon::Object(fields) => {
                self.text.push_str("{\n");
                self.fields(fields, depth + 1)?;
                self.indent(depth);
                self.text.push('}');
            }
        }
        Ok(())
    }

    fn fields(&mut self, fields: &[(String, Hocon)], depth: usize) -> serde_json::Result<()> {
        for (key, value) in fields {
            self.indent(depth);
            if is_plain(key) {
                self.text.push_str(key);
            } else {
                self.text.push_str(&serde_json::to_string(key)?);
            }
            self.text.push_str(if matches!(value, Hocon::Object(_)) { " " } else { " = " });
            self.value(value, depth)?;
            self.text.push('\n');
        }
        Ok(())
    }

    fn indent(&mut self, depth: usize) {
        self.text.extend(std::iter::repeat_n("  ", depth));
    }
}

/// Whether a key needs no quotes. A dot would turn it into a path, and `include` into a statement.
fn is_plain(key: &str) -> bool {
    let mut letters = key.chars();
    letters.next().is_some_and(|first| first.is_ascii_alphabetic())
        && letters.all(|letter| letter.is_ascii_alphanumeric() || letter == '-' || letter == '_')
        && !matches!(key, "include" | "true" | "false" | "null")
}
