//! Makes a plan document readable. What a person sees comes from the same document that a machine reads, so the two
//! cannot disagree.
//!
//! It goes in two steps: [`Tree`] is what is to be seen of a document, decided and spelled out, without any markup;
//! [`terminal()`] writes such a tree for a terminal. Another form of output is another writer of the same tree.
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

mod entry;
mod group;
mod lines;
pub mod style;
mod terminal;
pub mod tree;
mod value;
mod visible;
mod wrap;

pub use crate::{
    group::addresses,
    terminal::{head, notes, summary, terminal},
    tree::Tree,
    wrap::wrap,
};
