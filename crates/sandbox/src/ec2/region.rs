//! The initial content of a region: zones, the default network, and Amazon's images.

use std::{borrow::Cow, collections::BTreeMap};

use jiff::Timestamp;

use super::{
    address::Cidr,
    dhcp, document,
    model::{Image, InternetGateway, Peer, Permission, RouteTable, Rule, SecurityGroup, Subnet, Tags, Vpc},
    select::{Filters, Row as _},
};
use crate::{
    call::{Call, Fault, Reply},
    cloud::{Cloud, id_of},
};

/// 2026-01-01T00:00:00Z, the creation time of the initial content.
const BEGINNING: i64 = 1_767_225_600;

/// The name of Amazon's images.
const IMAGE_NAME: &str = "al2023-ami-2023.9.20260101.0-kernel-6.12";

/// The id of the Amazon Linux 2023 image of an architecture, `x86_64` or `arm64`, in a region.
pub fn seeded_image(region: &str, architecture: &str) -> Option<String> {
    let is_known = matches!(architecture, "x86_64" | "arm64");
    is_known.then(|| id_of(Image::PREFIX, &format!("{region} {IMAGE_NAME} {architecture}")))
}

/// The names of a region's zones.
pub(super) fn zones(region: &str) -> impl Iterator<Item = String> {
    ['a', 'b', 'c'].into_iter().map(move |letter| format!("{region}{letter}"))
}

/// The zone id, which is the same in every account: `eu-west-3a` is `euw3-az1`.
pub(super) fn zone_id(zone: &str) -> String {
    let mut id = String::new();
    let (region, letter) = zone.split_at(zone.len().saturating_sub(1));
    for (index, part) in region.split('-').enumerate() {
        match part {
            _ if index == 0 => id.push_str(part),
            "northeast" => id.push_str("ne"),
            "northwest" => id.push_str("nw"),
            "southeast" => id.push_str("se"),
            "southwest" => id.push_str("sw"),
            _ => id.extend(part.chars().next()),
        }
    }
    let number = letter.bytes().next().map_or(0, |letter| letter.saturating_sub(b'a') + 1);
    format!("{id}-az{number}")
}

/// Creates the default network of a region, and Amazon's images. The ids depend only on the region.
pub fn seed(cloud: &mut Cloud, region: &str) {
    let created = Timestamp::from_second(BEGINNING).unwrap_or(Timestamp::UNIX_EPOCH);
    let owned = || region.to_owned();
    let Ok(cidr) = "172.31.0.0/16".parse::<Cidr>() else { return };
    let state = &mut cloud.ec2;

    let vpc = id_of(Vpc::PREFIX, region);
    let row = Vpc {
        region: owned(),
        created,
        cidr,
        ipv6: None,
        dhcp_options: None,
        attributes: BTreeMap::new(),
        is_default: true,
        tags: Tags::new(),
    };
    state.vpcs.insert(vpc.clone(), row);

    let gateway = id_of(InternetGateway::PREFIX, region);
    let row = InternetGateway { region: owned(), created, vpc: Some(vpc.clone()), tags: Tags::new() };
    state.internet_gateways.insert(gateway.clone(), row);

    let row = RouteTable {
        region: owned(),
        created,
        vpc: vpc.clone(),
        main_association: Some(id_of("rtbassoc-", region)),
        routes: BTreeMap::from([("0.0.0.0/0".to_owned(), gateway)]),
        associations: BTreeMap::new(),
        tags: Tags::new(),
    };
    state.route_tables.insert(id_of(RouteTable::PREFIX, region), row);

    for (index, zone) in zones(region).enumerate() {
        let Ok(cidr) = format!("172.31.{}.0/20", index * 16).parse() else { continue };
        let row = Subnet {
            region: owned(),
            created,
            vpc: vpc.clone(),
            zone: zone.clone(),
            cidr,
            ipv6: None,
            gives_public_address: None,
            is_default: true,
            tags: Tags::new(),
        };
        state.subnets.insert(id_of(Subnet::PREFIX, &zone), row);
    }

    default_group(cloud, region, &vpc, created);
    dhcp::seed(cloud, region, created);

    for architecture in ["x86_64", "arm64"] {
        let Some(id) = seeded_image(region, architecture) else { continue };
        let row = Image {
            region: owned(),
            created,
            name: format!("{IMAGE_NAME}-{architecture}"),
            description: Some(format!("Amazon Linux 2023 AMI 2023.9.20260101.0 {architecture} HVM kernel-6.12")),
            architecture: architecture.to_owned(),
            owner_alias: Some("amazon".to_owned()),
            owner: "137112412989".to_owned(),
            root_device: "/dev/xvda".to_owned(),
            root_size_gib: 8,
            snapshot: id_of("snap-", &id),
            tags: Tags::new(),
        };
        cloud.ec2.images.insert(id, row);
    }
}

/// Creates a VPC's group `default`: it allows all outgoing traffic, and incoming traffic from the group itself.
pub(super) fn default_group(cloud: &mut Cloud, region: &str, vpc: &str, created: Timestamp) {
    let id = id_of(SecurityGroup::PREFIX, vpc);
    let group = SecurityGroup {
        region: region.to_owned(),
        created,
        vpc: vpc.to_owned(),
        name: "default".to_owned(),
        description: "default VPC security group".to_owned(),
        tags: Tags::new(),
    };
    cloud.ec2.groups.insert(id.clone(), group);
    let rule = |is_egress, peer| Rule {
        region: region.to_owned(),
        created,
        group: id.clone(),
        is_egress,
        permission: Permission { protocol: "-1".to_owned(), ports: None, peer },
        description: None,
        tags: Tags::new(),
    };
    cloud.ec2.rules.insert(id_of(Rule::PREFIX, &format!("{id} in")), rule(false, Peer::Group(id.clone())));
    cloud.ec2.rules.insert(id_of(Rule::PREFIX, &format!("{id} out")), rule(true, Peer::Ipv4("0.0.0.0/0".to_owned())));
}

pub(super) fn describe_zones(call: &Call) -> Result<Reply, Fault> {
    let params = call.params();
    let known = ["zone-name", "zone-id", "state", "region-name", "opt-in-status", "zone-type", "group-name"];
    let filters = Filters::of(&params, &known)?;
    let (names, ids) = (params.list("ZoneName"), params.list("ZoneId"));
    if let Some(unknown) = names.iter().find(|name| !zones(&call.region).any(|zone| zone == **name)) {
        return Err(Fault::new("InvalidParameterValue", format!("Invalid availability zone: [{unknown}]")));
    }
    let none = Tags::new();
    let listed = zones(&call.region).filter(|zone| {
        (names.is_empty() || names.contains(&zone.as_str()))
            && (ids.is_empty() || ids.contains(&zone_id(zone).as_str()))
            && filters.accept(&none, |filter| {
                vec![match filter {
                    "zone-name" => Cow::Borrowed(zone.as_str()),
                    "zone-id" => Cow::Owned(zone_id(zone)),
                    "state" => "available".into(),
                    "opt-in-status" => "opt-in-not-required".into(),
                    "zone-type" => "availability-zone".into(),
                    "group-name" => format!("{}-zg-1", call.region).into(),
                    _ => Cow::Borrowed(call.region.as_str()),
                }]
            })
    });
    Ok(document(call, |xml| {
        xml.list("availabilityZoneInfo", "item", listed, |xml, zone| {
            xml.text("zoneName", &zone)
                .text("zoneState", "available")
                .text("regionName", &call.region)
                .text("zoneId", zone_id(&zone))
                .text("groupName", format!("{}-zg-1", call.region))
                .text("networkBorderGroup", &call.region)
                .text("optInStatus", "opt-in-not-required")
                .text("zoneType", "availability-zone")
                .element("messageSet", |_| {});
        });
    }))
}

#[cfg(test)]
mod tests {
    use super::zone_id;

    #[test]
    fn zone_ids_have_the_form_of_aws() {
        assert_eq!(zone_id("eu-west-3a"), "euw3-az1");
        assert_eq!(zone_id("ap-southeast-2c"), "apse2-az3");
    }
}
