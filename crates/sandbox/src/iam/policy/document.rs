//! Reads a policy document into types. What it does not know is an error that names it.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Number, Value};

use super::{Version, condition::Condition, pattern::Pattern};

/// A policy document.
#[derive(Debug, Clone)]
pub(crate) struct Policy {
    /// Its statements in order.
    pub(super) statements: Vec<Statement>,
}

/// One statement.
#[derive(Debug, Clone)]
pub(super) struct Statement {
    /// Its `Sid`, or its number.
    pub name: String,
    pub has_sid: bool,
    pub allows: bool,
    pub principals: Option<Listed<Principal>>,
    pub actions: Listed<Pattern>,
    /// `None` in a trust policy.
    pub resources: Option<Listed<Pattern>>,
    pub conditions: Vec<Condition>,
}

/// An element, or its negation such as `NotAction`.
#[derive(Debug, Clone)]
pub(super) struct Listed<T> {
    pub negated: bool,
    pub items: Vec<T>,
}

/// Whom a statement is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Principal {
    /// `"*"` or `{"AWS": "*"}`.
    Everybody,
    /// An account: its id, or the ARN of its root user.
    Account(String),
    /// The ARN of a user, a role or a session.
    Arn(String),
    Service(String),
    Federated(String),
    CanonicalUser(String),
}

impl Policy {
    /// Reads a document.
    pub(crate) fn read(text: &str) -> Result<Self, String> {
        let Strict(document) = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let Value::Object(document) = document else { return Err("it is not a JSON object".to_owned()) };
        known(&document, &["Version", "Id", "Statement"])?;
        let version = match document.get("Version") {
            None => Version::V2008,
            Some(version) if version == "2008-10-17" => Version::V2008,
            Some(version) if version == "2012-10-17" => Version::V2012,
            Some(other) => return Err(format!("the version {other} is not known")),
        };
        if document.get("Id").is_some_and(|id| !id.is_string()) {
            return Err("`Id` is not a text".to_owned());
        }
        let statements = match document.get("Statement") {
            Some(Value::Array(statements)) => statements.iter().collect(),
            Some(statement @ Value::Object(_)) => vec![statement],
            _ => return Err("`Statement` is missing".to_owned()),
        };
        if statements.is_empty() {
            return Err("`Statement` is empty".to_owned());
        }
        let statements = statements.into_iter().enumerate();
        let statements = statements.map(|(index, statement)| Statement::read(index, statement, version));
        Ok(Self { statements: statements.collect::<Result<_, _>>()? })
    }

    /// The users, roles and sessions that it names by their ARNs.
    pub(crate) fn principals(&self) -> impl Iterator<Item = &str> {
        let listed = self.statements.iter().filter_map(|statement| statement.principals.as_ref());
        listed.flat_map(|listed| &listed.items).filter_map(|principal| match principal {
            Principal::Arn(arn) => Some(arn.as_str()),
            _ => None,
        })
    }

    /// The `Sid` of each statement that has one.
    pub(super) fn sids(&self) -> impl Iterator<Item = &str> {
        self.statements.iter().filter(|statement| statement.has_sid).map(|statement| statement.name.as_str())
    }
}

impl Statement {
    fn read(index: usize, statement: &Value, version: Version) -> Result<Self, String> {
        let Value::Object(statement) = statement else { return Err("a statement is not a JSON object".to_owned()) };
        known(
            statement,
            &[
                "Sid",
                "Effect",
                "Principal",
                "NotPrincipal",
                "Action",
                "NotAction",
                "Resource",
                "NotResource",
                "Condition",
            ],
        )?;
        let sid = match statement.get("Sid") {
            None => None,
            Some(Value::String(sid)) => Some(sid.clone()).filter(|sid| !sid.is_empty()),
            Some(_) => return Err("`Sid` is not a text".to_owned()),
        };
        let allows = match statement.get("Effect").and_then(Value::as_str) {
            Some("Allow") => true,
            Some("Deny") => false,
            Some(other) => return Err(format!("the effect `{other}` is not known")),
            None => return Err("`Effect` is missing".to_owned()),
        };
        let patterns = |element: &str| {
            let read = |value: &Value| {
                texts(value)?.iter().map(|text| Pattern::read(text, version)).collect::<Result<Vec<_>, _>>()
            };
            listed(statement, element, read)
        };
        let actions = patterns("Action")?.ok_or("`Action` is missing")?;
        let resources = patterns("Resource")?;
        let conditions = match statement.get("Condition") {
            None => Vec::new(),
            Some(block) => Condition::read_block(block, version)?,
        };
        let principals = listed(statement, "Principal", principals)?;
        // "AWS JSON policy elements: NotPrincipal", IAM user guide, read November 2026.
        if allows && principals.as_ref().is_some_and(|principals| principals.negated) {
            return Err("`NotPrincipal` is only for the effect `Deny`".to_owned());
        }
        let has_sid = sid.is_some();
        let name = sid.unwrap_or_else(|| (index + 1).to_string());
        Ok(Self { name, has_sid, allows, principals, actions, resources, conditions })
    }
}

fn known(object: &Map<String, Value>, names: &[&str]) -> Result<(), String> {
    match object.keys().find(|name| !names.contains(&name.as_str())) {
        Some(name) => Err(format!("the element `{name}` is not known")),
        None => Ok(()),
    }
}

/// An element or its negation; never both.
fn listed<T>(
    statement: &Map<String, Value>,
    element: &str,
    read: impl Fn(&Value) -> Result<Vec<T>, String>,
) -> Result<Option<Listed<T>>, String> {
    let (positive, negative) = (statement.get(element), statement.get(&format!("Not{element}")));
    let (negated, value) = match (positive, negative) {
        (Some(_), Some(_)) => return Err(format!("`{element}` and `Not{element}` exclude each other")),
        (Some(value), None) => (false, value),
        (None, Some(value)) => (true, value),
        (None, None) => return Ok(None),
    };
    let items = read(value).map_err(|error| format!("`{element}`: {error}"))?;
    if items.is_empty() {
        return Err(format!("`{element}` is empty"));
    }
    Ok(Some(Listed { negated, items }))
}

/// A text or a list of texts. Numbers and booleans count as texts in conditions alone.
fn texts(value: &Value) -> Result<Vec<String>, String> {
    let text = |value: &Value| value.as_str().map(str::to_owned).ok_or_else(|| format!("{value} is not a text"));
    match value {
        Value::Array(values) => values.iter().map(text).collect(),
        value => Ok(vec![text(value)?]),
    }
}

fn principals(value: &Value) -> Result<Vec<Principal>, String> {
    if value == "*" {
        return Ok(vec![Principal::Everybody]);
    }
    let Value::Object(kinds) = value else { return Err(format!("{value} is not a principal")) };
    let mut all = Vec::new();
    for (kind, names) in kinds {
        for name in texts(names)? {
            all.push(match kind.as_str() {
                "AWS" => aws_principal(&name)?,
                "Service" => Principal::Service(name),
                "Federated" => Principal::Federated(name),
                "CanonicalUser" => Principal::CanonicalUser(name),
                other => return Err(format!("the kind of principal `{other}` is not known")),
            });
        }
    }
    Ok(all)
}

/// Wildcards are no part of a principal but for `*` alone.
fn aws_principal(name: &str) -> Result<Principal, String> {
    let is_account = |id: &str| id.len() == 12 && id.bytes().all(|byte| byte.is_ascii_digit());
    if name == "*" {
        return Ok(Principal::Everybody);
    }
    if is_account(name) {
        return Ok(Principal::Account(name.to_owned()));
    }
    let parts: Vec<&str> = name.splitn(6, ':').collect();
    match parts[..] {
        ["arn", _, "iam", "", account, "root"] if is_account(account) => Ok(Principal::Account(account.to_owned())),
        ["arn", _, "iam" | "sts", "", account, _] if is_account(account) && !name.contains(['*', '?']) => {
            Ok(Principal::Arn(name.to_owned()))
        }
        _ => Err(format!("`{name}` is not an AWS principal")),
    }
}

/// JSON in which no object has a name twice: which of two elements counts, nobody says.
struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StrictVisitor).map(Self)
    }
}

struct StrictVisitor;

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("a number is not finite"))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut all = Vec::new();
        while let Some(Strict(item)) = items.next_element()? {
            all.push(item);
        }
        Ok(Value::Array(all))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut all = Map::new();
        while let Some((name, Strict(value))) = entries.next_entry::<String, Strict>()? {
            if all.contains_key(&name) {
                return Err(A::Error::custom(format!("the element `{name}` stands there twice")));
            }
            all.insert(name, value);
        }
        Ok(Value::Object(all))
    }
}
