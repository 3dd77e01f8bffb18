//! Text in which a reader sees every character: what has no ink, steers the terminal or looks like something else is
//! escaped as Rust escapes it (`\r`, `\u{200b}`).

use std::fmt::Write as _;

use unicode_security::confusable_detection::skeleton;
use unicode_width::UnicodeWidthChar as _;

/// A text in double quotes. If it is to be exact, all that is not ASCII is escaped.
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

/// A line that differs from another one: spaces at its end are dots.
pub(crate) fn changed_line(text: &str) -> String {
    let text = text.strip_suffix('\n').unwrap_or(text);
    let inked = text.trim_end_matches(' ');
    line(inked) + &"·".repeat(text.len() - inked.len())
}

/// A line with its end, every character of it beyond doubt: only ASCII, backslashes doubled, spaces at the end escaped.
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

/// Whether two shown texts look the same to a person, by Unicode's table of characters that look alike (UTS 39).
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
    fn what_has_no_ink_is_escaped() {
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
    fn characters_of_another_alphabet_look_alike() {
        assert!(is_alike("eu-west-3a", "eu-west-3\u{430}"));
        assert!(!is_alike("eu-west-3a", "eu-west-3b"));
    }
}
