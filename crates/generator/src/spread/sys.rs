//! Two system calls that no crate wraps.
#![expect(unsafe_code, reason = "a socket option and a system call that neither nix nor aya wraps")]

use std::{io, net::UdpSocket, os::fd::AsRawFd as _, ptr};

/// The cookie of this process's network namespace, which BPF programs can read. No two namespaces have the same one until the
/// host restarts.
pub(super) fn netns_cookie() -> io::Result<u64> {
    let socket = UdpSocket::bind(("127.0.0.1", 0)).or_else(|_| UdpSocket::bind(("0.0.0.0", 0)))?;
    let mut cookie = 0_u64;
    let mut length: libc::socklen_t = 8;
    // SAFETY: the descriptor is open as long as `socket` lives; the kernel writes at most `length` bytes, which is the size
    // of `cookie`, and every value of eight bytes is a u64.
    let answer = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_NETNS_COOKIE,
            ptr::from_mut(&mut cookie).cast(),
            &raw mut length,
        )
    };
    if answer == 0 { Ok(cookie) } else { Err(io::Error::last_os_error()) }
}

/// Waits for the end of all runs of BPF programs that are in progress.
///
/// `MEMBARRIER_CMD_GLOBAL` waits for an RCU grace period, and BPF programs of cgroups run in RCU read-side critical sections.
/// A kernel with `nohz_full` does not support the command. A run takes less than a microsecond, so it has ended by then anyway.
pub(super) fn wait_for_running_programs() {
    // SAFETY: the call takes three numbers and touches no memory of this process.
    unsafe { libc::syscall(libc::SYS_membarrier, libc::MEMBARRIER_CMD_GLOBAL, 0, 0) };
}
