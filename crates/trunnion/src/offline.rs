//! Compares a stack with its base from files alone: the base counts as applied, and no call is made.
//!
//! What only AWS knows, such as the ID of a subnet, is a placeholder: `<subnet.a.id>`.

use std::collections::{BTreeMap, BTreeSet};

use trunnion_blueprint::{self as blueprint, Binaries};
use trunnion_engine::{
    Address, Computed, Context, Graph, Map, Observed, Provider, ProviderError, Reference, Remote, Resolved, RuleBook,
    State, Token, Value,
};
use trunnion_stack::Stack;

use crate::Error;

/// An account in which a stack is applied as its files ask for it, and whose lookups all exist.
#[derive(Debug, Default)]
pub(crate) struct Offline {
    remotes: BTreeMap<Address, Vec<Remote>>,
}

impl Offline {
    /// The account in which the base is applied; without a base, an empty one.
    pub(crate) fn new(base: Option<&Stack>) -> Result<Self, Error> {
        let Some(base) = base else { return Ok(Self::default()) };
        let rules = &trunnion_kinds::rule_book();
        let graph = blueprint::blueprint(base, &Binaries::of(base)).map_err(|error| Error::blueprint(base, error))?;
        let asked_for = references(&graph);
        let known = |reference: &Reference| Some(known(&graph, rules, reference));
        let remote = |address: &Address, attributes: &Map| {
            let mut seen: Map = attributes.iter().map(|(name, value)| (name.clone(), value.resolve(&known))).collect();
            let computed = asked_for.get(address).into_iter().flatten();
            for attribute in computed {
                let (name, at) = element(attribute);
                let value = known(&Reference { address: address.clone(), attribute: attribute.clone() });
                match (at, seen.get_mut(name)) {
                    (None, None) => seen.extend(value.map(|value| (name.to_owned(), value))),
                    (Some(at), None) => {
                        let each = |at| placeholder(address, &format!("{name}[{at}]"));
                        drop(seen.insert(name.to_owned(), Value::List((0..=at).map(each).collect())));
                    }
                    (Some(at), Some(Value::List(list))) => {
                        let more = list.len()..=at;
                        list.extend(more.map(|at| placeholder(address, &format!("{name}[{at}]"))));
                    }
                    _ => {}
                }
            }
            Remote::new(format!("<{address}>"), seen)
        };
        let remotes = graph.resources().iter();
        let remotes = remotes.map(|(address, one)| (address.clone(), vec![remote(address, &one.attributes)]));
        Ok(Self { remotes: remotes.collect() })
    }
}

/// What resources and lookups are asked for by others, by their address.
fn references(graph: &Graph) -> BTreeMap<Address, BTreeSet<String>> {
    let mut found: BTreeMap<Address, BTreeSet<String>> = BTreeMap::new();
    let mut add = |reference: &Reference| {
        found.entry(reference.address.clone()).or_default().insert(reference.attribute.clone());
    };
    let values = graph.resources().values().flat_map(|resource| resource.attributes.values());
    values.chain(graph.lookups().values().flat_map(|lookup| lookup.query.values())).for_each(|value| {
        value.visit_references(&mut add);
    });
    found
}

/// What a reference stands for once the graph is applied.
fn known(graph: &Graph, rules: &RuleBook, reference: &Reference) -> Value {
    let Reference { address, attribute } = reference;
    let of = |name: &str| {
        let value = graph.resources().get(address)?.attributes.get(name)?;
        Some(value.resolve(&|reference| Some(known(graph, rules, reference))))
    };
    let computed = rules.get(&address.kind).and_then(|rules| rules.computed(attribute));
    let value = match computed {
        Some(Computed::DigestOf(name)) => of(name).map(|value| value.digest().into()),
        Some(_) => None,
        None => of(attribute),
    };
    value.unwrap_or_else(|| placeholder(address, attribute))
}

fn placeholder(address: &Address, attribute: &str) -> Value {
    format!("<{address}.{attribute}>").into()
}

/// The name of an attribute, and which element of it is meant: `private_ips[2]`.
fn element(attribute: &str) -> (&str, Option<usize>) {
    let split = attribute.strip_suffix(']').and_then(|attribute| attribute.split_once('['));
    split.and_then(|(name, at)| Some((name, Some(at.parse().ok()?)))).unwrap_or((attribute, None))
}

/// Only plans to look at are made from files.
fn no_call() -> ProviderError {
    ProviderError::new("a comparison of files makes no call", None)
}

impl Provider for Offline {
    async fn observe(&self, desired: &Graph, _: &State, _: &Context) -> Result<Observed, ProviderError> {
        let asked_for = references(desired);
        let lookup = |address: &Address| {
            let asked_for = asked_for.get(address).into_iter().flatten();
            let found = asked_for.map(|attribute| (attribute.clone(), placeholder(address, attribute)));
            (address.clone(), found.collect::<Map>())
        };
        let lookups = desired.lookups().keys().map(lookup).collect();
        Ok(Observed { remotes: self.remotes.clone(), lookups, ..Observed::default() })
    }

    async fn create(&self, _: &Resolved, _: &Token, _: &Context) -> Result<Remote, ProviderError> {
        Err(no_call())
    }

    async fn update(&self, _: &Remote, _: &Resolved, _: &[String], _: &Context) -> Result<Remote, ProviderError> {
        Err(no_call())
    }

    async fn delete(&self, _: &Address, _: &Remote, _: &Context) -> Result<(), ProviderError> {
        Err(no_call())
    }
}
