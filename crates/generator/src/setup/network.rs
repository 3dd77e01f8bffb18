//! Brings the kernel's network to the layout, or back.

use trunnion_host::Config;

use super::{
    Failure, Outcome, files,
    journal::Journal,
    kernel::{Netlink, Object, State, Step},
    plan::{self, Plan},
};
use crate::layout::Layout;

/// How often the kernel is looked at again after changes: what one change takes along, such as the addresses that go with
/// a subnet's first one, the next round gives back.
const ROUNDS: u32 = 4;

/// Each interface answers for its own addresses only, and asks with an address of the subnet, although several of them may
/// stand in one. The reverse-path filter stays as it is: the source rules make every answer leave as its question came.
const ARP: [(&str, &str); 2] = [("arp_ignore", "1"), ("arp_announce", "2")];

/// Links, addresses, rules and routes, and how interfaces speak ARP.
pub(super) async fn bring_about(
    config: &Config,
    layout: &Layout,
    journal: &mut Journal,
    outcome: &mut Outcome,
) -> Result<(), Failure> {
    arp(layout, journal, outcome)?;
    let mut netlink = Netlink::open()?;
    for _ in 0..ROUNDS {
        let state = netlink.state().await?;
        let Plan { steps, kept, problems } = plan::plan(layout, config.all_addresses(), &state);
        if steps.is_empty() {
            let promised = config.all_addresses();
            outcome.warnings.extend(kept.iter().map(|object| {
                let told = told(object, &state);
                format!("{told} is kept, though the metadata has it no more: without it, fewer than {promised} addresses would remain")
            }));
            outcome.problems.extend(problems);
            return Ok(());
        }
        let down = steps.iter().filter_map(|step| match step {
            Step::Up(link) => Some(link.name.clone()),
            _ => None,
        });
        journal.remember(|before| before.down.extend(down))?;
        if !apply(&mut netlink, &steps, &state, outcome).await {
            outcome.problems.extend(problems);
            return Ok(());
        }
    }
    Err("the network does not stay as it was set: somebody else changes it at the same time".into())
}

/// Takes back addresses, rules and routes, then sets links down that were.
pub(super) async fn undo(journal: &Journal, outcome: &mut Outcome) -> Result<(), Failure> {
    let mut netlink = Netlink::open()?;
    let state = netlink.state().await?;
    let mut steps = plan::undo(&state);
    let up = state.links.iter().filter(|link| link.up && journal.before().down.contains(&link.link.name));
    steps.extend(up.map(|link| Step::Down(link.link.clone())));
    apply(&mut netlink, &steps, &state, outcome).await;
    Ok(())
}

/// Makes every change; whether none was refused.
async fn apply(netlink: &mut Netlink, steps: &[Step], state: &State, outcome: &mut Outcome) -> bool {
    let mut all = true;
    for step in steps {
        let (what, how) = match step {
            Step::Up(link) => (format!("link {}", link.name), "set up"),
            Step::Down(link) => (format!("link {}", link.name), "set down"),
            Step::Add(object) => (told(object, state), "added"),
            Step::Remove(object) => (told(object, state), "removed"),
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

fn told(object: &Object, state: &State) -> String {
    let link = object.index().and_then(|index| state.links.iter().find(|link| link.link.index == index));
    link.map_or_else(|| object.to_string(), |link| format!("{object} on {}", link.link.name))
}

fn arp(layout: &Layout, journal: &mut Journal, outcome: &mut Outcome) -> Result<(), Failure> {
    let mut changes = Vec::new();
    for interface in &layout.interfaces {
        for (key, wanted) in ARP {
            let name = format!("net/ipv4/conf/{}/{key}", interface.name);
            match files::sysctl(&name)? {
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
        files::set_sysctl(&name, wanted)?;
        outcome.changed(format!("`{name}`"), format!("set to `{wanted}`"));
    }
    Ok(())
}
