//! The state store of a stack: a file, or an object in a bucket.

use trunnion_aws::{S3Lock, S3Store};
use trunnion_engine::{FileLock, FileStore, LockInfo, State, StateLock, StateStore, StoreError};

/// Either of the two.
#[derive(Debug)]
pub enum Store {
    /// A file of this machine.
    File(FileStore),
    /// An object of a bucket.
    S3(S3Store),
}

/// The lock of a [`Store`].
#[derive(Debug)]
pub enum StoreLock {
    /// Of a file.
    File(FileLock),
    /// Of an object.
    S3(S3Lock),
}

impl StateStore for Store {
    type Lock = StoreLock;

    async fn load(&self) -> Result<State, StoreError> {
        match self {
            Self::File(store) => store.load().await,
            Self::S3(store) => store.load().await,
        }
    }

    async fn lock(&self, info: &LockInfo) -> Result<StoreLock, StoreError> {
        Ok(match self {
            Self::File(store) => StoreLock::File(store.lock(info).await?),
            Self::S3(store) => StoreLock::S3(store.lock(info).await?),
        })
    }

    fn location(&self) -> String {
        match self {
            Self::File(store) => store.location(),
            Self::S3(store) => store.location(),
        }
    }
}

impl StateLock for StoreLock {
    async fn save(&self, state: &State) -> Result<(), StoreError> {
        match self {
            Self::File(lock) => lock.save(state).await,
            Self::S3(lock) => lock.save(state).await,
        }
    }

    fn is_held(&self) -> bool {
        match self {
            Self::File(lock) => lock.is_held(),
            Self::S3(lock) => lock.is_held(),
        }
    }

    async fn release(self) -> Result<(), StoreError> {
        match self {
            Self::File(lock) => lock.release().await,
            Self::S3(lock) => lock.release().await,
        }
    }
}
