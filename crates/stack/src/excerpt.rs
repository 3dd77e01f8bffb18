//! The part of a file that a message shows: whole lines, but only the surroundings of the mistake in a very long line.

use miette::{MietteError, MietteSpanContents, SourceCode, SourceSpan, SpanContents};

/// A line with more bytes is shortened.
const LONGEST_LINE: usize = 400;
/// How many bytes of a shortened line are shown before the mistake.
const BEFORE: usize = 60;
/// The longest mark under a line, in bytes.
const LONGEST_MARK: usize = 200;

/// The text of a file without its hidden places.
#[derive(Debug)]
pub(crate) struct Shown {
    pub(crate) name: String,
    pub(crate) text: String,
}

/// A mark that is not longer than the shown part of its line.
pub(crate) fn cut(span: SourceSpan) -> SourceSpan {
    (span.offset(), span.len().min(LONGEST_MARK)).into()
}

impl SourceCode for Shown {
    fn read_span<'a>(
        &'a self,
        span: &SourceSpan,
        before: usize,
        after: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        let whole = self.text.read_span(span, before, after)?;
        let is_long = |line: &[u8]| line.len() > LONGEST_LINE;
        let named = |data: &'a [u8], span: SourceSpan, line: usize, column: usize, lines: usize| {
            Box::new(MietteSpanContents::new_named(self.name.clone(), data, span, line, column, lines))
        };
        if !whole.data().split(|byte| *byte == b'\n').any(is_long) {
            return Ok(named(whole.data(), *whole.span(), whole.line(), whole.column(), whole.line_count()));
        }
        // The bytes around the mistake, or its whole lines if they are short.
        let (from, to) = (span.offset(), span.offset() + span.len());
        let line_start = self.text.get(..from).and_then(|text| text.rfind('\n')).map_or(0, |newline| newline + 1);
        let line_end = self.text.get(to..).and_then(|text| text.find('\n')).map_or(self.text.len(), |end| to + end);
        let start = self.boundary(from.saturating_sub(BEFORE).max(line_start));
        let end = self.boundary((to + LONGEST_LINE - BEFORE).min(line_end));
        let data = self.text.get(start..end).unwrap_or_default();
        let line = self.text.get(..start).map_or(0, |text| text.matches('\n').count());
        let column = self.text.get(line_start..start).map_or(0, |text| text.chars().count());
        let lines = data.matches('\n').count() + 1;
        Ok(named(data.as_bytes(), (start, data.len()).into(), line, column, lines))
    }
}

impl Shown {
    /// The start of the character at this place.
    fn boundary(&self, at: usize) -> usize {
        (0..=at.min(self.text.len())).rev().find(|&at| self.text.is_char_boundary(at)).unwrap_or(0)
    }
}
