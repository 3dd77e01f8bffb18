//! Rules of security groups: authorise, revoke and describe them.

use std::{borrow::Cow, net::Ipv6Addr};

use trunnion_catalog::limits;

use super::{
    address::Cidr,
    document,
    model::{Peer, Permission, Ports, Rule},
    security_group::{by_name, named},
    select::{self, Row, THOUSAND, find, not_found, row_fields, text},
    tag,
};
use crate::{
    call::{Call, Fault, Reply, arn_of},
    cloud::Cloud,
    query::Params,
    xml::Xml,
};

impl Row for Rule {
    const PREFIX: &'static str = "sgr-";
    const KIND: &'static str = "security-group-rule";
    const NOUN: &'static str = "security group rule ID";
    const NOT_FOUND: &'static str = "InvalidSecurityGroupRuleId.NotFound";
    const MALFORMED: &'static str = "InvalidSecurityGroupRuleId.Malformed";
    const IDS: &'static str = "SecurityGroupRuleId";
    const FILTERS: &'static [&'static str] = &["group-id", "security-group-rule-id"];

    row_fields!();
    fn values<'r>(&'r self, id: &'r str, _: &'r Cloud, filter: &str) -> Vec<Cow<'r, str>> {
        match filter {
            "group-id" => text(&self.group),
            _ => text(id),
        }
    }
}

pub(super) fn describe(cloud: &Cloud, call: &Call) -> Result<Reply, Fault> {
    let (page, next) = select::select(cloud, call, &cloud.ec2.rules, THOUSAND)?;
    Ok(document(call, |xml| {
        xml.list("securityGroupRuleSet", "item", page, |xml, (id, rule)| write(xml, cloud, id, rule));
        xml.optional("nextToken", next);
    }))
}

fn write(xml: &mut Xml, cloud: &Cloud, id: &str, rule: &Rule) {
    let (from, to) = rule.permission.ports.unwrap_or((-1, -1));
    xml.text("securityGroupRuleId", id)
        .text("groupId", &rule.group)
        .text("groupOwnerId", &cloud.account)
        .plain("isEgress", rule.is_egress)
        .text("ipProtocol", &rule.permission.protocol)
        .plain("fromPort", from)
        .plain("toPort", to);
    match &rule.permission.peer {
        Peer::Ipv4(cidr) => xml.text("cidrIpv4", cidr),
        Peer::Ipv6(cidr) => xml.text("cidrIpv6", cidr),
        Peer::PrefixList(list) => xml.text("prefixListId", list),
        Peer::Group(group) => xml.element("referencedGroupInfo", |xml| {
            xml.text("groupId", group).text("userId", &cloud.account);
        }),
    };
    xml.optional("description", rule.description.as_ref());
    tag::write(xml, &rule.tags);
    let arn = format!("{}:ec2:{}:{}:security-group-rule/{id}", arn_of(&rule.region), rule.region, cloud.account);
    xml.text("securityGroupRuleArn", arn);
}

/// Adds all rules of the call or none.
pub(super) fn authorize(cloud: &mut Cloud, call: &Call, is_egress: bool) -> Result<Reply, Fault> {
    let params = call.params();
    let group = named(cloud, call, &params)?;
    let wanted = permissions(cloud, call, &params, &group)?;
    if wanted.is_empty() {
        return Err(Fault::new("MissingParameter", "Either 'ipPermissions' or 'ipProtocol' should be provided."));
    }
    let tags = tag::of_created::<Rule>(&params)?;
    let have: Vec<&Permission> = in_direction(cloud, &group, is_egress).map(|(_, rule)| &rule.permission).collect();
    for (index, (permission, _)) in wanted.iter().enumerate() {
        if have.contains(&permission) {
            return Err(Fault::new("InvalidPermission.Duplicate", duplicate(permission)));
        }
        if wanted.iter().take(index).any(|(earlier, _)| earlier == permission) {
            let message = "The same permission must not appear multiple times";
            return Err(Fault::new("InvalidParameterValue", message));
        }
    }
    if have.len() + wanted.len() > limits::SECURITY_GROUP_RULES {
        let message = "The maximum number of rules per security group has been reached.";
        return Err(Fault::new("RulesPerSecurityGroupLimitExceeded", message));
    }
    let mut created = Vec::with_capacity(wanted.len());
    for (permission, description) in wanted {
        let rule = Rule {
            region: call.region.clone(),
            created: call.now,
            group: group.clone(),
            is_egress,
            permission,
            description,
            tags: tags.clone(),
        };
        let id = cloud.new_id(Rule::PREFIX);
        cloud.ec2.rules.insert(id.clone(), rule.clone());
        created.push((id, rule));
    }
    Ok(document(call, |xml| {
        xml.plain("return", true);
        xml.list("securityGroupRuleSet", "item", &created, |xml, (id, rule)| write(xml, cloud, id, rule));
    }))
}

fn duplicate(permission: &Permission) -> String {
    let (Peer::Ipv4(peer) | Peer::Ipv6(peer) | Peer::PrefixList(peer) | Peer::Group(peer)) = &permission.peer;
    let ports = permission.ports.map_or_else(String::new, |(from, to)| format!(", from port: {from}, to port: {to}"));
    let protocol = match permission.protocol.as_str() {
        "-1" => "ALL".to_owned(),
        protocol => protocol.to_uppercase(),
    };
    format!("the specified rule \"peer: {peer}, {protocol}{ports}, ALLOW\" already exists")
}

/// Every given rule must exist, found by its id or by the traffic it allows; descriptions are not compared.
pub(super) fn revoke(cloud: &mut Cloud, call: &Call, is_egress: bool) -> Result<Reply, Fault> {
    let params = call.params();
    let group = named(cloud, call, &params)?;
    let mut doomed: Vec<String> = Vec::new();
    for id in params.list("SecurityGroupRuleId") {
        by_id(cloud, call, id, |rule| rule.group == group && rule.is_egress == is_egress)?;
        doomed.push(id.to_owned());
    }
    for (permission, _) in permissions(cloud, call, &params, &group)? {
        doomed.push(by_permission(cloud, &group, is_egress, &permission)?);
    }
    if doomed.is_empty() {
        let message = "Either 'ipPermissions' or 'securityGroupRuleIds' should be provided.";
        return Err(Fault::new("MissingParameter", message));
    }
    let mut revoked = Vec::with_capacity(doomed.len());
    for id in doomed {
        if let Some(rule) = cloud.ec2.rules.remove(&id) {
            revoked.push((id, rule));
        }
    }
    Ok(document(call, |xml| {
        xml.plain("return", true).list("revokedSecurityGroupRuleSet", "item", &revoked, |xml, (id, rule)| {
            let (from, to) = rule.permission.ports.unwrap_or((-1, -1));
            xml.text("securityGroupRuleId", id)
                .text("groupId", &rule.group)
                .plain("isEgress", rule.is_egress)
                .text("ipProtocol", &rule.permission.protocol)
                .plain("fromPort", from)
                .plain("toPort", to);
            match &rule.permission.peer {
                Peer::Ipv4(cidr) => xml.text("cidrIpv4", cidr),
                Peer::Ipv6(cidr) => xml.text("cidrIpv6", cidr),
                Peer::PrefixList(list) => xml.text("prefixListId", list),
                Peer::Group(group) => xml.text("referencedGroupId", group),
            };
            xml.optional("description", rule.description.as_ref());
        });
    }))
}

/// The rule of this id, if `is_it` accepts it.
pub(super) fn by_id<'w>(
    cloud: &'w Cloud,
    call: &Call,
    id: &str,
    is_it: impl Fn(&Rule) -> bool,
) -> Result<&'w Rule, Fault> {
    let rule = find(&cloud.ec2.rules, &call.region, id)?;
    if is_it(rule) { Ok(rule) } else { Err(not_found::<Rule>(&[id])) }
}

/// The id of the rule that allows this.
pub(super) fn by_permission(
    cloud: &Cloud,
    group: &str,
    is_egress: bool,
    permission: &Permission,
) -> Result<String, Fault> {
    let found = in_direction(cloud, group, is_egress).find(|(_, rule)| rule.permission == *permission);
    found.map(|(id, _)| id.to_owned()).ok_or_else(|| {
        let message = "The specified rule does not exist in this security group.";
        Fault::new("InvalidPermission.NotFound", message)
    })
}

pub(super) fn in_direction<'w>(
    cloud: &'w Cloud,
    group: &str,
    is_egress: bool,
) -> impl Iterator<Item = (&'w str, &'w Rule)> {
    cloud.ec2.rules.iter().filter(move |(_, rule)| rule.group == group && rule.is_egress == is_egress)
}

/// The permissions in `IpPermissions.N`, or the single one in the call's own parameters, each with its description.
pub(super) fn permissions(
    cloud: &Cloud,
    call: &Call,
    params: &Params<'_>,
    group: &str,
) -> Result<Vec<(Permission, Option<String>)>, Fault> {
    let vpc = &find(&cloud.ec2.groups, &call.region, group)?.vpc;
    let mut wanted = Vec::new();
    let mut sets = params.items("IpPermissions");
    if sets.is_empty() && params.has("IpProtocol") {
        sets.push(params.clone());
    }
    for set in sets {
        let protocol = protocol(set.require("IpProtocol")?);
        let ports = ports(&set, &protocol)?;
        let mut peers = Vec::new();
        if let Some(cidr) = set.get("CidrIp") {
            peers.push((Peer::Ipv4(ipv4(cidr)?), None));
        }
        for range in set.items("IpRanges") {
            peers.push((Peer::Ipv4(ipv4(range.require("CidrIp")?)?), range.get("Description")));
        }
        for range in set.items("Ipv6Ranges") {
            peers.push((Peer::Ipv6(ipv6(range.require("CidrIpv6")?)?), range.get("Description")));
        }
        for list in set.items("PrefixListIds") {
            peers.push((Peer::PrefixList(list.require("PrefixListId")?.to_owned()), list.get("Description")));
        }
        for pair in set.items("Groups") {
            let id = match (pair.get("GroupId"), pair.get("GroupName")) {
                (Some(id), _) => {
                    find(&cloud.ec2.groups, &call.region, id)?;
                    id.to_owned()
                }
                (None, Some(name)) => by_name(cloud, vpc, name)?,
                (None, None) => return Err(Fault::new("MissingParameter", "Missing source specification")),
            };
            peers.push((Peer::Group(id), pair.get("Description")));
        }
        if let Some(name) = set.get("SourceSecurityGroupName") {
            peers.push((Peer::Group(by_name(cloud, vpc, name)?), None));
        }
        if peers.is_empty() {
            return Err(Fault::new("MissingParameter", "The request must contain at least one source or destination"));
        }
        for (peer, description) in peers {
            let permission = Permission { protocol: protocol.clone(), ports, peer };
            wanted.push((permission, description.filter(|text| !text.is_empty()).map(str::to_owned)));
        }
    }
    Ok(wanted)
}

/// The one rule of `ModifySecurityGroupRules`, which names its peer in a member of its own.
pub(super) fn read_rule(
    cloud: &Cloud,
    call: &Call,
    rule: &Params<'_>,
    group: &str,
) -> Result<(Permission, Option<String>), Fault> {
    let protocol = protocol(rule.require("IpProtocol")?);
    let ports = ports(rule, &protocol)?;
    let mut peers = Vec::new();
    if let Some(cidr) = rule.get("CidrIpv4") {
        peers.push(Peer::Ipv4(ipv4(cidr)?));
    }
    if let Some(cidr) = rule.get("CidrIpv6") {
        peers.push(Peer::Ipv6(ipv6(cidr)?));
    }
    if let Some(list) = rule.get("PrefixListId") {
        peers.push(Peer::PrefixList(list.to_owned()));
    }
    if let Some(id) = rule.get("ReferencedGroupId") {
        let vpc = &find(&cloud.ec2.groups, &call.region, group)?.vpc;
        if find(&cloud.ec2.groups, &call.region, id)?.vpc != *vpc {
            return Err(Fault::new("InvalidGroup.NotFound", format!("The security group '{id}' does not exist")));
        }
        peers.push(Peer::Group(id.to_owned()));
    }
    let description = rule.get("Description").filter(|text| !text.is_empty()).map(str::to_owned);
    let mut peers = peers.into_iter();
    match (peers.next(), peers.next()) {
        (Some(peer), None) => Ok((Permission { protocol, ports, peer }, description)),
        _ => Err(Fault::new("InvalidParameterValue", "A rule must have exactly one source or destination")),
    }
}

/// A protocol number that has a name is replaced by the name.
fn protocol(asked: &str) -> String {
    match asked.to_ascii_lowercase().as_str() {
        "6" => "tcp".to_owned(),
        "17" => "udp".to_owned(),
        "1" => "icmp".to_owned(),
        "58" => "icmpv6".to_owned(),
        other => other.to_owned(),
    }
}

fn ports(set: &Params<'_>, protocol: &str) -> Result<Ports, Fault> {
    let invalid = |message: String| Err(Fault::new("InvalidParameterValue", message));
    let (from, to) = (set.number::<i32>("FromPort")?, set.number::<i32>("ToPort")?);
    match protocol {
        "tcp" | "udp" => match (from, to) {
            (Some(from @ 0..=65535), Some(to @ 0..=65535)) if from <= to => Ok(Some((from, to))),
            (Some(from), Some(to)) => invalid(format!("Invalid {} port range ({from}:{to})", protocol.to_uppercase())),
            _ => invalid(format!("Must specify both from and to ports with {protocol}.")),
        },
        "icmp" | "icmpv6" => Ok(Some((from.unwrap_or(-1), to.unwrap_or(-1)))),
        "-1" => Ok(None),
        number if number.parse::<u8>().is_ok() => Ok(None),
        other => invalid(format!("Invalid value '{other}' for IP protocol. Unknown protocol.")),
    }
}

fn ipv4(text: &str) -> Result<String, Fault> {
    let cidr: Result<Cidr, ()> = text.parse();
    cidr.map(|cidr| cidr.to_string()).map_err(|()| bad_block(text))
}

fn ipv6(text: &str) -> Result<String, Fault> {
    let block = text.split_once('/').and_then(|(base, prefix)| {
        let (base, prefix): (Ipv6Addr, u8) = (base.parse().ok()?, prefix.parse().ok()?);
        (prefix <= 128).then(|| format!("{base}/{prefix}"))
    });
    block.ok_or_else(|| bad_block(text))
}

fn bad_block(text: &str) -> Fault {
    Fault::new("InvalidParameterValue", format!("CIDR block {text} is malformed"))
}
