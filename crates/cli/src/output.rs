//! The only module that prints. Data goes to stdout, messages to stderr.

use std::io::{self, IsTerminal as _, Write as _};

use anstream::{AutoStream, ColorChoice};
use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme, ThemeStyles};

use super::{arguments::Verbosity, failure::Failure};

/// The widest report, in columns.
const WIDEST: usize = 100;

/// The columns of the terminal that this stream goes to.
#[cfg(unix)]
fn terminal_width(stream: impl std::os::fd::AsFd) -> Option<usize> {
    wide_enough(terminal_size::terminal_size_of(stream))
}

/// The columns of the terminal that this stream goes to.
#[cfg(windows)]
fn terminal_width(stream: impl std::os::windows::io::AsHandle) -> Option<usize> {
    wide_enough(terminal_size::terminal_size_of(stream))
}

/// A width that text can be wrapped to. Terminals that do not know their width report 0, and fewer than 20 columns are
/// unreadable.
fn wide_enough(size: Option<(terminal_size::Width, terminal_size::Height)>) -> Option<usize> {
    size.map(|(width, _)| usize::from(width.0)).filter(|width| *width >= 20)
}

/// How to print: colour and verbosity.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    color: ColorChoice,
    quiet: bool,
    verbose: u8,
}

impl Output {
    pub(crate) fn new(verbosity: &Verbosity) -> Self {
        let color = match verbosity.color {
            clap::ColorChoice::Auto => ColorChoice::Auto,
            clap::ColorChoice::Always => ColorChoice::Always,
            clap::ColorChoice::Never => ColorChoice::Never,
        };
        Self { color, quiet: verbosity.quiet, verbose: verbosity.verbose }
    }

    /// The defaults, for messages before the options are parsed.
    pub(crate) fn plain() -> Self {
        Self { color: ColorChoice::Auto, quiet: false, verbose: 0 }
    }

    /// Writes data to stdout as it is. A closed pipe is not an error; every other failure is.
    pub(crate) fn data(self, text: &str) -> Result<(), Failure> {
        let mut out = AutoStream::new(io::stdout().lock(), self.color);
        let end = if text.ends_with('\n') { "" } else { "\n" };
        let written = out.write_all(text.as_bytes()).and_then(|()| out.write_all(end.as_bytes()));
        match written.and_then(|()| out.flush()) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::with_help(
                "output::stdout",
                format!("writing to stdout failed: {error}"),
                "redirect the output to a disk with free space",
            )),
            _ => Ok(()),
        }
    }

    /// Writes data for people to stdout. On a terminal, lines are wrapped to its width.
    pub(crate) fn readable(self, text: &str) -> Result<(), Failure> {
        match terminal_width(io::stdout()) {
            Some(width) => self.data(&trunnion::render::wrap(text, width)),
            None => self.data(text),
        }
    }

    /// Prints a message on stderr, unless `--quiet` is set.
    pub(crate) fn say(self, text: &str) {
        if !self.quiet {
            self.always_say(text);
        }
    }

    /// Prints a message on stderr, even with `--quiet`.
    pub(crate) fn always_say(self, text: &str) {
        let fitted = terminal_width(io::stderr()).map(|width| trunnion::render::wrap(text, width));
        let mut out = AutoStream::new(io::stderr().lock(), self.color);
        let _ = writeln!(out, "{}", fitted.as_deref().unwrap_or(text));
    }

    /// Prints a message on stderr if `-v` is set.
    pub(crate) fn detail(self, text: &str) {
        if self.is_verbose() {
            self.always_say(text);
        }
    }

    pub(crate) fn is_verbose(self) -> bool {
        self.verbose > 0
    }

    pub(crate) fn verbosity(self) -> u8 {
        self.verbose
    }

    /// Whether stderr is a terminal, so that progress bars can be drawn.
    pub(crate) fn is_live(self) -> bool {
        !self.quiet && io::stderr().is_terminal()
    }

    /// Prints an error or a warning with its location and help on stderr.
    pub(crate) fn report(self, diagnostic: &dyn Diagnostic) {
        let is_colourful = match self.color {
            ColorChoice::Always | ColorChoice::AlwaysAnsi => true,
            ColorChoice::Never => false,
            ColorChoice::Auto => AutoStream::choice(&io::stderr()) != ColorChoice::Never,
        };
        let mut theme = GraphicalTheme::unicode();
        theme.styles = if is_colourful { ThemeStyles::ansi() } else { ThemeStyles::none() };
        let width = terminal_width(io::stderr()).unwrap_or(WIDEST).min(WIDEST);
        let handler = GraphicalReportHandler::new_themed(theme).with_width(width).with_links(false);
        let mut text = String::new();
        if handler.render_report(&mut text, diagnostic).is_err() {
            text = diagnostic.to_string();
        }
        self.always_say(text.trim_end());
    }

    /// Asks a question on the terminal, below a line with its subject. `None` without a terminal or an answer.
    pub(crate) async fn ask(self, about: &str, question: &str) -> Option<String> {
        if !io::stdin().is_terminal() {
            return None;
        }
        self.always_say(&format!("\n{about}"));
        {
            let mut out = AutoStream::new(io::stderr().lock(), self.color);
            let _ = write!(out, "{question}");
            let _ = out.flush();
        }
        // On another thread, so that Ctrl-C still works while it waits.
        let read = || {
            let mut answer = String::new();
            io::stdin().read_line(&mut answer).ok()?;
            Some(answer.trim().to_owned())
        };
        tokio::task::spawn_blocking(read).await.ok()?
    }
}
