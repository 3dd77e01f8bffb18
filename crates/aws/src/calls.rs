//! The AWS calls: the table of what each of them needs, and how often each was made.
//!
//! [`table`] has one row for each operation. The rows say which IAM actions a call needs on which resources, which rate
//! limit it has, and whether it changes anything. `throttle.rs`, the counters, the help after a denied call and
//! `trunnion permissions` take it from there.

mod counter;
mod ec2;
mod ecs;
mod grant;
mod iam;
mod others;
mod policy;
mod rate;
mod s3;
mod subject;
mod table;
#[cfg(test)]
mod tests;

pub use self::{
    counter::Calls,
    policy::{Extent, MANAGED_POLICY_LIMIT, Policy, Purpose, permissions},
};
pub(crate) use self::{
    counter::Counter,
    grant::{Commands, Grant, Need, On, When, known_keys},
    policy::Statement,
    rate::{EC2_CHANGE, Rate, of_instances},
    subject::{Subject, matches},
    table::{action_of, actions, all, expected, grants_of, row},
};
