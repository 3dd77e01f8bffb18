//! Route tables, internet gateways and NAT gateways.

use std::{borrow::Cow, collections::BTreeMap};

use super::{
    address::Addresses,
    document, done,
    model::{Interface, InternetGateway, NatGateway, RouteTable, Subnet, Tags},
    placement,
    select::{self, Row, THOUSAND, find, find_mut, row_fields, shown, text},
    tag,
};
use crate::{
    call::{Call, Fault, Reply},
    cloud::Cloud,
    durations::Delay,
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
                self.routes.keys().map(Cow::from).chain(local).collect()
            }
            "route.gateway-id" => {
                let mut gateways: Vec<_> = targets(InternetGateway::PREFIX);
                gateways.push("local".into());
                gateways
            }
            "route.nat-gateway-id" => targets(NatGateway::PREFIX),
            "route.state" => text("active"),
            _ => text(id),
        }
    }
}

impl Row for InternetGateway {
    const PREFIX: &'static str = "igw-";
    const KIND: &'static str = "internet-gateway";
    const NOUN: &'static str = "internetGateway ID";
    const NOT_FOUND: &'static str = "InvalidInternetGatewayID.NotFound";
    const MALFORMED: &'static str = "InvalidInternetGatewayId.Malformed";
    const IDS: &'static str = "InternetGatewayId";
    const FILTERS: &'static [&'static str] = &[];

    row_fields!();
    fn values<'r>(&'r self, id: &'r str, _: &'r Cloud, _: &str) -> Vec<Cow<'r, str>> {
        text(id)
    }
}

impl Row for NatGateway {
    const PREFIX: &'static str = "nat-";
    const KIND: &'static str = "natgateway";
    const NOUN: &'static str = "Nat Gateway";
    const NOT_FOUND: &'static str = "NatGatewayNotFound";
    const MALFORMED: &'static str = "NatGatewayMalformed";
    const IDS: &'static str = "NatGatewayId";
    const FILTERS: &'static [&'static str] = &[];

    row_fields!();
    fn values<'r>(&'r self, id: &'r str, _: &'r Cloud, _: &str) -> Vec<Cow<'r, str>> {
        text(id)
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
            for (destination, target) in &table.routes {
                xml.element("item", |xml| {
                    xml.text("destinationCidrBlock", destination).text(target_element(target), target);
                    xml.text("state", "active").text("origin", "CreateRoute");
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

fn target_element(target: &str) -> &'static str {
    match target.split('-').next() {
        Some("nat") => "natGatewayId",
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
    let destination = params.require("DestinationCidrBlock")?;
    let cidr: super::address::Cidr = destination.parse().map_err(|()| {
        let message = format!("Value ({destination}) for parameter destinationCidrBlock is invalid.");
        Fault::new("InvalidParameterValue", message)
    })?;
    let names = ["GatewayId", "NatGatewayId", "TransitGatewayId", "NetworkInterfaceId", "VpcPeeringConnectionId"];
    let targets: Vec<&str> = names.iter().filter_map(|name| params.get(name)).collect();
    let [target] = targets[..] else {
        let message = "The request must contain exactly one target of the route";
        return Err(Fault::new("InvalidParameterCombination", message));
    };
    if target.starts_with(InternetGateway::PREFIX) {
        find(&cloud.ec2.internet_gateways, &call.region, target)?;
    } else if target.starts_with(NatGateway::PREFIX) {
        find(&cloud.ec2.nat_gateways, &call.region, target)?;
    }
    Ok((params.require("RouteTableId")?.to_owned(), cidr.to_string(), target.to_owned()))
}

pub(super) fn create_nat_gateway(cloud: &mut Cloud, call: &Call) -> Result<Reply, Fault> {
    let params = call.params();
    let token = params.get("ClientToken").map(str::to_owned);
    if token.is_some()
        && let Some((id, gateway)) =
            cloud.ec2.nat_gateways.iter().find(|(_, row)| row.token == token && row.region == call.region)
    {
        return Ok(nat_gateway(cloud, call, id, gateway));
    }
    let subnet_id = params.require("SubnetId")?;
    let Subnet { vpc, zone, .. } = find(&cloud.ec2.subnets, &call.region, subnet_id)?.clone();
    let is_public = params.get("ConnectivityType") != Some("private");
    if is_public && params.get("AllocationId").is_none() {
        return Err(Fault::new("MissingParameter", "The request must contain the parameter AllocationId"));
    }
    let tags = tag::of_created::<NatGateway>(&params)?;
    let Some(primary) = placement::plan(cloud, subnet_id).and_then(|mut plan| plan.next()) else {
        return Err(placement::exhausted(subnet_id));
    };
    let id = cloud.new_id(NatGateway::PREFIX);
    let interface = cloud.new_id(Interface::PREFIX);
    let row = Interface {
        region: call.region.clone(),
        created: call.now,
        vpc: vpc.clone(),
        subnet: subnet_id.to_owned(),
        zone,
        description: format!("Interface for NAT Gateway {id}"),
        kind: "nat_gateway".to_owned(),
        groups: Vec::new(),
        primary,
        secondary: Addresses::default(),
        prefixes: Addresses::default(),
        attachment: None,
        tracking: None,
        tags: Tags::new(),
    };
    cloud.ec2.interfaces.insert(interface.clone(), row);
    let gateway = NatGateway {
        region: call.region.clone(),
        created: call.now,
        vpc,
        subnet: subnet_id.to_owned(),
        interface,
        is_public,
        token,
        tags,
    };
    let reply = nat_gateway(cloud, call, &id, &gateway);
    cloud.ec2.nat_gateways.insert(id, gateway);
    Ok(reply)
}

fn nat_gateway(cloud: &Cloud, call: &Call, id: &str, gateway: &NatGateway) -> Reply {
    let is_made = cloud.settled(Delay::NatGateway, gateway.created, call.now);
    let address = cloud.ec2.interfaces.get(&gateway.interface).map(|interface| interface.primary);
    document(call, |xml| {
        xml.optional("clientToken", gateway.token.as_ref()).element("natGateway", |xml| {
            xml.text("natGatewayId", id)
                .text("state", if is_made { "available" } else { "pending" })
                .text("subnetId", &gateway.subnet)
                .text("vpcId", &gateway.vpc)
                .moment("createTime", gateway.created)
                .text("connectivityType", if gateway.is_public { "public" } else { "private" })
                .list("natGatewayAddressSet", "item", address, |xml, address| {
                    xml.text("networkInterfaceId", &gateway.interface)
                        .plain("privateIp", address)
                        .plain("isPrimary", true)
                        .text("status", "succeeded");
                });
            tag::write(xml, &gateway.tags);
        });
    })
}
