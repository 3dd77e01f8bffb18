//! The report as text: a line for each check with its details and help below, and the capacity at the end.

use std::fmt::{self, Write as _};

use anstyle::{AnsiColor, Style};
use trunnion_host::Config;

use super::{
    report::Report,
    verdict::{Check, State},
};

/// How many details of one check are shown. JSON has all of them.
const MOST_DETAILS: usize = 12;

/// The report as text with colours.
pub(super) fn render(config: &Config, report: &Report) -> String {
    let mut text = String::new();
    // Writing to a `String` cannot fail.
    let _ = write(&mut text, config, report);
    text
}

fn write(text: &mut String, config: &Config, report: &Report) -> fmt::Result {
    let width = report.checks.iter().map(|check| check.name.len()).max().unwrap_or(0);
    for check in &report.checks {
        let Check { name, state, message, details, help } = check;
        let (mark, word, colour) = match state {
            State::Ok => ('✓', "ok", AnsiColor::Green),
            State::Warning => ('!', "warning", AnsiColor::Yellow),
            State::Failed => ('✗', "failed", AnsiColor::Red),
        };
        let style = Style::new().fg_color(Some(colour.into()));
        writeln!(text, "{style}{mark} {word:<7}{style:#}  {name:<width$}  {message}")?;
        let indent = " ".repeat(13 + width);
        for detail in details.iter().take(MOST_DETAILS) {
            writeln!(text, "{indent}{detail}")?;
        }
        if let Some(more) = details.len().checked_sub(MOST_DETAILS).filter(|&more| more > 0) {
            writeln!(text, "{indent}and {more} more: see `--json`")?;
        }
        if let Some(help) = help {
            let style = Style::new().bold();
            writeln!(text, "{indent}{style}help:{style:#} {help}")?;
        }
    }
    let (promised, capacity) = (config.connections, &report.capacity);
    writeln!(text)?;
    writeln!(text, "                     holds        promised")?;
    writeln!(text, "one destination  {:>9}  {:>14}", capacity.per_destination, promised.per_destination)?;
    writeln!(text, "in all           {:>9}  {:>14}", capacity.total, promised.total)?;
    writeln!(text, "limit            {:>9}", capacity.limit.as_str())?;
    writeln!(text)?;
    let failed = report.failing().count();
    match failed {
        0 => writeln!(text, "This host holds what it was promised."),
        1 => writeln!(text, "This host is not ready: 1 check failed."),
        _ => writeln!(text, "This host is not ready: {failed} checks failed."),
    }
}
