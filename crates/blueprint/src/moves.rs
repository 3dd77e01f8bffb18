//! What moves when a pool gets another name.

use trunnion_engine::{KindName, Move};
use trunnion_kinds::{ElasticIp, Instance, LaunchTemplate};
use trunnion_stack::Stack;

/// Hosts and Elastic IPs keep running. EC2 cannot rename a launch template, so there is another one.
pub fn moves(stack: &Stack) -> Vec<Move> {
    let kinds = [(Instance::KIND, false), (ElasticIp::KIND, false), (LaunchTemplate::KIND, true)];
    let of = |(from, to): (&String, &String)| {
        let (from, to) = (from.clone(), to.clone());
        kinds.map(|(kind, is_remade)| Move { kind: KindName::new(kind), from: from.clone(), to: to.clone(), is_remade })
    };
    stack.moved.iter().flat_map(of).collect()
}

/// The names that a pool had before.
pub(crate) fn former_names<'s>(stack: &'s Stack, pool: &'s str) -> impl Iterator<Item = &'s str> {
    stack.moved.iter().filter(move |(_, to)| *to == pool).map(|(from, _)| from.as_str())
}
