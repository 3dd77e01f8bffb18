//! One attribute value on one line.

use serde_json::Value as Json;

/// What stands where only apply can tell.
pub(crate) const UNKNOWN: &str = "(known after apply)";

/// The longest a value gets before it is cut.
const LONGEST: usize = 96;

/// A value in one line, cut where it gets long.
pub(crate) fn inline(value: &Json) -> String {
    match value {
        // The first characters of a digest tell it from another one.
        Json::String(text) if is_digest(text) => format!("{}…", &text[..12]),
        Json::String(text) => cut(&Json::from(safe(text)).to_string()),
        Json::Object(object) if object.contains_key("$reference") && object.len() == 1 => UNKNOWN.to_owned(),
        Json::Object(object) if object.contains_key("$concat") && object.len() == 1 => UNKNOWN.to_owned(),
        Json::Array(list) => cut(&format!("[{}]", list.iter().map(inline).collect::<Vec<_>>().join(", "))),
        Json::Object(object) => cut(&format!(
            "{{ {} }}",
            object
                .iter()
                .map(|(key, value)| format!("{}: {}", safe(key), inline(value)))
                .collect::<Vec<_>>()
                .join(", ")
        )),
        other => other.to_string(),
    }
}

/// A text with its references spelled out: `(instance.heavy[0].private_ip, known after apply)`.
pub(crate) fn spelled_out(value: &Json) -> Option<String> {
    match value {
        Json::String(text) => Some(text.clone()),
        Json::Object(object) if object.len() == 1 => {
            if let Some(Json::Array(parts)) = object.get("$concat") {
                return parts.iter().map(spelled_out).collect();
            }
            let reference = object.get("$reference")?.as_str()?;
            Some(format!("({}, known after apply)", reference.replacen('#', ".", 1)))
        }
        _ => None,
    }
}

/// Text without characters that would steer a terminal.
pub(crate) fn safe(text: &str) -> String {
    text.chars()
        .map(
            |character| {
                if character.is_control() && character != '\n' && character != '\t' { '\u{fffd}' } else { character }
            },
        )
        .collect()
}

fn is_digest(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn cut(text: &str) -> String {
    if text.chars().count() <= LONGEST {
        return text.to_owned();
    }
    let mut shown: String = text.chars().take(LONGEST - 1).collect();
    shown.push('…');
    shown
}
