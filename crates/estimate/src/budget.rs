//! The highest cost that a stack may reach.

use rust_decimal::Decimal;

use crate::cost::{Bill, Line, Unpriced};

/// The highest amounts, in the currency of the stack's prices.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Budget {
    /// For an hour, in which the load runs.
    pub hourly: Option<Decimal>,
    /// For a month of 730 hours.
    pub monthly: Option<Decimal>,
}

/// Which amount of a [`Budget`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Period {
    /// For an hour.
    Hourly,
    /// For a month.
    Monthly,
}

/// Whether a bill stays within a budget.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Everything is priced, and no amount exceeds its limit.
    Within,
    /// The priced part alone exceeds a limit.
    Exceeded {
        /// Which one.
        period: Period,
        /// The priced part.
        cost: Decimal,
        /// The limit.
        limit: Decimal,
        /// Whether something has no price, so that it costs more.
        has_unpriced: bool,
        /// The most expensive line.
        most: Option<Line>,
    },
    /// The priced part is within all limits, but something has no price.
    CannotTell(Vec<Unpriced>),
}

impl Budget {
    /// Compares a bill with the limits.
    pub fn check(&self, bill: &Bill) -> Verdict {
        let hourly = (Period::Hourly, self.hourly, bill.total.hourly);
        let monthly = (Period::Monthly, self.monthly, bill.total.monthly);
        for (period, limit, cost) in [hourly, monthly] {
            if let Some(limit) = limit.filter(|limit| cost > *limit) {
                let amount = |line: &&Line| match period {
                    Period::Hourly => line.hourly,
                    Period::Monthly => line.monthly,
                };
                let most = bill.lines.iter().max_by_key(amount).cloned();
                let has_unpriced = !bill.unpriced.is_empty();
                return Verdict::Exceeded { period, cost, limit, has_unpriced, most };
            }
        }
        let is_set = self.hourly.is_some() || self.monthly.is_some();
        if is_set && !bill.unpriced.is_empty() {
            return Verdict::CannotTell(bill.unpriced.clone());
        }
        Verdict::Within
    }
}
