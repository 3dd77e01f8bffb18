//! Finds unknown keys in the stack and in every environment.

use crate::{
    diagnostic::{Diagnostic, Findings},
    environment::ENVIRONMENTS,
    language::{Below, Description, STACK},
    secrets,
    sources::{path_below, shown_text},
    tree::{Entry, Node},
};

/// Reports the unknown keys of the stack and its environments.
pub(crate) fn check(root: &Node, findings: &mut Findings) {
    for entry in root.entries() {
        if entry.key == ENVIRONMENTS {
            for environment in entry.value.entries() {
                below(&environment.value, &STACK, &path_below(ENVIRONMENTS, &environment.key), &[], findings);
            }
        }
    }
    below(root, &STACK, "", &[ENVIRONMENTS], findings);
}

fn below(node: &Node, section: &Description, path: &str, more: &[&str], findings: &mut Findings) {
    for entry in node.entries().iter().filter(|entry| !more.contains(&entry.key.as_str())) {
        let here = path_below(path, &entry.key);
        match section.key(&entry.key).map(|known| &known.kind.below) {
            Some(Below::Anything) => {}
            Some(Below::Keys(section)) => below(&entry.value, section, &here, &[], findings),
            Some(Below::Named(named)) => {
                for entry in entry.value.entries() {
                    below(&entry.value, &named.each, &path_below(&here, &entry.key), &[], findings);
                }
            }
            None => {
                let known: Vec<&str> =
                    section.keys.iter().map(|known| known.name).chain(more.iter().copied()).collect();
                unknown(entry, path, &known, findings);
            }
        }
    }
}

fn unknown(entry: &Entry, path: &str, known: &[&str], findings: &mut Findings) {
    let place = if path.is_empty() { "a stack".to_owned() } else { format!("`{}`", shown_text(path)) };
    if let Some(architecture) = same_architecture(&entry.key).filter(|architecture| known.contains(architecture)) {
        findings.mistyped(path_below(path, architecture));
        let message = format!("`{}` is not a valid architecture", shown_text(&entry.key));
        let help = format!("use `{architecture}` (the same architecture)");
        findings.push(Diagnostic::new("stack::unknown_key", Some(entry.key_span.clone()), message).with_help(help));
        return;
    }
    let message = format!("`{}` is not a key of {place}", shown_text(&entry.key));
    // What is meant to be another key's value is shown. Nobody knows what any other value is.
    let meant = nearest(&entry.key, known.iter().copied());
    if meant.is_none_or(secrets::is_for_secrets) {
        secrets::hide_texts(&entry.value, findings);
    }
    let help = match meant {
        Some(nearest) => {
            findings.mistyped(path_below(path, nearest));
            format!("did you mean `{nearest}`?")
        }
        None => format!("valid keys are {}", listed(known)),
    };
    let help = match entry.key.chars().find(|letter| !letter.is_ascii()) {
        Some(letter) => format!("{help}; it contains U+{:04X}, which is not an ASCII character", u32::from(letter)),
        None => help,
    };
    findings.push(Diagnostic::new("stack::unknown_key", Some(entry.key_span.clone()), message).with_help(help));
}

/// EC2's name for an architecture, from the name in other tools.
fn same_architecture(word: &str) -> Option<&'static str> {
    Some(match word.to_lowercase().replace('-', "_").as_str() {
        "amd64" | "x64" | "x86_64" => "x86_64",
        "aarch64" | "arm64" | "arm" => "arm64",
        _ => return None,
    })
}

/// The most similar known word, if one is similar enough.
pub(crate) fn nearest<'k>(word: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    // The cost of a comparison is the product of both lengths, so very long words are skipped.
    if word.len() > 64 {
        return None;
    }
    let normal = word.to_lowercase().replace('-', "_");
    known
        .map(|known| (strsim::damerau_levenshtein(&normal, &known.to_lowercase().replace('-', "_")), known))
        .filter(|(distance, known)| *distance <= 1 + known.len() / 4)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known)
}

/// Words as a choice in a sentence, each in backticks.
pub(crate) fn either(words: &[impl AsRef<str>]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("`{}`", word.as_ref())).collect();
    match quoted.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        _ => quoted.concat(),
    }
}

/// Words as a list in a sentence, each in backticks.
pub(crate) fn listed(words: &[impl AsRef<str>]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("`{}`", shown_text(word.as_ref()))).collect();
    match quoted.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
        _ => quoted.concat(),
    }
}
