//! Many hosts are launched, started and terminated with few calls, each of them once.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    time::Duration,
};

use aws_sdk_ec2::types::InstanceStateName;
use futures::future::join_all;
use trunnion_engine::{Context, Provider as _, ProviderError, Remote, Resolved};
use trunnion_kinds::{ADDRESS_TAG, Instance, LAUNCH_TAG, STACK_TAG};
use trunnion_sandbox::{Consistency, Options};

use crate::{
    common::{Cloud, at, cloud, instance, refused, resolved, strict, tags, token},
    doubles::{count, killed_after, launch_template},
    lifecycle::ec2,
};

/// A sandbox that hides everything new for a second, and has no rate limits.
fn late() -> Options {
    strict().with_consistency(Consistency::After(Duration::from_secs(1)))
}

/// The wanted hosts with these numbers, with one interface each.
fn wanted(template: &Remote, numbers: Range<u32>) -> Vec<Resolved> {
    let host = |number| Instance { interfaces: 1, addresses: 1, ..instance(template, number) };
    numbers.map(|number| resolved(&format!("instance.heavy[{number}]"), &host(number))).collect()
}

async fn create(cloud: &Cloud, wanted: Vec<Resolved>) -> Vec<Result<Remote, ProviderError>> {
    let items = wanted.into_iter().map(|resource| (resource.clone(), token(&resource))).collect();
    join_all(cloud.aws.create_all(items, &Context::default())).await
}

fn ids(hosts: Vec<Result<Remote, ProviderError>>) -> Vec<String> {
    hosts.into_iter().map(|host| host.unwrap().id).collect()
}

/// The live hosts by their addresses, as an observation shows them.
async fn live(cloud: &Cloud) -> BTreeMap<String, Vec<String>> {
    cloud.running.until_consistent().await;
    let remotes = cloud.observe().await.remotes.into_iter();
    let hosts = remotes.filter(|(address, _)| address.kind.as_str() == "instance");
    hosts.map(|(address, all)| (address.to_string(), all.into_iter().map(|host| host.id).collect())).collect()
}

/// A template for hosts with one interface.
async fn template(cloud: &Cloud) -> Remote {
    launch_template(cloud, "eu-west-3a", 1).await
}

#[tokio::test]
async fn a_hundred_hosts_are_one_call_and_each_has_its_number() {
    let cloud = cloud(strict()).await;
    let template = template(&cloud).await;
    let made = ids(create(&cloud, wanted(&template, 0..230)).await);
    assert_eq!(count(&cloud, "ec2:RunInstances"), 3);
    let live = live(&cloud).await;
    assert_eq!(live.len(), 230);
    for (number, id) in made.iter().enumerate() {
        assert_eq!(live[&format!("instance.heavy[{number}]")], std::slice::from_ref(id));
    }
    assert_eq!(count(&cloud, "ec2:CreateTags"), 0);

    let hosts: Vec<_> = (0..).zip(&made).map(|(n, id)| (at(&format!("instance.heavy[{n}]")), remote(id))).collect();
    for ended in join_all(cloud.aws.delete_all(hosts, &Context::default())).await {
        ended.unwrap();
    }
    assert_eq!(count(&cloud, "ec2:TerminateInstances"), 3);
    // The next hosts of the same numbers are as few calls.
    let again: BTreeSet<String> = ids(create(&cloud, wanted(&template, 0..230)).await).into_iter().collect();
    assert!(again.len() == 230 && made.iter().all(|id| !again.contains(id)));
    assert_eq!(count(&cloud, "ec2:RunInstances"), 6);
}

fn remote(id: &str) -> Remote {
    Remote::new(id, trunnion_engine::Map::new())
}

#[tokio::test]
async fn hosts_of_a_killed_call_are_found_also_by_another_number_of_them() {
    // Fewer, as many and more; only some in the middle; hosts around them.
    let cases = [(0..6, 0..4), (0..6, 0..6), (0..3, 0..5), (0..6, 2..4), (2..5, 0..7), (98..103, 97..104)];
    join_all(cases.map(|(first, second)| async move {
        let cloud = cloud(late()).await;
        let template = template(&cloud).await;
        let items = wanted(&template, first.clone());
        killed_after(&cloud, "ec2:RunInstances", create(&cloud, items)).await;
        let made = ids(create(&cloud, wanted(&template, second.clone())).await);
        let live = live(&cloud).await;
        assert!(live.values().all(|ids| ids.len() == 1), "{first:?} {second:?}: {live:?}");
        for (number, id) in second.clone().zip(made) {
            assert_eq!(live[&format!("instance.heavy[{number}]")], [id], "{first:?} {second:?}");
        }
    }))
    .await;
}

/// Reads that show a part of what is new, and hide again what they showed.
fn flickering(seed: u64) -> Options {
    Options::strict(seed).with_speed(60.0).with_vcpus(100_000)
}

#[tokio::test]
async fn reads_that_hide_again_what_they_showed_lead_to_no_second_host() {
    join_all((1..=12).map(|seed| async move {
        // All of them, or only some, as with `--target` and `--exclude`.
        let second = [0..3, 1..3, 2..3][usize::try_from(seed % 3).unwrap()].clone();
        let cloud = cloud(flickering(seed)).await;
        let template = template(&cloud).await;
        killed_after(&cloud, "ec2:RunInstances", create(&cloud, wanted(&template, 0..3))).await;
        if seed % 2 == 0 {
            // One of them ends at once.
            let shown = ec2(&cloud.running).describe_instances().send().await.unwrap();
            let mut shown = shown.reservations().iter().flat_map(aws_sdk_ec2::types::Reservation::instances);
            if let Some(host) = shown.find(|host| host.ami_launch_index() == Some(0)) {
                let end = ec2(&cloud.running).terminate_instances().instance_ids(host.instance_id().unwrap());
                end.send().await.unwrap();
            }
        }
        let made = create(&cloud, wanted(&template, second.clone())).await;
        let live = live(&cloud).await;
        assert!(live.values().all(|ids| ids.len() == 1), "seed {seed}: {live:?}");
        for (number, host) in second.zip(made) {
            match host {
                Ok(host) => assert_eq!(live[&format!("instance.heavy[{number}]")], [host.id], "seed {seed}"),
                // The one that ended.
                Err(error) => assert!(number == 0 && error.message.contains("was terminated"), "seed {seed}: {error}"),
            }
        }
    }))
    .await;
}

#[tokio::test]
async fn hosts_beside_others_are_launched_singly() {
    let cloud = cloud(late()).await;
    let template = template(&cloud).await;
    let first = ids(create(&cloud, wanted(&template, 0..4)).await);
    killed_after(&cloud, "ec2:RunInstances", create(&cloud, wanted(&template, 4..7))).await;
    let all = ids(create(&cloud, wanted(&template, 4..7)).await);
    let live = live(&cloud).await;
    assert_eq!(live.len(), first.len() + all.len());
    assert!(live.values().all(|ids| ids.len() == 1), "{live:?}");
}

#[tokio::test]
async fn a_call_that_launches_only_some_is_completed_singly_and_never_in_a_smaller_number() {
    // No call is throttled, because attempts are counted.
    let cloud = cloud(strict().with_vcpus(1_000_000).with_throttling(1e9)).await;
    let template = template(&cloud).await;
    let subnets = ec2(&cloud.running).describe_subnets().send().await.unwrap();
    let zone = |subnet: &&aws_sdk_ec2::types::Subnet| subnet.availability_zone() == Some("eu-west-3a");
    let free = subnets.subnets().iter().find(zone).unwrap().available_ip_address_count().unwrap();
    // Hosts with three addresses each leave space for 60 more.
    let all = u32::try_from(free).unwrap() / 3 - 60;
    let filler = Instance { interfaces: 1, addresses: 1, ..instance(&template, 0) };
    let others: Vec<Resolved> = (1000..1000 + all)
        .map(|number| {
            let address = format!("instance.heavy[{number}]");
            resolved(&address, &Instance { tags: tags(&address), ..filler.clone() })
        })
        .collect();
    ids(create(&cloud, others).await);
    let before = count(&cloud, "ec2:RunInstances");
    let made = create(&cloud, wanted(&template, 0..70)).await;
    let (made, refused): (Vec<_>, Vec<_>) = made.into_iter().partition(Result::is_ok);
    assert_eq!((made.len(), refused.len()), (60, 10));
    for error in refused {
        let error = error.unwrap_err();
        assert_eq!(error.code.as_deref(), Some("InsufficientFreeAddressesInSubnet"), "{error}");
    }
    assert_eq!(count(&cloud, "ec2:RunInstances") - before, 11);
}

#[tokio::test]
async fn a_refused_call_for_many_is_not_repeated_for_fewer() {
    let cloud = cloud(strict()).await;
    let template = template(&cloud).await;
    cloud.running.set_faults(vec![refused("ec2:RunInstances", 1, 400, "InsufficientInstanceCapacity")]);
    let before = count(&cloud, "ec2:RunInstances");
    for refused in create(&cloud, wanted(&template, 0..20)).await {
        assert_eq!(refused.unwrap_err().code.as_deref(), Some("InsufficientInstanceCapacity"));
    }
    assert_eq!(count(&cloud, "ec2:RunInstances") - before, 1);
    ids(create(&cloud, wanted(&template, 0..20)).await);
    assert_eq!(count(&cloud, "ec2:RunInstances") - before, 2);
    assert_eq!(live(&cloud).await.len(), 20);
}

#[tokio::test]
async fn a_host_that_left_its_address_is_launched_again() {
    let cloud = cloud(strict()).await;
    let template = template(&cloud).await;
    let made = ids(create(&cloud, wanted(&template, 0..3)).await);
    // Its first tag still names the address; its own tag wins.
    let moved = Remote::new(&made[1], resolved("instance.heavy[1]", &instance(&template, 1)).attributes);
    cloud.update("instance.light[0]", &moved, &instance_at("instance.light[0]", &template), &["tags"]).await;
    // It stops being the stack's, and loses each tag of Trunnion.
    let given = Remote::new(&made[2], resolved("instance.heavy[2]", &instance(&template, 2)).attributes);
    let mut plain = instance(&template, 2);
    plain.tags.retain(|key, _| !key.starts_with("trunnion:"));
    cloud.update("instance.heavy[2]", &given, &plain, &["tags"]).await;
    cloud.running.until_consistent().await;
    let shown = ec2(&cloud.running).describe_instances().instance_ids(&made[2]).send().await.unwrap();
    let keys: Vec<&str> = shown.reservations()[0].instances()[0].tags().iter().filter_map(|tag| tag.key()).collect();
    assert!(keys.iter().all(|key| !key.starts_with("trunnion:")), "{keys:?}");
    assert_eq!(live(&cloud).await["instance.light[0]"], [made[1].clone()]);

    let again = ids(create(&cloud, wanted(&template, 1..3)).await);
    assert!(again.iter().all(|id| !made.contains(id)));
    let live = live(&cloud).await;
    assert_eq!(live.len(), 4);
    assert!(live.values().all(|ids| ids.len() == 1), "{live:?}");
}

fn instance_at(address: &str, template: &Remote) -> Instance {
    Instance { tags: tags(address), ..instance(template, 0) }
}

#[tokio::test]
async fn tags_of_the_launch_name_the_numbers_only() {
    let cloud = cloud(strict()).await;
    let template = template(&cloud).await;
    ids(create(&cloud, wanted(&template, 5..8)).await);
    cloud.running.until_consistent().await;
    let shown = ec2(&cloud.running).describe_instances().send().await.unwrap();
    let hosts: Vec<_> = shown.reservations().iter().flat_map(aws_sdk_ec2::types::Reservation::instances).collect();
    assert_eq!(hosts.len(), 3);
    for host in hosts {
        let tag = |key: &str| host.tags().iter().find(|tag| tag.key() == Some(key)).and_then(|tag| tag.value());
        assert_eq!((tag(LAUNCH_TAG), tag(ADDRESS_TAG)), (Some("instance.heavy[5-7]"), None));
        assert!(tag(STACK_TAG).is_some());
    }
}

#[tokio::test]
async fn stopped_hosts_are_started_with_one_call() {
    let cloud = cloud(strict()).await;
    let template = template(&cloud).await;
    let made = ids(create(&cloud, wanted(&template, 0..5)).await);
    ec2(&cloud.running).stop_instances().set_instance_ids(Some(made)).send().await.unwrap();
    cloud.running.until_consistent().await;
    let observed = cloud.observe().await.remotes;
    let updates: Vec<_> = wanted(&template, 0..5)
        .into_iter()
        .map(|wanted| (observed[&wanted.address][0].clone(), wanted, vec!["state".to_owned()]))
        .collect();
    for started in join_all(cloud.aws.update_all(updates, &Context::default())).await {
        started.unwrap();
    }
    assert_eq!(count(&cloud, "ec2:StartInstances"), 1);
    let shown = ec2(&cloud.running).describe_instances().send().await.unwrap();
    let hosts = shown.reservations().iter().flat_map(aws_sdk_ec2::types::Reservation::instances);
    for host in hosts {
        assert_eq!(host.state().and_then(|state| state.name()), Some(&InstanceStateName::Running));
    }
}
