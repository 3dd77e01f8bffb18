//! The first line of a comment, which nobody sees: it says which comment of ours this is, and which run wrote it.
//!
//! A comment is only a candidate if its body starts with the line exactly as this module writes it. Who wrote the
//! comment is checked separately: everybody can copy the line.

use std::fmt::{self, Write as _};

use crate::Run;

const START: &str = "<!-- trunnion";
const END: &str = " -->";

/// The longest key, in bytes.
pub(crate) const LONGEST_KEY: usize = 200;

/// What the first line of a comment says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Marker {
    pub key: String,
    pub run: Option<Run>,
    /// Distinguishes the comment of a create without an answer from every other one.
    pub nonce: Option<String>,
}

impl fmt::Display for Marker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{START} key={}", escaped(&self.key))?;
        if let Some(run) = self.run {
            write!(f, " run={}.{}", run.id, run.attempt)?;
        }
        if let Some(nonce) = &self.nonce {
            write!(f, " nonce={nonce}")?;
        }
        f.write_str(END)
    }
}

impl Marker {
    /// The body of a comment with this text.
    pub fn body(&self, text: &str) -> String {
        format!("{self}\n{text}")
    }

    /// The marker of a body that starts with one, and the text after it.
    pub fn split(body: &str) -> Option<(Self, &str)> {
        let (line, text) = body.split_once('\n').unwrap_or((body, ""));
        let line = line.strip_suffix('\r').unwrap_or(line);
        let mut marker = Self { key: String::new(), run: None, nonce: None };
        for field in line.strip_prefix(START)?.strip_suffix(END)?.split(' ').skip(1) {
            match field.split_once('=')? {
                ("key", key) => marker.key = unescaped(key)?,
                ("run", run) => {
                    let (id, attempt) = run.split_once('.')?;
                    marker.run = Some(Run { id: id.parse().ok()?, attempt: attempt.parse().ok()? });
                }
                ("nonce", nonce) => marker.nonce = Some(nonce.to_owned()),
                _ => return None,
            }
        }
        (!marker.key.is_empty() && marker.to_string() == line).then_some((marker, text))
    }
}

/// What can end an HTML comment or a field becomes `%XX`.
fn escaped(key: &str) -> String {
    let mut text = String::new();
    for byte in key.bytes() {
        if byte.is_ascii_alphanumeric() || b"._/:-".contains(&byte) {
            text.push(char::from(byte));
        } else {
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

fn unescaped(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let (high, low) = (char::from(rest.next()?).to_digit(16)?, char::from(rest.next()?).to_digit(16)?);
            bytes.push(u8::try_from(high * 16 + low).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

/// Whether two texts are the same apart from what a forge changes when it stores them: line ends and trailing space.
pub(crate) fn is_same(one: &str, other: &str) -> bool {
    let plain = |text: &str| text.replace("\r\n", "\n").trim_end().to_owned();
    plain(one) == plain(other)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    #[test]
    fn a_marker_is_read_as_it_was_written() {
        for key in ["preview", "a b", "a-->b", "--!>", "é\n%", "x run=9.9"] {
            for run in [None, Some(Run { id: 12, attempt: 3 })] {
                for nonce in [None, Some("n1".to_owned())] {
                    let marker = Marker { key: key.to_owned(), run, nonce };
                    let line = marker.to_string();
                    assert_eq!(line.matches("-->").count(), 1, "{line}");
                    assert!(!line.contains('\n'), "{line}");
                    let body = marker.body("# Title\ntext");
                    assert_eq!(Marker::split(&body), Some((marker.clone(), "# Title\ntext")));
                    assert_eq!(Marker::split(&body.replace('\n', "\r\n")).unwrap().0, marker);
                }
            }
        }
    }

    #[test]
    fn only_the_exact_first_line_is_a_marker() {
        let marker = Marker { key: "preview".to_owned(), run: Some(Run { id: 1, attempt: 1 }), nonce: None };
        let line = marker.to_string();
        assert!(Marker::split(&line).is_some());
        for body in [
            format!(" {line}\n"),
            format!("\n{line}\n"),
            format!("> {line}\n"),
            format!("text\n{line}\n"),
            format!("{line} \n"),
            format!("{line} more\n"),
            line.replace("key", "  key"),
            line.replace("run=1.1", "run=01.1"),
            line.replace("run=1.1", "run=1.1 more=1"),
            line.replace("key=preview ", ""),
            line.replace("preview", "%70review"),
            line.replace("preview", ""),
            String::new(),
        ] {
            assert_eq!(Marker::split(&body), None, "{body:?}");
        }
    }
}
