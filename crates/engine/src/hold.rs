//! Whether a lock is still held, for code that does not have the lock itself.

use std::{fmt, sync::Arc};

/// Says whether a lock is still held. A call that changes something is sent only while it is.
///
/// ```
/// use trunnion_engine::Hold;
/// assert!(Hold::default().is_held(), "without a lock, there is nothing to lose");
/// assert!(!Hold::new(|| false).is_held());
/// ```
#[derive(Clone, Default)]
pub struct Hold(Option<Arc<dyn Fn() -> bool + Send + Sync>>);

impl Hold {
    /// The answer of this function, which must not wait. Once it is `false`, it stays `false`.
    pub fn new(is_held: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(is_held)))
    }

    /// Whether the lock is still held, as far as is known without waiting.
    pub fn is_held(&self) -> bool {
        self.0.as_ref().is_none_or(|is_held| is_held())
    }
}

impl fmt::Debug for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Hold").field(&self.is_held()).finish()
    }
}
