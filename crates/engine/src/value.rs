//! Attribute values. A value that only AWS knows is a value too.
//!
//! A [`Reference`] stands for an attribute of another resource until that resource is there. It is data: it serialises
//! as `{"$reference": "instance.heavy[0]#private_ip"}`, and it is an edge of the graph. A concatenation serialises as
//! `{"$concat": [...]}`, and text that is shown as the JSON it holds as `{"$json": ...}`.

use std::{borrow::Cow, cmp::Ordering, collections::BTreeMap};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize, Serializer, de::DeserializeOwned};
use serde_json::Value as Json;
use sha2::{Digest as _, Sha256};

use crate::Address;

/// Attributes by name, in the order of names.
pub type Map = BTreeMap<String, Value>;

/// One attribute value. It reads and writes as JSON; a number with a fraction becomes text.
///
/// ```
/// use trunnion_engine::Value;
/// let host = Value::reference("instance.heavy[0]".parse()?, "private_ip");
/// let url = Value::concat(["http://".into(), host, ":8080".into()]);
/// assert!(!url.is_known());
/// let known = url.resolve(&|_| Some("10.0.0.4".into()));
/// assert_eq!(known.as_text(), Some("http://10.0.0.4:8080"));
/// # Ok::<(), trunnion_engine::InvalidAddress>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(from = "Json")]
pub enum Value {
    /// JSON's `null`: the attribute is absent.
    Null,
    /// JSON's `true` or `false`.
    Bool(bool),
    /// A whole number; AWS attributes know no others.
    Number(i64),
    /// JSON's string.
    Text(String),
    /// Values in order; a [rule](crate::Attribute::unordered) can say that the order means nothing.
    List(Vec<Value>),
    /// Values by name, without order.
    Map(Map),
    /// What an attribute of another resource or lookup will be: `{"$reference": "instance.heavy[0]#private_ip"}`.
    Reference(Reference),
    /// Texts and references, one behind the other: `{"$concat": […]}`. [`Value::concat`] makes it.
    Concat(Vec<Value>),
    /// Text that holds a JSON document, as that document. Only plan documents have it: what is compared and applied is the
    /// text.
    Json(JsonText),
}

/// A JSON object or array that an attribute holds as text, such as a policy. Equal are those that are written alike.
#[derive(Debug, Clone)]
pub struct JsonText(Json);

impl JsonText {
    /// The document that a text holds, if it is an object or an array.
    pub fn parse(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok().and_then(Self::of)
    }

    fn of(json: Json) -> Option<Self> {
        (json.is_object() || json.is_array()).then_some(Self(json))
    }

    /// The object or array.
    pub fn document(&self) -> &Json {
        &self.0
    }
}

impl PartialEq for JsonText {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for JsonText {}

impl PartialOrd for JsonText {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for JsonText {
    fn cmp(&self, other: &Self) -> Ordering {
        // Objects are equal whatever the order of their keys, and have no order of their own.
        self.0.to_string().cmp(&other.0.to_string())
    }
}

/// An attribute of a resource or lookup.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reference {
    /// The resource or lookup that has the attribute.
    pub address: Address,
    /// The name of the attribute, at the top level of its attributes.
    pub attribute: String,
}

impl Value {
    /// A reference to an attribute, or to an element of a list: `private_ips[2]`.
    pub fn reference(address: Address, attribute: impl Into<String>) -> Self {
        Self::Reference(Reference { address, attribute: attribute.into() })
    }

    /// Texts and references one behind the other. The result is a text if no part is a reference.
    pub fn concat(parts: impl IntoIterator<Item = Self>) -> Self {
        let mut joined: Vec<Self> = Vec::new();
        let mut push = |part: Self| match (joined.last_mut(), part) {
            (Some(Self::Text(text)), Self::Text(more)) => text.push_str(&more),
            (_, part) => joined.push(part),
        };
        for part in parts {
            match part {
                Self::Concat(inner) => inner.into_iter().for_each(&mut push),
                Self::Bool(truth) => push(Self::Text(truth.to_string())),
                Self::Number(number) => push(Self::Text(number.to_string())),
                part => push(part),
            }
        }
        match joined.len() {
            0 => Self::Text(String::new()),
            1 if matches!(joined[0], Self::Text(_)) => joined.remove(0),
            _ => Self::Concat(joined),
        }
    }

    /// The text, if this is one.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The number, if this is one.
    pub fn as_number(&self) -> Option<i64> {
        match self {
            Self::Number(number) => Some(*number),
            _ => None,
        }
    }

    /// The map, if this is one.
    pub fn as_map(&self) -> Option<&Map> {
        match self {
            Self::Map(map) => Some(map),
            _ => None,
        }
    }

    /// The list, if this is one.
    pub fn as_list(&self) -> Option<&[Self]> {
        match self {
            Self::List(list) => Some(list),
            _ => None,
        }
    }

    /// Whether it is this text, or holds it.
    pub(crate) fn names(&self, text: &str) -> bool {
        match self {
            Self::Text(own) => own == text,
            Self::List(parts) | Self::Concat(parts) => parts.iter().any(|part| part.names(text)),
            Self::Map(map) => map.values().any(|part| part.names(text)),
            _ => false,
        }
    }

    /// Whether no part of it is unknown before apply.
    pub fn is_known(&self) -> bool {
        match self {
            Self::Reference(_) | Self::Concat(_) => false,
            Self::List(list) => list.iter().all(Self::is_known),
            Self::Map(map) => map.values().all(Self::is_known),
            _ => true,
        }
    }

    /// Calls `visit` with every reference inside.
    pub fn visit_references<'a>(&'a self, visit: &mut impl FnMut(&'a Reference)) {
        match self {
            Self::Reference(reference) => visit(reference),
            Self::List(parts) | Self::Concat(parts) => parts.iter().for_each(|part| part.visit_references(visit)),
            Self::Map(map) => map.values().for_each(|part| part.visit_references(visit)),
            _ => {}
        }
    }

    /// This value with every reference replaced that `known` has an answer to.
    #[must_use]
    pub fn resolve(&self, known: &impl Fn(&Reference) -> Option<Self>) -> Self {
        match self {
            Self::Reference(reference) => known(reference).unwrap_or_else(|| self.clone()),
            Self::List(list) => Self::List(list.iter().map(|part| part.resolve(known)).collect()),
            Self::Map(map) => Self::Map(map.iter().map(|(key, part)| (key.clone(), part.resolve(known))).collect()),
            Self::Concat(parts) => Self::concat(parts.iter().map(|part| part.resolve(known))),
            _ => self.clone(),
        }
    }

    /// A value of anything that serialises; [`Value`]s inside keep their references.
    ///
    /// # Errors
    /// When the type does not serialise to JSON.
    pub fn from_serialize(thing: &impl Serialize) -> serde_json::Result<Self> {
        Ok(serde_json::to_value(thing)?.into())
    }

    /// The SHA-256 of the value's JSON, in hexadecimal.
    pub fn digest(&self) -> String {
        digest(self)
    }
}

/// The attribute with this name, or the element of a list: `private_ips[2]`.
pub(crate) fn attribute_at(attributes: &Map, name: &str) -> Option<Value> {
    let Some((list, at)) = name.strip_suffix(']').and_then(|name| name.split_once('[')) else {
        return attributes.get(name).cloned();
    };
    attributes.get(list)?.as_list()?.get(at.parse::<usize>().ok()?).cloned()
}

/// The SHA-256 of something's JSON, in hexadecimal.
pub(crate) fn digest(thing: &impl Serialize) -> String {
    // What is digested has texts for keys, and so is JSON.
    hex(&Sha256::digest(serde_json::to_vec(thing).unwrap_or_default()))
}

/// Reads a typed struct back from attributes.
///
/// # Errors
/// When an attribute is missing or of another type.
pub fn from_map<T: DeserializeOwned>(map: &Map) -> serde_json::Result<T> {
    serde_json::from_value(serde_json::to_value(map)?)
}

/// Attributes of a typed struct.
///
/// # Errors
/// When it does not serialise to a JSON object.
pub fn to_map(thing: &impl Serialize) -> serde_json::Result<Map> {
    match Value::from_serialize(thing)? {
        Value::Map(map) => Ok(map),
        other => Err(serde::ser::Error::custom(format!("attributes are an object, not {other:?}"))),
    }
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a `String` cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

const REFERENCE: &str = "$reference";
const CONCAT: &str = "$concat";
const JSON: &str = "$json";

impl JsonSchema for Value {
    fn schema_name() -> Cow<'static, str> {
        "Value".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "Any JSON without fractions. `{\"$reference\": \"ADDRESS#ATTRIBUTE\"}` is what an attribute of another \
                            resource will be, `{\"$concat\": [...]}` texts and references one behind the other, \
                            `{\"$json\": ...}` text that holds this JSON document."
        })
    }
}

impl From<Json> for Value {
    fn from(json: Json) -> Self {
        match json {
            Json::Null => Self::Null,
            Json::Bool(truth) => Self::Bool(truth),
            Json::Number(number) => number.as_i64().map_or_else(|| Self::Text(number.to_string()), Self::Number),
            Json::String(text) => Self::Text(text),
            Json::Array(list) => Self::List(list.into_iter().map(Self::from).collect()),
            Json::Object(object) => {
                if object.len() == 1 {
                    if let Some(reference) = object.get(REFERENCE).and_then(Json::as_str).and_then(parse_reference) {
                        return Self::Reference(reference);
                    }
                    if let Some(Json::Array(parts)) = object.get(CONCAT) {
                        return Self::Concat(parts.iter().cloned().map(Self::from).collect());
                    }
                    if let Some(text) = object.get(JSON).cloned().and_then(JsonText::of) {
                        return Self::Json(text);
                    }
                }
                Self::Map(object.into_iter().map(|(key, value)| (key, Self::from(value))).collect())
            }
        }
    }
}

fn parse_reference(text: &str) -> Option<Reference> {
    let (address, attribute) = text.rsplit_once('#')?;
    Some(Reference { address: address.parse().ok()?, attribute: attribute.to_owned() })
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(truth) => serializer.serialize_bool(*truth),
            Self::Number(number) => serializer.serialize_i64(*number),
            Self::Text(text) => serializer.serialize_str(text),
            Self::List(list) => serializer.collect_seq(list),
            Self::Map(map) => serializer.collect_map(map),
            Self::Reference(Reference { address, attribute }) => {
                serializer.collect_map([(REFERENCE, format!("{address}#{attribute}"))])
            }
            Self::Concat(parts) => serializer.collect_map([(CONCAT, parts)]),
            Self::Json(JsonText(document)) => serializer.collect_map([(JSON, document)]),
        }
    }
}

impl From<Value> for Json {
    fn from(value: Value) -> Self {
        // A value has texts for keys, and so is JSON.
        serde_json::to_value(value).unwrap_or_default()
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<Reference> for Value {
    fn from(reference: Reference) -> Self {
        Self::Reference(reference)
    }
}
