//! Asks EC2 whether it would do what the commands do. A dry run changes nothing.
//!
//! Calls that create something are asked with the stack's own network, image and tags. Calls that change something are
//! asked about one resource of each kind that the stack has; where it has none, EC2 cannot be asked.

use std::collections::BTreeMap;

use aws_sdk_ec2::types::{
    DomainType, InstanceMarketOptionsRequest, InstanceType, IpPermission, IpRange, MarketType,
    RequestLaunchTemplateData, ResourceType, SecurityGroup, Tag,
};
use futures::future::{BoxFuture, join_all};
use trunnion_kinds::{ADDRESS_TAG, STACK_TAG, Tags, lookup::Vpc};

use super::Examination;
use crate::{
    Aws,
    convert::attribute,
    error::{Class, Denial, Failure, OfCall as _},
    kinds::tagging::{of_stack, specification},
    quotas::Pool,
};

/// What EC2 answered to a dry run.
#[derive(Debug, Clone)]
pub(super) enum Answer {
    /// It would do it.
    Allowed,
    /// A permission is missing.
    Denied(Failure),
    /// It refused the call for another reason, which leaves the permission open.
    Open(Failure),
}

/// The answers by operation, each with the action that it is about: all actions of EC2 where it is nothing.
pub(super) struct DryRuns(BTreeMap<&'static str, (Option<String>, Answer)>);

/// The code of a dry run that would succeed. AWS does not say in which order it checks permissions, names, states and quotas,
/// so no other code shows a permission (EC2 API reference, "Common query parameters", read November 2026).
const WOULD_SUCCEED: &str = "DryRunOperation";

impl DryRuns {
    /// What EC2 says of an action in an operation; nothing if it was not asked. A denial is about the action that it
    /// names, and leaves the others open.
    pub fn of(&self, operation: &str, action: &str) -> Option<Answer> {
        let (about, answer) = self.0.get(operation).filter(|_| action.starts_with("ec2:"))?;
        Some(match (about, answer) {
            (Some(about), Answer::Denied(failure)) if about != action => {
                Answer::Open(Failure { message: format!("it needs `{about}` first"), ..failure.clone() })
            }
            (_, answer) => answer.clone(),
        })
    }
}

type Asked<'a> = BoxFuture<'a, (&'static str, Option<Failure>)>;

macro_rules! dry {
    ($operation:literal, $call:expr) => {{
        let call = $call.dry_run(true);
        Box::pin(async move { ($operation, call.send().await.of_call($operation).err()) }) as Asked<'_>
    }};
}

pub(super) async fn ask(examination: &Examination<'_>) -> DryRuns {
    let owned = Owned::read(examination.aws).await;
    let asked = [reads(examination.aws), creates(examination, &owned), changes(examination.aws, &owned)];
    let answers = join_all(asked.into_iter().flatten()).await;
    let has_group = owned.group.is_some();
    // Of several answers about one operation, a denial counts most, and an open one least.
    let weight = |answer: &Answer| match answer {
        Answer::Open(_) => 0,
        Answer::Allowed => 1,
        Answer::Denied(_) => 2,
    };
    let mut judgements = BTreeMap::new();
    for (operation, failure) in answers {
        let (operation, judgement) = judged(operation, failure, has_group);
        let known: &mut (Option<String>, Answer) = judgements.entry(operation).or_insert_with(|| judgement.clone());
        if weight(&judgement.1) > weight(&known.1) {
            *known = judgement;
        }
    }
    DryRuns(judgements)
}

fn judged(
    operation: &'static str,
    failure: Option<Failure>,
    has_group: bool,
) -> (&'static str, (Option<String>, Answer)) {
    let Some(failure) = failure else { return (operation, (None, Answer::Allowed)) };
    if failure.code == WOULD_SUCCEED {
        return (operation, (None, Answer::Allowed));
    }
    if failure.class != Class::Denied {
        return (operation, (None, Answer::Open(failure)));
    }
    let denial = Denial::new(operation, &failure.message);
    // Without a group of the stack, EC2 takes the default group of the VPC, which the stack never uses. No other group has the
    // tag of the stack, so none would show more.
    let is_default_group = !has_group && denial.resource().is_none_or(|resource| resource.contains(":security-group/"));
    if operation == "ec2:RunInstances" && is_default_group {
        let message =
            "without a group of the stack, it asks about the default group of the VPC, which the policies do not allow";
        let help = Some("after an apply, doctor asks with the stack's own group".to_owned());
        let failure = Failure { message: message.to_owned(), help, ..failure };
        return (operation, (None, Answer::Open(failure)));
    }
    let action = denial.action().to_owned();
    (operation, (Some(action), Answer::Denied(failure)))
}

/// One resource of the stack of each kind, if it has any.
#[derive(Default)]
struct Owned {
    group: Option<String>,
    /// All its groups: those in use cannot be deleted.
    groups: Vec<String>,
    /// A rule for each direction, with the id of its group.
    egress: Option<(String, IpPermission)>,
    ingress: Option<(String, IpPermission)>,
    instance: Option<String>,
    template: Option<String>,
    /// The ids of an allocation and of its association.
    address: Option<(String, Option<String>)>,
}

impl Owned {
    /// What cannot be read counts as not there.
    async fn read(aws: &Aws) -> Self {
        let ec2 = &aws.clients.ec2;
        let of_stack = || of_stack(aws);
        let (groups, instances, templates, addresses) = futures::join!(
            Box::pin(ec2.describe_security_groups().filters(of_stack()).max_results(5).send()),
            Box::pin(ec2.describe_instances().filters(of_stack()).max_results(5).send()),
            Box::pin(ec2.describe_launch_templates().filters(of_stack()).max_results(5).send()),
            Box::pin(ec2.describe_addresses().filters(of_stack()).send()),
        );
        let first = |ids: Vec<Option<String>>| ids.into_iter().flatten().next();
        let groups = groups.ok().and_then(|answer| answer.security_groups).unwrap_or_default();
        let templates = templates.ok().and_then(|answer| answer.launch_templates).unwrap_or_default();
        let reservations = instances.ok().and_then(|answer| answer.reservations).unwrap_or_default();
        let instances = reservations.into_iter().flat_map(|one| one.instances.unwrap_or_default());
        let addresses = addresses.ok().and_then(|answer| answer.addresses).unwrap_or_default();
        let rule = |rules: fn(&SecurityGroup) -> &[IpPermission]| {
            groups.iter().find_map(|group| Some((group.group_id.clone()?, rules(group).first()?.clone())))
        };
        Self {
            egress: rule(SecurityGroup::ip_permissions_egress),
            ingress: rule(SecurityGroup::ip_permissions),
            group: first(groups.iter().map(|group| group.group_id.clone()).collect()),
            groups: groups.into_iter().filter_map(|group| group.group_id).collect(),
            instance: first(instances.map(|instance| instance.instance_id).collect()),
            template: first(templates.into_iter().map(|template| template.launch_template_id).collect()),
            address: addresses.into_iter().find_map(|address| Some((address.allocation_id?, address.association_id))),
        }
    }
}

fn reads(aws: &Aws) -> Vec<Asked<'_>> {
    let ec2 = &aws.clients.ec2;
    vec![
        dry!("ec2:DescribeAccountAttributes", ec2.describe_account_attributes()),
        dry!("ec2:DescribeAddresses", ec2.describe_addresses()),
        dry!("ec2:DescribeDhcpOptions", ec2.describe_dhcp_options()),
        dry!("ec2:DescribeImages", ec2.describe_images().owners("self")),
        dry!("ec2:DescribeInstances", ec2.describe_instances().max_results(5)),
        dry!("ec2:DescribeInstanceTypes", ec2.describe_instance_types().max_results(5)),
        dry!("ec2:DescribeLaunchTemplates", ec2.describe_launch_templates()),
        dry!("ec2:DescribeLaunchTemplateVersions", ec2.describe_launch_template_versions().versions("$Latest")),
        dry!("ec2:DescribeNatGateways", ec2.describe_nat_gateways().max_results(5)),
        dry!("ec2:DescribeNetworkInterfaces", ec2.describe_network_interfaces().max_results(5)),
        dry!("ec2:DescribeRouteTables", ec2.describe_route_tables().max_results(5)),
        dry!("ec2:DescribeSecurityGroups", ec2.describe_security_groups().max_results(5)),
        dry!("ec2:DescribeSubnets", ec2.describe_subnets().max_results(5)),
        dry!("ec2:DescribeVpcs", ec2.describe_vpcs().max_results(5)),
    ]
}

fn creates<'a>(examination: &'a Examination<'_>, owned: &Owned) -> Vec<Asked<'a>> {
    let ec2 = &examination.aws.clients.ec2;
    let stack = &examination.aws.connection.stack;
    let tags =
        Tags::from([(STACK_TAG.to_owned(), stack.clone()), (ADDRESS_TAG.to_owned(), "doctor.dry_run".to_owned())]);
    let tagged = |resource: ResourceType| specification(resource, &tags);
    let mut asked = Vec::new();
    let vpc = examination.known.iter().find(|(address, _)| address.kind.as_str() == Vpc::KIND);
    if let Some((_, vpc)) = vpc {
        let group = ec2.create_security_group().group_name(format!("{stack}.doctor")).description("dry run");
        let group = group.vpc_id(attribute(vpc, "id")).tag_specifications(tagged(ResourceType::SecurityGroup));
        asked.push(dry!("ec2:CreateSecurityGroup", group));
    }
    let address = ec2.allocate_address().domain(DomainType::Vpc).tag_specifications(tagged(ResourceType::ElasticIp));
    asked.push(dry!("ec2:AllocateAddress", address));
    let whole = |pool: &&Pool| pool.image.is_some() && pool.subnet.is_some();
    if let Some(pool) = examination.pools.iter().find(whole) {
        let (kind, image) = (InstanceType::from(pool.instance_type.as_str()), pool.image.clone().unwrap_or_default());
        let data = RequestLaunchTemplateData::builder().instance_type(kind.clone()).image_id(&image).build();
        let template = ec2.create_launch_template().launch_template_name(format!("{stack}.doctor"));
        let template = template.launch_template_data(data).tag_specifications(tagged(ResourceType::LaunchTemplate));
        asked.push(dry!("ec2:CreateLaunchTemplate", template));
        let types = [ResourceType::Instance, ResourceType::Volume, ResourceType::NetworkInterface];
        let market = InstanceMarketOptionsRequest::builder().market_type(MarketType::Spot).build();
        let host = ec2.run_instances().min_count(1).max_count(1).image_id(image).instance_type(kind);
        let host =
            host.set_subnet_id(pool.subnet.clone()).set_security_group_ids(owned.group.clone().map(|id| vec![id]));
        let host = host.set_tag_specifications(Some(types.into_iter().map(tagged).collect()));
        let host = host.set_instance_market_options(pool.is_spot.then_some(market));
        asked.push(dry!("ec2:RunInstances", host));
    }
    asked
}

fn changes<'a>(aws: &'a Aws, owned: &Owned) -> Vec<Asked<'a>> {
    let ec2 = &aws.clients.ec2;
    let mut asked = Vec::new();
    if let Some(id) = &owned.group {
        let rule = || {
            let range = IpRange::builder().cidr_ip("192.0.2.0/24").build();
            IpPermission::builder().ip_protocol("tcp").from_port(22).to_port(22).ip_ranges(range).build()
        };
        let tag = Tag::builder().key(ADDRESS_TAG).value("doctor.dry_run").build();
        asked.extend([
            dry!(
                "ec2:AuthorizeSecurityGroupEgress",
                ec2.authorize_security_group_egress().group_id(id).ip_permissions(rule())
            ),
            dry!(
                "ec2:AuthorizeSecurityGroupIngress",
                ec2.authorize_security_group_ingress().group_id(id).ip_permissions(rule())
            ),
            dry!("ec2:CreateTags", ec2.create_tags().resources(id).tags(tag)),
            dry!("ec2:DeleteTags", ec2.delete_tags().resources(id).tags(Tag::builder().key(ADDRESS_TAG).build())),
        ]);
    }
    for id in &owned.groups {
        asked.push(dry!("ec2:DeleteSecurityGroup", ec2.delete_security_group().group_id(id)));
    }
    if let Some((id, rule)) = owned.egress.clone() {
        let call = ec2.revoke_security_group_egress().group_id(id).ip_permissions(rule);
        asked.push(dry!("ec2:RevokeSecurityGroupEgress", call));
    }
    if let Some((id, rule)) = owned.ingress.clone() {
        let call = ec2.revoke_security_group_ingress().group_id(id).ip_permissions(rule);
        asked.push(dry!("ec2:RevokeSecurityGroupIngress", call));
    }
    if let Some(id) = &owned.instance {
        asked.push(dry!("ec2:StartInstances", ec2.start_instances().instance_ids(id)));
        asked.push(dry!("ec2:TerminateInstances", ec2.terminate_instances().instance_ids(id)));
    }
    if let Some(id) = &owned.template {
        let data = RequestLaunchTemplateData::builder().instance_type(InstanceType::C7iXlarge).build();
        let version = ec2.create_launch_template_version().launch_template_id(id).launch_template_data(data);
        asked.extend([
            dry!("ec2:CreateLaunchTemplateVersion", version),
            dry!("ec2:ModifyLaunchTemplate", ec2.modify_launch_template().launch_template_id(id).default_version("1")),
            dry!("ec2:DeleteLaunchTemplate", ec2.delete_launch_template().launch_template_id(id)),
        ]);
    }
    if let Some((id, association)) = &owned.address {
        if let Some(instance) = &owned.instance {
            asked.push(dry!("ec2:AssociateAddress", ec2.associate_address().allocation_id(id).instance_id(instance)));
        }
        match association {
            Some(association) => {
                let call = ec2.disassociate_address().association_id(association);
                asked.push(dry!("ec2:DisassociateAddress", call));
            }
            // EC2 refuses to release an address in use.
            None => asked.push(dry!("ec2:ReleaseAddress", ec2.release_address().allocation_id(id))),
        }
    }
    asked
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(class: Class, code: &str, message: &str, has_group: bool) -> Answer {
        let operation = "ec2:RunInstances";
        let failure = Failure { code: code.to_owned(), ..Failure::of_call(operation, class, message) };
        judged(operation, Some(failure), has_group).1.1
    }

    #[test]
    fn only_a_dry_run_that_would_succeed_shows_a_permission() {
        assert!(matches!(answer(Class::Other, WOULD_SUCCEED, "", true), Answer::Allowed));
        for class in [Class::NotFound, Class::AlreadyExists, Class::InUse, Class::Quota, Class::Capacity] {
            assert!(matches!(answer(class, "X", "", true), Answer::Open(_)), "{class:?}");
        }
    }

    #[test]
    fn a_denial_about_the_default_group_leaves_the_launch_open() {
        let on_group =
            "not authorized to perform: ec2:RunInstances on resource: arn:aws:ec2:eu-west-3:1:security-group/sg-1";
        for message in [on_group, "You are not authorized to perform this operation."] {
            assert!(matches!(answer(Class::Denied, "UnauthorizedOperation", message, false), Answer::Open(_)));
            assert!(matches!(answer(Class::Denied, "UnauthorizedOperation", message, true), Answer::Denied(_)));
        }
    }
}
