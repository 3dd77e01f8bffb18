//! The styles of terminal output. Colour never carries meaning alone: every line also has a sign.

use anstyle::AnsiColor;
pub use anstyle::Style;

/// Created resources.
pub const CREATE: Style = AnsiColor::Green.on_default();
/// Changed resources.
pub const UPDATE: Style = AnsiColor::Yellow.on_default();
/// Deleted resources.
pub const DELETE: Style = AnsiColor::Red.on_default();
/// Important text.
pub const STRONG: Style = Style::new().bold();
/// Less important text.
pub const FAINT: Style = Style::new().dimmed();
/// Warnings.
pub const WARNING: Style = AnsiColor::Yellow.on_default().bold();
