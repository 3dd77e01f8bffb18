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
    assert_eq!(names, ["test.json", "test.lock"], "no temporary file stays, and there was no earlier document");

    let other = FileStore::new(store.path(), "other");
    assert!(matches!(other.load().await, Err(StoreError::Document { source: StateError::Stack { .. }, .. })));
    let document = String::from_utf8(state.to_document().unwrap()).unwrap();
    let numbers = [u64::MAX, i64::MAX.cast_unsigned()].map(|number| {
        let serial = document.replace("\"serial\": 1", &format!("\"serial\": {number}"));
        let applied = document.replace("\"serial\": 1", &format!("\"serial\": 1, \"applied\": {number}"));
        assert!(serial != document && applied != document);
        [serial, applied]
    });
    let damaged = ["not json", ""].into_iter().chain(numbers.as_flattened().iter().map(String::as_str));
    for (text, expected) in damaged.map(|text| (text, "damaged")).chain([("{\"format\": 9}", "format 9")]) {
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
    // A document that it was about to keep, too.
    let kept = folder.path().join("test.history/1-abc.json.4711.tmp");
    fs::create_dir_all(kept.parent().unwrap()).unwrap();
    #[expect(clippy::disallowed_methods, reason = "what a kill leaves is made by hand")]
    fs::write(&kept, "half a").unwrap();
    let _held = store.lock(&LockInfo::of_this_process("apply")).await.unwrap();
    let mut names: Vec<_> = fs::read_dir(folder.path())
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().into_string().ok())
        .filter(|name| !["test.lock", "test.history"].contains(&name.as_str()))
        .collect();
    names.sort();
    assert_eq!(names, others);
    assert!(!kept.exists());
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

#[cfg(unix)]
#[tokio::test]
async fn only_their_owner_can_read_the_documents() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let store = FileStore::new(folder.path().join("test.json"), "test");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let mut state = first();
    locked(&store).await.save(&state).await.unwrap();
    assert_eq!(mode(store.path()), 0o600);
    // That of an earlier version, and one that somebody shares with a group.
    for (before, after) in [(0o644, 0o600), (0o666, 0o600), (0o640, 0o640), (0o660, 0o660)] {
        fs::set_permissions(store.path(), fs::Permissions::from_mode(before)).unwrap();
        state.advance();
        locked(&store).await.save(&state).await.unwrap();
        assert_eq!(mode(store.path()), after, "{before:o}");
    }
}

#[tokio::test]
async fn what_another_process_still_writes_is_no_left_over() {
    let folder = tempfile::tempdir().unwrap();
    let store = FileStore::new(folder.path().join("test.json"), "test");
    let busy = folder.path().join("test.json.4711.tmp");
    let file = create_private(&busy).unwrap();
    file.lock().unwrap();
    locked(&store).await.save(&first()).await.unwrap();
    assert!(busy.exists());
    drop(file);
    replace_file(store.path(), b"x").unwrap();
    assert!(!busy.exists());
}

#[tokio::test]
async fn each_lock_keeps_the_document_that_it_found_and_ten_stay() {
    let folder = tempfile::tempdir().unwrap();
    let store = FileStore::new(folder.path().join("test.json"), "test");
    assert!(store.versions(100).await.unwrap().is_empty());
    let mut state = State::empty("test");
    let mut lineage = String::new();
    for _ in 0..15 {
        let lock = locked(&store).await;
        for _ in 0..3 {
            state.advance();
            lock.save(&state).await.unwrap();
        }
        lineage = state.lineage.chars().filter(|letter| *letter != '-').take(8).collect();
    }
    let versions = store.versions(100).await.unwrap();
    let ids: Vec<String> = versions.iter().map(|version| version.id.clone()).collect();
    let expected: Vec<String> = (5..=15).rev().map(|apply| format!("{}-{lineage}", apply * 3)).collect();
    assert_eq!(ids, expected);
    assert!(versions[0].is_current && versions.iter().skip(1).all(|version| !version.is_current));
    for version in versions {
        let found = store.version(&version.id).await.unwrap();
        assert_eq!(found.as_ref(), version.content.as_ref().ok());
        assert!(version.id.starts_with(&format!("{}-", found.unwrap().serial)));
    }
    for unknown in ["", "current-1", "../test", "1-1", "45"] {
        assert_eq!(store.version(unknown).await.unwrap(), None, "{unknown}");
    }
}

#[tokio::test]
async fn documents_of_the_same_number_are_all_kept() {
    let folder = tempfile::tempdir().unwrap();
    let store = FileStore::new(folder.path().join("test.json"), "test");
    let first = first();
    let second = |digest: &str| State { serial: 2, digest: Some(digest.to_owned()), ..first.clone() };
    // A person puts an older file back, three times.
    for digest in ["a", "b", "b", "c"] {
        replace_file(store.path(), &first.to_document().unwrap()).unwrap();
        locked(&store).await.save(&second(digest)).await.unwrap();
        let lock = locked(&store).await;
        lock.save(&State { serial: 3, ..second(digest) }).await.unwrap();
    }
    replace_file(store.path(), &second("d").to_document().unwrap()).unwrap();
    let versions = store.versions(100).await.unwrap();
    let mut digests = Vec::new();
    for version in &versions {
        let found = store.version(&version.id).await.unwrap();
        assert_eq!(found.as_ref(), version.content.as_ref().ok(), "{}", version.id);
        digests.extend(found.filter(|it| it.serial == 2).and_then(|it| it.digest));
    }
    digests.sort();
    assert_eq!(digests, ["a", "b", "c", "d"]);
}

#[cfg(unix)]
#[tokio::test]
async fn only_their_owner_can_read_the_earlier_documents() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let store = FileStore::new(folder.path().join("test.json"), "test");
    let set = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let history = folder.path().join("test.history");
    fs::create_dir(&history).unwrap();
    set(&history, 0o755);
    let mut state = first();
    locked(&store).await.save(&state).await.unwrap();
    set(store.path(), 0o644);
    let written = fs::metadata(store.path()).unwrap().modified().unwrap();
    state.advance();
    locked(&store).await.save(&state).await.unwrap();
    let kept = fs::read_dir(&history).unwrap().next().unwrap().unwrap().path();
    assert_eq!((mode(&history), mode(&kept)), (0o700, 0o600));
    assert_eq!(fs::metadata(&kept).unwrap().modified().unwrap(), written);
}

#[tokio::test]
async fn an_earlier_document_is_restored_under_the_next_number_also_over_a_damaged_one() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(FileStore::new(folder.path().join("test.json"), "test"));
    let earlier = State { digest: Some("earlier".to_owned()), ..first() };
    locked(&store).await.save(&earlier).await.unwrap();
    let mut session = crate::Session::begin(Arc::clone(&store), &LockInfo::of_this_process("test")).await.unwrap();
    let restored = session.restore(earlier.clone()).await.unwrap();
    assert_eq!(restored, State { serial: 2, ..earlier.clone() });
    replace_file(store.path(), b"{\"format\": 1").unwrap();
    let restored = session.restore(earlier.clone()).await.unwrap();
    assert_eq!((restored.serial, &restored.digest), (1, &earlier.digest));
    assert_ne!(restored.lineage, earlier.lineage, "no plan of before counts");
    let kept = store.versions(100).await.unwrap();
    assert_eq!(kept.iter().filter(|version| version.content.is_err()).count(), 1, "the damaged one is kept");
    // A later version knows more than this one: its document stays.
    let later = b"{\"format\": 99}";
    replace_file(store.path(), later).unwrap();
    assert!(matches!(session.restore(earlier).await, Err(StoreError::Document { source: StateError::Format(99), .. })));
    assert_eq!(fs::read(store.path()).unwrap(), later);
    assert_eq!(store.versions(1).await.unwrap()[0].id, "current");
}

#[tokio::test]
async fn a_lock_is_taken_away_from_the_holder_that_was_named_only() {
    let folder = tempfile::tempdir().unwrap();
    let store = FileStore::new(folder.path().join("test.json"), "test");
    assert_eq!(store.found_lock().await.unwrap(), None);
    let lock = locked(&store).await;
    let found = store.found_lock().await.unwrap().unwrap();
    assert_eq!(found.holder.as_ref().map(|holder| holder.process), Some(std::process::id()));
    lock.release().await.unwrap();
    assert_eq!(store.found_lock().await.unwrap(), None);
    let other = store.lock(&LockInfo::of_this_process("destroy")).await.unwrap();
    assert!(!store.take_away(&found).await.unwrap() && other.is_held());
    let found = store.found_lock().await.unwrap().unwrap();
    assert!(store.take_away(&found).await.unwrap());
    assert!(!other.is_held());
    let _held = locked(&store).await;
}
