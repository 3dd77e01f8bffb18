//! The output of `apply --json` on stdout: one event per line.

use tokio::time::Instant;
use trunnion::{
    Event,
    report::{Happened, Line, Lines, Report},
};

use super::{failure::Failure, output::Output};

/// A function that writes a line.
type Write = Box<dyn FnMut(&str) -> Result<(), Failure>>;

pub(crate) struct Stream {
    lines: Lines,
    write: Write,
    /// Why a line could not be written. The apply continues without output, and the error is reported at its end.
    lost: Option<Failure>,
}

impl Stream {
    /// Writes the first line. If that fails, no step has started.
    pub(crate) fn begin(output: Output, stack: &str, steps: usize) -> Result<Self, Failure> {
        Self::with(Box::new(move |text| output.data(text)), stack, steps)
    }

    fn with(mut write: Write, stack: &str, steps: usize) -> Result<Self, Failure> {
        let (lines, begun) = Lines::begin(stack, steps);
        write(&text(&begun)?)?;
        Ok(Self { lines, write, lost: None })
    }

    pub(crate) fn event(&mut self, event: &Event, now: Instant) {
        let line = self.lines.line(event, now.into_std());
        self.put(&line);
    }

    pub(crate) fn beat(&mut self, now: Instant) {
        let line = self.lines.heartbeat(now.into_std());
        self.put(&line);
    }

    /// Writes the last line. Fails if any line was not written.
    pub(crate) fn end(mut self, report: Report) -> Result<(), Failure> {
        self.put(&Line::now(Happened::Ended { outcome: Box::new(report) }));
        self.lost.map_or(Ok(()), Err)
    }

    fn put(&mut self, line: &Line) {
        if self.lost.is_none() {
            self.lost = text(line).and_then(|text| (self.write)(&text)).err();
        }
    }
}

fn text(line: &Line) -> Result<String, Failure> {
    serde_json::to_string(line)
        .map_err(|error| Failure::new("output::event", format!("an event cannot be written: {error}")))
}

#[cfg(test)]
pub(crate) mod tests {
    use std::{cell::RefCell, rc::Rc};

    use super::*;

    /// A stream that collects its lines for a test.
    pub(crate) fn stream(steps: usize) -> (Option<Stream>, Rc<RefCell<Vec<String>>>) {
        let lines = Rc::new(RefCell::new(Vec::new()));
        let write = {
            let lines = Rc::clone(&lines);
            move |text: &str| {
                lines.borrow_mut().push(text.to_owned());
                Ok(())
            }
        };
        (Stream::with(Box::new(write), "test", steps).ok(), lines)
    }

    #[test]
    fn a_failed_write_ends_the_output_and_is_reported_at_the_end() {
        let written = Rc::new(RefCell::new(0));
        let write = {
            let written = Rc::clone(&written);
            move |_: &str| {
                *written.borrow_mut() += 1;
                if *written.borrow() == 2 { Err(Failure::new("output::stdout", "the disk is full")) } else { Ok(()) }
            }
        };
        let Ok(mut stream) = Stream::with(Box::new(write), "test", 1) else { panic!("the first line was written") };
        stream.beat(Instant::now());
        stream.beat(Instant::now());
        assert_eq!(*written.borrow(), 2);
        assert!(stream.lost.is_some());
    }
}
