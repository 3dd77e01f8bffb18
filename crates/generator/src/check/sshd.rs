//! Whether the control plane can log in: sshd must listen on the primary address, and should listen on no other.

use std::net::IpAddr;

use netlink_packet_sock_diag::inet::StateFlags;

use super::verdict::Check;
use crate::sockets;

/// The port to which the control plane connects. Gatling can be configured to use another, but the stack cannot.
const PORT: u16 = 22;

/// The addresses on which a program listens on the SSH port.
pub(super) fn look() -> Result<Vec<IpAddr>, String> {
    let mut addresses = Vec::new();
    sockets::each_tcp(&StateFlags::LISTEN, |socket| {
        if socket.socket_id.source_port == PORT {
            addresses.push(socket.socket_id.source_address.to_canonical());
        }
    })
    .map_err(|error| error.to_string())?;
    addresses.sort();
    addresses.dedup();
    Ok(addresses)
}

pub(super) fn judge(primary: Option<IpAddr>, listening: &Result<Vec<IpAddr>, String>) -> Check {
    const NAME: &str = "sshd";
    const HELP: &str = "run `trunnion-generator setup`, then `systemctl status sshd`";
    let addresses = match listening {
        Ok(addresses) => addresses,
        Err(why) => {
            return Check::failed(NAME, format!("cannot read the listening sockets from the kernel: {why}"), HELP);
        }
    };
    let covers = |address: &IpAddr| address.is_unspecified() || Some(*address) == primary;
    if !addresses.iter().any(covers) {
        let wanted = primary.map_or_else(|| "any address".to_owned(), |address| format!("`{address}`"));
        let message = format!("nothing listens on port {PORT} of {wanted}, so the control plane cannot log in");
        return Check::failed(NAME, message, HELP);
    }
    let others: Vec<String> =
        addresses.iter().filter(|&&address| Some(address) != primary).map(|address| format!("`{address}`")).collect();
    if others.is_empty() {
        return Check::ok(NAME, format!("listens on port {PORT} of the primary address only"));
    }
    let message =
        format!("a program listens on port {PORT} of {}, too, and not only of the primary address", others.join(", "));
    Check::warning(NAME, message, HELP)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::verdict::State;

    #[test]
    fn the_primary_address_must_be_among_the_listeners_and_should_be_alone() {
        let primary: IpAddr = "10.0.1.4".parse().unwrap();
        let everywhere: IpAddr = "::".parse().unwrap();
        let other: IpAddr = "10.0.1.5".parse().unwrap();
        let state = |listening: &[IpAddr]| judge(Some(primary), &Ok(listening.to_vec())).state;
        assert_eq!(state(&[primary]), State::Ok);
        assert_eq!(state(&[everywhere]), State::Warning);
        assert_eq!(state(&[primary, other]), State::Warning);
        assert_eq!(state(&[other]), State::Failed);
        assert_eq!(state(&[]), State::Failed);
    }
}
