//! How an apply ended, for people and as JSON.

use std::fmt::Write as _;

use serde_json::json;
use trunnion::{Address, Engine, Operation, Origin, Outcome, Outputs, ProviderError};
use trunnion_render::style;

use super::{
    DONE, ERROR, INTERRUPTED,
    arguments::Execute,
    failure::{Failure, causes},
    output::Output,
    progress::named,
    read::hosts,
};

pub(crate) fn tell(
    engine: &Engine,
    origin: &Origin,
    outcome: &Outcome,
    how: &Execute,
    output: Output,
) -> Result<u8, Failure> {
    let outputs = Outputs::new(engine.stack(), &outcome.state);
    if how.json {
        output.data(&format!("{:#}", as_json(outcome, &outputs)))?;
    } else if !origin.destroy && !outputs.hosts.is_empty() {
        output.readable(&hosts(&outputs))?;
    }
    for (addresses, help) in helps(&outcome.failed) {
        output.always_say(&format!("{}help:{:#} {addresses}: {help}", style::STRONG, style::STRONG));
    }
    if let Some(error) = &outcome.unsaved {
        output.always_say(&format!(
            "The state could not be saved: {}. The next plan finds everything by its tags.",
            causes(error)
        ));
    }
    let (code, end) = ended(outcome);
    let line = format!("{}{end}{:#} {}.", style::STRONG, style::STRONG, counts(outcome));
    match code {
        DONE if outcome.done.is_empty() => {}
        DONE => output.say(&line),
        _ if outcome.is_executed() => output.always_say(&line),
        _ => output.always_say(&format!("{line} Running the same again goes on from here.")),
    }
    Ok(code)
}

/// The exit code, and how it ended in a few words.
fn ended(outcome: &Outcome) -> (u8, &'static str) {
    match () {
        () if outcome.is_complete() => (DONE, "Done."),
        () if outcome.is_executed() => (ERROR, "Done, but the state is not saved."),
        () if outcome.failed.is_empty() && outcome.unsaved.is_none() => (INTERRUPTED, "Interrupted."),
        () => (ERROR, "Not all was done."),
    }
}

/// `12 of 15 steps done, 0 failed, 0 skipped, 1 not waited for, 2 not started`
fn counts(outcome: &Outcome) -> String {
    let (done, failed, skipped) = (outcome.done.len(), outcome.failed.len(), outcome.skipped.len());
    let (interrupted, not_started) = (outcome.interrupted.len(), outcome.not_started);
    let total = done + failed + skipped + interrupted + not_started;
    let mut text = format!("{done} of {total} steps done, {failed} failed, {skipped} skipped");
    for (count, what) in [(interrupted, "begun and not waited for"), (not_started, "not started")] {
        if count > 0 {
            let _ = write!(text, ", {count} {what}");
        }
    }
    text
}

/// Each next step once, with the addresses that it is for.
fn helps(failed: &[(Address, Operation, ProviderError)]) -> Vec<(String, &str)> {
    let mut helps: Vec<(&str, Vec<&Address>)> = Vec::new();
    for (address, _, error) in failed {
        let Some(help) = error.help.as_deref() else { continue };
        match helps.iter_mut().find(|(known, _)| *known == help) {
            Some((_, addresses)) => addresses.push(address),
            None => helps.push((help, vec![address])),
        }
    }
    helps.into_iter().map(|(help, addresses)| (named(addresses), help)).collect()
}

fn as_json(outcome: &Outcome, outputs: &Outputs) -> serde_json::Value {
    let step = |address: &Address, operation: Operation| json!({"address": address, "operation": operation});
    let steps = |list: &[(Address, Operation)]| -> Vec<serde_json::Value> {
        list.iter().map(|(address, operation)| step(address, *operation)).collect()
    };
    json!({
        "done": steps(&outcome.done),
        "failed": outcome.failed.iter().map(|(address, operation, error)| {
            json!({"address": address, "operation": operation, "error": error.message, "help": error.help})
        }).collect::<Vec<_>>(),
        "skipped": outcome.skipped.iter().map(|(address, operation, because)| {
            json!({"address": address, "operation": operation, "because": because})
        }).collect::<Vec<_>>(),
        "interrupted": steps(&outcome.interrupted),
        "not_started": outcome.not_started,
        "unsaved": outcome.unsaved.as_ref().map(|error| causes(error)),
        "outputs": outputs,
    })
}

#[cfg(test)]
mod tests {
    use trunnion::State;

    use super::*;

    fn outcome() -> Outcome {
        Outcome {
            state: State::empty("test"),
            done: Vec::new(),
            failed: Vec::new(),
            skipped: Vec::new(),
            interrupted: Vec::new(),
            not_started: 0,
            unsaved: None,
        }
    }

    fn host(number: u32) -> Address {
        Address::numbered("instance", "heavy", number)
    }

    #[test]
    fn what_runs_is_not_counted_as_not_started() {
        let create = Operation::Create;
        let outcome = Outcome {
            done: vec![(host(0), create)],
            interrupted: vec![(host(1), create)],
            not_started: 2,
            ..outcome()
        };
        assert_eq!(
            counts(&outcome),
            "1 of 4 steps done, 0 failed, 0 skipped, 1 begun and not waited for, 2 not started"
        );
        assert_eq!(ended(&outcome).0, INTERRUPTED);
    }

    #[test]
    fn an_unsaved_state_is_the_only_thing_that_is_missing_where_all_is_done() {
        let unsaved = Some(trunnion::StoreError::Moved { place: "x".to_owned() });
        let outcome = Outcome { done: vec![(host(0), Operation::Create)], unsaved, ..outcome() };
        assert_eq!(ended(&outcome), (ERROR, "Done, but the state is not saved."));
    }

    #[test]
    fn one_help_for_thirty_hosts() {
        let error = ProviderError::new("no", Some("ask for fewer hosts".to_owned()));
        let failed: Vec<_> = (0..30).map(|number| (host(number), Operation::Create, error.clone())).collect();
        assert_eq!(helps(&failed), [("instance.heavy[0…29]".to_owned(), "ask for fewer hosts")]);
    }
}
