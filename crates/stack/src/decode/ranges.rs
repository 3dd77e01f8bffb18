//! Ranges of IP addresses in CIDR notation.

use std::{fmt::Display, net::IpAddr};

use ipnet::{IpNet, Ipv4Net};

use super::{Field, Map};
use crate::{diagnostic::Findings, sources::shown_text};

/// The shortest prefix of a network that somebody calls their own: the private one of RFC 1918 with the most addresses
/// is `10.0.0.0/8`.
const WIDEST_NETWORK: u8 = 8;

/// A list of ranges, each read by `read` and named once.
pub(crate) fn list<'t, T>(
    map: &Map<'t>,
    key: &str,
    most: usize,
    findings: &mut Findings,
    read: impl Fn(&Field<'t>, &mut Findings) -> Option<T>,
) -> Option<Vec<T>>
where
    T: Display,
{
    let items = findings.items(map, key)?;
    if items.len() > most
        && let Some(field) = map.get(key)
    {
        let says = format!("holds {} items, but {most} fit", items.len());
        findings.about(&field, "stack::out_of_range", says, "join neighbours, or leave some out");
        return None;
    }
    let read: Vec<(Option<T>, &Field)> = items.iter().map(|item| (read(item, findings), item)).collect();
    let shown: Vec<(String, &Field)> =
        read.iter().filter_map(|(value, item)| Some((value.as_ref()?.to_string(), *item))).collect();
    findings.written_twice(shown.iter().map(|(shown, item)| (shown.as_str(), *item)))?;
    read.into_iter().map(|(value, _)| value).collect()
}

/// A list of single addresses, each named once.
pub(crate) fn addresses(map: &Map, key: &str, most: usize, findings: &mut Findings) -> Option<Vec<IpAddr>> {
    list(map, key, most, findings, |field, findings| {
        let text = findings.text(field)?;
        let address = text.parse::<IpAddr>().ok();
        if address.is_none() {
            let says = format!("is `{}`, which is no IP address", shown_text(text));
            findings.about(field, "stack::malformed", says, "write one such as `10.0.0.2`");
        }
        address
    })
}

/// A range of either family, without bits behind its prefix.
pub(crate) fn range(field: &Field, findings: &mut Findings) -> Option<IpNet> {
    let text = findings.text(field)?;
    let shown = shown_text(text);
    let (says, help) = match (text.parse::<IpNet>(), text.parse::<IpAddr>()) {
        (Ok(IpNet::V6(range)), _) if range.addr().to_ipv4_mapped().is_some() => {
            (format!("is `{shown}`, which are IPv4 addresses"), "write the IPv4 range".to_owned())
        }
        (Ok(range), _) if range == range.trunc() => return Some(range),
        (Ok(range), _) => (
            format!("is `{shown}`, which has bits behind its prefix"),
            format!("write `{}`, or `{}` for the one address", range.trunc(), IpNet::from(range.addr())),
        ),
        (Err(_), Ok(address)) => {
            (format!("is `{shown}`, an address and no range"), format!("write `{}`", IpNet::from(address)))
        }
        (Err(_), Err(_)) => {
            (format!("is `{shown}`, which is no range of addresses"), "write one such as `10.0.0.0/8`".to_owned())
        }
    };
    findings.about(field, "stack::malformed", says, help);
    None
}

/// A range that may come in: of IPv4, and no wider than somebody's own network.
pub(crate) fn network(field: &Field, range: IpNet, findings: &mut Findings) -> Option<Ipv4Net> {
    let IpNet::V4(network) = range else {
        let help = "write IPv4 ranges: metrics are served on the primary IPv4 address alone";
        findings.about(field, "stack::malformed", format!("is `{range}`, a range of IPv6"), help);
        return None;
    };
    if network.prefix_len() < WIDEST_NETWORK {
        let says = format!("is `{network}`, which is wider than a network of one's own");
        let help = format!("name the networks that read metrics, each a /{WIDEST_NETWORK} or narrower");
        findings.about(field, "stack::too_wide", says, help);
        return None;
    }
    Some(network)
}
