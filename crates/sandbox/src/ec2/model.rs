//! The rows of EC2, one type per resource. A row has no values that can be computed from other rows.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, Ipv6Addr},
};

use ipnet::Ipv6Net;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::address::{Addresses, Cidr};

/// Values by key.
pub(super) type Tags = BTreeMap<String, String>;

/// Form parameters inside a structure, with their names relative to it.
pub(super) type Flat = Vec<(String, String)>;

/// A VPC.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Vpc {
    pub region: String,
    pub created: Timestamp,
    pub cidr: Cidr,
    /// Its range of IPv6 addresses, if it has one.
    #[serde(default)]
    pub ipv6: Option<String>,
    /// Its DHCP options, if they are not the region's default.
    #[serde(default)]
    pub dhcp_options: Option<String>,
    /// Its attributes that were changed, by AWS's name.
    #[serde(default)]
    pub attributes: BTreeMap<String, bool>,
    pub is_default: bool,
    pub tags: Tags,
}

/// DHCP options.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct DhcpOptions {
    pub region: String,
    pub created: Timestamp,
    /// Values by key.
    pub options: BTreeMap<String, Vec<String>>,
    pub tags: Tags,
}

/// A subnet.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Subnet {
    pub region: String,
    pub created: Timestamp,
    pub vpc: String,
    pub zone: String,
    pub cidr: Cidr,
    /// Its range of IPv6 addresses, if it has one.
    #[serde(default)]
    pub ipv6: Option<Ipv6Net>,
    /// Whether instances get a public address; `None` is the default, by which those of the default VPC do.
    #[serde(default)]
    pub gives_public_address: Option<bool>,
    pub is_default: bool,
    pub tags: Tags,
}

/// A route table with its associations and its routes, except for the local route.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct RouteTable {
    pub region: String,
    pub created: Timestamp,
    pub vpc: String,
    /// Set for the main route table of the VPC.
    pub main_association: Option<String>,
    /// Targets by destination, of IPv4 and IPv6.
    pub routes: BTreeMap<String, String>,
    /// Subnets by association id.
    pub associations: BTreeMap<String, String>,
    pub tags: Tags,
}

/// An internet gateway.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct InternetGateway {
    pub region: String,
    pub created: Timestamp,
    /// The VPC that it is attached to.
    pub vpc: Option<String>,
    pub tags: Tags,
}

/// A NAT gateway. Its private address is that of its interface.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct NatGateway {
    pub region: String,
    pub created: Timestamp,
    pub vpc: String,
    pub subnet: String,
    pub interface: String,
    pub is_public: bool,
    /// The primary address. The interface is deleted before the gateway.
    #[serde(default)]
    pub private: Option<Ipv4Addr>,
    /// Allocation id, association id and address of its Elastic IP.
    #[serde(default)]
    pub elastic_ip: Option<(String, String, Ipv4Addr)>,
    #[serde(default)]
    pub state: NatState,
    #[serde(default)]
    pub deleted: Option<Timestamp>,
    pub token: Option<String>,
    pub tags: Tags,
}

/// The state of a NAT gateway.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum NatState {
    Pending,
    #[default]
    Available,
    Deleting,
    Deleted,
}

impl NatState {
    /// AWS's name.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Available => "available",
            Self::Deleting => "deleting",
            Self::Deleted => "deleted",
        }
    }
}

/// A security group. Its rules are separate rows.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct SecurityGroup {
    pub region: String,
    pub created: Timestamp,
    pub vpc: String,
    pub name: String,
    pub description: String,
    pub tags: Tags,
}

/// One rule of a security group.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Rule {
    pub region: String,
    pub created: Timestamp,
    pub group: String,
    pub is_egress: bool,
    pub permission: Permission,
    pub description: Option<String>,
    pub tags: Tags,
}

/// First and last port, or ICMP type and code; `None` if the protocol has neither.
pub(super) type Ports = Option<(i32, i32)>;

/// The traffic that a rule allows. Two rules with the same group and direction never allow the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Permission {
    /// `tcp`, `udp`, `icmp`, `icmpv6`, `-1`, or a number.
    pub protocol: String,
    pub ports: Ports,
    pub peer: Peer,
}

/// The other side of a rule's traffic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Peer {
    Ipv4(String),
    Ipv6(String),
    PrefixList(String),
    Group(String),
}

/// A launch template. Its versions are separate rows.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct LaunchTemplate {
    pub region: String,
    pub created: Timestamp,
    pub name: String,
    pub default_version: u64,
    /// The highest version that exists.
    pub latest_version: u64,
    /// The highest version that ever existed, if it was deleted: no number is used twice.
    #[serde(default)]
    pub used_versions: u64,
    pub tags: Tags,
}

/// A version of a launch template.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct LaunchTemplateVersion {
    pub region: String,
    pub created: Timestamp,
    pub template: String,
    pub number: u64,
    pub description: Option<String>,
    pub data: Flat,
}

/// The state of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum InstanceState {
    Pending,
    Running,
    ShuttingDown,
    Terminated,
    Stopping,
    Stopped,
}

impl InstanceState {
    /// AWS's name.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::ShuttingDown => "shutting-down",
            Self::Terminated => "terminated",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
        }
    }

    /// AWS's number for it.
    pub(super) fn code(self) -> u16 {
        match self {
            Self::Pending => 0,
            Self::Running => 16,
            Self::ShuttingDown => 32,
            Self::Terminated => 48,
            Self::Stopping => 64,
            Self::Stopped => 80,
        }
    }
}

/// An instance. Its subnet, VPC and groups are those of its primary interface; it keeps them after that is deleted.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "they are AWS's own, and none depends on another")]
pub(super) struct Instance {
    pub region: String,
    pub created: Timestamp,
    pub reservation: String,
    pub launch_index: u32,
    pub token: Option<String>,
    pub state: InstanceState,
    pub since: Timestamp,
    /// Its instance type.
    pub kind: String,
    pub image: String,
    pub architecture: String,
    pub root_device: String,
    /// ARN and id of the instance profile.
    pub profile: Option<(String, String)>,
    pub vpc: String,
    pub subnet: String,
    pub zone: String,
    /// Ids, the primary one first.
    pub interfaces: Vec<String>,
    /// Ids by device name.
    pub volumes: BTreeMap<String, String>,
    /// SHA-256 of the user data, which many instances share.
    pub user_data: Option<String>,
    pub metadata: MetadataOptions,
    pub tenancy: String,
    pub spot: bool,
    pub monitoring: bool,
    pub ebs_optimized: bool,
    pub termination_protected: bool,
    /// Whether EC2 terminates it instead of running it.
    #[serde(default)]
    pub ends_after_launch: bool,
    /// What its boot wrote to the console; `None` before it boots.
    #[serde(default)]
    pub console: Option<String>,
    /// Launch parameters that have no field of their own.
    #[serde(default)]
    pub options: Flat,
    pub tags: Tags,
}

/// A request for a spot instance.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct SpotRequest {
    pub region: String,
    pub created: Timestamp,
    pub instance: String,
    pub tags: Tags,
}

/// The options of the instance metadata service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct MetadataOptions {
    pub tokens: String,
    pub hop_limit: u32,
    pub endpoint: String,
    pub ipv6: String,
    pub tags: String,
}

/// A network interface.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Interface {
    pub region: String,
    pub created: Timestamp,
    pub vpc: String,
    pub subnet: String,
    pub zone: String,
    pub description: String,
    /// `interface`, `efa`, `nat_gateway`.
    pub kind: String,
    /// The ARN of the ECS task that it belongs to.
    #[serde(default)]
    pub task: Option<String>,
    /// The public address that Amazon gave it for as long as it exists.
    #[serde(default)]
    pub public: Option<Ipv4Addr>,
    /// Whether the check of sources and destinations is off.
    #[serde(default)]
    pub is_unchecked: bool,
    pub groups: Vec<String>,
    pub primary: Ipv4Addr,
    pub secondary: Addresses,
    /// First addresses of the /28 prefixes.
    pub prefixes: Addresses,
    #[serde(default)]
    pub ipv6: Ipv6,
    pub attachment: Option<Attachment>,
    /// Timeouts in seconds: established TCP connections, UDP streams, other UDP.
    pub tracking: Option<[Option<u32>; 3]>,
    pub tags: Tags,
}

/// The IPv6 addresses and prefixes of an interface.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Ipv6 {
    pub addresses: Vec<Ipv6Addr>,
    pub prefixes: Vec<Ipv6Net>,
}

/// What an interface is attached to.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Attachment {
    pub id: String,
    pub instance: String,
    pub card: u32,
    pub device: u32,
    pub delete_on_termination: bool,
    pub queues: Option<u32>,
}

/// An Elastic IP address.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct ElasticIp {
    pub region: String,
    pub created: Timestamp,
    pub public: Ipv4Addr,
    pub association: Option<Association>,
    pub tags: Tags,
}

/// The private address that an Elastic IP is associated with.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Association {
    pub id: String,
    pub interface: String,
    pub private: Ipv4Addr,
}

impl Association {
    /// Whether it is associated with this address.
    pub fn is_at(&self, interface: &str, private: Ipv4Addr) -> bool {
        self.interface == interface && self.private == private
    }
}

/// A volume, attached to its instance.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Volume {
    pub region: String,
    pub created: Timestamp,
    pub zone: String,
    pub instance: Option<String>,
    pub device: String,
    pub delete_on_termination: bool,
    pub size_gib: u32,
    pub kind: String,
    pub iops: Option<u32>,
    pub throughput: Option<u32>,
    pub encrypted: bool,
    pub snapshot: Option<String>,
    pub tags: Tags,
}

/// A machine image.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Image {
    pub region: String,
    pub created: Timestamp,
    pub name: String,
    pub description: Option<String>,
    /// `x86_64` or `arm64`.
    pub architecture: String,
    /// `amazon` for Amazon's own images, otherwise `None`.
    pub owner_alias: Option<String>,
    pub owner: String,
    pub root_device: String,
    pub root_size_gib: u32,
    pub snapshot: String,
    pub tags: Tags,
}

/// The call that used a client token.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Token {
    /// SHA-256 of the parameters.
    pub fingerprint: String,
    /// The ids of the created resources.
    pub ids: Vec<String>,
}
