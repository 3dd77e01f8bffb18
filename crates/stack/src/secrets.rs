//! Distinguishes secrets from the ARNs of secrets. A secret in a stack file is refused and never shown.

use std::ops::Range;

use crate::{
    diagnostic::{Diagnostic, Findings},
    tree::{Node, ScalarKind, Value},
};

/// The prefixes of Gatling's tokens and AWS access keys.
const PREFIXES: [(&str, usize); 3] = [("cpt_", 8), ("AKIA", 20), ("ASIA", 20)];
const PEM_BEGIN: &str = "-----BEGIN";
const PEM_END: &str = "-----END";

/// Reports and hides every value in a file that looks like a secret, at any key, and hides every value that may be one.
pub(crate) fn refuse(root: &Node, findings: &mut Findings) {
    refuse_at("", root, findings);
}

fn refuse_at(name: &str, node: &Node, findings: &mut Findings) {
    match &node.value {
        Value::Scalar(scalar) if is_secret(&scalar.text) => {
            findings.hide(node.span.clone());
            let message = "this looks like a secret itself; its value is not shown";
            let help = "put it into Secrets Manager, write the ARN here, and replace the secret: it was in a file";
            findings.push(Diagnostic::new("stack::secret", Some(node.span.clone()), message).with_help(help));
        }
        Value::Scalar(scalar) if may_be_secret(name, &scalar.text) => findings.hide(node.span.clone()),
        Value::Scalar(_) => {}
        Value::List(items) => items.iter().for_each(|item| refuse_at(name, item, findings)),
        Value::Map(entries) => {
            for entry in entries {
                if is_secret(&entry.key) {
                    findings.hide(entry.key_span.clone());
                    let message = "this key looks like a secret; it is not shown";
                    let found = Diagnostic::new("stack::secret", Some(entry.key_span.clone()), message);
                    findings.push(found.with_help("remove it, and replace the secret: it was in a file"));
                }
                refuse_at(&entry.key, &entry.value, findings);
            }
        }
    }
}

/// Hides every text in a value; numbers and booleans are no secrets.
pub(crate) fn hide_texts(node: &Node, findings: &mut Findings) {
    match &node.value {
        Value::Scalar(scalar) if matches!(scalar.kind, ScalarKind::Text) => findings.hide(node.span.clone()),
        Value::Scalar(_) => {}
        Value::List(items) => items.iter().for_each(|item| hide_texts(item, findings)),
        Value::Map(entries) => entries.iter().for_each(|entry| hide_texts(&entry.value, findings)),
    }
}

/// Whether this value looks like a secret.
pub(crate) fn is_secret(value: &str) -> bool {
    places(value).next().is_some()
}

/// Prefixes of other services' secrets, each with the least length of a secret (their documentation of secret
/// scanning).
const MARKS: [(&str, usize); 25] = [
    ("ghp_", 20),
    ("gho_", 20),
    ("ghu_", 20),
    ("ghs_", 20),
    ("ghr_", 20),
    ("github_pat_", 20),
    ("glpat-", 20),
    ("xoxa-", 20),
    ("xoxb-", 20),
    ("xoxp-", 20),
    ("xoxr-", 20),
    ("xapp-", 20),
    ("sk_live_", 20),
    ("rk_live_", 20),
    ("sk-", 32),
    ("npm_", 30),
    ("pypi-", 40),
    ("dckr_pat_", 20),
    ("dop_v1_", 40),
    ("shpat_", 30),
    ("glsa_", 30),
    ("hf_", 30),
    ("hvs.", 20),
    ("AIza", 35),
    ("eyJhbGciOi", 30),
];
/// The last words in the names of passwords, without separators: any value but a word of a choice may be one.
const PASSWORDS: [&str; 5] = ["password", "passwd", "passphrase", "passwort", "pwd"];
/// The last words in the names of other secrets, without separators: a value may be one if no person would think of it.
const NAMES: [&str; 9] =
    ["secret", "token", "apikey", "privatekey", "accesskey", "secretkey", "authkey", "credential", "signingkey"];
/// Values that choose something, at any name.
const CHOICES: [&str; 16] = [
    "true", "false", "yes", "no", "on", "off", "none", "null", "default", "enabled", "disabled", "required",
    "optional", "empty", "prompt", "plain",
];
/// Starts of values that say where a secret is.
const REFERENCES: [&str; 11] = ["arn:", "/", "./", "${", "$(", "{{", "<", "http://", "https://", "file:", "env:"];

/// What the name of a value says about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Named {
    Password,
    Secret,
}

impl Named {
    /// By the end of the name: `token.lifetime` and `password.file` are no secrets.
    fn of(name: &str) -> Option<Self> {
        let letters = name.chars().rev().filter(char::is_ascii_alphanumeric).take(16);
        let last: Vec<char> = letters.map(|letter| letter.to_ascii_lowercase()).collect();
        let last: String = last.into_iter().rev().collect();
        let last = last.strip_suffix('s').filter(|last| !last.ends_with('s')).unwrap_or(&last);
        let ends_with = |words: &[&str]| words.iter().any(|word| last.ends_with(word));
        match () {
            () if ends_with(&PASSWORDS) => Some(Self::Password),
            () if ends_with(&NAMES) => Some(Self::Secret),
            () => None,
        }
    }

    fn may_be(self, value: &str) -> bool {
        let value = value.trim_matches(['"', '\'', ' ']);
        let is_choice = CHOICES.iter().any(|choice| choice.eq_ignore_ascii_case(value));
        if is_choice || REFERENCES.iter().any(|start| value.starts_with(start)) {
            return false;
        }
        match self {
            Self::Password => value.chars().count() >= 4,
            Self::Secret => value.len() >= 8 && value.parse::<f64>().is_err() && is_random(value),
        }
    }
}

/// Whether a value is no word, and no name of a class or a package.
fn is_random(value: &str) -> bool {
    let is_class = value.split('.').count() > 2
        && value.split('.').all(|part| !part.is_empty() && part.chars().all(|letter| letter.is_ascii_alphabetic()));
    let has = |is: fn(&char) -> bool| value.chars().any(|letter| is(&letter));
    let is_mixed = has(char::is_ascii_uppercase) && has(char::is_ascii_lowercase);
    !is_class && (has(char::is_ascii_digit) || is_mixed || value.len() >= 20)
}

/// Whether a key of the stack takes a secret or what points to one.
pub(crate) fn is_for_secrets(key: &str) -> bool {
    Named::of(key).is_some()
}

/// Whether a value may be a secret, judged by its content, by an assignment in it (`-Ddb.password=…`), by a login in a URL, or
/// by its name.
pub fn may_be_secret(name: &str, value: &str) -> bool {
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-' | '.');
    let is_marked = value
        .split(|letter| !is_part(letter))
        .any(|word| MARKS.iter().any(|(mark, shortest)| word.starts_with(mark) && word.len() >= *shortest));
    let is_named = |name: &str, value: &str| Named::of(name).is_some_and(|named| named.may_be(value));
    // What follows a name and `=`, up to the next one: `a=b&token=c`.
    let assigned = value.split([' ', '&', ';', ',', '?']).filter_map(|part| part.split_once('='));
    let is_assigned = |(name, value): (&str, &str)| is_named(name, value);
    is_marked || is_secret(value) || has_login(value) || is_named(name, value) || assigned.into_iter().any(is_assigned)
}

/// Whether a URL has a user with a password: `https://user:password@example.org`.
fn has_login(value: &str) -> bool {
    value.match_indices("://").any(|(at, mark)| {
        let rest = value.get(at + mark.len()..).unwrap_or_default();
        let authority = rest.split(['/', ' ', '?', '#', '"', '\'']).next().unwrap_or_default();
        let login = authority.rsplit_once('@').and_then(|(login, _)| login.split_once(':'));
        login.is_some_and(|(_, password)| password.len() >= 3 && !password.starts_with("${"))
    })
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
/// whose names say that the value is a secret, also where the value is below its key. This works on the text only, so that
/// it also covers invalid YAML.
pub(crate) fn hidden_places(text: &str) -> impl Iterator<Item = Range<usize>> {
    // Each value extends to the end of its line, so the first one in a line covers the others.
    let mut covered = 0;
    let named = text.match_indices(':').filter_map(move |(colon, _)| {
        if colon < covered {
            return None;
        }
        let before = text[..colon].trim_end_matches(['"', '\'', ' ']);
        let name = before.rsplit(['\n', ' ', ':', '{', '[', ',', '"', '\'']).next().unwrap_or_default();
        Named::of(name)?;
        // The `secret` in an ARN is no key.
        if before[..before.len() - name.len()].ends_with(':') {
            return None;
        }
        let value = text[colon + 1..].trim_start_matches([' ', '\t', '"', '\'']);
        // Checked before the end of the line is searched, so that a line with many ARNs takes linear time.
        if value.is_empty() || value.starts_with("arn:") || value.starts_with('*') {
            return None;
        }
        let start = text.len() - value.len();
        let line_end = start + value.find('\n').unwrap_or(value.len());
        let is_below = value.starts_with(['\r', '\n', '|', '>', '#']);
        covered = if is_below { end_below(text, colon, line_end)? } else { line_end };
        Some(start..covered)
    });
    places(text).chain(named)
}

/// The end of the value below a key: of all lines that are indented more than it or, in a file that is not valid, of the
/// next line if it is no key. Nothing if the value is an ARN.
fn end_below(text: &str, colon: usize, line_end: usize) -> Option<usize> {
    let indent = |line: &str| line.len() - line.trim_start_matches(' ').len();
    let key_line = text[..colon].rfind('\n').map_or(0, |newline| newline + 1);
    let depth = indent(&text[key_line..]);
    let mut end = line_end;
    let mut is_first = true;
    for line in text[line_end..].strip_prefix('\n')?.split_inclusive('\n') {
        let content = line.trim();
        let is_deeper = indent(line) > depth;
        if !content.is_empty() {
            if is_first && content.trim_start_matches(['"', '\'']).starts_with("arn:") {
                return None;
            }
            let is_misplaced = is_first && !content.contains(':') && !content.starts_with(['-', '}', ']', '#']);
            if !is_deeper && !is_misplaced {
                break;
            }
            is_first = false;
        }
        end += line.len();
        if !is_deeper && !content.is_empty() {
            break;
        }
    }
    // The line end before the value is counted, and that after it is not.
    Some((end + 1).min(text.len()))
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
            ("jvm_options[2]", "-Djavax.net.ssl.keyStorePassword=changeit"),
            ("jvm_options[3]", "-Xmx1g -DapiToken=Zm9vYmFyYmF6"),
            ("jvm_options[4]", "-Daws=AKIAABCDEFGHIJKLMNOP"),
            ("auth.token", "0123456789abcdef"),
            ("CLIENT_SECRET", "aGVsbG8gd29ybGQ="),
            ("db-password", "hunter2"),
            ("api_keys", "0123456789abcdef"),
            ("url", "https://x:glpat-0123456789abcdef@example.org"),
            ("url", "jdbc:postgresql://ana:hunter2@db/x"),
            ("url", "https://example.org/x?user=ana&access_token=0123456789abcdef"),
            ("pem", "-----BEGIN RSA PRIVATE KEY-----\nAAAA"),
        ] {
            assert!(may_be_secret(name, value), "{name} {value}");
        }
        for (name, value) in [
            ("jvm_options[0]", "-Xmx128g"),
            ("jvm_options[1]", "-XX:+UseStringDeduplication"),
            ("jvm_options[2]", "-Dtoken.bucket.size=1000000000"),
            ("jvm_options[3]", "-Dauth.tokenEndpoint=https://example.org/oauth2/token"),
            ("jvm_options[4]", "-Djavax.net.ssl.trustStore=/etc/pki/java/cacerts"),
            ("load.profile", "heavy"),
            ("token.arn", "arn:aws:secretsmanager:eu-west-3:123456789012:secret:x"),
            ("auth.token", "arn:aws:secretsmanager:eu-west-3:123456789012:secret:x"),
            ("auth.token", "com.acme.auth.TokenProvider"),
            ("auth.token", "disabled"),
            ("auth.token", "https://example.org/token"),
            ("password.file", "/run/secrets/password"),
            ("db.password", "${DB_PASSWORD}"),
            ("password.policy", "strict-and-long"),
            ("token.lifetime", "3600"),
            ("max.tokens", "100000"),
            ("secret.name", "gatling/token-AbCdEf12"),
            ("passThrough", "everything1"),
            ("compass", "north-by-northwest1"),
            ("cost-center", "quality-and-performance"),
            ("url", "https://example.org:8443/a@b?x=1"),
            ("commit", "0123456789abcdef0123456789abcdef01234567"),
        ] {
            assert!(!may_be_secret(name, value), "{name} {value}");
        }
    }

    #[test]
    fn values_that_are_not_arns_are_hidden_at_keys_for_secrets() {
        let text =
            "a: {token: arn:aws:x, private_key: \"hunter2\"}\r\n token: hunter3\nkey: shown\ndb_password: hunter4\n";
        let found: Vec<_> = hidden_places(text).map(|place| &text[place]).collect();
        assert_eq!(found, ["hunter2\"}\r", "hunter3", "hunter4"]);
    }

    #[test]
    fn a_value_below_its_key_is_hidden_in_files_that_are_not_valid_too() {
        for text in [
            "a:\n  token:\n    hunter2\n  b: shown\n",
            "a:\n  token: # a comment\n\n    hunter2\n  b: shown\n",
            "a:\n  token:\n  hunter2\n  b: shown\n",
            "a:\n  token:\nhunter2\nb: shown\n",
            "a:\n  token: |\n    one\n    hunter2\n  b: shown\n",
            "a:\n  token: >-\n\n    hunter2",
            "a:\n  \"token\" :\n    - hunter2\n  b: shown\n",
        ] {
            let mut shown = text.to_owned();
            for place in hidden_places(text) {
                shown.replace_range(place.clone(), &"*".repeat(place.len()));
            }
            assert!(!shown.contains("hunter2"), "{shown:?}");
            assert!(!text.contains("shown") || shown.contains("b: shown"), "{shown:?}");
        }
        let arn = "a:\n  token:\n    arn:aws:secretsmanager:x\n  private_key: *alias\n";
        assert_eq!(hidden_places(arn).count(), 0);
        assert_eq!(hidden_places("token:").count() + hidden_places("token:\n").count(), 1);
    }

    #[test]
    fn a_key_is_hidden_to_its_end() {
        let text = "a: |\n  -----BEGIN RSA PRIVATE KEY-----\n  AAAA\n  -----END RSA PRIVATE KEY-----\nb: 1";
        let found: Vec<_> = places(text).map(|place| &text[place]).collect();
        assert_eq!(found, ["-----BEGIN RSA PRIVATE KEY-----\n  AAAA\n  -----END RSA PRIVATE KEY-----"]);
    }
}
