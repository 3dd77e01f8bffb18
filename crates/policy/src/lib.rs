//! Policies over plans: rules in Rego that deny a plan or warn of it.
//!
//! A policy is a package `trunnion.NAME` with the rule `deny`, `warn` or both. The input is the plan document. A policy sees
//! nothing else: no network, file, clock or random number. How much it may do is counted in steps, so that the same policies
//! give the same result on every machine.
//!
//! ```
//! use serde_json::json;
//! use trunnion_policy::Policies;
//! let policy = r#"
//! package trunnion.deletion
//! deny contains sprintf("`%s` is deleted", [change.address]) if {
//!     some change in input.compared.changes
//!     change.action == "delete"
//! }
//! "#;
//! let policies = Policies::parse([("deletion.rego".to_owned(), policy.to_owned())])?;
//! let plan = json!({"compared": {"changes": [{"address": "log_group.main", "action": "delete", "reason": "not_in_stack"}]}});
//! let verdicts = policies.verdicts(&plan)?;
//! assert_eq!(verdicts[0].code, "policy::deletion");
//! assert_eq!(verdicts[0].message, "`log_group.main` is deleted");
//! # Ok::<(), trunnion_policy::PolicyError>(())
//! ```

mod check;
mod depth;
mod error;
mod functions;
mod names;
mod shape;
mod steps;

use regorus::{Engine, Value};
use serde_json::Value as Json;
pub use trunnion_engine::preview::{Severity, Verdict};

use crate::check::Entry;
pub use crate::error::PolicyError;

/// The first part of the name of every package that is evaluated.
const ROOT: &str = "trunnion";

/// Policies that have been read and checked.
#[derive(Debug, Clone, Default)]
pub struct Policies {
    engine: Engine,
    /// The rules to evaluate, in the order of their packages; `deny` before `warn`.
    entries: Vec<Entry>,
}

impl Policies {
    /// Reads policies, each with the name that errors show, and checks them: all names that a policy reads from the plan
    /// document have to exist there, and every function and rule that it uses.
    pub fn parse(files: impl IntoIterator<Item = (String, String)>) -> Result<Self, PolicyError> {
        let mut files: Vec<(String, String)> = files.into_iter().collect();
        files.sort();
        depth::on_large_stack(|| Self::read(files))
    }

    fn read(files: Vec<(String, String)>) -> Result<Self, PolicyError> {
        let mut engine = Engine::new();
        engine.set_strict_builtin_errors(true);
        steps::limit(&mut engine);
        functions::add(&mut engine);
        for (file, text) in files {
            depth::check(&file, &text)?;
            engine
                .add_policy(file.clone(), text)
                .map_err(|error| PolicyError::located(&error.to_string(), &file, error::SYNTAX))?;
        }
        let entries = check::entries(engine.get_modules())?;
        // Finds what the parser does not, such as variables without a value.
        if let Some(first) = entries.first() {
            let rule = first.rule();
            engine
                .clone()
                .compile_with_entrypoint(&rule.as_str().into())
                .map_err(|error| PolicyError::located(&error.to_string(), &first.file, error::SYNTAX))?;
        }
        Ok(Self { engine, entries })
    }

    /// How many packages there are to evaluate.
    pub fn count(&self) -> usize {
        let mut packages: Vec<&str> = self.entries.iter().map(|entry| entry.package.as_str()).collect();
        packages.dedup();
        packages.len()
    }

    /// What the policies say of a plan document: by package, first what they deny, and sorted. The same document always gives
    /// the same verdicts.
    pub fn verdicts(&self, input: &Json) -> Result<Vec<Verdict>, PolicyError> {
        let input = Value::from(input.clone());
        depth::on_large_stack(|| self.evaluated(&input))
    }

    fn evaluated(&self, input: &Value) -> Result<Vec<Verdict>, PolicyError> {
        let mut verdicts = Vec::new();
        for entry in &self.entries {
            // Each rule has all steps to itself, whatever other policies do.
            let mut engine = self.engine.clone();
            engine.set_input(input.clone());
            let value = steps::counted(|| engine.eval_rule(entry.rule()))
                .map_err(|error| PolicyError::evaluated(&error, &entry.file))?;
            let elements = match &value {
                Value::Undefined => continue,
                Value::Set(elements) => elements,
                other => return Err(entry.wrong(&format!("is {other}, not a set"))),
            };
            for element in elements.iter() {
                verdicts.push(shape::verdict(entry, element)?);
            }
        }
        Ok(verdicts)
    }
}
