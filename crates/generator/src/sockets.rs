//! TCP sockets, read from the kernel by `sock_diag`. They are streamed: a million of them takes no memory here.

use std::io;

use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_sock_diag::{
    SockDiagMessage,
    constants::{AF_INET, AF_INET6, IPPROTO_TCP},
    inet::{ExtensionFlags, InetRequest, InetResponseHeader, SocketId, StateFlags},
};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_SOCK_DIAG};

/// The kernel sends at most this many bytes at once.
const BUFFER: usize = 32 * 1024;

/// Calls `each` for every TCP socket of the network namespace in one of these states, IPv4 and then IPv6. Blocks until the
/// kernel has listed all.
pub(crate) fn each_tcp(states: &StateFlags, mut each: impl FnMut(&InetResponseHeader)) -> io::Result<()> {
    let mut socket = Socket::new(NETLINK_SOCK_DIAG)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    let mut buffer = Vec::with_capacity(BUFFER);
    for (family, socket_id) in [(AF_INET, SocketId::new_v4()), (AF_INET6, SocketId::new_v6())] {
        let request = InetRequest {
            family,
            protocol: IPPROTO_TCP,
            extensions: ExtensionFlags::empty(),
            states: states.clone(),
            socket_id,
        };
        send(&socket, request)?;
        loop {
            buffer.clear();
            let length = socket.recv(&mut buffer, 0)?;
            if length == 0 || length > buffer.len() || !read(&buffer, &mut each)? {
                break;
            }
        }
    }
    Ok(())
}

fn send(socket: &Socket, request: InetRequest) -> io::Result<()> {
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    let mut message = NetlinkMessage::new(header, SockDiagMessage::InetRequest(request).into());
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    socket.send(&bytes, 0).map(|_| ())
}

/// Reads the messages of one datagram; false if the last message was among them.
fn read(mut bytes: &[u8], each: &mut impl FnMut(&InetResponseHeader)) -> io::Result<bool> {
    while !bytes.is_empty() {
        let message = NetlinkMessage::<SockDiagMessage>::deserialize(bytes).map_err(io::Error::other)?;
        match message.payload {
            NetlinkPayload::InnerMessage(SockDiagMessage::InetResponse(response)) => each(&response.header),
            NetlinkPayload::Done(_) => return Ok(false),
            NetlinkPayload::Error(error) => return Err(error.to_io()),
            _ => {}
        }
        // Messages begin at multiples of four bytes; the header alone is sixteen.
        let length = (message.header.length as usize).max(16).next_multiple_of(4);
        bytes = bytes.get(length..).unwrap_or_default();
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr, TcpListener};

    use super::*;

    #[test]
    fn it_finds_a_listener_and_no_more_than_asked_for() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut found = Vec::new();
        each_tcp(&StateFlags::LISTEN, |socket| {
            if socket.socket_id.source_port == port {
                found.push(socket.socket_id.source_address);
            }
        })
        .unwrap();
        assert_eq!(found, [IpAddr::V4(Ipv4Addr::LOCALHOST)]);
        let mut listeners = 0;
        each_tcp(&StateFlags::ESTABLISHED, |socket| listeners += u32::from(socket.state == 10)).unwrap();
        assert_eq!(listeners, 0);
    }
}
