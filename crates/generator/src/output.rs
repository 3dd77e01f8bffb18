//! The one place that writes to stdout.

use std::io::{self, Write as _};

/// Writes data and a line end to stdout. A reader that closed the pipe is not an error.
pub(crate) fn data(text: &str) -> io::Result<()> {
    // Drops the colours where stdout is not a terminal, and with `NO_COLOR`.
    let mut stdout = anstream::stdout().lock();
    match writeln!(stdout, "{text}").and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}
