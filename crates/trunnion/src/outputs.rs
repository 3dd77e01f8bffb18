//! The hosts and the control plane of an applied stack.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use trunnion_engine::{Address, Map, State, Value, from_map};
use trunnion_kinds::{EcsService, ElasticIp, Instance, InstanceInterface};
use trunnion_stack::Stack;

/// The hosts and the control plane of a stack, as recorded in the state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Outputs {
    /// The stack's name.
    pub stack: String,
    /// Its region.
    pub region: String,
    /// Every host, by pool and number.
    pub hosts: Vec<Host>,
    /// ARN of the service that runs the control plane.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub control_plane: Option<String>,
}

/// A generator host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Host {
    /// Its address in the stack.
    pub address: String,
    /// `i-…`
    pub id: String,
    /// Its primary private address: the one the control plane knows.
    pub private_ip: String,
    /// Its Elastic IP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub public_ip: Option<String>,
    /// How many private IPv4 addresses all of its interfaces have together.
    pub addresses: u32,
    /// Its network interfaces.
    pub interfaces: Vec<InstanceInterface>,
    /// The Gatling location it belongs to.
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

fn interfaces(attributes: &Map) -> Vec<InstanceInterface> {
    let list = attributes.get("network_interfaces").and_then(Value::as_list).unwrap_or_default();
    list.iter().filter_map(Value::as_map).filter_map(|map| from_map(map).ok()).collect()
}
