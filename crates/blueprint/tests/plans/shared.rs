//! A cell that can be changed through a shared reference: `RefCell` for futures that can move between threads.

use std::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

/// Panics like a `RefCell` if it is borrowed mutably while another borrow exists.
#[derive(Debug, Default)]
pub struct Shared<T>(RwLock<T>);

impl<T> Shared<T> {
    pub fn new(value: T) -> Self {
        Self(RwLock::new(value))
    }

    pub fn borrow(&self) -> RwLockReadGuard<'_, T> {
        self.0.try_read().unwrap()
    }

    pub fn borrow_mut(&self) -> RwLockWriteGuard<'_, T> {
        self.0.try_write().unwrap()
    }

    pub fn into_inner(self) -> T {
        self.0.into_inner().unwrap()
    }
}
