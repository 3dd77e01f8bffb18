//! What was last applied: a cache that explains, never the truth.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Address, Map};

/// The state document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Version of the document's format: [`State::FORMAT`].
    pub format: u32,
    /// Which line of documents this is: made once, kept for good.
    pub lineage: String,
    /// Counts the documents of the line.
    pub serial: u64,
    /// The stack's name.
    pub stack: String,
    /// Which cloud it speaks of, as the caller names it: what was applied elsewhere explains nothing here.
    #[serde(default)]
    pub place: String,
    /// The home that the stack has had since it was last applied to the end: what carries it is the stack's, also where the
    /// home of today is another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub home: Option<String>,
    /// Digest of what the stack asked for when it was last applied to the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Every resource applied.
    pub resources: BTreeMap<Address, Recorded>,
}

/// What was last applied at one address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recorded {
    /// What the cloud calls it.
    pub id: String,
    /// When it was applied, RFC 3339 in UTC.
    pub applied_at: String,
    /// What it looked like then, computed attributes included, sensitive ones as digests.
    pub attributes: Map,
}

/// A text that is no state document.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// No JSON, or not of the document's shape.
    #[error("the state is damaged")]
    Damaged(#[from] serde_json::Error),
    /// A newer format.
    #[error("the state has format {0}; this version reads format {max}", max = State::FORMAT)]
    Format(u32),
    /// Somebody else's.
    #[error("the state is of stack `{found}`, not of `{expected}`")]
    Stack {
        /// Whose it is.
        found: String,
        /// Whose it should be.
        expected: String,
    },
}

impl State {
    /// The format this version writes.
    pub const FORMAT: u32 = 1;

    /// The state of a stack that was never applied.
    pub fn empty(stack: impl Into<String>) -> Self {
        Self {
            format: Self::FORMAT,
            lineage: String::new(),
            serial: 0,
            stack: stack.into(),
            place: String::new(),
            home: None,
            digest: None,
            resources: BTreeMap::new(),
        }
    }

    /// Reads a document of this stack.
    pub fn parse(bytes: &[u8], stack: &str) -> Result<Self, StateError> {
        #[derive(Deserialize)]
        struct Format {
            format: u32,
        }
        let Format { format } = serde_json::from_slice(bytes)?;
        if format != Self::FORMAT {
            return Err(StateError::Format(format));
        }
        let state: Self = serde_json::from_slice(bytes)?;
        if state.stack != stack {
            return Err(StateError::Stack { found: state.stack, expected: stack.to_owned() });
        }
        Ok(state)
    }

    /// The document, indented, with a newline at its end.
    pub fn to_document(&self) -> serde_json::Result<Vec<u8>> {
        let mut bytes = serde_json::to_vec_pretty(self)?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// Which document of which line it is.
    pub fn version(&self) -> (&str, u64) {
        (&self.lineage, self.serial)
    }

    /// Whether this document is the next one after `earlier`, the one that is kept; after none, it is a first one.
    pub fn follows(&self, earlier: Option<(&str, u64)>) -> bool {
        let (lineage, serial) = earlier.unwrap_or_default();
        (lineage.is_empty() || lineage == self.lineage) && Some(self.serial) == serial.checked_add(1)
    }

    /// The document that follows this one; a first one begins a lineage.
    pub fn advance(&mut self) {
        if self.lineage.is_empty() {
            self.lineage = uuid::Uuid::new_v4().to_string();
        }
        self.serial += 1;
    }
}
