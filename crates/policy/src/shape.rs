//! What an element of `deny` or `warn` may look like.

use regorus::Value;
use trunnion_engine::preview::Verdict;

use crate::{PolicyError, check::Entry};

/// The verdict that an element stands for: a text, or an object with `message` and, if wanted, `help` and `address`.
pub(crate) fn verdict(entry: &Entry, element: &Value) -> Result<Verdict, PolicyError> {
    let code = format!("policy::{}", entry.package);
    let severity = entry.severity;
    let (message, help) = match element {
        Value::String(message) => (message.to_string(), None),
        Value::Object(fields) => {
            let [mut message, mut help, mut address] = [const { None }; 3];
            for (name, value) in fields.iter() {
                let place = match name.as_string().map(AsRef::as_ref) {
                    Ok("message") => &mut message,
                    Ok("help") => &mut help,
                    Ok("address") => &mut address,
                    _ => {
                        return Err(entry.wrong(&format!(
                            "has an element with {name}, which is not one of `message`, `help` and `address`"
                        )));
                    }
                };
                let Ok(text) = value.as_string() else {
                    return Err(entry.wrong(&format!("has an element whose {name} is {value}, not a text")));
                };
                *place = Some(text.to_string());
            }
            let Some(message) = message else {
                return Err(entry.wrong(&format!("has the element {element}, which has no `message`")));
            };
            // A verdict always says what it is about.
            let message = match address {
                Some(address) if !message.contains(&address) => format!("`{address}`: {message}"),
                _ => message,
            };
            (message, help)
        }
        other => return Err(entry.wrong(&format!("has the element {other}, which is neither a text nor an object"))),
    };
    if message.trim().is_empty() {
        return Err(entry.wrong("has an element with an empty message"));
    }
    Ok(Verdict { severity, code, message, help })
}
