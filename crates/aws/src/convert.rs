//! Conversions between the kinds' structs, attributes and tags.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde::{Serialize, de::DeserializeOwned};
use trunnion_engine::{Map, Remote, Value, from_map, lies_under, to_map};
use trunnion_kinds::{STACK_TAG, Tags};

use crate::error::Failure;

/// An existing resource: a kind's struct and the attributes that AWS computed.
pub(crate) fn remote<'a>(
    id: impl Into<String>,
    attributes: &impl Serialize,
    computed: impl IntoIterator<Item = (&'a str, Value)>,
) -> Result<Remote, Failure> {
    let mut attributes = to_map(attributes).map_err(|error| Failure::own(error.to_string(), None))?;
    attributes.extend(computed.into_iter().map(|(name, value)| (name.to_owned(), value)));
    Ok(Remote::new(id, attributes))
}

/// A kind's struct from attributes.
pub(crate) fn typed<T: DeserializeOwned>(attributes: &Map) -> Result<T, Failure> {
    from_map(attributes)
        .map_err(|error| Failure::own(format!("the attributes do not match their kind ({error})"), None))
}

/// The text in a resolved value; an error for other values.
pub(crate) fn text(value: &Value) -> Result<&str, Failure> {
    value.as_text().ok_or_else(|| Failure::own(format!("expected a text, found {value:?}"), None))
}

/// The texts in resolved values; an error for other values.
pub(crate) fn texts(values: &[Value]) -> Result<Vec<String>, Failure> {
    values.iter().map(|value| text(value).map(str::to_owned)).collect()
}

/// Values of texts.
pub(crate) fn values(texts: impl IntoIterator<Item = String>) -> Vec<Value> {
    texts.into_iter().map(Value::from).collect()
}

/// A text attribute; empty if there is none.
pub(crate) fn attribute<'a>(attributes: &'a Map, name: &str) -> &'a str {
    attributes.get(name).and_then(Value::as_text).unwrap_or_default()
}

/// Whether one of the changed paths is the attribute or is inside it.
pub(crate) fn touches(paths: &[String], attribute: &str) -> bool {
    paths.iter().any(|path| lies_under(path, attribute))
}

/// Tags by key, without AWS's own tags.
pub(crate) fn tags<K: Into<String>, V: Into<String>>(pairs: impl IntoIterator<Item = (Option<K>, Option<V>)>) -> Tags {
    pairs
        .into_iter()
        .filter_map(|(key, value)| Some((key?.into(), value.map(Into::into).unwrap_or_default())))
        .filter(|(key, _)| !key.starts_with("aws:"))
        .collect()
}

/// The tags in a kind's attributes.
pub(crate) fn tags_of(attributes: &Map) -> Tags {
    let Some(Value::Map(tags)) = attributes.get("tags") else { return Tags::new() };
    tags.iter().filter_map(|(key, value)| Some((key.clone(), value.as_text()?.to_owned()))).collect()
}

/// Whether the tags name a stack of this name, of any home ([`Aws::owns`](crate::Aws) checks the home too).
pub(crate) fn is_ours(tags: &Tags, stack: &str) -> bool {
    tags.get(STACK_TAG).is_some_and(|tagged| tagged == stack)
}

/// The tags to set and the keys to remove to get from some tags to others.
pub(crate) fn tag_changes(from: &Tags, to: &Tags) -> (Tags, Vec<String>) {
    let set = to.iter().filter(|(key, value)| from.get(*key) != Some(*value));
    let removed = from.keys().filter(|key| !to.contains_key(*key) && !key.starts_with("aws:"));
    (set.map(|(key, value)| (key.clone(), value.clone())).collect(), removed.cloned().collect())
}

/// Decodes text that AWS returns percent-encoded, as IAM does with policies.
pub(crate) fn percent_decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let escaped = (byte == b'%')
            .then(|| bytes.get(at + 1..at + 3))
            .flatten()
            .and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        decoded.push(escaped.unwrap_or(byte));
        at += if escaped.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

/// Base64 of bytes.
pub(crate) fn base64(bytes: impl AsRef<[u8]>) -> String {
    BASE64_STANDARD.encode(bytes)
}

/// The bytes of base64 text, if it is valid.
pub(crate) fn from_base64(text: &str) -> Option<Vec<u8>> {
    BASE64_STANDARD.decode(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some(pairs: &[(&str, &str)]) -> Tags {
        pairs.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect()
    }

    #[test]
    fn only_differing_tags_change_and_never_those_of_aws() {
        let from = some(&[("a", "1"), ("b", "2"), ("c", "3"), ("aws:x", "y")]);
        let (set, removed) = tag_changes(&from, &some(&[("a", "1"), ("b", "9"), ("d", "4")]));
        assert_eq!(set, some(&[("b", "9"), ("d", "4")]));
        assert_eq!(removed, ["c"]);
    }

    #[test]
    fn policies_are_percent_decoded() {
        assert_eq!(percent_decoded("%7B%22a%22%3A1%7D 100%"), "{\"a\":1} 100%");
    }

    #[test]
    fn a_path_touches_the_attribute_it_is_inside() {
        let paths = ["tags.team".to_owned(), "ingress[0].peer".to_owned()];
        assert!(touches(&paths, "tags") && touches(&paths, "ingress"));
        assert!(!touches(&paths, "tag") && !touches(&paths, "egress"));
    }
}
