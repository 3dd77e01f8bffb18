//! Makes the kernel's network match the layout, and undoes that.

use trunnion_host::Config;

use super::{
    journal::Journal,
    outcome::Outcome,
    plan::{self, Plan},
};
use crate::{
    failure::Failure,
    imds,
    layout::Layout,
    netlink::{Netlink, Object, State, Step},
    sysctl,
};

/// How often the kernel is read and changed. A change can remove more than was asked for: with the first address of a subnet,
/// the kernel removes the others. The next round adds them again.
const ROUNDS: u32 = 4;

/// Several interfaces can be in one subnet, so each answers ARP requests for its own addresses only, and sends them from an
/// address of the subnet. The reverse-path filter needs no change: by the source rules, a reply leaves through the interface
/// that received the request.
const ARP: [(&str, &str); 2] = [("arp_ignore", "1"), ("arp_announce", "2")];

/// Sets up links, addresses, rules and routes, and the ARP parameters of the interfaces.
pub(super) async fn set_up(
    config: &Config,
    layout: &Layout,
    journal: &mut Journal,
    outcome: &mut Outcome,
) -> Result<(), Failure> {
    arp(layout, journal, outcome)?;
    let netlink = Netlink::open()?;
    for _ in 0..ROUNDS {
        let state = netlink.state().await?;
        let Plan { steps, kept, problems } =
            plan::plan(layout, config.all_addresses(), imds::refused_user(config)?, &state);
        if steps.is_empty() {
            let promised = config.all_addresses();
            outcome.warnings.extend(kept.iter().map(|object| {
                let named = name(object, &state);
                format!("{named} is kept although the metadata no longer has it: without it, fewer than {promised} addresses remain")
            }));
            outcome.problems.extend(problems);
            return Ok(());
        }
        let down = steps.iter().filter_map(|step| match step {
            Step::Up(link) => Some(link.name.clone()),
            _ => None,
        });
        journal.remember(|before| before.down.extend(down))?;
        if !apply(&netlink, &steps, &state, outcome).await {
            outcome.problems.extend(problems);
            return Ok(());
        }
    }
    Err(format!("another program changes the network at the same time: setup tried {ROUNDS} times").into())
}

/// Removes the addresses, rules and routes that setup added, then sets down the links that it set up.
pub(super) async fn undo(journal: &Journal, outcome: &mut Outcome) -> Result<(), Failure> {
    let netlink = Netlink::open()?;
    let state = netlink.state().await?;
    let mut steps = plan::undo(&state);
    let up = state.links.iter().filter(|link| link.up && journal.before().down.contains(&link.identity.name));
    steps.extend(up.map(|link| Step::Down(link.identity.clone())));
    apply(&netlink, &steps, &state, outcome).await;
    Ok(())
}

/// Makes every change; whether the kernel accepted all of them.
async fn apply(netlink: &Netlink, steps: &[Step], state: &State, outcome: &mut Outcome) -> bool {
    let mut all = true;
    for step in steps {
        let (what, how) = match step {
            Step::Up(link) => (format!("link {}", link.name), "set up"),
            Step::Down(link) => (format!("link {}", link.name), "set down"),
            Step::Add(object) => (name(object, state), "added"),
            Step::Remove(object) => (name(object, state), "removed"),
        };
        match netlink.apply(step).await {
            Ok(()) => outcome.changed(what, how),
            Err(error) => {
                all = false;
                outcome.problems.push(format!("{what} cannot be {how}: {error}"));
            }
        }
    }
    all
}

/// The object with its interface, such as `address 10.0.1.7/32 on ens6`.
fn name(object: &Object, state: &State) -> String {
    let link = object.index().and_then(|index| state.links.iter().find(|link| link.identity.index == index));
    link.map_or_else(|| object.to_string(), |link| format!("{object} on {}", link.identity.name))
}

fn arp(layout: &Layout, journal: &mut Journal, outcome: &mut Outcome) -> Result<(), Failure> {
    let mut changes = Vec::new();
    for interface in &layout.interfaces {
        for (key, wanted) in ARP {
            let name = format!("net/ipv4/conf/{}/{key}", interface.name);
            match sysctl::get(&name)? {
                Some(found) if found != wanted => changes.push((name, found, wanted)),
                Some(_) => {}
                None => outcome.problems.push(format!("the kernel has no parameter `{name}`")),
            }
        }
    }
    journal.remember(|before| {
        for (name, found, _) in &changes {
            before.sysctls.entry(name.clone()).or_insert_with(|| found.clone());
        }
    })?;
    for (name, _, wanted) in changes {
        sysctl::set(&name, wanted)?;
        outcome.changed(format!("`{name}`"), format!("set to `{wanted}`"));
    }
    Ok(())
}
