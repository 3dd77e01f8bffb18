//! Assigns addresses to new interfaces.

use std::{
    collections::{BTreeSet, HashMap},
    net::{Ipv4Addr, Ipv6Addr},
};

use ipnet::Ipv6Net;

use super::{
    address::{Addresses, Plan},
    launch_spec::InterfaceSpec,
    model::Ipv6,
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
    pub(super) ipv6: Ipv6,
}

/// The blocks of 80 bits of a subnet's IPv6 range that are in use. The first one holds the single addresses.
struct Blocks {
    range: Ipv6Net,
    used: BTreeSet<u128>,
    next_address: u128,
}

impl Blocks {
    /// Behind the addresses that AWS reserves.
    const FIRST_ADDRESS: u128 = 4;

    fn of(cloud: &Cloud, subnet: &str) -> Option<Self> {
        let range = cloud.ec2.subnets.get(subnet)?.ipv6?;
        let base = u128::from(range.network());
        let of_subnet = || cloud.ec2.interfaces.values().filter(|interface| interface.subnet == subnet);
        let used = of_subnet().flat_map(|interface| &interface.ipv6.prefixes);
        let used = used.map(|prefix| (u128::from(prefix.network()) - base) >> 48).collect();
        let last = of_subnet().flat_map(|interface| &interface.ipv6.addresses).max();
        let next_address = last.map_or(Self::FIRST_ADDRESS, |last| u128::from(*last) - base + 1);
        Some(Self { range, used, next_address })
    }

    fn next_address(&mut self) -> Ipv6Addr {
        self.next_address += 1;
        Ipv6Addr::from(u128::from(self.range.network()) + self.next_address - 1)
    }

    fn next_prefix(&mut self) -> Option<Ipv6Net> {
        let free = (1..1 << 16).find(|block| !self.used.contains(block))?;
        self.used.insert(free);
        Ipv6Net::new(Ipv6Addr::from(u128::from(self.range.network()) + (free << 48)), 80).ok()
    }

    fn place(&mut self, interface: &InterfaceSpec) -> Option<Ipv6> {
        let addresses = (0..interface.ipv6_address_count).map(|_| self.next_address()).collect();
        let prefixes = (0..interface.ipv6_prefix_count).map(|_| self.next_prefix()).collect::<Option<_>>()?;
        Some(Ipv6 { addresses, prefixes })
    }
}

/// Addresses for up to `most` instances with these interfaces; fewer than `least` are an error.
pub(super) fn place(
    cloud: &Cloud,
    interfaces: &[InterfaceSpec],
    least: u32,
    most: u32,
) -> Result<Vec<Vec<Placed>>, Fault> {
    let mut plans: HashMap<&str, Plan> = HashMap::new();
    let mut blocks: HashMap<&str, Blocks> = HashMap::new();
    for interface in interfaces {
        if !plans.contains_key(interface.subnet.as_str()) {
            let plan = plan(cloud, &interface.subnet).ok_or_else(|| exhausted(&interface.subnet))?;
            plans.insert(&interface.subnet, plan);
            blocks.extend(Blocks::of(cloud, &interface.subnet).map(|blocks| (interface.subnet.as_str(), blocks)));
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
            .map(|interface| {
                let placed = place_one(plans.get_mut(interface.subnet.as_str())?, interface)?;
                // A subnet without a range was refused if an interface asks for one of its addresses.
                let Some(blocks) = blocks.get_mut(interface.subnet.as_str()) else { return Some(placed) };
                Some(Placed { ipv6: blocks.place(interface)?, ..placed })
            })
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
    Some(Placed { primary, secondary: Addresses(secondary), prefixes: Addresses(prefixes), ipv6: Ipv6::default() })
}
