//! The state document in S3: no update is lost, and no lock remains after its holder.

use std::{sync::Arc, time::Duration};

use crate::common::{self, STACK, bucket, cloud, connect, strict};
use trunnion_aws::{Lease, S3Lock, S3Store};
use trunnion_engine::{ErrorClass, LockInfo, Session, State, StateLock as _, StateStore as _, StoreError, Version};
use trunnion_sandbox::{Effect, FaultRule};

const KEY: &str = "state/loadtest.json";

async fn two_stores(cloud: &common::Cloud) -> (S3Store, S3Store) {
    let bucket = cloud.create("s3_bucket.artifacts", &bucket()).await.id;
    let other = connect(&cloud.running).await;
    (S3Store::new(&cloud.aws, &bucket, KEY), S3Store::new(&other, &bucket, KEY))
}

/// The lock, after it was taken away from its holder.
async fn seized(store: &S3Store) -> S3Lock {
    loop {
        if let Some(found) = store.found_lock().await.unwrap() {
            store.take_away(&found).await.unwrap();
        }
        match store.lock(&LockInfo::of_this_process("destroy")).await {
            Ok(lock) => return lock,
            // It was renewed between the read and the deletion.
            Err(StoreError::Locked { .. }) => tokio::task::yield_now().await,
            Err(error) => panic!("{error}"),
        }
    }
}

async fn locked(store: &S3Store) -> S3Lock {
    store.lock(&LockInfo::of_this_process("apply")).await.unwrap()
}

#[tokio::test]
async fn only_a_store_that_read_the_last_document_can_replace_it() {
    let cloud = cloud(strict()).await;
    let (one, other) = two_stores(&cloud).await;
    let mut state = one.load().await.unwrap();
    assert_eq!(state, State::empty(STACK));
    other.load().await.unwrap();
    let lock = locked(&one).await;
    state.advance();
    lock.save(&state).await.unwrap();
    state.advance();
    lock.save(&state).await.unwrap();
    lock.release().await.unwrap();
    let lock = locked(&other).await;
    // The document already has the content to write: nothing is lost.
    lock.save(&state).await.unwrap();
    let mut others = other.load().await.unwrap();
    assert_eq!(others, state);
    others.advance();
    lock.save(&others).await.unwrap();
    lock.release().await.unwrap();
    let lock = locked(&one).await;
    state.advance();
    state.digest = Some("another".into());
    assert!(matches!(lock.save(&state).await, Err(StoreError::Moved { .. })));
    // A later read of the newer document in this process does not change that.
    one.load().await.unwrap();
    assert!(matches!(lock.save(&state).await, Err(StoreError::Moved { .. })));
    assert_eq!(one.load().await.unwrap(), others);
}

#[tokio::test]
async fn a_lost_answer_to_a_write_is_no_conflict() {
    let cloud = cloud(strict()).await;
    let (one, _) = two_stores(&cloud).await;
    let mut state = one.load().await.unwrap();
    state.advance();
    let lock = locked(&one).await;
    let rule = FaultRule { operation: "s3:PutObject".into(), nth: 1, times: 1, effect: Effect::DropAfter };
    cloud.running.set_faults(vec![rule]);
    lock.save(&state).await.unwrap();
    assert_eq!(one.load().await.unwrap(), state);
}

#[tokio::test]
async fn a_lock_has_one_holder_and_names_it() {
    let cloud = cloud(strict()).await;
    let (one, other) = two_stores(&cloud).await;
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
    let cloud = cloud(strict()).await;
    let (one, other) = two_stores(&cloud).await;
    // As after a kill: the object stays.
    std::mem::forget(locked(&one).await);
    let info = LockInfo::of_this_process("apply");
    assert!(matches!(other.lock(&info).await, Err(StoreError::Locked { .. })));
    // To a store with another lease, it is abandoned.
    let impatient = other.clone().with_lease(Lease { stale_after: Duration::ZERO, ..Lease::default() });
    impatient.lock(&info).await.unwrap();
    let Err(StoreError::Locked { holder, .. }) = one.lock(&info).await else { unreachable!("two hold the lock") };
    assert_eq!(holder.as_deref(), Some(&info));
}

#[tokio::test]
async fn a_dropped_lock_is_released() {
    let cloud = cloud(strict()).await;
    let (one, other) = two_stores(&cloud).await;
    drop(locked(&one).await);
    loop {
        match other.lock(&LockInfo::of_this_process("apply")).await {
            Ok(_) => return,
            // The release is in progress.
            Err(StoreError::Locked { .. }) => tokio::task::yield_now().await,
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test]
async fn a_former_holder_does_not_release_the_lock_of_another() {
    let cloud = cloud(strict()).await;
    let (one, other) = two_stores(&cloud).await;
    let lost = locked(&one).await;
    let held = seized(&other).await;
    assert!(matches!(lost.release().await, Err(StoreError::Lost { .. })));
    assert!(matches!(one.lock(&LockInfo::of_this_process("apply")).await, Err(StoreError::Locked { .. })));
    held.release().await.unwrap();
}

#[tokio::test]
async fn a_former_holder_notices_the_loss_and_writes_nothing_more() {
    let cloud = cloud(strict()).await;
    let (one, other) = two_stores(&cloud).await;
    let mut state = one.load().await.unwrap();
    state.advance();
    // Longer than a read and a deletion of the lock take on a busy machine: each renewal makes another version of it.
    let lease = Lease { renewal: Duration::from_millis(300), ..Lease::default() };
    let lost = locked(&one.with_lease(lease)).await;
    lost.save(&state).await.unwrap();
    let held = seized(&other).await;
    lost.lost().await;
    let written = state.clone();
    state.advance();
    let Err(StoreError::Lost { place }) = lost.save(&state).await else { unreachable!("it is not lost") };
    assert!(place.ends_with("/state/loadtest.json"), "{place}");
    lost.release().await.unwrap();
    assert_eq!(other.load().await.unwrap(), written);
    held.release().await.unwrap();
}

#[tokio::test]
async fn a_lost_answer_to_a_renewal_loses_no_lock() {
    let cloud = cloud(strict()).await;
    let (one, _) = two_stores(&cloud).await;
    let renewals = || cloud.running.calls().get("s3:PutObject").map_or(0, |calls| calls.count);
    let lease = Lease { renewal: Duration::from_millis(5), ..Lease::default() };
    let lock = locked(&one.with_lease(lease)).await;
    // The renewal succeeds, but neither its answer nor that of its retry says so.
    let before = renewals();
    let rule = |nth, effect| FaultRule { operation: "s3:PutObject".into(), nth, times: 1, effect };
    let denied = Effect::Error { code: "AccessDenied".into(), status: 403, message: String::new() };
    cloud.running.set_faults(vec![rule(1, Effect::DropAfter), rule(2, denied)]);
    while renewals() < before + 6 {
        assert!(lock.is_held());
        tokio::task::yield_now().await;
    }
    lock.release().await.unwrap();
}

/// A lock without renewal for so long that somebody else may have it is lost too.
#[tokio::test]
async fn a_lock_that_cannot_be_renewed_is_lost_before_others_take_it_over() {
    let cloud = cloud(strict()).await;
    let (one, _) = two_stores(&cloud).await;
    // Others see ages in whole seconds.
    for (stale_after, is_held) in [(Duration::from_mins(2), true), (Duration::from_secs(1), false)] {
        let lock = locked(&one.clone().with_lease(Lease { renewal: Duration::from_hours(1), stale_after })).await;
        assert_eq!(lock.is_held(), is_held, "{stale_after:?}");
        lock.release().await.unwrap();
        let calls = cloud.running.calls();
        assert_eq!(calls.get("s3:DeleteObject").map(|calls| calls.count), Some(1), "a lost lock is not deleted");
    }
}

#[tokio::test]
async fn the_release_of_a_lock_whose_renewal_had_no_answer_deletes_it() {
    let cloud = cloud(strict()).await;
    let (one, other) = two_stores(&cloud).await;
    let lease = Lease { renewal: Duration::from_millis(5), ..Lease::default() };
    let rule = |operation: &str, nth, effect| FaultRule { operation: operation.into(), nth, times: 1000, effect };
    let lock = locked(&one.with_lease(lease)).await;
    // A renewal takes effect, and neither its answer nor a read says so.
    let denied = || Effect::Error { code: "AccessDenied".into(), status: 403, message: String::new() };
    let count = || cloud.running.calls().get("s3:PutObject").map_or(0, |calls| calls.count);
    cloud.running.set_faults(vec![rule("s3:PutObject", 1, Effect::DropAfter), rule("s3:GetObject", 1, denied())]);
    let before = count();
    while count() < before + 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    cloud.running.set_faults(Vec::new());
    lock.release().await.unwrap();
    locked(&other).await.release().await.unwrap();
}

#[tokio::test]
async fn versions_of_the_document_are_listed_and_restored() {
    let cloud = cloud(strict()).await;
    let (one, other) = two_stores(&cloud).await;
    let mut state = one.load().await.unwrap();
    let mut session = Session::begin(Arc::new(one.clone()), &LockInfo::of_this_process("test")).await.unwrap();
    state.digest = Some("first".into());
    let first = session.restore(state.clone()).await.unwrap();
    let second = session.restore(State { digest: Some("second".into()), ..state }).await.unwrap();
    assert_eq!((first.serial, second.serial, &first.lineage), (1, 2, &second.lineage));
    let shown = |versions: Vec<Version>| -> Vec<(bool, Option<State>)> {
        versions.into_iter().map(|version| (version.is_current, version.content.ok())).collect()
    };
    let versions = other.versions(10).await.unwrap();
    let oldest = versions[1].id.clone();
    assert_eq!(shown(versions), [(true, Some(second.clone())), (false, Some(first.clone()))]);
    assert_eq!(shown(other.versions(1).await.unwrap()), [(true, Some(second))]);
    assert_eq!(other.version(&oldest).await.unwrap(), Some(first.clone()));
    for unknown in ["", "null", "no version", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"] {
        assert_eq!(other.version(unknown).await.unwrap(), None, "{unknown}");
    }
    let restored = session.restore(first.clone()).await.unwrap();
    assert_eq!((restored.serial, &restored.digest), (3, &first.digest));
    session.release().await.unwrap();
}

#[tokio::test]
async fn a_missing_bucket_is_reported_with_the_next_step() {
    let cloud = cloud(strict()).await;
    let Err(StoreError::Remote(error)) = S3Store::new(&cloud.aws, "nowhere", KEY).load().await else {
        unreachable!("there is no such bucket")
    };
    assert_eq!((error.class, error.code.as_deref()), (ErrorClass::NotFound, Some("NoSuchBucket")));
    assert_eq!(error.operation.as_deref(), Some("s3:GetObject"));
    assert!(
        error.message.starts_with("`s3:GetObject` for `s3://nowhere/state/loadtest.json` failed: NoSuchBucket"),
        "{error}"
    );
    assert!(error.help.unwrap().contains("create the bucket"));
}
