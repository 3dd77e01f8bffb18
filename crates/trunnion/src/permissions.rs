//! The IAM policy that a command needs for a stack.

use trunnion_aws::{Extent, Policy, Purpose};
use trunnion_blueprint as blueprint;
use trunnion_stack::{Stack, StateLocation};

use crate::Error;

/// The least IAM policy with which a command works on a stack, without any AWS call. It covers the state and the artifacts,
/// too.
///
/// A managed policy holds 6,144 characters. A longer policy is split into several that are attached together.
///
/// EC2 gives resources ids that say nothing, so there the tag `trunnion:stack` decides what the policy allows: a resource of
/// EC2 that lost this tag can be neither changed nor tagged again with it.
pub fn permissions(stack: &Stack, purpose: Purpose) -> Result<Vec<Policy>, Error> {
    let graph = blueprint::outline(stack, true).map_err(|error| Error::blueprint(stack, error))?;
    let extent = Extent::new(&stack.account, &stack.region);
    let extent = match &stack.state {
        StateLocation::S3 { bucket, key } => extent.with_state(bucket, key),
        StateLocation::File(_) => extent,
    };
    Ok(trunnion_aws::permissions(&graph, extent, purpose))
}
