//! The estimate of a plan, as its document has it.

use std::collections::BTreeMap;

use rust_decimal::Decimal;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Bill, Capacity, Comparison, Line, Total, Unpriced};

/// What a plan costs and how many virtual users its pools hold, before and after it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Estimate {
    /// ISO 4217 code of every amount.
    pub currency: String,
    /// What everything costs that exists before the plan is applied.
    pub cost_before: Total,
    /// What everything costs afterwards.
    pub cost: Total,
    /// The lines of `cost`.
    pub lines: Vec<Line>,
    /// What has no price, each with the line of the stack's `prices` that gives it one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unpriced: Vec<Unpriced>,
    /// What a million hours of a virtual user cost: `cost` for an hour with `workload.virtual_users`, or without that number with as
    /// many as the pools hold. Absent without users.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub million_user_hours: Option<Decimal>,
    /// Concurrent virtual users that all pools hold before the plan is applied.
    pub virtual_users_before: u64,
    /// The same afterwards.
    pub virtual_users: u64,
    /// Each pool afterwards, for all tests together that run on it at once.
    pub pools: Vec<PoolCapacity>,
    /// Each location afterwards, with the heap of its JVM.
    pub locations: Vec<LocationCapacity>,
    /// The same workload on generators that Gatling manages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comparison: Option<Comparison>,
    /// Whether the network was not read: the costs and limits of NAT gateways, and addresses that subnets give, are left out.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub without_network: bool,
    /// Hours of a month in which the load runs.
    pub hours_per_month: u32,
    /// What the figures assume, and what they leave out.
    pub assumptions: Vec<String>,
}

/// What a pool holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PoolCapacity {
    /// Its name.
    pub pool: String,
    /// Its hosts.
    pub hosts: u32,
    /// Their instance type.
    pub instance_type: String,
    /// The cost of its hosts with their volumes and public addresses for an hour, as far as it is priced.
    pub hourly: Decimal,
    /// What has no price in it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub unpriced: BTreeMap<String, Decimal>,
    /// What all its hosts hold.
    pub capacity: Capacity,
}

/// What a location holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LocationCapacity {
    /// Its id.
    pub location: String,
    /// The pool that it uses.
    pub pool: String,
    /// The heap of one JVM, in MiB.
    pub heap_mib: u64,
    /// What a test on all its hosts holds.
    pub capacity: Capacity,
}

impl Estimate {
    /// The bill of everything after the plan, with the prices of another estimate: that of the plan as it was reviewed. A line that
    /// it does not have keeps its own price, and so does each line if the currency is another one now.
    pub fn bill_with_prices_of(&self, other: &Self) -> Bill {
        if self.currency != other.currency {
            return self.bill();
        }
        let lines = self.lines.iter().map(|line| {
            let known = other.lines.iter().find(|known| (&known.item, known.per) == (&line.item, line.per));
            match known {
                Some(known) => line.at(known.price, known.source.clone(), self.hours_per_month),
                None => line.clone(),
            }
        });
        let bill = Bill::of_lines(lines.collect());
        let unpriced = other.unpriced.iter().chain(&self.unpriced);
        let mut missing: Vec<Unpriced> = Vec::new();
        for one in unpriced {
            if bill.total.unpriced.contains_key(&one.item) && !missing.iter().any(|known| known.item == one.item) {
                missing.push(one.clone());
            }
        }
        Bill { unpriced: missing, ..bill }
    }

    /// The bill of everything after the plan.
    pub fn bill(&self) -> Bill {
        Bill { lines: self.lines.clone(), total: self.cost.clone(), unpriced: self.unpriced.clone() }
    }
}
