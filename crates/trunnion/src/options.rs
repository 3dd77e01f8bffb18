//! How to connect, and what to plan.

use std::path::PathBuf;

use trunnion_aws::{ProvideCredentials, Reads, SharedCredentialsProvider};
use trunnion_engine::Origin;

/// How to connect.
///
/// ```
/// use trunnion::{Options, aws::Credentials};
/// let credentials = Credentials::new("AKIAEXAMPLE", "secret", None, None, "example");
/// let options = Options::new().with_endpoint("http://127.0.0.1:4566").with_credentials(credentials).without_waiting();
/// assert!(!options.wait);
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Options {
    /// Start a sandbox inside this process instead of using AWS, its data kept in this folder. The data of a second account
    /// is in a folder of its name inside.
    #[cfg(feature = "sandbox")]
    pub sandbox: Option<PathBuf>,
    /// Whether apply waits until hosts run and the service is stable: it does by default.
    pub wait: bool,
    /// The URL, `http://` or `https://`, of a server that speaks AWS's protocols. It does not count beside a sandbox inside
    /// the process.
    pub endpoint: Option<String>,
    /// Credentials instead of those of the environment and its profile. Together with an endpoint, no variable and no profile
    /// of AWS counts.
    pub credentials: Option<SharedCredentialsProvider>,
    /// A file to which every AWS call is appended, without secrets, the account's id, and what identifies a person.
    pub transcript: Option<PathBuf>,
    /// The answers that it shares with other connections, which must all only plan.
    pub reads: Option<Reads>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            #[cfg(feature = "sandbox")]
            sandbox: None,
            wait: true,
            endpoint: None,
            credentials: None,
            transcript: None,
            reads: None,
        }
    }
}

impl Options {
    /// To AWS, with the credentials of the environment and its profile. Apply waits.
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

    /// The same to the server at this URL.
    #[must_use]
    pub fn with_endpoint(self, url: impl Into<String>) -> Self {
        Self { endpoint: Some(url.into()), ..self }
    }

    /// The same, and every AWS call is appended to this file.
    #[must_use]
    pub fn with_transcript(self, file: impl Into<PathBuf>) -> Self {
        Self { transcript: Some(file.into()), ..self }
    }

    /// The same with these credentials, such as [`Credentials`](crate::aws::Credentials).
    #[must_use]
    pub fn with_credentials(self, credentials: impl ProvideCredentials + 'static) -> Self {
        Self { credentials: Some(SharedCredentialsProvider::new(credentials)), ..self }
    }
}

/// What to plan. Addresses are text, as a person types them: a plan refuses those that are nowhere, and names similar ones.
///
/// ```
/// use trunnion::Request;
/// let request = Request::new().with_targets(["instance.heavy"]).with_replacements(["instance.heavy[2]"]);
/// assert_eq!(request.replace, ["instance.heavy[2]"]);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Request {
    /// Delete everything that the stack has.
    pub destroy: bool,
    /// Only these addresses and what they need; the whole stack if empty. `instance.heavy` means all of its hosts.
    pub targets: Vec<String>,
    /// These addresses stay as they are. `instance.heavy` means all of its hosts.
    pub exclude: Vec<String>,
    /// Take the newest images instead of those that the launch templates hold.
    pub update_images: bool,
    /// Take the newest generator and boot script instead of those that the launch templates hold.
    pub update_generator: bool,
    /// Replace the resources at these addresses although nothing of them differs. `instance.heavy` means all of its hosts.
    pub replace: Vec<String>,
}

impl Request {
    /// The whole stack.
    pub fn new() -> Self {
        Self::default()
    }

    /// Delete everything that the stack has.
    pub fn destroy() -> Self {
        Self { destroy: true, ..Self::default() }
    }

    /// The same for these addresses only.
    #[must_use]
    pub fn with_targets(self, targets: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self { targets: targets.into_iter().map(Into::into).collect(), ..self }
    }

    /// The same, and the resources at these addresses stay as they are.
    #[must_use]
    pub fn with_exclusions(self, exclude: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self { exclude: exclude.into_iter().map(Into::into).collect(), ..self }
    }

    /// The same, and the resources at these addresses are replaced.
    #[must_use]
    pub fn with_replacements(self, replace: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self { replace: replace.into_iter().map(Into::into).collect(), ..self }
    }

    /// The same with the newest images.
    #[must_use]
    pub fn with_newest_images(self) -> Self {
        Self { update_images: true, ..self }
    }

    /// The same with the newest generator and boot script.
    #[must_use]
    pub fn with_newest_generator(self) -> Self {
        Self { update_generator: true, ..self }
    }
}

impl From<&Origin> for Request {
    /// The request that a plan document was made for.
    fn from(origin: &Origin) -> Self {
        Self {
            destroy: origin.destroy,
            targets: origin.targets.clone(),
            exclude: origin.exclude.clone(),
            replace: origin.replace.clone(),
            update_images: origin.update_images,
            update_generator: origin.update_generator,
        }
    }
}
