//! Helpers of the JSON services: typed requests, AWS's timestamps, pages.

use std::fmt::Write;

use base64::{Engine, engine::general_purpose::STANDARD};
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::call::{Call, Fault, Input};

/// The request as a type; unknown members are ignored, as AWS does.
pub(crate) fn input<T: DeserializeOwned>(call: &Call) -> Result<T, Fault> {
    match &call.input {
        Input::Json(document) => {
            T::deserialize(document).map_err(|error| Fault::new("SerializationException", error.to_string()))
        }
        Input::Query(_) => Err(Fault::new("SerializationException", "a JSON document is expected")),
    }
}

/// Seconds since the epoch with a fraction, the format of timestamps in the JSON protocol.
pub(crate) fn epoch(moment: Timestamp) -> Value {
    Value::from(moment.as_duration().as_secs_f64())
}

/// The first hexadecimal digits of the SHA-256 of `text`: an id that looks random but is always the same.
pub(crate) fn hex_id(text: &str, digits: usize) -> String {
    let mut id = hex(&Sha256::digest(text.as_bytes()));
    id.truncate(digits);
    id
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// `hex_id` in the format of a UUID.
pub(crate) fn uuid_id(text: &str) -> String {
    let id = hex_id(text, 32);
    format!("{}-{}-{}-{}-{}", &id[..8], &id[8..12], &id[12..16], &id[16..20], &id[20..])
}

/// One page of `items`, which are sorted by their keys, and the token of the next page.
///
/// A token is the last key of its page, so resources that are created or deleted between two pages do not shift the
/// others. Returns `None` if the token is invalid.
pub(crate) fn page<T>(
    mut items: Vec<(String, T)>,
    limit: usize,
    token: Option<&str>,
    descending: bool,
) -> Option<(Vec<T>, Option<String>)> {
    items.sort_by(|(left, _), (right, _)| if descending { right.cmp(left) } else { left.cmp(right) });
    if let Some(token) = token.filter(|token| !token.is_empty()) {
        let after = String::from_utf8(STANDARD.decode(token).ok()?).ok()?;
        items.retain(|(key, _)| if descending { *key < after } else { *key > after });
    }
    let next = if items.len() > limit {
        items.truncate(limit);
        items.last().map(|(key, _)| STANDARD.encode(key))
    } else {
        None
    };
    Some((items.into_iter().map(|(_, item)| item).collect(), next))
}

#[cfg(test)]
mod tests {
    use super::page;

    fn keyed(keys: &[&str]) -> Vec<(String, String)> {
        keys.iter().map(|key| ((*key).to_owned(), (*key).to_owned())).collect()
    }

    #[test]
    fn a_page_continues_correctly_after_rows_were_deleted() {
        let (first, token) = page(keyed(&["a", "b", "c", "d"]), 2, None, false).unwrap();
        assert_eq!(first, ["a", "b"]);
        let (second, token) = page(keyed(&["a", "c", "d"]), 2, token.as_deref(), false).unwrap();
        assert_eq!(second, ["c", "d"]);
        assert_eq!(token, None);
    }

    #[test]
    fn a_foreign_token_is_refused() {
        assert!(page(keyed(&["a"]), 2, Some("%"), false).is_none());
    }

    #[test]
    fn descending_pages_continue_downwards() {
        let (first, token) = page(keyed(&["a", "b", "c"]), 2, None, true).unwrap();
        assert_eq!(first, ["c", "b"]);
        assert_eq!(page(keyed(&["a", "b", "c"]), 2, token.as_deref(), true).unwrap().0, ["a"]);
    }
}

/// Helpers of the services' tests: a sandbox that is six times faster than AWS, and calls at a given second.
#[cfg(test)]
pub(crate) mod testing {
    use jiff::Timestamp;
    use serde_json::Value;

    use crate::{
        Options,
        call::{Call, Input},
        cloud::Cloud,
    };

    /// How many seconds a minute of AWS takes, such as the start of an instance or a task.
    pub(crate) const PACE: i64 = 10;

    pub(crate) fn cloud() -> Cloud {
        Cloud::open(&Options::new().with_speed(6.0)).unwrap()
    }

    pub(crate) fn call(action: &str, second: i64, input: Input) -> Call {
        Call {
            service: String::new(),
            region: "eu-west-3".to_owned(),
            action: action.to_owned(),
            input,
            now: Timestamp::from_second(1_780_000_000 + second).unwrap(),
            request_id: "id".to_owned(),
            origin: crate::authorize::Origin::administrator(),
        }
    }

    pub(crate) fn json_call(action: &str, second: i64, document: Value) -> Call {
        call(action, second, Input::Json(document))
    }

    pub(crate) fn query_call(action: &str, parameters: &[(&str, &str)]) -> Call {
        let pairs = parameters.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        call(action, 0, Input::query(pairs))
    }
}
