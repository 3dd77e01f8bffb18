//! Any bytes are a plan or an error. A plan is written as what was read, and applied only as the plan that it is.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use trunnion_engine::Document;

static FRESH: LazyLock<Document> = LazyLock::new(|| {
    Document::parse(include_bytes!("../../tests/formats/plan-2.1.json")).expect("it is a plan")
});

fuzz_target!(|bytes: &[u8]| {
    let plan = match Document::parse(bytes) {
        Ok(plan) => plan,
        Err(error) => {
            assert!(!error.help().is_empty());
            return;
        }
    };
    let written = plan.to_text().expect("a plan can be written");
    assert_eq!(Document::parse(written.as_bytes()).expect("what was written can be read"), plan);
    assert!(plan.compared == FRESH.compared || plan.moved(&FRESH).is_some());
});
