//! Prints how an apply ended, and how to continue.

use std::fmt::Write as _;

use trunnion::render::style;
use trunnion::{
    Address, Engine, ExitCode, Operation, Origin, Outcome, Outputs, ProviderError, StoreError,
    report::{Ending, Report, causes},
};

use super::{failure::Failure, output::Output, progress::named, read::hosts, stream::Stream};

pub(crate) fn report(
    engine: &Engine,
    origin: &Origin,
    next: &str,
    outcome: &Outcome,
    stream: Option<Stream>,
    output: Output,
) -> Result<ExitCode, Failure> {
    let outputs = Outputs::new(engine.stack(), &outcome.state);
    let data = match stream {
        Some(stream) => stream.end(Report::new(outcome, outputs)),
        None if origin.destroy || outputs.hosts.is_empty() => Ok(()),
        None => output.readable(&hosts(&outputs)),
    };
    for (addresses, help) in helps(&outcome.failed) {
        output.always_say(&format!("{}help:{:#} {addresses}: {help}", style::STRONG, style::STRONG));
    }
    if let Some(lost @ StoreError::Lost { .. }) = &outcome.unsaved {
        output.always_say(&format!(
            "{}. No call that changes anything was signed after that, and the state was not saved. The next plan finds all \
             resources by their tags.",
            capitalized(&causes(lost))
        ));
    } else if let Some(error) = &outcome.unsaved {
        output.always_say(&format!(
            "The state could not be saved: {}. The next plan finds all resources by their tags.",
            causes(error)
        ));
    }
    if let Some(error) = &outcome.unsigned {
        output.always_say(&format!("The cluster does not say who applied last: {error}. Nothing depends on that."));
    }
    let (code, end) = ended(outcome, origin.destroy);
    let line = format!("{}{end}{:#} {}.", style::STRONG, style::STRONG, counts(outcome));
    match code {
        ExitCode::Done if outcome.done.is_empty() => {}
        ExitCode::Done => output.say(&line),
        _ if outcome.is_executed() => output.always_say(&line),
        _ => output.always_say(&format!("{line} {next}")),
    }
    // A failed write of the data is an error, returned after the messages above.
    data.map(|()| code)
}

pub(crate) fn capitalized(text: &str) -> String {
    let mut rest = text.chars();
    rest.next().map(|first| first.to_uppercase().chain(rest).collect()).unwrap_or_default()
}

/// The exit code, and the end in a few words.
fn ended(outcome: &Outcome, is_destroy: bool) -> (ExitCode, &'static str) {
    let words = match outcome.ending() {
        Ending::Complete => "Done.",
        Ending::Unsaved if outcome.is_executed() => "Done, but the state is not saved.",
        Ending::Unsaved | Ending::Failed if is_destroy => "Destroy incomplete:",
        Ending::Unsaved | Ending::Failed => "Apply incomplete:",
        Ending::Interrupted => "Interrupted.",
    };
    (outcome.exit_code(), words)
}

/// `12 of 15 steps done, 0 failed, 0 skipped, 1 interrupted while waiting, 2 not started`
fn counts(outcome: &Outcome) -> String {
    let (done, failed, skipped) = (outcome.done.len(), outcome.failed.len(), outcome.skipped.len());
    let (interrupted, not_started) = (outcome.interrupted.len(), outcome.not_started);
    let total = done + failed + skipped + interrupted + not_started;
    let mut text = format!("{done} of {total} steps done, {failed} failed, {skipped} skipped");
    for (count, what) in [(interrupted, "interrupted while waiting"), (not_started, "not started")] {
        if count > 0 {
            let _ = write!(text, ", {count} {what}");
        }
    }
    text
}

/// Each help once, with its addresses.
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

#[cfg(test)]
mod tests {
    use trunnion::State;

    use super::*;

    fn outcome() -> Outcome {
        Outcome::new(State::empty("test"))
    }

    fn host(number: u32) -> Address {
        Address::numbered("instance", "heavy", number)
    }

    #[test]
    fn interrupted_steps_are_not_counted_as_not_started() {
        let create = Operation::Create;
        let outcome = Outcome {
            done: vec![(host(0), create)],
            interrupted: vec![(host(1), create)],
            not_started: 2,
            ..outcome()
        };
        assert_eq!(
            counts(&outcome),
            "1 of 4 steps done, 0 failed, 0 skipped, 1 interrupted while waiting, 2 not started"
        );
        assert_eq!(ended(&outcome, false).0, ExitCode::Interrupted);
    }

    #[test]
    fn after_all_steps_are_done_the_message_names_only_the_unsaved_state() {
        let unsaved = Some(trunnion::StoreError::Moved { place: "x".to_owned() });
        let outcome = Outcome { done: vec![(host(0), Operation::Create)], unsaved, ..outcome() };
        assert_eq!(ended(&outcome, false), (ExitCode::Error, "Done, but the state is not saved."));
    }

    #[test]
    fn thirty_hosts_share_one_help() {
        let error = ProviderError::new("no", Some("reduce `count`".to_owned()));
        let failed: Vec<_> = (0..30).map(|number| (host(number), Operation::Create, error.clone())).collect();
        assert_eq!(helps(&failed), [("instance.heavy[0…29]".to_owned(), "reduce `count`")]);
    }
}
