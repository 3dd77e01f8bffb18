//! Route tables, their routes, and their associations with subnets.

use std::{borrow::Cow, collections::BTreeMap};

use ipnet::Ipv6Net;

use super::{
    address::Cidr,
    document, done,
    model::{InternetGateway, NatGateway, NatState, RouteTable},
    network::dependency,
    select::{self, Row, THOUSAND, find, find_mut, row_fields, shown, text},
    tag,
};
use crate::{
    call::{Call, Fault, Reply},
    cloud::Cloud,
    query::Params,
    xml::Xml,
};

impl Row for RouteTable {
    const PREFIX: &'static str = "rtb-";
    const KIND: &'static str = "route-table";
    const NOUN: &'static str = "routeTable ID";
    const NOT_FOUND: &'static str = "InvalidRouteTableID.NotFound";
    const MALFORMED: &'static str = "InvalidRouteTableId.Malformed";
    const IDS: &'static str = "RouteTableId";
    const FILTERS: &'static [&'static str] = &[
        "route-table-id",
        "vpc-id",
        "owner-id",
        "association.main",
        "association.subnet-id",
        "association.route-table-id",
        "association.route-table-association-id",
        "route.destination-cidr-block",
        "route.gateway-id",
        "route.nat-gateway-id",
        "route.state",
    ];

    row_fields!();
    fn values<'r>(&'r self, id: &'r str, cloud: &'r Cloud, filter: &str) -> Vec<Cow<'r, str>> {
        let targets = |prefix: &str| {
            let wanted = self.routes.values().filter(|target| target.starts_with(prefix));
            wanted.map(|target| Cow::Borrowed(target.as_str())).collect()
        };
        match filter {
            "vpc-id" => text(&self.vpc),
            "owner-id" => text(&cloud.account),
            "association.main" => {
                let main = self.main_association.iter().map(|_| "true");
                main.chain(self.associations.iter().map(|_| "false")).map(Cow::Borrowed).collect()
            }
            "association.subnet-id" => self.associations.values().map(Cow::from).collect(),
            "association.route-table-association-id" => {
                self.main_association.iter().chain(self.associations.keys()).map(Cow::from).collect()
            }
            "route.destination-cidr-block" => {
                let local = cloud.ec2.vpcs.get(&self.vpc).into_iter().flat_map(|vpc| shown(vpc.cidr));
                self.routes.keys().filter(|range| !is_ipv6(range)).map(Cow::from).chain(local).collect()
            }
            "route.gateway-id" => {
                let mut gateways: Vec<_> = targets(InternetGateway::PREFIX);
                gateways.push("local".into());
                gateways
            }
            "route.nat-gateway-id" => targets(NatGateway::PREFIX),
            "route.state" => {
                let states = self.routes.values().map(|target| state_of(cloud, target));
                states.chain(["active"]).map(Cow::Borrowed).collect()
            }
            _ => text(id),
        }
    }
}

pub(super) fn describe_tables(cloud: &Cloud, call: &Call) -> Result<Reply, Fault> {
    let (page, next) = select::select(cloud, call, &cloud.ec2.route_tables, THOUSAND)?;
    Ok(document(call, |xml| {
        xml.list("routeTableSet", "item", page, |xml, (id, table)| write_table(xml, cloud, id, table));
        xml.optional("nextToken", next);
    }))
}

fn write_table(xml: &mut Xml, cloud: &Cloud, id: &str, table: &RouteTable) {
    let association = |xml: &mut Xml, association: &str, subnet: Option<&String>| {
        xml.text("routeTableAssociationId", association)
            .text("routeTableId", id)
            .optional("subnetId", subnet)
            .plain("main", subnet.is_none())
            .element("associationState", |xml| {
                xml.text("state", "associated");
            });
    };
    xml.text("routeTableId", id)
        .text("vpcId", &table.vpc)
        .text("ownerId", &cloud.account)
        .element("routeSet", |xml| {
            if let Some(vpc) = cloud.ec2.vpcs.get(&table.vpc) {
                xml.element("item", |xml| {
                    xml.plain("destinationCidrBlock", vpc.cidr)
                        .text("gatewayId", "local")
                        .text("state", "active")
                        .text("origin", "CreateRouteTable");
                });
            }
            if let Some(range) = cloud.ec2.vpcs.get(&table.vpc).and_then(|vpc| vpc.ipv6.as_ref()) {
                xml.element("item", |xml| {
                    xml.text("destinationIpv6CidrBlock", range)
                        .text("gatewayId", "local")
                        .text("state", "active")
                        .text("origin", "CreateRouteTable");
                });
            }
            for (destination, target) in &table.routes {
                let element = if is_ipv6(destination) { "destinationIpv6CidrBlock" } else { "destinationCidrBlock" };
                xml.element("item", |xml| {
                    xml.text(element, destination).text(target_element(target), target);
                    xml.text("state", state_of(cloud, target)).text("origin", "CreateRoute");
                });
            }
        })
        .element("associationSet", |xml| {
            if let Some(main) = &table.main_association {
                xml.element("item", |xml| association(xml, main, None));
            }
            for (key, subnet) in &table.associations {
                xml.element("item", |xml| association(xml, key, Some(subnet)));
            }
        })
        .element("propagatingVgwSet", |_| {});
    tag::write(xml, &table.tags);
}

/// A route whose gateway is gone drops its traffic.
fn state_of(cloud: &Cloud, target: &str) -> &'static str {
    let is_there = if target.starts_with(NatGateway::PREFIX) {
        let gateway = cloud.ec2.nat_gateways.get(target);
        gateway.is_some_and(|gateway| matches!(gateway.state, NatState::Pending | NatState::Available))
    } else if target.starts_with(InternetGateway::PREFIX) {
        cloud.ec2.internet_gateways.get(target).is_some_and(|gateway| gateway.vpc.is_some())
    } else {
        true
    };
    if is_there { "active" } else { "blackhole" }
}

fn target_element(target: &str) -> &'static str {
    match target.split('-').next() {
        Some("nat") => "natGatewayId",
        Some("eigw") => "egressOnlyInternetGatewayId",
        Some("tgw") => "transitGatewayId",
        Some("eni") => "networkInterfaceId",
        Some("i") => "instanceId",
        Some("pcx") => "vpcPeeringConnectionId",
        _ => "gatewayId",
    }
}

pub(super) fn create_table(cloud: &mut Cloud, call: &Call) -> Result<Reply, Fault> {
    let params = call.params();
    let vpc = params.require("VpcId")?;
    find(&cloud.ec2.vpcs, &call.region, vpc)?;
    let table = RouteTable {
        region: call.region.clone(),
        created: call.now,
        vpc: vpc.to_owned(),
        main_association: None,
        routes: BTreeMap::new(),
        associations: BTreeMap::new(),
        tags: tag::of_created::<RouteTable>(&params)?,
    };
    let id = cloud.new_id(RouteTable::PREFIX);
    let reply = document(call, |xml| {
        xml.element("routeTable", |xml| write_table(xml, cloud, &id, &table));
    });
    cloud.ec2.route_tables.insert(id, table);
    Ok(reply)
}

pub(super) fn associate(cloud: &mut Cloud, call: &Call) -> Result<Reply, Fault> {
    let params = call.params();
    let (table, subnet) = (params.require("RouteTableId")?, params.require("SubnetId")?);
    let vpc = find(&cloud.ec2.subnets, &call.region, subnet)?.vpc.clone();
    if find(&cloud.ec2.route_tables, &call.region, table)?.vpc != vpc {
        let message = format!("Route table {table} and subnet {subnet} belong to different networks");
        return Err(Fault::new("InvalidParameterValue", message));
    }
    let taken = cloud.ec2.route_tables.values().any(|table| table.associations.values().any(|other| other == subnet));
    if taken {
        let message =
            format!("the specified association for route table {table} conflicts with an existing association");
        return Err(Fault::new("Resource.AlreadyAssociated", message));
    }
    let id = cloud.new_id("rtbassoc-");
    let table = find_mut(&mut cloud.ec2.route_tables, &call.region, table)?;
    table.associations.insert(id.clone(), subnet.to_owned());
    Ok(document(call, |xml| {
        xml.text("associationId", &id).element("associationState", |xml| {
            xml.text("state", "associated");
        });
    }))
}

pub(super) fn create(cloud: &mut Cloud, call: &Call) -> Result<Reply, Fault> {
    let (table, destination, target) = route(cloud, call)?;
    let table_row = find_mut(&mut cloud.ec2.route_tables, &call.region, &table)?;
    if table_row.routes.get(&destination).is_some_and(|other| *other != target) {
        let message = format!("The route identified by {destination} already exists.");
        return Err(Fault::new("RouteAlreadyExists", message));
    }
    table_row.routes.insert(destination, target);
    Ok(done(call))
}

pub(super) fn replace(cloud: &mut Cloud, call: &Call) -> Result<Reply, Fault> {
    let (table, destination, target) = route(cloud, call)?;
    let table_row = find_mut(&mut cloud.ec2.route_tables, &call.region, &table)?;
    let Some(route) = table_row.routes.get_mut(&destination) else {
        let message = format!("There is no route defined for '{destination}' in the route table.");
        return Err(Fault::new("InvalidParameterValue", message));
    };
    *route = target;
    Ok(done(call))
}

/// Route table, destination and target of a call for one route.
fn route(cloud: &Cloud, call: &Call) -> Result<(String, String, String), Fault> {
    let params = call.params();
    let destination = destination(&params)?;
    let names = [
        "GatewayId",
        "NatGatewayId",
        "TransitGatewayId",
        "NetworkInterfaceId",
        "VpcPeeringConnectionId",
        "EgressOnlyInternetGatewayId",
    ];
    let targets: Vec<&str> = names.iter().filter_map(|name| params.get(name)).collect();
    let [target] = targets[..] else {
        let message = "The request must contain exactly one target of the route";
        return Err(Fault::new("InvalidParameterCombination", message));
    };
    if target.starts_with("eigw-") && !is_ipv6(&destination) {
        let message = "An egress-only internet gateway takes routes of IPv6 only";
        return Err(Fault::new("InvalidParameterValue", message));
    }
    if target.starts_with(InternetGateway::PREFIX) {
        find(&cloud.ec2.internet_gateways, &call.region, target)?;
    } else if target.starts_with(NatGateway::PREFIX) {
        find(&cloud.ec2.nat_gateways, &call.region, target)?;
    }
    Ok((params.require("RouteTableId")?.to_owned(), destination, target.to_owned()))
}

fn is_ipv6(destination: &str) -> bool {
    destination.contains(':')
}

fn destination(params: &Params<'_>) -> Result<String, Fault> {
    if let Some(text) = params.get("DestinationIpv6CidrBlock") {
        let range = text.parse::<Ipv6Net>().map_err(|_| {
            let message = format!("Value ({text}) for parameter destinationIpv6CidrBlock is invalid.");
            Fault::new("InvalidParameterValue", message)
        })?;
        return Ok(range.trunc().to_string());
    }
    let text = params.require("DestinationCidrBlock")?;
    let block: Cidr = text.parse().map_err(|()| {
        let message = format!("Value ({text}) for parameter destinationCidrBlock is invalid.");
        Fault::new("InvalidParameterValue", message)
    })?;
    Ok(block.to_string())
}

pub(super) fn delete(cloud: &mut Cloud, call: &Call) -> Result<Reply, Fault> {
    let params = call.params();
    let destination = destination(&params)?;
    let table = params.require("RouteTableId")?;
    let table = find_mut(&mut cloud.ec2.route_tables, &call.region, table)?;
    if table.routes.remove(&destination).is_none() {
        let message = format!("no route with destination-cidr-block {destination} in route table");
        return Err(Fault::new("InvalidRoute.NotFound", message));
    }
    Ok(done(call))
}

/// A table with associations, and every main table, stays.
pub(super) fn delete_table(cloud: &mut Cloud, call: &Call) -> Result<Reply, Fault> {
    let params = call.params();
    let id = params.require("RouteTableId")?;
    let table = find(&cloud.ec2.route_tables, &call.region, id)?;
    if table.main_association.is_some() || !table.associations.is_empty() {
        return Err(dependency("routeTable", id));
    }
    cloud.ec2.route_tables.remove(id);
    Ok(done(call))
}

/// The subnet uses its VPC's main table from then on.
pub(super) fn disassociate(cloud: &mut Cloud, call: &Call) -> Result<Reply, Fault> {
    let params = call.params();
    let association = params.require("AssociationId")?;
    let (table, subnet) = associated(cloud, call, association)?;
    if subnet.is_none() {
        let message = format!("cannot disassociate the main route table association {association}");
        return Err(Fault::new("InvalidParameterValue", message));
    }
    find_mut(&mut cloud.ec2.route_tables, &call.region, &table)?.associations.remove(association);
    Ok(done(call))
}

/// A subnet uses another table, or the VPC has another main table (`ReplaceRouteTableAssociation`, read 26 November
/// 2026).
pub(super) fn replace_association(cloud: &mut Cloud, call: &Call) -> Result<Reply, Fault> {
    let params = call.params();
    let (association, table) = (params.require("AssociationId")?, params.require("RouteTableId")?);
    let vpc = find(&cloud.ec2.route_tables, &call.region, table)?.vpc.clone();
    let (before, subnet) = associated(cloud, call, association)?;
    let id = cloud.new_id("rtbassoc-");
    let before_row = find_mut(&mut cloud.ec2.route_tables, &call.region, &before)?;
    if before_row.vpc != vpc {
        let other = subnet.map_or_else(|| format!("route table {before}"), |subnet| format!("subnet {subnet}"));
        let message = format!("Route table {table} and {other} belong to different networks");
        return Err(Fault::new("InvalidParameterValue", message));
    }
    if let Some(subnet) = subnet {
        before_row.associations.remove(association);
        find_mut(&mut cloud.ec2.route_tables, &call.region, table)?.associations.insert(id.clone(), subnet);
    } else {
        before_row.main_association = None;
        find_mut(&mut cloud.ec2.route_tables, &call.region, table)?.main_association = Some(id.clone());
    }
    Ok(document(call, |xml| {
        xml.text("newAssociationId", &id).element("associationState", |xml| {
            xml.text("state", "associated");
        });
    }))
}

/// The table of an association, and its subnet. The association of a main table has no subnet.
fn associated(cloud: &Cloud, call: &Call, association: &str) -> Result<(String, Option<String>), Fault> {
    let mut here = cloud.ec2.route_tables.iter().filter(|(_, table)| table.region == call.region);
    let found = here.find_map(|(id, table)| {
        let subnet = table.associations.get(association);
        let is_here = subnet.is_some() || table.main_association.as_deref() == Some(association);
        is_here.then(|| (id.to_owned(), subnet.cloned()))
    });
    found.ok_or_else(|| {
        let message = format!("The association ID '{association}' does not exist");
        Fault::new("InvalidAssociationID.NotFound", message)
    })
}
