//! The JSON Schema of stack files, for editors, made from the declarations of the keys.
//!
//! Rules that a schema cannot express are checked by the reader, such as a pool's interfaces against its instance type. The
//! schema is also valid for strict validators such as Ajv: each schema has one type, alternatives are in `anyOf`, and there are
//! no custom formats.

use serde_json::{Map as JsonMap, Value, json};

use crate::{
    diagnostic::Findings,
    environment::{self, ENVIRONMENTS},
    forms,
    language::{Absent, Below, Description, Entry, Named, STACK},
    names,
    tree::{self, Node, ScalarKind},
};

/// The subject of a schema.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Of {
    /// A whole stack.
    Stack,
    /// The keys of an environment. No key is required, and `null` removes one.
    Environment,
}

/// The JSON Schema of stack files, environments included.
pub fn json_schema() -> Value {
    let mut root = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Trunnion stack",
        "description": STACK.about,
    });
    extend(&mut root, section(&STACK, Of::Stack));
    root["properties"][ENVIRONMENTS] = json!({
        "description": environment::ABOUT,
        "anyOf": [
            {
                "type": "object",
                "propertyNames": {
                    "pattern": forms::ENVIRONMENT_NAME.pattern(),
                    "not": { "pattern": names::JOINT },
                },
                "additionalProperties": { "anyOf": [section(&STACK, Of::Environment), { "type": "null" }] },
            },
            { "type": "null" },
        ],
    });
    root
}

/// A map with known keys.
fn section(section: &Description, of: Of) -> Value {
    let keys = |is: fn(&Entry) -> bool| section.keys.iter().filter(move |entry| is(entry)).map(|entry| entry.name);
    let properties: JsonMap<String, Value> =
        section.keys.iter().map(|entry| (entry.name.to_owned(), property(entry, of))).collect();
    let mut schema = json!({ "type": "object", "properties": properties, "additionalProperties": false });
    if of == Of::Stack {
        let required: Vec<&str> = keys(|entry| entry.absent == Absent::Required).collect();
        let one_of: Vec<Value> = keys(|entry| matches!(entry.absent, Absent::Either(_)))
            .map(|name| json!({ "properties": { name: true }, "required": [name] }))
            .collect();
        if !required.is_empty() {
            schema["required"] = json!(required);
        }
        if !one_of.is_empty() {
            schema["oneOf"] = json!(one_of);
        }
    }
    schema
}

/// The values of a key.
fn property(entry: &Entry, of: Of) -> Value {
    let mut schema = json!({ "description": entry.about });
    if let (Absent::Value(value), Of::Stack, true) = (entry.absent, of, !entry.kind.forms.is_empty()) {
        schema["default"] = written(value);
    }
    if !entry.examples.is_empty() {
        schema["examples"] = entry.examples.iter().map(|example| written(example)).collect();
    }
    let mut forms = entry.kind.forms.clone();
    match &entry.kind.below {
        Below::Anything => {}
        Below::Keys(keys) => forms.push(section(keys, of)),
        Below::Named(named) => forms.push(names_of_the_user(named, of)),
    }
    if of == Of::Environment || (entry.kind.may_be_empty && entry.absent != Absent::Required) {
        forms.push(json!({ "type": "null" }));
    }
    match <[Value; 1]>::try_from(forms) {
        Ok([only]) => extend(&mut schema, only),
        Err(forms) => schema["anyOf"] = json!(forms),
    }
    schema
}

fn names_of_the_user(named: &Named, of: Of) -> Value {
    let mut each = json!({ "description": named.each.about });
    match of {
        Of::Stack => extend(&mut each, section(&named.each, of)),
        Of::Environment => each["anyOf"] = json!([section(&named.each, of), { "type": "null" }]),
    }
    let mut schema = json!({
        "type": "object",
        "propertyNames": { "pattern": named.pattern },
        "maxProperties": named.at_most,
        "additionalProperties": each,
    });
    if of == Of::Stack && named.at_least > 0 {
        schema["minProperties"] = json!(named.at_least);
    }
    schema
}

fn extend(schema: &mut Value, by: Value) {
    if let (Value::Object(schema), Value::Object(by)) = (schema, by) {
        schema.extend(by);
    }
}

/// A value that is written in YAML, as JSON.
fn written(yaml: &str) -> Value {
    tree::read(yaml, &mut Findings::default()).as_ref().map_or(Value::Null, json_of)
}

fn json_of(node: &Node) -> Value {
    match &node.value {
        tree::Value::Scalar(scalar) => match scalar.kind {
            ScalarKind::Null => Value::Null,
            ScalarKind::Bool(boolean) => json!(boolean),
            ScalarKind::Integer(integer) => json!(integer),
            ScalarKind::Number | ScalarKind::Text => json!(scalar.text),
        },
        tree::Value::List(items) => items.iter().map(json_of).collect(),
        tree::Value::Map(entries) => {
            Value::Object(entries.iter().map(|entry| (entry.key.clone(), json_of(&entry.value))).collect())
        }
    }
}

#[cfg(test)]
mod tests;
