//! The limit of an evaluation, in steps. The evaluator compares times; this gives it a number that grows by one with every
//! look at the clock, so the limit does not depend on the machine.

use std::{cell::Cell, num::NonZeroU32, time::Duration};

use regorus::{
    Engine,
    utils::limits::{ExecutionTimerConfig, TimeSource, set_time_source},
};

/// How many steps one rule may take: a few seconds. The policies of this repository take less than a tenth of that for a plan of 3,000
/// hosts.
pub(crate) const AT_MOST: u32 = 10_000_000;

thread_local! {
    static TAKEN: Cell<u64> = const { Cell::new(0) };
}

struct Steps;

impl TimeSource for Steps {
    fn now(&self) -> Option<Duration> {
        TAKEN.set(TAKEN.get().saturating_add(1));
        Some(Duration::from_nanos(TAKEN.get()))
    }
}

/// Lets every evaluation of the engine take this many steps.
pub(crate) fn limit(engine: &mut Engine) {
    // It can be set only once in a process.
    let _ = set_time_source(&Steps);
    let limit = Duration::from_nanos(AT_MOST.into());
    engine.set_execution_timer_config(ExecutionTimerConfig { limit, check_interval: NonZeroU32::MIN });
}

/// Evaluates something with steps counted from 0.
pub(crate) fn counted<T>(evaluate: impl FnOnce() -> T) -> T {
    TAKEN.set(0);
    evaluate()
}
