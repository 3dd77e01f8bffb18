//! VPCs and subnets.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
};

use ipnet::Ipv6Net;

use super::{
    address::{Cidr, PREFIX_SIZE},
    dhcp, document, done,
    model::{RouteTable, SecurityGroup, Subnet, Tags, Vpc},
    region,
    select::{self, Row, THOUSAND, find, find_mut, row_fields, shown, text},
    tag,
};
use crate::{
    call::{Call, Fault, Reply, arn_of},
    cloud::{Cloud, id_of},
    xml::Xml,
};

impl Row for Vpc {
    const PREFIX: &'static str = "vpc-";
    const KIND: &'static str = "vpc";
    const NOUN: &'static str = "vpc ID";
    const NOT_FOUND: &'static str = "InvalidVpcID.NotFound";
    const MALFORMED: &'static str = "InvalidVpcID.Malformed";
    const IDS: &'static str = "VpcId";
    const FILTERS: &'static [&'static str] =
        &["vpc-id", "cidr", "cidr-block", "cidrBlock", "is-default", "isDefault", "state", "owner-id"];

    row_fields!();
    fn values<'r>(&'r self, id: &'r str, cloud: &'r Cloud, filter: &str) -> Vec<Cow<'r, str>> {
        match filter {
            "vpc-id" => text(id),
            "is-default" | "isDefault" => shown(self.is_default),
            "state" => text("available"),
            "owner-id" => text(&cloud.account),
            _ => shown(self.cidr),
        }
    }
}

pub(super) fn describe_vpcs(cloud: &Cloud, call: &Call) -> Result<Reply, Fault> {
    let (page, next) = select::select(cloud, call, &cloud.ec2.vpcs, THOUSAND)?;
    Ok(document(call, |xml| {
        xml.list("vpcSet", "item", page, |xml, (id, vpc)| write_vpc(xml, cloud, id, vpc));
        xml.optional("nextToken", next);
    }))
}

fn write_vpc(xml: &mut Xml, cloud: &Cloud, id: &str, vpc: &Vpc) {
    xml.text("vpcId", id)
        .text("ownerId", &cloud.account)
        .text("state", "available")
        .plain("cidrBlock", vpc.cidr)
        .list("cidrBlockAssociationSet", "item", [vpc.cidr], |xml, cidr| {
            xml.plain("cidrBlock", cidr).text("associationId", id_of("vpc-cidr-assoc-", id)).element(
                "cidrBlockState",
                |xml| {
                    xml.text("state", "associated");
                },
            );
        })
        .list("ipv6CidrBlockAssociationSet", "item", &vpc.ipv6, |xml, block| {
            xml.text("ipv6CidrBlock", block)
                .text("associationId", id_of("vpc-cidr-assoc-", block))
                .text("networkBorderGroup", &vpc.region)
                .text("ipv6Pool", "Amazon")
                .element("ipv6CidrBlockState", |xml| {
                    xml.text("state", "associated");
                });
        })
        .text("dhcpOptionsId", dhcp::of_vpc(vpc))
        .text("instanceTenancy", "default")
        .plain("isDefault", vpc.is_default);
    tag::write(xml, &vpc.tags);
}

pub(super) fn create_vpc(cloud: &mut Cloud, call: &Call) -> Result<Reply, Fault> {
    let params = call.params();
    let text = params.require("CidrBlock")?;
    let cidr = block(text)?;
    if !(16..=28).contains(&cidr.prefix()) {
        return Err(Fault::new("InvalidVpc.Range", format!("The CIDR '{text}' is invalid.")));
    }
    let vpc = Vpc {
        region: call.region.clone(),
        created: call.now,
        cidr,
        ipv6: None,
        dhcp_options: None,
        attributes: BTreeMap::new(),
        is_default: false,
        tags: tag::of_created::<Vpc>(&params)?,
    };
    let with_ipv6 = params.bool("AmazonProvidedIpv6CidrBlock")? == Some(true);
    let id = cloud.new_id(Vpc::PREFIX);
    let vpc = Vpc { ipv6: with_ipv6.then(|| ipv6_block(&id)), ..vpc };
    let reply = document(call, |xml| {
        xml.element("vpc", |xml| write_vpc(xml, cloud, &id, &vpc));
    });
    cloud.ec2.vpcs.insert(id.clone(), vpc);
    let table = RouteTable {
        region: call.region.clone(),
        created: call.now,
        vpc: id.clone(),
        main_association: Some(cloud.new_id("rtbassoc-")),
        routes: BTreeMap::new(),
        associations: BTreeMap::new(),
        tags: Tags::new(),
    };
    let table_id = cloud.new_id(RouteTable::PREFIX);
    cloud.ec2.route_tables.insert(table_id, table);
    region::default_group(cloud, &call.region, &id, call.now);
    Ok(reply)
}

/// A block of the size that Amazon gives to VPCs, from the range for documentation.
fn ipv6_block(vpc: &str) -> String {
    let digits = vpc.get(vpc.len().saturating_sub(4)..).unwrap_or_default();
    let digits = digits.trim_start_matches('0');
    format!("2001:db8:{}:1a00::/56", if digits.is_empty() { "0" } else { digits })
}

pub(super) fn associate_block(cloud: &mut Cloud, call: &Call) -> Result<Reply, Fault> {
    let params = call.params();
    let id = params.require("VpcId")?;
    if params.bool("AmazonProvidedIpv6CidrBlock")? != Some(true) {
        return Err(Fault::new("UnsupportedOperation", "Only Amazon's own ranges of IPv6 are served here."));
    }
    let block = ipv6_block(id);
    find_mut(&mut cloud.ec2.vpcs, &call.region, id)?.ipv6 = Some(block.clone());
    Ok(document(call, |xml| {
        xml.text("vpcId", id).element("ipv6CidrBlockAssociation", |xml| {
            xml.text("ipv6CidrBlock", &block).element("ipv6CidrBlockState", |xml| {
                xml.text("state", "associating");
            });
        });
    }))
}

/// A VPC can be deleted once only its main route table and its default group are left; they are deleted with it.
pub(super) fn delete_vpc(cloud: &mut Cloud, call: &Call) -> Result<Reply, Fault> {
    let params = call.params();
    let id = params.require("VpcId")?;
    find(&cloud.ec2.vpcs, &call.region, id)?;
    let state = &mut cloud.ec2;
    let is_empty = !state.subnets.values().any(|subnet| subnet.vpc == id)
        && !state.internet_gateways.values().any(|gateway| gateway.vpc.as_deref() == Some(id))
        && !state.route_tables.values().any(|table| table.vpc == id && table.main_association.is_none())
        && !state.groups.values().any(|group| group.vpc == id && group.name != "default");
    if !is_empty {
        return Err(dependency("vpc", id));
    }
    let tables: Vec<String> =
        state.route_tables.iter().filter(|(_, table)| table.vpc == id).map(|(id, _)| id.to_owned()).collect();
    for table in tables {
        state.route_tables.remove(&table);
    }
    let group = id_of(SecurityGroup::PREFIX, id);
    let rules: Vec<String> =
        state.rules.iter().filter(|(_, rule)| rule.group == group).map(|(id, _)| id.to_owned()).collect();
    for rule in rules {
        state.rules.remove(&rule);
    }
    state.groups.remove(&group);
    state.vpcs.remove(id);
    Ok(done(call))
}

impl Row for Subnet {
    const PREFIX: &'static str = "subnet-";
    const KIND: &'static str = "subnet";
    const NOUN: &'static str = "subnet ID";
    const NOT_FOUND: &'static str = "InvalidSubnetID.NotFound";
    const MALFORMED: &'static str = "InvalidSubnetID.Malformed";
    const IDS: &'static str = "SubnetId";
    const FILTERS: &'static [&'static str] = &[
        "subnet-id",
        "vpc-id",
        "availability-zone",
        "availabilityZone",
        "availability-zone-id",
        "availabilityZoneId",
        "cidr",
        "cidr-block",
        "cidrBlock",
        "default-for-az",
        "defaultForAz",
        "map-public-ip-on-launch",
        "state",
        "owner-id",
    ];

    row_fields!();
    fn values<'r>(&'r self, id: &'r str, cloud: &'r Cloud, filter: &str) -> Vec<Cow<'r, str>> {
        match filter {
            "subnet-id" => text(id),
            "vpc-id" => text(&self.vpc),
            "availability-zone" | "availabilityZone" => text(&self.zone),
            "availability-zone-id" | "availabilityZoneId" => shown(region::zone_id(&self.zone)),
            "default-for-az" | "defaultForAz" | "map-public-ip-on-launch" => shown(self.is_default),
            "state" => text("available"),
            "owner-id" => text(&cloud.account),
            _ => shown(self.cidr),
        }
    }
}

/// How many addresses of each subnet are in use, without the five that AWS reserves.
fn used_addresses(cloud: &Cloud) -> HashMap<&str, usize> {
    let mut used: HashMap<&str, usize> = HashMap::new();
    for interface in cloud.ec2.interfaces.values() {
        *used.entry(&interface.subnet).or_default() +=
            1 + interface.secondary.0.len() + PREFIX_SIZE * interface.prefixes.0.len();
    }
    used
}

pub(super) fn describe_subnets(cloud: &Cloud, call: &Call) -> Result<Reply, Fault> {
    let (page, next) = select::select(cloud, call, &cloud.ec2.subnets, THOUSAND)?;
    let used = used_addresses(cloud);
    Ok(document(call, |xml| {
        xml.list("subnetSet", "item", page, |xml, (id, subnet)| {
            write_subnet(xml, cloud, id, subnet, used.get(id).copied().unwrap_or_default());
        });
        xml.optional("nextToken", next);
    }))
}

fn write_subnet(xml: &mut Xml, cloud: &Cloud, id: &str, subnet: &Subnet, used: usize) {
    xml.text("subnetId", id)
        .text("subnetArn", format!("{}:ec2:{}:{}:subnet/{id}", arn_of(&subnet.region), subnet.region, cloud.account))
        .text("state", "available")
        .text("ownerId", &cloud.account)
        .text("vpcId", &subnet.vpc)
        .plain("cidrBlock", subnet.cidr)
        .list("ipv6CidrBlockAssociationSet", "item", &subnet.ipv6, |xml, block| {
            xml.plain("ipv6CidrBlock", block).text("associationId", id_of("subnet-cidr-assoc-", id));
            xml.element("ipv6CidrBlockState", |xml| {
                xml.text("state", "associated");
            });
        })
        .plain("availableIpAddressCount", subnet.cidr.size().saturating_sub(5 + used))
        .text("availabilityZone", &subnet.zone)
        .text("availabilityZoneId", region::zone_id(&subnet.zone))
        .plain("defaultForAz", subnet.is_default)
        .plain("mapPublicIpOnLaunch", subnet.gives_public_address.unwrap_or(subnet.is_default))
        .plain("mapCustomerOwnedIpOnLaunch", false)
        .plain("assignIpv6AddressOnCreation", false)
        .plain("enableDns64", false)
        .plain("ipv6Native", false)
        .element("privateDnsNameOptionsOnLaunch", |xml| {
            xml.text("hostnameType", "ip-name")
                .plain("enableResourceNameDnsARecord", false)
                .plain("enableResourceNameDnsAAAARecord", false);
        });
    tag::write(xml, &subnet.tags);
}

/// Of the attributes that EC2 can change, this one is served: whether instances get a public address.
pub(super) fn modify_subnet_attribute(cloud: &mut Cloud, call: &Call) -> Result<Reply, Fault> {
    let params = call.params();
    let subnet = find_mut(&mut cloud.ec2.subnets, &call.region, params.require("SubnetId")?)?;
    let Some(value) = params.bool("MapPublicIpOnLaunch.Value")? else {
        return Err(Fault::new("InvalidParameterCombination", "No attributes specified."));
    };
    subnet.gives_public_address = Some(value);
    Ok(done(call))
}

pub(super) fn create_subnet(cloud: &mut Cloud, call: &Call) -> Result<Reply, Fault> {
    let params = call.params();
    let vpc_id = params.require("VpcId")?;
    let vpc = find(&cloud.ec2.vpcs, &call.region, vpc_id)?;
    let text = params.require("CidrBlock")?;
    let cidr = block(text)?;
    if !(16..=28).contains(&cidr.prefix()) || !vpc.cidr.contains(cidr) {
        return Err(Fault::new("InvalidSubnet.Range", format!("The CIDR '{text}' is invalid.")));
    }
    if cloud.ec2.subnets.values().any(|subnet| subnet.vpc == vpc_id && subnet.cidr.overlaps(cidr)) {
        let message = format!("The CIDR '{text}' conflicts with another subnet");
        return Err(Fault::new("InvalidSubnet.Conflict", message));
    }
    let zone = match (params.get("AvailabilityZone"), params.get("AvailabilityZoneId")) {
        (Some(zone), _) => region::zones(&call.region).find(|known| known == zone),
        (None, Some(id)) => region::zones(&call.region).find(|known| region::zone_id(known) == id),
        (None, None) => region::zones(&call.region).next(),
    };
    let Some(zone) = zone else {
        return Err(Fault::new("InvalidParameterValue", "Value for parameter availabilityZone is invalid."));
    };
    let ipv6 = params.get("Ipv6CidrBlock").map(|text| ipv6_range(cloud, vpc_id, text)).transpose()?;
    let subnet = Subnet {
        region: call.region.clone(),
        created: call.now,
        vpc: vpc_id.to_owned(),
        zone,
        cidr,
        ipv6,
        gives_public_address: None,
        is_default: false,
        tags: tag::of_created::<Subnet>(&params)?,
    };
    let id = cloud.new_id(Subnet::PREFIX);
    let reply = document(call, |xml| {
        xml.element("subnet", |xml| write_subnet(xml, cloud, &id, &subnet, 0));
    });
    cloud.ec2.subnets.insert(id, subnet);
    Ok(reply)
}

/// The IPv6 range of a new subnet: 44 to 64 bits in steps of 4, of its VPC, and of no other subnet (`CreateSubnet`, read
/// November 2026). Only ranges with 64 bits are served.
fn ipv6_range(cloud: &Cloud, vpc: &str, text: &str) -> Result<Ipv6Net, Fault> {
    let malformed = || {
        let message = format!("invalid value for parameter ipv6-cidr-block: {text}");
        Fault::new("InvalidParameterValue", message)
    };
    let range: Ipv6Net = text.parse().map_err(|_| malformed())?;
    if range.prefix_len() != 64 || range.trunc() != range {
        return Err(malformed());
    }
    let of_vpc = cloud.ec2.vpcs.get(vpc).and_then(|vpc| vpc.ipv6.as_ref()?.parse::<Ipv6Net>().ok());
    if !of_vpc.is_some_and(|of_vpc| of_vpc.contains(&range)) {
        return Err(Fault::new("InvalidSubnet.Range", format!("The CIDR '{text}' is invalid.")));
    }
    if cloud.ec2.subnets.values().any(|subnet| subnet.vpc == vpc && subnet.ipv6 == Some(range)) {
        return Err(Fault::new("InvalidSubnet.Conflict", format!("The CIDR '{text}' conflicts with another subnet")));
    }
    Ok(range)
}

pub(super) fn delete_subnet(cloud: &mut Cloud, call: &Call) -> Result<Reply, Fault> {
    let params = call.params();
    let id = params.require("SubnetId")?;
    find(&cloud.ec2.subnets, &call.region, id)?;
    let has_tasks = cloud.ecs.uses_network(id, call.now, cloud.clock());
    if has_tasks || cloud.ec2.interfaces.values().any(|interface| interface.subnet == id) {
        return Err(dependency("subnet", id));
    }
    let state = &mut cloud.ec2;
    state.subnets.remove(id);
    let associated: Vec<(String, String)> = state
        .route_tables
        .iter()
        .flat_map(|(table, row)| row.associations.iter().map(move |(key, subnet)| (table, key, subnet)))
        .filter(|(_, _, subnet)| *subnet == id)
        .map(|(table, key, _)| (table.to_owned(), key.clone()))
        .collect();
    for (table, association) in associated {
        if let Some(table) = state.route_tables.get_mut(&table) {
            table.associations.remove(&association);
        }
    }
    Ok(done(call))
}

/// The error of a delete while another resource needs this one.
pub(super) fn dependency(noun: &str, id: &str) -> Fault {
    let message = format!("The {noun} '{id}' has dependencies and cannot be deleted.");
    Fault::new("DependencyViolation", message)
}

fn block(text: &str) -> Result<Cidr, Fault> {
    text.parse().map_err(|()| {
        Fault::new(
            "InvalidParameterValue",
            format!("Value ({text}) for parameter cidrBlock is invalid. This is not a valid CIDR block."),
        )
    })
}
