//! The pools: instance type, zone or subnet, image, interfaces and addresses.

use serde_json::json;
use trunnion_catalog::{InstanceType, limits};

use super::{
    Absent, Around, Described, Entry,
    images::MachineImage,
    key::{Kind, Reader, or, or_else, required},
    kinds::{Boolean, Integer, Shaped, Word, shaped},
    protect,
    section::section,
};
use crate::{
    diagnostic::{Diagnostic, Findings},
    field::{Field, Map},
    forms,
    model::{Image, Market, Placement, Tracking},
    sources::{path_below, shown_text},
};

section! {
    /// Identical generator hosts. Exactly one of `zone` and `subnet` says where they are.
    pub struct Pool {
        /// EC2 instance type. It decides how many interfaces and addresses a host can have.
        instance_type: &'static InstanceType = required(InstanceTypeName, "c6in.32xlarge").such_as(&["c6in.32xlarge"]),
        /// Number of hosts. With 0, the pool stays in the file without any host.
        count: u32 = or(Integer(0..=1000), "1").such_as(&["4"]),
        /// Where its hosts are.
        placement: Placement = Place,
        /// The machine image: Amazon Linux 2023, an image's id, or the SSM parameter that holds one. What `al2023` or a parameter
        /// names stays the same until `--update-images`.
        image: Image = or(MachineImage, "al2023").such_as(&["ami-0123456789abcdef0", "{ ssm: /golden/generator }"]),
        /// Network interfaces per host, spread over its network cards. The instance type limits them.
        interfaces: u32 = or(Integer(1..=u32::MAX), "1").such_as(&["8"]),
        /// Private IPv4 addresses per interface, the primary one included. The instance type limits them.
        addresses: u32 = or(Integer(1..=u32::MAX), "1").such_as(&["30"]),
        /// Size of the root volume in GiB.
        volume_gib: u32 = or(Integer(8..=limits::GP3_GIB), "30").such_as(&["100"]),
        /// How the hosts are paid.
        market: Market = or(
            Word(&[
                ("on-demand", Market::OnDemand, "by the second"),
                ("spot", Market::Spot, "at the spot price, until AWS interrupts them"),
            ]),
            "on-demand",
        ).such_as(&["spot"]),
        /// Whether AWS tracks the connections of the load interfaces, which are all but the primary one. AWS's allowance for the
        /// instance caps tracked connections. Untracked ones have no such cap, but everything that routes and network ACLs let through
        /// reaches those interfaces.
        tracking: Tracking = or(
            Word(&[
                ("tracked", Tracking::Tracked, "nothing from outside reaches them"),
                ("untracked", Tracking::Untracked, "for pools with more than one interface"),
            ]),
            "tracked",
        ).such_as(&["untracked"]),
        /// Whether each host has an Elastic IP on the primary address of its primary interface. It stays when the host is replaced, so that
        /// systems under test can allow it. AWS allows five in a region by default.
        public_ip: bool = or_else(Boolean, "`true` with `public_addresses`, else `false`", |map, around| {
            number(map, "public_addresses", around) > 0
        }).such_as(&["true"]),
        /// How many of the private addresses of each host have an Elastic IP: first the primary one of its primary interface, which is
        /// that of `public_ip`, then the primary ones of its other interfaces, then the second ones, and so on.
        public_addresses: u32 = or_else(Integer(0..=u32::MAX), "1 with `public_ip`, else 0", |map, around| {
            let mut unread = Findings::default();
            u32::from(map.get("public_ip").and_then(|field| Boolean.read(&field, around, &mut unread)) == Some(true))
        }).such_as(&["16"]),
        /// Whether each interface of its hosts has an IPv6 prefix of 80 bits, for load over IPv6. Its subnet needs a range of IPv6 addresses.
        ipv6: bool = or(Boolean, "false").such_as(&["true"]),
        /// Whether plans that would delete or replace its hosts, its launch template or its Elastic IPs are refused.
        protect: bool = protect::own(),
    }
    check(map, _around, findings) {
        let fits = match (instance_type, interfaces, addresses) {
            (Some(kind), Some(interfaces), Some(addresses)) => fits(map, kind, interfaces, addresses, findings),
            _ => None,
        };
        let public = public_addresses_fit(map, (public_ip, public_addresses), (interfaces, addresses), findings);
        has_load_interface(map, tracking, interfaces, findings).and(fits).and(public)
    }
}

struct InstanceTypeName;

impl Kind for InstanceTypeName {
    type Value = &'static InstanceType;

    fn read(&self, field: &Field, _: &Around, findings: &mut Findings) -> Option<&'static InstanceType> {
        let text = findings.text(field)?;
        let known = trunnion_catalog::instance_type(text);
        if known.is_none() {
            let help = match trunnion_catalog::nearest(text) {
                Some(nearest) => format!("did you mean `{nearest}`?"),
                None => "use an EC2 type that runs Linux, such as `c6in.32xlarge`".to_owned(),
            };
            let says = format!("is `{}`, which is not a known instance type", shown_text(text));
            findings.about(field, "stack::unknown_instance_type", says, help);
        }
        known
    }

    fn describe(&self) -> Described {
        Described {
            name: "text".to_owned(),
            bounds: vec!["a type that EC2 offers with Linux".to_owned()],
            forms: vec![json!({ "type": "string" })],
            ..Described::default()
        }
    }
}

/// The location of a pool's hosts, from one of two keys.
struct Place;

const SUBNET: Shaped = Shaped {
    form: &forms::SUBNET,
    otherwise: "not a valid subnet id",
    help: "write an id such as `subnet-0123456789abcdef0`, or name a `zone` instead",
};

impl Reader for Place {
    type Value = Placement;

    fn read(&self, _: &str, map: &Map, around: &Around, findings: &mut Findings) -> Option<Placement> {
        match (map.get("zone"), map.get("subnet")) {
            (Some(zone), None) => Zone.read(&zone, around, findings).map(Placement::Zone),
            (None, Some(subnet)) => SUBNET.read(&subnet, around, findings).map(Placement::Subnet),
            (Some(zone), Some(subnet)) => {
                let message = format!("{} has both a `zone` and a `subnet`", map.shown());
                findings.push(
                    Diagnostic::new("stack::either_or", Some(subnet.place), message)
                        .with_help("keep one of them: a subnet is in one zone anyway")
                        .with_also(zone.place, "the zone"),
                );
                None
            }
            (None, None) if ["zone", "subnet"].iter().any(|key| findings.is_mistyped(&path_below(&map.path, key))) => {
                None
            }
            (None, None) => {
                let message = format!("{} has no `zone` and no `subnet`", map.shown());
                let help = format!("say where its hosts are: `zone: {}a`", around.region.unwrap_or("eu-west-3"));
                findings.push(Diagnostic::new("stack::missing_key", Some(map.place.clone()), message).with_help(help));
                None
            }
        }
    }

    fn describe(&self, _: &'static str, _: &[&str]) -> Vec<Entry> {
        vec![
            Entry {
                name: "zone",
                about: "Availability zone of the hosts: they are put into the VPC's subnet in it. In a VPC with several subnets \
                        per zone, name a `subnet` instead."
                    .to_owned(),
                absent: Absent::Either("subnet"),
                examples: &["eu-west-3a"],
                kind: Zone.describe(),
            },
            Entry {
                name: "subnet",
                about: "Subnet of the hosts. AWS gives no public address to hosts with more than one interface: in a subnet whose default \
                        route is an internet gateway, they need `public_ip`."
                    .to_owned(),
                absent: Absent::Either("zone"),
                examples: &["subnet-0123456789abcdef0"],
                kind: shaped(&forms::SUBNET),
            },
        ]
    }
}

/// A zone of the stack's region.
pub(super) struct Zone;

impl Kind for Zone {
    type Value = String;

    fn read(&self, field: &Field, around: &Around, findings: &mut Findings) -> Option<String> {
        let text = findings.text(field)?;
        // If the region has a mistake, only that is reported.
        let region = around.region?;
        if forms::is_zone_of(text, region) {
            return Some(text.to_owned());
        }
        let says = format!("is `{}`, which is not a zone of {region}", shown_text(text));
        findings.about(
            field,
            "stack::zone",
            says,
            format!("write a zone of {region}, such as `{region}a`, or correct `region`"),
        );
        None
    }

    fn describe(&self) -> Described {
        Described {
            name: "text".to_owned(),
            bounds: vec!["a zone of the stack's region".to_owned()],
            forms: vec![json!({ "type": "string" })],
            ..Described::default()
        }
    }
}

fn fits(map: &Map, kind: &InstanceType, interfaces: u32, addresses: u32, findings: &mut Findings) -> Option<()> {
    let more = |addresses_or_interfaces: fn(&InstanceType) -> u32, most: u32| {
        let lower = format!("lower it to {most}");
        match kind.larger(interfaces, addresses) {
            Some(larger) => {
                let other = if larger.architecture == kind.architecture {
                    String::new()
                } else {
                    format!(" ({})", larger.architecture)
                };
                format!("{lower}, or use {}{other}, which allows {}", larger.name, addresses_or_interfaces(larger))
            }
            None => lower,
        }
    };
    if interfaces > kind.max_interfaces()
        && let Some(field) = map.get("interfaces")
    {
        let allowed = kind.interfaces_in_words();
        let says = format!("asks for {interfaces} network interfaces, but {} allows {allowed}", kind.name);
        let help = more(InstanceType::max_interfaces, kind.max_interfaces());
        findings.about(&field, "stack::interfaces", says, help);
    }
    if addresses > kind.ipv4_per_interface
        && let Some(field) = map.get("addresses")
    {
        let allowed = kind.ipv4_per_interface;
        let says = format!("asks for {addresses} IPv4 addresses per interface, but {} allows {allowed}", kind.name);
        findings.about(&field, "stack::addresses", says, more(|kind| kind.ipv4_per_interface, allowed));
    }
    kind.fits(interfaces, addresses).then_some(())
}

/// A number that a key has; 0 if it is absent or wrong.
fn number(map: &Map, key: &str, around: &Around) -> u32 {
    let read = |field| Integer(0..=u32::MAX).read(&field, around, &mut Findings::default());
    map.get(key).and_then(read).unwrap_or_default()
}

/// `public_ip` stands for the first of the public addresses, and each of them belongs to a private one.
fn public_addresses_fit(
    map: &Map,
    (public_ip, public_addresses): (Option<bool>, Option<u32>),
    (interfaces, addresses): (Option<u32>, Option<u32>),
    findings: &mut Findings,
) -> Option<()> {
    let (public_ip, public, interfaces, addresses) = (public_ip?, public_addresses?, interfaces?, addresses?);
    let (says, help) = if public_ip != (public > 0) {
        (
            format!("is {public}, but `public_ip` is {public_ip}, and it stands for the first of these addresses"),
            "keep one of the two keys".to_owned(),
        )
    } else if u64::from(public) > u64::from(interfaces) * u64::from(addresses) {
        let most = u64::from(interfaces) * u64::from(addresses);
        (
            format!(
                "asks for {public} public addresses, but a host has {most} private ones ({interfaces} × {addresses})"
            ),
            format!("lower it to {most}, or raise `interfaces` or `addresses`"),
        )
    } else {
        return Some(());
    };
    let field = map.get("public_addresses").or_else(|| map.get("public_ip"))?;
    findings.about(&field, "stack::public_addresses", says, help);
    None
}

/// An untracked pool needs at least one load interface.
fn has_load_interface(
    map: &Map,
    tracking: Option<Tracking>,
    interfaces: Option<u32>,
    findings: &mut Findings,
) -> Option<()> {
    if let (Some(Tracking::Untracked), Some(1), Some(field)) = (tracking, interfaces, map.get("tracking")) {
        let says =
            "is `untracked`, but a host with one interface has no load interface: the primary one is always tracked";
        findings.about(&field, "stack::interfaces", says, "raise `interfaces`, or remove `tracking`");
        return None;
    }
    Some(())
}
