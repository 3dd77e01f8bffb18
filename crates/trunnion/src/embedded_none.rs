//! Replaces the sandbox if the feature `sandbox` is off.

use std::path::Path;

use trunnion_aws::Connection;
use trunnion_engine::FileStore;
use trunnion_stack::StateLocation;

use crate::{Error, Options};

/// No value of this type exists.
#[derive(Debug)]
pub(crate) enum Embedded {}

#[expect(clippy::unused_async, reason = "the same signatures as with the feature")]
impl Embedded {
    #[expect(clippy::unnecessary_wraps, reason = "the same signatures as with the feature")]
    pub(crate) async fn start(_: &Options, _: &str) -> Result<Option<Self>, Error> {
        Ok(None)
    }

    pub(crate) fn folder(&self) -> &Path {
        match *self {}
    }

    pub(crate) fn connection(&self, _: Connection) -> Connection {
        match *self {}
    }

    pub(crate) async fn store(&self, _: &StateLocation, _: &str) -> FileStore {
        match *self {}
    }

    pub(crate) async fn stop(self) {
        match self {}
    }
}
