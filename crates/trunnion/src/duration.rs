//! How long an apply is expected to take.

use trunnion_engine::{Document, Operation};

/// What one step takes, in seconds. AWS documents none of these; they are what is commonly reported (November 2026), and no
/// apply on AWS was measured. Each step also has the calls that make and find it.
#[expect(clippy::match_same_arms, reason = "each is a duration of its own")]
fn takes(kind: &str, operation: Operation) -> u64 {
    match (kind, operation) {
        // Until a host is `running`, or `terminated`.
        ("instance", Operation::Create | Operation::Delete) => 60,
        // A stop and a start.
        ("instance", Operation::Update) => 120,
        // Until the new task runs and the former one is stopped.
        ("ecs_service", Operation::Create) => 90,
        ("ecs_service", Operation::Update) => 120,
        ("ecs_service", Operation::Delete) => 60,
        // Changes of IAM reach other services later.
        ("iam_role" | "iam_instance_profile", Operation::Create) => 15,
        // An upload of some megabytes.
        ("s3_object", Operation::Create | Operation::Update) => 5,
        _ => 2,
    }
}

/// The seconds on the longest path of steps that wait for each other; nothing for a plan without steps.
pub(crate) fn expected(plan: &Document) -> Option<u64> {
    let mut ends: Vec<u64> = Vec::new();
    for step in &plan.compared.steps {
        let begins = step.after.iter().filter_map(|at| ends.get(*at)).max().copied().unwrap_or_default();
        ends.push(begins.saturating_add(takes(step.address.kind.as_str(), step.operation)));
    }
    ends.into_iter().max()
}
