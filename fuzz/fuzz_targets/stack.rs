//! Any text is a stack or has mistakes that say what they are about, in its environments, too.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use trunnion_stack::{LoadOptions, Stack};

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    for environment in [None, Some("staging")] {
        if let Err(invalid) = Stack::parse(text, Path::new("stack.yaml"), environment, &LoadOptions::default()) {
            assert!(!invalid.diagnostics().is_empty());
        }
    }
});
