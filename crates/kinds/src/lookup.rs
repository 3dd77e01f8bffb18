//! What a stack looks at and never changes: how each lookup asks, and what it finds.
//!
//! Each struct is a query; the attributes found, to which resources refer, are named in its documentation.

use serde::{Deserialize, Serialize};

use crate::Value;

/// The network. Finds `id` (`vpc-…`) and `cidr`; `ipv6` where it has a range of IPv6 addresses, and `dns_servers`, their
/// addresses, where its DHCP options name others than Amazon's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Vpc {
    /// The region's default VPC.
    Default,
    /// By id.
    Id(String),
    /// The only one that carries this tag.
    Tag {
        /// The tag's key.
        key: String,
        /// The tag's value.
        value: String,
    },
}

impl Vpc {
    /// The lookup's kind.
    pub const KIND: &str = "vpc";
}

/// A subnet. Finds `id` (`subnet-…`), `zone`, `cidr`, `free_addresses` (IPv4 addresses nobody uses) and `default_route`:
/// where its traffic to `0.0.0.0/0` goes (`internet_gateway`, `nat`, `other` or `none`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subnet {
    /// `id` of the VPC it must lie in.
    pub vpc: Value,
    /// The availability zone: the VPC's default subnet in it, or its only one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// The subnet's id, where no zone is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
}

impl Subnet {
    /// The lookup's kind.
    pub const KIND: &str = "subnet";
}

/// A machine image. Finds `id` (`ami-…`), `name`, `architecture`, `root_device` (`/dev/xvda`) and, where AWS says it,
/// `root_size_gib`, which a root volume has at least.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// The SSM parameter that holds its id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameter: Option<String>,
    /// Its id, where no parameter is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// `x86_64` or `arm64`: another architecture is refused.
    pub architecture: String,
}

impl Image {
    /// The lookup's kind.
    pub const KIND: &str = "image";
}

/// An instance type of the region. Finds `name`, `interfaces` (all network cards together) and
/// `addresses` (IPv4 per interface).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceType {
    /// Its name.
    pub name: String,
}

impl InstanceType {
    /// The lookup's kind.
    pub const KIND: &str = "instance_type";
}

/// A secret that must exist; its value is never read. Finds `arn`, the whole one, and `kms_key` where a key of the account's
/// own encrypts it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secret {
    /// Its ARN, with or without the six characters that Secrets Manager appends.
    pub arn: String,
}

impl Secret {
    /// The lookup's kind.
    pub const KIND: &str = "secret";
}

/// How many Elastic IP addresses the region may have. Finds `most`, the account's quota, and `used`: those that are there,
/// of this stack or not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ElasticIpQuota {}

impl ElasticIpQuota {
    /// The lookup's kind.
    pub const KIND: &str = "elastic_ip_quota";
    /// What AWS allows by default.
    pub const DEFAULT: i64 = 5;
}
