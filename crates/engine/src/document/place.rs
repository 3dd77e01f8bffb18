//! Where a plan is made and applied.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where a plan was made: which account and region, reached how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The account.
    pub account: String,
    /// The region.
    pub region: String,
    /// How it was reached.
    pub endpoint: Endpoint,
}

/// What answers the calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// AWS itself.
    Aws,
    /// Something else that speaks AWS's protocols, at this URL; or which services are where, if not all are at one.
    Url(String),
    /// The sandbox inside the process, its data in this folder.
    Sandbox(String),
}

/// A place as far as it is compared: a look-alike at another URL, or a sandbox in another folder, is the same place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ComparedPlace {
    /// The account.
    pub account: String,
    /// The region.
    pub region: String,
    /// What answers the calls.
    pub endpoint: EndpointKind,
}

/// What answers the calls, without where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EndpointKind {
    /// AWS itself.
    Aws,
    /// Something else that speaks AWS's protocols.
    Url,
    /// The sandbox inside the process.
    Sandbox,
}

impl Place {
    /// What of it is compared.
    pub fn compared(&self) -> ComparedPlace {
        let endpoint = match self.endpoint {
            Endpoint::Aws => EndpointKind::Aws,
            Endpoint::Url(_) => EndpointKind::Url,
            Endpoint::Sandbox(_) => EndpointKind::Sandbox,
        };
        ComparedPlace { account: self.account.clone(), region: self.region.clone(), endpoint }
    }

    /// How a state document names it: `aws/123456789012/eu-west-3`, `sandbox/…`, `http://127.0.0.1:4600/…`.
    pub fn key(&self) -> String {
        let endpoint = match &self.endpoint {
            Endpoint::Aws => "aws",
            Endpoint::Sandbox(_) => "sandbox",
            Endpoint::Url(url) => url.trim_end_matches('/'),
        };
        format!("{endpoint}/{}/{}", self.account, self.region)
    }

    /// Reads what [`Place::key`] wrote; the folder of a sandbox is not in it.
    pub fn of_key(key: &str) -> Option<Self> {
        let mut parts = key.rsplitn(3, '/');
        let (region, account, endpoint) = (parts.next()?, parts.next()?, parts.next()?);
        let endpoint = match endpoint {
            "aws" => Endpoint::Aws,
            "sandbox" => Endpoint::Sandbox(String::new()),
            url => Endpoint::Url(url.to_owned()),
        };
        Some(Self { account: account.to_owned(), region: region.to_owned(), endpoint })
    }
}

impl ComparedPlace {
    /// The whole place, with the URL or folder that the remarks of the document name.
    pub(super) fn at(&self, address: Option<&str>) -> Place {
        let address = address.unwrap_or_default().to_owned();
        let endpoint = match self.endpoint {
            EndpointKind::Aws => Endpoint::Aws,
            EndpointKind::Url => Endpoint::Url(address),
            EndpointKind::Sandbox => Endpoint::Sandbox(address),
        };
        Place { account: self.account.clone(), region: self.region.clone(), endpoint }
    }
}

impl Endpoint {
    /// The URL, or the folder of a sandbox.
    pub(super) fn address(&self) -> Option<&str> {
        match self {
            Self::Aws => None,
            Self::Url(address) | Self::Sandbox(address) => Some(address),
        }
    }
}

/// `account 123456789012 · eu-west-3 · AWS`
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "account {} · {} · {}", self.account, self.region, self.endpoint)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Aws => f.write_str("AWS"),
            Self::Url(url) if url.is_empty() => f.write_str("another endpoint"),
            Self::Url(url) => f.write_str(url),
            Self::Sandbox(folder) if folder.is_empty() => f.write_str("sandbox"),
            Self::Sandbox(folder) => write!(f, "sandbox in {folder}"),
        }
    }
}
