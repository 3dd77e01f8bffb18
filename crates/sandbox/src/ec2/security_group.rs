//! Security groups; their rules are in `security_rule`.

use std::{borrow::Cow, collections::BTreeMap};

use trunnion_catalog::limits;

use super::{
    document,
    model::{Peer, Permission, Ports, Rule, SecurityGroup, Tags, Vpc},
    select::{self, Row, THOUSAND, find, row_fields, shown, text},
    tag,
};
use crate::{
    call::{Call, Fault, Reply},
    cloud::Cloud,
    query::Params,
    xml::Xml,
};

impl Row for SecurityGroup {
    const PREFIX: &'static str = "sg-";
    const KIND: &'static str = "security-group";
    const NOUN: &'static str = "security group";
    const NOT_FOUND: &'static str = "InvalidGroup.NotFound";
    const MALFORMED: &'static str = "InvalidGroupId.Malformed";
    const IDS: &'static str = "GroupId";
    const FILTERS: &'static [&'static str] = &[
        "description",
        "egress.ip-permission.cidr",
        "egress.ip-permission.from-port",
        "egress.ip-permission.group-id",
        "egress.ip-permission.group-name",
        "egress.ip-permission.ipv6-cidr",
        "egress.ip-permission.prefix-list-id",
        "egress.ip-permission.protocol",
        "egress.ip-permission.to-port",
        "egress.ip-permission.user-id",
        "group-id",
        "group-name",
        "ip-permission.cidr",
        "ip-permission.from-port",
        "ip-permission.group-id",
        "ip-permission.group-name",
        "ip-permission.ipv6-cidr",
        "ip-permission.prefix-list-id",
        "ip-permission.protocol",
        "ip-permission.to-port",
        "ip-permission.user-id",
        "owner-id",
        "vpc-id",
    ];

    row_fields!();
    fn values<'r>(&'r self, id: &'r str, cloud: &'r Cloud, filter: &str) -> Vec<Cow<'r, str>> {
        match filter {
            "group-name" => text(&self.name),
            "vpc-id" => text(&self.vpc),
            "description" => text(&self.description),
            "owner-id" => text(&cloud.account),
            "group-id" => text(id),
            of_rules => match of_rules.strip_prefix("egress.") {
                Some(filter) => of_permissions(cloud, id, true, filter),
                None => of_permissions(cloud, id, false, of_rules),
            },
        }
    }
}

/// The values that the rules of a group have for a filter `ip-permission.…`.
fn of_permissions<'r>(cloud: &'r Cloud, group: &str, is_egress: bool, filter: &str) -> Vec<Cow<'r, str>> {
    let value = |rule: &'r Rule| -> Vec<Cow<'r, str>> {
        let Permission { protocol, ports, peer } = &rule.permission;
        match (filter.strip_prefix("ip-permission.").unwrap_or_default(), peer) {
            ("protocol", _) => text(protocol),
            ("from-port", _) => ports.map_or_else(Vec::new, |(from, _)| shown(from)),
            ("to-port", _) => ports.map_or_else(Vec::new, |(_, to)| shown(to)),
            ("cidr", Peer::Ipv4(cidr)) | ("ipv6-cidr", Peer::Ipv6(cidr)) => text(cidr),
            ("prefix-list-id", Peer::PrefixList(id)) | ("group-id", Peer::Group(id)) => text(id),
            ("group-name", Peer::Group(id)) => {
                cloud.ec2.groups.get(id).map_or_else(Vec::new, |group| text(&group.name))
            }
            ("user-id", Peer::Group(_)) => text(&cloud.account),
            _ => Vec::new(),
        }
    };
    let rules = cloud.ec2.rules.values().filter(|rule| rule.group == group && rule.is_egress == is_egress);
    rules.flat_map(value).collect()
}

pub(super) fn create(cloud: &mut Cloud, call: &Call) -> Result<Reply, Fault> {
    let params = call.params();
    let (name, description) = (params.require("GroupName")?, params.require("GroupDescription")?);
    check_text("GroupName", name)?;
    check_text("GroupDescription", description)?;
    if name == "default" || name.starts_with(limits::RESERVED_GROUP_PREFIX) {
        let message = format!("Cannot use reserved security group name: {name}");
        return Err(Fault::new("InvalidParameterValue", message));
    }
    let vpc = match params.get("VpcId") {
        Some(vpc) => {
            find(&cloud.ec2.vpcs, &call.region, vpc)?;
            vpc.to_owned()
        }
        None => default_vpc(cloud, &call.region)?,
    };
    let is_taken = |group: &SecurityGroup| group.vpc == vpc && group.name == name;
    if cloud.ec2.groups.values().any(is_taken) {
        let message = format!("The security group '{name}' already exists for VPC '{vpc}'");
        return Err(Fault::new("InvalidGroup.Duplicate", message));
    }
    let group = SecurityGroup {
        region: call.region.clone(),
        created: call.now,
        vpc,
        name: name.to_owned(),
        description: description.to_owned(),
        tags: tag::of_created::<SecurityGroup>(&params)?,
    };
    let id = cloud.new_id(SecurityGroup::PREFIX);
    let reply = document(call, |xml| {
        xml.plain("return", true).text("groupId", &id).text("securityGroupArn", arn(cloud, call, &id));
        tag::write(xml, &group.tags);
    });
    let has_ipv6 = cloud.ec2.vpcs.get(&group.vpc).is_some_and(|vpc| vpc.ipv6.is_some());
    cloud.ec2.groups.insert(id.clone(), group);
    // A new group in a VPC with an IPv6 range also allows all outgoing IPv6 traffic (EC2 User Guide, "Security group
    // rules").
    let ipv6 = has_ipv6.then(|| Peer::Ipv6("::/0".to_owned()));
    for peer in std::iter::once(Peer::Ipv4("0.0.0.0/0".to_owned())).chain(ipv6) {
        let rule = Rule {
            region: call.region.clone(),
            created: call.now,
            group: id.clone(),
            is_egress: true,
            permission: Permission { protocol: "-1".to_owned(), ports: None, peer },
            description: None,
            tags: Tags::new(),
        };
        let rule_id = cloud.new_id(Rule::PREFIX);
        cloud.ec2.rules.insert(rule_id, rule);
    }
    Ok(reply)
}

/// The id of the region's default VPC.
fn default_vpc(cloud: &Cloud, region: &str) -> Result<String, Fault> {
    let mut vpcs = cloud.ec2.vpcs.iter();
    vpcs.find(|(_, vpc): &(&str, &Vpc)| vpc.is_default && vpc.region == region)
        .map(|(id, _)| id.to_owned())
        .ok_or_else(|| Fault::new("VPCIdNotSpecified", "No default VPC for this user"))
}

fn check_text(name: &str, value: &str) -> Result<(), Fault> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || " ._-:/()#,@[]+=&;{}!$*".contains(c);
    if value.len() <= limits::GROUP_TEXT && value.chars().all(allowed) {
        return Ok(());
    }
    let message = format!(
        "Value ({value}) for parameter {name} is invalid. Character sets beyond ASCII are not supported, and 255 \
         characters are the most."
    );
    Err(Fault::new("InvalidParameterValue", message))
}

/// The group id in `GroupId`, or the id of the default VPC's group named in `GroupName`.
pub(super) fn named(cloud: &Cloud, call: &Call, params: &Params<'_>) -> Result<String, Fault> {
    if let Some(id) = params.get("GroupId") {
        find(&cloud.ec2.groups, &call.region, id)?;
        return Ok(id.to_owned());
    }
    let name = params
        .get("GroupName")
        .ok_or_else(|| Fault::new("MissingParameter", "The request must contain the parameter groupName or groupId"))?;
    let vpc = default_vpc(cloud, &call.region)?;
    by_name(cloud, &vpc, name)
}

/// The id of the group with this name in a VPC.
pub(super) fn by_name(cloud: &Cloud, vpc: &str, name: &str) -> Result<String, Fault> {
    let group = cloud.ec2.groups.iter().find(|(_, group)| group.vpc == vpc && group.name == name);
    group.map(|(id, _)| id.to_owned()).ok_or_else(|| {
        Fault::new("InvalidGroup.NotFound", format!("The security group '{name}' does not exist in VPC '{vpc}'"))
    })
}

/// A group cannot be deleted while an interface or a task uses it, or a rule of another group refers to it.
pub(super) fn delete(cloud: &mut Cloud, call: &Call) -> Result<Reply, Fault> {
    let id = named(cloud, call, &call.params())?;
    let has_tasks = cloud.ecs.uses_network(&id, call.now, cloud.clock());
    let state = &mut cloud.ec2;
    if state.groups.get(&id).is_some_and(|group| group.name == "default") {
        let message = format!("the specified group: \"{id}\" name: \"default\" cannot be deleted by a user");
        return Err(Fault::new("CannotDelete", message));
    }
    let in_use = has_tasks || state.interfaces.values().any(|interface| interface.groups.contains(&id));
    let peer = Peer::Group(id.clone());
    if in_use || state.rules.values().any(|rule| rule.group != id && rule.permission.peer == peer) {
        return Err(Fault::new("DependencyViolation", format!("resource {id} has a dependent object")));
    }
    let rules: Vec<String> =
        state.rules.iter().filter(|(_, rule)| rule.group == id).map(|(rule, _)| rule.to_owned()).collect();
    for rule in rules {
        state.rules.remove(&rule);
    }
    state.groups.remove(&id);
    Ok(document(call, |xml| {
        xml.plain("return", true).text("groupId", &id);
    }))
}

pub(super) fn describe(cloud: &Cloud, call: &Call) -> Result<Reply, Fault> {
    let params = call.params();
    let names = params.list("GroupName");
    if !names.is_empty() {
        let vpc = default_vpc(cloud, &call.region)?;
        for name in &names {
            by_name(cloud, &vpc, name)?;
        }
    }
    let (page, next) = select::select(cloud, call, &cloud.ec2.groups, THOUSAND)?;
    let page = page.into_iter().filter(|(_, group)| names.is_empty() || names.contains(&group.name.as_str()));
    Ok(document(call, |xml| {
        xml.list("securityGroupInfo", "item", page, |xml, (id, group)| write(xml, cloud, call, id, group));
        xml.optional("nextToken", next);
    }))
}

fn write(xml: &mut Xml, cloud: &Cloud, call: &Call, id: &str, group: &SecurityGroup) {
    xml.text("ownerId", &cloud.account)
        .text("groupId", id)
        .text("groupName", &group.name)
        .text("groupDescription", &group.description)
        .text("vpcId", &group.vpc)
        .text("securityGroupArn", arn(cloud, call, id));
    write_permissions(xml, cloud, "ipPermissions", id, false);
    write_permissions(xml, cloud, "ipPermissionsEgress", id, true);
    tag::write(xml, &group.tags);
}

/// Writes the rules of one direction; rules with the same protocol and port range are grouped.
fn write_permissions(xml: &mut Xml, cloud: &Cloud, name: &str, group: &str, is_egress: bool) {
    let mut sets: BTreeMap<(&str, Ports), Vec<&Rule>> = BTreeMap::new();
    for rule in cloud.ec2.rules.values().filter(|rule| rule.group == group && rule.is_egress == is_egress) {
        sets.entry((&rule.permission.protocol, rule.permission.ports)).or_default().push(rule);
    }
    xml.list(name, "item", sets, |xml, ((protocol, ports), rules)| {
        xml.text("ipProtocol", protocol);
        if let Some((from, to)) = ports {
            xml.plain("fromPort", from).plain("toPort", to);
        }
        let of = |pick: fn(&Peer) -> Option<&String>| {
            rules.iter().filter_map(move |rule| Some((pick(&rule.permission.peer)?, rule.description.as_ref())))
        };
        let groups = of(|peer| if let Peer::Group(id) = peer { Some(id) } else { None });
        xml.list("groups", "item", groups, |xml, (id, description)| {
            xml.text("userId", &cloud.account).text("groupId", id).optional("description", description);
        });
        let ranges = of(|peer| if let Peer::Ipv4(cidr) = peer { Some(cidr) } else { None });
        xml.list("ipRanges", "item", ranges, |xml, (cidr, description)| {
            xml.text("cidrIp", cidr).optional("description", description);
        });
        let ranges = of(|peer| if let Peer::Ipv6(cidr) = peer { Some(cidr) } else { None });
        xml.list("ipv6Ranges", "item", ranges, |xml, (cidr, description)| {
            xml.text("cidrIpv6", cidr).optional("description", description);
        });
        let lists = of(|peer| if let Peer::PrefixList(id) = peer { Some(id) } else { None });
        xml.list("prefixListIds", "item", lists, |xml, (id, description)| {
            xml.text("prefixListId", id).optional("description", description);
        });
    });
}

fn arn(cloud: &Cloud, call: &Call, id: &str) -> String {
    format!("{}:ec2:{}:{}:security-group/{id}", call.arn(), call.region, cloud.account)
}
