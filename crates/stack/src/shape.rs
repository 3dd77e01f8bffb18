//! Which keys a stack file has, and where: one description for unknown keys, in the stack and in every environment.

use crate::{
    diagnostic::{Diagnostic, Findings},
    sources::shown_text,
    tree::{Entry, Node},
};

/// What may stand below a key.
pub(crate) enum Shape {
    /// A value whose keys, if it has any, are the user's own.
    Value,
    /// These keys.
    Keys(&'static [(&'static str, Shape)]),
    /// Names that the user gives, each with this shape below it.
    Named(&'static Shape),
}

use Shape::{Keys, Named, Value};

const POOL: Shape = Keys(&[
    ("instance_type", Value),
    ("count", Value),
    ("zone", Value),
    ("subnet", Value),
    ("image", Value),
    ("interfaces", Value),
    ("addresses", Value),
    ("volume_gib", Value),
    ("market", Value),
    ("tracking", Value),
    ("public_ip", Value),
]);
const LOCATION: Shape = Keys(&[
    ("pool", Value),
    ("description", Value),
    ("engine", Value),
    ("jvm_options", Value),
    ("system_properties", Value),
]);
const SSH: Shape = Keys(&[("user", Value), ("private_key", Value), ("public_key", Value)]);
const CONTROL_PLANE: Shape = Keys(&[
    ("image", Value),
    ("init_image", Value),
    ("token", Value),
    ("ssh", SSH),
    ("public_ip", Value),
    ("cpu", Value),
    ("memory", Value),
    ("zones", Value),
    ("log_retention_days", Value),
]);
const GENERATOR: Shape = Keys(&[
    ("binary", Keys(&[("x86_64", Value), ("arm64", Value)])),
    ("sha256", Keys(&[("x86_64", Value), ("arm64", Value)])),
    ("java", Value),
    ("template", Value),
    ("variables", Value),
    ("spread", Value),
    ("spread_except", Value),
    ("metrics_port", Value),
    ("metrics_from", Value),
]);

/// What an environment may hold.
pub(crate) const OVERLAY: Shape = Keys(&[
    ("stack", Value),
    ("region", Value),
    ("account", Value),
    ("tags", Value),
    ("state", Value),
    ("network", Keys(&[("vpc", Value), ("dns_servers", Value)])),
    ("generator", GENERATOR),
    ("pools", Named(&POOL)),
    ("control_plane", CONTROL_PLANE),
    ("locations", Named(&LOCATION)),
]);

/// Finds the keys that nothing reads, in the stack and in its environments.
pub(crate) fn check(root: &Node, findings: &mut Findings) {
    let Keys(keys) = OVERLAY else { return };
    let mut known: Vec<&str> = keys.iter().map(|(key, _)| *key).collect();
    known.push("environments");
    for entry in root.entries() {
        if entry.key == "environments" {
            for environment in entry.value.entries() {
                below(&environment.value, &OVERLAY, &format!("environments.{}", environment.key), findings);
            }
        } else if let Some((_, shape)) = keys.iter().find(|(key, _)| *key == entry.key) {
            below(&entry.value, shape, &entry.key, findings);
        } else {
            unknown(entry, "", &known, findings);
        }
    }
}

fn below(node: &Node, shape: &Shape, path: &str, findings: &mut Findings) {
    for entry in node.entries() {
        let path_below = format!("{path}.{}", entry.key);
        let shape_below = match shape {
            Value => return,
            Named(shape) => Some(*shape),
            Keys(keys) => keys.iter().find(|(key, _)| *key == entry.key).map(|(_, shape)| shape),
        };
        match (shape_below, shape) {
            (Some(shape), _) => below(&entry.value, shape, &path_below, findings),
            (None, Keys(keys)) => {
                let known: Vec<&str> = keys.iter().map(|(key, _)| *key).collect();
                unknown(entry, path, &known, findings);
            }
            (None, _) => {}
        }
    }
}

fn unknown(entry: &Entry, path: &str, known: &[&str], findings: &mut Findings) {
    let place = if path.is_empty() { "a stack".to_owned() } else { format!("`{}`", shown_text(path)) };
    let message = format!("`{}` is no key of {place}", shown_text(&entry.key));
    let help = match nearest(&entry.key, known.iter().copied()) {
        Some(nearest) => {
            findings.mistyped(if path.is_empty() { nearest.to_owned() } else { format!("{path}.{nearest}") });
            format!("did you mean `{nearest}`?")
        }
        None => format!("its keys are {}", listed(known)),
    };
    let help = match entry.key.chars().find(|letter| !letter.is_ascii()) {
        Some(letter) => format!("{help}; it holds U+{:04X}, which is no ASCII character", u32::from(letter)),
        None => help,
    };
    findings.push(Diagnostic::new("stack::unknown_key", Some(entry.key_span.clone()), message).with_help(help));
}

/// The known word that was probably meant.
pub(crate) fn nearest<'k>(word: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    // Comparing costs the product of both lengths; nobody mistypes a word into one this long.
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

/// Words as a list in a sentence, each in backticks.
pub(crate) fn listed(words: &[impl AsRef<str>]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("`{}`", shown_text(word.as_ref()))).collect();
    match quoted.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
        _ => quoted.concat(),
    }
}
