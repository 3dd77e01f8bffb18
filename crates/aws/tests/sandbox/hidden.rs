//! Resources that AWS hides from its usual lists are found and deleted.

use trunnion_engine::{Context, Provider as _, State};

use crate::common::{
    self, ControlPlane, DEFINITION, at, bucket, cloud, connect, definition, object, refused, resolved, strict, text,
};

#[tokio::test]
async fn an_inactive_revision_is_a_left_over() {
    let cloud = cloud(strict()).await;
    let plane = ControlPlane::start(&cloud).await;
    cloud.running.set_faults(vec![refused("ecs:DeleteTaskDefinitions", 1, 403, "AccessDeniedException")]);
    cloud.aws.delete(&at(DEFINITION), &plane.definition, &Context::default()).await.unwrap_err();

    let seen = cloud.one(DEFINITION).await;
    assert!(seen.is_spent && seen.id == plane.definition.id, "{seen:?}");
    // It is not reused, and never comes before an active one.
    let next = cloud.create(DEFINITION, &definition(&plane.role)).await;
    assert_ne!(next.id, seen.id);
    let both = cloud.observe().await.remotes.remove(&at(DEFINITION)).unwrap();
    assert_eq!(
        both.iter().map(|one| (one.id.as_str(), one.is_spent)).collect::<Vec<_>>(),
        [(next.id.as_str(), false), (seen.id.as_str(), true)]
    );
    cloud.aws.delete(&at(DEFINITION), &seen, &Context::default()).await.unwrap();
    assert_eq!(cloud.one(DEFINITION).await.id, next.id);
}

#[tokio::test]
async fn a_recorded_inactive_revision_is_recognised_without_its_tags() {
    let cloud = cloud(strict()).await;
    let plane = ControlPlane::start(&cloud).await;
    let mut bare = definition(&plane.role);
    bare.tags.clear();
    cloud.update(DEFINITION, &plane.definition, &bare, &["tags"]).await;
    cloud.running.set_faults(vec![refused("ecs:DeleteTaskDefinitions", 1, 403, "AccessDeniedException")]);
    cloud.aws.delete(&at(DEFINITION), &plane.definition, &Context::default()).await.unwrap_err();
    assert!(!cloud.observe().await.remotes.contains_key(&at(DEFINITION)));
    let mut state = State::empty(common::STACK);
    let recorded = trunnion_engine::Recorded {
        id: plane.definition.id.clone(),
        applied_at: String::new(),
        attributes: trunnion_engine::Map::new(),
    };
    state.resources.insert(at(DEFINITION), recorded);
    let observed = cloud.aws.observe(&common::lookups(), &state, &Context::default()).await.unwrap();
    assert!(observed.remotes[&at(DEFINITION)][0].is_spent);
}

#[tokio::test]
async fn inactive_revisions_of_others_cost_few_calls() {
    let cloud = cloud(strict()).await;
    let plane = ControlPlane::start(&cloud).await;
    let mut theirs = definition(&plane.role);
    theirs.tags.clear();
    for number in 0..25 {
        theirs.cpu = if number % 2 == 0 { 2048 } else { 1024 };
        theirs.memory = 4096;
        cloud.running.set_faults(vec![refused("ecs:DeleteTaskDefinitions", 1, 403, "AccessDeniedException")]);
        let made = cloud.create(DEFINITION, &theirs).await;
        cloud.aws.delete(&at(DEFINITION), &made, &Context::default()).await.unwrap_err();
    }
    let reader = connect(&cloud.running).await;
    let observed = reader.observe(&common::lookups(), &State::empty(common::STACK), &Context::default()).await.unwrap();
    assert_eq!(observed.remotes[&at(DEFINITION)].len(), 1);
    assert_eq!(reader.calls().by_operation["ecs:DescribeTaskDefinition"], 1 + 10);
    assert_eq!(reader.calls().by_operation["ecs:ListTaskDefinitions"], 2);
}

#[tokio::test]
async fn an_object_behind_a_marker_is_a_left_over_unless_it_is_wanted() {
    let cloud = cloud(strict()).await;
    cloud.create("s3_bucket.artifacts", &bucket()).await;
    let mut file = tempfile::NamedTempFile::new().unwrap();
    std::io::Write::write_all(&mut file, b"a generator").unwrap();
    let asked = object(file.path(), b"a generator");
    let address = "s3_object.generator[x86_64]";
    let made = cloud.create(address, &asked).await;
    let config = aws_sdk_s3::config::Builder::from(&common::sdk(&cloud.running)).force_path_style(true).build();
    let s3 = aws_sdk_s3::Client::from_conf(config);
    let key = text(&made.attributes, "key");
    s3.delete_object().bucket(bucket().name).key(key.as_text().unwrap()).send().await.unwrap();

    let seen = cloud.one(address).await;
    assert!(seen.is_spent && seen.id == made.id, "{seen:?}");
    let wanted = common::desired([resolved(address, &asked)]);
    let observed = cloud.aws.observe(&wanted, &State::empty(common::STACK), &Context::default()).await.unwrap();
    assert!(!observed.remotes.contains_key(&at(address)), "it is uploaded again and not deleted");
    cloud.aws.delete(&at(address), &seen, &Context::default()).await.unwrap();
    let left = s3.list_object_versions().bucket(bucket().name).send().await.unwrap();
    assert!(left.versions().is_empty() && left.delete_markers().is_empty());
}
