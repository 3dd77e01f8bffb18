//! The kernel's limits on the memory of all TCP sockets, and on the number of sockets that no process holds any more. They
//! are the whole machine's: a container or a network namespace does not have these parameters.

use nix::unistd::{SysconfVar, sysconf};
use trunnion_host::Config;

use crate::sysctl;

pub(crate) const MEMORY: &str = "net/ipv4/tcp_mem";
pub(crate) const ORPHANS: &str = "net/ipv4/tcp_max_orphans";

/// TCP memory of one connection with a short message that its process has not read yet, in bytes. Measured on Linux 6.18 in
/// November 2026 with messages of 100 bytes.
const UNREAD_BYTES: u64 = 2_304;

/// The share of the host's memory that TCP may take: a quarter. The kernel allows it 9.4 %, which is less than short unread
/// messages of as many connections as the memory is enough for.
const SHARE: u64 = 4;

/// As the kernel is set now. A field is `None` where the kernel does not have the parameter.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct TcpLimits {
    /// The most memory of all TCP sockets, in bytes.
    pub(crate) memory_bytes: Option<u64>,
    /// The most sockets that no process holds any more.
    pub(crate) orphans: Option<u64>,
}

impl TcpLimits {
    pub(crate) fn look() -> Self {
        let last = |name| sysctl::get(name).ok().flatten().and_then(|value| last(&value));
        Self { memory_bytes: last(MEMORY).map(|pages| pages.saturating_mul(page_bytes())), orphans: last(ORPHANS) }
    }
}

/// What setup sets: the parameters by their path below `/proc/sys`.
pub(crate) fn wanted(config: &Config, memory_bytes: u64) -> [(&'static str, String); 2] {
    // The three values have the ratio of the kernel's own: memory pressure ends, begins, and the limit.
    let most = memory_bytes / SHARE / page_bytes();
    [
        (MEMORY, format!("{} {} {most}", most / 2, most / 3 * 2)),
        // When a test ends, every connection can be closed at once. Above the limit, the kernel resets them.
        (ORPHANS, config.connections.total.to_string()),
    ]
}

/// The memory that the promised connections take with a short unread message each, in bytes.
pub(crate) fn unread_bytes(config: &Config) -> u64 {
    config.connections.total.saturating_mul(UNREAD_BYTES)
}

/// Whether a value of one of these parameters is as high as another one.
pub(crate) fn is_as_high(value: &str, wanted: &str) -> bool {
    last(value).zip(last(wanted)).is_some_and(|(value, wanted)| value >= wanted)
}

/// The last of the numbers, which is the limit.
fn last(value: &str) -> Option<u64> {
    value.split_whitespace().next_back()?.parse().ok()
}

fn page_bytes() -> u64 {
    sysconf(SysconfVar::PAGE_SIZE).ok().flatten().and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or(4_096)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_number_is_the_limit() {
        assert!(is_as_high("10 20 30", "30 30 30"));
        assert!(!is_as_high("10 20 30", "1 2 31"));
        assert!(is_as_high("300000", "300000"));
        assert!(!is_as_high("", "1") && !is_as_high("nonsense", "1"));
    }
}
