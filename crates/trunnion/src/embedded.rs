//! A sandbox inside this process.

use std::path::{Path, PathBuf};

use tokio::net::TcpListener;
use trunnion_aws::Connection;
use trunnion_engine::{FileStore, StateStore as _};
use trunnion_sandbox::{ACCESS_KEY_ID, Running, SECRET_ACCESS_KEY, Sandbox};
use trunnion_stack::StateLocation;

use crate::{Error, Options};

/// A running sandbox, and the folder of its data.
#[derive(Debug)]
pub(crate) struct Embedded {
    running: Running,
    folder: PathBuf,
}

impl Embedded {
    /// Starts a sandbox, if the options ask for one.
    pub(crate) async fn start(options: &Options, account: &str) -> Result<Option<Self>, Error> {
        let Some(folder) = &options.sandbox else { return Ok(None) };
        let folder = folder_of_account(folder.clone(), account);
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.map_err(Error::Listen)?;
        let options = trunnion_sandbox::Options::new().with_data(&folder).with_account(account);
        Ok(Some(Self { running: Sandbox::open(options)?.serve(listener)?, folder }))
    }

    /// The folder of its data.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Changes a connection so that it uses the sandbox.
    pub(crate) fn connection(&self, connection: Connection) -> Connection {
        connection.to_sandbox(self.running.endpoint(), ACCESS_KEY_ID, SECRET_ACCESS_KEY)
    }

    /// The state store for the sandbox: the stack's state file. If that file holds a state of AWS, or the stack keeps its
    /// state in a bucket, the state is beside the sandbox's data.
    pub(crate) async fn store(&self, location: &StateLocation, stack: &str) -> FileStore {
        let beside = FileStore::new(self.folder.join(format!("{stack}.json")), stack);
        let StateLocation::File(path) = location else { return beside };
        let usual = FileStore::new(path, stack);
        match usual.load().await {
            Ok(state) if !state.resources.is_empty() && !state.place.starts_with("sandbox/") => beside,
            _ => usual,
        }
    }

    /// Stops the sandbox.
    pub(crate) async fn stop(self) {
        self.running.shutdown().await;
    }
}

/// The folder itself, or a subfolder if it already keeps the data of another account.
fn folder_of_account(folder: PathBuf, account: &str) -> PathBuf {
    match trunnion_sandbox::account_of(&folder) {
        Some(kept) if kept != account => folder.join(account),
        _ => folder,
    }
}
