//! The state store of a stack: a file, or an object in a bucket.

use trunnion_aws::{S3Lock, S3Store};
use trunnion_engine::{
    FileLock, FileStore, FoundLock, Hold, LockInfo, State, StateLock, StateStore, StoreError, Version,
};

/// The state store that a stack file names. [`Engine::connect`](crate::Engine::connect) makes it.
#[derive(Debug)]
pub enum Store {
    /// A file of this machine, `.trunnion/NAME.json` beside the stack file by default; also the state of a sandbox.
    File(FileStore),
    /// An object of an S3 bucket.
    S3(S3Store),
}

/// The lock of a [`Store`]. Dropping it gives it back.
#[derive(Debug)]
pub enum StoreLock {
    /// The operating system frees it with the process.
    File(FileLock),
    /// An object beside the state, which its holder renews.
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

    async fn found_lock(&self) -> Result<Option<FoundLock>, StoreError> {
        match self {
            Self::File(store) => store.found_lock().await,
            Self::S3(store) => store.found_lock().await,
        }
    }

    async fn take_away(&self, found: &FoundLock) -> Result<bool, StoreError> {
        match self {
            Self::File(store) => store.take_away(found).await,
            Self::S3(store) => store.take_away(found).await,
        }
    }

    async fn versions(&self, most: usize) -> Result<Vec<Version>, StoreError> {
        match self {
            Self::File(store) => store.versions(most).await,
            Self::S3(store) => store.versions(most).await,
        }
    }

    async fn version(&self, id: &str) -> Result<Option<State>, StoreError> {
        match self {
            Self::File(store) => store.version(id).await,
            Self::S3(store) => store.version(id).await,
        }
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

    async fn replace_damaged(&self, state: &State) -> Result<(), StoreError> {
        match self {
            Self::File(lock) => lock.replace_damaged(state).await,
            Self::S3(lock) => lock.replace_damaged(state).await,
        }
    }

    fn hold(&self) -> Hold {
        match self {
            Self::File(lock) => lock.hold(),
            Self::S3(lock) => lock.hold(),
        }
    }

    async fn release(self) -> Result<(), StoreError> {
        match self {
            Self::File(lock) => lock.release().await,
            Self::S3(lock) => lock.release().await,
        }
    }
}
