//! What a version of a launch template says, as EC2 spells it.

use aws_sdk_ec2::types::{
    InstanceType, LaunchTemplateBlockDeviceMappingRequest, LaunchTemplateEbsBlockDeviceRequest,
    LaunchTemplateHttpTokensState, LaunchTemplateIamInstanceProfileSpecificationRequest,
    LaunchTemplateInstanceMarketOptionsRequest, LaunchTemplateInstanceMetadataEndpointState,
    LaunchTemplateInstanceMetadataOptionsRequest, LaunchTemplateInstanceNetworkInterfaceSpecification,
    LaunchTemplateInstanceNetworkInterfaceSpecificationRequest, LaunchTemplateTagSpecificationRequest,
    LaunchTemplateVersion, MarketType, RequestLaunchTemplateData, ResourceType, ResponseLaunchTemplateData, VolumeType,
};
use trunnion_kinds::{Interface, LaunchTemplateData, Market, Metadata, Value, Volume};

use super::tagging::{from_ec2, to_ec2};
use crate::{
    convert::{base64, from_base64, text, texts, values},
    error::Failure,
};

/// What a version's description begins with; the source of the image follows.
const IMAGE: &str = "image=";

/// A version's description: it keeps what the image was asked for by.
pub(crate) fn description(data: &LaunchTemplateData) -> String {
    format!("{IMAGE}{}", data.image_source).chars().take(255).collect()
}

/// A number for the API, whose numbers are signed.
fn signed(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

/// A number of the API, which is never negative here.
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
    // The primary address comes by itself.
    let secondary = Some(signed(interface.addresses.saturating_sub(1))).filter(|count| *count > 0);
    Ok(LaunchTemplateInstanceNetworkInterfaceSpecificationRequest::builder()
        .network_card_index(signed(interface.card))
        .device_index(signed(interface.device))
        .subnet_id(text(&interface.subnet)?)
        .set_groups(Some(texts(&interface.security_groups)?))
        .set_secondary_private_ip_address_count(secondary)
        .delete_on_termination(true)
        .build())
}

/// What a template says beyond what we ask for: instances would be launched with it.
fn other(data: &ResponseLaunchTemplateData) -> Vec<String> {
    let interfaces = data.network_interfaces.as_deref().unwrap_or_default();
    [
        ("block_devices", data.block_device_mappings.as_ref().is_some_and(|devices| devices.len() > 1)),
        ("capacity_reservation", data.capacity_reservation_specification.is_some()),
        ("kernel", data.kernel_id.is_some() || data.ram_disk_id.is_some()),
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

/// The data of a version that AWS shows.
pub(crate) fn from_version(version: LaunchTemplateVersion) -> LaunchTemplateData {
    let described = version.version_description.unwrap_or_default();
    let data = version.launch_template_data;
    let mapping = data.as_ref().and_then(|data| data.block_device_mappings.as_ref()?.first().cloned());
    let ebs = mapping.as_ref().and_then(|mapping| mapping.ebs.as_ref());
    let metadata = data.as_ref().and_then(|data| data.metadata_options.as_ref());
    let spot = data
        .as_ref()
        .and_then(|data| data.instance_market_options.as_ref()?.market_type.as_ref())
        .is_some_and(|market| *market == MarketType::Spot);
    let mut converted = LaunchTemplateData {
        image_source: described.strip_prefix(IMAGE).unwrap_or_default().to_owned(),
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
    let Some(data) = data else { return converted };
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
    // What is no text cannot be what we put there: it is shown as it lies.
    converted.user_data = from_base64(&user_data).and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or(user_data);
    converted
}

fn from_interface(interface: LaunchTemplateInstanceNetworkInterfaceSpecification) -> Interface {
    let listed = interface.private_ip_addresses.map_or(0, |addresses| addresses.len());
    let addresses = 1 + unsigned(interface.secondary_private_ip_address_count);
    Interface {
        card: unsigned(interface.network_card_index),
        device: unsigned(interface.device_index),
        subnet: interface.subnet_id.map_or(Value::Null, Value::from),
        security_groups: values(interface.groups.unwrap_or_default()),
        addresses: addresses.max(u32::try_from(listed).unwrap_or(u32::MAX)),
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
        let data = from_version(version);
        assert_eq!(data.image_source, "/aws/service/al2023");
        assert_eq!(data.user_data, "#!/bin/bash\n");
        assert_eq!(data.metadata.tokens, "required");
        let interfaces: Vec<_> = data.interfaces.iter().map(|found| (found.device, found.addresses)).collect();
        assert_eq!(interfaces, [(0, 1), (1, 30)]);
    }
}
