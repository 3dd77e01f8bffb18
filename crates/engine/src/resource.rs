//! What a stack asks for: resources to manage, lookups to read, and the graph they form.

use std::collections::{BTreeMap, BTreeSet};

use petgraph::{algo::tarjan_scc, graphmap::DiGraphMap};
use serde::Serialize;

use crate::{Address, KindName, Map, RuleBook, Value, order::in_order, value::digest};

/// One thing in AWS that the stack manages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Resource {
    /// Its place in the stack.
    pub address: Address,
    /// Its attributes as the stack asks for them. They may hold references.
    pub attributes: Map,
    /// What must exist first, beside what the attributes refer to.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub after: BTreeSet<Address>,
}

impl Resource {
    /// A resource that depends on nothing but what its attributes refer to.
    pub fn new(address: Address, attributes: Map) -> Self {
        Self { address, attributes, after: BTreeSet::new() }
    }

    /// The same, only once these are there.
    #[must_use]
    pub fn after(mut self, addresses: impl IntoIterator<Item = Address>) -> Self {
        self.after.extend(addresses);
        self
    }

    /// The resource's kind.
    pub fn kind(&self) -> &KindName {
        &self.address.kind
    }

    /// Everything this resource needs first.
    pub fn dependencies(&self) -> BTreeSet<&Address> {
        let mut found: BTreeSet<&Address> = self.after.iter().collect();
        for value in self.attributes.values() {
            value.visit_references(&mut |reference| {
                found.insert(&reference.address);
            });
        }
        found
    }
}

/// One thing in AWS that the stack only looks at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Lookup {
    /// Its place in the stack. Resources refer to its attributes.
    pub address: Address,
    /// What finds it. It may refer to other lookups.
    pub query: Map,
}

/// Everything one stack asks for, free of cycles and of references to nowhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Graph {
    stack: String,
    resources: BTreeMap<Address, Resource>,
    lookups: BTreeMap<Address, Lookup>,
    /// The phases before the last one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    phases: Vec<BTreeMap<Address, Resource>>,
}

/// A graph as it is digested: names in alphabetical order on every level.
#[derive(Serialize)]
struct Compared<'a> {
    lookups: BTreeMap<String, &'a Lookup>,
    resources: BTreeMap<String, ComparedResource<'a>>,
    stack: &'a str,
}

#[derive(Serialize)]
struct ComparedResource<'a> {
    address: &'a Address,
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    after: &'a BTreeSet<Address>,
    attributes: BTreeMap<&'a String, &'a Value>,
}

/// Resources that cannot form a graph.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GraphError {
    /// Two resources or lookups have the same address.
    #[error("`{0}` is there twice")]
    Duplicate(Address),
    /// A resource needs something that the graph does not have.
    #[error("`{from}` needs `{to}`, which is not in the stack")]
    Dangling {
        /// The resource that needs it.
        from: Box<Address>,
        /// What it needs.
        to: Box<Address>,
    },
    /// Resources that wait for each other, in order, the first one repeated at the end.
    #[error("{} wait for each other", join(.0))]
    Cycle(Vec<Address>),
    /// A resource of a phase that the stack does not ask for in the end.
    #[error("`{0}` is in a phase and not in the stack")]
    OnlyInPhase(Address),
}

fn join(cycle: &[Address]) -> String {
    cycle.iter().map(|address| format!("`{address}`")).collect::<Vec<_>>().join(" → ")
}

impl Graph {
    /// Puts resources and lookups together.
    pub fn new(
        stack: impl Into<String>,
        resources: impl IntoIterator<Item = Resource>,
        lookups: impl IntoIterator<Item = Lookup>,
    ) -> Result<Self, GraphError> {
        let mut graph = Self::empty(stack);
        for lookup in lookups {
            let address = lookup.address.clone();
            if graph.lookups.insert(address.clone(), lookup).is_some() {
                return Err(GraphError::Duplicate(address));
            }
        }
        for resource in resources {
            let address = resource.address.clone();
            if graph.lookups.contains_key(&address) || graph.resources.insert(address.clone(), resource).is_some() {
                return Err(GraphError::Duplicate(address));
            }
        }
        graph.check(&graph.resources)?;
        Ok(graph)
    }

    /// The graph of a stack that asks for nothing: a plan for it deletes everything.
    pub fn empty(stack: impl Into<String>) -> Self {
        Self { stack: stack.into(), resources: BTreeMap::new(), lookups: BTreeMap::new(), phases: Vec::new() }
    }

    /// The same graph, reached in phases: these first, in order, and then one that leads everything to what the stack asks
    /// for. A phase leads the resources that it lists to what it says of them, which may be what the stack asks for or
    /// something in between. What they need is led to what the stack asks for in the same phase, unless it is there and
    /// another phase lists it. Everything else stays as it is. So does, until the last phase, the resource whose home is set
    /// last ([`HomeRule::last`](crate::HomeRule::last)), where its change would set the home. A phase begins once everything of the phase before it has
    /// succeeded.
    ///
    /// # Errors
    /// When a phase lists a resource that the stack does not ask for, or lists one twice, or would not form a graph with the
    /// resources that it does not list.
    pub fn in_phases<P>(mut self, phases: impl IntoIterator<Item = P>) -> Result<Self, GraphError>
    where
        P: IntoIterator<Item = Resource>,
    {
        for resources in phases {
            let mut phase = BTreeMap::new();
            let mut whole = self.resources.clone();
            for resource in resources {
                let address = resource.address.clone();
                if whole.insert(address.clone(), resource.clone()).is_none() {
                    return Err(GraphError::OnlyInPhase(address));
                }
                if phase.insert(address.clone(), resource).is_some() {
                    return Err(GraphError::Duplicate(address));
                }
            }
            self.check(&whole)?;
            self.phases.push(phase);
        }
        Ok(self)
    }

    /// What the stack asks for in the end.
    pub(crate) fn without_phases(&self) -> Self {
        Self { phases: Vec::new(), ..self.clone() }
    }

    fn check(&self, resources: &BTreeMap<Address, Resource>) -> Result<(), GraphError> {
        let mut edges: DiGraphMap<&Address, ()> = DiGraphMap::new();
        for resource in resources.values() {
            for to in resource.dependencies() {
                if resources.contains_key(to) {
                    edges.add_edge(&resource.address, to, ());
                } else if !self.lookups.contains_key(to) {
                    return Err(GraphError::Dangling {
                        from: Box::new(resource.address.clone()),
                        to: Box::new(to.clone()),
                    });
                }
            }
        }
        for component in tarjan_scc(&edges) {
            let Some(&start) = component.iter().min() else { continue };
            if component.len() > 1 || edges.contains_edge(start, start) {
                return Err(GraphError::Cycle(cycle_through(start, &component, &edges)));
            }
        }
        Ok(())
    }

    /// The stack's name.
    pub fn stack(&self) -> &str {
        &self.stack
    }

    /// The phases before the last one: what each of them leads the resources that it lists to.
    pub fn phases(&self) -> &[BTreeMap<Address, Resource>] {
        &self.phases
    }

    /// The resources by address.
    pub fn resources(&self) -> &BTreeMap<Address, Resource> {
        &self.resources
    }

    /// The lookups by address.
    pub fn lookups(&self) -> &BTreeMap<Address, Lookup> {
        &self.lookups
    }

    /// SHA-256 over everything the stack asks for in the end, but for what only a create call needs: where a file lies on
    /// this machine does not matter to the stack.
    pub fn digest(&self, rules: &RuleBook) -> String {
        let resources = self.resources.values().map(|resource| {
            let rules = rules.get(&resource.address.kind);
            let is_compared = |name: &str| rules.is_none_or(|rules| !rules.attribute(name).create_only);
            let attributes = resource.attributes.iter().filter(|(name, _)| is_compared(name)).collect();
            let Resource { address, after, .. } = resource;
            (address.to_string(), ComparedResource { address, after, attributes })
        });
        let lookups = self.lookups.values().map(|lookup| (lookup.address.to_string(), lookup));
        digest(&Compared { lookups: lookups.collect(), resources: resources.collect(), stack: &self.stack })
    }

    /// The addresses, each behind those that it needs; of those that are ready together, the lowest one first.
    pub fn in_order(&self) -> Vec<&Address> {
        let needs = self.resources.values().map(|resource| (&resource.address, resource.dependencies()));
        // A graph has no cycles.
        in_order(needs).unwrap_or_default()
    }

    /// What is asked for at an address in one of the phases, which are counted from 1.
    pub(crate) fn revision(&self, phase: usize, address: &Address) -> Option<&Resource> {
        let revised = phase.checked_sub(1).and_then(|before| self.phases.get(before)?.get(address));
        revised.or_else(|| self.resources.get(address))
    }
}

/// The shortest way from `start` back to itself within its component.
fn cycle_through<'a>(
    start: &'a Address,
    component: &[&'a Address],
    edges: &DiGraphMap<&'a Address, ()>,
) -> Vec<Address> {
    let inside: BTreeSet<_> = component.iter().copied().collect();
    let mut came_from: BTreeMap<&Address, &Address> = BTreeMap::new();
    let mut queue = std::collections::VecDeque::from([start]);
    'search: while let Some(here) = queue.pop_front() {
        let mut next: Vec<_> = edges.neighbors(here).filter(|there| inside.contains(there)).collect();
        next.sort();
        for there in next {
            if !came_from.contains_key(there) {
                came_from.insert(there, here);
                if there == start {
                    break 'search;
                }
                queue.push_back(there);
            }
        }
    }
    let mut cycle = vec![start.clone()];
    let mut here = start;
    while let Some(&before) = came_from.get(here) {
        cycle.push(before.clone());
        if before == start {
            break;
        }
        here = before;
    }
    cycle.reverse();
    cycle
}
