//! Internet gateways: created, attached to one VPC, detached, deleted.

use std::borrow::Cow;

use super::{
    document, done, elastic_ip,
    model::InternetGateway,
    network::dependency,
    select::{self, Row, THOUSAND, find, find_mut, row_fields, text},
    tag,
};
use crate::{
    call::{Call, Fault, Reply},
    cloud::Cloud,
    xml::Xml,
};

impl Row for InternetGateway {
    const PREFIX: &'static str = "igw-";
    const KIND: &'static str = "internet-gateway";
    const NOUN: &'static str = "internetGateway ID";
    const NOT_FOUND: &'static str = "InvalidInternetGatewayID.NotFound";
    const MALFORMED: &'static str = "InvalidInternetGatewayId.Malformed";
    const IDS: &'static str = "InternetGatewayId";
    const FILTERS: &'static [&'static str] =
        &["attachment.state", "attachment.vpc-id", "internet-gateway-id", "owner-id"];

    row_fields!();
    fn values<'r>(&'r self, id: &'r str, cloud: &'r Cloud, filter: &str) -> Vec<Cow<'r, str>> {
        match filter {
            "attachment.state" => self.vpc.iter().map(|_| Cow::Borrowed("available")).collect(),
            "attachment.vpc-id" => self.vpc.iter().map(Cow::from).collect(),
            "owner-id" => text(&cloud.account),
            _ => text(id),
        }
    }
}

pub(super) fn describe(cloud: &Cloud, call: &Call) -> Result<Reply, Fault> {
    let (page, next) = select::select(cloud, call, &cloud.ec2.internet_gateways, THOUSAND)?;
    Ok(document(call, |xml| {
        xml.list("internetGatewaySet", "item", page, |xml, (id, row)| write(xml, cloud, id, row));
        xml.optional("nextToken", next);
    }))
}

fn write(xml: &mut Xml, cloud: &Cloud, id: &str, row: &InternetGateway) {
    xml.text("internetGatewayId", id).text("ownerId", &cloud.account).list(
        "attachmentSet",
        "item",
        &row.vpc,
        |xml, vpc| {
            xml.text("vpcId", vpc).text("state", "available");
        },
    );
    tag::write(xml, &row.tags);
}

pub(super) fn create(cloud: &mut Cloud, call: &Call) -> Result<Reply, Fault> {
    let tags = tag::of_created::<InternetGateway>(&call.params())?;
    let row = InternetGateway { region: call.region.clone(), created: call.now, vpc: None, tags };
    let id = cloud.new_id(InternetGateway::PREFIX);
    let reply = document(call, |xml| {
        xml.element("internetGateway", |xml| write(xml, cloud, &id, &row));
    });
    cloud.ec2.internet_gateways.insert(id, row);
    Ok(reply)
}

/// A gateway is attached to one VPC, and a VPC has one gateway.
pub(super) fn attach(cloud: &mut Cloud, call: &Call) -> Result<Reply, Fault> {
    let params = call.params();
    let (id, vpc) = (params.require("InternetGatewayId")?, params.require("VpcId")?);
    find(&cloud.ec2.vpcs, &call.region, vpc)?;
    if let Some(other) = &find(&cloud.ec2.internet_gateways, &call.region, id)?.vpc {
        let message = format!("resource {id} is already attached to network {other}");
        return Err(Fault::new("Resource.AlreadyAssociated", message));
    }
    if cloud.ec2.internet_gateways.values().any(|row| row.vpc.as_deref() == Some(vpc)) {
        let message = format!("Network {vpc} already has an internet gateway attached");
        return Err(Fault::new("InvalidParameterValue", message));
    }
    find_mut(&mut cloud.ec2.internet_gateways, &call.region, id)?.vpc = Some(vpc.to_owned());
    Ok(done(call))
}

/// A gateway stays while the VPC has mapped public addresses.
pub(super) fn detach(cloud: &mut Cloud, call: &Call) -> Result<Reply, Fault> {
    let params = call.params();
    let (id, vpc) = (params.require("InternetGatewayId")?, params.require("VpcId")?);
    if find(&cloud.ec2.internet_gateways, &call.region, id)?.vpc.as_deref() != Some(vpc) {
        let message = format!("resource {id} is not attached to network {vpc}");
        return Err(Fault::new("Gateway.NotAttached", message));
    }
    if elastic_ip::is_mapped_in(cloud, vpc) {
        let message = format!(
            "Network {vpc} has some mapped public address(es). Please unmap those public address(es) before detaching \
             the gateway."
        );
        return Err(Fault::new("DependencyViolation", message));
    }
    find_mut(&mut cloud.ec2.internet_gateways, &call.region, id)?.vpc = None;
    Ok(done(call))
}

pub(super) fn delete(cloud: &mut Cloud, call: &Call) -> Result<Reply, Fault> {
    let params = call.params();
    let id = params.require("InternetGatewayId")?;
    if find(&cloud.ec2.internet_gateways, &call.region, id)?.vpc.is_some() {
        return Err(dependency("internetGateway", id));
    }
    cloud.ec2.internet_gateways.remove(id);
    Ok(done(call))
}
