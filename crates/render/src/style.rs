//! The styles of terminal output. Colour never carries meaning alone: every line has its sign.

use anstyle::AnsiColor;
pub use anstyle::Style;

/// What is created.
pub const CREATE: Style = AnsiColor::Green.on_default();
/// What changes.
pub const UPDATE: Style = AnsiColor::Yellow.on_default();
/// What is deleted.
pub const DELETE: Style = AnsiColor::Red.on_default();
/// What is to be seen first.
pub const STRONG: Style = Style::new().bold();
/// What may be passed over.
pub const FAINT: Style = Style::new().dimmed();
/// What deserves a second look.
pub const WARNING: Style = AnsiColor::Yellow.on_default().bold();
