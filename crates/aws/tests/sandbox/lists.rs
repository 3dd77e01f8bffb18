//! Calls for which AWS accepts a list are made once, and each item has its own result.

use futures::future::join_all;
use trunnion_engine::{Address, Context, Observed, Provider as _, Remote, Resolved, State, Value};

use crate::{
    common::{STACK, refused, strict},
    every_kind::Scene,
};

fn hosts(observed: &Observed) -> Vec<(Address, Remote)> {
    let hosts = observed.remotes.iter().filter(|(address, _)| address.kind.as_str() == "instance");
    hosts.map(|(address, remotes)| (address.clone(), remotes[0].clone())).collect()
}

#[tokio::test]
async fn hosts_are_tagged_and_terminated_together() {
    let scene = Scene::set(strict()).await;
    scene.converge("instance", &scene.desired, &scene.store("state")).await;
    let (aws, context) = (scene.connect().await, Context::default());
    scene.cloud.running.until_consistent().await;
    let observed = aws.observe(&scene.desired, &State::empty(STACK), &context).await.unwrap();
    let count = |operation: &str| scene.cloud.running.calls().get(operation).map_or(0, |calls| calls.count);
    let before = count("ec2:CreateTags");

    let edited = hosts(&observed).into_iter().map(|(address, remote)| {
        let wanted = &scene.desired.resources()[&address].attributes;
        let mut attributes: trunnion_engine::Map =
            wanted.keys().map(|name| (name.clone(), remote.attributes[name].clone())).collect();
        let Some(Value::Map(tags)) = attributes.get_mut("tags") else { panic!("{address} has no tags") };
        tags.insert("team".to_owned(), "quality".into());
        (remote, Resolved { address, attributes }, vec!["tags.team".to_owned()])
    });
    for updated in join_all(aws.update_all(edited.collect(), &context)).await {
        assert_eq!(updated.unwrap().attributes["tags"].as_map().unwrap()["team"], "quality".into());
    }
    assert_eq!(count("ec2:CreateTags") - before, 1);

    // A list that is refused is repeated with one call per host.
    scene.cloud.running.set_faults(vec![refused("ec2:TerminateInstances", 1, 400, "OperationNotPermitted")]);
    scene.cloud.running.until_consistent().await;
    let observed = aws.observe(&scene.desired, &State::empty(STACK), &context).await.unwrap();
    let hosts = hosts(&observed);
    assert_eq!(hosts.len(), 2);
    for ended in join_all(aws.delete_all(hosts.clone(), &context)).await {
        ended.unwrap();
    }
    assert_eq!(count("ec2:TerminateInstances"), 3);
    // A host that does not exist counts as deleted; one call finds that out for all.
    for ended in join_all(aws.delete_all(hosts, &context)).await {
        ended.unwrap();
    }
    assert_eq!(count("ec2:TerminateInstances"), 4);
}
