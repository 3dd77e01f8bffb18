//! Decides which waiting call is made next. Apply runs many steps concurrently, and any order of their calls must work.

use std::{
    future::poll_fn,
    pin::pin,
    task::{Context, Poll, Waker},
};

use trunnion_engine::Operation;

use crate::shared::Shared;

/// How the next call is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// The call that has waited longest.
    Oldest,
    /// The call that came last.
    Newest,
    /// Calls of deletes first.
    Deletes,
    /// Calls of creates and updates first.
    Makes,
    /// Pseudo-random, with this seed.
    Mixed(u64),
}

impl Pace {
    pub const ALL: [Self; 6] =
        [Self::Oldest, Self::Newest, Self::Deletes, Self::Makes, Self::Mixed(0x5eed), Self::Mixed(0xcafe)];

    fn rank(self, operation: Operation, number: u64) -> u64 {
        let is_delete = operation == Operation::Delete;
        match self {
            Self::Oldest => number,
            Self::Newest => u64::MAX / 4 - number,
            Self::Deletes => number + if is_delete { 0 } else { 1 << 32 },
            Self::Makes => number + if is_delete { 1 << 32 } else { 0 },
            Self::Mixed(seed) => (number ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 2,
        }
    }
}

/// When a call may be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// In the order of the pace.
    InTurn,
    /// After all other calls, as if the cloud released a dependency slowly.
    AtLast,
}

struct Waiter {
    number: u64,
    rank: u64,
    waker: Waker,
}

/// The steps that wait to make a call.
pub struct Turns {
    pace: Pace,
    next: Shared<u64>,
    granted: Shared<Option<u64>>,
    waiting: Shared<Vec<Waiter>>,
}

impl Turns {
    pub fn new(pace: Pace) -> Self {
        Self { pace, next: Shared::new(0), granted: Shared::new(None), waiting: Shared::default() }
    }

    /// Waits until the caller may make its call.
    pub async fn take(&self, operation: Operation, when: When) {
        let number = {
            let mut next = self.next.borrow_mut();
            *next += 1;
            *next - 1
        };
        let rank = match when {
            When::InTurn => self.pace.rank(operation, number),
            When::AtLast => u64::MAX / 2 + number,
        };
        let mut is_waiting = false;
        poll_fn(|context| {
            if self.granted.borrow_mut().take_if(|granted| *granted == number).is_some() {
                return Poll::Ready(());
            }
            if !is_waiting {
                is_waiting = true;
                self.waiting.borrow_mut().push(Waiter { number, rank, waker: context.waker().clone() });
            }
            Poll::Pending
        })
        .await;
    }

    /// Polls a future whose calls take turns. Returns `None` as soon as `is_over` holds, as if the process were killed.
    pub fn run<T>(&self, future: impl Future<Output = T>, is_over: impl Fn() -> bool) -> Option<T> {
        let mut future = pin!(future);
        let mut context = Context::from_waker(Waker::noop());
        loop {
            let polled = future.as_mut().poll(&mut context);
            if is_over() {
                return None;
            }
            if let Poll::Ready(result) = polled {
                return Some(result);
            }
            let mut waiting = self.waiting.borrow_mut();
            let first = (0..waiting.len()).min_by_key(|&index| waiting[index].rank);
            let Some(first) = first else { panic!("the future is pending, but no call waits") };
            let first = waiting.swap_remove(first);
            *self.granted.borrow_mut() = Some(first.number);
            first.waker.wake();
        }
    }
}
