//! Where a resource stands in a stack: `launch_template.heavy`, `instance.heavy[2]`, `s3_object.generator[arm64]`.

use std::{borrow::Cow, cmp::Ordering, fmt, str::FromStr};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The kind of a resource, such as `launch_template`. A provider and a [`RuleBook`](crate::RuleBook) know it by this name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KindName(String);

impl KindName {
    /// Takes any text: [`Address::from_str`] refuses empty names and those with `.`, `[` or `]`.
    pub fn new(name: impl Into<String>) -> Self {
        Self(name.into())
    }

    /// The name, such as `launch_template`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for KindName {
    fn from(name: &str) -> Self {
        Self::new(name)
    }
}

impl fmt::Display for KindName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Which one of several resources of the same kind and name. Numbers come before keys, and are ordered as numbers.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Index {
    /// Such as `[2]`: the third host of a pool.
    Number(u32),
    /// Such as `[arm64]`. A number with leading zeros, as in `[007]`, is a key.
    Key(String),
}

impl PartialOrd for Index {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Index {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Number(a), Self::Number(b)) => a.cmp(b),
            (Self::Key(a), Self::Key(b)) => a.cmp(b),
            (Self::Number(_), Self::Key(_)) => Ordering::Less,
            (Self::Key(_), Self::Number(_)) => Ordering::Greater,
        }
    }
}

/// The address of a resource or lookup, unique in its stack. It is written `kind.name`, `kind.name[2]` or `kind.name[key]`,
/// and reads back as it was written.
///
/// ```
/// use trunnion_engine::Address;
/// let address: Address = "instance.heavy[2]".parse()?;
/// assert_eq!(address, Address::numbered("instance", "heavy", 2));
/// assert_eq!(address.to_string(), "instance.heavy[2]");
/// # Ok::<(), trunnion_engine::InvalidAddress>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    /// Such as `instance`.
    pub kind: KindName,
    /// Its name within the kind, such as the name of a pool.
    pub name: String,
    /// Which one, where the kind has several of the name.
    pub index: Option<Index>,
}

impl Address {
    /// The address `kind.name`.
    pub fn new(kind: impl Into<String>, name: impl Into<String>) -> Self {
        Self { kind: KindName::new(kind), name: name.into(), index: None }
    }

    /// The address `kind.name[2]`.
    pub fn numbered(kind: impl Into<String>, name: impl Into<String>, number: u32) -> Self {
        Self { index: Some(Index::Number(number)), ..Self::new(kind, name) }
    }

    /// The address `kind.name[key]`.
    pub fn keyed(kind: impl Into<String>, name: impl Into<String>, key: impl Into<String>) -> Self {
        Self { index: Some(Index::Key(key.into())), ..Self::new(kind, name) }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match &self.index {
            None => format!("{}.{}", self.kind, self.name),
            Some(Index::Number(number)) => format!("{}.{}[{number}]", self.kind, self.name),
            Some(Index::Key(key)) => format!("{}.{}[{key}]", self.kind, self.name),
        };
        f.pad(&text)
    }
}

/// A text that is no address: its first 80 characters.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an address, such as `launch_template.heavy` or `instance.heavy[2]`")]
pub struct InvalidAddress(pub String);

impl FromStr for Address {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        let invalid = || InvalidAddress(text.chars().take(80).collect());
        let (kind, rest) = text.split_once('.').ok_or_else(invalid)?;
        let (name, index) = match rest.split_once('[') {
            None => (rest, None),
            Some((name, index)) => {
                let index = index.strip_suffix(']').filter(|index| !index.is_empty()).ok_or_else(invalid)?;
                // `[007]` stays a key: an address reads back as it was written.
                let number = index.parse().ok().filter(|number: &u32| number.to_string() == index);
                (name, Some(number.map_or_else(|| Index::Key(index.to_owned()), Index::Number)))
            }
        };
        let plain = |part: &str| !part.is_empty() && !part.contains(['[', ']', '.']);
        if !plain(kind) || !plain(name) {
            return Err(invalid());
        }
        Ok(Self { kind: KindName::new(kind), name: name.to_owned(), index })
    }
}

impl Serialize for Address {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for Address {
    fn schema_name() -> Cow<'static, str> {
        "Address".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": r"^[^.\[\]]+\.[^.\[\]]+(\[.+\])?$",
            "description": "An address such as `launch_template.heavy` or `instance.heavy[2]`."
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_reads_back_as_written() {
        for text in ["launch_template.heavy", "instance.heavy[2]", "s3_object.generator[arm64]", "a.b[007]"] {
            assert_eq!(text.parse::<Address>().map(|address| address.to_string()), Ok(text.to_owned()));
        }
        for text in ["", "instance", "instance.", ".heavy", "instance.heavy[", "instance.heavy[]", "a.b.c"] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }

    #[test]
    fn hosts_are_ordered_by_number() {
        let mut hosts = [10, 9, 2].map(|number| Address::numbered("instance", "heavy", number));
        hosts.sort();
        assert_eq!(
            hosts.map(|host| host.to_string()),
            ["instance.heavy[2]", "instance.heavy[9]", "instance.heavy[10]"]
        );
    }
}
