//! The EC2 behaviour that an engine relies on. Time is part of the calls, so the tests do not wait.

use std::{collections::BTreeSet, fmt::Write, time::Duration};

use super::{handle, seed, seeded_image};
use crate::{
    Consistency, Options,
    call::{Input, Reply},
    cloud::Cloud,
    json::testing::{self, PACE},
};

fn cloud() -> Cloud {
    let mut cloud = testing::cloud();
    seed(&mut cloud, "eu-west-3");
    cloud
}

/// The answer to a call as the server makes it: its XML, or its error code.
fn ask_at(cloud: &mut Cloud, second: i64, action: &str, query: &str) -> Result<String, String> {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let pairs = pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let call = testing::call(action, second, Input::query(pairs));
    match cloud.attempt(|cloud| handle(cloud, &call)) {
        Ok(Reply::Xml(text)) => Ok(text),
        Ok(Reply::Json(document)) => panic!("{document}"),
        Err(fault) => Err(fault.code),
    }
}

fn ask(cloud: &mut Cloud, action: &str, query: &str) -> Result<String, String> {
    ask_at(cloud, 0, action, query)
}

/// The texts of all elements with this name.
fn all<'t>(text: &'t str, element: &str) -> Vec<&'t str> {
    let (open, close) = (format!("<{element}>"), format!("</{element}>"));
    text.split(open.as_str()).skip(1).filter_map(|rest| rest.split(close.as_str()).next()).collect()
}

fn first(text: &str, element: &str) -> String {
    (*all(text, element).first().unwrap()).to_owned()
}

fn subnet(cloud: &mut Cloud, zone: &str) -> String {
    let query = format!("Filter.1.Name=availability-zone&Filter.1.Value.1={zone}");
    first(&ask(cloud, "DescribeSubnets", &query).unwrap(), "subnetId")
}

/// Parameters for interfaces on several cards, with this many addresses each, under a prefix.
fn interfaces(prefix: &str, subnet: &str, cards: &[u32], addresses: u32) -> String {
    let mut query = String::new();
    let mut number = 0;
    for (card, count) in cards.iter().enumerate() {
        for device in 0..*count {
            number += 1;
            let secondary = addresses - 1;
            let name = format!("{prefix}NetworkInterface.{number}");
            write!(
                query,
                "&{name}.NetworkCardIndex={card}&{name}.DeviceIndex={device}&{name}.SubnetId={subnet}\
                 &{name}.SecondaryPrivateIpAddressCount={secondary}"
            )
            .unwrap();
        }
    }
    query
}

fn machine(instance_type: &str) -> String {
    let image = seeded_image("eu-west-3", "x86_64").unwrap();
    format!("MinCount=1&MaxCount=1&ImageId={image}&InstanceType={instance_type}")
}

#[test]
fn an_instance_has_every_interface_and_address_of_its_template() {
    let mut cloud = cloud();
    let zone_a = subnet(&mut cloud, "eu-west-3a");
    let image = seeded_image("eu-west-3", "x86_64").unwrap();
    let data = format!(
        "LaunchTemplateName=heavy&LaunchTemplateData.ImageId={image}&LaunchTemplateData.InstanceType=c6in.32xlarge\
         &LaunchTemplateData.UserData=aGVsbG8=&LaunchTemplateData.TagSpecification.1.ResourceType=network-interface\
         &LaunchTemplateData.TagSpecification.1.Tag.1.Key=pool&LaunchTemplateData.TagSpecification.1.Tag.1.Value=heavy{}",
        interfaces("LaunchTemplateData.", &zone_a, &[8, 8], 30)
    );
    ask(&mut cloud, "CreateLaunchTemplate", &data).unwrap();
    let run = "MinCount=2&MaxCount=2&LaunchTemplate.LaunchTemplateName=heavy&LaunchTemplate.Version=$Latest";
    let launched = ask(&mut cloud, "RunInstances", run).unwrap();
    let instance = first(&launched, "instanceId");

    let query = "Filter.1.Name=tag:pool&Filter.1.Value.1=heavy";
    let shown = ask(&mut cloud, "DescribeNetworkInterfaces", query).unwrap();
    assert_eq!(all(&shown, "networkInterfaceId").len(), 32);
    let in_lists = all(&shown, "primary").len();
    let addresses: BTreeSet<&str> = all(&shown, "privateIpAddress").into_iter().collect();
    assert_eq!((in_lists, addresses.len()), (2 * 16 * 30, 2 * 16 * 30), "addresses are distinct");
    let query = format!("Filter.1.Name=subnet-id&Filter.1.Value.1={zone_a}");
    let shown = ask(&mut cloud, "DescribeSubnets", &query).unwrap();
    assert_eq!(first(&shown, "availableIpAddressCount"), (4096 - 5 - 960).to_string());

    let query = format!("InstanceId={instance}&Attribute=userData");
    let shown = ask(&mut cloud, "DescribeInstanceAttribute", &query).unwrap();
    assert_eq!(first(&shown, "value"), "aGVsbG8=");
}

#[test]
fn limits_of_the_type_match_aws() {
    let mut cloud = cloud();
    let (zone_a, zone_b) = (subnet(&mut cloud, "eu-west-3a"), subnet(&mut cloud, "eu-west-3b"));
    let at_limit = interfaces("", &zone_a, &[8], 30);
    let (x8, x32) = (machine("c6in.8xlarge"), machine("c6in.32xlarge"));
    let mut refused = |query: String| ask(&mut cloud, "RunInstances", &query).err();
    assert_eq!(refused(format!("{x8}{at_limit}")), None);
    let code = |code: &str| Some(code.to_owned());
    assert_eq!(refused(format!("{x8}{}", interfaces("", &zone_a, &[9], 1))), code("AttachmentLimitExceeded"));
    assert_eq!(refused(format!("{x32}{}", interfaces("", &zone_a, &[9, 1], 1))), code("AttachmentLimitExceeded"));
    assert_eq!(refused(format!("{x8}{}", interfaces("", &zone_a, &[1, 1], 1))), code("InvalidParameterValue"));
    assert_eq!(refused(format!("{x8}{}", interfaces("", &zone_a, &[1], 31))), code("PrivateIpAddressLimitExceeded"));
    let two = interfaces("", &zone_a, &[2], 1);
    assert_eq!(
        refused(format!("{x8}{two}&NetworkInterface.1.AssociatePublicIpAddress=true")),
        code("InvalidParameterCombination")
    );
    assert_eq!(refused(format!("{x8}{two}&NetworkInterface.2.SubnetId={zone_b}")), code("InvalidParameterCombination"));
    assert_eq!(refused(format!("{x8}{two}&SecurityGroup.1=default")), code("InvalidParameterCombination"));
    assert_eq!(refused(format!("{x8}{two}&NetworkInterface.1.DeviceIndex=3")), code("InvalidParameterCombination"));
    assert_eq!(refused(machine("c7gn.16xlarge")), code("InvalidParameterValue"));
    assert_eq!(refused(format!("{x8}&IamInstanceProfile.Name=nobody")), code("InvalidParameterValue"));
    assert_eq!(refused(format!("{x8}&UserData={}", "A".repeat(21_848))), code("InvalidParameterValue"));
    assert_eq!(refused(format!("{x8}&Ipv6AddressCount=1")), code("UnknownParameter"));
}

/// A VPC with an IPv6 range, and a subnet of it: `2001:db8:…:1a01::/64`.
fn dual_stack_subnet(cloud: &mut Cloud) -> (String, String) {
    let vpc = ask(cloud, "CreateVpc", "CidrBlock=10.9.0.0/16&AmazonProvidedIpv6CidrBlock=true").unwrap();
    let (id, range) = (first(&vpc, "vpcId"), first(&vpc, "ipv6CidrBlock").replace("1a00::/56", "1a01::/64"));
    let query = format!("VpcId={id}&CidrBlock=10.9.0.0/24&AvailabilityZone=eu-west-3a&Ipv6CidrBlock={range}");
    (first(&ask(cloud, "CreateSubnet", &query).unwrap(), "subnetId"), range)
}

#[test]
fn interfaces_get_ipv6_prefixes_or_addresses_of_their_subnet() {
    let mut cloud = cloud();
    let (dual, range) = dual_stack_subnet(&mut cloud);
    let shown = ask(&mut cloud, "DescribeSubnets", &format!("SubnetId.1={dual}")).unwrap();
    assert_eq!(
        (first(&shown, "ipv6CidrBlock"), all(&shown, "state")),
        (range.clone(), vec!["available", "associated"])
    );
    let two = interfaces("", &dual, &[2], 1);
    let x8 = machine("c6in.8xlarge");
    let asks = |what: &str| format!("{x8}{two}&NetworkInterface.1.{what}=1&NetworkInterface.2.{what}=1");
    let mut prefixes = BTreeSet::new();
    for _ in 0..2 {
        let launched = ask(&mut cloud, "RunInstances", &asks("Ipv6PrefixCount")).unwrap();
        let its: BTreeSet<String> = all(&launched, "ipv6Prefix").into_iter().map(str::to_owned).collect();
        assert_eq!((its.len(), all(&launched, "ipv6Address").len()), (2, 0));
        prefixes.extend(its);
    }
    let start = range.strip_suffix("::/64").unwrap();
    let expected = (1..5).map(|block| format!("{start}:{block}::/80"));
    assert_eq!(prefixes, expected.collect(), "no prefix is given twice");
    let shown = ask(&mut cloud, "DescribeNetworkInterfaces", "").unwrap();
    assert_eq!(all(&shown, "ipv6Prefix").into_iter().map(str::to_owned).collect::<BTreeSet<_>>(), prefixes);
    let launched = ask(&mut cloud, "RunInstances", &asks("Ipv6AddressCount")).unwrap();
    let addresses: BTreeSet<String> = all(&launched, "ipv6Address").into_iter().map(str::to_owned).collect();
    assert_eq!(addresses, [format!("{start}::4"), format!("{start}::5")].into());
}

#[test]
fn ipv6_is_refused_without_a_range_and_beyond_the_limits() {
    let mut cloud = cloud();
    let single = subnet(&mut cloud, "eu-west-3a");
    let (dual, range) = dual_stack_subnet(&mut cloud);
    let x8 = machine("c6in.8xlarge");
    let mut launch = |subnet: &str, what: &str| {
        let one = interfaces("", subnet, &[1], 1);
        ask(&mut cloud, "RunInstances", &format!("{x8}{one}&NetworkInterface.1.{what}")).err()
    };
    let invalid = Some("InvalidParameterValue".to_owned());
    assert_eq!(launch(&single, "Ipv6PrefixCount=1"), invalid);
    assert_eq!(launch(&dual, "Ipv6PrefixCount=1&NetworkInterface.1.Ipv6AddressCount=1"), invalid);
    assert_eq!(launch(&dual, "Ipv6PrefixCount=31"), invalid);
    assert_eq!(launch(&dual, "Ipv6PrefixCount=30"), None);

    let vpc = first(&ask(&mut cloud, "DescribeSubnets", &format!("SubnetId.1={dual}")).unwrap(), "vpcId");
    let mut create = |range: &str| {
        let query = format!("VpcId={vpc}&CidrBlock=10.9.1.0/24&Ipv6CidrBlock={range}");
        ask(&mut cloud, "CreateSubnet", &query).err()
    };
    assert_eq!(create(&range), Some("InvalidSubnet.Conflict".to_owned()));
    assert_eq!(create("2001:db8:ffff:1::/64"), Some("InvalidSubnet.Range".to_owned()));
    assert_eq!(create(&range.replace("/64", "/68")), invalid);
}

#[test]
fn routes_of_ipv6_have_their_own_destination() {
    let mut cloud = cloud();
    let tables = ask(&mut cloud, "DescribeRouteTables", "").unwrap();
    let table = first(&tables, "routeTableId");
    let route = |what: &str| format!("RouteTableId={table}&{what}&EgressOnlyInternetGatewayId=eigw-1");
    let of_ipv4 = ask(&mut cloud, "CreateRoute", &route("DestinationCidrBlock=10.0.0.0/8"));
    assert_eq!(of_ipv4, Err("InvalidParameterValue".to_owned()));
    ask(&mut cloud, "CreateRoute", &route("DestinationIpv6CidrBlock=::/0")).unwrap();
    let shown = ask(&mut cloud, "DescribeRouteTables", "").unwrap();
    assert_eq!(first(&shown, "destinationIpv6CidrBlock"), "::/0");
    assert_eq!(first(&shown, "egressOnlyInternetGatewayId"), "eigw-1");
}

#[test]
fn the_quota_of_vcpus_counts_pending_and_running_instances() {
    let mut cloud = Cloud::open(&Options::new().with_speed(6.0).with_vcpus(40)).unwrap();
    seed(&mut cloud, "eu-west-3");
    let run = machine("c6in.8xlarge");
    let id = first(&ask(&mut cloud, "RunInstances", &run).unwrap(), "instanceId");
    assert_eq!(ask(&mut cloud, "RunInstances", &run), Err("VcpuLimitExceeded".to_owned()));
    ask(&mut cloud, "RunInstances", &machine("c6in.2xlarge")).unwrap();
    ask(&mut cloud, "TerminateInstances", &format!("InstanceId.1={id}")).unwrap();
    ask(&mut cloud, "RunInstances", &run).unwrap();
}

#[test]
fn the_quota_of_vcpus_counts_when_an_instance_starts_again() {
    let mut cloud = Cloud::open(&Options::new().with_speed(6.0).with_vcpus(40)).unwrap();
    seed(&mut cloud, "eu-west-3");
    let run = machine("c6in.8xlarge");
    let id = format!("InstanceId.1={}", first(&ask(&mut cloud, "RunInstances", &run).unwrap(), "instanceId"));
    ask_at(&mut cloud, 60, "StopInstances", &id).unwrap();
    let other =
        format!("InstanceId.1={}", first(&ask_at(&mut cloud, 120, "RunInstances", &run).unwrap(), "instanceId"));
    assert_eq!(ask_at(&mut cloud, 180, "StartInstances", &id), Err("VcpuLimitExceeded".to_owned()));
    ask_at(&mut cloud, 180, "StopInstances", &other).unwrap();
    ask_at(&mut cloud, 240, "StartInstances", &id).unwrap();
}

#[test]
fn a_client_token_launches_only_once() {
    let mut cloud = cloud();
    let run = format!("{}&ClientToken=one", machine("c6in.8xlarge"));
    let id = first(&ask(&mut cloud, "RunInstances", &run).unwrap(), "instanceId");
    assert_eq!(first(&ask(&mut cloud, "RunInstances", &run).unwrap(), "instanceId"), id);
    let other = format!("{run}&EbsOptimized=false");
    assert_eq!(ask(&mut cloud, "RunInstances", &other), Err("IdempotentParameterMismatch".to_owned()));
    ask(&mut cloud, "TerminateInstances", &format!("InstanceId.1={id}")).unwrap();
    let refused = Err("IdempotentInstanceTerminated".to_owned());
    assert_eq!(ask(&mut cloud, "RunInstances", &run), refused);
    // Also after EC2 has stopped listing the instance.
    cloud.ec2.instances.remove(&id);
    assert_eq!(ask(&mut cloud, "RunInstances", &run), refused);
}

#[test]
fn an_instance_changes_its_state_with_time() {
    let mut cloud = cloud();
    let id = first(&ask(&mut cloud, "RunInstances", &machine("c6in.8xlarge")).unwrap(), "instanceId");
    let by_id = format!("InstanceId.1={id}");
    let state = |cloud: &mut Cloud, second| {
        let shown = ask_at(cloud, second, "DescribeInstances", &by_id)?;
        Ok::<_, String>((first(&first(&shown, "instanceState"), "name"), shown.contains("<vpcId>")))
    };
    assert_eq!(state(&mut cloud, PACE - 1), Ok(("pending".to_owned(), true)));
    assert_eq!(state(&mut cloud, PACE), Ok(("running".to_owned(), true)));
    let group = "Action=x&GroupName=default";
    assert_eq!(ask(&mut cloud, "DeleteSecurityGroup", group), Err("CannotDelete".to_owned()));
    ask_at(&mut cloud, 100, "TerminateInstances", &by_id).unwrap();
    assert_eq!(state(&mut cloud, 100), Ok(("shutting-down".to_owned(), true)));
    assert_eq!(state(&mut cloud, 100 + PACE), Ok(("terminated".to_owned(), false)));
    let left = ask_at(&mut cloud, 100 + PACE, "DescribeNetworkInterfaces", "").unwrap();
    assert!(!left.contains("<networkInterfaceId>"));
    assert!(state(&mut cloud, 60 * PACE).is_ok());
    assert_eq!(state(&mut cloud, 101 + PACE + 60 * PACE), Err("InvalidInstanceID.NotFound".to_owned()));
}

#[test]
fn a_security_group_in_use_is_not_deleted() {
    let mut cloud = cloud();
    let create = |name: &str| format!("GroupName={name}&GroupDescription=x");
    let used = first(&ask(&mut cloud, "CreateSecurityGroup", &create("used")).unwrap(), "groupId");
    let naming = first(&ask(&mut cloud, "CreateSecurityGroup", &create("user")).unwrap(), "groupId");
    assert_eq!(ask(&mut cloud, "CreateSecurityGroup", &create("user")), Err("InvalidGroup.Duplicate".to_owned()));
    let rule = format!(
        "GroupId={naming}&IpPermissions.1.IpProtocol=tcp&IpPermissions.1.FromPort=22&IpPermissions.1.ToPort=22\
         &IpPermissions.1.Groups.1.GroupId={used}"
    );
    ask(&mut cloud, "AuthorizeSecurityGroupIngress", &rule).unwrap();
    assert_eq!(ask(&mut cloud, "AuthorizeSecurityGroupIngress", &rule), Err("InvalidPermission.Duplicate".to_owned()));
    let delete = format!("GroupId={used}");
    assert_eq!(ask(&mut cloud, "DeleteSecurityGroup", &delete), Err("DependencyViolation".to_owned()));
    ask(&mut cloud, "RevokeSecurityGroupIngress", &rule).unwrap();
    assert_eq!(ask(&mut cloud, "RevokeSecurityGroupIngress", &rule), Err("InvalidPermission.NotFound".to_owned()));
    let run = format!("{}&SecurityGroupId.1={used}", machine("c6in.8xlarge"));
    let id = first(&ask(&mut cloud, "RunInstances", &run).unwrap(), "instanceId");
    assert_eq!(ask(&mut cloud, "DeleteSecurityGroup", &delete), Err("DependencyViolation".to_owned()));
    ask(&mut cloud, "TerminateInstances", &format!("InstanceId.1={id}")).unwrap();
    assert!(ask_at(&mut cloud, PACE, "DeleteSecurityGroup", &delete).is_ok());
}

#[test]
fn pages_together_have_all_matching_rows() {
    let mut cloud = cloud();
    let run = machine("c6in.8xlarge").replace("MaxCount=1", "MaxCount=12");
    let launched = ask(&mut cloud, "RunInstances", &run).unwrap();
    let mut expected = all(&launched, "instanceId").into_iter().map(str::to_owned).collect::<Vec<_>>();
    expected.sort_unstable();
    let (mut ids, mut query) = (Vec::new(), "MaxResults=5".to_owned());
    loop {
        let page = ask(&mut cloud, "DescribeInstances", &query).unwrap();
        let on_page = all(&page, "instanceId").len();
        assert!(on_page <= 5, "{on_page}");
        ids.extend(all(&page, "instanceId").into_iter().map(str::to_owned));
        match all(&page, "nextToken").first() {
            Some(token) => query = format!("MaxResults=5&NextToken={token}"),
            None => break,
        }
    }
    ids.sort_unstable();
    assert_eq!(ids, expected);
    assert_eq!(ask(&mut cloud, "DescribeInstances", "MaxResults=4"), Err("InvalidParameterValue".to_owned()));
}

#[test]
fn versions_are_found_across_templates() {
    let mut cloud = cloud();
    for name in ["one", "two"] {
        let query = format!("LaunchTemplateName={name}&LaunchTemplateData.InstanceType=c6in.8xlarge");
        ask(&mut cloud, "CreateLaunchTemplate", &query).unwrap();
    }
    let taken = "LaunchTemplateName=one&LaunchTemplateData.InstanceType=c6in.8xlarge";
    let code = "InvalidLaunchTemplateName.AlreadyExistsException".to_owned();
    assert_eq!(ask(&mut cloud, "CreateLaunchTemplate", taken), Err(code));
    let version = "LaunchTemplateName=one&LaunchTemplateData.InstanceType=c6in.16xlarge&ClientToken=v\
                   &VersionDescription=digest";
    ask(&mut cloud, "CreateLaunchTemplateVersion", version).unwrap();
    ask(&mut cloud, "CreateLaunchTemplateVersion", version).unwrap();
    let wanted = "LaunchTemplateVersion.1=$Latest&LaunchTemplateVersion.2=$Default";
    let shown = ask(&mut cloud, "DescribeLaunchTemplateVersions", wanted).unwrap();
    let mut numbers = all(&shown, "versionNumber");
    numbers.sort_unstable();
    assert_eq!(numbers, ["1", "1", "2"], "the token created only one version");
    assert_eq!(all(&shown, "versionDescription"), ["digest"]);
    let modify = "LaunchTemplateName=one&SetDefaultVersion=2";
    assert_eq!(first(&ask(&mut cloud, "ModifyLaunchTemplate", modify).unwrap(), "defaultVersionNumber"), "2");
}

#[test]
fn a_new_resource_is_invisible_during_the_lag() {
    let lag = Duration::from_secs(5);
    let mut cloud = Cloud::open(&Options::new().with_consistency(Consistency::After(lag))).unwrap();
    seed(&mut cloud, "eu-west-3");
    ask(&mut cloud, "CreateSecurityGroup", "GroupName=load&GroupDescription=x").unwrap();
    let query = "Filter.1.Name=group-name&Filter.1.Value.1=load";
    let mut is_seen = |second| ask_at(&mut cloud, second, "DescribeSecurityGroups", query).unwrap().contains("sg-");
    assert!(!is_seen(4));
    assert!(is_seen(5));
}

#[test]
fn regions_are_separate() {
    let mut cloud = cloud();
    seed(&mut cloud, "eu-west-1");
    let shown = ask(&mut cloud, "DescribeVpcs", "").unwrap();
    assert_eq!(all(&shown, "vpcId").len(), 1);
    assert_ne!(seeded_image("eu-west-1", "arm64"), seeded_image("eu-west-3", "arm64"));
}

#[test]
fn a_device_index_beyond_the_card_terminates_the_instance() {
    let mut cloud = cloud();
    let zone_a = subnet(&mut cloud, "eu-west-3a");
    let machine = machine("c6in.32xlarge");
    let full = interfaces("", &zone_a, &[8, 8], 1);
    let launched = ask(&mut cloud, "RunInstances", &format!("{machine}{full}")).unwrap();
    let good = first(&launched, "instanceId").clone();
    // The last interface of the second card gets an index that the card does not have.
    let beyond = full.replace("&NetworkInterface.16.DeviceIndex=7", "&NetworkInterface.16.DeviceIndex=8");
    assert_ne!(beyond, full);
    let launched = ask(&mut cloud, "RunInstances", &format!("{machine}{beyond}")).unwrap();
    let bad = first(&launched, "instanceId").clone();
    let mut state = |id: &str, second: i64| {
        let shown = ask_at(&mut cloud, second, "DescribeInstances", &format!("InstanceId.1={id}")).unwrap();
        let reason = shown.contains("<code>Server.InternalError</code>");
        (first(&shown, "name").clone(), reason)
    };
    assert_eq!(state(&good, 100), ("running".to_owned(), false));
    assert_eq!(state(&bad, 100), ("shutting-down".to_owned(), true));
    assert_eq!(state(&bad, 200), ("terminated".to_owned(), true));
}

#[test]
fn a_refused_call_changes_nothing() {
    let mut cloud = cloud();
    let id = first(&ask(&mut cloud, "RunInstances", &machine("c6in.8xlarge")).unwrap(), "instanceId");
    let change = |second: &str| {
        let device = |number: u32, name: &str| {
            format!(
                "&BlockDeviceMapping.{number}.DeviceName={name}&BlockDeviceMapping.{number}.Ebs.DeleteOnTermination=false"
            )
        };
        format!("InstanceId={id}{}{}", device(1, "/dev/xvda"), device(2, second))
    };
    let is_kept =
        |cloud: &mut Cloud| first(&ask(cloud, "DescribeVolumes", "").unwrap(), "deleteOnTermination") == "false";
    let refused = ask(&mut cloud, "ModifyInstanceAttribute", &change("/dev/none"));
    assert_eq!(refused, Err("InvalidInstanceAttributeValue".to_owned()));
    assert!(!is_kept(&mut cloud));
    let dry = format!("{}&DryRun=true", change("/dev/xvda"));
    assert_eq!(ask(&mut cloud, "ModifyInstanceAttribute", &dry), Err("DryRunOperation".to_owned()));
    assert!(!is_kept(&mut cloud));
    ask(&mut cloud, "ModifyInstanceAttribute", &change("/dev/xvda")).unwrap();
    assert!(is_kept(&mut cloud));
}

#[test]
fn an_association_moves_to_another_table_or_stays() {
    let mut cloud = cloud();
    let vpc = |cloud: &mut Cloud, number: u32| {
        let vpc = first(&ask(cloud, "CreateVpc", &format!("CidrBlock=10.{number}.0.0/16")).unwrap(), "vpcId");
        let table = first(&ask(cloud, "CreateRouteTable", &format!("VpcId={vpc}")).unwrap(), "routeTableId");
        (vpc, table)
    };
    let ((vpc, table), (_, foreign)) = (vpc(&mut cloud, 1), vpc(&mut cloud, 2));
    let create = format!("VpcId={vpc}&CidrBlock=10.1.0.0/24");
    let subnet = first(&ask(&mut cloud, "CreateSubnet", &create).unwrap(), "subnetId");
    let shown =
        ask(&mut cloud, "DescribeRouteTables", &format!("Filter.1.Name=vpc-id&Filter.1.Value.1={vpc}")).unwrap();
    let main = first(&shown, "routeTableAssociationId");
    let associate = format!("RouteTableId={table}&SubnetId={subnet}");
    let own = first(&ask(&mut cloud, "AssociateRouteTable", &associate).unwrap(), "associationId");
    let mut replace = |association: &str, table: &str| {
        let query = format!("AssociationId={association}&RouteTableId={table}");
        ask(&mut cloud, "ReplaceRouteTableAssociation", &query)
    };
    for association in [&own, &main] {
        assert_eq!(replace(association, &foreign), Err("InvalidParameterValue".to_owned()));
    }
    let own = first(&replace(&own, &table).unwrap(), "newAssociationId");
    let main = first(&replace(&main, &table).unwrap(), "newAssociationId");
    let shown = ask(&mut cloud, "DescribeRouteTables", &format!("RouteTableId.1={table}")).unwrap();
    assert_eq!(all(&shown, "routeTableAssociationId"), [main.as_str(), own.as_str()]);
    assert_eq!(all(&shown, "main"), ["true", "false"]);
    let end = |association: &str| format!("AssociationId={association}");
    assert_eq!(ask(&mut cloud, "DisassociateRouteTable", &end(&main)), Err("InvalidParameterValue".to_owned()));
    ask(&mut cloud, "DisassociateRouteTable", &end(&own)).unwrap();
    assert_eq!(
        ask(&mut cloud, "DeleteRouteTable", &format!("RouteTableId={table}")),
        Err("DependencyViolation".into())
    );
}

#[test]
fn a_route_is_deleted_by_any_address_of_its_block() {
    let mut cloud = cloud();
    let table = first(&ask(&mut cloud, "DescribeRouteTables", "").unwrap(), "routeTableId");
    let route = |block: &str| format!("RouteTableId={table}&DestinationCidrBlock={block}");
    ask(&mut cloud, "CreateRoute", &format!("{}&TransitGatewayId=tgw-1", route("10.9.0.7/16"))).unwrap();
    ask(&mut cloud, "DeleteRoute", &route("10.9.0.8/16")).unwrap();
    assert_eq!(ask(&mut cloud, "DeleteRoute", &route("10.9.0.0/16")), Err("InvalidRoute.NotFound".to_owned()));
}

#[test]
fn what_a_service_made_cannot_be_changed() {
    let mut cloud = cloud();
    let subnet = subnet(&mut cloud, "eu-west-3a");
    let allocate = |cloud: &mut Cloud| first(&ask(cloud, "AllocateAddress", "").unwrap(), "allocationId");
    let (used, free) = (allocate(&mut cloud), allocate(&mut cloud));
    let create = format!("SubnetId={subnet}&AllocationId={used}");
    let gateway = ask(&mut cloud, "CreateNatGateway", &create).unwrap();
    let id = first(&gateway, "networkInterfaceId");
    let association = first(&gateway, "associationId");
    let instance = first(&ask(&mut cloud, "RunInstances", &machine("c6in.8xlarge")).unwrap(), "instanceId");
    for (action, query) in [
        ("DisassociateAddress", format!("AssociationId={association}")),
        ("AssociateAddress", format!("AllocationId={used}&InstanceId={instance}")),
        ("AssociateAddress", format!("AllocationId={free}&NetworkInterfaceId={id}")),
        ("ReleaseAddress", format!("AllocationId={used}")),
        ("AssignPrivateIpAddresses", format!("NetworkInterfaceId={id}&SecondaryPrivateIpAddressCount=1")),
        ("UnassignPrivateIpAddresses", format!("NetworkInterfaceId={id}&PrivateIpAddress.1=172.31.0.9")),
        ("ModifyNetworkInterfaceAttribute", format!("NetworkInterfaceId={id}&Description.Value=x")),
    ] {
        assert_eq!(ask_at(&mut cloud, 100, action, &query), Err("AuthFailure".to_owned()), "{action} {query}");
    }
}

#[test]
fn a_changed_instance_keeps_the_limits_of_a_launch() {
    let mut cloud = cloud();
    let zone_a = subnet(&mut cloud, "eu-west-3a");
    let query = format!("{}{}", machine("c6in.32xlarge"), interfaces("", &zone_a, &[3, 1], 31));
    let id = first(&ask(&mut cloud, "RunInstances", &query).unwrap(), "instanceId");
    ask_at(&mut cloud, 100, "StopInstances", &format!("InstanceId.1={id}")).unwrap();
    let mut change = |change: &str| {
        let changed = ask_at(&mut cloud, 200, "ModifyInstanceAttribute", &format!("InstanceId={id}&{change}"));
        changed.err().unwrap_or_default()
    };
    assert_eq!(change("InstanceType.Value=c6in.8xlarge"), "PrivateIpAddressLimitExceeded");
    assert_eq!(change("InstanceType.Value=c7g.16xlarge"), "InvalidParameterValue");
    assert_eq!(change("InstanceType.Value=c6in.32xlarge"), "");
    assert_eq!(change(&format!("UserData.Value={}", "A".repeat(21_848))), "InvalidParameterValue");
    assert_eq!(change("UserData.Value=%"), "InvalidUserData.Malformed");
    assert_eq!(change("UserData.Value=aGVsbG8="), "");

    let query = format!("{}{}", machine("c6in.32xlarge"), interfaces("", &zone_a, &[1, 1], 1));
    let id = first(&ask_at(&mut cloud, 200, "RunInstances", &query).unwrap(), "instanceId");
    ask_at(&mut cloud, 300, "StopInstances", &format!("InstanceId.1={id}")).unwrap();
    let query = format!("InstanceId={id}&InstanceType.Value=c6in.8xlarge");
    let refused = ask_at(&mut cloud, 400, "ModifyInstanceAttribute", &query);
    assert_eq!(refused, Err("InvalidParameterValue".to_owned()), "it has no second card");
}

#[test]
fn counts_of_addresses_do_not_overflow() {
    let mut cloud = cloud();
    let zone_a = subnet(&mut cloud, "eu-west-3a");
    let launched = ask(&mut cloud, "RunInstances", &machine("c6in.8xlarge")).unwrap();
    let id = first(&launched, "networkInterfaceId");
    for count in ["SecondaryPrivateIpAddressCount", "Ipv4PrefixCount"] {
        let count = format!("{count}={}", usize::MAX);
        let launch = format!("{}{}", machine("c6in.8xlarge"), interfaces("", &zone_a, &[1], 1));
        let launch = format!("{launch}&NetworkInterface.1.{count}");
        assert_eq!(ask(&mut cloud, "RunInstances", &launch), Err("InvalidParameterValue".to_owned()));
        let assign = format!("NetworkInterfaceId={id}&{count}");
        assert_eq!(ask(&mut cloud, "AssignPrivateIpAddresses", &assign), Err("InvalidParameterValue".to_owned()));
    }
}

#[test]
fn a_spot_request_has_tags_of_its_own() {
    let mut cloud = cloud();
    let tagged = |kind: &str, number: u32| {
        let specification = format!("TagSpecification.{number}");
        format!("&{specification}.ResourceType={kind}&{specification}.Tag.1.Key=of&{specification}.Tag.1.Value={kind}")
    };
    let spot = "InstanceMarketOptions.MarketType=spot\
                &InstanceMarketOptions.SpotOptions.InstanceInterruptionBehavior=hibernate";
    let tags = tagged("instance", 1) + &tagged("spot-instances-request", 2);
    ask(&mut cloud, "RunInstances", &format!("{}&{spot}{tags}", machine("c6in.8xlarge"))).unwrap();
    let mut with = |value: &str| {
        let query = format!("Filter.1.Name=tag:of&Filter.1.Value.1={value}");
        ask(&mut cloud, "DescribeSpotInstanceRequests", &query).unwrap()
    };
    assert_eq!(all(&with("instance"), "spotInstanceRequestId").len(), 0);
    let shown = with("spot-instances-request");
    assert_eq!(all(&shown, "value"), ["spot-instances-request"]);
    assert_eq!(first(&shown, "instanceInterruptionBehavior"), "hibernate");
    let id = first(&shown, "spotInstanceRequestId");
    ask(&mut cloud, "CreateTags", &format!("ResourceId.1={id}&Tag.1.Key=of&Tag.1.Value=me")).unwrap();
    let listed = ask(&mut cloud, "DescribeTags", &format!("Filter.1.Name=resource-id&Filter.1.Value.1={id}")).unwrap();
    assert_eq!(all(&listed, "value"), ["me"]);
}

#[test]
fn launches_name_only_what_exists() {
    let mut cloud = cloud();
    let launch = machine("c6in.8xlarge");
    let disk = format!("{launch}&BlockDeviceMapping.1.Ebs.VolumeSize=8&BlockDeviceMapping.1.DeviceName");
    for (query, code) in [
        (format!("{launch}&Placement.GroupName=x"), "InvalidPlacementGroup.Unknown"),
        (format!("{launch}&KeyName=x"), "InvalidKeyPair.NotFound"),
        (format!("{disk}=/dev/sdb&BlockDeviceMapping.1.Ebs.SnapshotId=snap-1"), "InvalidSnapshot.NotFound"),
        (format!("{disk}=/dev/xvda&BlockDeviceMapping.1.Ebs.SnapshotId=snap-1"), "InvalidBlockDeviceMapping"),
    ] {
        assert_eq!(ask(&mut cloud, "RunInstances", &query), Err(code.to_owned()), "{query}");
    }
}

#[test]
fn only_snapshots_that_were_made_are_shown() {
    let mut cloud = cloud();
    let register = |name: &str, snapshot: &str| {
        format!(
            "Name={name}&RootDeviceName=/dev/xvda&BlockDeviceMapping.1.DeviceName=/dev/xvda\
             &BlockDeviceMapping.1.Ebs.VolumeSize=8{snapshot}"
        )
    };
    let named = |id: &str| format!("&BlockDeviceMapping.1.Ebs.SnapshotId={id}");
    let unknown = ask(&mut cloud, "RegisterImage", &register("one", &named("snap-1")));
    assert_eq!(unknown, Err("InvalidSnapshot.NotFound".to_owned()));
    let image = first(&ask(&mut cloud, "RegisterImage", &register("one", "")).unwrap(), "imageId");
    let shown = ask(&mut cloud, "DescribeSnapshots", "").unwrap();
    let snapshot = first(&shown, "snapshotId");
    ask(&mut cloud, "RegisterImage", &register("two", &named(&snapshot))).unwrap();
    assert_eq!(all(&ask(&mut cloud, "DescribeSnapshots", "").unwrap(), "snapshotId"), [snapshot.as_str()]);

    ask(&mut cloud, "CreateTags", &format!("ResourceId.1={image}&Tag.1.Key=a&Tag.1.Value=b")).unwrap();
    assert_eq!(all(&ask(&mut cloud, "DescribeTags", "").unwrap(), "resourceId"), [image.as_str()]);
    let unknown = "ResourceId.1=subnet-00000000000000000&Tag.1.Key=a&Tag.1.Value=b";
    assert_eq!(ask(&mut cloud, "CreateTags", unknown), Err("InvalidSubnetID.NotFound".to_owned()));
}
