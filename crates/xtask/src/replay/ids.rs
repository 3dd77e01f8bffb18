//! The values that AWS gave out, and the sandbox's in their place.

use std::collections::BTreeMap;

use serde_json::Value;

/// The shortest value that is replaced inside a longer text.
const SHORTEST: usize = 7;

/// The longest value that is an id or a token of a page, in bytes.
const LONGEST: usize = 4096;

/// The sandbox's values by AWS's.
#[derive(Debug, Default, Clone)]
pub(super) struct Ids(BTreeMap<String, String>);

impl Ids {
    /// Takes a value of AWS for one of the sandbox from now on, if it can be an id. The first value stays: the same id is
    /// everywhere the same.
    pub fn learn(&mut self, aws: &str, sandbox: &str) {
        let is_id = |text: &str| {
            (SHORTEST..LONGEST).contains(&text.len())
                && text.bytes().any(|byte| byte.is_ascii_digit())
                && text.bytes().any(|byte| !byte.is_ascii_digit())
                && !text.contains([' ', '{', '<', '%', '\n'])
                && !is_date(text)
        };
        if aws != sandbox && is_id(aws) && is_id(sandbox) {
            self.0.entry(aws.to_owned()).or_insert_with(|| sandbox.to_owned());
        }
    }

    /// The same text with the sandbox's values.
    pub fn text(&self, text: &str) -> String {
        if let Some(whole) = self.0.get(text) {
            return whole.clone();
        }
        // At each position, the longest value of AWS that ends where a word ends.
        let mut written = String::with_capacity(text.len());
        let mut rest = text;
        let mut before = ' ';
        while let Some(character) = rest.chars().next() {
            let begins = !before.is_ascii_alphanumeric();
            let found = if begins { self.at_start(rest) } else { None };
            let (taken, with) = match found {
                Some((aws, sandbox)) => (aws.len(), sandbox),
                None => (character.len_utf8(), rest.get(..character.len_utf8()).unwrap_or_default()),
            };
            written.push_str(with);
            let (done, remaining) = rest.split_at(taken);
            before = done.chars().next_back().unwrap_or(' ');
            rest = remaining;
        }
        written
    }

    /// The longest value of AWS at the start of a text, with the sandbox's.
    fn at_start(&self, text: &str) -> Option<(&str, &str)> {
        let first = text.get(..SHORTEST)?;
        let ends = |rest: &str| !rest.starts_with(|next: char| next.is_ascii_alphanumeric());
        self.0
            .range(first.to_owned()..)
            .take_while(|(aws, _)| aws.starts_with(first))
            .filter(|(aws, _)| text.strip_prefix(aws.as_str()).is_some_and(ends))
            .max_by_key(|(aws, _)| aws.len())
            .map(|(aws, sandbox)| (aws.as_str(), sandbox.as_str()))
    }

    /// The same pairs with the sandbox's values.
    pub fn pairs(&self, pairs: &[(String, String)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| (name.clone(), self.text(value))).collect()
    }

    /// The same document with the sandbox's values.
    pub fn document(&self, value: &Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.text(text)),
            Value::Array(items) => Value::Array(items.iter().map(|item| self.document(item)).collect()),
            Value::Object(members) => {
                let member = |(name, value): (&String, &Value)| (self.text(name), self.document(value));
                Value::Object(members.iter().map(member).collect())
            }
            other => other.clone(),
        }
    }
}

/// Whether a text is a date and a time, as AWS writes them.
pub(super) fn is_date(text: &str) -> bool {
    let mut parts = text.split('T').next().unwrap_or_default().split('-');
    let mut number = |length| parts.next().is_some_and(|part| part.len() == length && part.parse::<u32>().is_ok());
    let is_iso = number(4) && number(2) && number(2);
    let ends_in_gmt = text.ends_with(" GMT");
    (is_iso && text.contains(':')) || ends_in_gmt
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_ids_are_replaced() {
        let mut ids = Ids::default();
        ids.learn("172.31.0.4", "10.0.0.9");
        ids.learn("i-0aaaaaaaaaaaaaaaa", "i-0bbbbbbbbbbbbbbbb");
        ids.learn("minimal", "other");
        ids.learn("2026-11-26T10:00:00Z", "2026-11-26T10:00:01Z");
        assert_eq!(ids.text("172.31.0.4"), "10.0.0.9");
        assert_eq!(
            ids.text("hosts = [\"172.31.0.4\", \"172.31.0.40\"] ☃"),
            "hosts = [\"10.0.0.9\", \"172.31.0.40\"] ☃"
        );
        assert_eq!(ids.text("arn:x:instance/i-0aaaaaaaaaaaaaaaa"), "arn:x:instance/i-0bbbbbbbbbbbbbbbb");
        assert_eq!(ids.text("xi-0aaaaaaaaaaaaaaaa minimal"), "xi-0aaaaaaaaaaaaaaaa minimal");
        assert_eq!(ids.text("2026-11-26T10:00:00Z"), "2026-11-26T10:00:00Z");
    }
}
