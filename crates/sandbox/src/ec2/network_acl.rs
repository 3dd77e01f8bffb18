//! Network ACLs. Every VPC has its default one, which allows everything; others cannot be created here.

use super::{
    document,
    model::{Subnet, Tags, Vpc},
    select::{Filters, Pager, THOUSAND, shown, text},
    tag,
};
use crate::{
    call::{Call, Fault, Reply},
    cloud::{Cloud, id_of},
    durations::Delay,
    xml::Xml,
};

const PREFIX: &str = "acl-";

const FILTERS: &[&str] =
    &["association.network-acl-id", "association.subnet-id", "default", "network-acl-id", "owner-id", "vpc-id"];

pub(super) fn describe(cloud: &Cloud, call: &Call) -> Result<Reply, Fault> {
    let params = call.params();
    let (filters, pager) = (Filters::of(&params, FILTERS)?, Pager::of(&params, THOUSAND)?);
    let here = cloud.ec2.vpcs.iter().filter(|(_, vpc)| vpc.region == call.region);
    let mut all: Vec<(String, (&str, &Vpc))> = here.map(|(id, vpc)| (id_of(PREFIX, id), (id, vpc))).collect();
    all.sort_unstable_by(|(left, _), (right, _)| left.cmp(right));
    let ids = params.list("NetworkAclId");
    if let Some(missing) = ids.iter().find(|id| !all.iter().any(|(acl, _)| acl == *id)) {
        let message = format!("The networkAcl ID '{missing}' does not exist");
        return Err(Fault::new("InvalidNetworkAclID.NotFound", message));
    }
    let none = Tags::new();
    let passing = all.iter().filter(|(acl, (vpc_id, vpc))| {
        cloud.knows(Delay::Ec2Lag, acl, vpc.created, call.now)
            && (ids.is_empty() || ids.contains(&acl.as_str()))
            && filters.accept(&none, |filter| match filter {
                "association.subnet-id" => subnets(cloud, vpc_id).flat_map(|(id, _)| text(id)).collect(),
                "default" => shown(true),
                "owner-id" => text(&cloud.account),
                "vpc-id" => text(vpc_id),
                _ => text(acl),
            })
    });
    let (page, next) = pager.page(passing.map(|(acl, (vpc, _))| (acl.as_str(), *vpc)));
    Ok(document(call, |xml| {
        xml.list("networkAclSet", "item", page, |xml, (acl, vpc)| write(xml, cloud, acl, vpc));
        xml.optional("nextToken", next);
    }))
}

fn subnets<'w>(cloud: &'w Cloud, vpc: &str) -> impl Iterator<Item = (&'w str, &'w Subnet)> {
    cloud.ec2.subnets.iter().filter(move |(_, subnet)| subnet.vpc == vpc)
}

fn write(xml: &mut Xml, cloud: &Cloud, acl: &str, vpc: &str) {
    // Rule 100 allows, and the last rule denies what no other rule matches (VPC user guide, "Default network ACL").
    let entries = [(100, "allow", false), (32767, "deny", false), (100, "allow", true), (32767, "deny", true)];
    xml.text("networkAclId", acl)
        .text("vpcId", vpc)
        .plain("default", true)
        .list("entrySet", "item", entries, |xml, (number, action, egress)| {
            xml.plain("ruleNumber", number)
                .text("protocol", "-1")
                .text("ruleAction", action)
                .plain("egress", egress)
                .text("cidrBlock", "0.0.0.0/0");
        })
        .list("associationSet", "item", subnets(cloud, vpc), |xml, (subnet, _)| {
            xml.text("networkAclAssociationId", id_of("aclassoc-", subnet))
                .text("networkAclId", acl)
                .text("subnetId", subnet);
        })
        .text("ownerId", &cloud.account);
    tag::write(xml, &Tags::new());
}
