//! `elastic_ip`: a host's public address. It counts as created once it is allocated; its association follows, because AWS
//! takes it only once the host runs.

use serde::{Deserialize, Serialize};
use trunnion_engine::{Attribute, Computed, Replacement, Rules, Value};

use crate::Tags;

/// An Elastic IP address, associated with the primary private address of a host's primary interface. The host that
/// replaces another one gets the same address, so that targets can allow it by its number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ElasticIp {
    /// `id` of the host; nothing while it is not associated.
    pub instance: Value,
    /// The primary private address of the host.
    pub private_ip: Value,
    /// Its tags.
    pub tags: Tags,
}

impl ElasticIp {
    /// The kind's name.
    pub const KIND: &str = "elastic_ip";
    /// The kind's rules.
    pub const RULES: Rules = Rules {
        kind: Self::KIND,
        depends_on: &["instance"],
        blocks: &[],
        attributes: &[("instance", Attribute::PLAIN), ("private_ip", Attribute::PLAIN)],
        computed: &[("id", Computed::AtCreation), ("public_ip", Computed::AtCreation)],
        replacement: Replacement::DeleteFirst,
    };
}
