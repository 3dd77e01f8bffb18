//! State and plan documents of every format, and damaged ones.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::{fs, path::PathBuf};

use trunnion_engine::{Document, DocumentError, Moved, State, StateError};

fn read(name: &str) -> Vec<u8> {
    fs::read(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/formats").join(name)).unwrap()
}

const STATES: [&str; 3] = ["state-1-first.json", "state-1-with-place.json", "state-1-with-home.json"];
const PLANS: [&str; 3] = ["plan-2.0.json", "plan-2.1.json", "plan-2.2.json"];

#[test]
fn there_is_a_document_of_each_format() {
    let newest_state = format!("state-{}-", State::FORMAT);
    assert!(STATES.iter().any(|name| name.starts_with(&newest_state)), "add a document of format {}", State::FORMAT);
    let newest_plan = format!("plan-{}.json", Document::FORMAT);
    assert!(PLANS.contains(&newest_plan.as_str()), "add a document of format {}", Document::FORMAT);
}

#[test]
fn every_state_of_earlier_versions_is_read_and_written_in_the_present_format() {
    for name in STATES {
        let state = State::parse(&read(name), "minimal").unwrap();
        assert_eq!((state.serial, state.resources.len()), (4, 2), "{name}");
        assert_eq!(state.place.is_empty(), name == STATES[0], "{name}");
        assert_eq!(state.home.is_some(), name == STATES[2], "{name}");
        let written = state.to_document().unwrap();
        assert_eq!(State::parse(&written, "minimal").unwrap(), state, "{name}");
    }
    // The present format is written as it is.
    let newest = State::parse(&read(STATES[2]), "minimal").unwrap();
    let (one, other): (serde_json::Value, serde_json::Value) = (
        serde_json::from_slice(&newest.to_document().unwrap()).unwrap(),
        serde_json::from_slice(&read(STATES[2])).unwrap(),
    );
    assert_eq!(one, other);
}

#[test]
fn a_state_of_a_later_format_or_another_stack_is_named_so() {
    assert!(matches!(State::parse(&read("state-2.json"), "minimal"), Err(StateError::Format(2))));
    assert!(matches!(State::parse(&read(STATES[2]), "loadtest"), Err(StateError::Stack { .. })));
}

#[test]
fn every_plan_of_this_major_version_is_read_and_the_others_say_what_to_do() {
    for name in PLANS {
        let plan = Document::parse(&read(name)).unwrap();
        assert_eq!(plan.compared.summary.create, 1, "{name}");
        assert_eq!(Document::parse(plan.to_text().unwrap().as_bytes()).unwrap(), plan, "{name}");
    }
    let earlier = Document::parse(&read("plan-1.json")).unwrap_err();
    assert!(matches!(&earlier, DocumentError::Earlier(format) if format == "1"), "{earlier}");
    assert!(earlier.help().contains("make a new plan"));
    let later = Document::parse(&read("plan-3.0.json")).unwrap_err();
    assert!(matches!(&later, DocumentError::Later(_)), "{later}");
    assert!(later.help().contains("use the version of trunnion that wrote it"));
}

/// Every beginning of a document, and the document with each byte changed in several ways.
fn damaged(bytes: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let cuts = (0..bytes.len()).map(|length| bytes[..length].to_vec());
    let flips = (0..bytes.len()).flat_map(move |at| {
        [0x01, 0x02, 0x10, 0x20, 0x80].map(|bit| {
            let mut changed = bytes.to_vec();
            changed[at] ^= bit;
            changed
        })
    });
    cuts.chain(flips)
}

#[test]
fn a_damaged_state_is_refused_or_read_as_what_it_says() {
    for name in STATES {
        let whole = read(name);
        let content = whole.trim_ascii_end().len();
        for bytes in damaged(&whole) {
            let Ok(state) = State::parse(&bytes, "minimal") else { continue };
            assert!(bytes.len() >= content, "a part of {name} was read as a whole");
            let written = state.to_document().unwrap();
            assert_eq!(State::parse(&written, "minimal").unwrap(), state);
        }
    }
}

#[test]
fn a_damaged_plan_is_refused_or_compared_with_a_fresh_one() {
    for name in PLANS {
        let whole = read(name);
        let content = whole.trim_ascii_end().len();
        let fresh = Document::parse(&whole).unwrap();
        assert_eq!(fresh.moved(&fresh), None);
        let mut refused = 0;
        for bytes in damaged(&whole) {
            match Document::parse(&bytes) {
                Err(error) => assert!(!error.to_string().is_empty() && !error.help().is_empty()),
                Ok(plan) => {
                    assert!(bytes.len() >= content, "a part of {name} was read as a whole");
                    assert_eq!(Document::parse(plan.to_text().unwrap().as_bytes()).unwrap(), plan);
                    // Whatever differs in what a reviewer agreed to, it is not applied.
                    let moved = plan.moved(&fresh);
                    if plan.compared.agreed() != fresh.compared.agreed() {
                        assert!(moved.is_some(), "{}", String::from_utf8_lossy(&bytes));
                    }
                    refused += usize::from(matches!(moved, Some(Moved::Content(_))));
                }
            }
        }
        assert!(refused > 100, "{name}: {refused}");
    }
}
