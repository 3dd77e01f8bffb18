//! Real connections: one from each address to a target that the caller names.

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use futures::{StreamExt as _, stream};
use tokio::{net::TcpSocket, time::timeout};

use super::Check;

const AT_ONCE: usize = 64;
const LONGEST: Duration = Duration::from_secs(5);

/// How the connections went.
#[derive(Debug, Clone)]
pub(crate) struct Probes {
    target: SocketAddr,
    tried: usize,
    /// By address, why it reached nothing.
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

/// A socket that is bound is left alone by the spread, so the answer is of this address.
async fn connect(address: IpAddr, target: SocketAddr) -> io::Result<()> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.bind(SocketAddr::new(address, 0))?;
    timeout(LONGEST, socket.connect(target)).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?.map(drop)
}

pub(super) fn judge(probes: &Probes) -> Check {
    const NAME: &str = "probe";
    let Probes { target, tried, failed } = probes;
    if *tried == 0 {
        return Check::failed(NAME, format!("no address can be used to reach `{target}`"), "mend the checks above");
    }
    if failed.is_empty() {
        return Check::ok(NAME, format!("all {tried} addresses reach `{target}`"));
    }
    let details = failed.iter().map(|(address, why)| format!("`{address}` does not reach `{target}`: {why}")).collect();
    let help = "look at the target, the security groups and network ACLs, and the subnets' route tables";
    Check::failed(NAME, format!("{} of {tried} addresses do not reach `{target}`", failed.len()), help).with(details)
}
