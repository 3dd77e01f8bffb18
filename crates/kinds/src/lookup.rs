//! What a stack reads and never changes.
//!
//! Each struct is a query. Its documentation names the attributes it finds; resources refer to those.

use serde::{Deserialize, Serialize};

use crate::Value;

/// The network. Finds `id` (`vpc-…`), `cidr` and `ranges` (all its IPv4 and IPv6 ranges); also `ipv6` if the VPC has a range of IPv6 addresses, and
/// `dns_servers` (addresses) if its DHCP options name servers other than Amazon's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Vpc {
    /// The region's default VPC.
    Default,
    /// By id.
    Id(String),
    /// The only VPC with this tag.
    Tag {
        /// The tag's key.
        key: String,
        /// The tag's value.
        value: String,
    },
}

impl Vpc {
    /// First part of the lookup's address.
    pub const KIND: &str = "vpc";
}

/// A subnet. Finds `id` (`subnet-…`), `zone`, `cidr`, `ipv6_cidr` if it has one, `free_addresses` (the number of unused IPv4 addresses),
/// `gives_public_address` (whether a host with one interface gets a public address) and where its traffic to the internet
/// goes: `default_route` for `0.0.0.0/0` and `default_route_ipv6` for `::/0` (`internet_gateway`, `egress_only_gateway`,
/// `nat`, `transit_gateway`, `other` or `none`). Where `default_route` is `nat`: `nat_gateway` (`nat-…`), `nat_gateway_addresses` (from how
/// many addresses it sends) and `nat_gateway_public_addresses` (how many of these are public).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subnet {
    /// `id` of the VPC that the subnet must belong to.
    pub vpc: Value,
    /// The availability zone. Finds the VPC's default subnet in it, or else its only subnet in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// The subnet's id, if no zone is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
}

impl Subnet {
    /// First part of the lookup's address.
    pub const KIND: &str = "subnet";
}

/// A machine image. Finds `id` (`ami-…`), `name`, `architecture`, `root_device` (`/dev/xvda`) and, if AWS returns it,
/// `root_size_gib`: the smallest possible size of a root volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// The SSM parameter whose value is the image's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameter: Option<String>,
    /// The image's id, if no parameter is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// `x86_64` or `arm64`: an image of another architecture is refused.
    pub architecture: String,
}

impl Image {
    /// First part of the lookup's address.
    pub const KIND: &str = "image";
}

/// An instance type that the region offers. Finds `name`, `interfaces` (all network cards together), `addresses`
/// (IPv4 per interface) and `ipv6_prefixes` (whether an interface can have one).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceType {
    /// Such as `c6in.32xlarge`.
    pub name: String,
}

impl InstanceType {
    /// First part of the lookup's address.
    pub const KIND: &str = "instance_type";
}

/// A secret that must exist; its value is never read. Finds `arn`, the complete one, and `kms_key` if a customer
/// managed key encrypts the secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secret {
    /// Its ARN, with or without the six characters that Secrets Manager appends.
    pub arn: String,
}

impl Secret {
    /// First part of the lookup's address.
    pub const KIND: &str = "secret";
}

/// How many Elastic IP addresses the region allows. Finds `most`, the account's quota, and `used`: how many are
/// allocated, by this stack or otherwise. If the identity may not read the quota, `most` is AWS's default, and `is_default`
/// is true.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ElasticIpQuota {}

impl ElasticIpQuota {
    /// First part of the lookup's address.
    pub const KIND: &str = "elastic_ip_quota";
    /// AWS's default quota.
    #[expect(clippy::cast_possible_wrap, reason = "it is a small number")]
    pub const DEFAULT: i64 = trunnion_catalog::limits::ELASTIC_IPS as i64;
    /// The attribute that says that `most` was not read.
    pub const IS_DEFAULT: &str = "is_default";
}
