//! The permissions of EC2's calls, and the condition keys of its resources ("Actions, resources, and condition keys for
//! Amazon EC2", Service Authorization Reference; "Control access to resources with tags", EC2 user guide; both read
//! November 2026).

mod keys;
mod launch;

use super::{model::Tags, template};
use crate::{
    authorize::{Row, Scene, Target, any, reference::reference},
    call::arn_of,
    cloud::Cloud,
    query::Params,
};

/// The resource types of this module. The reference is kept for these.
#[cfg(test)]
pub(crate) const KINDS: &[&str] = &[
    "dhcp-options",
    "elastic-ip",
    "image",
    "instance",
    "internet-gateway",
    "launch-template",
    "natgateway",
    "network-interface",
    "route-table",
    "security-group",
    "security-group-rule",
    "snapshot",
    "spot-instances-request",
    "subnet",
    "volume",
    "vpc",
];

/// Both ways in which EC2 names the tags of a resource.
const TAGS: &[&str] = &["aws:ResourceTag/", "ec2:ResourceTag/"];

/// One row per call.
pub(crate) const PERMISSIONS: &[Row] = &[
    ("DescribeRegions", &[("ec2:DescribeRegions", any)]),
    ("DescribeInternetGateways", &[("ec2:DescribeInternetGateways", any)]),
    ("DescribeNatGateways", &[("ec2:DescribeNatGateways", any)]),
    ("DescribeNetworkAcls", &[("ec2:DescribeNetworkAcls", any)]),
    ("DescribeInstanceStatus", &[("ec2:DescribeInstanceStatus", any)]),
    ("DescribeSpotInstanceRequests", &[("ec2:DescribeSpotInstanceRequests", any)]),
    ("DescribeNetworkInterfaceAttribute", &[("ec2:DescribeNetworkInterfaceAttribute", any)]),
    ("DescribeSnapshots", &[("ec2:DescribeSnapshots", any)]),
    ("DescribeCapacityReservations", &[("ec2:DescribeCapacityReservations", any)]),
    ("DescribeCustomerGateways", &[("ec2:DescribeCustomerGateways", any)]),
    ("DescribeEgressOnlyInternetGateways", &[("ec2:DescribeEgressOnlyInternetGateways", any)]),
    ("DescribeFleets", &[("ec2:DescribeFleets", any)]),
    ("DescribeFlowLogs", &[("ec2:DescribeFlowLogs", any)]),
    ("DescribeHosts", &[("ec2:DescribeHosts", any)]),
    ("DescribeInstanceConnectEndpoints", &[("ec2:DescribeInstanceConnectEndpoints", any)]),
    ("DescribeKeyPairs", &[("ec2:DescribeKeyPairs", any)]),
    ("DescribePlacementGroups", &[("ec2:DescribePlacementGroups", any)]),
    ("DescribeReservedInstances", &[("ec2:DescribeReservedInstances", any)]),
    ("DescribeTransitGatewayVpcAttachments", &[("ec2:DescribeTransitGatewayVpcAttachments", any)]),
    ("DescribeTransitGateways", &[("ec2:DescribeTransitGateways", any)]),
    ("DescribeVpcEndpoints", &[("ec2:DescribeVpcEndpoints", any)]),
    ("DescribeVpcPeeringConnections", &[("ec2:DescribeVpcPeeringConnections", any)]),
    ("DescribeVpnConnections", &[("ec2:DescribeVpnConnections", any)]),
    ("DescribeVpnGateways", &[("ec2:DescribeVpnGateways", any)]),
    ("GetInstanceMetadataDefaults", &[("ec2:GetInstanceMetadataDefaults", any)]),
    ("GetEbsDefaultKmsKeyId", &[("ec2:GetEbsDefaultKmsKeyId", any)]),
    ("GetEbsEncryptionByDefault", &[("ec2:GetEbsEncryptionByDefault", any)]),
    ("GetImageBlockPublicAccessState", &[("ec2:GetImageBlockPublicAccessState", any)]),
    ("GetSerialConsoleAccessStatus", &[("ec2:GetSerialConsoleAccessStatus", any)]),
    ("GetSnapshotBlockPublicAccessState", &[("ec2:GetSnapshotBlockPublicAccessState", any)]),
    ("DeleteRoute", &[("ec2:DeleteRoute", |s| s.each("route-table", &["RouteTableId"]))]),
    ("DeleteRouteTable", &[("ec2:DeleteRouteTable", |s| s.each("route-table", &["RouteTableId"]))]),
    ("DeleteInternetGateway", &[("ec2:DeleteInternetGateway", |s| s.each("internet-gateway", &["InternetGatewayId"]))]),
    ("DeleteNatGateway", &[("ec2:DeleteNatGateway", |s| s.each("natgateway", &["NatGatewayId"]))]),
    ("DescribeVpcAttribute", &[("ec2:DescribeVpcAttribute", |s| s.each("vpc", &["VpcId"]))]),
    ("ModifySubnetAttribute", &[("ec2:ModifySubnetAttribute", |s| s.each("subnet", &["SubnetId"]))]),
    ("ModifyVpcAttribute", &[("ec2:ModifyVpcAttribute", |s| s.each("vpc", &["VpcId"]))]),
    ("GetConsoleOutput", &[("ec2:GetConsoleOutput", |s| s.each("instance", &["InstanceId"]))]),
    (
        "ModifyInstanceMetadataOptions",
        &[("ec2:ModifyInstanceMetadataOptions", |s| s.each("instance", &["InstanceId"]))],
    ),
    ("MonitorInstances", &[("ec2:MonitorInstances", |s| s.each("instance", &["InstanceId"]))]),
    ("UnmonitorInstances", &[("ec2:UnmonitorInstances", |s| s.each("instance", &["InstanceId"]))]),
    ("RebootInstances", &[("ec2:RebootInstances", |s| s.each("instance", &["InstanceId"]))]),
    (
        "AttachInternetGateway",
        &[("ec2:AttachInternetGateway", |s| s.all(&[("internet-gateway", "InternetGatewayId"), ("vpc", "VpcId")]))],
    ),
    (
        "DetachInternetGateway",
        &[("ec2:DetachInternetGateway", |s| s.all(&[("internet-gateway", "InternetGatewayId"), ("vpc", "VpcId")]))],
    ),
    ("UpdateSecurityGroupRuleDescriptionsIngress", &[("ec2:UpdateSecurityGroupRuleDescriptionsIngress", group)]),
    ("UpdateSecurityGroupRuleDescriptionsEgress", &[("ec2:UpdateSecurityGroupRuleDescriptionsEgress", group)]),
    ("DisassociateRouteTable", &[("ec2:DisassociateRouteTable", |s| associated(s, false))]),
    ("ReplaceRouteTableAssociation", &[("ec2:ReplaceRouteTableAssociation", |s| associated(s, true))]),
    (
        "CreateInternetGateway",
        &[
            ("ec2:CreateInternetGateway", |s| s.created("internet-gateway")),
            ("ec2:CreateTags", |s| s.tagging("internet-gateway")),
        ],
    ),
    ("ModifySecurityGroupRules", &[("ec2:ModifySecurityGroupRules", changed_rules)]),
    ("DeleteLaunchTemplateVersions", &[("ec2:DeleteLaunchTemplateVersions", launch_template)]),
    (
        "ModifyInstanceAttribute",
        &[("ec2:ModifyInstanceAttribute", |s| s.all(&[("instance", "InstanceId"), ("security-group", "GroupId")]))],
    ),
    (
        "ModifyNetworkInterfaceAttribute",
        &[("ec2:ModifyNetworkInterfaceAttribute", |s| {
            s.all(&[("network-interface", "NetworkInterfaceId"), ("security-group", "SecurityGroupId")])
        })],
    ),
    (
        "AllocateAddress",
        &[("ec2:AllocateAddress", |s| s.created("elastic-ip")), ("ec2:CreateTags", |s| s.tagging("elastic-ip"))],
    ),
    (
        "AssignPrivateIpAddresses",
        &[("ec2:AssignPrivateIpAddresses", |s| s.each("network-interface", &["NetworkInterfaceId"]))],
    ),
    ("AssociateAddress", &[("ec2:AssociateAddress", associated_address)]),
    (
        "AssociateDhcpOptions",
        &[("ec2:AssociateDhcpOptions", |s| s.all(&[("dhcp-options", "DhcpOptionsId"), ("vpc", "VpcId")]))],
    ),
    (
        "AssociateRouteTable",
        &[("ec2:AssociateRouteTable", |s| s.all(&[("route-table", "RouteTableId"), ("subnet", "SubnetId")]))],
    ),
    ("AssociateVpcCidrBlock", &[("ec2:AssociateVpcCidrBlock", |s| s.each("vpc", &["VpcId"]))]),
    (
        "AuthorizeSecurityGroupEgress",
        &[("ec2:AuthorizeSecurityGroupEgress", group), ("ec2:CreateTags", |s| s.tagging("security-group-rule"))],
    ),
    (
        "AuthorizeSecurityGroupIngress",
        &[("ec2:AuthorizeSecurityGroupIngress", group), ("ec2:CreateTags", |s| s.tagging("security-group-rule"))],
    ),
    (
        "CreateDhcpOptions",
        &[("ec2:CreateDhcpOptions", |s| s.created("dhcp-options")), ("ec2:CreateTags", |s| s.tagging("dhcp-options"))],
    ),
    (
        "CreateLaunchTemplate",
        &[
            ("ec2:CreateLaunchTemplate", |s| s.created("launch-template")),
            ("ec2:CreateTags", |s| s.tagging("launch-template")),
        ],
    ),
    ("CreateLaunchTemplateVersion", &[("ec2:CreateLaunchTemplateVersion", launch_template)]),
    ("CreateNatGateway", &[("ec2:CreateNatGateway", new_nat_gateway), ("ec2:CreateTags", |s| s.tagging("natgateway"))]),
    ("CreateRoute", &[("ec2:CreateRoute", |s| s.each("route-table", &["RouteTableId"]))]),
    (
        "CreateRouteTable",
        &[("ec2:CreateRouteTable", |s| s.in_vpc("route-table")), ("ec2:CreateTags", |s| s.tagging("route-table"))],
    ),
    (
        "CreateSecurityGroup",
        &[
            ("ec2:CreateSecurityGroup", |s| s.in_vpc("security-group")),
            ("ec2:CreateTags", |s| s.tagging("security-group")),
        ],
    ),
    ("CreateSubnet", &[("ec2:CreateSubnet", |s| s.in_vpc("subnet")), ("ec2:CreateTags", |s| s.tagging("subnet"))]),
    ("CreateTags", &[("ec2:CreateTags", tagged)]),
    ("CreateVpc", &[("ec2:CreateVpc", |s| s.created("vpc")), ("ec2:CreateTags", |s| s.tagging("vpc"))]),
    ("DeleteLaunchTemplate", &[("ec2:DeleteLaunchTemplate", launch_template)]),
    ("DeleteSecurityGroup", &[("ec2:DeleteSecurityGroup", group)]),
    ("DeleteSubnet", &[("ec2:DeleteSubnet", |s| s.each("subnet", &["SubnetId"]))]),
    ("DeleteTags", &[("ec2:DeleteTags", untagged)]),
    ("DeleteVpc", &[("ec2:DeleteVpc", |s| s.each("vpc", &["VpcId"]))]),
    ("DescribeAccountAttributes", &[("ec2:DescribeAccountAttributes", any)]),
    ("DescribeAddresses", &[("ec2:DescribeAddresses", any)]),
    ("DescribeAvailabilityZones", &[("ec2:DescribeAvailabilityZones", any)]),
    ("DescribeDhcpOptions", &[("ec2:DescribeDhcpOptions", any)]),
    ("DescribeImages", &[("ec2:DescribeImages", any)]),
    ("DescribeInstanceAttribute", &[("ec2:DescribeInstanceAttribute", |s| s.each("instance", &["InstanceId"]))]),
    ("DescribeInstanceTypeOfferings", &[("ec2:DescribeInstanceTypeOfferings", any)]),
    ("DescribeInstanceTypes", &[("ec2:DescribeInstanceTypes", any)]),
    ("DescribeInstances", &[("ec2:DescribeInstances", any)]),
    ("DescribeLaunchTemplateVersions", &[("ec2:DescribeLaunchTemplateVersions", any)]),
    ("DescribeLaunchTemplates", &[("ec2:DescribeLaunchTemplates", any)]),
    ("DescribeNetworkInterfaces", &[("ec2:DescribeNetworkInterfaces", any)]),
    ("DescribeRouteTables", &[("ec2:DescribeRouteTables", any)]),
    ("DescribeSecurityGroupRules", &[("ec2:DescribeSecurityGroupRules", any)]),
    ("DescribeSecurityGroups", &[("ec2:DescribeSecurityGroups", any)]),
    ("DescribeSubnets", &[("ec2:DescribeSubnets", any)]),
    ("DescribeTags", &[("ec2:DescribeTags", any)]),
    ("DescribeVolumes", &[("ec2:DescribeVolumes", any)]),
    ("DescribeVpcs", &[("ec2:DescribeVpcs", any)]),
    ("DisassociateAddress", &[("ec2:DisassociateAddress", disassociated_address)]),
    ("ModifyLaunchTemplate", &[("ec2:ModifyLaunchTemplate", launch_template)]),
    ("DeregisterImage", &[("ec2:DeregisterImage", |s| s.each("image", &["ImageId"]))]),
    ("RegisterImage", &[("ec2:RegisterImage", new_image), ("ec2:CreateTags", |s| s.tagging("image"))]),
    ("ReleaseAddress", &[("ec2:ReleaseAddress", |s| s.each("elastic-ip", &["AllocationId"]))]),
    ("ReplaceRoute", &[("ec2:ReplaceRoute", |s| s.each("route-table", &["RouteTableId"]))]),
    ("RevokeSecurityGroupEgress", &[("ec2:RevokeSecurityGroupEgress", group)]),
    ("RevokeSecurityGroupIngress", &[("ec2:RevokeSecurityGroupIngress", group)]),
    (
        "RunInstances",
        &[
            ("ec2:RunInstances", launch::launched),
            ("ec2:CreateTags", launch::launch_tags),
            ("iam:PassRole", launch::passed_role),
        ],
    ),
    ("StartInstances", &[("ec2:StartInstances", |s| s.each("instance", &["InstanceId"]))]),
    ("StopInstances", &[("ec2:StopInstances", |s| s.each("instance", &["InstanceId"]))]),
    ("TerminateInstances", &[("ec2:TerminateInstances", |s| s.each("instance", &["InstanceId"]))]),
    (
        "UnassignPrivateIpAddresses",
        &[("ec2:UnassignPrivateIpAddresses", |s| s.each("network-interface", &["NetworkInterfaceId"]))],
    ),
];

impl Scene<'_> {
    /// The resources whose ids are in these parameters, each of which can be a list.
    fn each(&self, kind: &'static str, names: &[&str]) -> Vec<Target> {
        let params = self.call.params();
        let ids = names.iter().flat_map(|name| params.get(name).into_iter().chain(params.list(name)));
        ids.map(|id| self.resource(kind, id)).collect()
    }

    /// The resources of several types, each named by a parameter.
    fn all(&self, named: &[(&'static str, &str)]) -> Vec<Target> {
        named.iter().flat_map(|(kind, name)| self.each(kind, &[name])).collect()
    }

    /// A resource that the call creates, with its tags.
    fn created(&self, kind: &'static str) -> Vec<Target> {
        vec![Target::of(kind, self.arn_of(kind, "*")).gets_tags(pairs(&specified(&self.call.params(), kind)))]
    }

    /// A resource that the call creates in a VPC.
    fn in_vpc(&self, kind: &'static str) -> Vec<Target> {
        let params = self.call.params();
        let vpc = params.get("VpcId").map(str::to_owned).or_else(|| self.default_vpc());
        let with = |target: Target| {
            target
                .with_some("ec2:Vpc", vpc.as_ref().map(|vpc| self.arn_of("vpc", vpc)))
                .with_some("ec2:AvailabilityZone", params.get("AvailabilityZone"))
        };
        let new = self.created(kind).into_iter().map(with);
        new.chain(vpc.as_ref().map(|vpc| self.resource("vpc", vpc))).collect()
    }

    fn default_vpc(&self) -> Option<String> {
        let mut vpcs = self.cloud.ec2.vpcs.iter();
        vpcs.find(|(_, vpc)| vpc.is_default && vpc.region == self.call.region).map(|(id, _)| id.to_owned())
    }

    /// The tagging of a resource that the call creates; nothing without tags.
    fn tagging(&self, kind: &'static str) -> Vec<Target> {
        let tags = specified(&self.call.params(), kind);
        if tags.is_empty() { Vec::new() } else { vec![self.tagging_with(kind, &tags)] }
    }

    fn tagging_with(&self, kind: &'static str, tags: &Tags) -> Target {
        Target::of(kind, self.arn_of(kind, "*"))
            .gets_tags(pairs(tags))
            .with("ec2:CreateAction", self.call.action.as_str())
    }

    /// A resource with its condition keys.
    fn resource(&self, kind: &'static str, id: &str) -> Target {
        let target = Target::of(kind, self.arn_of(kind, id));
        keys::of(self, kind, id, target)
    }

    fn arn_of(&self, kind: &str, id: &str) -> String {
        arn(self.cloud, &self.call.region, kind, id)
    }
}

/// The ARN of a resource, in the format of the reference. Images and snapshots belong to no account.
pub(crate) fn arn(cloud: &Cloud, region: &str, kind: &str, id: &str) -> String {
    let format = reference().arns.iter().find(|((service, other), _)| *service == "ec2" && *other == kind);
    let is_shared = format.is_some_and(|(_, format)| !format.contains("${Account}"));
    format!("{}:ec2:{region}:{}:{kind}/{id}", arn_of(region), if is_shared { "" } else { &cloud.account })
}

fn pairs(tags: &Tags) -> Vec<(&str, &str)> {
    tags.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect()
}

/// The tags of one type in `TagSpecification.N`.
fn specified(params: &Params<'_>, kind: &str) -> Tags {
    let mut tags = Tags::new();
    for specification in params.items("TagSpecification") {
        if specification.get("ResourceType") == Some(kind) {
            tags.extend(given(&specification));
        }
    }
    tags
}

fn given(params: &Params<'_>) -> Tags {
    let pair = |tag: Params<'_>| Some((tag.get("Key")?.to_owned(), tag.get("Value").unwrap_or_default().to_owned()));
    params.items("Tag").into_iter().filter_map(pair).collect()
}

/// The group, by id or by its name in the default VPC.
fn group(scene: &Scene<'_>) -> Vec<Target> {
    let params = scene.call.params();
    let by_name = || {
        let (name, vpc) = (params.get("GroupName")?, scene.default_vpc()?);
        let mut groups = scene.cloud.ec2.groups.iter();
        groups.find(|(_, group)| group.vpc == vpc && group.name == name).map(|(id, _)| id.to_owned())
    };
    let id = params.get("GroupId").map(str::to_owned).or_else(by_name);
    vec![scene.resource("security-group", &id.unwrap_or_else(|| "*".to_owned()))]
}

fn launch_template(scene: &Scene<'_>) -> Vec<Target> {
    let id = template::named(scene.cloud, scene.call, &scene.call.params());
    let id = id.ok().or_else(|| scene.call.params().get("LaunchTemplateId").map(str::to_owned));
    vec![scene.resource("launch-template", &id.unwrap_or_else(|| "*".to_owned()))]
}

fn associated_address(scene: &Scene<'_>) -> Vec<Target> {
    scene.all(&[
        ("elastic-ip", "AllocationId"),
        ("instance", "InstanceId"),
        ("network-interface", "NetworkInterfaceId"),
    ])
}

fn disassociated_address(scene: &Scene<'_>) -> Vec<Target> {
    let params = scene.call.params();
    let wanted = params.get("AssociationId").unwrap_or_default();
    let mut addresses = scene.cloud.ec2.elastic_ips.iter();
    let found = addresses.find_map(|(id, address)| {
        address.association.as_ref().filter(|association| association.id == wanted).map(|association| (id, association))
    });
    let Some((id, association)) = found else { return vec![scene.resource("elastic-ip", "*")] };
    vec![scene.resource("elastic-ip", id), scene.resource("network-interface", &association.interface)]
}

/// The table of an association and its subnet, and the table that takes its place.
fn associated(scene: &Scene<'_>, is_replaced: bool) -> Vec<Target> {
    let params = scene.call.params();
    let wanted = params.get("AssociationId").unwrap_or_default();
    let mut targets = if is_replaced { scene.each("route-table", &["RouteTableId"]) } else { Vec::new() };
    for (id, table) in scene.cloud.ec2.route_tables.iter() {
        if let Some(subnet) = table.associations.get(wanted) {
            targets.push(scene.resource("route-table", id));
            targets.push(scene.resource("subnet", subnet));
        } else if table.main_association.as_deref() == Some(wanted) {
            targets.push(scene.resource("route-table", id));
        }
    }
    targets
}

/// The group and the rules of it that change.
fn changed_rules(scene: &Scene<'_>) -> Vec<Target> {
    let rules = scene.call.params().items("SecurityGroupRule");
    let ids = rules.iter().filter_map(|rule| rule.get("SecurityGroupRuleId"));
    let rules: Vec<Target> = ids.map(|id| scene.resource("security-group-rule", id)).collect();
    group(scene).into_iter().chain(rules).collect()
}

fn new_nat_gateway(scene: &Scene<'_>) -> Vec<Target> {
    let mut targets = scene.created("natgateway");
    targets.extend(scene.all(&[("elastic-ip", "AllocationId"), ("subnet", "SubnetId")]));
    targets
}

fn new_image(scene: &Scene<'_>) -> Vec<Target> {
    let snapshots = scene.call.params().items("BlockDeviceMapping");
    let snapshots = snapshots.iter().filter_map(|device| device.get("Ebs.SnapshotId"));
    let snapshots: Vec<Target> =
        snapshots.map(|id| scene.resource("snapshot", id).with("ec2:SnapshotID", id)).collect();
    scene.created("image").into_iter().chain(snapshots).collect()
}

/// The resource types by the prefixes of their ids.
///
/// Of two prefixes of an id, such as `sg-` and `sgr-`, only one is followed by a hyphen.
const PREFIXES: &[(&str, &str)] = &[
    ("ami-", "image"),
    ("dopt-", "dhcp-options"),
    ("eipalloc-", "elastic-ip"),
    ("eni-", "network-interface"),
    ("i-", "instance"),
    ("igw-", "internet-gateway"),
    ("lt-", "launch-template"),
    ("nat-", "natgateway"),
    ("rtb-", "route-table"),
    ("sg-", "security-group"),
    ("sgr-", "security-group-rule"),
    ("sir-", "spot-instances-request"),
    ("subnet-", "subnet"),
    ("vol-", "volume"),
    ("vpc-", "vpc"),
];

fn kind_of(id: &str) -> Option<&'static str> {
    PREFIXES.iter().find(|(prefix, _)| id.starts_with(prefix)).map(|(_, kind)| *kind)
}

fn tagged(scene: &Scene<'_>) -> Vec<Target> {
    let params = scene.call.params();
    let tags = given(&params);
    identified(scene).into_iter().map(|target| target.gets_tags(pairs(&tags))).collect()
}

fn untagged(scene: &Scene<'_>) -> Vec<Target> {
    let params = scene.call.params();
    let keys: Vec<String> = given(&params).into_keys().collect();
    identified(scene).into_iter().map(|target| target.loses_tags(keys.clone())).collect()
}

/// The resources in `ResourceId.N`. One of an unknown type is judged like everything.
fn identified(scene: &Scene<'_>) -> Vec<Target> {
    let resource = |id: &str| kind_of(id).map_or_else(Target::any, |kind| scene.resource(kind, id));
    scene.call.params().list("ResourceId").into_iter().map(resource).collect()
}

#[cfg(test)]
mod tests;
