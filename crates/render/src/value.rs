//! One attribute value on one line.

use serde_json::Value as Json;
pub(crate) use trunnion_engine::plain as safe;

/// What stands where only apply can tell.
pub(crate) const UNKNOWN: &str = "(known after apply)";

/// The longest a value gets before it is cut.
const LONGEST: usize = 96;

/// A value in one line, cut where it gets long.
pub(crate) fn inline(value: &Json) -> String {
    cut(&whole(value))
}

/// A value in one line, however long.
pub(crate) fn whole(value: &Json) -> String {
    match value {
        // The first characters of a digest tell it from another one.
        Json::String(text) if is_digest(text) => format!("{}…", &text[..12]),
        Json::String(text) => Json::from(safe(text)).to_string(),
        value if is_unknown(value) => UNKNOWN.to_owned(),
        Json::Array(list) => format!("[{}]", list.iter().map(whole).collect::<Vec<_>>().join(", ")),
        Json::Object(object) => format!(
            "{{ {} }}",
            object.iter().map(|(key, value)| format!("{}: {}", safe(key), whole(value))).collect::<Vec<_>>().join(", ")
        ),
        other => other.to_string(),
    }
}

/// Whether only apply can tell what it is.
pub(crate) fn is_unknown(value: &Json) -> bool {
    value.as_object().is_some_and(|object| {
        object.len() == 1 && (object.contains_key("$reference") || object.contains_key("$concat"))
    })
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
