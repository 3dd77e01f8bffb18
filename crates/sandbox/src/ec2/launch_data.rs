//! Launch data: the parameters that `RunInstances` and launch templates share.
//!
//! It is stored as the form parameters that were sent, so that nothing is lost. A table lists the known parameters and
//! their names in XML; a parameter that is not in the table is refused, not ignored.

use base64::{Engine, engine::general_purpose::STANDARD};
use trunnion_catalog::limits::USER_DATA_BYTES;

use super::model::Flat;
use crate::{call::Fault, query::Params, xml::Xml};

/// The type of a parameter.
enum Shape {
    Text,
    Struct(&'static [Member]),
    /// A list of texts. In XML: the name of the list, and of the element of each text.
    Texts(&'static str, &'static str),
    /// A list of structures. In XML: the name of the list.
    Structs(&'static str, &'static [Member]),
}

/// A parameter and its type. In XML its name starts with a small letter, except for lists.
struct Member(&'static str, Shape);

const fn text(name: &'static str) -> Member {
    Member(name, Shape::Text)
}

const TAGS: &[Member] = &[text("Key"), text("Value")];

const EBS: &[Member] = &[
    text("Encrypted"),
    text("DeleteOnTermination"),
    text("Iops"),
    text("KmsKeyId"),
    text("SnapshotId"),
    text("VolumeSize"),
    text("VolumeType"),
    text("Throughput"),
    text("VolumeInitializationRate"),
];

const DEVICE: &[Member] =
    &[text("DeviceName"), text("VirtualName"), Member("Ebs", Shape::Struct(EBS)), text("NoDevice")];

const TRACKING: &[Member] = &[text("TcpEstablishedTimeout"), text("UdpStreamTimeout"), text("UdpTimeout")];

const INTERFACE: &[Member] = &[
    text("AssociatePublicIpAddress"),
    text("DeleteOnTermination"),
    text("Description"),
    text("DeviceIndex"),
    Member("SecurityGroupId", Shape::Texts("groupSet", "groupId")),
    text("InterfaceType"),
    text("NetworkInterfaceId"),
    text("PrivateIpAddress"),
    Member("PrivateIpAddresses", Shape::Structs("privateIpAddressesSet", &[text("Primary"), text("PrivateIpAddress")])),
    text("SecondaryPrivateIpAddressCount"),
    text("SubnetId"),
    text("NetworkCardIndex"),
    Member("Ipv4Prefix", Shape::Structs("ipv4PrefixSet", &[text("Ipv4Prefix")])),
    text("Ipv4PrefixCount"),
    text("Ipv6AddressCount"),
    text("Ipv6PrefixCount"),
    Member("ConnectionTrackingSpecification", Shape::Struct(TRACKING)),
    text("EnaQueueCount"),
];

const SPOT: &[Member] =
    &[text("MaxPrice"), text("SpotInstanceType"), text("ValidUntil"), text("InstanceInterruptionBehavior")];

const METADATA: &[Member] = &[
    text("HttpTokens"),
    text("HttpPutResponseHopLimit"),
    text("HttpEndpoint"),
    text("HttpProtocolIpv6"),
    text("InstanceMetadataTags"),
];

const PLACEMENT: &[Member] = &[text("AvailabilityZone"), text("GroupName"), text("Tenancy")];

const DNS: &[Member] =
    &[text("HostnameType"), text("EnableResourceNameDnsARecord"), text("EnableResourceNameDnsAAAARecord")];

/// The members of `LaunchTemplateData`, which are also parameters of `RunInstances`.
const DATA: &[Member] = &[
    text("EbsOptimized"),
    Member("IamInstanceProfile", Shape::Struct(&[text("Arn"), text("Name")])),
    Member("BlockDeviceMapping", Shape::Structs("blockDeviceMappingSet", DEVICE)),
    Member("NetworkInterface", Shape::Structs("networkInterfaceSet", INTERFACE)),
    text("ImageId"),
    text("InstanceType"),
    text("KeyName"),
    Member("Monitoring", Shape::Struct(&[text("Enabled")])),
    Member("Placement", Shape::Struct(PLACEMENT)),
    text("DisableApiTermination"),
    text("InstanceInitiatedShutdownBehavior"),
    text("UserData"),
    Member(
        "TagSpecification",
        Shape::Structs("tagSpecificationSet", &[text("ResourceType"), Member("Tag", Shape::Structs("tagSet", TAGS))]),
    ),
    Member("SecurityGroupId", Shape::Texts("securityGroupIdSet", "item")),
    Member("SecurityGroup", Shape::Texts("securityGroupSet", "item")),
    Member("InstanceMarketOptions", Shape::Struct(&[text("MarketType"), Member("SpotOptions", Shape::Struct(SPOT))])),
    Member("CpuOptions", Shape::Struct(&[text("CoreCount"), text("ThreadsPerCore"), text("AmdSevSnp")])),
    Member("HibernationOptions", Shape::Struct(&[text("Configured")])),
    Member("MetadataOptions", Shape::Struct(METADATA)),
    Member("EnclaveOptions", Shape::Struct(&[text("Enabled")])),
    Member("PrivateDnsNameOptions", Shape::Struct(DNS)),
    Member("MaintenanceOptions", Shape::Struct(&[text("AutoRecovery")])),
    text("DisableApiStop"),
    Member("NetworkPerformanceOptions", Shape::Struct(&[text("BandwidthWeighting")])),
];

/// The parameters under `params` as launch data; `besides` lists other parameters of the call, which are left out.
pub(super) fn read(params: &Params<'_>, prefix: &str, besides: &[&str]) -> Result<Flat, Fault> {
    let mut data = Flat::new();
    for (name, value) in params.pairs() {
        let name = name.strip_prefix(prefix).unwrap_or(name);
        let first = name.split('.').next().unwrap_or_default();
        if besides.contains(&first) {
            continue;
        }
        // Clients send an empty list as its name with an empty value.
        if value.is_empty() && DATA.iter().any(|member| member.0 == name && !matches!(member.1, Shape::Text)) {
            continue;
        }
        if !is_known(DATA, name) {
            let message = format!("The parameter {prefix}{name} is not recognized");
            return Err(Fault::new("UnknownParameter", message));
        }
        data.push((name.to_owned(), value.to_owned()));
    }
    if let Some((_, user_data)) = data.iter().find(|(name, _)| name == "UserData") {
        check_user_data(user_data)?;
    }
    Ok(data)
}

fn is_known(members: &[Member], name: &str) -> bool {
    let (first, rest) = name.split_once('.').unwrap_or((name, ""));
    let Some(Member(_, shape)) = members.iter().find(|member| member.0 == first) else { return false };
    let in_list = || rest.split_once('.').unwrap_or((rest, ""));
    match shape {
        Shape::Text => rest.is_empty(),
        Shape::Struct(members) => is_known(members, rest),
        Shape::Texts(..) => rest.parse::<u32>().is_ok(),
        Shape::Structs(_, members) => {
            let (number, rest) = in_list();
            number.parse::<u32>().is_ok() && is_known(members, rest)
        }
    }
}

/// Refuses user data that is not base64, or too long.
pub(super) fn check_user_data(user_data: &str) -> Result<(), Fault> {
    let bytes = STANDARD
        .decode(user_data)
        .map_err(|_| Fault::new("InvalidUserData.Malformed", "Invalid BASE64 encoding of user data"))?;
    if bytes.len() > USER_DATA_BYTES {
        let message = format!("User data is limited to {USER_DATA_BYTES} bytes");
        return Err(Fault::new("InvalidParameterValue", message));
    }
    Ok(())
}

/// `base` with every top-level member replaced that `over` has.
pub(super) fn merge(base: &Flat, over: &Flat) -> Flat {
    let top = |name: &str| name.split('.').next().unwrap_or_default().to_owned();
    let replaced: Vec<String> = over.iter().map(|(name, _)| top(name)).collect();
    let kept = base.iter().filter(|(name, _)| !replaced.contains(&top(name)));
    kept.chain(over).cloned().collect()
}

/// Writes `launchTemplateData`.
pub(super) fn write(xml: &mut Xml, data: &Flat) {
    xml.element("launchTemplateData", |xml| write_members(xml, DATA, &Params::new(data)));
}

fn write_members(xml: &mut Xml, members: &[Member], params: &Params<'_>) {
    for Member(name, shape) in members {
        match shape {
            Shape::Text => {
                xml.optional(&small(name), params.get(name));
            }
            Shape::Struct(members) if params.has(name) => {
                xml.element(&small(name), |xml| write_members(xml, members, &params.under(name)));
            }
            Shape::Texts(set, item) if params.has(name) => {
                xml.element(set, |xml| {
                    for value in params.list(name) {
                        xml.text(item, value);
                    }
                });
            }
            Shape::Structs(set, members) if params.has(name) => {
                xml.list(set, "item", params.items(name), |xml, item| write_members(xml, members, &item));
            }
            _ => {}
        }
    }
}

fn small(name: &str) -> String {
    let mut letters = name.chars();
    letters.next().map_or_else(String::new, |first| first.to_ascii_lowercase().to_string() + letters.as_str())
}

#[cfg(test)]
mod tests {
    use super::{merge, read, write};
    use crate::{
        query::{Params, tests::pairs},
        xml::Xml,
    };

    #[test]
    fn known_parameters_are_shown_and_unknown_ones_refused() {
        let sent = pairs("D.NetworkInterface.1.SecurityGroupId.1=sg-1&D.NetworkInterface.1.DeviceIndex=0&D.Ram=1");
        let params = Params::new(&sent);
        let error = read(&params.under("D"), "D.", &[]).unwrap_err();
        assert_eq!(error.message, "The parameter D.Ram is not recognized");
        let data = read(&params.under("D"), "D.", &["Ram"]).unwrap();
        let mut xml = Xml::new();
        write(&mut xml, &data);
        assert!(xml.into_string().ends_with(
            "<networkInterfaceSet><item><deviceIndex>0</deviceIndex><groupSet><groupId>sg-1</groupId></groupSet>\
             </item></networkInterfaceSet></launchTemplateData>"
        ));
    }

    #[test]
    fn a_member_is_replaced_completely() {
        let base = pairs("MetadataOptions.HttpTokens=required&MetadataOptions.HttpEndpoint=enabled&ImageId=ami-1");
        let over = pairs("MetadataOptions.HttpTokens=optional");
        assert_eq!(merge(&base, &over), pairs("ImageId=ami-1&MetadataOptions.HttpTokens=optional"));
    }
}
