//! The state store a stack names: a file or an object of a bucket.

use trunnion_aws::{S3Lock, S3Store};
use trunnion_engine::{FileLock, FileStore, LockGuard, LockInfo, State, StateStore, StoreError};

/// Either of the two.
#[derive(Debug)]
pub(crate) enum Store {
    File(FileStore),
    S3(S3Store),
}

impl Store {
    /// A path, or an `s3://` URL.
    pub(crate) fn location(&self) -> String {
        match self {
            Self::File(store) => store.path().display().to_string(),
            Self::S3(store) => store.place(),
        }
    }
}

/// A lock of either.
#[derive(Debug)]
pub(crate) enum Lock {
    File(FileLock),
    S3(S3Lock),
}

impl StateStore for Store {
    type Guard = Lock;

    async fn load(&self) -> Result<State, StoreError> {
        match self {
            Self::File(store) => store.load().await,
            Self::S3(store) => store.load().await,
        }
    }

    async fn save(&self, state: &State) -> Result<(), StoreError> {
        match self {
            Self::File(store) => store.save(state).await,
            Self::S3(store) => store.save(state).await,
        }
    }

    async fn lock(&self, info: &LockInfo) -> Result<Lock, StoreError> {
        Ok(match self {
            Self::File(store) => Lock::File(store.lock(info).await?),
            Self::S3(store) => Lock::S3(store.lock(info).await?),
        })
    }
}

impl LockGuard for Lock {
    async fn release(self) -> Result<(), StoreError> {
        match self {
            Self::File(lock) => lock.release().await,
            Self::S3(lock) => lock.release().await,
        }
    }
}
