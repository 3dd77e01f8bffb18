//! `security_group`. Its name is unique in the VPC. A group belongs to the stack if its tags say so.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_ec2::types::{
    Filter, IpPermission, IpRange, Ipv6Range, NetworkInterface, PrefixListId, ResourceType, SecurityGroup as Ec2Group,
    UserIdGroupPair,
};
use trunnion_engine::{Reference, Remote, Rules, Token};
use trunnion_kinds::{SecurityGroup, SecurityGroupRule, Tags, Value};

use super::{
    instance::Host,
    tagging::{change_ec2, filter, from_ec2, of_stack, specification},
};
use crate::{
    Aws, Connection,
    convert::{attribute, is_ours, remote, text, typed},
    driver::{Driver, Wanted, all},
    error::{Class, Failure, OfCall as _, unless_gone},
    hosts::{IDS_PER_CALL, by_ids},
    reading::Reading,
    recorded::is_ec2,
};

/// The groups that match the filters, of any owner.
async fn list(aws: &Aws, filters: Vec<Filter>) -> Result<Vec<(String, SecurityGroup)>, Failure> {
    let call = aws.clients.ec2.describe_security_groups().set_filters(Some(filters));
    let mut pages = call.into_paginator().page_size(1000).send();
    let mut groups = Vec::new();
    while let Some(page) = pages.next().await {
        let page = page.of_call("ec2:DescribeSecurityGroups")?;
        groups.extend(page.security_groups.into_iter().flatten().map(from_group));
    }
    Ok(groups)
}

/// The groups of a VPC that have one of these names, of any owner: their names and tags.
async fn by_names(aws: &Aws, vpc: &str, names: Vec<String>) -> Result<Vec<(String, Tags)>, Failure> {
    let found = list(aws, vec![filter("vpc-id", vec![vpc.to_owned()]), filter("group-name", names)]).await?;
    Ok(found.into_iter().map(|(_, group)| (group.name, group.tags)).collect())
}

fn as_remote(id: &str, group: &SecurityGroup) -> Result<Remote, Failure> {
    remote(id, group, [("id", id.into())])
}

fn from_group(group: Ec2Group) -> (String, SecurityGroup) {
    let converted = SecurityGroup {
        name: group.group_name.unwrap_or_default(),
        description: group.description.unwrap_or_default(),
        vpc: group.vpc_id.unwrap_or_default().into(),
        ingress: from_permissions(group.ip_permissions),
        egress: from_permissions(group.ip_permissions_egress),
        tags: from_ec2(group.tags),
    };
    (group.group_id.unwrap_or_default(), converted)
}

/// One rule for each peer, sorted.
fn from_permissions(permissions: Option<Vec<IpPermission>>) -> Vec<SecurityGroupRule> {
    let mut rules = Vec::new();
    for permission in permissions.into_iter().flatten() {
        let protocol = permission.ip_protocol.unwrap_or_default();
        let ports = if protocol == "-1" { (None, None) } else { (permission.from_port, permission.to_port) };
        let mut push = |peer: Option<String>, description: Option<String>| {
            rules.push(SecurityGroupRule {
                protocol: protocol.clone(),
                from_port: ports.0,
                to_port: ports.1,
                peer: peer.unwrap_or_default().into(),
                description: description.unwrap_or_default(),
            });
        };
        for range in permission.ip_ranges.into_iter().flatten() {
            push(range.cidr_ip, range.description);
        }
        for range in permission.ipv6_ranges.into_iter().flatten() {
            push(range.cidr_ipv6, range.description);
        }
        for list in permission.prefix_list_ids.into_iter().flatten() {
            push(list.prefix_list_id, list.description);
        }
        for pair in permission.user_id_group_pairs.into_iter().flatten() {
            push(pair.group_id, pair.description);
        }
    }
    rules.sort_by(|a, b| {
        let key = |rule: &SecurityGroupRule| (rule.protocol.clone(), rule.from_port, rule.to_port, rule.peer.clone());
        key(a).cmp(&key(b)).then_with(|| a.description.cmp(&b.description))
    });
    rules
}

fn to_permission(rule: &SecurityGroupRule) -> Result<IpPermission, Failure> {
    let peer = text(&rule.peer)?;
    let said = Some(rule.description.clone()).filter(|text| !text.is_empty());
    let permission =
        IpPermission::builder().ip_protocol(&rule.protocol).set_from_port(rule.from_port).set_to_port(rule.to_port);
    let permission = if peer.starts_with("sg-") {
        permission.user_id_group_pairs(UserIdGroupPair::builder().group_id(peer).set_description(said).build())
    } else if peer.starts_with("pl-") {
        permission.prefix_list_ids(PrefixListId::builder().prefix_list_id(peer).set_description(said).build())
    } else if peer.contains(':') {
        permission.ipv6_ranges(Ipv6Range::builder().cidr_ipv6(peer).set_description(said).build())
    } else {
        permission.ip_ranges(IpRange::builder().cidr_ip(peer).set_description(said).build())
    };
    Ok(permission.build())
}

fn to_permissions<'a>(rules: impl IntoIterator<Item = &'a SecurityGroupRule>) -> Result<Vec<IpPermission>, Failure> {
    rules.into_iter().map(to_permission).collect()
}

/// The direction of a rule.
#[derive(Debug, Clone, Copy)]
enum Way {
    In,
    Out,
}

async fn authorize(aws: &Aws, id: &str, way: Way, rules: Vec<IpPermission>) -> Result<(), Failure> {
    let ec2 = &aws.clients.ec2;
    // EC2 needs a moment until a new group is known everywhere.
    aws.patiently(&[Class::NotFound], || async {
        match way {
            Way::In => {
                let call = ec2.authorize_security_group_ingress().group_id(id).set_ip_permissions(Some(rules.clone()));
                call.send().await.of_call("ec2:AuthorizeSecurityGroupIngress").map(drop)
            }
            Way::Out => {
                let call = ec2.authorize_security_group_egress().group_id(id).set_ip_permissions(Some(rules.clone()));
                call.send().await.of_call("ec2:AuthorizeSecurityGroupEgress").map(drop)
            }
        }
    })
    .await
}

/// Revokes rules, if there are any. A rule that does not exist counts as revoked; a group that does not exist does not,
/// because EC2 may not know a new one everywhere.
async fn revoke(aws: &Aws, id: &str, way: Way, rules: &[IpPermission]) -> Result<(), Failure> {
    if rules.is_empty() {
        return Ok(());
    }
    let (ec2, rules) = (&aws.clients.ec2, rules.to_vec());
    let revoked = match way {
        Way::In => {
            let call = ec2.revoke_security_group_ingress().group_id(id).set_ip_permissions(Some(rules));
            call.send().await.of_call("ec2:RevokeSecurityGroupIngress").map(drop)
        }
        Way::Out => {
            let call = ec2.revoke_security_group_egress().group_id(id).set_ip_permissions(Some(rules));
            call.send().await.of_call("ec2:RevokeSecurityGroupEgress").map(drop)
        }
    };
    match revoked {
        Err(failure) if failure.code == "InvalidPermission.NotFound" => Ok(()),
        revoked => revoked,
    }
}

/// Revokes rules of a group that exists.
async fn revoke_known(aws: &Aws, id: &str, way: Way, rules: Vec<IpPermission>) -> Result<(), Failure> {
    aws.patiently(&[Class::NotFound], || revoke(aws, id, way, &rules)).await
}

/// Changes one list of rules from the current to the wanted one. Missing rules are added before the others are removed.
async fn converge(
    aws: &Aws,
    id: &str,
    way: Way,
    from: &[SecurityGroupRule],
    to: &[SecurityGroupRule],
) -> Result<(), Failure> {
    let same = |a: &SecurityGroupRule, b: &SecurityGroupRule| {
        (&a.protocol, a.from_port, a.to_port, &a.peer) == (&b.protocol, b.from_port, b.to_port, &b.peer)
    };
    let missing: Vec<_> = to.iter().filter(|rule| !from.contains(rule)).collect();
    let extra = from.iter().filter(|rule| !to.contains(rule));
    // AWS treats a rule that differs only in its description as a duplicate.
    let (redescribed, extra): (Vec<_>, Vec<_>) = extra.partition(|rule| missing.iter().any(|other| same(rule, other)));
    revoke_known(aws, id, way, to_permissions(redescribed)?).await?;
    if !missing.is_empty() {
        let permissions = to_permissions(missing)?;
        match authorize(aws, id, way, permissions.clone()).await {
            // One duplicate makes AWS refuse the whole call, so the rules are added one by one.
            Err(failure) if failure.class == Class::AlreadyExists => {
                for permission in permissions {
                    match authorize(aws, id, way, vec![permission]).await {
                        Err(failure) if failure.class != Class::AlreadyExists => return Err(failure),
                        _ => {}
                    }
                }
            }
            result => result?,
        }
    }
    revoke_known(aws, id, way, to_permissions(extra)?).await
}

async fn apply(aws: &Aws, id: &str, from: &SecurityGroup, to: &SecurityGroup) -> Result<Remote, Failure> {
    // The tags first: permissions depend on them.
    change_ec2(aws, &[id.to_owned()], &from.tags, &to.tags).await?;
    converge(aws, id, Way::In, &from.ingress, &to.ingress).await?;
    converge(aws, id, Way::Out, &from.egress, &to.egress).await?;
    as_remote(id, to)
}

/// What uses a group.
#[derive(Default)]
struct Users {
    /// The ids of the stack's hosts.
    hosts: BTreeSet<String>,
    tasks: BTreeSet<String>,
    /// Users outside the stack, which do not end by themselves.
    others: BTreeSet<String>,
}

impl Users {
    fn of(interfaces: &[NetworkInterface], stack: &str) -> Self {
        let mut users = Self::default();
        for interface in interfaces {
            let id = interface.network_interface_id.as_deref().unwrap_or_default();
            let host = interface.attachment.as_ref().and_then(|attachment| attachment.instance_id.as_deref());
            let description = interface.description.as_deref().unwrap_or_default();
            let is_own = is_ours(&from_ec2(interface.tag_set.clone()), stack);
            match host {
                Some(host) if is_own => users.hosts.insert(host.to_owned()),
                Some(host) => users.others.insert(format!("`{host}` (`{id}`)")),
                // ECS marks the interfaces that it attaches to tasks.
                None if description.contains(":ecs:") => users.tasks.insert(format!("`{id}`")),
                None if description.is_empty() => users.others.insert(format!("`{id}`")),
                None => users.others.insert(format!("`{id}` ({description})")),
            };
        }
        users
    }

    /// Asks AWS; `None` if it does not say.
    async fn read(aws: &Aws, group: &str) -> Option<Self> {
        let call = aws.clients.ec2.describe_network_interfaces().filters(filter("group-id", vec![group.to_owned()]));
        let answer = call.send().await.of_call("ec2:DescribeNetworkInterfaces").ok()?;
        Some(Self::of(&answer.network_interfaces.unwrap_or_default(), &aws.connection.stack))
    }

    /// Whether a host uses it that is not being terminated: nobody deletes it before the group.
    async fn stay(&self, aws: &Aws) -> bool {
        let hosts: Vec<String> = self.hosts.iter().take(IDS_PER_CALL).cloned().collect();
        !hosts.is_empty() && by_ids(&aws.clients.ec2, &hosts).await.is_ok_and(|found| found.values().any(Host::is_live))
    }

    /// Names the users and the next step, which is never to remove an interface from a host.
    fn advice(&self) -> String {
        let listed = |names: &BTreeSet<String>| {
            let more = if names.len() > 5 { format!(" and {} more", names.len() - 5) } else { String::new() };
            format!("{}{more}", names.iter().take(5).cloned().collect::<Vec<_>>().join(", "))
        };
        let mut advice = Vec::new();
        if !self.hosts.is_empty() {
            let hosts = self.hosts.iter().map(|id| format!("`{id}`")).collect();
            advice.push(format!(
                "hosts of this stack still use it: {}; leave them as they are and run the command again: a host is deleted before its groups. If one has lost its tags that begin with `trunnion:`, put them back first, or terminate it",
                listed(&hosts)
            ));
        }
        if !self.tasks.is_empty() {
            advice.push(format!(
                "ECS tasks that are stopping still use it: {}; run the command again in a few minutes",
                listed(&self.tasks)
            ));
        }
        if !self.others.is_empty() {
            advice.push(format!(
                "other users outside this stack: {}; give them another security group, and run the command again",
                listed(&self.others)
            ));
        }
        if advice.is_empty() {
            advice.push(
                "rules of another security group may still refer to it: remove those rules, and run the command again"
                    .into(),
            );
        }
        advice.join("; ")
    }
}

/// How often a group in use is tried before AWS is asked for its users. With the pauses, this takes 11 seconds.
const TRIES_BEFORE_ASKING: u32 = 9;

/// Deletes a group once nothing uses it. Users outside the stack are not awaited, nor are hosts that nobody terminates.
async fn delete_unused(aws: &Aws, id: &str) -> Result<(), Failure> {
    let delete = || {
        aws.if_known(|| async {
            let call = aws.clients.ec2.delete_security_group().group_id(id);
            call.send().await.of_call("ec2:DeleteSecurityGroup").map(drop)
        })
    };
    let in_use = |failure: Failure, users: Option<Users>| Failure { help: users.map(|it| it.advice()), ..failure };
    match aws.some_times(TRIES_BEFORE_ASKING, &[Class::InUse], delete).await {
        Err(failure) if failure.class == Class::InUse => {
            let users = Users::read(aws, id).await;
            if users.as_ref().is_some_and(|users| !users.others.is_empty()) {
                return Err(in_use(failure, users));
            }
        }
        result => return result,
    }
    match aws.for_lag(&[Class::InUse], delete).await {
        Err(failure) if failure.class == Class::InUse => {
            let users = Users::read(aws, id).await.unwrap_or_default();
            if users.stay(aws).await {
                return Err(in_use(failure, Some(users)));
            }
        }
        result => return result,
    }
    match aws.very_patiently(&[Class::InUse], delete).await {
        Err(failure) if failure.class == Class::InUse => Err(in_use(failure, Users::read(aws, id).await)),
        result => result,
    }
}

/// The groups with the stack's tag.
pub(crate) struct SecurityGroups;

impl Driver for SecurityGroups {
    type Attributes = SecurityGroup;
    const RULES: Rules = SecurityGroup::RULES;
    const NOUN: &'static str = "the security group";
    const READS_BACK: bool = true;
    const LIST_MISSES: bool = true;
    const IMPORTS: bool = true;

    fn can_exist(id: &str, _: &Connection) -> bool {
        is_ec2(id, "sg-")
    }

    async fn list(&self, reading: &Reading<'_>) -> Result<Vec<Remote>, Failure> {
        let aws = reading.aws;
        list(aws, vec![of_stack(aws)]).await?.iter().map(|(id, group)| as_remote(id, group)).collect()
    }

    async fn by_ids(&self, aws: &Aws, ids: Vec<String>) -> Result<Vec<Remote>, Failure> {
        list(aws, vec![filter("group-id", ids)]).await?.iter().map(|(id, group)| as_remote(id, group)).collect()
    }

    fn to_ask(&self, reading: &Reading<'_>, listed: &[Remote]) -> Vec<Wanted> {
        let listed: BTreeSet<&str> = listed.iter().map(|group| attribute(&group.attributes, Self::NAME)).collect();
        let names = reading.names(SecurityGroup::KIND, Self::NAME);
        names.filter(|wanted| !listed.contains(wanted.name.as_str())).collect()
    }

    /// One call per VPC, because names are unique only in a VPC.
    async fn taken(&self, reading: &Reading<'_>, names: Vec<Wanted>) -> Result<Vec<Wanted>, Failure> {
        let aws = reading.aws;
        let lookups = &reading.observed.lookups;
        let mut by_vpc: BTreeMap<String, Vec<Wanted>> = BTreeMap::new();
        for wanted in names {
            let vpc = reading.desired.resources().get(&wanted.address).and_then(|found| found.attributes.get("vpc"));
            let known = |reference: &Reference| lookups.get(&reference.address)?.get(&reference.attribute).cloned();
            if let Some(Value::Text(vpc)) = vpc.map(|vpc| vpc.resolve(&known)) {
                by_vpc.entry(vpc).or_default().push(wanted);
            }
        }
        let asked = by_vpc.into_iter().map(|(vpc, wanted)| async move {
            let names = wanted.iter().map(|wanted| wanted.name.clone()).collect();
            let found = by_names(aws, &vpc, names).await?;
            let is_foreign =
                |name: &str| found.iter().any(|(other, tags)| other == name && !is_ours(tags, &aws.connection.stack));
            Ok(Some(wanted.into_iter().filter(|wanted| is_foreign(&wanted.name)).collect::<Vec<_>>()))
        });
        Ok(all(asked).await?.into_iter().flatten().collect())
    }

    async fn create(&self, aws: &Aws, group: SecurityGroup, _: &Token) -> Result<Remote, Failure> {
        let vpc = text(&group.vpc)?;
        let call = aws.clients.ec2.create_security_group().group_name(&group.name).description(&group.description);
        let call = call.vpc_id(vpc).tag_specifications(specification(ResourceType::SecurityGroup, &group.tags));
        let filters = match call.send().await.of_call("ec2:CreateSecurityGroup") {
            Ok(answer) => vec![filter("group-id", vec![answer.group_id.unwrap_or_default()])],
            Err(failure) if failure.class == Class::AlreadyExists => {
                vec![filter("group-name", vec![group.name.clone()]), filter("vpc-id", vec![vpc.to_owned()])]
            }
            Err(failure) => return Err(failure),
        };
        // AWS adds default rules and an earlier attempt may have added others, so the current rules are read.
        let found = aws.until_seen(|| async { Ok(list(aws, filters.clone()).await?.pop()) }).await?;
        let Some((id, found)) = found else {
            return Err(Failure::own(
                format!("the security group `{}` was created, but AWS does not show it yet", group.name),
                "run the command again: it finds the group".to_owned(),
            ));
        };
        if !aws.owns(&found.tags) {
            return Err(Self::foreign(&group.name));
        }
        apply(aws, &id, &found, &group).await
    }

    async fn update(&self, aws: &Aws, remote: &Remote, group: SecurityGroup, _: &[String]) -> Result<Remote, Failure> {
        apply(aws, &remote.id, &typed(&remote.attributes)?, &group).await
    }

    async fn delete(&self, aws: &Aws, remote: &Remote) -> Result<(), Failure> {
        let id = &remote.id;
        let group: SecurityGroup = typed(&remote.attributes)?;
        // Groups that refer to each other could otherwise never be deleted.
        let to_groups = |rules: &[SecurityGroupRule]| {
            let refers = |rule: &&SecurityGroupRule| matches!(&rule.peer, Value::Text(peer) if peer.starts_with("sg-"));
            to_permissions(rules.iter().filter(refers))
        };
        for (way, rules) in [(Way::In, to_groups(&group.ingress)?), (Way::Out, to_groups(&group.egress)?)] {
            unless_gone(aws.if_known(|| revoke(aws, id, way, &rules)).await)?;
        }
        // The interfaces of a terminated host exist for a moment longer, those of a task until the task has stopped.
        unless_gone(delete_unused(aws, id).await)
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_ec2::types::{NetworkInterfaceAttachment, Tag};

    use super::*;

    #[test]
    fn a_group_in_use_names_its_users_and_leaves_live_hosts_alone() {
        let interface = |id: &str, host: Option<&str>, stack: Option<&str>, description: &str| {
            let attachment = host.map(|host| NetworkInterfaceAttachment::builder().instance_id(host).build());
            let tag = stack.map(|stack| Tag::builder().key(trunnion_kinds::STACK_TAG).value(stack).build());
            NetworkInterface::builder()
                .network_interface_id(id)
                .set_attachment(attachment)
                .set_tag_set(tag.map(|tag| vec![tag]))
                .description(description)
                .build()
        };
        let advice = |interfaces: &[NetworkInterface]| Users::of(interfaces, "a").advice();
        let own =
            advice(&[interface("eni-1", Some("i-1"), Some("a"), ""), interface("eni-2", Some("i-1"), Some("a"), "")]);
        assert_eq!(
            own,
            "hosts of this stack still use it: `i-1`; leave them as they are and run the command again: a host is deleted before its groups. If one has lost its tags that begin with `trunnion:`, put them back first, or terminate it"
        );
        let task = advice(&[interface("eni-3", None, None, "arn:aws:ecs:eu-west-3:1:attachment/x")]);
        assert_eq!(task, "ECS tasks that are stopping still use it: `eni-3`; run the command again in a few minutes");
        let other = advice(&[interface("eni-4", Some("i-4"), Some("b"), "")]);
        assert_eq!(
            other,
            "other users outside this stack: `i-4` (`eni-4`); give them another security group, and run the command again"
        );
        assert!(advice(&[]).starts_with("rules of another security group"));
    }

    #[test]
    fn a_permission_for_several_peers_becomes_several_sorted_rules() {
        let permission = IpPermission::builder()
            .ip_protocol("tcp")
            .from_port(22)
            .to_port(22)
            .user_id_group_pairs(UserIdGroupPair::builder().group_id("sg-1").description("control plane").build())
            .ip_ranges(IpRange::builder().cidr_ip("10.0.0.0/8").build())
            .build();
        let all = IpPermission::builder().ip_protocol("-1").ipv6_ranges(Ipv6Range::builder().cidr_ipv6("::/0").build());
        let rules = from_permissions(Some(vec![permission, all.build()]));
        let rules_read: Vec<_> =
            rules.iter().map(|rule| (rule.protocol.as_str(), rule.from_port, text(&rule.peer).unwrap())).collect();
        assert_eq!(rules_read, [("-1", None, "::/0"), ("tcp", Some(22), "10.0.0.0/8"), ("tcp", Some(22), "sg-1")]);
        let there_and_back = from_permissions(Some(to_permissions(&rules).unwrap()));
        assert_eq!(there_and_back, rules);
    }
}
