//! Makes every character of a text visible. Invisible, control and ambiguous characters are escaped as in Rust (`\r`,
//! `\u{200b}`).

use std::fmt::Write as _;

use unicode_security::confusable_detection::skeleton;
use unicode_width::UnicodeWidthChar as _;

/// A text in double quotes. If `is_exact`, all non-ASCII characters are escaped.
pub(crate) fn quoted(text: &str, is_exact: bool) -> String {
    let mut shown = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => shown.extend(['\\', character]),
            _ if is_exact && !character.is_ascii() => escape(&mut shown, character),
            _ => push(&mut shown, character),
        }
    }
    shown.push('"');
    shown
}

/// A line of a text without its end. A backslash stays as it is.
pub(crate) fn line(text: &str) -> String {
    let mut shown = String::new();
    for character in text.chars() {
        push(&mut shown, character);
    }
    shown
}

/// A changed line. Spaces at its end are shown as dots.
pub(crate) fn changed_line(text: &str) -> String {
    let text = text.strip_suffix('\n').unwrap_or(text);
    let inked = text.trim_end_matches(' ');
    line(inked) + &"·".repeat(text.len() - inked.len())
}

/// A line with its line end, without ambiguity: only ASCII, with doubled backslashes and escaped spaces at the end.
pub(crate) fn exact_line(text: &str) -> String {
    let inked = text.trim_end_matches([' ', '\n', '\r']);
    let mut shown = String::new();
    for (place, character) in text.char_indices() {
        match character {
            '\\' => shown.push_str("\\\\"),
            ' ' if place >= inked.len() => shown.push_str("\\x20"),
            _ if !character.is_ascii() => escape(&mut shown, character),
            _ => push(&mut shown, character),
        }
    }
    shown
}

/// Whether two texts look the same, according to Unicode's table of confusable characters (UTS 39).
pub(crate) fn is_alike(one: &str, other: &str) -> bool {
    one == other || skeleton(one).eq(skeleton(other))
}

fn push(shown: &mut String, character: char) {
    let has_ink = character == ' ' || (character.width().is_some_and(|width| width > 0) && !character.is_whitespace());
    if has_ink { shown.push(character) } else { escape(shown, character) }
}

fn escape(shown: &mut String, character: char) {
    match character {
        '\n' | '\r' | '\t' => {
            let _ = write!(shown, "{}", character.escape_default());
        }
        _ => {
            let _ = write!(shown, "{}", character.escape_unicode());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invisible_characters_are_escaped() {
        assert_eq!(
            quoted("a\r\n\t\u{200b}\u{a0}\u{202e}\u{1b}\"\\ü", false),
            r#""a\r\n\t\u{200b}\u{a0}\u{202e}\u{1b}\"\\ü""#
        );
        assert_eq!(quoted("ü", true), r#""\u{fc}""#);
        assert_eq!(changed_line("\ta b  \n"), r"\ta b··");
        assert_eq!(changed_line("a\r\n"), r"a\r");
        assert_eq!(exact_line("a\\r·  \n"), r"a\\r\u{b7}\x20\x20\n");
    }

    #[test]
    fn confusable_characters_of_other_alphabets_are_detected() {
        assert!(is_alike("eu-west-3a", "eu-west-3\u{430}"));
        assert!(!is_alike("eu-west-3a", "eu-west-3b"));
    }
}
