//! How many virtual users a stack holds, and what it costs: pure functions over dated facts.
//!
//! Each figure says where it comes from. What has no price is "unpriced", never free.
//!
//! ```
//! use trunnion_estimate::{Constraints, Prices, Workload, size};
//!
//! let workload = Workload::default();
//! let pools = size(2_000_000, &workload, &Constraints::default(), &Prices::of_region("us-east-1")).unwrap();
//! assert!(pools[0].virtual_users >= 2_000_000);
//! ```
#![cfg_attr(test, expect(clippy::unwrap_used, reason = "a test may panic"))]

mod budget;
mod capacity;
mod cost;
mod document;
mod grouped;
mod grow;
mod managed;
mod prices;
mod size;
mod workload;

pub use rust_decimal::Decimal;
pub use trunnion_host::{Mode, Route, Tracking};

pub use crate::{
    budget::{Budget, Period, Verdict},
    capacity::{
        BANDWIDTH_PERCENT, Bound, CPU_MICROS_PER_REQUEST, CPU_PERCENT, Capacity, GATLING_BYTES, GATLING_DESCRIPTORS,
        Host, KERNEL_BYTES_PER_CONNECTION, Limit, NAT_CONNECTIONS, NatGateway, SYSTEM_BYTES, heap_for, held_by,
        requests_per_second, users_in, users_in_heap,
    },
    cost::{Bill, Billed, Line, Per, Total, Traffic, Unpriced, Use, price_lines},
    document::{Estimate, LocationCapacity, PoolCapacity},
    grouped::grouped,
    grow::{Growth, Pool, growth, held},
    managed::{CREDITS_PER_HOUR, Comparison, managed},
    prices::{Market, Prices, Rate, Source},
    size::{Choice, Constraints, NoChoice, size},
    workload::{Bytes, Targets, Workload},
};

#[cfg(test)]
mod tests;
