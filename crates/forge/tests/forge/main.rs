//! Comments on look-alikes of GitHub and GitLab, over HTTP.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod environment;
mod github;
mod gitlab;
mod outputs;
mod schedules;
mod transport;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use trunnion_forge::{Comment, Forge, ForgeError, Patience, Posted};

/// No test waits longer than what a look-alike asks for.
const PATIENCE: Patience = Patience {
    longest_wait: Duration::from_secs(5),
    tries: 4,
    pause: Duration::from_millis(1),
    answer: Duration::from_secs(5),
};

/// A forge with these variables.
fn forge(variables: &[(&'static str, String)]) -> Result<Forge, ForgeError> {
    let lookup = |name: &str| variables.iter().find(|(each, _)| *each == name).map(|(_, value)| value.clone());
    Ok(Forge::from_environment(&lookup)?.with_patience(PATIENCE))
}

/// What was said while a comment was posted.
type Said = Arc<Mutex<Vec<String>>>;

/// Posts a comment, and returns the lines about waits, too.
fn post_and_hear(variables: &[(&'static str, String)], body: &str) -> (Result<Posted, ForgeError>, Vec<String>) {
    let forge = forge(variables).unwrap();
    let said = Said::default();
    let hear = Arc::clone(&said);
    let say = move |line: &str| hear.lock().unwrap().push(line.to_owned());
    let comment = Comment { key: "preview", body, run: forge.run() };
    let posted = run(forge.post(&comment, &say));
    let said = said.lock().unwrap().clone();
    (posted, said)
}

fn post(variables: &[(&'static str, String)], body: &str) -> Result<Posted, ForgeError> {
    post_and_hear(variables, body).0
}

fn run<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// Changes one variable.
fn with(mut variables: Vec<(&'static str, String)>, name: &'static str, value: &str) -> Vec<(&'static str, String)> {
    variables.retain(|(each, _)| *each != name);
    variables.push((name, value.to_owned()));
    variables
}
