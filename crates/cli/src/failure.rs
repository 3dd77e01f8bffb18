//! The errors of the command, and how they are printed.

use std::fmt;

use miette::Diagnostic;
use trunnion::{ExitCode, Invalid};

use super::output::Output;

/// Why a command failed.
pub(crate) enum Failure {
    /// The stack file is wrong.
    Invalid(Invalid),
    /// An error of the library.
    Library(trunnion::Error),
    /// An error of the command itself.
    Own(Own),
    /// The message was already printed; only the exit code is left.
    Reported(ExitCode),
}

/// An error of the command itself.
#[derive(Debug)]
pub(crate) struct Own {
    code: &'static str,
    message: String,
    help: Option<String>,
}

impl Failure {
    pub(crate) fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self::Own(Own { code, message: message.into(), help: None })
    }

    pub(crate) fn with_help(code: &'static str, message: impl Into<String>, help: impl Into<String>) -> Self {
        Self::Own(Own { code, message: message.into(), help: Some(help.into()) })
    }

    /// Prints the error, and returns the exit code.
    pub(crate) fn report(self, output: Output) -> ExitCode {
        match self {
            Self::Invalid(invalid) => {
                for diagnostic in invalid.diagnostics() {
                    output.report(diagnostic);
                }
                let count = invalid.diagnostics().len();
                output.say(&format!("{count} {} in `{}`", if count == 1 { "error" } else { "errors" }, invalid.name()));
            }
            Self::Library(error) => {
                for diagnostic in error.diagnostics() {
                    output.report(diagnostic.as_ref());
                }
                return error.exit_code();
            }
            Self::Own(own) => output.report(&own),
            Self::Reported(code) => return code,
        }
        ExitCode::Error
    }
}

impl From<Invalid> for Failure {
    fn from(invalid: Invalid) -> Self {
        Self::Invalid(invalid)
    }
}

impl From<trunnion::Error> for Failure {
    fn from(error: trunnion::Error) -> Self {
        Self::Library(error)
    }
}

impl fmt::Display for Own {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Own {}

impl Diagnostic for Own {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new(self.code))
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.help.as_ref().map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }
}
