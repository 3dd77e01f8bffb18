//! The settings with which a simulation spreads its connections itself, for `generator.spread: simulation`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    net::IpAddr,
};

use serde::Serialize;

/// The system property from which a simulation can read the pattern.
const PROPERTY: &str = "trunnion.local-addresses";

/// The settings with which a simulation spreads its connections itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Simulation {
    /// A pattern that matches the load addresses in Java's notation, and nothing else.
    pub(crate) pattern: String,
    /// The argument of Java that passes the pattern to a simulation.
    pub(crate) system_property: String,
}

impl Simulation {
    pub(crate) fn new(addresses: &[IpAddr]) -> Self {
        let texts: BTreeSet<Vec<String>> = addresses.iter().map(|&address| java(address)).collect();
        let (ipv4, ipv6): (BTreeSet<&[String]>, _) =
            texts.iter().map(Vec::as_slice).partition(|parts| parts.len() == 4);
        let families = [(ipv4, r"\."), (ipv6, ":")].into_iter().filter(|(addresses, _)| !addresses.is_empty());
        let families = families.map(|(addresses, separator)| of_addresses(&addresses, separator)).collect();
        let pattern = format!("^{}$", one_of(families));
        let system_property = format!("-D{PROPERTY}={pattern}");
        Self { pattern, system_property }
    }

    /// The two ways to use it: in the simulation's source, and as an argument of Java.
    pub(crate) fn lines(&self) -> String {
        let Self { pattern, system_property } = self;
        let quoted = pattern.replace('\\', "\\\\");
        format!("useAllLocalAddressesMatching(\"{quoted}\")\n{system_property}")
    }
}

/// The parts of an address in the notation of `InetAddress.getHostAddress`: for IPv6 all eight groups, without leading zeros.
fn java(address: IpAddr) -> Vec<String> {
    match address {
        IpAddr::V4(address) => address.octets().iter().map(ToString::to_string).collect(),
        IpAddr::V6(address) => address.segments().iter().map(|group| format!("{group:x}")).collect(),
    }
}

/// A pattern that matches these addresses and nothing else. Common beginnings and common endings of addresses occur once in it.
fn of_addresses(addresses: &BTreeSet<&[String]>, separator: &str) -> String {
    let choices = choices(addresses, |rest| of_addresses(rest, separator));
    one_of(
        choices
            .into_iter()
            .map(|(rest, parts)| {
                let texts: Vec<Vec<char>> = parts.iter().map(|part| part.chars().collect()).collect();
                let part = of_texts(&texts.iter().map(Vec::as_slice).collect());
                if rest.is_empty() { part } else { part + separator + &rest }
            })
            .collect(),
    )
}

/// The same for texts without a separator.
fn of_texts(texts: &BTreeSet<&[char]>) -> String {
    let choices = choices(texts, of_texts);
    let is_one_character = matches!(&choices[..], [(rest, _)] if rest.is_empty());
    let is_group = choices.len() > 1;
    let pattern = one_of(choices.into_iter().map(|(rest, firsts)| class(&firsts) + &rest).collect());
    match texts.contains([].as_slice()) {
        may_end if !may_end || pattern.is_empty() => pattern,
        _ if is_one_character || is_group => pattern + "?",
        _ => format!("(?:{pattern})?"),
    }
}

/// The first elements of the sequences, grouped by the pattern of the rest.
fn choices<T: Ord + Clone>(
    sequences: &BTreeSet<&[T]>,
    pattern: impl Fn(&BTreeSet<&[T]>) -> String,
) -> Vec<(String, Vec<T>)> {
    let mut rests: BTreeMap<&T, BTreeSet<&[T]>> = BTreeMap::new();
    for (first, rest) in sequences.iter().filter_map(|sequence| sequence.split_first()) {
        rests.entry(first).or_default().insert(rest);
    }
    let mut choices: Vec<(String, Vec<T>)> = Vec::new();
    for (first, rest) in rests {
        let rest = pattern(&rest);
        match choices.iter_mut().find(|(other, _)| *other == rest) {
            Some((_, firsts)) => firsts.push(first.clone()),
            None => choices.push((rest, vec![first.clone()])),
        }
    }
    choices
}

fn one_of(mut choices: Vec<String>) -> String {
    if choices.len() < 2 { choices.pop().unwrap_or_default() } else { format!("(?:{})", choices.join("|")) }
}

/// A pattern for one of these characters, which are sorted and distinct.
fn class(characters: &[char]) -> String {
    if let [one] = characters {
        return one.to_string();
    }
    let mut class = String::from("[");
    for run in characters.chunk_by(|&one, &next| u32::from(one) + 1 == u32::from(next)) {
        let written = match run {
            [first, _, .., last] => write!(class, "{first}-{last}"),
            few => few.iter().try_for_each(|one| write!(class, "{one}")),
        };
        debug_assert!(written.is_ok(), "writing to a String cannot fail");
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
        assert_eq!(of(&["10.0.1.1", "10.0.1.10", "10.0.1.2"]), r"^10\.0\.1\.(?:10?|2)$");
        assert_eq!(of(&["10.0.0.10", "10.0.16.10"]), r"^10\.0\.(?:0|16)\.10$");
        assert_eq!(of(&["10.0.0.1", "2001:db8::1"]), r"^(?:10\.0\.0\.1|2001:db8:0:0:0:0:0:1)$");
        let prefix: Vec<String> = (16..32).map(|last| format!("10.0.1.{last}")).collect();
        let prefix: Vec<&str> = prefix.iter().map(String::as_str).collect();
        assert_eq!(of(&prefix), r"^10\.0\.1\.(?:1[6-9]|2[0-9]|3[01])$");
        assert_eq!(of(&["2001:db8::1", "2001:db8::2"]), "^2001:db8:0:0:0:0:0:[12]$");
    }

    #[test]
    fn a_common_ending_occurs_once() {
        let addresses: Vec<String> =
            (1..=8).flat_map(|subnet| (10..60).map(move |last| format!("10.0.{subnet}.{last}"))).collect();
        let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
        assert_eq!(of(&addresses), r"^10\.0\.[1-8]\.[1-5][0-9]$");
    }

    #[test]
    fn without_addresses_only_the_empty_text_matches() {
        assert_eq!(of(&[]), "^$");
    }

    #[test]
    fn it_is_printed_as_java_source_and_as_an_argument() {
        let simulation = Simulation::new(&["10.0.1.7".parse().unwrap()]);
        insta::assert_snapshot!(simulation.lines(), @r#"
        useAllLocalAddressesMatching("^10\\.0\\.1\\.7$")
        -Dtrunnion.local-addresses=^10\.0\.1\.7$
        "#);
    }
}
