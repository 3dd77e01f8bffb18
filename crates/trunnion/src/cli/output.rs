//! The one place that prints. stdout is data, stderr is talk.

use std::io::{self, IsTerminal as _, Write as _};

use anstream::{AutoStream, ColorChoice};
use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme, ThemeStyles};

use super::{arguments::Talk, failure::Failure};

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

    /// Talk: one line on stderr, unless quiet was asked for.
    pub(crate) fn say(self, text: &str) {
        if !self.quiet {
            self.always_say(text);
        }
    }

    /// Talk that quiet does not silence.
    pub(crate) fn always_say(self, text: &str) {
        let mut out = AutoStream::new(io::stderr().lock(), self.color);
        let _ = writeln!(out, "{text}");
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
        let handler = GraphicalReportHandler::new_themed(theme).with_width(100).with_links(false);
        let mut text = String::new();
        if handler.render_report(&mut text, diagnostic).is_err() {
            text = diagnostic.to_string();
        }
        self.always_say(text.trim_end());
    }

    /// Asks a question on the terminal. Nothing where there is nobody to answer.
    pub(crate) async fn ask(self, question: &str) -> Option<String> {
        if !io::stdin().is_terminal() {
            return None;
        }
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
