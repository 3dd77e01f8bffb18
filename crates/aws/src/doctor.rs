//! Examines an account for a stack without changing it: everything at once, one finding for each subject.
//!
//! Each kind of check is in a file of its own, makes its own calls and turns its own failures into findings, so that one
//! failure hides no other. Permissions are last, because EC2's dry runs need what the lookups found.
//!
//! | file | asks |
//! |---|---|
//! | `found.rs` | the lookups of a plan: network, images, types, secrets |
//! | `network.rs` | DNS of the VPC |
//! | `offers.rs` | whether each zone offers the instance types |
//! | `quotas.rs` | quotas with what is in use, as a plan compares them |
//! | `roles.rs` | the roles that AWS's services own |
//! | `state.rs` | the bucket of the state |
//! | `dry_run.rs` | EC2, whether it would do what the commands ask |
//! | `simulate.rs` | IAM, what the policies of the identity say; `cases.rs` has the questions |
//! | `permissions.rs` | nothing: it judges the answers of the last two |

mod cases;
mod dry_run;
mod found;
mod network;
mod offers;
mod permissions;
mod quotas;
mod roles;
mod simulate;
mod state;

use std::collections::BTreeMap;

use futures::join;
use trunnion_engine::{Address, Context, Finding, Graph, Map, Observed, ProviderError};

use crate::{
    Aws, Purpose,
    calls::{Commands, Subject},
    context::within,
    error::{Class, Failure},
    observe::check_account,
    quotas::{Pool, pools},
};

/// What the examination found, and the lookups that it read.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Examined {
    /// In a stable order.
    pub findings: Vec<Finding>,
    /// Only lookups.
    pub observed: Observed,
}

/// What the checks share.
struct Examination<'a> {
    aws: &'a Aws,
    desired: &'a Graph,
    /// Attributes of every lookup that was found.
    known: &'a BTreeMap<Address, Map>,
    pools: Vec<Pool>,
    subject: Subject,
}

impl Aws {
    /// Examines whether the account has what the stack needs, and whether the identity may do what these commands do.
    /// `desired` must have all hosts. `state` is the bucket and the key of a state in S3. It changes nothing.
    ///
    /// It fails only if AWS knows no identity or an identity of another account: then nothing else can be examined.
    pub async fn examine(
        &self,
        desired: &Graph,
        purposes: &[Purpose],
        state: Option<(&str, &str)>,
        context: &Context,
    ) -> Result<Examined, ProviderError> {
        within(context, Box::pin(examine(self, desired, purposes, state))).await
    }
}

async fn examine(
    aws: &Aws,
    desired: &Graph,
    purposes: &[Purpose],
    state: Option<(&str, &str)>,
) -> Result<Examined, ProviderError> {
    check_account(aws).await?;
    let found = found::read(aws, desired).await.map_err(|failure| failure.about(""))?;
    let subject = Subject::of(&aws.connection.account, &aws.connection.region, desired);
    let subject = match state {
        Some((bucket, key)) => subject.with_state(bucket, [key.to_owned(), crate::store::lock_key(key)]),
        None => subject,
    };
    let known = &found.observed.lookups;
    let examination = Examination { aws, desired, known, pools: pools(desired, known, |_| true), subject };
    let commands = purposes.iter().fold(Commands::NONE, |all, purpose| all.and(purpose.commands()));
    let (dry_runs, simulated, quotas, offers, dns, roles, bucket) = join!(
        Box::pin(dry_run::ask(&examination)),
        Box::pin(simulate::ask(&examination, commands)),
        Box::pin(quotas::examine(&examination)),
        Box::pin(offers::examine(&examination)),
        Box::pin(network::examine(&examination)),
        Box::pin(roles::read(&examination, commands)),
        Box::pin(state::examine(aws, state)),
    );
    let identity = aws.identity.get().map(String::as_str).unwrap_or_default();
    let mut findings = vec![Finding::ok("identity", identity)];
    let permissions = permissions::judge(&examination.subject, &dry_runs, &simulated);
    findings.extend(roles::judge(roles, &permissions));
    findings.extend(permissions.into_findings());
    findings.extend(found.findings);
    findings.extend([dns, offers, quotas, bucket].into_iter().flatten());
    Ok(Examined { findings, observed: found.observed })
}

/// The finding on a subject that a failed call leaves open. `otherwise` is what the failure means unless AWS denied it.
fn failed(subject: impl Into<String>, failure: Failure) -> Finding {
    let subject = subject.into();
    let operation = failure.operation;
    if failure.class == Class::Denied {
        let action = crate::calls::action_of(operation).to_owned();
        let help = format!("`{action}` would answer it");
        return Finding::unknown(subject, format!("the identity may not call `{operation}`"), Some(help));
    }
    let error = failure.about("");
    Finding::unknown(subject, error.message, error.help)
}
