//! Two programs at work on one state in a file: no update is lost.

use std::{env, path::Path, process::Command, time::Duration};

use trunnion_engine::{FileStore, LockInfo, Map, Recorded, StateLock as _, StateStore as _, StoreError};

/// Where a program of the race finds the state, and the name it goes by.
const STATE: &str = "TRUNNION_TEST_RACE_STATE";
const NAME: &str = "TRUNNION_TEST_RACE_NAME";

const UPDATES: usize = 60;

/// How many updates a program may be ahead of the other one: so both are at work until the end.
const LEAD: usize = 5;

/// Adds resources to the state one by one, each under a lock of its own.
async fn add(path: &Path, name: &str, is_alone: bool) -> Result<(), StoreError> {
    let store = FileStore::new(path, "test");
    for number in 0..UPDATES {
        while !is_alone && store.load().await?.resources.len() + LEAD < 2 * number {
            tokio::task::yield_now().await;
        }
        let lock = loop {
            match store.lock(&LockInfo::of_this_process(name)).await {
                Err(StoreError::Locked { .. }) => tokio::task::yield_now().await,
                other => break other?,
            }
        };
        let mut state = store.load().await?;
        let recorded = Recorded { id: name.to_owned(), applied_at: String::new(), attributes: Map::new() };
        let address = format!("thing.{name}[{number}]").parse().unwrap_or_else(|error| panic!("{error}"));
        state.resources.insert(address, recorded);
        state.advance();
        lock.save(&state).await?;
        lock.release().await?;
    }
    Ok(())
}

/// One program of the race; alone it is the only one.
#[tokio::test]
async fn a_program_adds_all_of_its_resources() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let path = env::var_os(STATE).map_or_else(|| folder.path().join("state.json"), Into::into);
    let name = env::var(NAME);
    let work = add(&path, name.as_deref().unwrap_or("alone"), name.is_err());
    // Where the other program failed, nothing comes of waiting for it.
    tokio::time::timeout(Duration::from_mins(2), work).await??;
    Ok(())
}

#[tokio::test]
async fn two_programs_on_one_state_lose_no_update() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("state.json");
    let program = |name: &str| {
        Command::new(env::current_exe()?)
            .args(["--exact", "a_program_adds_all_of_its_resources"])
            .envs([(STATE, path.as_os_str()), (NAME, name.as_ref())])
            .spawn()
    };
    let (mut one, mut other) = (program("one")?, program("other")?);
    assert!(one.wait()?.success() && other.wait()?.success());
    let state = FileStore::new(&path, "test").load().await?;
    assert_eq!((state.resources.len(), state.serial), (2 * UPDATES, 2 * UPDATES as u64));
    Ok(())
}
