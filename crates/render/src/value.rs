//! One attribute value on one line.

pub(crate) use trunnion_engine::plain as safe;
use trunnion_engine::{Reference, Value};

use crate::visible;

/// The text for a value that is known after apply.
const UNKNOWN: &str = "(known after apply)";

/// The most characters of a value on one line. A longer new value is cut; a longer change has a line for each side.
pub(crate) const LONGEST: usize = 96;

/// A value on one line, cut if it is long. Only for new values: a difference is never cut.
pub(crate) fn inline(value: &Value) -> String {
    cut(&whole(value))
}

/// A value on one line of any length. A digest is shortened to its first characters.
pub(crate) fn whole(value: &Value) -> String {
    one_line(value, false)
}

/// The old and the new value, each on one line, so that the difference is visible. If both would look the same, digests
/// are complete and non-ASCII characters are escaped.
pub(crate) fn pair(before: &Value, after: &Value) -> (String, String) {
    let usual = (whole(before), whole(after));
    if visible::is_alike(&usual.0, &usual.1) { (exact(before), exact(after)) } else { usual }
}

/// A value on one line, complete and in ASCII.
pub(crate) fn exact(value: &Value) -> String {
    one_line(value, true)
}

fn one_line(value: &Value, is_exact: bool) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(truth) => truth.to_string(),
        Value::Number(number) => number.to_string(),
        Value::Text(text) if is_digest(text) && !is_exact => {
            format!("{}…", text.chars().take(12).collect::<String>())
        }
        Value::Text(text) => visible::quoted(text, is_exact),
        Value::Json(text) => visible::quoted(&text.document().to_string(), is_exact),
        Value::Reference(_) | Value::Concat(_) if is_exact => {
            spelled_out(value).map_or_else(|| UNKNOWN.to_owned(), |text| visible::exact_line(&text))
        }
        Value::Reference(_) | Value::Concat(_) => UNKNOWN.to_owned(),
        Value::List(list) => {
            format!("[{}]", list.iter().map(|value| one_line(value, is_exact)).collect::<Vec<_>>().join(", "))
        }
        Value::Map(map) => {
            let key = |key: &str| if is_exact { visible::quoted(key, true) } else { visible::line(key) };
            let pairs = map.iter().map(|(name, value)| format!("{}: {}", key(name), one_line(value, is_exact)));
            format!("{{ {} }}", pairs.collect::<Vec<_>>().join(", "))
        }
    }
}

/// A text in which references are written as `(instance.heavy[0].private_ip, known after apply)`.
pub(crate) fn spelled_out(value: &Value) -> Option<String> {
    match value {
        Value::Text(text) => Some(text.clone()),
        Value::Concat(parts) => parts.iter().map(spelled_out).collect(),
        Value::Reference(Reference { address, attribute }) => {
            Some(format!("({address}.{attribute}, known after apply)"))
        }
        _ => None,
    }
}

/// Whether two texts are equal without their spaces, tabs and line ends.
pub(crate) fn differ_in_whitespace_only(before: &Value, after: &Value) -> bool {
    let (Some(before), Some(after)) = (spelled_out(before), spelled_out(after)) else { return false };
    let inked = |text: &str| text.chars().filter(|character| !character.is_whitespace()).collect::<String>();
    before != after && inked(&before) == inked(&after)
}

fn is_digest(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn cut(text: &str) -> String {
    let length = text.chars().count();
    if length <= LONGEST {
        return text.to_owned();
    }
    let shown: String = text.chars().take(LONGEST - 1).collect();
    format!("{shown}… and {} more characters", length - (LONGEST - 1))
}
