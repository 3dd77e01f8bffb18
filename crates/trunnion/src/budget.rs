//! Why the budget of a stack refuses a plan.

use std::fmt;

use trunnion_blueprint as blueprint;
use trunnion_engine::Document;
use trunnion_estimate::{Estimate, Period, Verdict, price_lines};
use trunnion_stack::{Stack, catalog::prices::rounded};

/// Why the budget of a stack refuses a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct OverBudget {
    /// What the comparison with the budget says.
    pub verdict: Verdict,
    /// ISO 4217 code of the amounts.
    pub currency: String,
}

impl OverBudget {
    /// Compares a plan with the budget of its stack. A plan that costs no more than what exists is never refused: it is a way
    /// out. `prices` is the estimate whose prices hold, if it is another one.
    pub(crate) fn of(stack: &Stack, estimate: &Estimate, prices: Option<&Estimate>) -> Option<Self> {
        let bill = match prices {
            Some(prices) => estimate.bill_with_prices_of(prices),
            None => estimate.bill(),
        };
        if bill.total.is_at_most(&estimate.cost_before) {
            return None;
        }
        let verdict = blueprint::budget(stack).check(&bill);
        (verdict != Verdict::Within).then(|| Self { verdict, currency: estimate.currency.clone() })
    }

    /// The same for a plan document that is only shown.
    pub fn of_document(stack: &Stack, document: &Document) -> Option<Self> {
        Self::of(stack, document.remarks.estimate.as_ref()?, None)
    }

    /// What to do next.
    pub fn help(&self) -> String {
        match &self.verdict {
            Verdict::CannotTell(unpriced) => {
                let lines: Vec<String> = price_lines(unpriced).iter().map(|line| format!("  {line}")).collect();
                format!(
                    "write these prices, in {}, into `prices` of the stack file:\nprices:\n{}",
                    self.currency,
                    lines.join("\n")
                )
            }
            Verdict::Exceeded { most: Some(most), period, .. } => {
                let (amount, unit) = match period {
                    Period::Hourly => (most.hourly, "an hour"),
                    Period::Monthly => (most.monthly, "a month"),
                };
                let amount = rounded(amount.unwrap_or_default(), 2);
                format!(
                    "the largest part is `{}`: {} × {}, {amount} {} {unit}; lower that, or raise the budget",
                    most.of, most.count, most.item, self.currency
                )
            }
            Verdict::Exceeded { .. } | Verdict::Within => "raise the budget".to_owned(),
        }
    }
}

impl fmt::Display for OverBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let currency = &self.currency;
        match &self.verdict {
            Verdict::Exceeded { period, cost, limit, has_unpriced, .. } => {
                let (key, unit) = match period {
                    Period::Hourly => ("hourly", "an hour"),
                    Period::Monthly => ("monthly", "a month"),
                };
                // Rounded, they could seem equal.
                let (cost, limit) = (cost.normalize(), limit.normalize());
                let least = if *has_unpriced { "at least " } else { "" };
                write!(f, "the plan leads to {least}{cost} {currency} {unit}, but `budget.{key}` is {limit} {currency}")
            }
            Verdict::CannotTell(unpriced) => {
                let names: Vec<String> = unpriced.iter().map(|one| format!("`{}`", one.item)).collect();
                write!(
                    f,
                    "nobody can tell whether the plan stays within `budget`: {} {} no price",
                    names.join(", "),
                    if names.len() == 1 { "has" } else { "have" }
                )
            }
            Verdict::Within => f.write_str("the plan stays within the budget"),
        }
    }
}
