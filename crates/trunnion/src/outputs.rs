//! The hosts and the control plane of an applied stack.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use trunnion_engine::{Address, Map, State, Value, from_map};
use trunnion_kinds::{EcsService, ElasticIp, Instance, InstanceInterface};
use trunnion_stack::Stack;

/// The hosts and the control plane, as the state recorded them: the `outputs` of `trunnion show --json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Outputs {
    /// The stack's name.
    pub stack: String,
    /// The AWS region, such as `eu-west-3`.
    pub region: String,
    /// Every host, in the order of pools and numbers.
    pub hosts: Vec<Host>,
    /// ARN of the ECS service that runs the control plane; nothing before it was created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub control_plane: Option<String>,
}

/// A generator host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Host {
    /// Its address in the stack, such as `instance.heavy[2]`.
    pub address: String,
    /// The id of the EC2 instance, `i-…`.
    pub id: String,
    /// The primary private IPv4 address: the control plane knows the host by it.
    pub private_ip: String,
    /// The Elastic IP, once this host has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub public_ip: Option<String>,
    /// All of its Elastic IPs, the first one included.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub public_ips: Vec<String>,
    /// How many private IPv4 addresses all of its interfaces have together.
    pub addresses: u32,
    /// Its network interfaces.
    pub interfaces: Vec<InstanceInterface>,
    /// The id of the Gatling location that the pool belongs to, such as `prl_heavy`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
}

impl Outputs {
    /// Reads the outputs from the state.
    pub fn new(stack: &Stack, state: &State) -> Self {
        let of_kind =
            |kind: &'static str| state.resources.iter().filter(move |(address, _)| address.kind.as_str() == kind);
        let hosts = of_kind(Instance::KIND)
            .map(|(address, recorded)| {
                let text = |name: &str| recorded.attributes.get(name).and_then(Value::as_text).unwrap_or_default();
                let interfaces = interfaces(&recorded.attributes);
                Host {
                    address: address.to_string(),
                    id: recorded.id.clone(),
                    private_ip: text("private_ip").to_owned(),
                    public_ip: public_ip(address, &recorded.id, state),
                    public_ips: public_ips(&recorded.id, state),
                    addresses: interfaces.iter().map(|interface| interface.addresses).sum(),
                    interfaces,
                    location: stack
                        .locations
                        .iter()
                        .find(|(_, location)| location.pool == address.name)
                        .map(|(id, _)| id.clone()),
                }
            })
            .collect();
        Self {
            stack: stack.name.clone(),
            region: stack.region.clone(),
            hosts,
            control_plane: of_kind(EcsService::KIND).next().map(|(_, recorded)| recorded.id.clone()),
        }
    }
}

/// The Elastic IP with the host's number, if it is associated with this host.
fn public_ip(host: &Address, id: &str, state: &State) -> Option<String> {
    let address = Address { kind: ElasticIp::KIND.into(), ..host.clone() };
    let attributes = &state.resources.get(&address)?.attributes;
    let is_associated = attributes.get("instance")?.as_text() == Some(id);
    attributes.get("public_ip").filter(|_| is_associated)?.as_text().map(str::to_owned)
}

/// The Elastic IPs that are associated with a host.
fn public_ips(id: &str, state: &State) -> Vec<String> {
    let all = state.resources.iter().filter(|(address, _)| address.kind.as_str() == ElasticIp::KIND);
    let its = all.filter(|(_, recorded)| recorded.attributes.get("instance").and_then(Value::as_text) == Some(id));
    its.filter_map(|(_, recorded)| Some(recorded.attributes.get("public_ip")?.as_text()?.to_owned())).collect()
}

fn interfaces(attributes: &Map) -> Vec<InstanceInterface> {
    let list = attributes.get("network_interfaces").and_then(Value::as_list).unwrap_or_default();
    list.iter().filter_map(Value::as_map).filter_map(|map| from_map(map).ok()).collect()
}
