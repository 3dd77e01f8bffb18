//! Lines for the journal of the service, on stderr.

use std::{
    fmt,
    io::{self, Write as _},
};

/// Writes a line.
pub(super) fn say(line: fmt::Arguments<'_>) {
    // If stderr is closed, the line is lost.
    let _ = writeln!(io::stderr().lock(), "{line}");
}
