//! How an apply ended.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Address, ExitCode, Operation, ProviderError, State, StoreError};

/// How an apply ended. Partial failure is a result.
#[derive(Debug)]
pub struct Outcome {
    /// What stands now, as recorded.
    pub state: State,
    /// Steps that succeeded.
    pub done: Vec<(Address, Operation)>,
    /// Steps that failed.
    pub failed: Vec<(Address, Operation, ProviderError)>,
    /// Steps that were not tried because of a failure, with whose.
    pub skipped: Vec<(Address, Operation, Address)>,
    /// Steps that were under way when the interruption ended the wait for them: the cloud goes on with them.
    pub interrupted: Vec<(Address, Operation)>,
    /// How many steps were not started, because of an interruption or because the state could not be saved.
    pub not_started: usize,
    /// Why the state could not be saved. The cloud knows everything all the same: the next plan adopts it.
    pub unsaved: Option<StoreError>,
    /// Why the cloud does not say who applied last. Nothing depends on that remark.
    pub unsigned: Option<ProviderError>,
}

impl Outcome {
    /// The outcome before the first step, with this state.
    pub fn new(state: State) -> Self {
        Self {
            state,
            done: Vec::new(),
            failed: Vec::new(),
            skipped: Vec::new(),
            interrupted: Vec::new(),
            not_started: 0,
            unsaved: None,
            unsigned: None,
        }
    }

    /// Whether every step of the plan succeeded and the state was saved.
    pub fn is_complete(&self) -> bool {
        self.ending() == Ending::Complete
    }

    /// Whether every step of the plan succeeded.
    pub fn is_executed(&self) -> bool {
        let is_left = self.not_started > 0 || !self.interrupted.is_empty();
        self.failed.is_empty() && self.skipped.is_empty() && !is_left
    }

    /// How it ended, in one word.
    pub fn ending(&self) -> Ending {
        match () {
            () if !self.failed.is_empty() || !self.skipped.is_empty() => Ending::Failed,
            () if self.unsaved.is_some() => Ending::Unsaved,
            () if self.is_executed() => Ending::Complete,
            () => Ending::Interrupted,
        }
    }

    /// The exit code of a command that ends with it.
    pub fn exit_code(&self) -> ExitCode {
        match self.ending() {
            Ending::Complete => ExitCode::Done,
            Ending::Interrupted => ExitCode::Interrupted,
            Ending::Unsaved | Ending::Failed => ExitCode::Error,
        }
    }
}

/// How an apply ended, in few words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// Every step succeeded, and the state is saved.
    Complete,
    /// The state could not be saved. No step failed.
    Unsaved,
    /// It was interrupted. No step failed.
    Interrupted,
    /// At least one step failed.
    Failed,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_ending_has_its_exit_code() {
        let host = || Address::numbered("instance", "heavy", 1);
        let outcome = || Outcome::new(State::empty("test"));
        let moved = || Some(StoreError::Moved { place: "x".to_owned() });
        let failed = || vec![(host(), Operation::Create, ProviderError::new("no", None))];
        let cases = [
            (outcome(), Ending::Complete, ExitCode::Done),
            (Outcome { unsaved: moved(), ..outcome() }, Ending::Unsaved, ExitCode::Error),
            (Outcome { unsaved: moved(), not_started: 3, ..outcome() }, Ending::Unsaved, ExitCode::Error),
            (Outcome { not_started: 3, ..outcome() }, Ending::Interrupted, ExitCode::Interrupted),
            (
                Outcome { interrupted: vec![(host(), Operation::Create)], ..outcome() },
                Ending::Interrupted,
                ExitCode::Interrupted,
            ),
            (
                Outcome { failed: failed(), not_started: 3, unsaved: moved(), ..outcome() },
                Ending::Failed,
                ExitCode::Error,
            ),
        ];
        for (outcome, ending, code) in cases {
            assert_eq!((outcome.ending(), outcome.exit_code()), (ending, code), "{outcome:?}");
            assert_eq!(outcome.is_complete(), ending == Ending::Complete);
        }
    }
}
