//! IP addresses, and ranges of them in CIDR notation.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};
use serde_json::json;

use super::{Around, Described, key::Kind};
use crate::{
    diagnostic::Findings, field::Field, forms::one_of_numbers, model::Except, shape::nearest, sources::shown_text,
};

/// The shortest allowed prefix of a metrics network: that of the largest private network of RFC 1918, `10.0.0.0/8`.
const WIDEST_NETWORK: u8 = 8;
const IPV4: &str = r"[0-9]+(\.[0-9]+){3}";
const IPV6: &str = "[0-9a-fA-F:.]*:[0-9a-fA-F:.]*";

/// An IPv4 or IPv6 address.
pub(super) struct Address;

impl Kind for Address {
    type Value = IpAddr;

    fn read(&self, field: &Field, _: &Around, findings: &mut Findings) -> Option<IpAddr> {
        let text = findings.text(field)?;
        let address = text.parse::<IpAddr>().ok();
        if address.is_none() {
            let says = format!("is `{}`, which is not a valid IP address", shown_text(text));
            findings.about(field, "stack::malformed", says, "write an address, such as `10.0.0.2`");
        }
        address
    }

    fn describe(&self) -> Described {
        text("an IPv4 or IPv6 address", &format!("^({IPV4}|{IPV6})$"))
    }
}

/// Destinations that are not spread.
pub(super) struct Destination;

impl Kind for Destination {
    type Value = Except;

    fn read(&self, field: &Field, _: &Around, findings: &mut Findings) -> Option<Except> {
        let text = findings.text(field)?;
        if text == Except::OWN_SUBNETS {
            return Some(Except::OwnSubnets);
        }
        if nearest(text, [Except::OWN_SUBNETS].into_iter()).is_some() {
            let says = format!("does not know `{}`", shown_text(text));
            findings.about(field, "stack::unknown_word", says, format!("did you mean `{}`?", Except::OWN_SUBNETS));
            return None;
        }
        let range = range(field, findings)?;
        if matches!(range, IpNet::V4(range) if range.prefix_len() == 0) {
            let help = "write `spread: off` to spread no connection";
            findings.about(field, "stack::too_wide", "leaves nothing to spread", help);
            return None;
        }
        Some(Except::Range(range))
    }

    fn describe(&self) -> Described {
        let own = Except::OWN_SUBNETS;
        let pattern = format!("^({own}|{IPV4}/({})|{IPV6}/[0-9]{{1,3}})$", one_of_numbers(1..=32));
        text(&format!("an IPv4 or IPv6 range in CIDR notation, or `{own}`"), &pattern)
    }
}

/// A range that is reached without the internet.
pub(super) struct PrivateRange;

impl Kind for PrivateRange {
    type Value = IpNet;

    fn read(&self, field: &Field, _: &Around, findings: &mut Findings) -> Option<IpNet> {
        let range = range(field, findings)?;
        if range.prefix_len() == 0 {
            let says = format!("is `{range}`, which is every destination");
            let help = "list only the public ranges that a VPN or a peering leads to";
            findings.about(field, "stack::too_wide", says, help);
            return None;
        }
        Some(range)
    }

    fn describe(&self) -> Described {
        let pattern = format!("^({IPV4}/({})|{IPV6}/[0-9]{{1,3}})$", one_of_numbers(1..=32));
        text("an IPv4 or IPv6 range in CIDR notation, not /0", &pattern)
    }
}

/// An IPv4 network whose hosts may connect, not wider than [`WIDEST_NETWORK`].
pub(super) struct OwnNetwork;

impl Kind for OwnNetwork {
    type Value = Ipv4Net;

    fn read(&self, field: &Field, _: &Around, findings: &mut Findings) -> Option<Ipv4Net> {
        let range = range(field, findings)?;
        let IpNet::V4(network) = range else {
            let help = "write IPv4 ranges: metrics are served on the primary IPv4 address alone";
            findings.about(field, "stack::malformed", format!("is `{range}`, an IPv6 range"), help);
            return None;
        };
        if network.prefix_len() < WIDEST_NETWORK {
            let says = format!("is `{network}`, which is too wide: /{WIDEST_NETWORK} is the widest network allowed");
            let help = "list only the networks that your metrics server connects from";
            findings.about(field, "stack::too_wide", says, help);
            return None;
        }
        Some(network)
    }

    fn describe(&self) -> Described {
        let pattern = format!("^{IPV4}/({})$", one_of_numbers(WIDEST_NETWORK..=32));
        text(&format!("an IPv4 range in CIDR notation, /{WIDEST_NETWORK} or narrower"), &pattern)
    }
}

fn text(bounds: &str, pattern: &str) -> Described {
    Described {
        name: "text".to_owned(),
        bounds: vec![bounds.to_owned()],
        forms: vec![json!({ "type": "string", "pattern": pattern })],
        ..Described::default()
    }
}

/// An IPv4 or IPv6 range without host bits.
fn range(field: &Field, findings: &mut Findings) -> Option<IpNet> {
    let text = findings.text(field)?;
    let shown = shown_text(text);
    let (says, help) = match (text.parse::<IpNet>(), text.parse::<IpAddr>()) {
        (Ok(IpNet::V6(range)), _) if range.addr().to_ipv4_mapped().is_some() => {
            (format!("is `{shown}`, which is an IPv4 range written as IPv6"), "write the IPv4 range".to_owned())
        }
        (Ok(range), _) if range == range.trunc() => return Some(range),
        (Ok(range), _) => (
            format!("is `{shown}`, which has host bits set"),
            format!("write `{}`, or `{}` for the one address", range.trunc(), IpNet::from(range.addr())),
        ),
        (Err(_), Ok(address)) => {
            (format!("is `{shown}`, an address, not a range"), format!("write `{}`", IpNet::from(address)))
        }
        (Err(_), Err(_)) => {
            let is_name = text.contains(|letter: char| letter.is_ascii_alphabetic()) && !text.contains(':');
            let example = "e.g. `203.0.113.0/24`";
            let help = if is_name {
                format!("host names are not supported: write the addresses, {example}")
            } else {
                format!("write a range, {example}")
            };
            (format!("is `{shown}`, which is not an IP range (CIDR)"), help)
        }
    };
    findings.about(field, "stack::malformed", says, help);
    None
}
