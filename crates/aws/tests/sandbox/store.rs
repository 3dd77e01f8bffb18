//! The state document in S3: no lost update, and a lock that outlives nobody.

use std::time::Duration;

use crate::common::{self, STACK, bucket, connect, world};
use trunnion_aws::{Lease, S3Store};
use trunnion_engine::{LockGuard as _, LockInfo, State, StateStore as _, StoreError};
use trunnion_sandbox::{Effect, FaultRule, Options};

const KEY: &str = "state/loadtest.json";

async fn two_stores(world: &common::World) -> (S3Store, S3Store) {
    let bucket = world.create("s3_bucket.artifacts", &bucket()).await.id;
    let other = connect(&world.running).await;
    (S3Store::new(&world.aws, &bucket, KEY), S3Store::new(&other, &bucket, KEY))
}

#[tokio::test]
async fn a_document_is_replaced_only_by_who_read_the_last_one() {
    let world = world(Options::default()).await;
    let (one, other) = two_stores(&world).await;
    let mut state = one.load().await.unwrap();
    assert_eq!(state, State::empty(STACK));
    other.load().await.unwrap();
    state.advance();
    one.save(&state).await.unwrap();
    state.advance();
    one.save(&state).await.unwrap();
    // What lies there already is what was to be written: nothing is lost.
    other.save(&state).await.unwrap();
    let mut others = other.load().await.unwrap();
    assert_eq!(others, state);
    others.advance();
    other.save(&others).await.unwrap();
    state.advance();
    state.digest = Some("another".into());
    assert!(matches!(one.save(&state).await, Err(StoreError::Moved { .. })));
}

#[tokio::test]
async fn a_lost_answer_to_a_write_is_no_conflict() {
    let world = world(Options::default()).await;
    let (one, _) = two_stores(&world).await;
    let mut state = one.load().await.unwrap();
    state.advance();
    let rule = FaultRule { operation: "s3:PutObject".into(), nth: 1, times: 1, effect: Effect::DropAfter };
    world.running.set_faults(vec![rule]);
    one.save(&state).await.unwrap();
    assert_eq!(one.load().await.unwrap(), state);
}

#[tokio::test]
async fn a_lock_is_held_by_one_and_names_its_holder() {
    let world = world(Options::default()).await;
    let (one, other) = two_stores(&world).await;
    let info = LockInfo::of_this_process("apply");
    let guard = one.lock(&info).await.unwrap();
    let Err(StoreError::Locked { place, holder }) = other.lock(&info).await else { unreachable!("two hold the lock") };
    assert_eq!(holder.as_deref(), Some(&info));
    assert!(place.ends_with("/state/loadtest.lock.json"), "{place}");
    guard.release().await.unwrap();
    other.lock(&info).await.unwrap().release().await.unwrap();
}

#[tokio::test]
async fn a_lock_that_nobody_renews_is_taken_over() {
    let world = world(Options::default()).await;
    let (one, other) = two_stores(&world).await;
    let info = LockInfo::of_this_process("apply");
    // Dropped as by a kill: the object stays.
    drop(one.lock(&info).await.unwrap());
    assert!(matches!(other.lock(&info).await, Err(StoreError::Locked { .. })));
    let impatient = other.with_lease(Lease { stale_after: Duration::ZERO, ..Lease::default() });
    let guard = impatient.lock(&info).await.unwrap();
    guard.release().await.unwrap();
    one.lock(&info).await.unwrap();
}

#[tokio::test]
async fn who_lost_the_lock_does_not_free_it_for_others() {
    let world = world(Options::default()).await;
    let (one, other) = two_stores(&world).await;
    let info = LockInfo::of_this_process("apply");
    let lost = one.lock(&info).await.unwrap();
    let taken = LockInfo { operation: "destroy".into(), ..info.clone() };
    let impatient = other.with_lease(Lease { stale_after: Duration::ZERO, ..Lease::default() });
    let held = impatient.lock(&taken).await.unwrap();
    lost.release().await.unwrap();
    assert!(matches!(one.lock(&info).await, Err(StoreError::Locked { .. })));
    held.release().await.unwrap();
}

#[tokio::test]
async fn a_missing_bucket_is_told_with_what_to_do() {
    let world = world(Options::default()).await;
    let Err(StoreError::Remote { message, help }) = S3Store::new(&world.aws, "nowhere", KEY).load().await else {
        unreachable!("there is no such bucket")
    };
    assert!(
        message.starts_with("`s3:GetObject` for `s3://nowhere/state/loadtest.json` failed: NoSuchBucket"),
        "{message}"
    );
    assert!(help.unwrap().contains("create the bucket"));
}
