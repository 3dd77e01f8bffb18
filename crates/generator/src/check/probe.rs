//! Test connections: one from each address to a target that the caller names.

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use futures::{StreamExt as _, stream};
use tokio::{net::TcpSocket, time::timeout};

use super::verdict::Check;

const AT_ONCE: usize = 64;
const LONGEST: Duration = Duration::from_secs(5);

/// The results of the test connections.
#[derive(Debug, Clone)]
pub(crate) struct Probes {
    target: SocketAddr,
    tried: usize,
    /// By address, why its connection failed.
    pub(super) failed: BTreeMap<IpAddr, String>,
}

impl Probes {
    /// Connects from each of these addresses that is of the target's family.
    pub(super) async fn look(target: SocketAddr, mut addresses: Vec<IpAddr>) -> Self {
        addresses.retain(|address| address.is_ipv4() == target.is_ipv4());
        let tried = addresses.len();
        let failed = stream::iter(addresses)
            .map(|address| async move { Some((address, connect(address, target).await.err()?.to_string())) })
            .buffer_unordered(AT_ONCE)
            .filter_map(std::future::ready)
            .collect()
            .await;
        Self { target, tried, failed }
    }
}

/// The spread program ignores a bound socket, so the connection comes from this address.
async fn connect(address: IpAddr, target: SocketAddr) -> io::Result<()> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.bind(SocketAddr::new(address, 0))?;
    timeout(LONGEST, socket.connect(target)).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?.map(drop)
}

pub(super) fn judge(probes: &Probes) -> Check {
    const NAME: &str = "probe";
    let Probes { target, tried, failed } = probes;
    if *tried == 0 {
        return Check::failed(
            NAME,
            format!("no usable address can reach `{target}`"),
            "resolve the failed checks above first",
        );
    }
    if failed.is_empty() {
        return Check::ok(NAME, format!("all {tried} addresses reach `{target}`"));
    }
    let details = failed.iter().map(|(address, why)| format!("`{address}` does not reach `{target}`: {why}")).collect();
    let help = "check the target, the security groups, the network ACLs and the route tables of the subnets";
    Check::failed(NAME, format!("{} of {tried} addresses do not reach `{target}`", failed.len()), help).with(details)
}
