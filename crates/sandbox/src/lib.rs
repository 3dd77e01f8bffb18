//! A simulation of AWS on loopback. It supports the calls that Trunnion makes, and is as strict as AWS where Trunnion
//! relies on it.
//!
//! One address serves EC2, IAM, STS, ECS, Systems Manager parameters, CloudWatch Logs, Secrets Manager, Service Quotas,
//! the Resource Groups Tagging API and S3; the credential scope of the signature selects the service. Any AWS client can use it, with
//! that address as its endpoint and the credentials [`ACCESS_KEY_ID`] and [`SECRET_ACCESS_KEY`]. The data is kept in a
//! directory or in memory.
//!
//! # Strict
//!
//! [`Options::strict`] makes it at least as strict as AWS with a new account. Everything that takes time on AWS runs on
//! one factor, [`Options::speed`]; [`Delay`] lists what it applies to, with the sources.
//!
//! Where AWS documents nothing, a strict sandbox does the stricter thing; `docs/sandbox.md` of the repository has the table.
//!
//! Listen only on loopback: the credentials are public, so everybody who reaches the address can do everything.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use trunnion_sandbox::{Options, Sandbox};
//!
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
//! let running = Sandbox::open(Options::default())?.serve(listener)?;
//! assert!(running.endpoint().starts_with("http://127.0.0.1:"));
//! assert!(running.calls().is_empty());
//! running.shutdown().await;
//! # Ok(())
//! # }
//! ```

#![cfg_attr(test, expect(clippy::unwrap_used, reason = "a test may panic"))]

mod authorize;
mod call;
mod cbor;
mod cloud;
mod consistency;
mod control;
mod durations;
mod ec2;
mod ecs;
mod gate;
mod iam;
mod journal;
mod json;
mod logs;
mod options;
mod protocol;
mod query;
mod quotas;
mod s3;
mod secrets;
mod server;
mod service_quotas;
mod signature;
mod ssm;
mod sts;
mod table;
mod tagging;
mod throttle;
mod xml;

pub use consistency::Consistency;
pub use control::{CallCount, Calls};
pub use durations::Delay;
pub use journal::account_of;
pub use options::{Effect, FaultRule, Options, SandboxError};
pub use server::{Running, Sandbox};

/// The access key id of the account's administrator.
pub const ACCESS_KEY_ID: &str = "sandbox";

/// The secret access key of the account's administrator.
pub const SECRET_ACCESS_KEY: &str = "sandbox";
