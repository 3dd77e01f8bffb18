//! The pools: instance type, place, image, interfaces and addresses.

use std::{collections::BTreeMap, ops::RangeInclusive};

use trunnion_catalog::InstanceType;

use super::{Field, Map};
use crate::{
    diagnostic::{Diagnostic, Findings},
    model::{Image, Market, Placement, Pool, Tracking},
    shape::nearest,
    sources::shown_text,
    tree::Value,
    words,
};

/// Pools of a stack: more than anybody reads in a plan.
const MOST: usize = 100;
/// Hosts of a pool: none (the pool rests) to more than any account has.
pub(crate) const COUNT: RangeInclusive<u32> = 0..=1000;
/// Bounds of gp3 volumes, and of the image below.
pub(crate) const VOLUME_GIB: RangeInclusive<u32> = 8..=16384;

/// The pools that are right, and which are written at all.
pub(crate) struct Pools<'t> {
    valid: BTreeMap<String, Pool>,
    written: Vec<&'t str>,
    whole: bool,
}

impl<'t> Pools<'t> {
    /// Those without a mistake.
    pub(crate) fn valid(&self) -> &BTreeMap<String, Pool> {
        &self.valid
    }

    /// Whether a pool of this name is written, right or wrong.
    pub(crate) fn is_written(&self, name: &str) -> bool {
        self.written.contains(&name)
    }

    /// The pool that was probably meant.
    pub(crate) fn nearest(&self, name: &str) -> Option<&'t str> {
        nearest(name, self.written.iter().copied())
    }

    /// The names of all that are written.
    pub(crate) fn names(&self) -> &[&'t str] {
        &self.written
    }

    /// All of them, if each is right.
    pub(crate) fn all(self) -> Option<BTreeMap<String, Pool>> {
        self.whole.then_some(self.valid)
    }
}

pub(crate) fn read<'t>(top: &Map<'t>, region: Option<&str>, findings: &mut Findings) -> Pools<'t> {
    let mut pools = Pools { valid: BTreeMap::new(), written: Vec::new(), whole: false };
    let Some(field) = findings.required(top, "pools", "{ heavy: { instance_type: c6in.32xlarge, zone: eu-west-3a } }")
    else {
        return pools;
    };
    let Some(map) = findings.map(&field) else { return pools };
    if map.entries.is_empty() {
        let help = "name one: `heavy: { instance_type: c6in.32xlarge, zone: eu-west-3a }`";
        findings.about(&field, "stack::missing_key", "holds no pool", help);
        return pools;
    }
    if map.entries.len() > MOST {
        let says = format!("holds {} pools, but {MOST} fit", map.entries.len());
        findings.about(&field, "stack::out_of_range", says, "split the stack: each one is planned as a whole");
        return pools;
    }
    pools.whole = true;
    for (name, field) in map.fields() {
        pools.written.push(name);
        match pool(name, &field, region, findings) {
            Some(pool) => {
                pools.valid.insert(name.to_owned(), pool);
            }
            None => pools.whole = false,
        }
    }
    pools
}

fn pool(name: &str, field: &Field, region: Option<&str>, findings: &mut Findings) -> Option<Pool> {
    let is_name = words::is_name(name, 20);
    if !is_name {
        let help = "take 1 to 20 lower-case letters, digits and hyphens, a letter first";
        findings.about(field, "stack::malformed", "is no name for a pool", help);
    }
    let map = findings.map(field)?;
    let instance_type =
        findings.required(&map, "instance_type", "c6in.32xlarge").and_then(|field| instance_type(&field, findings));
    let interfaces = at_least_one(&map, "interfaces", findings);
    let addresses = at_least_one(&map, "addresses", findings);
    let fits = match (instance_type, interfaces, addresses) {
        (Some(kind), Some(interfaces), Some(addresses)) => fits(&map, kind, interfaces, addresses, findings),
        _ => None,
    };
    let count = findings.integer_or(&map, "count", 1, &COUNT);
    let placement = placement(&map, region, findings);
    let image = image(&map, findings);
    let volume_gib = findings.integer_or(&map, "volume_gib", 30, &VOLUME_GIB);
    let market = findings.choice_or_first(&map, "market", &[("on-demand", Market::OnDemand), ("spot", Market::Spot)]);
    let tracking = tracking(&map, interfaces, findings);
    let public_ip = findings.boolean_or(&map, "public_ip", false);
    fits?;
    is_name.then_some(Pool {
        instance_type: instance_type?,
        count: count?,
        placement: placement?,
        image: image?,
        interfaces: interfaces?,
        addresses: addresses?,
        volume_gib: volume_gib?,
        market: market?,
        tracking: tracking?,
        public_ip: public_ip?,
    })
}

fn instance_type(field: &Field, findings: &mut Findings) -> Option<&'static InstanceType> {
    let text = findings.text(field)?;
    let known = trunnion_catalog::instance_type(text);
    if known.is_none() {
        let help = match trunnion_catalog::nearest(text) {
            Some(nearest) => format!("did you mean `{nearest}`?"),
            None => "take a Linux type that EC2 has, such as `c6in.32xlarge`".to_owned(),
        };
        let says = format!("is `{}`, which is no known instance type", shown_text(text));
        findings.about(field, "stack::unknown_instance_type", says, help);
    }
    known
}

fn at_least_one(map: &Map, key: &str, findings: &mut Findings) -> Option<u32> {
    // The upper bound is the instance type's, which says more than a number.
    findings.integer_or(map, key, 1, &(1..=u32::MAX))
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
                format!("{lower}, or take {}{other}, which takes {}", larger.name, addresses_or_interfaces(larger))
            }
            None => lower,
        }
    };
    if interfaces > kind.max_interfaces()
        && let Some(field) = map.get("interfaces")
    {
        let takes = kind.interfaces_in_words();
        let says = format!("asks for {interfaces} network interfaces, but {} takes {takes}", kind.name);
        let help = more(InstanceType::max_interfaces, kind.max_interfaces());
        findings.about(&field, "stack::interfaces", says, help);
    }
    if addresses > kind.ipv4_per_interface
        && let Some(field) = map.get("addresses")
    {
        let takes = kind.ipv4_per_interface;
        let says = format!("asks for {addresses} IPv4 addresses per interface, but {} takes {takes}", kind.name);
        findings.about(&field, "stack::addresses", says, more(|kind| kind.ipv4_per_interface, takes));
    }
    kind.fits(interfaces, addresses).then_some(())
}

/// Whether AWS tracks the connections of the load interfaces.
fn tracking(map: &Map, interfaces: Option<u32>, findings: &mut Findings) -> Option<Tracking> {
    let words = [("tracked", Tracking::Tracked), ("untracked", Tracking::Untracked)];
    let tracking = findings.choice_or_first(map, "tracking", &words)?;
    if tracking == Tracking::Untracked
        && interfaces == Some(1)
        && let Some(field) = map.get("tracking")
    {
        let says = "is `untracked`, but a host with one interface has none for load: the primary one stays closed";
        findings.about(&field, "stack::interfaces", says, "raise `interfaces`, or leave `tracking` out");
        return None;
    }
    Some(tracking)
}

fn placement(map: &Map, region: Option<&str>, findings: &mut Findings) -> Option<Placement> {
    match (map.get("zone"), map.get("subnet")) {
        (Some(zone), None) => self::zone(&zone, region, findings).map(|zone| Placement::Zone(zone.to_owned())),
        (None, Some(subnet)) => {
            let text = findings.text(&subnet)?;
            if !words::is_id(text, "subnet") {
                let says = format!("is `{}`, which is no subnet's id", shown_text(text));
                let help = "write an id such as `subnet-0123456789abcdef0`, or name a `zone` instead";
                findings.about(&subnet, "stack::malformed", says, help);
                return None;
            }
            Some(Placement::Subnet(text.to_owned()))
        }
        (Some(zone), Some(subnet)) => {
            let message = format!("{} has both a `zone` and a `subnet`", map.shown());
            findings.push(
                Diagnostic::new("stack::either_or", Some(subnet.place), message)
                    .with_help("keep one of them: a subnet lies in one zone anyway")
                    .with_also(zone.place, "the zone"),
            );
            None
        }
        (None, None) if ["zone", "subnet"].iter().any(|key| findings.is_mistyped(&format!("{}.{key}", map.path))) => {
            None
        }
        (None, None) => {
            let message = format!("{} has neither a `zone` nor a `subnet`", map.shown());
            let help = format!("say where its hosts stand: `zone: {}a`", region.unwrap_or("eu-west-3"));
            findings.push(Diagnostic::new("stack::missing_key", Some(map.place.clone()), message).with_help(help));
            None
        }
    }
}

/// A zone of the stack's region.
pub(crate) fn zone<'t>(field: &Field<'t>, region: Option<&str>, findings: &mut Findings) -> Option<&'t str> {
    let text = findings.text(field)?;
    // With the region itself wrong, its mistake is the one to tell.
    let region = region?;
    if words::is_zone_of(text, region) {
        return Some(text);
    }
    let says = format!("is `{}`, which is no zone of {region}", shown_text(text));
    findings.about(field, "stack::zone", says, format!("write one such as `{region}a`"));
    None
}

fn image(map: &Map, findings: &mut Findings) -> Option<Image> {
    const HELP: &str = "write `al2023`, an id such as `ami-0123456789abcdef0`, or `{ ssm: /path/of/a/parameter }`";
    let Some(field) = map.get("image") else { return Some(Image::AmazonLinux2023) };
    if let Value::Map(_) = &field.node.value {
        let map = findings.map(&field)?;
        let mut unknown = map.fields().filter(|(key, _)| *key != "ssm").peekable();
        if unknown.peek().is_some() || map.entries.is_empty() {
            findings.about(&field, "stack::wrong_type", "is a map, but not one with the key `ssm` alone", HELP);
            return None;
        }
        let parameter = map.get("ssm")?;
        let text = findings.text(&parameter)?;
        if !words::is_parameter(text) {
            let says = format!("is `{}`, which is no path of an SSM parameter", shown_text(text));
            let help = "begin it with a slash: letters, digits and `_ . -` between single slashes";
            findings.about(&parameter, "stack::malformed", says, help);
            return None;
        }
        return Some(Image::Parameter(text.to_owned()));
    }
    match findings.text(&field)? {
        "al2023" => Some(Image::AmazonLinux2023),
        id if words::is_id(id, "ami") => Some(Image::Id(id.to_owned())),
        other => {
            let says = format!("is `{}`, which is no image", shown_text(other));
            findings.about(&field, "stack::malformed", says, HELP);
            None
        }
    }
}
