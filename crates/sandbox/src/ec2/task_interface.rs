//! The network interfaces of ECS tasks. ECS makes them in the account of the task, and deletes them with it.

use std::net::Ipv4Addr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    address::Addresses,
    elastic_ip,
    interface::{mac, private_name},
    model::{Interface, Ipv6, Subnet, Tags},
    placement,
    select::Row as _,
};
use crate::cloud::{Cloud, id_of};

/// What ECS asks for.
#[derive(Debug)]
pub(crate) struct Wanted<'a> {
    /// The ARN of the task.
    pub task: &'a str,
    /// Subnets to choose from, the preferred one first.
    pub subnets: Vec<&'a str>,
    pub groups: Vec<&'a str>,
    pub description: String,
    /// Whether it gets a public address.
    pub is_public: bool,
    pub tags: Tags,
}

/// The interface that a task got.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Plugged {
    pub interface: String,
    pub subnet: String,
    pub zone: String,
    pub address: Ipv4Addr,
    pub mac: String,
    pub name: String,
}

/// Creates the interface of a task in the first subnet with a free address.
pub(crate) fn plug(cloud: &mut Cloud, wanted: Wanted<'_>, now: Timestamp) -> Option<Plugged> {
    let (subnet_id, primary) = wanted.subnets.iter().find_map(|subnet| {
        let primary = placement::plan(cloud, subnet)?.next()?;
        Some(((*subnet).to_owned(), primary))
    })?;
    let Subnet { region, vpc, zone, .. } = cloud.ec2.subnets.get(&subnet_id)?.clone();
    let id = id_of(Interface::PREFIX, wanted.task);
    let plugged = Plugged {
        interface: id.clone(),
        subnet: subnet_id.clone(),
        zone: zone.clone(),
        address: primary,
        mac: mac(&id).to_string(),
        name: private_name(&region, primary),
    };
    let row = Interface {
        region,
        created: now,
        vpc,
        subnet: subnet_id,
        zone,
        description: wanted.description,
        kind: "interface".to_owned(),
        task: Some(wanted.task.to_owned()),
        public: wanted.is_public.then(|| elastic_ip::next_public(cloud)),
        is_unchecked: false,
        groups: wanted.groups.into_iter().map(str::to_owned).collect(),
        primary,
        secondary: Addresses::default(),
        prefixes: Addresses::default(),
        ipv6: Ipv6::default(),
        attachment: None,
        tracking: None,
        tags: wanted.tags,
    };
    cloud.ec2.interfaces.insert(id, row);
    Some(plugged)
}

/// Deletes the interface of a task.
pub(crate) fn unplug(cloud: &mut Cloud, interface: &str) {
    cloud.ec2.interfaces.remove(interface);
}
