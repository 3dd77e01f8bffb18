//! Merges the chosen environment into the rest of the file.

use crate::{
    diagnostic::{Diagnostic, Findings},
    forms, merge, names,
    shape::{listed, nearest},
    sources::{path_below, shown_text},
    tree::{Node, Value},
};

/// The description of `environments` in the reference and the schema.
pub(crate) const ABOUT: &str = "What differs between environments of the same platform. `--env` chooses one, which is laid over \
    the stack: maps are merged, everything else is replaced, and `null` removes a key. The environment's name is appended to the \
    stack's.";

/// The key of the environments.
pub(crate) const ENVIRONMENTS: &str = "environments";

/// The names of the file's environments, in its order.
pub(crate) fn names(root: &Node) -> Vec<String> {
    let Value::Map(entries) = &root.value else { return Vec::new() };
    let environments = entries.iter().find(|entry| entry.key == ENVIRONMENTS);
    environments.iter().flat_map(|entry| entry.value.entries()).map(|entry| entry.key.clone()).collect()
}

/// The tree of the chosen environment: the file without `environments`, and that environment over it.
pub(crate) fn choose(mut root: Node, chosen: Option<&str>, findings: &mut Findings) -> Option<Node> {
    let environments = match &mut root.value {
        Value::Map(entries) => entries.iter().position(|entry| entry.key == ENVIRONMENTS).map(|at| entries.remove(at)),
        _ => None,
    };
    let Some(environments) = environments else {
        return match chosen {
            Some(chosen) => {
                findings.push(unknown(chosen, &[], None));
                None
            }
            None => Some(root),
        };
    };
    if !environments.value.is_null() && !matches!(environments.value.value, Value::Map(_)) {
        let message = format!("`environments` is {}, but must be a map", environments.value.type_in_words());
        let found = Diagnostic::new("stack::wrong_type", Some(environments.place()), message);
        findings.push(found.with_help("write each environment below it: `staging: { … }`"));
        return Some(root);
    }
    for entry in environments.value.entries() {
        let shown = shown_text(&entry.key);
        if !forms::ENVIRONMENT_NAME.fits(&entry.key) || entry.key.contains(names::JOINT) {
            let message = format!("`environments.{shown}` is not a valid environment name");
            let words = forms::ENVIRONMENT_NAME.words();
            let help = format!("use {words}, and no two hyphens in a row: it becomes part of the stack's name");
            let found = Diagnostic::new("stack::malformed", Some(entry.key_span.clone()), message);
            findings.push(found.with_help(help));
        }
        if !entry.value.is_null() && !matches!(entry.value.value, Value::Map(_)) {
            let what = entry.value.type_in_words();
            let message = format!("`environments.{shown}` is {what}, but must be a map");
            let help = "write the keys that differ below it; write `{}` for none";
            findings.push(Diagnostic::new("stack::wrong_type", Some(entry.place()), message).with_help(help));
        }
    }
    let Some(chosen) = chosen else { return Some(root) };
    let key_span = environments.key_span.clone();
    let Value::Map(entries) = environments.value.value else {
        findings.push(unknown(chosen, &[], Some(key_span)));
        return None;
    };
    let names: Vec<String> = entries.iter().map(|entry| entry.key.clone()).collect();
    match entries.into_iter().find(|entry| entry.key == chosen) {
        Some(entry) if matches!(entry.value.value, Value::Map(_)) => {
            removals(&root, &entry.value, "", chosen, findings);
            Some(merge::overlay(root, entry.value))
        }
        Some(_) => Some(root),
        None => {
            findings.push(unknown(chosen, &names, Some(key_span)));
            None
        }
    }
}

/// Records which keys of the stack the environment removes, for the message if one of them is required.
fn removals(base: &Node, over: &Node, path: &str, environment: &str, findings: &mut Findings) {
    for entry in over.entries() {
        let Some(known) = base.entries().iter().find(|known| known.key == entry.key) else { continue };
        let here = path_below(path, &entry.key);
        if entry.value.is_written_null() {
            findings.removed(here, environment, entry.place());
        } else {
            removals(&known.value, &entry.value, &here, environment, findings);
        }
    }
}

fn unknown(chosen: &str, names: &[String], span: Option<std::ops::Range<usize>>) -> Diagnostic {
    let message = format!("there is no environment `{}`", shown_text(chosen));
    let help = match nearest(chosen, names.iter().map(String::as_str)) {
        Some(nearest) => format!("did you mean `{nearest}`?"),
        None if names.is_empty() => {
            format!(
                "the stack has no environments: remove `--env`, or add `{}` under `environments`",
                shown_text(chosen)
            )
        }
        None => format!("the environments are {}", listed(names)),
    };
    Diagnostic::new("stack::unknown_environment", span, message).with_help(help)
}
