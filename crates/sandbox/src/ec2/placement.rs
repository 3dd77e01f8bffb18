//! Assigns addresses to new interfaces.

use std::{collections::HashMap, net::Ipv4Addr};

use super::{
    address::{Addresses, Plan},
    launch_spec::InterfaceSpec,
};
use crate::{call::Fault, cloud::Cloud};

/// The addresses of a subnet that its interfaces use.
pub(super) fn plan(cloud: &Cloud, subnet: &str) -> Option<Plan> {
    let mut plan = Plan::new(cloud.ec2.subnets.get(subnet)?.cidr);
    for interface in cloud.ec2.interfaces.values().filter(|interface| interface.subnet == subnet) {
        plan.take(interface.primary);
        for address in &interface.secondary.0 {
            plan.take(*address);
        }
        for prefix in &interface.prefixes.0 {
            plan.take_prefix(*prefix);
        }
    }
    Some(plan)
}

/// The error if a subnet has too few free addresses.
pub(super) fn exhausted(subnet: &str) -> Fault {
    Fault::new(
        "InsufficientFreeAddressesInSubnet",
        format!("The specified subnet '{subnet}' does not have enough free addresses to satisfy the request."),
    )
}

/// The addresses of one new interface.
#[derive(Debug, Clone)]
pub(super) struct Placed {
    pub(super) primary: Ipv4Addr,
    pub(super) secondary: Addresses,
    pub(super) prefixes: Addresses,
}

/// Addresses for up to `most` instances with these interfaces; fewer than `least` are an error.
pub(super) fn place(
    cloud: &Cloud,
    interfaces: &[InterfaceSpec],
    least: u32,
    most: u32,
) -> Result<Vec<Vec<Placed>>, Fault> {
    let mut plans: HashMap<&str, Plan> = HashMap::new();
    for interface in interfaces {
        if !plans.contains_key(interface.subnet.as_str()) {
            let plan = plan(cloud, &interface.subnet).ok_or_else(|| exhausted(&interface.subnet))?;
            plans.insert(&interface.subnet, plan);
        }
    }
    let mut instances = Vec::new();
    for count in 0..most {
        // Explicitly requested addresses are taken first, so that no other interface gets one of them.
        let mut taken = Ok(());
        for interface in interfaces {
            let Some(plan) = plans.get_mut(interface.subnet.as_str()) else { continue };
            for address in interface.primary.iter().chain(&interface.secondary) {
                if !plan.take(*address) {
                    taken = Err(Fault::new("InvalidIPAddress.InUse", format!("Address {address} is in use.")));
                }
            }
        }
        taken?;
        let placed: Option<Vec<Placed>> = interfaces
            .iter()
            .map(|interface| place_one(plans.get_mut(interface.subnet.as_str())?, interface))
            .collect();
        match placed {
            Some(placed) => instances.push(placed),
            None if count >= least => break,
            None => return Err(exhausted(interfaces.first().map_or("", |interface| interface.subnet.as_str()))),
        }
    }
    Ok(instances)
}

fn place_one(plan: &mut Plan, interface: &InterfaceSpec) -> Option<Placed> {
    let primary = match interface.primary {
        Some(primary) => primary,
        None => plan.next()?,
    };
    if plan.free() < interface.secondary_count {
        return None;
    }
    let mut secondary = interface.secondary.clone();
    for _ in 0..interface.secondary_count {
        secondary.push(plan.next()?);
    }
    let mut prefixes = Vec::with_capacity(interface.prefix_count);
    for _ in 0..interface.prefix_count {
        prefixes.push(plan.next_prefix()?);
    }
    Some(Placed { primary, secondary: Addresses(secondary), prefixes: Addresses(prefixes) })
}
