//! The subnets, with their default routes.

use std::collections::BTreeSet;

use aws_sdk_ec2::types::{
    Filter, NatGateway, NatGatewayAddress, NatGatewayAddressStatus, Route, RouteState, RouteTable, Subnet as Ec2Subnet,
    SubnetCidrBlockStateCode, SubnetIpv6CidrBlockAssociation,
};
use trunnion_engine::{Address, Map, Value};
use trunnion_kinds::lookup::Subnet;

use super::{Answers, Asked, Known, Lookup, attributes};
use crate::{
    Aws,
    error::{Failure, OfCall as _},
    kinds::tagging::filter,
};

/// They need the id of the VPC, which is known after the first round trip.
pub(crate) struct Subnets;

impl Lookup for Subnets {
    type Query = Subnet;
    const KIND: &'static str = Subnet::KIND;
    const HAS_SECOND: bool = true;

    /// A subnet whose VPC was not found is left out.
    async fn complete(&self, aws: &Aws, asked: &Asked<Subnet>, known: &Known) -> Result<Answers, Failure> {
        let vpc_of = |query: &Subnet| {
            let vpc = query.vpc.resolve(&|reference| known.get(&reference.address)?.get(&reference.attribute).cloned());
            vpc.as_text().map(str::to_owned)
        };
        let asked: Vec<_> =
            asked.iter().filter_map(|(address, query)| Some((address, query, vpc_of(query)?))).collect();
        if asked.is_empty() {
            return Ok(Answers::new());
        }
        let vpcs: BTreeSet<String> = asked.iter().map(|(_, _, vpc)| vpc.clone()).collect();
        let vpcs = filter("vpc-id", vpcs.into_iter().collect());
        let (subnets, tables) =
            futures::try_join!(Box::pin(all_subnets(aws, vpcs.clone())), Box::pin(all_tables(aws, vpcs)))?;
        let answer = |(address, query, vpc): (&Address, &Subnet, String)| {
            (address.clone(), subnet(&vpc, query, &subnets, &tables))
        };
        let mut answers: Answers = asked.into_iter().map(answer).collect();
        let gateways = answers.iter().flat_map(|(_, subnet)| subnet).filter_map(|subnet| text(subnet, NAT_GATEWAY));
        let gateways: BTreeSet<String> = gateways.map(str::to_owned).collect();
        if !gateways.is_empty() {
            let gateways = nat_gateways(aws, gateways).await?;
            for subnet in answers.iter_mut().flat_map(|(_, subnet)| subnet) {
                let gateway = gateways.iter().find(|one| one.nat_gateway_id.as_deref() == text(subnet, NAT_GATEWAY));
                subnet.extend(gateway.map(addresses).into_iter().flatten());
            }
        }
        Ok(answers)
    }
}

async fn all_subnets(aws: &Aws, vpcs: Filter) -> Result<Vec<Ec2Subnet>, Failure> {
    let mut pages = aws.clients.ec2.describe_subnets().filters(vpcs).into_paginator().page_size(1000).send();
    let mut subnets = Vec::new();
    while let Some(page) = pages.next().await {
        subnets.extend(page.of_call("ec2:DescribeSubnets")?.subnets.into_iter().flatten());
    }
    Ok(subnets)
}

async fn all_tables(aws: &Aws, vpcs: Filter) -> Result<Vec<RouteTable>, Failure> {
    let mut pages = aws.clients.ec2.describe_route_tables().filters(vpcs).into_paginator().page_size(100).send();
    let mut tables = Vec::new();
    while let Some(page) = pages.next().await {
        tables.extend(page.of_call("ec2:DescribeRouteTables")?.route_tables.into_iter().flatten());
    }
    Ok(tables)
}

async fn nat_gateways(aws: &Aws, ids: BTreeSet<String>) -> Result<Vec<NatGateway>, Failure> {
    let ids = filter("nat-gateway-id", ids.into_iter().collect());
    let mut pages = aws.clients.ec2.describe_nat_gateways().filter(ids).into_paginator().page_size(1000).send();
    let mut gateways = Vec::new();
    while let Some(page) = pages.next().await {
        gateways.extend(page.of_call("ec2:DescribeNatGateways")?.nat_gateways.into_iter().flatten());
    }
    Ok(gateways)
}

const NAT_GATEWAY: &str = "nat_gateway";

fn text<'a>(attributes: &'a Map, key: &str) -> Option<&'a str> {
    attributes.get(key).and_then(Value::as_text)
}

/// How many addresses a NAT gateway sends from, and how many of them AWS charges for.
fn addresses(gateway: &NatGateway) -> Map {
    let is_used = |address: &&NatGatewayAddress| {
        !matches!(
            address.status,
            Some(
                NatGatewayAddressStatus::Disassociating
                    | NatGatewayAddressStatus::Failed
                    | NatGatewayAddressStatus::Unassigning
            )
        )
    };
    let used = || gateway.nat_gateway_addresses().iter().filter(is_used);
    let number = |count: usize| Value::Number(i64::try_from(count).unwrap_or(i64::MAX));
    attributes([
        ("nat_gateway_addresses", number(used().count())),
        ("nat_gateway_public_addresses", number(used().filter(|address| address.public_ip.is_some()).count())),
    ])
}

fn subnet(vpc: &str, query: &Subnet, subnets: &[Ec2Subnet], tables: &[RouteTable]) -> Result<Map, Failure> {
    let mut fit: Vec<&Ec2Subnet> = subnets
        .iter()
        .filter(|subnet| subnet.vpc_id.as_deref() == Some(vpc))
        .filter(|subnet| query.id.is_none() || subnet.subnet_id == query.id)
        .filter(|subnet| query.zone.is_none() || subnet.availability_zone == query.zone)
        .collect();
    if fit.len() > 1 {
        let defaults = fit.iter().copied().filter(|subnet| subnet.default_for_az == Some(true));
        fit = Some(defaults.collect::<Vec<_>>()).filter(|defaults| !defaults.is_empty()).unwrap_or(fit);
    }
    let place = match (&query.id, &query.zone) {
        (Some(id), _) => format!("`{id}`"),
        (None, Some(zone)) => format!("a subnet in {zone}"),
        (None, None) => "a subnet".to_owned(),
    };
    match fit.as_slice() {
        [found] => {
            let mut attributes = attributes([
                ("id", found.subnet_id.clone().unwrap_or_default().into()),
                ("zone", found.availability_zone.clone().unwrap_or_default().into()),
                ("cidr", found.cidr_block.clone().unwrap_or_default().into()),
                ("free_addresses", Value::Number(found.available_ip_address_count.unwrap_or(0).into())),
                ("gives_public_address", Value::Bool(found.map_public_ip_on_launch == Some(true))),
                ("default_route", default_route(vpc, found.subnet_id.as_deref(), tables, ipv4).into()),
                ("default_route_ipv6", default_route(vpc, found.subnet_id.as_deref(), tables, ipv6).into()),
            ]);
            let gateway = default(vpc, found.subnet_id.as_deref(), tables, ipv4).and_then(Route::nat_gateway_id);
            attributes.extend(gateway.map(|gateway| (NAT_GATEWAY.to_owned(), gateway.into())));
            attributes.extend(ipv6_cidr(found).map(|cidr| ("ipv6_cidr".to_owned(), cidr.into())));
            Ok(attributes)
        }
        [] => Err(Failure::own(
            format!("`{vpc}` has no such subnet: {place}"),
            "use another `zone`, or set `subnet` to one of that VPC".to_owned(),
        )),
        several => {
            let mut ids: Vec<&str> = several.iter().filter_map(|subnet| subnet.subnet_id.as_deref()).collect();
            ids.sort_unstable();
            Err(Failure::own(
                format!("`{vpc}` has several of {place}: {}", ids.join(", ")),
                "set the pool's `subnet` to one of them; without `zones`, the control plane uses the pools' subnets"
                    .to_owned(),
            ))
        }
    }
}

/// The range of a subnet's IPv6 addresses.
fn ipv6_cidr(subnet: &Ec2Subnet) -> Option<&str> {
    let state = |block: &SubnetIpv6CidrBlockAssociation| block.ipv6_cidr_block_state.as_ref()?.state.clone();
    let mut blocks = subnet.ipv6_cidr_block_association_set().iter();
    blocks.find(|block| state(block) == Some(SubnetCidrBlockStateCode::Associated))?.ipv6_cidr_block.as_deref()
}

fn ipv4(route: &Route) -> bool {
    route.destination_cidr_block.as_deref() == Some("0.0.0.0/0")
}

fn ipv6(route: &Route) -> bool {
    route.destination_ipv6_cidr_block.as_deref() == Some("::/0")
}

/// The default route of a subnet.
fn default<'a>(
    vpc: &str,
    subnet: Option<&str>,
    tables: &'a [RouteTable],
    is_default: fn(&Route) -> bool,
) -> Option<&'a Route> {
    let of_vpc = || tables.iter().filter(|table| table.vpc_id.as_deref() == Some(vpc));
    let own = of_vpc().find(|table| {
        table.associations().iter().any(|association| subnet.is_some() && association.subnet_id.as_deref() == subnet)
    });
    let main = || of_vpc().find(|table| table.associations().iter().any(|association| association.main == Some(true)));
    let default = |route: &&Route| is_default(route) && route.state != Some(RouteState::Blackhole);
    own.or_else(main)?.routes().iter().find(default)
}

/// The target of a subnet's default route.
fn default_route(
    vpc: &str,
    subnet: Option<&str>,
    tables: &[RouteTable],
    is_default: fn(&Route) -> bool,
) -> &'static str {
    match default(vpc, subnet, tables, is_default) {
        None => "none",
        Some(route) if route.gateway_id.as_deref().is_some_and(|id| id.starts_with("igw-")) => "internet_gateway",
        Some(route) if route.egress_only_internet_gateway_id.is_some() => "egress_only_gateway",
        Some(route) if route.nat_gateway_id.is_some() => "nat",
        Some(route) if route.transit_gateway_id.is_some() => "transit_gateway",
        Some(_) => "other",
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_ec2::types::{RouteTableAssociation, builders::RouteBuilder};

    use super::*;

    fn table(association: RouteTableAssociation, route: Option<Route>) -> RouteTable {
        let table = RouteTable::builder().vpc_id("vpc-1").associations(association);
        table.set_routes(route.map(|route| vec![route])).build()
    }

    #[test]
    fn a_nat_gateway_has_the_addresses_that_it_sends_from() {
        let address = |status, public: Option<&str>| {
            NatGatewayAddress::builder().status(status).set_public_ip(public.map(str::to_owned)).build()
        };
        let gateway = |addresses| NatGateway::builder().set_nat_gateway_addresses(Some(addresses)).build();
        let counts = |gateway: &NatGateway| {
            let counts = addresses(gateway);
            ["nat_gateway_addresses", "nat_gateway_public_addresses"].map(|key| counts.get(key).unwrap().as_number())
        };
        let public = gateway(vec![
            address(NatGatewayAddressStatus::Succeeded, Some("192.0.2.1")),
            address(NatGatewayAddressStatus::Associating, Some("192.0.2.2")),
            address(NatGatewayAddressStatus::Disassociating, Some("192.0.2.3")),
            address(NatGatewayAddressStatus::Failed, Some("192.0.2.4")),
        ]);
        assert_eq!(counts(&public), [Some(2), Some(2)]);
        let private = gateway(vec![address(NatGatewayAddressStatus::Succeeded, None)]);
        assert_eq!(counts(&private), [Some(1), Some(0)]);
    }

    #[test]
    fn a_subnet_without_its_own_route_table_uses_the_main_one() {
        let route = || Route::builder().destination_cidr_block("0.0.0.0/0");
        let main =
            table(RouteTableAssociation::builder().main(true).build(), Some(route().gateway_id("igw-1").build()));
        let private = table(
            RouteTableAssociation::builder().subnet_id("subnet-1").build(),
            Some(route().nat_gateway_id("nat-1").build()),
        );
        let closed = table(RouteTableAssociation::builder().subnet_id("subnet-2").build(), None);
        let tables = [main, private, closed];
        assert_eq!(default_route("vpc-1", Some("subnet-1"), &tables, ipv4), "nat");
        assert_eq!(default_route("vpc-1", Some("subnet-2"), &tables, ipv4), "none");
        assert_eq!(default_route("vpc-1", Some("subnet-3"), &tables, ipv4), "internet_gateway");
        assert_eq!(default_route("vpc-2", Some("subnet-3"), &tables, ipv4), "none");
    }

    #[test]
    fn each_kind_of_target_has_its_name() {
        let name = |route: RouteBuilder| {
            let route = route.destination_cidr_block("0.0.0.0/0").destination_ipv6_cidr_block("::/0").build();
            let tables = [table(RouteTableAssociation::builder().main(true).build(), Some(route))];
            let names = [ipv4, ipv6].map(|family| default_route("vpc-1", Some("subnet-1"), &tables, family));
            assert_eq!(names[0], names[1]);
            names[0]
        };
        let route = Route::builder;
        assert_eq!(name(route().gateway_id("igw-1")), "internet_gateway");
        assert_eq!(name(route().egress_only_internet_gateway_id("eigw-1")), "egress_only_gateway");
        assert_eq!(name(route().nat_gateway_id("nat-1")), "nat");
        assert_eq!(name(route().transit_gateway_id("tgw-1")), "transit_gateway");
        assert_eq!(name(route().network_interface_id("eni-1")), "other");
        assert_eq!(name(route().gateway_id("vgw-1")), "other");
        assert_eq!(name(route().nat_gateway_id("nat-1").state(RouteState::Blackhole)), "none");
    }

    #[test]
    fn the_default_subnet_of_a_zone_is_preferred() {
        let of = |id: &str, default: bool| {
            let subnet = Ec2Subnet::builder().subnet_id(id).vpc_id("vpc-1").availability_zone("eu-west-3a");
            subnet.default_for_az(default).build()
        };
        let query = Subnet { vpc: "vpc-1".into(), zone: Some("eu-west-3a".into()), id: None };
        let found = subnet("vpc-1", &query, &[of("subnet-1", false), of("subnet-2", true)], &[]).unwrap();
        assert_eq!(found["id"].as_text(), Some("subnet-2"));
        let several = subnet("vpc-1", &query, &[of("subnet-2", false), of("subnet-1", false)], &[]).unwrap_err();
        assert!(several.message.ends_with("subnet-1, subnet-2"), "{}", several.message);
    }
}
