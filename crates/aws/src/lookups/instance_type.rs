//! The instance types that the region offers.

use std::collections::{BTreeSet, HashMap};

use aws_sdk_ec2::types::InstanceTypeHypervisor;
use trunnion_engine::Value;
use trunnion_kinds::lookup::InstanceType;

use super::{Answers, Asked, Lookup, attributes};
use crate::{
    Aws,
    error::{Failure, OfCall as _},
    kinds::tagging::filter,
};

pub(crate) struct InstanceTypes;

impl Lookup for InstanceTypes {
    type Query = InstanceType;
    const KIND: &'static str = InstanceType::KIND;

    async fn read(&self, aws: &Aws, asked: &Asked<InstanceType>) -> Result<Answers, Failure> {
        let names: BTreeSet<String> = asked.iter().map(|(_, query)| query.name.clone()).collect();
        let call =
            aws.clients.ec2.describe_instance_types().filters(filter("instance-type", names.into_iter().collect()));
        let mut pages = call.into_paginator().send();
        let mut found = HashMap::new();
        while let Some(page) = pages.next().await {
            for info in page.of_call("ec2:DescribeInstanceTypes")?.instance_types.into_iter().flatten() {
                let Some(network) = info.network_info else { continue };
                let name = info.instance_type.map(|name| name.as_str().to_owned()).unwrap_or_default();
                // The sum over the cards; in older answers, the total is the number of a single card.
                let cards = network.network_cards.iter().flatten();
                let on_cards: i32 = cards.filter_map(|card| card.maximum_network_interfaces).sum();
                let interfaces = on_cards.max(network.maximum_network_interfaces.unwrap_or(0));
                // Prefixes count as addresses, and only Nitro has them (EC2 User Guide, "Prefix delegation for Amazon EC2
                // network interfaces", read November 2026). Bare metal has no hypervisor, and is Nitro.
                let ipv6_prefixes = network.ipv6_supported == Some(true)
                    && network.ipv6_addresses_per_interface.is_some_and(|most| most > 0)
                    && info.hypervisor != Some(InstanceTypeHypervisor::Xen);
                found.insert(name, (interfaces, network.ipv4_addresses_per_interface.unwrap_or(0), ipv6_prefixes));
            }
        }
        let answer = |query: &InstanceType| match found.get(&query.name) {
            Some(&(interfaces, addresses, ipv6_prefixes)) => Ok(attributes([
                ("name", query.name.as_str().into()),
                ("interfaces", Value::Number(interfaces.into())),
                ("addresses", Value::Number(addresses.into())),
                ("ipv6_prefixes", Value::Bool(ipv6_prefixes)),
            ])),
            None => Err(Failure::own(
                format!("the instance type `{}` is not offered in {}", query.name, aws.connection.region),
                "use another `instance_type` or another region".to_owned(),
            )),
        };
        Ok(asked.iter().map(|(address, query)| (address.clone(), answer(query))).collect())
    }
}
