//! Notifications for the service manager, by the protocol of `sd_notify(3)`.

use std::{
    env,
    ffi::OsStr,
    io,
    os::{
        linux::net::SocketAddrExt as _,
        unix::net::{SocketAddr, UnixDatagram},
    },
};

/// Notifies the service manager, if there is one.
pub(super) fn notify(lines: &str) {
    if let Some(name) = env::var_os("NOTIFY_SOCKET") {
        // A manager that does not read must not block the service, so the notification can be lost.
        let _ = send(&name, lines);
    }
}

fn send(name: &OsStr, lines: &str) -> io::Result<usize> {
    let address = match name.as_encoded_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
        _ => SocketAddr::from_pathname(name),
    }?;
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    socket.send_to_addr(lines.as_bytes(), &address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_manager_that_does_not_read_blocks_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        send(path.as_os_str(), "READY=1").unwrap();
        let mut buffer = [0; 16];
        assert_eq!(manager.recv(&mut buffer).unwrap(), 7);
        assert_eq!(&buffer[..7], b"READY=1");
        let full = (0..100_000).find_map(|_| send(path.as_os_str(), "STATUS=healthy").err());
        assert_eq!(full.map(|error| error.kind()), Some(io::ErrorKind::WouldBlock));
        assert_eq!(send(OsStr::new("@no-such-manager"), "").unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    }
}
