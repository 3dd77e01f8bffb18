//! Who applied a stack last. It is a remark in the cloud: no plan compares it, and it is no difference.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Note, State, plain};

/// The last apply that changed something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Applied {
    /// How many applies changed something, this one included.
    pub number: u64,
    /// When it ended, in RFC 3339.
    pub at: String,
    /// Who made the calls, such as an ARN.
    pub by: String,
}

impl Applied {
    /// The code of the note that somebody else applied later.
    pub const NOTE: &str = "plan::applied_elsewhere";
    /// How long the text is at most: the value of a tag has 256 characters.
    const LONGEST: usize = 256;

    /// An apply that ends now and comes after that one.
    pub(crate) fn now(after: u64, by: Option<String>) -> Self {
        let now = jiff::Timestamp::from_second(jiff::Timestamp::now().as_second()).unwrap_or_default();
        let by = by.unwrap_or_else(|| "unknown".to_owned());
        Self { number: after.saturating_add(1).min(State::LAST), at: now.to_string(), by }
    }

    /// Reads what [`Applied::to_string`] wrote. Another text says nothing.
    pub fn of_text(text: &str) -> Option<Self> {
        let mut words = text.splitn(3, ' ');
        let (number, at, by) = (words.next()?, words.next()?, words.next()?);
        let at: jiff::Timestamp = at.parse().ok()?;
        let number = number.parse::<u64>().ok()?.min(State::LAST);
        Some(Self { number, at: at.to_string(), by: plain(by) })
    }

    /// Whether this apply came after the last one that a state knows.
    pub fn is_after(&self, recorded: &State) -> bool {
        self.number > recorded.applied
    }

    /// What a person should know before an apply, if this one came after the last apply that a state knows.
    pub(crate) fn note(&self, recorded: &State) -> Option<Note> {
        let Self { number, at, by } = self;
        if !self.is_after(recorded) {
            return None;
        }
        let known = match recorded.applied {
            0 => "the state here knows no apply".to_owned(),
            known => format!("the state here knows apply number {known}"),
        };
        Some(Note {
            code: Self::NOTE.to_owned(),
            message: format!("`{by}` applied this stack at {at} (apply number {number}), and {known}"),
            help: Some("the plan takes into account what that apply changed; read it before you agree".to_owned()),
        })
    }
}

/// Number, time and identity, with the characters that the tags of every service accept.
impl fmt::Display for Applied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_accepted = |letter: char| letter.is_ascii_alphanumeric() || "+-=._:/@".contains(letter);
        let by = self.by.chars().map(|letter| if is_accepted(letter) { letter } else { '_' });
        let text: String = format!("{} {} ", self.number, self.at).chars().chain(by).take(Self::LONGEST).collect();
        f.write_str(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(by: &str) -> Applied {
        Applied { number: 7, at: "2026-08-01T00:00:00Z".to_owned(), by: by.to_owned() }
    }

    #[test]
    fn it_is_read_as_it_was_written() {
        let ana = applied("arn:aws:sts::123456789012:assumed-role/ci/ana@example.com");
        assert_eq!(Applied::of_text(&ana.to_string()), Some(ana));
        let odd = applied(&format!("arn:aws:iam::123456789012:user/a,b {}", "x".repeat(300))).to_string();
        assert!(odd.starts_with("7 2026-08-01T00:00:00Z arn:aws:iam::123456789012:user/a_b_xxx"), "{odd}");
        assert_eq!(odd.chars().count(), 256);
        for damaged in [
            "",
            "7",
            "x 2026-08-01T00:00:00Z y",
            "7 yesterday y",
            "7 2026-08-01T00:00:00Z",
            "-1 2026-08-01T00:00:00Z y",
        ] {
            assert_eq!(Applied::of_text(damaged), None, "{damaged}");
        }
    }

    #[test]
    fn numbers_end_before_the_state_would_be_damaged() {
        let text = format!("{} 2026-08-01T00:00:00Z user/ana", u64::MAX);
        let last = Applied::of_text(&text).unwrap();
        let next = Applied::now(last.number, None);
        let state = State { applied: next.number, ..State::empty("test") };
        assert_eq!(State::parse(&state.to_document().unwrap(), "test").unwrap(), state);
    }

    #[test]
    fn only_a_later_apply_is_noted() {
        let state = |applied| State { applied, ..State::empty("test") };
        let note = |number| applied("user/ana").note(&state(number));
        assert!(note(7).is_none() && note(8).is_none());
        assert_eq!(
            note(5).unwrap().message,
            "`user/ana` applied this stack at 2026-08-01T00:00:00Z (apply number 7), and the state here knows apply number 5"
        );
        assert!(note(0).unwrap().message.ends_with("the state here knows no apply"));
    }
}
