//! Distinguishes secrets from the ARNs of secrets. A secret in a stack file is refused and never shown.

use std::ops::Range;

use crate::{
    diagnostic::{Diagnostic, Findings},
    tree::{Node, Value},
};

/// The prefixes of Gatling's tokens and AWS access keys.
const PREFIXES: [(&str, usize); 3] = [("cpt_", 8), ("AKIA", 20), ("ASIA", 20)];
const PEM_BEGIN: &str = "-----BEGIN";
const PEM_END: &str = "-----END";

/// Reports and hides every value in a file that looks like a secret, at any key.
pub(crate) fn refuse(node: &Node, findings: &mut Findings) {
    match &node.value {
        Value::Scalar(scalar) if is_secret(&scalar.text) => {
            findings.hide(node.span.clone());
            let message = "this looks like a secret itself; its value is not shown";
            let help = "put it into Secrets Manager, write the ARN here, and replace the secret: it was in a file";
            findings.push(Diagnostic::new("stack::secret", Some(node.span.clone()), message).with_help(help));
        }
        Value::Scalar(_) => {}
        Value::List(items) => items.iter().for_each(|item| refuse(item, findings)),
        Value::Map(entries) => {
            for entry in entries {
                if is_secret(&entry.key) {
                    findings.hide(entry.key_span.clone());
                    let message = "this key looks like a secret; it is not shown";
                    let found = Diagnostic::new("stack::secret", Some(entry.key_span.clone()), message);
                    findings.push(found.with_help("remove it, and replace the secret: it was in a file"));
                }
                refuse(&entry.value, findings);
            }
        }
    }
}

/// Whether this value looks like a secret.
pub(crate) fn is_secret(value: &str) -> bool {
    places(value).next().is_some()
}

/// Prefixes of other services' secrets, each with the least length of a secret (their documentation of secret
/// scanning).
const MARKS: [(&str, usize); 14] = [
    ("ghp_", 20),
    ("gho_", 20),
    ("ghs_", 20),
    ("github_pat_", 20),
    ("glpat-", 20),
    ("xoxb-", 20),
    ("xoxp-", 20),
    ("sk_live_", 20),
    ("rk_live_", 20),
    ("npm_", 30),
    ("dckr_pat_", 20),
    ("hvs.", 20),
    ("AIza", 35),
    ("eyJhbGciOi", 30),
];
/// Words in the names of secret values.
const NAMES: [&str; 9] =
    ["password", "passwd", "secret", "token", "apikey", "api_key", "api-key", "private_key", "credential"];

/// Whether a value may be a secret, judged by its content, by an assignment in it (`-Ddb.password=…`), or by its name.
pub fn may_be_secret(name: &str, value: &str) -> bool {
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-' | '.');
    let is_marked = value
        .split(|letter| !is_part(letter))
        .any(|word| MARKS.iter().any(|(mark, shortest)| word.starts_with(mark) && word.len() >= *shortest));
    let (name, assigned) = value.split_once('=').unwrap_or((name, value));
    let name = name.to_lowercase();
    let is_named = NAMES.iter().any(|known| name.contains(known));
    // References to secrets, file paths, numbers and booleans are not secrets.
    let is_reference = assigned.starts_with("arn:") || assigned.starts_with('/') || assigned.starts_with("${");
    let is_plain = assigned.len() < 8 || assigned.parse::<f64>().is_ok();
    is_marked || (is_named && !is_reference && !is_plain)
}

/// The places in a text that look like secrets. The time is linear in the length of the text.
fn places(text: &str) -> impl Iterator<Item = Range<usize>> {
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-');
    let tokens = PREFIXES.iter().flat_map(move |&(prefix, shortest)| {
        text.match_indices(prefix).filter_map(move |(start, _)| {
            // Only starts of words are checked.
            if text[..start].ends_with(is_part) {
                return None;
            }
            let length = text[start..].find(|letter| !is_part(letter)).unwrap_or(text.len() - start);
            (length >= shortest).then_some(start..start + length)
        })
    });
    tokens.chain(keys(text))
}

/// The places in a stack file that must be hidden: text that looks like a secret, and values that are not ARNs at keys
/// for ARNs of secrets. This works on the text only, so that it also covers invalid YAML.
pub(crate) fn hidden_places(text: &str) -> impl Iterator<Item = Range<usize>> {
    // Each value extends to the end of its line, so the first one in a line covers the others.
    let mut covered = 0;
    let named = text.match_indices(':').filter_map(move |(colon, _)| {
        if colon < covered {
            return None;
        }
        let name = text[..colon].trim_end_matches(['"', '\'']);
        if !["token", "private_key"].iter().any(|known| name.ends_with(known)) {
            return None;
        }
        let value = text[colon + 1..].trim_start_matches([' ', '"', '\'']);
        // Checked before the end of the line is searched, so that a line with many ARNs takes linear time.
        if value.is_empty() || value.starts_with("arn:") || value.starts_with(['\r', '\n', '|', '>', '*']) {
            return None;
        }
        let start = text.len() - value.len();
        covered = start + value.find('\n').unwrap_or(value.len());
        Some(start..covered)
    });
    places(text).chain(named)
}

/// Private keys in PEM format, each up to its end line, or to the end of the text without one.
fn keys(text: &str) -> impl Iterator<Item = Range<usize>> {
    let mut from = 0;
    std::iter::from_fn(move || {
        loop {
            let start = from + text[from..].find(PEM_BEGIN)?;
            from = start + PEM_BEGIN.len();
            // Words such as "OPENSSH" or "ENCRYPTED" come between, but no longer text.
            let label: String = text[from..].chars().take(32).collect();
            if label.contains("PRIVATE KEY") {
                let end = text[from..].find(PEM_END).map_or(text.len(), |end| {
                    let end = from + end;
                    text[end..].find('\n').map_or(text.len(), |newline| end + newline)
                });
                from = end;
                return Some(start..end);
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_confused_with_arns() {
        for secret in
            ["cpt_0123456789abcdef", "x cpt_abcdefgh", "-----BEGIN OPENSSH PRIVATE KEY-----", "AKIAABCDEFGHIJKLMNOP"]
        {
            assert!(is_secret(secret), "{secret}");
        }
        for fine in [
            "arn:aws:secretsmanager:eu-west-3:123456789012:secret:gatling/cpt",
            "cpt_x",
            "-----BEGIN CERTIFICATE-----",
            "",
        ] {
            assert!(!is_secret(fine), "{fine}");
        }
    }

    #[test]
    fn possible_secrets_are_detected_by_content_or_name() {
        for (name, value) in [
            ("jvm_options[0]", "-Dgithub=ghp_0123456789abcdefABCD"),
            ("jvm_options[1]", "-Ddb.password=correct horse"),
            ("auth.token", "0123456789abcdef"),
            ("url", "https://x:glpat-0123456789abcdef@example.org"),
        ] {
            assert!(may_be_secret(name, value), "{name} {value}");
        }
        for (name, value) in [
            ("jvm_options[0]", "-Xmx128g"),
            ("load.profile", "heavy"),
            ("token.arn", "arn:aws:secretsmanager:eu-west-3:123456789012:secret:x"),
            ("password.file", "/run/secrets/password"),
            ("token.lifetime", "3600"),
            ("cost-center", "quality-and-performance"),
        ] {
            assert!(!may_be_secret(name, value), "{name} {value}");
        }
    }

    #[test]
    fn values_that_are_not_arns_are_hidden_at_keys_for_arns() {
        let text = "a: {token: arn:aws:x, private_key: \"hunter2\"}\r\n token: hunter3\nkey: shown\ntoken: |\n";
        let found: Vec<_> = hidden_places(text).map(|place| &text[place]).collect();
        assert_eq!(found, ["hunter2\"}\r", "hunter3"]);
    }

    #[test]
    fn a_key_is_hidden_to_its_end() {
        let text = "a: |\n  -----BEGIN RSA PRIVATE KEY-----\n  AAAA\n  -----END RSA PRIVATE KEY-----\nb: 1";
        let found: Vec<_> = places(text).map(|place| &text[place]).collect();
        assert_eq!(found, ["-----BEGIN RSA PRIVATE KEY-----\n  AAAA\n  -----END RSA PRIVATE KEY-----"]);
    }
}
