//! What is shown and stored of the environment of containers. People put secrets there, so a digest is in place of every value
//! except the control plane's conf, and of every part of the conf that may be one.

use trunnion_engine::{Redacted, Value};

/// The environment variable with the control plane's conf.
const CONF: &str = "CONTROL_PLANE_CONF";
const MARK: &str = "sha256:";
/// How many hexadecimal digits a digest of a part of the conf has.
const DIGITS: usize = 16;

/// A text of a container, with a digest in place of what may be a secret.
pub(super) fn without_secrets(Redacted { path, text, is_part }: Redacted<'_>) -> String {
    let variable = path.split_once(".environment").map(|(_, variable)| variable);
    match variable.filter(|variable| variable.starts_with(['.', '['])) {
        None => text.to_owned(),
        Some(variable) if variable.strip_prefix('.') == Some(CONF) && (is_part || is_ours(text)) => {
            without_options(text)
        }
        Some(_) if is_digest(text, 64) => text.to_owned(),
        Some(_) => format!("{MARK}{}", Value::from(text).digest()),
    }
}

/// The value of a container's environment variable, if it is the control plane's conf as it is written here, with digests in
/// place of JVM options and of the values of system properties. Other values may be secrets.
pub fn conf_without_options(variable: &str, value: &str) -> Option<String> {
    (variable == CONF && is_ours(value)).then(|| without_options(value))
}

fn is_digest(text: &str, length: usize) -> bool {
    text.strip_prefix(MARK)
        .is_some_and(|digits| digits.len() == length && digits.bytes().all(|it| it.is_ascii_hexdigit()))
}

/// The lines of a conf, each with its indentation. `"` is a string, `0` a number.
const HEAD: [&str; 7] = [
    "control-plane {",
    "  token = ${?CONTROL_PLANE_TOKEN}",
    "  description = \"",
    "  server {",
    "    port = 0",
    "    bind-address = \"",
    "  }",
];
/// The first lines of each location.
const LOCATION: [&str; 10] = [
    "      id = \"",
    "      description = \"",
    "      type = \"",
    "      engine = \"",
    "      ssh {",
    "        user = \"",
    "        private-key {",
    "          path = \"",
    "        }",
    "      }",
];
/// Whether a conf is exactly as it is written here: somebody else's may have secrets anywhere.
fn is_ours(conf: &str) -> bool {
    let mut lines = conf.split_terminator('\n').peekable();
    let mut follows = |pattern: &str| lines.next_if(|line| is_line(line, pattern)).is_some();
    if !conf.ends_with('\n') || !HEAD.iter().all(|line| follows(line)) {
        return false;
    }
    let has_locations = !follows("  locations = []");
    if has_locations && !follows("  locations = [") {
        return false;
    }
    while has_locations && follows("    {") {
        let is_whole = LOCATION.iter().all(|line| follows(line))
            && (follows("      hosts = []") || is_list(&mut follows, "      hosts = [", "        \"", "      ]"))
            && (follows("      executable-dir = \"") || follows("      working-directory = \""));
        if !is_whole {
            return false;
        }
        is_list(&mut follows, "      jvm-options = [", "        \"", "      ]");
        is_list(&mut follows, "      system-properties {", "        =", "      }");
        if !follows("    }") {
            return false;
        }
    }
    (!has_locations || follows("  ]")) && follows("}") && lines.next().is_none()
}

/// Whether lines like `item` follow, between these two.
fn is_list(follows: &mut impl FnMut(&str) -> bool, start: &str, item: &str, end: &str) -> bool {
    if !follows(start) {
        return false;
    }
    while follows(item) {}
    follows(end)
}

fn is_line(line: &str, pattern: &str) -> bool {
    let is_text = |text: &str| text.starts_with('"') && serde_json::from_str::<String>(text).is_ok();
    let is_plain = |key: &str| key.bytes().all(|it| it.is_ascii_alphanumeric() || b"-_".contains(&it));
    if let Some(before) = pattern.strip_suffix('"') {
        return line.strip_prefix(before).is_some_and(is_text);
    }
    if let Some(before) = pattern.strip_suffix('0') {
        let number = line.strip_prefix(before);
        return number.is_some_and(|number| number.len() <= 5 && number.bytes().all(|it| it.is_ascii_digit()));
    }
    match pattern.strip_suffix('=') {
        Some(before) => line.strip_prefix(before).is_some_and(|text| {
            let (key, value) = key_and_value(text);
            let key = key.strip_suffix(" = ").unwrap_or_default();
            ((is_plain(key) && !key.is_empty()) || is_text(key)) && is_text(value)
        }),
        None => line == pattern,
    }
}

/// The key of a system property with the characters that separate it, and its value. Without a key, all of it is the value.
fn key_and_value(text: &str) -> (&str, &str) {
    let end = if text.starts_with('"') {
        let mut keys = serde_json::Deserializer::from_str(text).into_iter::<String>();
        keys.next().and_then(Result::ok).map(|_| keys.byte_offset())
    } else {
        text.find(" = ")
    };
    let start = end.filter(|end| text.get(*end..).is_some_and(|rest| rest.starts_with(" = "))).map(|end| end + 3);
    text.split_at(start.unwrap_or(0))
}

/// The conf with digests in place of JVM options and of the values of system properties. Everything else of the conf is read by
/// reviewers.
fn without_options(conf: &str) -> String {
    let digest = |text: &str| {
        let inside = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
        if inside.is_some_and(|inside| is_digest(inside, DIGITS)) {
            return text.to_owned();
        }
        let digest = Value::from(text).digest();
        format!("\"{MARK}{}\"", digest.get(..DIGITS).unwrap_or_default())
    };
    let mut end = None;
    let mut redacted = String::with_capacity(conf.len());
    for line in conf.split_inclusive('\n') {
        let text = line.trim();
        match end {
            None => {
                redacted.push_str(line);
                end = match text {
                    "jvm-options = [" => Some("]"),
                    "system-properties {" => Some("}"),
                    _ => None,
                };
            }
            Some(last) if text == last => {
                redacted.push_str(line);
                end = None;
            }
            Some(_) => {
                let (key, value) = if end == Some("}") { key_and_value(text) } else { ("", text) };
                let indent = line.len() - line.trim_start().len();
                redacted.push_str(line.get(..indent).unwrap_or_default());
                redacted.push_str(key);
                redacted.push_str(&digest(value));
                redacted.push_str(if line.ends_with('\n') { "\n" } else { "" });
            }
        }
    }
    redacted
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: &str = concat!(
        "control-plane {\n  token = ${?CONTROL_PLANE_TOKEN}\n  description = \"Trunnion stack x\"\n",
        "  server {\n    port = 8080\n    bind-address = \"0.0.0.0\"\n  }\n  locations = [\n",
        "    {\n      id = \"prl_a\"\n      description = \"shown\"\n      type = \"dedicated\"\n      engine = \"classic\"\n",
        "      ssh {\n        user = \"gatling\"\n        private-key {\n          path = \"/app/key\"\n        }\n      }\n",
        "      hosts = [\n        \"10.0.0.1\"\n      ]\n      executable-dir = \"/var/lib/gatling\"\n",
        "      jvm-options = [\n        \"-Dpassword=hunter2\"\n        \"-Xmx1g\"\n      ]\n",
        "      system-properties {\n        plain-key = \"hunter3\"\n        \"db.\\\" = x\" = \"hunter \\\" = 4\"\n      }\n",
        "    }\n  ]\n}\n",
    );

    fn shown(name: &str, text: &str) -> String {
        let path = format!("containers.conf.environment{name}");
        let shown = without_secrets(Redacted { path: &path, text, is_part: false });
        let again = without_secrets(Redacted { path: &path, text: &shown, is_part: false });
        assert_eq!(again, shown, "it is redacted once");
        shown
    }

    fn is_one_digest(text: &str) -> bool {
        is_digest(text, 64)
    }

    #[test]
    fn a_conf_is_shown_without_options_and_properties() {
        let conf = shown(".CONTROL_PLANE_CONF", OURS);
        for secret in ["hunter", "Xmx", "password"] {
            assert!(!conf.contains(secret), "{conf}");
        }
        for kept in [
            "\"shown\"",
            "\n        plain-key = \"sha256:",
            "\n        \"db.\\\" = x\" = \"sha256:",
            "\"10.0.0.1\"",
            "\n      ]\n",
        ] {
            assert!(conf.contains(kept), "{kept} in {conf}");
        }
        assert_ne!(shown(".CONTROL_PLANE_CONF", &OURS.replace("Xmx1g", "Xmx2g")), conf, "a change is visible");
        let part = "      jvm-options = [\n        \"cut";
        let part = without_secrets(Redacted {
            path: "containers.conf.environment.CONTROL_PLANE_CONF",
            text: part,
            is_part: true,
        });
        assert!(part.lines().count() == 2 && !part.contains("cut"), "{part}");
    }

    #[test]
    fn a_conf_that_somebody_else_wrote_is_one_digest() {
        let edits = [
            ("  server {", "  password = \"hunter\"\n  server {"),
            ("  server {", "  # hunter\n  server {"),
            ("jvm-options = [", "jvm-options += ["),
            ("jvm-options = [", "jvm-options=["),
            ("jvm-options = [\n", "jvm-options = [ \"-Dx=hunter\"\n"),
            ("      hosts", "      system-properties.a = \"hunter\"\n      hosts"),
            ("plain-key = \"hunter3\"", "plain-key = hunter3"),
            ("        plain-key = \"hunter3\"", "        plain-key { a = \"hunter3\" }"),
            ("\"-Xmx1g\"", "\"-Xmx1g\", \"hunter\""),
            ("port = 8080", "port = hunter"),
            ("${?CONTROL_PLANE_TOKEN}", "\"hunter\""),
            ("  ]\n}\n", "  ]\n}\nhunter = 1\n"),
            ("  ]\n}\n", "  ]\n}"),
            ("\n", "\r\n"),
            (OURS, ""),
            (OURS, "{\"control-plane\": {\"token\": \"hunter\"}}"),
        ];
        for (from, to) in edits {
            let conf = OURS.replace(from, to);
            assert_ne!(conf, OURS, "{from}");
            assert!(is_one_digest(&shown(".CONTROL_PLANE_CONF", &conf)), "{conf}");
        }
        for same in [
            OURS.replace("executable-dir", "working-directory"),
            OURS.replace("10.0.0.1", "a \\n \\u0000"),
            OURS.replace("[\n        \"10.0.0.1\"\n      ]", "[]"),
            OURS.split("[\n    {").next().unwrap_or_default().to_owned() + "[]\n}\n",
        ] {
            assert!(!is_one_digest(&shown(".CONTROL_PLANE_CONF", &same)), "{same}");
        }
    }

    #[test]
    fn every_other_variable_is_a_digest() {
        for name in [".DB_PASSWORD", "[\"DB.PASSWORD\"]", ".CONTROL_PLANE_CONF_2", "[\".CONTROL_PLANE_CONF\"]"] {
            for text in ["hunter2", "", OURS] {
                assert!(is_one_digest(&shown(name, text)), "{name} {text}");
            }
        }
        let image = Redacted { path: "containers.conf.image", text: "busybox", is_part: false };
        assert_eq!(without_secrets(image), "busybox");
    }
}
