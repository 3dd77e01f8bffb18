//! The one place that prints. Data goes to stdout, messages to stderr.

use std::io::{self, IsTerminal as _, Write as _};

use anstream::{AutoStream, ColorChoice};
use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme, ThemeStyles};

use super::{arguments::Talk, failure::Failure};

/// No report is wider than this.
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

/// A terminal that does not know its width says 0; nothing is readable in less than 20 columns.
fn wide_enough(size: Option<(terminal_size::Width, terminal_size::Height)>) -> Option<usize> {
    size.map(|(width, _)| usize::from(width.0)).filter(|width| *width >= 20)
}

/// Where everything is said.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    color: ColorChoice,
    quiet: bool,
    verbose: u8,
}

impl Output {
    pub(crate) fn new(talk: &Talk) -> Self {
        let color = match talk.color {
            clap::ColorChoice::Auto => ColorChoice::Auto,
            clap::ColorChoice::Always => ColorChoice::Always,
            clap::ColorChoice::Never => ColorChoice::Never,
        };
        Self { color, quiet: talk.quiet, verbose: talk.verbose }
    }

    /// Before anything is known of how to talk.
    pub(crate) fn plain() -> Self {
        Self { color: ColorChoice::Auto, quiet: false, verbose: 0 }
    }

    /// Data: exactly this, on stdout. A reader that went away is no error; anything else that loses it is.
    pub(crate) fn data(self, text: &str) -> Result<(), Failure> {
        let mut out = AutoStream::new(io::stdout().lock(), self.color);
        let end = if text.ends_with('\n') { "" } else { "\n" };
        let written = out.write_all(text.as_bytes()).and_then(|()| out.write_all(end.as_bytes()));
        match written.and_then(|()| out.flush()) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::with_help(
                "output::stdout",
                format!("writing to stdout failed: {error}"),
                "send it somewhere with room",
            )),
            _ => Ok(()),
        }
    }

    /// Data that a person reads: on a terminal, its lines are as wide as that.
    pub(crate) fn readable(self, text: &str) -> Result<(), Failure> {
        match terminal_width(io::stdout()) {
            Some(width) => self.data(&trunnion::render::wrap(text, width)),
            None => self.data(text),
        }
    }

    /// Talk: one line on stderr, unless quiet was asked for.
    pub(crate) fn say(self, text: &str) {
        if !self.quiet {
            self.always_say(text);
        }
    }

    /// Talk that quiet does not silence.
    pub(crate) fn always_say(self, text: &str) {
        let fitted = terminal_width(io::stderr()).map(|width| trunnion::render::wrap(text, width));
        let mut out = AutoStream::new(io::stderr().lock(), self.color);
        let _ = writeln!(out, "{}", fitted.as_deref().unwrap_or(text));
    }

    /// Talk for `-v`.
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

    /// Whether progress can be drawn in place.
    pub(crate) fn is_live(self) -> bool {
        !self.quiet && io::stderr().is_terminal()
    }

    /// An error or warning with its place and help, on stderr.
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

    /// Asks a question on the terminal, under a line that says what it is about. Nothing where there is nobody to answer.
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
        // On a thread of its own, so that Ctrl-C is heard meanwhile.
        let read = || {
            let mut answer = String::new();
            io::stdin().read_line(&mut answer).ok()?;
            Some(answer.trim().to_owned())
        };
        tokio::task::spawn_blocking(read).await.ok()?
    }
}
