//! Any bytes are a plan or an error. A plan is written as what was read, and applied only as the plan that it is.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use trunnion_engine::{Document, Moved};

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
    match plan.moved(&FRESH) {
        None => assert_eq!(plan.compared.agreed(), FRESH.compared.agreed()),
        Some(Moved::Content(different)) => assert!(!different.is_empty()),
        Some(Moved::Stack(_) | Moved::Place(_)) => {}
    }
});
