//! Puts things behind what they need.

use std::collections::{BTreeMap, BTreeSet};

/// Each node behind those it needs; of those that are ready together, the lowest one first. What a node needs beside the
/// nodes themselves does not count.
///
/// # Errors
/// The nodes that need each other, and those that need them.
pub(crate) fn in_order<K: Ord + Copy, N: IntoIterator<Item = K>>(
    nodes: impl IntoIterator<Item = (K, N)>,
) -> Result<Vec<K>, BTreeSet<K>> {
    let needs: Vec<(K, N)> = nodes.into_iter().collect();
    let mut waiting: BTreeMap<K, usize> = needs.iter().map(|(node, _)| (*node, 0)).collect();
    let mut needed_by: BTreeMap<K, Vec<K>> = BTreeMap::new();
    for (node, needs) in needs {
        let needs: Vec<K> = needs.into_iter().filter(|need| waiting.contains_key(need)).collect();
        waiting.insert(node, needs.len());
        for need in needs {
            needed_by.entry(need).or_default().push(node);
        }
    }
    let mut ready: BTreeSet<K> = waiting.iter().filter(|(_, count)| **count == 0).map(|(node, _)| *node).collect();
    let mut order = Vec::with_capacity(waiting.len());
    while let Some(node) = ready.pop_first() {
        order.push(node);
        waiting.remove(&node);
        for dependent in needed_by.remove(&node).unwrap_or_default() {
            if let Some(count) = waiting.get_mut(&dependent) {
                *count -= 1;
                if *count == 0 {
                    ready.insert(dependent);
                }
            }
        }
    }
    if waiting.is_empty() { Ok(order) } else { Err(waiting.into_keys().collect()) }
}
