//! Lines for the journal of the service, on stderr.

use std::{
    fmt,
    io::{self, Write as _},
};

/// The most bytes of a line. Longer ones are cut.
const LONGEST: usize = 4_096;

/// Writes a line.
pub(super) fn say(line: fmt::Arguments<'_>) {
    // If stderr is closed, the line is lost.
    let _ = writeln!(io::stderr().lock(), "{}", printable(&line.to_string()));
}

/// The text as one line without control characters. It can contain text of the metadata service or of other programs, which
/// must neither begin another line nor change the terminal of a reader.
fn printable(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for character in text.chars() {
        if line.len() >= LONGEST {
            line.push('…');
            break;
        }
        if is_plain(character) { line.push(character) } else { line.extend(character.escape_default()) }
    }
    line
}

/// Neither a control character nor one that changes the direction or the lines of a text.
fn is_plain(character: char) -> bool {
    let reorders =
        matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
    !character.is_control() && !reorders
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_stays_one_line() {
        assert_eq!(printable("zwölf `10.0.0.1` …"), "zwölf `10.0.0.1` …");
        assert_eq!(printable("a\nREADY\r\u{1b}[2J\0"), r"a\nREADY\r\u{1b}[2J\u{0}");
        assert_eq!(printable("\u{202e}drow\u{2028}"), r"\u{202e}drow\u{2028}");
    }

    #[test]
    fn a_long_line_is_cut() {
        let line = printable(&"ß\n".repeat(60_000));
        assert!(line.len() < LONGEST + 16 && line.ends_with('…'), "{}", line.len());
    }
}
