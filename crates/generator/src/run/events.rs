//! Waits for changes of the kernel's network: links, addresses, routes and rules of both families, by the multicast groups of
//! rtnetlink. The messages are not parsed, because the service compares everything after each change; so an overflow is an
//! event like any other.

use std::{future::poll_fn, io};

use netlink_sys::{AsyncSocket, SocketAddr, TokioSocket, protocols::NETLINK_ROUTE};

/// `RTNLGRP_LINK`, `RTNLGRP_IPV4_IFADDR`, `RTNLGRP_IPV4_ROUTE`, `RTNLGRP_IPV4_RULE`, `RTNLGRP_IPV6_IFADDR`,
/// `RTNLGRP_IPV6_ROUTE` and `RTNLGRP_IPV6_RULE` of linux/rtnetlink.h.
const GROUPS: [u32; 7] = [1, 5, 7, 8, 9, 11, 19];

/// A subscription to changes.
pub(super) struct Events(TokioSocket);

impl Events {
    pub(super) fn new() -> io::Result<Self> {
        let mut socket = TokioSocket::new(NETLINK_ROUTE)?;
        let groups = GROUPS.iter().map(|group| 1 << (group - 1)).sum();
        socket.socket_mut().bind(&SocketAddr::new(0, groups))?;
        Ok(Self(socket))
    }

    /// Waits for a change since the last call of this or [`Events::clear`].
    pub(super) async fn next(&mut self) -> io::Result<()> {
        let mut buffer = [0; 64];
        match poll_fn(|context| self.0.poll_recv(context, &mut &mut buffer[..])).await {
            Ok(()) => Ok(()),
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Drops the changes until now.
    pub(super) fn clear(&mut self) -> io::Result<()> {
        let mut buffer = [0; 64];
        loop {
            match self.0.socket_ref().recv(&mut &mut buffer[..], 0) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {}
                Err(error) => return Err(error),
            }
        }
    }
}
