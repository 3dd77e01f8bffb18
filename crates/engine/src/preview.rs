//! What stacks would change, compared with what the base of a pull request asks for.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use trunnion_estimate::{Decimal, Estimate, PoolCapacity, Total};

use crate::{Address, Document, DocumentChange, Drift, Format, Map, Summary, Value, plan::Action};

/// One document for all stacks of a repository and all their environments. Those that the base has in the same way are left out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(title = "Trunnion preview")]
pub struct Preview {
    /// Version of this format, such as `1.0`.
    #[schemars(extend("pattern" = r"^1\.[0-9]+$"))]
    pub format: Format,
    /// What the stacks are compared with.
    pub base: Base,
    /// Whether it is made from files alone: the base counts as applied, and nothing of the account is known.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_offline: bool,
    /// The stacks that differ from the base, in the order in which they were named.
    pub stacks: Vec<Previewed>,
    /// How many stacks, each environment counted, are the same in the base.
    pub unchanged: usize,
}

/// What stacks are compared with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Base {
    /// The branch, tag, commit or file, as it was typed.
    pub named: String,
    /// The hash of the commit that is read; absent for a file, and where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// Why nothing can be read there. Then every change is shown, also what the base asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<Problem>,
}

/// A stack in one environment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Previewed {
    /// The stack file, as it was typed.
    pub file: String,
    /// The environment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<String>,
    /// What is known of it in the base.
    pub base: InBase,
    /// The plan of the stack file as it is now, against the account; absent where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<Document>,
    /// Why there is no plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<Problem>,
    /// The command that applies it, quoted for a shell; absent where there is no plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// How long that is expected to take, from what is commonly reported of AWS; absent where there is nothing to apply.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_seconds: Option<u64>,
    /// The changes of the plan that the base asks for, too, and nobody has applied yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pending: Vec<Address>,
    /// What the base would cost and hold, once it is applied; absent where it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Stands>,
    /// The texts of attributes that plans hide, as the files of both sides make them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub texts: Vec<TextDifference>,
    /// What somebody changed outside of Trunnion; absent where there is nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drift: Option<Drift>,
    /// What speaks against the change.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub verdicts: Vec<Verdict>,
}

/// An attribute as the files of the base and those of the change make it, without what may be a secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TextDifference {
    /// The resource.
    pub address: Address,
    /// Path of the attribute: `data.user_data`.
    pub path: String,
    /// As the base has it.
    pub before: String,
    /// As the change has it.
    pub after: String,
}

/// What is known of a stack in the base.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum InBase {
    /// It is there and was planned, too.
    Planned,
    /// The base has no such stack.
    Missing,
    /// It is there, or may be, but cannot be compared.
    Unknown(Problem),
}

/// Something that went wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Problem {
    /// What it is.
    pub message: String,
    /// What to do next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
}

/// What a stack costs and holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Stands {
    /// What it costs.
    pub cost: Total,
    /// How many virtual users its pools hold.
    pub virtual_users: u64,
    /// Each of its pools.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pools: Vec<PoolCapacity>,
}

/// Something that speaks against a change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Verdict {
    /// How much it does.
    pub severity: Severity,
    /// Its code, such as `plan::budget`.
    pub code: String,
    /// What it is.
    pub message: String,
    /// What to do next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
}

/// How much a verdict speaks against a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Somebody should look at it.
    Warn,
    /// It must not be applied.
    Deny,
}

/// What all stacks of a preview change together, without what the base asks for already.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Totals {
    /// How many resources are created.
    pub create: usize,
    /// How many are changed in place.
    pub update: usize,
    /// How many are replaced.
    pub replace: usize,
    /// How many are deleted.
    pub delete: usize,
    /// The difference in cost an hour, for each currency: `-1.20 USD`.
    pub cost_per_hour: Vec<String>,
    /// The difference in virtual users.
    pub virtual_users: i128,
    /// `deny` where a verdict forbids it; else `error` where a stack has no plan or is not compared; else `warn` or `none`.
    pub severity: &'static str,
}

impl Totals {
    /// What plans change together. Nothing is said of their severity.
    pub fn of<'p>(plans: impl IntoIterator<Item = &'p Document>) -> Self {
        let mut totals = Self::default();
        let mut costs: BTreeMap<&str, Decimal> = BTreeMap::new();
        for plan in plans {
            let summary = &plan.compared.summary;
            totals.create += summary.create;
            totals.update += summary.update;
            totals.replace += summary.replace;
            totals.delete += summary.delete;
            if let Some(estimate) = &plan.remarks.estimate {
                totals.virtual_users += i128::from(estimate.virtual_users) - i128::from(estimate.virtual_users_before);
                let cost = costs.entry(&estimate.currency).or_default();
                *cost = cost.saturating_add(estimate.cost.hourly.saturating_sub(estimate.cost_before.hourly));
            }
        }
        totals.cost_per_hour =
            costs.iter().map(|(currency, cost)| format!("{} {currency}", cost.normalize())).collect();
        totals
    }
}

impl Preview {
    /// The format that this version writes.
    pub const FORMAT: Format = Format { major: 1, minor: 0 };

    /// Whether each stack has a plan, the base could be read, and nothing forbids the change.
    pub fn is_fine(&self) -> bool {
        let is_fine = |stack: &Previewed| {
            stack.problem.is_none()
                && !matches!(stack.base, InBase::Unknown(_))
                && stack.verdicts.iter().all(|verdict| verdict.severity != Severity::Deny)
        };
        self.base.problem.is_none() && self.stacks.iter().all(is_fine)
    }

    /// The plans of the stacks that have one.
    pub fn plans(&self) -> impl Iterator<Item = &Document> {
        self.stacks.iter().filter_map(|stack| stack.plan.as_ref())
    }

    /// What all stacks change together.
    pub fn totals(&self) -> Totals {
        let own: Vec<Document> = self.stacks.iter().filter_map(Previewed::own).collect();
        let verdicts = self.stacks.iter().flat_map(|stack| &stack.verdicts);
        let severity = match verdicts.map(|verdict| verdict.severity).max() {
            Some(Severity::Deny) => "deny",
            _ if !self.is_fine() => "error",
            Some(Severity::Warn) => "warn",
            None => "none",
        };
        Totals { severity, ..Totals::of(&own) }
    }

    /// The JSON Schema of the document: `schemas/preview.schema.json`.
    pub fn json_schema() -> Json {
        schemars::schema_for!(Preview).to_value()
    }
}

impl Previewed {
    /// Compares a plan with that of the base: which of its changes are pending, and what the base would cost and hold.
    #[must_use]
    pub fn compared(mut self, base: &Document) -> Self {
        if let Some(plan) = &self.plan {
            let is_same = |one: &DocumentChange, other: &DocumentChange| {
                (&one.address, one.action, one.desired.as_ref())
                    == (&other.address, other.action, other.desired.as_ref())
                    && one.differences.len() == other.differences.len()
                    && one.differences.iter().zip(&other.differences).all(|(one, other)| {
                        (&one.path, &one.before, &one.after) == (&other.path, &other.before, &other.after)
                    })
            };
            let of_base = |change: &DocumentChange| {
                change.action != Action::None && base.compared.changes.iter().any(|other| is_same(change, other))
            };
            let changed = || plan.compared.changes.iter().filter(|change| change.action != Action::None);
            let mut pending: BTreeSet<Address> =
                changed().filter(|change| of_base(change)).map(|change| change.address.clone()).collect();
            // A resource with phases is pending as a whole, or not at all.
            for own in changed().filter(|change| !of_base(change)) {
                pending.remove(&own.address);
            }
            // What refers to another change is that change's: the reference looks the same in both.
            let is_own = |address: &Address, pending: &BTreeSet<Address>| {
                !pending.contains(address) && changed().any(|change| change.address == *address)
            };
            while let Some(own) = changed().find(|change| {
                pending.contains(&change.address) && refers_to(change, |address| is_own(address, &pending))
            }) {
                pending.remove(&own.address);
            }
            self.pending = pending.into_iter().collect();
        }
        self.before = base.remarks.estimate.as_ref().map(Stands::after);
        self.base = InBase::Planned;
        self
    }

    /// The plan without what is pending, with the cost and capacity of the base in place of what stands.
    pub fn own(&self) -> Option<Document> {
        let mut own = self.part(|change| !self.pending.contains(&change.address))?;
        if let (Some(estimate), Some(before)) = (&mut own.remarks.estimate, &self.before) {
            estimate.cost_before = before.cost.clone();
            estimate.virtual_users_before = before.virtual_users;
        }
        Some(own)
    }

    /// What is pending of the plan.
    pub fn pending(&self) -> Option<Document> {
        let mut pending = self.part(|change| self.pending.contains(&change.address))?;
        pending.remarks.estimate = None;
        pending.remarks.notes.clear();
        Some(pending).filter(|pending| !pending.compared.steps.is_empty())
    }

    fn part(&self, is_its: impl Fn(&DocumentChange) -> bool) -> Option<Document> {
        let mut part = self.plan.clone()?;
        let compared = &mut part.compared;
        compared.changes.retain(is_its);
        let kept: Vec<&Address> = compared.changes.iter().map(|change| &change.address).collect();
        compared.steps.retain(|step| kept.contains(&&step.address));
        compared.summary = Summary::of(&compared.changes, compared.summary.not_covered);
        Some(part)
    }
}

/// Whether what a resource becomes refers to one of these.
fn refers_to(change: &DocumentChange, is_one: impl Fn(&Address) -> bool) -> bool {
    let mut found = false;
    let mut look = |value: &Value| value.visit_references(&mut |reference| found |= is_one(&reference.address));
    change.differences.iter().filter_map(|difference| difference.after.as_ref()).for_each(&mut look);
    change.desired.iter().flat_map(Map::values).for_each(&mut look);
    found
}

impl Stands {
    /// What an estimate says of the time after its plan.
    pub fn after(estimate: &Estimate) -> Self {
        Self { cost: estimate.cost.clone(), virtual_users: estimate.virtual_users, pools: estimate.pools.clone() }
    }
}
