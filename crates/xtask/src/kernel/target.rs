//! Servers in target namespaces, which accept and hold connections, and record their clients.

use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
    net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream},
    os::fd::AsRawFd as _,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    sys::socket::{self, MsgFlags},
};

use super::namespace::Namespace;
use crate::Failure;

/// A server that accepts and holds every connection. It either answers every HTTP request with the client's address, or
/// sends nothing.
#[derive(Debug)]
pub(crate) struct Server {
    address: SocketAddr,
    listener: TcpListener,
    accepting: Option<JoinHandle<()>>,
    held: Arc<Held>,
}

#[derive(Debug, Default)]
struct Held {
    connections: Mutex<Vec<(SocketAddr, TcpStream)>>,
    came: Condvar,
}

impl Held {
    fn connections(&self) -> MutexGuard<'_, Vec<(SocketAddr, TcpStream)>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Server {
    pub(crate) fn start(namespace: &Namespace, address: SocketAddr, answers: bool) -> Result<Self, Failure> {
        let listener = namespace.inside(|| TcpListener::bind(address))??;
        let held = Arc::new(Held::default());
        let accepting = {
            let (listener, held) = (listener.try_clone()?, Arc::clone(&held));
            thread::spawn(move || {
                // Ends when the listener is shut down.
                while let Ok((stream, peer)) = listener.accept() {
                    let answered = answers.then(|| stream.try_clone());
                    held.connections().push((peer, stream));
                    held.came.notify_all();
                    if let Some(Ok(stream)) = answered {
                        thread::spawn(move || answer(stream, peer));
                    }
                }
            })
        };
        Ok(Self { address: listener.local_addr()?, listener, accepting: Some(accepting), held })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The address as a URL.
    pub(crate) fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// All clients since the start or the last [`Server::close_all`], in order.
    pub(crate) fn peers(&self) -> Vec<SocketAddr> {
        self.held.connections().iter().map(|(peer, _)| *peer).collect()
    }

    /// The number of connections from each address.
    pub(crate) fn by_source(&self) -> BTreeMap<IpAddr, usize> {
        let mut sources = BTreeMap::new();
        for peer in self.peers() {
            *sources.entry(peer.ip().to_canonical()).or_default() += 1;
        }
        sources
    }

    /// Waits until this number of connections have arrived in total.
    pub(crate) fn wait_for(&self, count: usize, patience: Duration) -> Result<(), Failure> {
        let end = Instant::now() + patience;
        let mut connections = self.held.connections();
        while connections.len() < count {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(format!("{} of {count} connections came to {}", connections.len(), self.address).into());
            }
            connections = self.held.came.wait_timeout(connections, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        Ok(())
    }

    /// The number of connections that are still established.
    pub(crate) fn standing(&self) -> Result<usize, Failure> {
        let mut standing = 0;
        for (_, stream) in &*self.held.connections() {
            let flags = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
            match socket::recv(stream.as_raw_fd(), &mut [0], flags) {
                Ok(1..) | Err(Errno::EAGAIN) => standing += 1,
                Ok(0) | Err(Errno::ECONNRESET | Errno::EPIPE | Errno::ETIMEDOUT) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(standing)
    }

    /// Closes all connections and clears the list. The server keeps running.
    pub(crate) fn close_all(&self) {
        for (_, stream) in self.held.connections().drain(..) {
            // The client may have closed it first.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Wakes the accepting thread.
        let _ = socket::shutdown(self.listener.as_raw_fd(), socket::Shutdown::Both);
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
        self.close_all();
    }
}

/// Answers HTTP requests without a body until the client closes the connection.
fn answer(mut stream: TcpStream, peer: SocketAddr) {
    let body = peer.to_string();
    let text = format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    while read_head(&mut stream).is_some() {
        if stream.write_all(text.as_bytes()).is_err() {
            break;
        }
    }
}

/// Reads the head of a request; `None` at the end or if it is too long.
pub(crate) fn read_head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() > 16 * 1024 || stream.read(&mut byte).ok()? == 0 {
            return None;
        }
        head.extend(byte);
    }
    String::from_utf8(head).ok()
}
