//! How to connect, and what to plan.

#[cfg(feature = "sandbox")]
use std::path::PathBuf;

use trunnion_aws::{ProvideCredentials, SharedCredentialsProvider};
use trunnion_engine::Origin;

/// How to connect.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Options {
    /// Start a sandbox inside this process instead of using AWS, its data kept in this folder. The data of a second account
    /// is in a folder of its name inside.
    #[cfg(feature = "sandbox")]
    pub sandbox: Option<PathBuf>,
    /// Whether apply waits until hosts run and the service is stable.
    pub wait: bool,
    /// The URL of what speaks AWS's protocols instead of AWS, unless there is a sandbox.
    pub endpoint: Option<String>,
    /// Credentials instead of those that the environment and its profile name. Together with an endpoint, nothing of the
    /// environment counts.
    pub credentials: Option<SharedCredentialsProvider>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            #[cfg(feature = "sandbox")]
            sandbox: None,
            wait: true,
            endpoint: None,
            credentials: None,
        }
    }
}

impl Options {
    /// To AWS, as the environment says.
    pub fn new() -> Self {
        Self::default()
    }

    /// To a sandbox inside this process that keeps its data in this folder.
    #[cfg(feature = "sandbox")]
    pub fn in_sandbox(folder: impl Into<PathBuf>) -> Self {
        Self { sandbox: Some(folder.into()), ..Self::default() }
    }

    /// The same, and apply does not wait until hosts run and the service is stable.
    #[must_use]
    pub fn without_waiting(self) -> Self {
        Self { wait: false, ..self }
    }

    /// The same to another endpoint.
    #[must_use]
    pub fn with_endpoint(self, url: impl Into<String>) -> Self {
        Self { endpoint: Some(url.into()), ..self }
    }

    /// The same with these credentials, such as [`Credentials`](crate::aws::Credentials).
    #[must_use]
    pub fn with_credentials(self, credentials: impl ProvideCredentials + 'static) -> Self {
        Self { credentials: Some(SharedCredentialsProvider::new(credentials)), ..self }
    }
}

/// What to plan.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Request {
    /// Delete everything.
    pub destroy: bool,
    /// Only these addresses and what they need, or all.
    pub targets: Vec<String>,
    /// Take the newest images instead of those the launch templates hold.
    pub update_images: bool,
    /// Take the newest generator and boot script instead of those that the launch templates hold.
    pub update_generator: bool,
    /// Replace the resources at these addresses even if they do not differ.
    pub replace: Vec<String>,
}

impl Request {
    /// The whole stack.
    pub fn new() -> Self {
        Self::default()
    }

    /// Delete everything.
    pub fn destroy() -> Self {
        Self { destroy: true, ..Self::default() }
    }
}

impl From<&Origin> for Request {
    /// The same that a document was asked for with.
    fn from(origin: &Origin) -> Self {
        Self {
            destroy: origin.destroy,
            targets: origin.targets.clone(),
            replace: origin.replace.clone(),
            update_images: origin.update_images,
            update_generator: origin.update_generator,
        }
    }
}
