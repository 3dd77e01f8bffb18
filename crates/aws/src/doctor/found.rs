//! What a plan looks up: the network, images, instance types and secrets.

use trunnion_engine::{Address, Finding, Graph, Observed};
use trunnion_kinds::lookup::ElasticIpQuota;

use super::failed;
use crate::{
    Aws,
    error::{Class, Failure},
    lookups::Queries,
};

/// The lookups, and a finding on each.
pub(super) struct Found {
    pub observed: Observed,
    pub findings: Vec<Finding>,
}

/// Reads every lookup of the graph.
pub(super) async fn read(aws: &Aws, desired: &Graph) -> Result<Found, Failure> {
    let (answers, failures) = Box::pin(Queries::of(desired)?.each(aws)).await;
    let mut found = Found { observed: Observed::default(), findings: Vec::new() };
    for (address, answer) in answers {
        // `quotas.rs` compares this one.
        let is_shown = address.kind.as_str() != ElasticIpQuota::KIND;
        let finding = match answer {
            Ok(attributes) => {
                let detail = ["arn", "id", "name"].iter().find_map(|name| attributes.get(*name)?.as_text());
                let finding = Finding::ok(address.to_string(), detail.unwrap_or_default());
                found.observed.lookups.insert(address, attributes);
                finding
            }
            Err(failure) => absent(&address, failure),
        };
        found.findings.extend(Some(finding).filter(|_| is_shown));
    }
    for lookup in desired.lookups().values() {
        let address = &lookup.address;
        let subject = address.to_string();
        if address.kind.as_str() == ElasticIpQuota::KIND || found.findings.iter().any(|one| one.subject == subject) {
            continue;
        }
        let failure = failures.iter().find(|(kind, _)| *kind == address.kind.as_str());
        found.findings.push(match failure {
            Some((_, failure)) => failed(subject, failure.clone()),
            None => Finding::unknown(subject, "it is looked up in the VPC, which was not found", None),
        });
    }
    found.findings.sort_by(|one, other| one.subject.cmp(&other.subject));
    Ok(found)
}

fn absent(address: &Address, failure: Failure) -> Finding {
    let subject = address.to_string();
    // A failure of the lookup itself says what is not there.
    if failure.operation.is_empty() || failure.class == Class::NotFound {
        let help = failure.help.clone();
        return Finding::missing(subject, failure.message, help);
    }
    failed(subject, failure)
}
