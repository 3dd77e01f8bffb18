//! Any bytes are a state or an error, and a state is written as what was read.
#![no_main]

use libfuzzer_sys::fuzz_target;
use trunnion_engine::State;

fuzz_target!(|bytes: &[u8]| {
    let Ok(state) = State::parse(bytes, "minimal") else { return };
    let written = state.to_document().expect("a state can be written");
    assert_eq!(State::parse(&written, "minimal").expect("what was written can be read"), state);
});
