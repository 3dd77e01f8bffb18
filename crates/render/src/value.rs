//! One attribute value on one line.

use serde_json::Value as Json;
pub(crate) use trunnion_engine::plain as safe;

use crate::visible;

/// What stands where only apply can tell.
pub(crate) const UNKNOWN: &str = "(known after apply)";

/// The longest a value gets in one line: what is new is cut there, and what differs has a line for each side.
pub(crate) const LONGEST: usize = 96;

/// A value in one line, cut where it gets long. For what is new: a difference is never cut.
pub(crate) fn inline(value: &Json) -> String {
    cut(&whole(value))
}

/// A value in one line, however long; of a digest, the first characters, which tell it from another one.
pub(crate) fn whole(value: &Json) -> String {
    one_line(value, false)
}

/// What was and what will be, each in one line, so that a reader sees the difference: if the usual way shows both alike,
/// digests are whole, and characters that are not ASCII are escaped.
pub(crate) fn pair(before: &Json, after: &Json) -> (String, String) {
    let usual = (whole(before), whole(after));
    if visible::is_alike(&usual.0, &usual.1) { (exact(before), exact(after)) } else { usual }
}

/// A value in one line, nothing shortened, only ASCII.
pub(crate) fn exact(value: &Json) -> String {
    one_line(value, true)
}

fn one_line(value: &Json, is_exact: bool) -> String {
    match value {
        Json::String(text) if is_digest(text) && !is_exact => format!("{}…", &text[..12]),
        Json::String(text) => visible::quoted(text, is_exact),
        value if is_unknown(value) && is_exact => spelled_out(value).unwrap_or_else(|| UNKNOWN.to_owned()),
        value if is_unknown(value) => UNKNOWN.to_owned(),
        Json::Array(list) => {
            format!("[{}]", list.iter().map(|value| one_line(value, is_exact)).collect::<Vec<_>>().join(", "))
        }
        Json::Object(object) => {
            let key = |key: &str| if is_exact { visible::quoted(key, true) } else { visible::line(key) };
            let pairs = object.iter().map(|(name, value)| format!("{}: {}", key(name), one_line(value, is_exact)));
            format!("{{ {} }}", pairs.collect::<Vec<_>>().join(", "))
        }
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
