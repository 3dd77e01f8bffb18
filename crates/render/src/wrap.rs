//! Wraps lines to the width of a terminal.

use textwrap::{Options, WordSplitter, WrapAlgorithm, core::display_width};

/// The deepest indentation, in columns, at which continuation lines are still indented further.
const DEEPEST: usize = 24;

/// Breaks lines that are wider than `width` columns, between words if possible. Continuation lines are indented by four
/// more columns. ANSI styles have no width.
pub fn wrap(text: &str, width: usize) -> String {
    let mut out = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        let (line, end) = line.strip_suffix('\n').map_or((line, ""), |line| (line, "\n"));
        if display_width(line) <= width {
            out.push_str(line);
        } else {
            let indent = " ".repeat((indentation(line) + 4).min(DEEPEST).min(width / 2));
            let options = Options::new(width)
                .subsequent_indent(&indent)
                .word_splitter(WordSplitter::NoHyphenation)
                .wrap_algorithm(WrapAlgorithm::FirstFit);
            out.push_str(&textwrap::wrap(line, options).join("\n"));
        }
        out.push_str(end);
    }
    out
}

/// The number of spaces at the start of a line, not counting ANSI styles.
fn indentation(line: &str) -> usize {
    let mut spaces = 0;
    let mut is_in_style = false;
    for character in line.chars() {
        match character {
            '\u{1b}' => is_in_style = true,
            'm' if is_in_style => is_in_style = false,
            _ if is_in_style => {}
            ' ' => spaces += 1,
            _ => break,
        }
    }
    spaces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_continue_indented_and_long_words_are_cut() {
        assert_eq!(wrap("  one two three\nfour\n", 10), "  one two\n     three\nfour\n");
        assert_eq!(wrap("    \u{1b}[1mone\u{1b}[0m two", 8), "    \u{1b}[1mone\u{1b}[0m\n    two");
        assert_eq!(wrap("abcdefghij", 6), "abcdef\n   ghi\n   j");
        assert_eq!(wrap("", 10), "");
    }
}
