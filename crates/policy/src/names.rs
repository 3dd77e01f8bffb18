//! The names that a policy can read from a plan document.

use std::collections::BTreeSet;

use serde_json::{Map, Value as Json};
use trunnion_engine::Document;

/// The names of attributes of all kinds of resources, and of policies of IAM.
const ATTRIBUTES: &str = include_str!("names.txt");

/// The schema of the plan document, and all names in it.
pub(crate) struct Names {
    schema: Json,
    all: BTreeSet<String>,
}

/// Where a path of names leads in the document.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Place<'a> {
    /// To one of these schemas.
    Known(Vec<&'a Json>),
    /// To something that the schema does not describe, such as an attribute.
    Open,
}

impl Names {
    pub(crate) fn new() -> Self {
        let schema = Document::json_schema();
        let mut all = BTreeSet::new();
        collect(&schema, &mut all);
        all.extend(attributes().map(str::to_owned));
        Self { schema, all }
    }

    /// Whether anything in a plan document has this name.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.all.contains(name)
    }

    /// The most similar name, if there is one.
    pub(crate) fn similar<'a>(&'a self, name: &str) -> Option<&'a str> {
        most_similar(name, self.all.iter().map(String::as_str))
    }

    /// The document itself.
    pub(crate) fn document(&self) -> Place<'_> {
        self.alternatives(&self.schema)
    }

    /// What is at a name; nothing where there is no such name.
    pub(crate) fn property<'a>(&'a self, place: &Place<'a>, name: &str) -> Option<Place<'a>> {
        let Place::Known(schemas) = place else { return Some(Place::Open) };
        let mut found: Option<Place> = None;
        for schema in schemas {
            let place = match (properties(schema), schema.get("additionalProperties")) {
                (Some(properties), _) => properties.get(name).map(|inner| self.alternatives(inner)),
                (None, Some(inner @ Json::Object(_))) => Some(self.alternatives(inner)),
                (None, _) => is_open(schema).then_some(Place::Open),
            };
            found = joined(found, place);
        }
        found
    }

    /// What the elements of a list are, or the values of a map.
    pub(crate) fn elements<'a>(&'a self, place: &Place<'a>) -> Place<'a> {
        let Place::Known(schemas) = place else { return Place::Open };
        let mut found = None;
        for schema in schemas {
            let inner = schema.get("items").or_else(|| schema.get("additionalProperties").filter(|it| it.is_object()));
            found = joined(found, Some(inner.map_or(Place::Open, |inner| self.alternatives(inner))));
        }
        found.unwrap_or(Place::Open)
    }

    /// A schema without references and alternatives.
    fn alternatives<'a>(&'a self, schema: &'a Json) -> Place<'a> {
        let reference = schema.get("$ref").and_then(Json::as_str).and_then(|it| it.strip_prefix('#'));
        if let Some(target) = reference {
            return self.schema.pointer(target).map_or(Place::Open, |schema| self.alternatives(schema));
        }
        let several = ["anyOf", "oneOf"].iter().find_map(|name| schema.get(name)).and_then(Json::as_array);
        let Some(several) = several else {
            return if is_open(schema) { Place::Open } else { Place::Known(vec![schema]) };
        };
        let is_null = |schema: &&Json| schema.get("type").and_then(Json::as_str) == Some("null");
        let mut found = None;
        for schema in several.iter().filter(|schema| !is_null(schema)) {
            found = joined(found, Some(self.alternatives(schema)));
        }
        found.unwrap_or(Place::Open)
    }
}

impl<'a> Place<'a> {
    /// The names that can be read there.
    pub(crate) fn names(&self) -> Vec<&'a str> {
        let Place::Known(schemas) = self else { return Vec::new() };
        schemas.iter().filter_map(|schema| properties(schema)).flat_map(|it| it.keys().map(String::as_str)).collect()
    }

    /// The texts that can be there, if they are known.
    pub(crate) fn texts(&self) -> Option<Vec<&'a str>> {
        let Place::Known(schemas) = self else { return None };
        let mut texts = Vec::new();
        for schema in schemas {
            match (schema.get("const"), schema.get("enum")) {
                (Some(Json::String(text)), _) => texts.push(text.as_str()),
                (_, Some(Json::Array(list))) => texts.extend(list.iter().filter_map(Json::as_str)),
                _ if properties(schema).is_some() => {}
                _ => return None,
            }
        }
        Some(texts).filter(|texts| !texts.is_empty())
    }
}

/// The name that is most similar to another one, if it is similar at all.
pub(crate) fn most_similar<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let distance = |other: &&str| strsim::damerau_levenshtein(name, other);
    names.min_by_key(distance).filter(|other| distance(other) * 3 <= name.len())
}

fn joined<'a>(one: Option<Place<'a>>, other: Option<Place<'a>>) -> Option<Place<'a>> {
    match (one, other) {
        (Some(Place::Known(mut one)), Some(Place::Known(other))) => {
            one.extend(other);
            Some(Place::Known(one))
        }
        (Some(_), Some(_)) => Some(Place::Open),
        (one, other) => one.or(other),
    }
}

fn properties(schema: &Json) -> Option<&Map<String, Json>> {
    schema.get("properties").and_then(Json::as_object)
}

/// Whether it says nothing of what is in it.
fn is_open(schema: &Json) -> bool {
    const SAYS: [&str; 5] = ["properties", "items", "const", "enum", "$ref"];
    let is_object = || schema.get("type").is_some_and(|it| it.to_string().contains("object"));
    let says = SAYS.iter().any(|name| schema.get(name).is_some());
    let is_map = schema.get("additionalProperties").is_some_and(Json::is_object);
    !says && !is_map && (schema.get("type").is_none() || is_object())
}

fn collect(schema: &Json, names: &mut BTreeSet<String>) {
    match schema {
        Json::Object(map) => {
            names.extend(properties(schema).into_iter().flat_map(|it| it.keys().cloned()));
            map.values().for_each(|value| collect(value, names));
        }
        Json::Array(list) => list.iter().for_each(|value| collect(value, names)),
        _ => {}
    }
}

/// The names of attributes.
fn attributes() -> impl Iterator<Item = &'static str> {
    ATTRIBUTES.lines().filter(|line| !line.starts_with('#')).flat_map(str::split_whitespace)
}

#[cfg(test)]
mod tests;
