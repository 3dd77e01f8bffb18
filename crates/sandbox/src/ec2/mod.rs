//! EC2: the network, security groups, launch templates, instances with all their interfaces, and images.
//!
//! Query protocol, version 2016-11-15. Every row has its region; ids are unique over all regions.

mod absent;
mod address;
mod boot;
mod cards;
mod dhcp;
mod elastic_ip;
mod image;
mod instance;
mod instance_change;
mod instance_status;
mod instance_type;
mod instance_view;
mod interface;
mod interface_change;
mod internet_gateway;
mod launch;
mod launch_data;
mod launch_spec;
mod model;
mod nat_gateway;
mod network;
mod network_acl;
mod permissions;
mod placement;
mod region;
mod region_list;
mod route;
mod rule_change;
mod security_group;
mod security_rule;
mod select;
mod settings;
mod snapshot;
mod spot;
mod tag;
mod task_interface;
mod template;
mod template_version;
mod vpc_attribute;

use jiff::Timestamp;

use crate::{
    call::{Call, Fault, Reply},
    cloud::Cloud,
    table::{AnyTable, Table},
    xml::Xml,
};

#[cfg(test)]
pub(crate) use permissions::KINDS;
pub(crate) use permissions::{PERMISSIONS, arn};
pub use region::{seed, seeded_image};
pub(crate) use tag::tagged;
pub(crate) use task_interface::{Plugged, Wanted, plug, unplug};

/// The resources of every region.
#[derive(Debug, Default)]
pub struct State {
    vpcs: Table<model::Vpc>,
    dhcp_options: Table<model::DhcpOptions>,
    subnets: Table<model::Subnet>,
    route_tables: Table<model::RouteTable>,
    internet_gateways: Table<model::InternetGateway>,
    nat_gateways: Table<model::NatGateway>,
    groups: Table<model::SecurityGroup>,
    rules: Table<model::Rule>,
    templates: Table<model::LaunchTemplate>,
    /// By template id and number, so that they are sorted.
    versions: Table<model::LaunchTemplateVersion>,
    instances: Table<model::Instance>,
    spot_requests: Table<model::SpotRequest>,
    interfaces: Table<model::Interface>,
    volumes: Table<model::Volume>,
    elastic_ips: Table<model::ElasticIp>,
    images: Table<model::Image>,
    /// User data in base64, by its SHA-256.
    user_data: Table<String>,
    /// By region, action and token.
    tokens: Table<model::Token>,
}

/// How many resources that a quota limits a region has.
pub(crate) struct Counts {
    pub(crate) vpcs: usize,
    pub(crate) groups: usize,
    pub(crate) templates: usize,
    pub(crate) interfaces: usize,
}

impl State {
    /// How many resources of each type the region has.
    pub(crate) fn counts(&self, region: &str) -> Counts {
        Counts {
            vpcs: self.vpcs.values().filter(|row| row.region == region).count(),
            groups: self.groups.values().filter(|row| row.region == region).count(),
            templates: self.templates.values().filter(|row| row.region == region).count(),
            interfaces: self.interfaces.values().filter(|row| row.region == region).count(),
        }
    }

    /// How many subnets the VPC has.
    pub(crate) fn subnets_of(&self, vpc: &str) -> usize {
        self.subnets.values().filter(|row| row.vpc == vpc).count()
    }

    /// Whether the region has a subnet or a security group of this id.
    pub(crate) fn has_network(&self, region: &str, id: &str) -> bool {
        self.subnets.get(id).is_some_and(|subnet| subnet.region == region)
            || self.groups.get(id).is_some_and(|group| group.region == region)
    }

    /// What the boots of instances wrote to their consoles, by instance id.
    pub(crate) fn consoles(&self) -> std::collections::BTreeMap<String, String> {
        let consoles = self.instances.iter();
        consoles.filter_map(|(id, instance)| Some((id.to_owned(), instance.console.clone()?))).collect()
    }

    /// Every table, for the journal.
    pub fn tables(&mut self) -> Vec<(&'static str, &mut dyn AnyTable)> {
        vec![
            ("ec2.vpcs", &mut self.vpcs),
            ("ec2.dhcp_options", &mut self.dhcp_options),
            ("ec2.subnets", &mut self.subnets),
            ("ec2.route_tables", &mut self.route_tables),
            ("ec2.internet_gateways", &mut self.internet_gateways),
            ("ec2.nat_gateways", &mut self.nat_gateways),
            ("ec2.groups", &mut self.groups),
            ("ec2.rules", &mut self.rules),
            ("ec2.templates", &mut self.templates),
            ("ec2.versions", &mut self.versions),
            ("ec2.instances", &mut self.instances),
            ("ec2.spot_requests", &mut self.spot_requests),
            ("ec2.interfaces", &mut self.interfaces),
            ("ec2.volumes", &mut self.volumes),
            ("ec2.elastic_ips", &mut self.elastic_ips),
            ("ec2.images", &mut self.images),
            ("ec2.user_data", &mut self.user_data),
            ("ec2.tokens", &mut self.tokens),
        ]
    }
}

/// The calls that are answered from tables.
#[cfg(test)]
pub(crate) fn from_tables() -> Vec<&'static str> {
    absent::names().chain(settings::names()).collect()
}

/// Brings all that changes by itself to the time `now`, the tasks and services of ECS included.
pub(crate) fn settle(cloud: &mut Cloud, now: Timestamp) {
    instance::settle(cloud, now);
    boot::settle(cloud, now);
    nat_gateway::settle(cloud, now);
    crate::ecs::settle(cloud, now);
}

/// Answers one call.
pub fn handle(cloud: &mut Cloud, call: &Call) -> Result<Reply, Fault> {
    settle(cloud, call.now);
    let is_dry = call.params().bool("DryRun")? == Some(true);
    let reply = answer(cloud, call)?;
    if is_dry {
        // The server takes back the changes of a call that fails.
        let message = "Request would have succeeded, but DryRun flag is set.";
        return Err(Fault::new("DryRunOperation", message).with_status(412));
    }
    Ok(reply)
}

fn answer(cloud: &mut Cloud, call: &Call) -> Result<Reply, Fault> {
    if !call.action.starts_with("Describe") {
        tag::check_known(cloud, call)?;
    }
    match call.action.as_str() {
        "DescribeRegions" => region_list::describe(cloud, call),
        "DescribeAvailabilityZones" => region::describe_zones(call),
        "DescribeVpcs" => network::describe_vpcs(cloud, call),
        "CreateVpc" => network::create_vpc(cloud, call),
        "AssociateVpcCidrBlock" => network::associate_block(cloud, call),
        "DescribeDhcpOptions" => dhcp::describe(cloud, call),
        "CreateDhcpOptions" => dhcp::create(cloud, call),
        "AssociateDhcpOptions" => dhcp::associate(cloud, call),
        "DeleteVpc" => network::delete_vpc(cloud, call),
        "DescribeSubnets" => network::describe_subnets(cloud, call),
        "CreateSubnet" => network::create_subnet(cloud, call),
        "DeleteSubnet" => network::delete_subnet(cloud, call),
        "DescribeRouteTables" => route::describe_tables(cloud, call),
        "CreateRouteTable" => route::create_table(cloud, call),
        "AssociateRouteTable" => route::associate(cloud, call),
        "CreateRoute" => route::create(cloud, call),
        "ReplaceRoute" => route::replace(cloud, call),
        "DeleteRoute" => route::delete(cloud, call),
        "DeleteRouteTable" => route::delete_table(cloud, call),
        "DisassociateRouteTable" => route::disassociate(cloud, call),
        "ReplaceRouteTableAssociation" => route::replace_association(cloud, call),
        "DescribeInternetGateways" => internet_gateway::describe(cloud, call),
        "CreateInternetGateway" => internet_gateway::create(cloud, call),
        "AttachInternetGateway" => internet_gateway::attach(cloud, call),
        "DetachInternetGateway" => internet_gateway::detach(cloud, call),
        "DeleteInternetGateway" => internet_gateway::delete(cloud, call),
        "DescribeNatGateways" => nat_gateway::describe(cloud, call),
        "CreateNatGateway" => nat_gateway::create(cloud, call),
        "DeleteNatGateway" => nat_gateway::delete(cloud, call),
        "DescribeVpcAttribute" => vpc_attribute::describe(cloud, call),
        "ModifySubnetAttribute" => network::modify_subnet_attribute(cloud, call),
        "ModifyVpcAttribute" => vpc_attribute::modify(cloud, call),
        "DescribeNetworkAcls" => network_acl::describe(cloud, call),
        "CreateSecurityGroup" => security_group::create(cloud, call),
        "DeleteSecurityGroup" => security_group::delete(cloud, call),
        "DescribeSecurityGroups" => security_group::describe(cloud, call),
        "DescribeSecurityGroupRules" => security_rule::describe(cloud, call),
        "AuthorizeSecurityGroupIngress" => security_rule::authorize(cloud, call, false),
        "AuthorizeSecurityGroupEgress" => security_rule::authorize(cloud, call, true),
        "RevokeSecurityGroupIngress" => security_rule::revoke(cloud, call, false),
        "RevokeSecurityGroupEgress" => security_rule::revoke(cloud, call, true),
        "ModifySecurityGroupRules" => rule_change::modify(cloud, call),
        "UpdateSecurityGroupRuleDescriptionsIngress" => rule_change::set_descriptions(cloud, call, false),
        "UpdateSecurityGroupRuleDescriptionsEgress" => rule_change::set_descriptions(cloud, call, true),
        "CreateLaunchTemplate" => template::create(cloud, call),
        "ModifyLaunchTemplate" => template::modify(cloud, call),
        "DeleteLaunchTemplate" => template::delete(cloud, call),
        "DescribeLaunchTemplates" => template::describe(cloud, call),
        "CreateLaunchTemplateVersion" => template_version::create(cloud, call),
        "DeleteLaunchTemplateVersions" => template_version::delete(cloud, call),
        "DescribeLaunchTemplateVersions" => template_version::describe(cloud, call),
        "RunInstances" => launch::run(cloud, call),
        "DescribeInstances" => instance_view::describe(cloud, call),
        "DescribeInstanceStatus" => instance_status::describe(cloud, call),
        "GetConsoleOutput" => instance_status::console_output(cloud, call),
        "DescribeSpotInstanceRequests" => spot::describe(cloud, call),
        "DescribeInstanceAttribute" => instance_change::attribute(cloud, call),
        "ModifyInstanceAttribute" => instance_change::modify(cloud, call),
        "ModifyInstanceMetadataOptions" => instance_change::modify_metadata(cloud, call),
        "MonitorInstances" => instance_change::monitor(cloud, call, true),
        "UnmonitorInstances" => instance_change::monitor(cloud, call, false),
        "RebootInstances" => instance_change::reboot(cloud, call),
        "TerminateInstances" => instance::terminate(cloud, call),
        "StopInstances" => instance::stop(cloud, call),
        "StartInstances" => instance::start(cloud, call),
        "DescribeNetworkInterfaces" => interface::describe(cloud, call),
        "DescribeNetworkInterfaceAttribute" => interface_change::attribute(cloud, call),
        "ModifyNetworkInterfaceAttribute" => interface_change::modify(cloud, call),
        "AssignPrivateIpAddresses" => interface::assign(cloud, call),
        "UnassignPrivateIpAddresses" => interface::unassign(cloud, call),
        "DescribeVolumes" => interface::describe_volumes(cloud, call),
        "AllocateAddress" => elastic_ip::allocate(cloud, call),
        "AssociateAddress" => elastic_ip::associate(cloud, call),
        "DisassociateAddress" => elastic_ip::disassociate(cloud, call),
        "ReleaseAddress" => elastic_ip::release(cloud, call),
        "DescribeAddresses" => elastic_ip::describe(cloud, call),
        "DescribeAccountAttributes" => elastic_ip::account_attributes(cloud, call),
        "DescribeImages" => image::describe(cloud, call),
        "DescribeSnapshots" => snapshot::describe(cloud, call),
        "RegisterImage" => image::register(cloud, call),
        "DeregisterImage" => image::deregister(cloud, call),
        "DescribeInstanceTypes" => instance_type::describe(call),
        "DescribeInstanceTypeOfferings" => instance_type::describe_offerings(call),
        "CreateTags" => tag::create(cloud, call),
        "DeleteTags" => tag::delete(cloud, call),
        "DescribeTags" => tag::describe(cloud, call),
        other => match absent::of(other) {
            Some(absent) => absent.describe(call),
            None => settings::describe(call).ok_or_else(|| {
                Fault::new("InvalidAction", format!("The action {other} is not valid for this web service."))
            }),
        },
    }
}

/// An answer: the content inside the element that the action determines.
fn document(call: &Call, content: impl FnOnce(&mut Xml)) -> Reply {
    let root = format!("{}Response", call.action);
    Reply::Xml(Xml::document(&root, "http://ec2.amazonaws.com/doc/2016-11-15/", |xml| {
        xml.text("requestId", &call.request_id);
        content(xml);
    }))
}

/// The answer of calls that return nothing.
fn done(call: &Call) -> Reply {
    document(call, |xml| {
        xml.plain("return", true);
    })
}

#[cfg(test)]
mod tests;
