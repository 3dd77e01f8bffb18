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

/// The answer to a call: its XML, or its error code.
fn ask_at(cloud: &mut Cloud, second: i64, action: &str, query: &str) -> Result<String, String> {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let pairs = pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    match handle(cloud, &testing::call(action, second, Input::Query(pairs))) {
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

#[test]
fn a_client_token_launches_only_once() {
    let mut cloud = cloud();
    let run = format!("{}&ClientToken=one", machine("c6in.8xlarge"));
    let id = first(&ask(&mut cloud, "RunInstances", &run).unwrap(), "instanceId");
    assert_eq!(first(&ask(&mut cloud, "RunInstances", &run).unwrap(), "instanceId"), id);
    let other = format!("{run}&EbsOptimized=false");
    assert_eq!(ask(&mut cloud, "RunInstances", &other), Err("IdempotentParameterMismatch".to_owned()));
    ask(&mut cloud, "TerminateInstances", &format!("InstanceId.1={id}")).unwrap();
    assert_eq!(ask(&mut cloud, "RunInstances", &run), Err("IdempotentInstanceTerminated".to_owned()));
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
