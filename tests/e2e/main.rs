//! End-to-end tests: the `trunnion` binary against the sandbox.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod bad_input;
mod boot;
mod cache;
mod changes;
mod connecting;
mod doctor;
mod documents;
mod elastic_ips;
mod estimates;
mod golden;
mod handed_over;
mod homes;
mod interrupted;
mod ipv6;
mod left_alone;
mod lifecycle;
mod limits;
mod locks;
mod nat_gateways;
mod pacing;
mod packages;
mod partitions;
mod people;
mod permissions;
mod previews;
mod pull_requests;
mod quotas;
mod renamed;
mod untrusted;
mod ways_of_aws;
