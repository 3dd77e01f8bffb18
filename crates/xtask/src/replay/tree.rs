//! Bodies as trees: JSON as it is, XML in the form that JSON would have.

use quick_xml::{Reader, events::Event};
use serde_json::{Map, Value};

use crate::transcript::Body;

/// The deepest XML that is read.
const DEPTH: usize = 100;

/// The tree of a body in a transcript. A body that cannot be read is a text.
pub(crate) fn of_body(body: &Body) -> Value {
    match body {
        Body::Empty | Body::Content { .. } => Value::Null,
        Body::Json(document) => document.clone(),
        Body::Text(text) => of_text(text),
        Body::Form(pairs) => {
            Value::Object(pairs.iter().map(|(name, value)| (name.clone(), Value::String(value.clone()))).collect())
        }
    }
}

/// The items of all lists in a tree.
pub(super) fn items(tree: &Value) -> Vec<Value> {
    match tree {
        Value::Array(list) => list.iter().cloned().chain(list.iter().flat_map(items)).collect(),
        Value::Object(members) => members.values().flat_map(items).collect(),
        _ => Vec::new(),
    }
}

/// The tree of a text: JSON, XML, or the text itself.
pub(super) fn of_text(text: &str) -> Value {
    if text.is_empty() {
        return Value::Null;
    }
    if let Ok(document) = serde_json::from_str(text) {
        return document;
    }
    of_xml(text).unwrap_or_else(|| Value::String(text.to_owned()))
}

/// An element whose end has not been read.
#[derive(Default)]
struct Open {
    name: String,
    children: Vec<(String, Value)>,
    text: String,
}

impl Open {
    /// A list if it has items only, else an object; a text without children.
    fn close(self) -> Value {
        if self.children.is_empty() {
            return Value::String(self.text);
        }
        if self.children.iter().all(|(name, _)| matches!(name.as_str(), "item" | "member")) {
            return Value::Array(self.children.into_iter().map(|(_, value)| value).collect());
        }
        let mut members = Map::new();
        for (name, value) in self.children {
            match members.remove(&name) {
                // S3 repeats an element for each item of a list.
                Some(Value::Array(mut items)) if name != "item" => {
                    items.push(value);
                    members.insert(name, Value::Array(items));
                }
                Some(first) => {
                    members.insert(name, Value::Array(vec![first, value]));
                }
                None => {
                    members.insert(name, value);
                }
            }
        }
        Value::Object(members)
    }
}

fn of_xml(text: &str) -> Option<Value> {
    let mut reader = Reader::from_str(text);
    let mut open = vec![Open::default()];
    loop {
        match reader.read_event().ok()? {
            Event::Start(start) if open.len() < DEPTH => {
                let name = start.local_name().as_ref().to_owned();
                open.push(Open { name, ..Open::default() });
            }
            Event::Start(_) => return None,
            Event::Empty(empty) => {
                let name = empty.local_name().as_ref().to_owned();
                open.last_mut()?.children.push((name, Value::String(String::new())));
            }
            Event::End(_) => {
                let closed = open.pop()?;
                let name = closed.name.clone();
                open.last_mut()?.children.push((name, closed.close()));
            }
            Event::Text(content) => open.last_mut()?.text += &content,
            Event::CData(content) => open.last_mut()?.text += &content,
            Event::GeneralRef(entity) => {
                let name: &str = &entity;
                let open = open.last_mut()?;
                match quick_xml::escape::resolve_predefined_entity(name) {
                    Some(character) => open.text += character,
                    None => open.text.push(entity.resolve_char_ref().ok()??),
                }
            }
            Event::Eof => break,
            _ => {}
        }
    }
    let root = open.pop().filter(|_| open.is_empty())?;
    root.children.into_iter().next().map(|(_, value)| value)
}
