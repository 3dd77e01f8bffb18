//! When the kernel's network changes: links, addresses, routes and rules of both families, as rtnetlink's multicast groups
//! tell. What changed does not matter, for whoever is woken compares everything; so messages are not even parsed, and an
//! overflow is an event like any other.

use std::io;

use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use tokio::io::{Interest, unix::AsyncFd};

/// RTMGRP_LINK, RTMGRP_IPV4_IFADDR, RTMGRP_IPV4_ROUTE, RTMGRP_IPV4_RULE, RTMGRP_IPV6_IFADDR, RTMGRP_IPV6_ROUTE and
/// RTNLGRP_IPV6_RULE of linux/rtnetlink.h.
const GROUPS: u32 = 0x1 | 0x10 | 0x40 | 0x80 | 0x100 | 0x400 | 1 << (19 - 1);

/// A wait for changes.
pub(super) struct Events(AsyncFd<Socket>);

impl Events {
    pub(super) fn new() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind(&SocketAddr::new(0, GROUPS))?;
        socket.set_non_blocking(true)?;
        Ok(Self(AsyncFd::with_interest(socket, Interest::READABLE)?))
    }

    /// Waits until something has changed since it was last asked.
    pub(super) async fn next(&self) -> io::Result<()> {
        loop {
            let mut ready = self.0.readable().await?;
            let changed = self.clear()?;
            ready.clear_ready();
            if changed {
                return Ok(());
            }
        }
    }

    /// Forgets what has changed until now, and says whether there was anything.
    pub(super) fn clear(&self) -> io::Result<bool> {
        let mut changed = false;
        let mut buffer = [0; 64];
        loop {
            match self.0.get_ref().recv(&mut &mut buffer[..], 0) {
                Ok(_) => changed = true,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(changed),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => changed = true,
                Err(error) => return Err(error),
            }
        }
    }
}
