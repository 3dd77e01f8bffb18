//! No create adds a second resource at its address, even while AWS does not show the first one.

use std::{collections::BTreeSet, time::Duration};

use aws_sdk_ec2::{error::ProvideErrorMetadata as _, types::InstanceStateName};
use trunnion_engine::{Context, Provider as _, ProviderError, Remote, State, Token};
use trunnion_kinds::{ElasticIp, Instance};
use trunnion_sandbox::{Consistency, Delay, Effect, FaultRule, Options};

use crate::{
    common::{
        self, Cloud, DEFINITION, at, cloud, definition, desired, group, instance, log_group, profile, resolved, role,
        strict, tags, template, text, token,
    },
    lifecycle::ec2,
};

const HOST: &str = "instance.heavy[0]";

pub fn count(cloud: &Cloud, operation: &str) -> u64 {
    cloud.running.calls().get(operation).map_or(0, |calls| calls.count)
}

/// Drops a create once the sandbox has executed a call of this operation, as a kill does.
pub async fn killed_after<T: std::fmt::Debug>(cloud: &Cloud, operation: &str, create: impl Future<Output = T>) {
    let before = count(cloud, operation);
    let called = async {
        while count(cloud, operation) == before {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::select! {
        () = called => {}
        ended = create => panic!("it ended before it was killed: {ended:?}"),
    }
}

/// What a host is launched from, with this many interfaces in this zone.
pub async fn launch_template(cloud: &Cloud, zone: &str, interfaces: usize) -> Remote {
    let observed = cloud.observe().await;
    let vpc = text(&observed.lookups[&at("vpc.main")], "id");
    let group = cloud.create("security_group.generator", &group("generator", &vpc, vec![])).await;
    cloud.create("iam_role.generator", &role("generator", "ec2.amazonaws.com")).await;
    let profile = cloud.create("iam_instance_profile.generator", &profile()).await;
    let (group, profile) = (text(&group.attributes, "id"), text(&profile.attributes, "arn"));
    let mut asked = template(&observed, &group, &profile);
    let subnets = ec2(&cloud.running).describe_subnets().send().await.unwrap();
    let subnet = subnets.subnets().iter().find(|subnet| subnet.availability_zone() == Some(zone)).unwrap();
    asked.data.interfaces.truncate(interfaces);
    for interface in &mut asked.data.interfaces {
        interface.subnet = subnet.subnet_id().unwrap().into();
    }
    asked.name = format!("{}.{zone}", common::STACK);
    let made = cloud.create("launch_template.heavy", &asked).await;
    // A launch is refused while EC2 does not know all of this.
    cloud.running.until_consistent().await;
    made
}

async fn launch(cloud: &Cloud, asked: &Instance, token: &Token) -> Result<Remote, ProviderError> {
    cloud.aws.create(&resolved(HOST, asked), token, &Context::default()).await
}

/// Ids, tokens and states of all hosts.
async fn hosts(cloud: &Cloud) -> Vec<(String, String, InstanceStateName)> {
    cloud.running.until_consistent().await;
    let shown = ec2(&cloud.running).describe_instances().send().await.unwrap();
    let hosts = shown.reservations().iter().flat_map(aws_sdk_ec2::types::Reservation::instances);
    let host = |host: &aws_sdk_ec2::types::Instance| {
        let state = host.state().and_then(|state| state.name()).unwrap().clone();
        (host.instance_id().unwrap().to_owned(), host.client_token().unwrap().to_owned(), state)
    };
    hosts.map(host).collect()
}

/// A launch with a token that is in use and with other parameters: the id of the host that EC2 returns, or its error.
async fn retried(cloud: &Cloud, token: &str) -> Result<String, String> {
    let template = aws_sdk_ec2::types::LaunchTemplateSpecification::builder();
    let template = template.launch_template_name(format!("{}.eu-west-3a", common::STACK)).build();
    let call = ec2(&cloud.running).run_instances().launch_template(template).client_token(token);
    match call.min_count(1).max_count(1).send().await {
        Ok(answer) => Ok(answer.instances()[0].instance_id().unwrap().to_owned()),
        Err(error) => Err(error.into_service_error().code().unwrap().to_owned()),
    }
}

/// A sandbox whose filters do not know the tags of a new resource for a time.
fn late_tags(options: Options) -> Options {
    options.with_delay(Delay::Ec2TagLag, Duration::from_millis(1500))
}

#[tokio::test]
async fn a_retry_finds_the_first_host_whatever_it_asks_for() {
    let (mut mismatches, mut ends) = (BTreeSet::new(), BTreeSet::new());
    let seeds = futures::future::join_all((5..=8).map(|seed| async move {
        // A host that EC2 has stopped listing is returned by no token.
        let options = Options::strict(seed).with_speed(500.0).with_vcpus(100_000);
        let options = options.with_delay(Delay::InstanceForgotten, Duration::from_mins(10));
        let cloud = cloud(late_tags(options)).await;
        let template = launch_template(&cloud, "eu-west-3a", 2).await;
        let asked = instance(&template, 0);
        let token = token(&resolved(HOST, &asked));
        killed_after(&cloud, "ec2:RunInstances", launch(&cloud, &asked, &token)).await;

        // The stack changes before the next apply, and the first host is not listed yet.
        let edited = Instance { template: "another".into(), ..asked.clone() };
        let error = launch(&cloud, &edited, &token).await.unwrap_err();
        assert!(error.message.contains("an earlier attempt launched `i-"), "{error}");
        let shown = hosts(&cloud).await;
        let [(id, client_token, _)] = shown.as_slice() else { panic!("{shown:?}") };
        // Other tags are no other host.
        let mut tagged = asked.clone();
        tagged.tags.insert("team".to_owned(), "quality".to_owned());
        let found = launch(&cloud, &tagged, &token).await.unwrap();
        assert_eq!((&found.id, &found.attributes["tags"].as_map().unwrap()["team"]), (id, &"quality".into()));
        let mismatch = retried(&cloud, client_token).await;

        // After its end, the next host gets the next token; a retry of that finds it.
        cloud.aws.delete(&at(HOST), &found, &Context::default()).await.unwrap();
        killed_after(&cloud, "ec2:RunInstances", launch(&cloud, &edited, &token)).await;
        let second = launch(&cloud, &edited, &token).await.unwrap();
        assert_ne!(second.id, *id);
        let live = hosts(&cloud).await.into_iter().filter(|(.., state)| *state != InstanceStateName::Terminated);
        assert_eq!(live.map(|(id, ..)| id).collect::<Vec<_>>(), [second.id]);
        (mismatch.map(|found| assert_eq!(found, *id)), retried(&cloud, client_token).await.map(drop))
    }));
    for (mismatch, end) in seeds.await {
        mismatches.insert(mismatch);
        ends.insert(end);
    }
    assert_eq!(mismatches, [Ok(()), Err("IdempotentParameterMismatch".to_owned())].into());
    assert!(ends.contains(&Ok(())) && ends.len() > 1, "{ends:?}");
}

#[tokio::test]
async fn a_killed_replacement_is_found_without_its_predecessor() {
    let cloud = cloud(late_tags(strict())).await;
    let template = launch_template(&cloud, "eu-west-3a", 2).await;
    let asked = instance(&template, 0);
    let token = token(&resolved(HOST, &asked));
    let first = launch(&cloud, &asked, &token).await.unwrap();
    cloud.aws.delete(&at(HOST), &first, &Context::default()).await.unwrap();
    killed_after(&cloud, "ec2:RunInstances", launch(&cloud, &asked, &token.following(&first.id))).await;
    // Neither host is listed: the plan sees an address without a host.
    let found = launch(&cloud, &asked, &token).await.unwrap();
    assert_ne!(found.id, first.id);
    assert_eq!(hosts(&cloud).await.len(), 2);
}

#[tokio::test]
async fn a_second_host_in_another_zone_is_an_error() {
    let lag = Duration::from_millis(700);
    let cloud = cloud(strict().with_consistency(Consistency::After(lag))).await;
    let template = launch_template(&cloud, "eu-west-3a", 2).await;
    let asked = instance(&template, 0);
    let moved = launch_template(&cloud, "eu-west-3b", 2).await;
    let moved = Instance { zone: "eu-west-3b".into(), ..instance(&moved, 0) };
    killed_after(&cloud, "ec2:RunInstances", launch(&cloud, &asked, &token(&resolved(HOST, &asked)))).await;
    let error = launch(&cloud, &moved, &token(&resolved(HOST, &moved))).await.unwrap_err();
    assert!(error.message.contains("is a second host at this address"), "{error}");
    assert_eq!(hosts(&cloud).await.len(), 2);
    // Once the first one is listed, nothing is launched beside it.
    let error = launch(&cloud, &moved, &token(&resolved(HOST, &moved)).following("i-0")).await.unwrap_err();
    assert!(error.message.contains("no second host was launched"), "{error}");
    assert_eq!(hosts(&cloud).await.len(), 2);
}

#[tokio::test]
async fn a_second_host_that_the_plan_deletes_is_no_obstacle() {
    let cloud = cloud(strict()).await;
    let template = launch_template(&cloud, "eu-west-3a", 2).await;
    let asked = instance(&template, 0);
    let token = token(&resolved(HOST, &asked));
    let first = launch(&cloud, &asked, &token).await.unwrap();
    let other = cloud.create("instance.heavy[1]", &instance(&template, 1)).await;
    cloud.update(HOST, &other, &asked, &["tags"]).await;
    cloud.running.until_consistent().await;
    assert_eq!(cloud.observe().await.remotes[&at(HOST)].len(), 2);
    cloud.aws.delete(&at(HOST), &first, &Context::default()).await.unwrap();
    let edited = Instance { template: "another".into(), ..asked };
    let made = launch(&cloud, &edited, &token.following(&first.id)).await.unwrap();
    assert!(made.id != first.id && made.id != other.id);
}

#[tokio::test]
async fn a_host_is_read_until_it_has_all_its_interfaces() {
    // A starting host is shown before its second interface.
    let options = strict().with_delay(Delay::InstanceStart, Duration::from_secs(2));
    let cloud = cloud(options.with_delay(Delay::Ec2Lag, Duration::from_secs(1))).await;
    let template = launch_template(&cloud, "eu-west-3a", 2).await;
    let asked = resolved(HOST, &instance(&template, 0));
    let wanted = desired([asked.clone()]);
    let quick = common::connect_with(&cloud.running, |connection| connection.wait = false).await;
    let made = quick.create(&asked, &token(&asked), &Context::default()).await.unwrap();
    assert_eq!(made.attributes["interfaces"], trunnion_engine::Value::Number(2));
    for _ in 0..6 {
        let seen = quick.observe(&wanted, &State::empty(common::STACK), &Context::default()).await.unwrap();
        for seen in seen.remotes.get(&at(HOST)).into_iter().flatten() {
            assert_eq!(seen.attributes["interfaces"], trunnion_engine::Value::Number(2));
        }
    }
}

#[tokio::test]
async fn an_elastic_ip_of_a_killed_apply_is_no_second_one() {
    let cloud = cloud(late_tags(strict())).await;
    let template = launch_template(&cloud, "eu-west-3a", 2).await;
    let host = cloud.create(HOST, &instance(&template, 0)).await;
    let asked = ElasticIp {
        instance: text(&host.attributes, "id"),
        private_ip: text(&host.attributes, "private_ip"),
        tags: tags("elastic_ip.heavy[0]"),
    };
    let asked = resolved("elastic_ip.heavy[0]", &asked);
    let (token, context) = (token(&asked), Context::default());
    killed_after(&cloud, "ec2:AllocateAddress", cloud.aws.create(&asked, &token, &context)).await;
    let made = cloud.aws.create(&asked, &token, &context).await.unwrap();
    assert_eq!(count(&cloud, "ec2:AllocateAddress"), 2, "the first one was not listed");
    cloud.running.until_consistent().await;
    let addresses = || async { ec2(&cloud.running).describe_addresses().send().await.unwrap() };
    let shown = addresses().await;
    let [address] = shown.addresses() else { panic!("{shown:?}") };
    assert_eq!((address.allocation_id(), address.instance_id()), (Some(made.id.as_str()), Some(host.id.as_str())));

    // A call that was not executed is repeated once AWS would show its address.
    cloud.aws.delete(&asked.address, &made, &context).await.unwrap();
    cloud.running.until_consistent().await;
    let rule = |effect| FaultRule { operation: "ec2:AllocateAddress".into(), nth: 1, times: 1, effect };
    cloud.running.set_faults(vec![rule(Effect::DropBefore)]);
    let hasty = common::connect_with(&cloud.running, |connection| connection.lag = Duration::from_millis(1800)).await;
    hasty.create(&asked, &token, &context).await.unwrap();
    assert_eq!(addresses().await.addresses().len(), 1);
    assert_eq!(count(&cloud, "ec2:AllocateAddress"), 4);
}

#[tokio::test]
async fn a_revision_of_a_killed_apply_is_no_second_one() {
    let lag = Duration::from_millis(700);
    let cloud = cloud(strict().with_consistency(Consistency::After(lag))).await;
    let role = cloud.create("iam_role.control_plane", &role("control_plane", "ecs-tasks.amazonaws.com")).await;
    cloud.create("log_group.control_plane", &log_group()).await;
    let asked = resolved(DEFINITION, &definition(&text(&role.attributes, "arn")));
    let (token, context) = (token(&asked), Context::default());
    killed_after(&cloud, "ecs:RegisterTaskDefinition", cloud.aws.create(&asked, &token, &context)).await;
    let made = cloud.aws.create(&asked, &token, &context).await.unwrap();
    assert_eq!(count(&cloud, "ecs:RegisterTaskDefinition"), 2, "the first one was not shown");
    assert_eq!(cloud.one(DEFINITION).await.id, made.id);

    // A lost answer is awaited.
    let mut other = definition(&text(&role.attributes, "arn"));
    other.cpu = 2048;
    other.memory = 4096;
    let lost =
        FaultRule { operation: "ecs:RegisterTaskDefinition".into(), nth: 1, times: 1, effect: Effect::DropAfter };
    cloud.running.set_faults(vec![lost]);
    cloud.create(DEFINITION, &other).await;
    assert_eq!(count(&cloud, "ecs:RegisterTaskDefinition"), 3);
}
