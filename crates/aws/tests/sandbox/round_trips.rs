//! Counts in the sandbox how many round trips reading takes.

use std::time::Duration;

use trunnion_engine::{Context, Map, Provider as _, Recorded, State};

use crate::{
    common::{self, at, cloud, strict},
    lifecycle::create_all,
};

#[tokio::test]
async fn reading_takes_three_round_trips() {
    let directory = tempfile::tempdir().unwrap();
    let options = || strict().with_data(directory.path());
    let quick = cloud(options()).await;
    let mut file = tempfile::NamedTempFile::new().unwrap();
    std::io::Write::write_all(&mut file, b"a generator").unwrap();
    let made = create_all(&quick, file.path(), b"a generator").await;
    quick.running.shutdown().await;

    // Much longer than sending all calls of one round trip takes.
    let slow = cloud(options().with_latency(Duration::from_secs(1))).await;
    // With recorded resources that no longer exist, and wanted ones that do not exist yet.
    let mut state = State::empty(common::STACK);
    let gone = |id: &str| Recorded { id: id.into(), applied_at: String::new(), attributes: Map::new() };
    state.resources.insert(at("security_group.gone"), gone("sg-00000000000000000"));
    state.resources.insert(at("instance.heavy[9]"), gone("i-00000000000000000"));
    state.resources.insert(at("iam_role.gone"), gone("loadtest-gone"));
    let wanted = common::desired([common::resolved("iam_role.new", &common::role("new", "ec2.amazonaws.com"))]);
    let before = slow.running.calls_in_a_row();
    let observed = slow.aws.observe(&wanted, &state, &Context::default()).await.unwrap();
    assert_eq!(observed.remotes.len(), made.len());
    // AWS names one unknown id at a time; the others are asked for again. Here those are hosts that no longer exist.
    assert_eq!((slow.running.calls_in_a_row() - before, slow.aws.calls().round_trips), (3, 3));
}
