//! What was last applied: a cache that explains, never the truth.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, de::Error as _};

use crate::{Address, Map};

/// The state document. Each save makes the next one of its line; a [`StateStore`](crate::StateStore) replaces a document only
/// by one that [follows](State::follows) it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Version of the document's format: [`State::FORMAT`].
    pub format: u32,
    /// Which line of documents this is: a UUID of the first save, which never changes; empty before that.
    pub lineage: String,
    /// The document's number in its line: 0 before the first save, and one more with each save.
    #[serde(deserialize_with = "number")]
    pub serial: u64,
    /// The stack's name.
    pub stack: String,
    /// Where the stack was applied, as [`Place::key`](crate::Place::key) writes it:
    /// `aws/123456789012/eu-west-3`; empty before the first save.
    #[serde(default)]
    pub place: String,
    /// The home that the stack has had since it was last applied to the end: what carries it is the stack's, also where the
    /// home of today is another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub home: Option<String>,
    /// SHA-256, in hexadecimal, of what the stack asked for when it was last applied to the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// The number of the last apply that the state knows: [`Applied::number`](crate::Applied::number).
    #[serde(default, deserialize_with = "number", skip_serializing_if = "is_zero")]
    pub applied: u64,
    /// Every resource that was created or adopted and not deleted since.
    pub resources: BTreeMap<Address, Recorded>,
}

/// What was last applied at one address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recorded {
    /// The resource's id in the cloud: `i-…`, an ARN, a name.
    pub id: String,
    /// When it was applied, RFC 3339 in UTC.
    pub applied_at: String,
    /// What it looked like then, computed attributes included, sensitive ones as digests.
    pub attributes: Map,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// A number that another one can follow. No command counts that far, so a greater one is damage.
fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let number = u64::deserialize(deserializer)?;
    if number > State::LAST { Err(D::Error::custom("a number is too great")) } else { Ok(number) }
}

/// Why a text is no state document of this stack.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// It is no JSON, or JSON of another shape.
    #[error("the state is damaged")]
    Damaged(#[from] serde_json::Error),
    /// It has another format than [`State::FORMAT`].
    #[error("the state has format {0}; this version reads format {max}", max = State::FORMAT)]
    Format(u32),
    /// It is the state of another stack.
    #[error("the state is of stack `{found}`, not of `{expected}`")]
    Stack {
        /// The stack that the document names.
        found: String,
        /// The stack that it was read for.
        expected: String,
    },
}

impl State {
    /// The format this version writes.
    pub const FORMAT: u32 = 1;
    /// The last number of a document or an apply.
    pub(crate) const LAST: u64 = i64::MAX.cast_unsigned() - 1;

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
            applied: 0,
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

    /// The [lineage](State::lineage) and the [serial](State::serial).
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
        self.serial = self.serial.saturating_add(1);
    }
}
