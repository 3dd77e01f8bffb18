//! The generator hosts: a launch template for each pool and the instances launched from it.

use std::collections::BTreeMap;

use trunnion_catalog::InstanceType;
use trunnion_engine::{Lookup, Resource};
use trunnion_kinds::{
    ElasticIp, Instance, Interface, LATEST, LaunchTemplate, LaunchTemplateData, Market, Metadata, STACK_TAG,
    STATE_RUNNING, Volume, lookup,
};
use trunnion_stack::{Image, Pool, Stack, Tracking};

use crate::{
    BlueprintError, Boots,
    address::{self, GENERATOR, LOAD, UNTRACKED, name, of, tags_with_name},
    lookup as one_lookup, resource,
};

/// Every pool's launch template and hosts.
pub(crate) fn resources(stack: &Stack, boots: &Boots) -> Result<Vec<Resource>, BlueprintError> {
    let mut resources = Vec::new();
    for (pool_name, pool) in &stack.pools {
        resources.push(launch_template(stack, pool_name, pool, boots)?);
        for number in 0..pool.count {
            resources.push(instance(stack, pool_name, pool, number)?);
            for which in 0..pool.public_addresses {
                resources.push(elastic_ip(stack, pool_name, number, which)?);
            }
        }
    }
    Ok(resources)
}

/// Every pool's image and instance type.
pub(crate) fn lookups(stack: &Stack) -> Result<Vec<Lookup>, BlueprintError> {
    let mut lookups = Vec::new();
    let mut types: BTreeMap<&str, Lookup> = BTreeMap::new();
    for (pool_name, pool) in &stack.pools {
        let (parameter, id) = match &pool.image {
            Image::Id(id) => (None, Some(id.clone())),
            image => (Some(image_source(image, pool.instance_type)), None),
        };
        let architecture = pool.instance_type.architecture.to_string();
        lookups.push(one_lookup(address::image(pool_name), &lookup::Image { parameter, id, architecture })?);
        let type_name = pool.instance_type.name;
        let query = lookup::InstanceType { name: type_name.to_owned() };
        types.insert(type_name, one_lookup(address::instance_type(type_name), &query)?);
    }
    lookups.extend(types.into_values());
    if stack.pools.values().any(|pool| pool.public_addresses > 0) {
        lookups.push(one_lookup(address::elastic_ip_quota(), &lookup::ElasticIpQuota {})?);
    }
    Ok(lookups)
}

/// The SSM parameter or the ID of a pool's image.
pub(crate) fn image_source_of(pool: &Pool) -> String {
    image_source(&pool.image, pool.instance_type)
}

/// The SSM parameter or the ID of an image.
fn image_source(image: &Image, instance_type: &InstanceType) -> String {
    match image {
        Image::AmazonLinux2023 => {
            format!("/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-{}", instance_type.architecture)
        }
        Image::Id(text) | Image::Parameter(text) => text.clone(),
    }
}

fn launch_template(stack: &Stack, pool_name: &str, pool: &Pool, boots: &Boots) -> Result<Resource, BlueprintError> {
    let address = address::launch_template(pool_name);
    // A pool outside the plan has no boot.
    let (user_data, boot) = boots.of(pool_name).cloned().map(|of| (of.user_data, of.boot)).unwrap_or_default();
    let shown = name(stack, pool_name);
    let data = LaunchTemplateData {
        image_source: image_source_of(pool),
        image: of(address::image(pool_name), "id"),
        instance_type: pool.instance_type.name.to_owned(),
        instance_profile: of(address::instance_profile(), "arn"),
        volume: Volume {
            device: of(address::image(pool_name), "root_device"),
            size_gib: pool.volume_gib,
            volume_type: "gp3".to_owned(),
            encrypted: true,
            delete_on_termination: true,
        },
        // One hop: containers on the host cannot get its credentials.
        metadata: Metadata { tokens: "required".to_owned(), hop_limit: 1 },
        market: match pool.market {
            trunnion_stack::Market::OnDemand => Market::OnDemand,
            trunnion_stack::Market::Spot => Market::Spot,
        },
        interfaces: interfaces(pool),
        // Only tags that never change: a change of the user's tags must not replace hosts. Each instance gets those
        // itself.
        tags: [(STACK_TAG.to_owned(), stack.name.clone()), ("Name".to_owned(), shown.clone())].into(),
        other: Vec::new(),
        user_data,
    };
    let tags = tags_with_name(stack, &address, &shown);
    // Names of stacks and pools contain no dots. So the stack `a` with the pool `b-c` and the stack `a-b` with the pool
    // `c` have different template names.
    let name = format!("{}.{pool_name}", stack.name);
    let template = LaunchTemplate { name, data, boot, default_version: LATEST.to_owned(), tags };
    Ok(resource(address, &template)?.after(boots.object_of(pool_name)))
}

/// A pool's interfaces, spread evenly over the network cards. Device numbers count from 0 on each card: EC2 terminates
/// a host with a device number that is not lower than the number of interfaces that its card allows.
fn interfaces(pool: &Pool) -> Vec<Interface> {
    let subnet = of(address::subnet(&pool.placement), "id");
    let mut found = Vec::new();
    for (card, devices) in (0..).zip(spread(pool.interfaces, &pool.instance_type.cards)) {
        for device in 0..devices {
            let group = match pool.tracking {
                _ if card == 0 && device == 0 => GENERATOR,
                Tracking::Tracked => LOAD,
                Tracking::Untracked => UNTRACKED,
            };
            found.push(Interface {
                card,
                device,
                subnet: subnet.clone(),
                security_groups: vec![of(address::security_group(group), "id")],
                addresses: pool.addresses,
                // A prefix holds more addresses than a host needs, so an interface gets no addresses beside it.
                ipv6_prefixes: u32::from(pool.ipv6),
            });
        }
    }
    found
}

/// How many of `count` interfaces each card gets: one per card in turn, up to each card's maximum.
fn spread(count: u32, cards: &[u32]) -> Vec<u32> {
    let mut taken = vec![0; cards.len()];
    let mut left = count;
    while left > 0 {
        let before = left;
        for (taken, most) in taken.iter_mut().zip(cards) {
            if left > 0 && *taken < *most {
                *taken += 1;
                left -= 1;
            }
        }
        if left == before {
            break;
        }
    }
    taken
}

fn instance(stack: &Stack, pool_name: &str, pool: &Pool, number: u32) -> Result<Resource, BlueprintError> {
    let template = address::launch_template(pool_name);
    let address = address::instance(pool_name, number);
    let instance = Instance {
        launch_template: of(template.clone(), "id"),
        version: of(template.clone(), "version"),
        zone: of(address::subnet(&pool.placement), "zone"),
        template: of(template, "digest"),
        interfaces: pool.interfaces,
        addresses: pool.addresses,
        state: STATE_RUNNING.to_owned(),
        // One call launches many hosts, all with the same name.
        tags: tags_with_name(stack, &address, &name(stack, pool_name)),
    };
    // The role and its policy must exist before the host downloads its binary.
    Ok(resource(address, &instance)?.after([address::role(GENERATOR), address::instance_profile()]))
}

/// A public address of a host. It has the host's number, so that a replacement of the host gets the same address. The first
/// one belongs to the primary address of the primary interface, and the others to the addresses of each interface in turn.
fn elastic_ip(stack: &Stack, pool_name: &str, number: u32, which: u32) -> Result<Resource, BlueprintError> {
    let host = address::instance(pool_name, number);
    let address = address::elastic_ip(pool_name, number, which);
    let (private_ip, suffix) = match which {
        0 => ("private_ip".to_owned(), number.to_string()),
        which => (format!("private_ips[{which}]"), format!("{number}-{which}")),
    };
    let elastic_ip = ElasticIp {
        instance: of(host.clone(), "id"),
        private_ip: of(host, &private_ip),
        tags: tags_with_name(stack, &address, &format!("{}-{suffix}", name(stack, pool_name))),
    };
    resource(address, &elastic_ip)
}

#[cfg(test)]
mod tests {
    use super::spread;

    #[test]
    fn interfaces_are_spread_evenly_up_to_the_maximum_of_each_card() {
        assert_eq!(spread(8, &[8, 8]), [4, 4]);
        assert_eq!(spread(9, &[8, 8]), [5, 4]);
        assert_eq!(spread(16, &[8, 8]), [8, 8]);
        assert_eq!(spread(6, &[1, 4, 4]), [1, 3, 2]);
        assert_eq!(spread(15, &[15]), [15]);
        assert_eq!(spread(1, &[8, 8]), [1, 0]);
    }
}
