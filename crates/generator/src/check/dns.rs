//! Whether lookups are answered from a cache on this host, if the stack asks for one.

use std::fs;

use trunnion_host::Config;

use super::{limits::read, verdict::Check};

pub(crate) const RESOLV_CONF: &str = "/etc/resolv.conf";
/// The file of systemd-resolved that names its cache as the only server.
pub(crate) const STUB: &str = "/run/systemd/resolve/stub-resolv.conf";
/// The cache's address, and that of its socket in `/proc/net/udp`.
const CACHE: &str = "127.0.0.53";
const SOCKET: &str = " 3500007F:0035 ";

/// The host's resolver.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Resolver {
    /// The servers that programs ask.
    servers: Vec<String>,
    /// Whether the cache has a socket.
    listens: bool,
}

impl Resolver {
    pub(crate) fn look() -> Self {
        Self::of(&fs::read_to_string(RESOLV_CONF).unwrap_or_default(), &read("/proc/net/udp"))
    }

    fn of(resolv_conf: &str, udp: &str) -> Self {
        let servers = resolv_conf.lines().filter_map(|line| {
            let mut words = line.split_ascii_whitespace();
            (words.next() == Some("nameserver")).then(|| words.next().map(str::to_owned)).flatten()
        });
        Self { servers: servers.collect(), listens: udp.contains(SOCKET) }
    }
}

pub(super) fn judge(config: &Config, resolver: &Resolver) -> Check {
    const NAME: &str = "dns";
    const SETUP: &str = "run `trunnion-generator setup`, and see `systemctl status systemd-resolved`";
    let servers = resolver.servers.join(", ");
    let cached = resolver.servers == [CACHE];
    match (config.dns_cache, cached && resolver.listens) {
        (_, true) => Check::ok(NAME, "systemd-resolved answers lookups from its cache"),
        (false, false) if servers.is_empty() => {
            Check::warning(NAME, format!("`{RESOLV_CONF}` names no server"), "make DHCP or the boot template name one")
        }
        (false, false) => Check::ok(
            NAME,
            format!(
                "{servers} without a cache: of each interface, EC2 passes 1,024 packets a second to DNS, time and metadata"
            ),
        ),
        (true, false) if cached => Check::failed(NAME, format!("nothing answers at {CACHE}"), SETUP),
        (true, false) => {
            let found = if servers.is_empty() { "no server".to_owned() } else { servers };
            Check::failed(NAME, format!("`{RESOLV_CONF}` names {found} instead of the cache at {CACHE}"), SETUP)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_and_the_socket_are_found() {
        let udp = "  sl  local_address rem_address\n  9: 3500007F:0035 00000000:0000 07\n";
        let stub = Resolver::of("# a comment\nnameserver 127.0.0.53\noptions edns0 trust-ad\n", udp);
        assert_eq!(stub, Resolver { servers: vec!["127.0.0.53".into()], listens: true });
        let dhcp = Resolver::of("search a.b\nnameserver 10.0.0.2\n nameserver\t169.254.169.253\nnameservers x\n", "");
        assert_eq!(dhcp.servers, ["10.0.0.2", "169.254.169.253"]);
        assert!(!dhcp.listens);
    }
}
