//! A simulation of AWS on loopback. It supports the calls that Trunnion makes, and is as strict as AWS where Trunnion
//! relies on it.
//!
//! One address serves EC2, IAM, STS, ECS, Systems Manager parameters, CloudWatch Logs, Secrets Manager, the Resource
//! Groups Tagging API and S3; the credential scope of the signature selects the service. Any AWS client can use it, with
//! that address as its endpoint and the credentials [`ACCESS_KEY_ID`] and [`SECRET_ACCESS_KEY`]. The data is kept in a
//! directory or in memory.
//!
//! # Strict
//!
//! [`Options::strict`] makes it at least as strict as AWS with a new account. Everything that takes time on AWS runs on
//! one factor, [`Options::speed`]; [`Delay`] lists what it applies to, with the sources.
//!
//! AWS does not document the following, and the sandbox does the stricter thing:
//!
//! | not known | what a strict sandbox does |
//! |---|---|
//! | how long a new resource is unknown to some reads | up to 30 s in EC2 and S3, 20 s in ECS and CloudWatch Logs, 60 s in IAM, for each resource and each of three replicas at another time |
//! | whether a call that changes a new EC2 resource can fail because the resource is not known | it fails with the resource's `NotFound` code |
//! | whether EC2's filters by tag find a new resource as soon as its id does | they find it up to 15 s later |
//! | whether a policy that was just added to a role is in force when the role is | no service can use a role until 60 s after its last change |
//! | whether a role can be deleted as soon as its last policy was removed | `DeleteConflict` for 60 s (hashicorp/terraform-provider-aws issue 3222) |
//! | whether a role's name can be used as soon as the role was deleted | `EntityAlreadyExists` for 60 s, and some reads still show the deleted role |
//! | how long after its creation the service-linked role of ECS can be used | 60 s |
//! | when a bucket's name can be used again | an hour (the longest that is reported) |
//! | when S3 refuses a change of a new bucket with `OperationAborted` | the first change in two minutes |
//! | how long instances start, stop and end | a minute each |
//! | how long a service drains, and how long the interface of a stopped task is deleted | a minute, and 30 s |
//! | whether ids in a Describe call select the smaller token bucket | they do not make the bucket larger |
//!
//! Not delayed: changes of existing resources (rules, tags, template versions' default), and objects in S3, which are
//! consistent on AWS.
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
mod query;
mod quotas;
mod s3;
mod secrets;
mod server;
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
