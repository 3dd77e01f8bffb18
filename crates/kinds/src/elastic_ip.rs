//! `elastic_ip`: a public address of a host. The engine counts it as created once it is allocated. The association
//! follows, because AWS accepts it only once the host runs.

use serde::{Deserialize, Serialize};
use trunnion_engine::{Attribute, Computed, Replacement, Rules, Value};

use crate::Tags;

/// An Elastic IP address, associated with one of a host's private addresses. A host that
/// replaces another one gets the same address, so that targets can allow the address in their firewalls.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ElasticIp {
    /// `id` of the host; null while the address is not associated.
    pub instance: Value,
    /// The private address of the host.
    pub private_ip: Value,
    /// All its tags, including those that Trunnion sets.
    pub tags: Tags,
}

impl ElasticIp {
    /// First part of the address of every resource of this kind.
    pub const KIND: &str = "elastic_ip";
    /// How the engine orders, compares and replaces resources of this kind.
    pub const RULES: Rules = Rules {
        kind: Self::KIND,
        depends_on: &["instance"],
        blocks: &[],
        attributes: &[("instance", Attribute::PLAIN), ("private_ip", Attribute::PLAIN)],
        computed: &[("id", Computed::AtCreation), ("public_ip", Computed::AtCreation)],
        replacement: Replacement::DeleteFirst,
    };
}
