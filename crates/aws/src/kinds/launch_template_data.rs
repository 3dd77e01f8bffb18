//! Converts the data of a launch template's version from and to EC2's types.

use aws_sdk_ec2::types::{
    InstanceType, LaunchTemplateBlockDeviceMappingRequest, LaunchTemplateEbsBlockDeviceRequest,
    LaunchTemplateHttpTokensState, LaunchTemplateIamInstanceProfileSpecificationRequest,
    LaunchTemplateInstanceMarketOptionsRequest, LaunchTemplateInstanceMetadataEndpointState,
    LaunchTemplateInstanceMetadataOptionsRequest, LaunchTemplateInstanceNetworkInterfaceSpecification,
    LaunchTemplateInstanceNetworkInterfaceSpecificationRequest, LaunchTemplateTagSpecificationRequest,
    LaunchTemplateVersion, MarketType, RequestLaunchTemplateData, ResourceType, ResponseLaunchTemplateData, VolumeType,
};
use trunnion_catalog::limits::VERSION_DESCRIPTION;
use trunnion_kinds::{
    Boot, Interface, LaunchTemplate, LaunchTemplateData, Market, Metadata, Value, Volume, shortened_source,
};

use super::tagging::{from_ec2, to_ec2};
use crate::{
    convert::{base64, from_base64, text, texts, values},
    error::Failure,
};

/// The keys in a version's description, in this order and separated by spaces: what its user data was rendered from,
/// and the source of the image. Earlier versions of Trunnion wrote only the source.
const TRUNNION: &str = "trunnion=";
const GENERATOR: &str = "generator=";
const BOOT: &str = "boot=";
const IMAGE: &str = "image=";

/// A version's description: it stores the image's source and what the user data was rendered from.
pub(crate) fn description(template: &LaunchTemplate) -> String {
    let boot = template.boot.as_ref().map(|Boot { trunnion, generator, digest }| {
        format!("{TRUNNION}{trunnion} {GENERATOR}{generator} {BOOT}{digest} ")
    });
    let boot = boot.unwrap_or_default();
    let source = &template.data.image_source;
    let whole = format!("{boot}{IMAGE}{source}");
    if whole.chars().count() <= VERSION_DESCRIPTION {
        return whole;
    }
    format!("{boot}{IMAGE}{}", shortened_source(source)).chars().take(VERSION_DESCRIPTION).collect()
}

/// Reads from a version's description what its user data was rendered from, and the image's source.
pub(crate) fn from_description(description: &str) -> (Option<Boot>, String) {
    let mut rest = description;
    let mut word = |name: &str| {
        let (value, behind) = rest.strip_prefix(name)?.split_once(' ')?;
        rest = behind;
        Some(value.to_owned())
    };
    let words = [TRUNNION, GENERATOR, BOOT].map(&mut word);
    let boot = match words {
        [Some(trunnion), Some(generator), Some(digest)] => Some(Boot { trunnion, generator, digest }),
        _ => None,
    };
    (boot, rest.strip_prefix(IMAGE).unwrap_or_default().to_owned())
}

/// For the API, which has signed numbers only.
fn signed(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

/// From the API, where this number is never negative.
pub(crate) fn unsigned(number: Option<i32>) -> u32 {
    number.and_then(|number| u32::try_from(number).ok()).unwrap_or(0)
}

/// The data of a create call.
pub(crate) fn to_request(data: &LaunchTemplateData) -> Result<RequestLaunchTemplateData, Failure> {
    let volume = LaunchTemplateEbsBlockDeviceRequest::builder()
        .volume_size(signed(data.volume.size_gib))
        .volume_type(VolumeType::from(data.volume.volume_type.as_str()))
        .encrypted(data.volume.encrypted)
        .delete_on_termination(data.volume.delete_on_termination)
        .build();
    let mapping =
        LaunchTemplateBlockDeviceMappingRequest::builder().device_name(text(&data.volume.device)?).ebs(volume);
    let metadata = LaunchTemplateInstanceMetadataOptionsRequest::builder()
        .http_endpoint(LaunchTemplateInstanceMetadataEndpointState::Enabled)
        .http_tokens(LaunchTemplateHttpTokensState::from(data.metadata.tokens.as_str()))
        .http_put_response_hop_limit(data.metadata.hop_limit)
        .build();
    let profile = LaunchTemplateIamInstanceProfileSpecificationRequest::builder().arn(text(&data.instance_profile)?);
    let interfaces = data.interfaces.iter().map(to_interface).collect::<Result<Vec<_>, _>>()?;
    let tags = [ResourceType::Instance, ResourceType::Volume, ResourceType::NetworkInterface].map(|resource| {
        let tags = Some(to_ec2(&data.tags));
        LaunchTemplateTagSpecificationRequest::builder().resource_type(resource).set_tags(tags).build()
    });
    let market = (data.market == Market::Spot)
        .then(|| LaunchTemplateInstanceMarketOptionsRequest::builder().market_type(MarketType::Spot).build());
    Ok(RequestLaunchTemplateData::builder()
        .image_id(text(&data.image)?)
        .instance_type(InstanceType::from(data.instance_type.as_str()))
        .iam_instance_profile(profile.build())
        .block_device_mappings(mapping.build())
        .metadata_options(metadata)
        .set_instance_market_options(market)
        .set_network_interfaces(Some(interfaces))
        .set_tag_specifications(Some(tags.into()).filter(|_| !data.tags.is_empty()))
        .user_data(base64(&data.user_data))
        .build())
}

fn to_interface(interface: &Interface) -> Result<LaunchTemplateInstanceNetworkInterfaceSpecificationRequest, Failure> {
    // EC2 assigns the primary address in any case.
    let secondary = Some(signed(interface.addresses.saturating_sub(1))).filter(|count| *count > 0);
    // EC2 takes either IPv6 addresses or IPv6 prefixes in one request (aws/karpenter-provider-aws#2187 and #9201).
    let ipv6_prefixes = Some(signed(interface.ipv6_prefixes)).filter(|count| *count > 0);
    Ok(LaunchTemplateInstanceNetworkInterfaceSpecificationRequest::builder()
        .network_card_index(signed(interface.card))
        .device_index(signed(interface.device))
        .subnet_id(text(&interface.subnet)?)
        .set_groups(Some(texts(&interface.security_groups)?))
        .set_secondary_private_ip_address_count(secondary)
        .set_ipv6_prefix_count(ipv6_prefixes)
        .delete_on_termination(true)
        .build())
}

/// Settings of a template that we never write but instances would get.
fn other(data: &ResponseLaunchTemplateData) -> Vec<String> {
    let interfaces = data.network_interfaces.as_deref().unwrap_or_default();
    [
        ("block_devices", data.block_device_mappings.as_ref().is_some_and(|devices| devices.len() > 1)),
        ("capacity_reservation", data.capacity_reservation_specification.is_some()),
        ("kernel", data.kernel_id.is_some() || data.ram_disk_id.is_some()),
        ("ipv6_addresses", interfaces.iter().any(has_ipv6_addresses)),
        ("key_name", data.key_name.is_some()),
        ("placement", data.placement.is_some()),
        ("public_ip", interfaces.iter().any(|interface| interface.associate_public_ip_address == Some(true))),
        ("security_groups", data.security_group_ids.as_ref().is_some_and(|groups| !groups.is_empty())),
    ]
    .into_iter()
    .filter(|(_, is_set)| *is_set)
    .map(|(name, _)| name.to_owned())
    .collect()
}

fn has_ipv6_addresses(interface: &LaunchTemplateInstanceNetworkInterfaceSpecification) -> bool {
    interface.ipv6_address_count.is_some_and(|count| count > 0) || !interface.ipv6_addresses().is_empty()
}

/// The data of a version, and what its user data was rendered from.
pub(crate) fn from_version(version: LaunchTemplateVersion) -> (LaunchTemplateData, Option<Boot>) {
    let (boot, image_source) = from_description(version.version_description.as_deref().unwrap_or_default());
    let data = version.launch_template_data;
    let mapping = data.as_ref().and_then(|data| data.block_device_mappings.as_ref()?.first().cloned());
    let ebs = mapping.as_ref().and_then(|mapping| mapping.ebs.as_ref());
    let metadata = data.as_ref().and_then(|data| data.metadata_options.as_ref());
    let spot = data
        .as_ref()
        .and_then(|data| data.instance_market_options.as_ref()?.market_type.as_ref())
        .is_some_and(|market| *market == MarketType::Spot);
    let mut converted = LaunchTemplateData {
        image_source,
        image: Value::Null,
        instance_type: String::new(),
        instance_profile: Value::Null,
        volume: Volume {
            device: mapping.as_ref().and_then(|mapping| mapping.device_name.clone()).map_or(Value::Null, Value::from),
            size_gib: unsigned(ebs.and_then(|ebs| ebs.volume_size)),
            volume_type: ebs
                .and_then(|ebs| ebs.volume_type.as_ref())
                .map_or_else(String::new, |volume_type| volume_type.as_str().to_owned()),
            encrypted: ebs.and_then(|ebs| ebs.encrypted).unwrap_or(false),
            delete_on_termination: ebs.and_then(|ebs| ebs.delete_on_termination).unwrap_or(false),
        },
        metadata: Metadata {
            tokens: metadata
                .and_then(|metadata| metadata.http_tokens.as_ref())
                .map_or_else(String::new, |tokens| tokens.as_str().to_owned()),
            hop_limit: metadata.and_then(|metadata| metadata.http_put_response_hop_limit).unwrap_or(1),
        },
        market: if spot { Market::Spot } else { Market::OnDemand },
        interfaces: Vec::new(),
        tags: trunnion_kinds::Tags::new(),
        other: Vec::new(),
        user_data: String::new(),
    };
    let Some(data) = data else { return (converted, boot) };
    converted.other = other(&data);
    converted.image = data.image_id.map_or(Value::Null, Value::from);
    converted.instance_type = data.instance_type.map(|name| name.as_str().to_owned()).unwrap_or_default();
    let profile = data.iam_instance_profile.and_then(|profile| profile.arn.or(profile.name));
    converted.instance_profile = profile.map_or(Value::Null, Value::from);
    converted.interfaces = data.network_interfaces.into_iter().flatten().map(from_interface).collect();
    converted.interfaces.sort_by_key(|interface| (interface.card, interface.device));
    let tags = data.tag_specifications.into_iter().flatten();
    let instance = tags.filter(|tags| tags.resource_type == Some(ResourceType::Instance)).find_map(|tags| tags.tags);
    converted.tags = from_ec2(instance);
    let user_data = data.user_data.unwrap_or_default();
    // User data that is not text was not written by us; it is kept in base64 as AWS returns it.
    converted.user_data = from_base64(&user_data).and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or(user_data);
    (converted, boot)
}

fn from_interface(interface: LaunchTemplateInstanceNetworkInterfaceSpecification) -> Interface {
    let listed = interface.private_ip_addresses.map_or(0, |addresses| addresses.len());
    let addresses = 1 + unsigned(interface.secondary_private_ip_address_count);
    let named = interface.ipv6_prefixes.map_or(0, |prefixes| prefixes.len());
    Interface {
        card: unsigned(interface.network_card_index),
        device: unsigned(interface.device_index),
        subnet: interface.subnet_id.map_or(Value::Null, Value::from),
        security_groups: values(interface.groups.unwrap_or_default()),
        addresses: addresses.max(u32::try_from(listed).unwrap_or(u32::MAX)),
        ipv6_prefixes: unsigned(interface.ipv6_prefix_count).max(u32::try_from(named).unwrap_or(u32::MAX)),
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_ec2::types::LaunchTemplateInstanceMetadataOptions;

    use super::*;

    #[test]
    fn user_data_and_the_image_source_read_back() {
        let data = ResponseLaunchTemplateData::builder()
            .image_id("ami-1")
            .user_data(base64("#!/bin/bash\n"))
            .metadata_options(LaunchTemplateInstanceMetadataOptions::builder().http_tokens("required".into()).build())
            .network_interfaces(
                LaunchTemplateInstanceNetworkInterfaceSpecification::builder()
                    .device_index(1)
                    .secondary_private_ip_address_count(29)
                    .build(),
            )
            .network_interfaces(LaunchTemplateInstanceNetworkInterfaceSpecification::builder().device_index(0).build());
        let version = LaunchTemplateVersion::builder()
            .version_description("image=/aws/service/al2023")
            .launch_template_data(data.build())
            .build();
        let (data, boot) = from_version(version);
        assert_eq!(boot, None, "an earlier version stored only the image's source");
        assert_eq!(data.image_source, "/aws/service/al2023");
        assert_eq!(data.user_data, "#!/bin/bash\n");
        assert_eq!(data.metadata.tokens, "required");
        let interfaces: Vec<_> = data.interfaces.iter().map(|found| (found.device, found.addresses)).collect();
        assert_eq!(interfaces, [(0, 1), (1, 30)]);
    }

    fn template(source: &str, boot: Option<Boot>) -> LaunchTemplate {
        let (mut data, _) = from_version(LaunchTemplateVersion::builder().build());
        data.image_source = source.to_owned();
        LaunchTemplate {
            name: "loadtest-heavy".to_owned(),
            data,
            boot,
            default_version: trunnion_kinds::LATEST.to_owned(),
            tags: trunnion_kinds::Tags::new(),
        }
    }

    #[test]
    fn a_description_stores_the_sources_of_user_data_and_image() {
        let boot = Boot { trunnion: "0.1.0".to_owned(), generator: "ab".repeat(32), digest: "cd".repeat(16) };
        let source = "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64";
        let text = description(&template(source, Some(boot.clone())));
        assert_eq!(from_description(&text), (Some(boot.clone()), source.to_owned()), "{text}");
        assert_eq!(description(&template(source, None)), format!("image={source}"), "the form of earlier versions");
        for odd in ["", "image", "trunnion=0.1.0", "trunnion=0.1.0 image=ami-1", "by hand"] {
            assert_eq!(from_description(odd).0, None, "{odd}");
        }

        // A name in Systems Manager may have 1,011 characters.
        let long = format!("/{}", "a".repeat(1010));
        let text = description(&template(&long, Some(boot.clone())));
        assert!(text.len() <= VERSION_DESCRIPTION, "{text}");
        let (read, kept) = from_description(&text);
        assert_eq!(read, Some(boot));
        assert!(trunnion_kinds::stands_for(&kept, &long), "{kept}");
        assert!(!trunnion_kinds::stands_for(&kept, &format!("{long}b")), "{kept}");
        let cut: String = format!("image={long}").chars().take(VERSION_DESCRIPTION).collect();
        assert!(trunnion_kinds::stands_for(&from_description(&cut).1, &long), "an earlier version cut it");
    }
}
