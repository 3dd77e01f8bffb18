//! Two questions to the kernel that no crate asks for us.
#![expect(unsafe_code, reason = "a socket option and a system call that neither nix nor aya knows")]

use std::{io, net::UdpSocket, os::fd::AsRawFd as _, ptr};

/// The number of the network namespace that this process is in, as BPF programs see it. Never used twice until the host
/// restarts.
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

/// Waits until every run of a BPF program that began before has ended.
///
/// `MEMBARRIER_CMD_GLOBAL` waits for a grace period of RCU, and BPF programs of cgroups run inside RCU's read side. Where
/// the kernel has none (`nohz_full`), programs have long ended all the same: they take less than a microsecond.
pub(super) fn wait_for_running_programs() {
    // SAFETY: the call takes three numbers and touches no memory of this process.
    unsafe { libc::syscall(libc::SYS_membarrier, libc::MEMBARRIER_CMD_GLOBAL, 0, 0) };
}
