//! Makes a plan document readable. The output for people is made from the same document that programs read, so both
//! always agree.
//!
//! Rendering has two steps. [`Tree`] contains all visible texts of a document, without markup. [`terminal()`] writes a
//! tree for a terminal, and [`markdown()`] for the comment of a pull request. [`preview_html()`] writes the trees of several stacks as a
//! page. Another output format needs only another writer.
//!
//! ```
//! use trunnion_engine::Document;
//! let document = Document::parse(br#"{
//!     "format": "2.0",
//!     "compared": {
//!         "stack": "loadtest",
//!         "origin": {"file": "loadtest.yaml"},
//!         "state": {"lineage": "", "serial": 0},
//!         "digest": "",
//!         "summary": {"create": 0, "update": 0, "replace": 0, "delete": 0, "unchanged": 3},
//!         "changes": [],
//!         "steps": []
//!     }
//! }"#)?;
//! assert!(trunnion_render::terminal(&document).contains("all 3 resources match the stack"));
//! # Ok::<(), trunnion_engine::DocumentError>(())
//! ```

mod diff;
mod drift;
mod entry;
mod estimate;
mod examination;
mod group;
mod html;
mod lines;
pub mod markdown;
mod overview;
mod preview;
pub mod style;
mod table;
mod terminal;
pub mod tree;
mod value;
mod visible;
mod wrap;

pub use crate::{
    drift::drift,
    estimate::{Estimated, assumptions, capacity, cost},
    examination::examination,
    group::addresses,
    html::preview_html,
    markdown::markdown,
    preview::preview,
    table::{Column, table},
    terminal::{brief, head, notes, summary, terminal},
    tree::Tree,
    wrap::wrap,
};
