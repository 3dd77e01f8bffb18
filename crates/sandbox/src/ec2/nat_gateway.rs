//! NAT gateways: pending, then available; deleting, then deleted and shown for some time.

use std::borrow::Cow;

use jiff::Timestamp;

use super::{
    address::Addresses,
    document, elastic_ip,
    model::{Association, ElasticIp, Interface, Ipv6, NatGateway, NatState, Subnet, Tags},
    placement,
    select::{self, Row, THOUSAND, find, find_mut, row_fields, text},
    tag,
};
use crate::{
    call::{Call, Fault, Reply},
    cloud::Cloud,
    durations::Delay,
    xml::Xml,
};

impl Row for NatGateway {
    const PREFIX: &'static str = "nat-";
    const KIND: &'static str = "natgateway";
    const NOUN: &'static str = "Nat Gateway";
    const NOT_FOUND: &'static str = "NatGatewayNotFound";
    const MALFORMED: &'static str = "NatGatewayMalformed";
    const IDS: &'static str = "NatGatewayId";
    const FILTERS: &'static [&'static str] = &["nat-gateway-id", "state", "subnet-id", "vpc-id"];

    row_fields!();
    fn values<'r>(&'r self, id: &'r str, _: &'r Cloud, filter: &str) -> Vec<Cow<'r, str>> {
        match filter {
            "state" => text(self.state.name()),
            "subnet-id" => text(&self.subnet),
            "vpc-id" => text(&self.vpc),
            _ => text(id),
        }
    }
}

/// Updates the states to the time `now`. The interface is deleted with its gateway, which is shown for some time more.
pub(super) fn settle(cloud: &mut Cloud, now: Timestamp) {
    let is_due = |row: &NatGateway| match row.state {
        NatState::Pending => cloud.settled(Delay::NatGateway, row.created, now),
        NatState::Available => false,
        NatState::Deleting => row.deleted.is_some_and(|deleted| cloud.settled(Delay::NatGatewayEnd, deleted, now)),
        NatState::Deleted => row.deleted.is_some_and(|deleted| cloud.settled(Delay::NatGatewayForgotten, deleted, now)),
    };
    let rows = cloud.ec2.nat_gateways.iter().filter(|(_, row)| is_due(row));
    let due: Vec<String> = rows.map(|(id, _)| id.to_owned()).collect();
    for id in due {
        let Some(row) = cloud.ec2.nat_gateways.get_mut(&id) else { continue };
        match row.state {
            NatState::Pending | NatState::Available => row.state = NatState::Available,
            NatState::Deleting => {
                row.state = NatState::Deleted;
                let interface = row.interface.clone();
                cloud.ec2.interfaces.remove(&interface);
                elastic_ip::unplug(cloud, &interface);
            }
            NatState::Deleted => {
                cloud.ec2.nat_gateways.remove(&id);
            }
        }
    }
}

pub(super) fn describe(cloud: &Cloud, call: &Call) -> Result<Reply, Fault> {
    let (page, next) = select::select(cloud, call, &cloud.ec2.nat_gateways, THOUSAND)?;
    Ok(document(call, |xml| {
        xml.list("natGatewaySet", "item", page, |xml, (id, row)| write(xml, cloud, id, row));
        xml.optional("nextToken", next);
    }))
}

pub(super) fn create(cloud: &mut Cloud, call: &Call) -> Result<Reply, Fault> {
    let params = call.params();
    let token = params.get("ClientToken").map(str::to_owned);
    if token.is_some()
        && let Some((id, gateway)) =
            cloud.ec2.nat_gateways.iter().find(|(_, row)| row.token == token && row.region == call.region)
    {
        return Ok(created(cloud, call, id, gateway));
    }
    let subnet_id = params.require("SubnetId")?;
    let Subnet { vpc, zone, .. } = find(&cloud.ec2.subnets, &call.region, subnet_id)?.clone();
    let is_public = params.get("ConnectivityType") != Some("private");
    let allocation = params.get("AllocationId");
    match allocation {
        None if is_public => {
            return Err(Fault::new("MissingParameter", "The request must contain the parameter AllocationId"));
        }
        Some(_) if !is_public => {
            let message = "The parameter AllocationId cannot be used with a private connectivity type.";
            return Err(Fault::new("InvalidParameterCombination", message));
        }
        Some(allocation) => {
            let address: &ElasticIp = find(&cloud.ec2.elastic_ips, &call.region, allocation)?;
            if let Some(found) = &address.association {
                let message = format!("resource {allocation} is already associated with associate-id {}", found.id);
                return Err(Fault::new("Resource.AlreadyAssociated", message));
            }
        }
        None => {}
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
        task: None,
        public: None,
        is_unchecked: true,
        groups: Vec::new(),
        primary,
        secondary: Addresses::default(),
        prefixes: Addresses::default(),
        ipv6: Ipv6::default(),
        attachment: None,
        tracking: None,
        tags: Tags::new(),
    };
    cloud.ec2.interfaces.insert(interface.clone(), row);
    let mut elastic_ip = None;
    if let Some(allocation) = allocation {
        let association = cloud.new_id("eipassoc-");
        let address = find_mut(&mut cloud.ec2.elastic_ips, &call.region, allocation)?;
        address.association =
            Some(Association { id: association.clone(), interface: interface.clone(), private: primary });
        elastic_ip = Some((allocation.to_owned(), association, address.public));
    }
    let gateway = NatGateway {
        region: call.region.clone(),
        created: call.now,
        vpc,
        subnet: subnet_id.to_owned(),
        interface,
        is_public,
        private: Some(primary),
        elastic_ip,
        state: NatState::Pending,
        deleted: None,
        token,
        tags,
    };
    let reply = created(cloud, call, &id, &gateway);
    cloud.ec2.nat_gateways.insert(id, gateway);
    Ok(reply)
}

fn created(cloud: &Cloud, call: &Call, id: &str, gateway: &NatGateway) -> Reply {
    document(call, |xml| {
        xml.optional("clientToken", gateway.token.as_ref()).element("natGateway", |xml| write(xml, cloud, id, gateway));
    })
}

fn write(xml: &mut Xml, cloud: &Cloud, id: &str, gateway: &NatGateway) {
    let private = cloud.ec2.interfaces.get(&gateway.interface).map(|interface| interface.primary).or(gateway.private);
    xml.text("natGatewayId", id)
        .text("state", gateway.state.name())
        .text("subnetId", &gateway.subnet)
        .text("vpcId", &gateway.vpc)
        .moment("createTime", gateway.created)
        .text("connectivityType", if gateway.is_public { "public" } else { "private" })
        .list("natGatewayAddressSet", "item", private, |xml, private| {
            xml.text("networkInterfaceId", &gateway.interface)
                .plain("privateIp", private)
                .plain("isPrimary", true)
                .text("status", if gateway.state == NatState::Pending { "associating" } else { "succeeded" });
            if let Some((allocation, association, public)) = &gateway.elastic_ip {
                xml.text("allocationId", allocation).text("associationId", association).plain("publicIp", public);
            }
        });
    if let Some(deleted) = gateway.deleted {
        xml.moment("deleteTime", deleted);
    }
    tag::write(xml, &gateway.tags);
}

pub(super) fn delete(cloud: &mut Cloud, call: &Call) -> Result<Reply, Fault> {
    let params = call.params();
    let id = params.require("NatGatewayId")?;
    let gateway = find_mut(&mut cloud.ec2.nat_gateways, &call.region, id)?;
    if gateway.deleted.is_none() {
        gateway.deleted = Some(call.now);
        gateway.state = NatState::Deleting;
    }
    Ok(document(call, |xml| {
        xml.text("natGatewayId", id);
    }))
}
