//! A program that depends on this crate alone can name every type of its signatures, also those of crates behind it.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use crate::{
    Diagnostic, Error, LoadOptions, Options, Stack,
    aws::{Credentials, ProvideCredentials, SharedCredentialsProvider},
    catalog::{Architecture, InstanceType},
    miette, serde_json,
    stack::{Except, IpNet, Ipv4Net, Severity, SourceSpan},
};

#[test]
fn the_types_of_a_stack_have_names_here() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/minimal.yaml");
    let stack = Stack::load(file.as_ref(), None, &LoadOptions::new()).unwrap();
    let kind: &InstanceType = stack.pools["small"].instance_type;
    let architectures: Vec<&Architecture> = stack.generator.binaries.keys().collect();
    let metrics: &[Ipv4Net] = &stack.generator.metrics_from;
    let range = |except: &Except| -> Option<IpNet> {
        let Except::Range(range) = except else { return None };
        Some(*range)
    };
    let ranges = stack.generator.spread_except.iter().filter_map(range).count();
    assert_eq!((kind.name, architectures.len(), metrics.len(), ranges), ("c7i.xlarge", 0, 0, 0));
    let schema: serde_json::Value = crate::stack_schema();
    assert!(schema.is_object());
}

fn shared(provider: impl ProvideCredentials + 'static) -> Option<SharedCredentialsProvider> {
    Options::new().with_credentials(provider).credentials
}

#[test]
fn the_types_of_errors_and_options_have_names_here() {
    let mistakes = Stack::parse("stack: Loadtest", "loadtest.yaml".as_ref(), None, &LoadOptions::new()).unwrap_err();
    let mistake: &Diagnostic = mistakes.diagnostics().last().unwrap();
    let (severity, span): (Severity, Option<SourceSpan>) = (mistake.severity, mistake.span);
    assert!(severity == Severity::Error && span.is_some());
    let diagnostics: Vec<Box<dyn miette::Diagnostic + '_>> = Error::Interrupted.diagnostics();
    assert_eq!(diagnostics.len(), 1);

    assert!(shared(Credentials::new("id", "key", None, None, "test")).is_some());
    assert_ne!(crate::render::style::STRONG, crate::render::style::Style::new());
}
