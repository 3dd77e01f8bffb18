use super::*;

async fn locked(store: &FileStore) -> FileLock {
    store.lock(&LockInfo::of_this_process("apply")).await.unwrap()
}

/// The first document of a line.
fn first() -> State {
    let mut state = State::empty("test");
    state.advance();
    state
}

#[tokio::test]
async fn a_document_reads_back_and_damage_is_reported() {
    let folder = tempfile::tempdir().unwrap();
    let store = FileStore::new(folder.path().join("deep/test.json"), "test");
    assert_eq!(store.load().await.unwrap(), State::empty("test"));
    let mut state = State::empty("test");
    state.advance();
    locked(&store).await.save(&state).await.unwrap();
    assert_eq!(store.load().await.unwrap(), state);
    let mut names: Vec<_> =
        fs::read_dir(folder.path().join("deep")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["test.json", "test.lock"], "no temporary file stays");

    let other = FileStore::new(store.path(), "other");
    assert!(matches!(other.load().await, Err(StoreError::Document { source: StateError::Stack { .. }, .. })));
    for (text, expected) in [("{\"format\": 9}", "format 9"), ("not json", "damaged"), ("", "damaged")] {
        #[expect(clippy::disallowed_methods, reason = "damage is made by hand")]
        fs::write(store.path(), text).unwrap();
        let Err(StoreError::Document { source, .. }) = store.load().await else { panic!("{text}") };
        assert!(source.to_string().contains(expected), "{source}");
    }
}

#[tokio::test]
async fn what_a_killed_process_left_goes_with_the_next_lock() {
    let folder = tempfile::tempdir().unwrap();
    let store = FileStore::new(folder.path().join("test.json"), "test");
    locked(&store).await.save(&first()).await.unwrap();
    let others = ["other.json.1.tmp", "test.json", "test.json.notes.tmp"];
    for name in others.into_iter().chain(["test.json.4711.tmp"]) {
        #[expect(clippy::disallowed_methods, reason = "what a kill leaves is made by hand")]
        fs::write(folder.path().join(name), "half a").unwrap();
    }
    let _held = store.lock(&LockInfo::of_this_process("apply")).await.unwrap();
    let mut names: Vec<_> = fs::read_dir(folder.path())
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().into_string().ok())
        .filter(|name| name != "test.lock")
        .collect();
    names.sort();
    assert_eq!(names, others);
}

#[cfg(unix)]
#[test]
#[expect(clippy::disallowed_methods, reason = "the file that is replaced is made by hand")]
fn a_replaced_file_keeps_its_permissions_and_its_links() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let (file, link) = (folder.path().join("plan.json"), folder.path().join("link.json"));
    fs::write(&file, "old").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    std::os::unix::fs::symlink("plan.json", &link).unwrap();
    replace_file(&link, b"new").unwrap();
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(fs::read_to_string(&file).unwrap(), "new");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
}

#[tokio::test]
async fn a_lock_names_its_holder_and_goes_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let store = FileStore::new(folder.path().join("test.json"), "test");
    let info = LockInfo::of_this_process("apply");
    let guard = store.lock(&info).await.unwrap();
    let Err(StoreError::Locked { holder, .. }) = store.lock(&info).await else { panic!("locked twice") };
    assert_eq!(holder.as_deref(), Some(&info));
    guard.release().await.unwrap();
    let _held = store.lock(&info).await.unwrap();
}

#[tokio::test]
async fn a_lock_that_is_dropped_is_given_back() {
    let folder = tempfile::tempdir().unwrap();
    let store = FileStore::new(folder.path().join("test.json"), "test");
    drop(locked(&store).await);
    assert_eq!(fs::read(folder.path().join("test.lock")).unwrap(), b"", "nobody is named as its holder");
    let _held = locked(&store).await;
}

#[tokio::test]
async fn a_document_that_somebody_else_advanced_is_not_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let store = FileStore::new(folder.path().join("test.json"), "test");
    let lock = locked(&store).await;
    let mut ours = first();
    lock.save(&ours).await.unwrap();
    lock.save(&ours).await.unwrap();
    // A process that writes without the lock, such as a copy from another machine or a checkout.
    let theirs = State { serial: 2, digest: Some("theirs".to_owned()), ..ours.clone() };
    replace_file(store.path(), &theirs.to_document().unwrap()).unwrap();
    ours.advance();
    assert!(matches!(lock.save(&ours).await, Err(StoreError::Moved { .. })));
    assert_eq!(store.load().await.unwrap(), theirs);
    // Nor is one of another line, and none where there has to be one.
    assert!(matches!(lock.save(&first()).await, Err(StoreError::Moved { .. })));
    fs::remove_file(store.path()).unwrap();
    ours.advance();
    assert!(matches!(lock.save(&ours).await, Err(StoreError::Moved { .. })));
}

#[cfg(unix)]
#[tokio::test]
async fn a_lock_whose_file_was_deleted_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let store = FileStore::new(folder.path().join("test.json"), "test");
    let lock = locked(&store).await;
    fs::remove_file(folder.path().join("test.lock")).unwrap();
    lock.lost().await;
    let other = locked(&store).await;
    assert!(!lock.is_held() && other.is_held());
    assert!(matches!(lock.save(&first()).await, Err(StoreError::Lost { .. })));
    assert_eq!(store.load().await.unwrap(), State::empty("test"));
    lock.release().await.unwrap();
    assert!(other.is_held());
}
