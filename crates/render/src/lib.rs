//! Makes a plan document readable. What a person sees comes from the same document that a machine reads, so the two
//! cannot disagree.
//!
//! ```
//! use trunnion_engine::{Document, Origin, Summary, StateReference};
//! let document = Document {
//!     format: 1,
//!     stack: "loadtest".into(),
//!     origin: Origin { file: "loadtest.yaml".into(), ..Origin::default() },
//!     place: None,
//!     identity: None,
//!     partial: false,
//!     state: StateReference { lineage: String::new(), serial: 0 },
//!     digest: String::new(),
//!     summary: Summary { unchanged: 3, ..Summary::default() },
//!     changes: vec![],
//!     steps: vec![],
//!     notes: vec![],
//!     other_homes: vec![],
//! };
//! assert!(trunnion_render::terminal(&document).contains("No changes"));
//! ```

mod group;
mod lines;
mod terminal;
mod value;
mod visible;
mod wrap;

pub use crate::{
    group::addresses,
    terminal::{head, notes, summary, terminal},
    wrap::wrap,
};

/// The styles of terminal output. Colour never carries meaning alone: every line has its sign.
pub mod style {
    use anstyle::{AnsiColor, Style};

    /// What is made.
    pub const CREATE: Style = AnsiColor::Green.on_default();
    /// What changes.
    pub const UPDATE: Style = AnsiColor::Yellow.on_default();
    /// What goes.
    pub const DELETE: Style = AnsiColor::Red.on_default();
    /// What comes first to the eye.
    pub const STRONG: Style = Style::new().bold();
    /// What may be passed over.
    pub const FAINT: Style = Style::new().dimmed();
    /// What deserves a second look.
    pub const WARNING: Style = AnsiColor::Yellow.on_default().bold();
}
