//! Private IPv4 addresses: CIDR blocks, compact lists, and the free addresses of a subnet.

use std::{
    fmt::{self, Display},
    net::Ipv4Addr,
    str::FromStr,
};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// A CIDR block such as `172.31.0.0/16`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cidr {
    base: u32,
    prefix: u8,
}

impl Cidr {
    /// How many bits are fixed.
    pub(super) fn prefix(self) -> u8 {
        self.prefix
    }

    /// How many addresses it has.
    pub(super) fn size(self) -> usize {
        1 << (32 - self.prefix)
    }

    /// The address with this index in the block.
    pub(super) fn nth(self, place: usize) -> Ipv4Addr {
        Ipv4Addr::from(self.base.wrapping_add(u32::try_from(place).unwrap_or(u32::MAX)))
    }

    /// The index of this address in the block, if it is inside.
    pub(super) fn place(self, address: Ipv4Addr) -> Option<usize> {
        let place = usize::try_from(u32::from(address).checked_sub(self.base)?).ok()?;
        (place < self.size()).then_some(place)
    }

    /// Whether `other` is completely inside.
    pub(super) fn contains(self, other: Cidr) -> bool {
        other.prefix >= self.prefix && self.place(other.nth(0)).is_some()
    }

    /// Whether the two share an address.
    pub(super) fn overlaps(self, other: Cidr) -> bool {
        self.contains(other) || other.contains(self)
    }
}

impl FromStr for Cidr {
    type Err = ();

    /// Clears the bits after the prefix, as AWS does.
    fn from_str(text: &str) -> Result<Self, ()> {
        let (base, prefix) = text.split_once('/').ok_or(())?;
        let (base, prefix): (Ipv4Addr, u8) = (base.parse().map_err(|_| ())?, prefix.parse().map_err(|_| ())?);
        let mask = match prefix {
            0 => 0,
            1..=32 => u32::MAX << (32 - prefix),
            _ => return Err(()),
        };
        Ok(Self { base: u32::from(base) & mask, prefix })
    }
}

impl Display for Cidr {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", Ipv4Addr::from(self.base), self.prefix)
    }
}

impl Serialize for Cidr {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Cidr {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(|()| D::Error::custom("not a block of addresses"))
    }
}

/// Addresses in the given order; serialised as runs, such as `10.0.0.4+28,10.0.1.9+0`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Addresses(pub(super) Vec<Ipv4Addr>);

impl Serialize for Addresses {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut runs: Vec<(u32, u32)> = Vec::new();
        for address in self.0.iter().copied().map(u32::from) {
            match runs.last_mut() {
                Some((start, more)) if start.checked_add(*more + 1) == Some(address) => *more += 1,
                _ => runs.push((address, 0)),
            }
        }
        let runs: Vec<String> = runs.iter().map(|(start, more)| format!("{}+{more}", Ipv4Addr::from(*start))).collect();
        serializer.serialize_str(&runs.join(","))
    }
}

impl<'de> Deserialize<'de> for Addresses {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let mut addresses = Vec::new();
        for run in text.split(',').filter(|run| !run.is_empty()) {
            let parsed = run.split_once('+').and_then(|(start, more)| {
                let (start, more): (Ipv4Addr, u32) = (start.parse().ok()?, more.parse().ok()?);
                let start = u32::from(start);
                Some(start..=start.checked_add(more)?)
            });
            let range = parsed.ok_or_else(|| D::Error::custom("not a run of addresses"))?;
            addresses.extend(range.map(Ipv4Addr::from));
        }
        Ok(Self(addresses))
    }
}

/// How many addresses a /28 prefix has.
pub(super) const PREFIX_SIZE: usize = 16;

/// The used addresses of a subnet.
#[derive(Debug)]
pub(super) struct Plan {
    cidr: Cidr,
    taken: Vec<bool>,
    free: usize,
    /// All addresses before this index are used.
    from: usize,
}

impl Plan {
    /// A subnet without interfaces: AWS reserves the first four addresses and the last one.
    pub(super) fn new(cidr: Cidr) -> Self {
        let size = cidr.size();
        let mut plan = Self { cidr, taken: vec![false; size], free: size, from: 0 };
        for place in (0..4).chain([size - 1]) {
            plan.take_place(place);
        }
        plan
    }

    /// How many addresses are free.
    pub(super) fn free(&self) -> usize {
        self.free
    }

    /// Takes this address; `false` if it is used already or belongs to another subnet.
    pub(super) fn take(&mut self, address: Ipv4Addr) -> bool {
        self.cidr.place(address).is_some_and(|place| self.take_place(place))
    }

    /// Takes the /28 prefix that starts with this address.
    pub(super) fn take_prefix(&mut self, start: Ipv4Addr) -> bool {
        let Some(place) = self.cidr.place(start) else { return false };
        let taken = (place..place + PREFIX_SIZE).filter(|place| self.take_place(*place)).count();
        taken == PREFIX_SIZE
    }

    /// Takes the lowest free address.
    pub(super) fn next(&mut self) -> Option<Ipv4Addr> {
        while *self.taken.get(self.from)? {
            self.from += 1;
        }
        let place = self.from;
        self.take_place(place);
        Some(self.cidr.nth(place))
    }

    /// Takes the highest free /28 prefix, because single addresses are taken from the low end. Returns its first
    /// address.
    pub(super) fn next_prefix(&mut self) -> Option<Ipv4Addr> {
        let place = (0..self.cidr.size() / PREFIX_SIZE).rev().map(|block| block * PREFIX_SIZE).find(|place| {
            self.taken.get(*place..place + PREFIX_SIZE).is_some_and(|block| block.iter().all(|taken| !taken))
        })?;
        let start = self.cidr.nth(place);
        self.take_prefix(start);
        Some(start)
    }

    fn take_place(&mut self, place: usize) -> bool {
        match self.taken.get_mut(place) {
            Some(taken) if !*taken => {
                *taken = true;
                self.free -= 1;
                true
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Addresses, Cidr, Plan};

    #[test]
    fn aws_reserves_five_addresses_of_a_subnet() {
        let mut plan = Plan::new("10.0.0.0/28".parse::<Cidr>().unwrap());
        assert_eq!(plan.free(), 11);
        assert_eq!(plan.next().map(|address| address.to_string()), Some("10.0.0.4".into()));
        assert!(!plan.take("10.0.0.4".parse().unwrap()));
        assert!(!plan.take("10.0.0.15".parse().unwrap()));
        assert_eq!(plan.free(), 10);
    }

    #[test]
    fn a_prefix_takes_sixteen_unused_addresses() {
        let mut plan = Plan::new("10.0.0.0/26".parse::<Cidr>().unwrap());
        assert_eq!(plan.next_prefix().map(|start| start.to_string()), Some("10.0.0.32".into()));
        assert_eq!(plan.free(), 64 - 5 - 16);
    }

    #[test]
    fn addresses_are_serialised_as_runs() {
        let addresses: Vec<_> = ["10.0.0.4", "10.0.0.5", "10.0.0.9"].iter().map(|text| text.parse().unwrap()).collect();
        let addresses = Addresses(addresses);
        let text = serde_json::to_string(&addresses).unwrap();
        assert_eq!(text, "\"10.0.0.4+1,10.0.0.9+0\"");
        assert_eq!(serde_json::from_str::<Addresses>(&text).unwrap(), addresses);
    }
}
