//! What a simulation says to spread its connections by itself, where the kernel shall not.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    net::IpAddr,
};

use serde::Serialize;

/// The system property from which a simulation can read the pattern.
const PROPERTY: &str = "trunnion.local-addresses";

/// What a simulation says to spread its connections by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Simulation {
    /// Matches the load addresses and nothing else, as Java writes addresses.
    pub(crate) pattern: String,
    /// The argument of Java that gives the pattern to a simulation.
    pub(crate) system_property: String,
}

impl Simulation {
    pub(crate) fn new(addresses: &[IpAddr]) -> Self {
        let texts: BTreeSet<Vec<char>> = addresses.iter().map(|&address| java(address).chars().collect()).collect();
        let tails: BTreeSet<&[char]> = texts.iter().map(Vec::as_slice).collect();
        let pattern = format!("^{}$", pattern(&tails));
        let system_property = format!("-D{PROPERTY}={pattern}");
        Self { pattern, system_property }
    }

    /// The two ways to use it, for people.
    pub(crate) fn lines(&self) -> String {
        let Self { pattern, system_property } = self;
        let quoted = pattern.replace('\\', "\\\\");
        format!("useAllLocalAddressesMatching(\"{quoted}\")\n{system_property}")
    }
}

/// An address as `InetAddress.getHostAddress` writes it: of IPv6 all eight groups, without leading zeros.
fn java(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => address.segments().map(|group| format!("{group:x}")).join(":"),
    }
}

/// A pattern that matches these texts and nothing else. Texts that begin alike share their beginning, and beginnings that
/// go on alike share what follows.
fn pattern(texts: &BTreeSet<&[char]>) -> String {
    let mut tails: BTreeMap<char, BTreeSet<&[char]>> = BTreeMap::new();
    for (first, tail) in texts.iter().filter_map(|text| text.split_first()) {
        tails.entry(*first).or_default().insert(tail);
    }
    let mut beginnings: Vec<(String, Vec<char>)> = Vec::new();
    for (first, tails) in tails {
        let rest = pattern(&tails);
        match beginnings.iter_mut().find(|(other, _)| *other == rest) {
            Some((_, firsts)) => firsts.push(first),
            None => beginnings.push((rest, vec![first])),
        }
    }
    let mut choices: Vec<String> = beginnings.iter().map(|(rest, firsts)| class(firsts) + rest).collect();
    let may_end = texts.contains([].as_slice());
    match (choices.len(), may_end) {
        (0, _) => String::new(),
        (1, false) => choices.remove(0),
        (_, false) => format!("(?:{})", choices.join("|")),
        (_, true) => format!("(?:{})?", choices.join("|")),
    }
}

/// One of these characters, which are in order and differ.
fn class(characters: &[char]) -> String {
    if let [one] = characters {
        return if *one == '.' { "\\.".to_owned() } else { one.to_string() };
    }
    let mut class = String::from("[");
    for run in characters.chunk_by(|&one, &next| u32::from(one) + 1 == u32::from(next)) {
        let written = match run {
            [first, _, .., last] => write!(class, "{first}-{last}"),
            few => few.iter().try_for_each(|one| write!(class, "{one}")),
        };
        debug_assert!(written.is_ok(), "a String takes everything");
    }
    class + "]"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(texts: &[&str]) -> String {
        let addresses: Vec<IpAddr> = texts.iter().map(|text| text.parse().unwrap()).collect();
        Simulation::new(&addresses).pattern
    }

    #[test]
    fn patterns_are_short_and_anchored() {
        assert_eq!(of(&["10.0.1.7"]), r"^10\.0\.1\.7$");
        assert_eq!(of(&["10.0.1.7", "10.0.1.9"]), r"^10\.0\.1\.[79]$");
        assert_eq!(of(&["10.0.1.1", "10.0.1.10", "10.0.1.2"]), r"^10\.0\.1\.(?:1(?:0)?|2)$");
        let prefix: Vec<String> = (16..32).map(|last| format!("10.0.1.{last}")).collect();
        let prefix: Vec<&str> = prefix.iter().map(String::as_str).collect();
        assert_eq!(of(&prefix), r"^10\.0\.1\.(?:1[6-9]|2[0-9]|3[01])$");
        assert_eq!(of(&["2001:db8::1", "2001:db8::2"]), "^2001:db8:0:0:0:0:0:[12]$");
    }

    #[test]
    fn interfaces_whose_addresses_end_alike_share_the_ending() {
        let addresses: Vec<String> =
            (1..=8).flat_map(|subnet| (10..60).map(move |last| format!("10.0.{subnet}.{last}"))).collect();
        let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
        assert_eq!(of(&addresses), r"^10\.0\.[1-8]\.[1-5][0-9]$");
    }

    #[test]
    fn no_address_is_matched_by_nothing_but_the_empty_text() {
        assert_eq!(of(&[]), "^$");
    }

    #[test]
    fn people_get_it_as_java_source_and_as_an_argument() {
        let simulation = Simulation::new(&["10.0.1.7".parse().unwrap()]);
        insta::assert_snapshot!(simulation.lines(), @r#"
        useAllLocalAddressesMatching("^10\\.0\\.1\\.7$")
        -Dtrunnion.local-addresses=^10\.0\.1\.7$
        "#);
    }
}
