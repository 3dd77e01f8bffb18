//! What an adapter and the processors are set to, where that limits how many packets a host can receive, or how fast it is.
//!
//! Amazon's guide for its driver names the rings, the moderation of interrupts, receive packet steering and idle states ("ENA
//! Linux Driver Best Practices and Performance Optimization Guide", read November 2026). Only the steering is set by setup. A
//! change of rings or queues interrupts traffic for less than a millisecond, says the guide; no host with this adapter was at
//! hand to try it, so `check` shows the commands. By default a ring holds 1,024 packets, and on some instance types the
//! moderation is off, so neither is a warning.

use std::{fs, path::Path};

use super::{
    kernel::{self, Tuning},
    verdict::Check,
};
use crate::{layout::Layout, queues};

/// Idle states that take longer to leave than this are worth a word, in microseconds.
const DEEP: u64 = 10;

/// An interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Adapter {
    pub(crate) interface: String,
    pub(crate) is_ena: bool,
    pub(crate) tuning: Tuning,
    /// Receive queues.
    pub(crate) queues: usize,
}

/// The adapters and the processors.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Machine {
    pub(crate) adapters: Vec<Adapter>,
    /// Interfaces of which not all processors handle the packets, although they have fewer queues than there are processors.
    pub(crate) unsteered: Vec<String>,
    /// How long a processor takes to leave its deepest idle state that is on, in microseconds; `None` if it has none.
    pub(crate) idle_exit: Option<u64>,
}

impl Machine {
    pub(crate) fn look(layout: &Layout) -> Self {
        let adapters = layout.interfaces.iter().map(|interface| Adapter {
            interface: interface.name.clone(),
            is_ena: kernel::driver(&interface.name).is_ok_and(|driver| driver.name == "ena"),
            tuning: kernel::tuning(&interface.name),
            queues: queues::count(&interface.name),
        });
        let mut unsteered: Vec<String> =
            queues::unsteered(layout).unwrap_or_default().into_iter().map(|queue| queue.interface).collect();
        unsteered.dedup();
        Self {
            adapters: adapters.collect(),
            unsteered,
            idle_exit: idle_exit(Path::new("/sys/devices/system/cpu/cpu0/cpuidle")),
        }
    }
}

/// The longest latency of the states that are on.
fn idle_exit(states: &Path) -> Option<u64> {
    let number = |path: &Path| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    let states = fs::read_dir(states).ok()?.flatten().map(|entry| entry.path());
    let on = states.filter(|state| number(&state.join("disable")) != Some(1));
    on.filter_map(|state| number(&state.join("latency"))).max()
}

pub(super) fn judge(machine: &Machine) -> [Check; 2] {
    [adapters(machine), idle(machine)]
}

fn adapters(machine: &Machine) -> Check {
    const NAME: &str = "adapters";
    if !machine.unsteered.is_empty() {
        let message = format!("not all processors handle the packets of {}", machine.unsteered.join(", "));
        return Check::warning(NAME, message, "run `trunnion-generator setup`");
    }
    let mut details = Vec::new();
    for Adapter { interface, tuning, .. } in machine.adapters.iter().filter(|adapter| adapter.is_ena) {
        if let Some((now, most)) = tuning.ring.filter(|(now, most)| now < most) {
            details.push(format!("`{interface}`: a receive ring holds {now} packets, and could hold {most}: `ethtool -G {interface} rx {most}`"));
        }
        if tuning.is_adaptive == Some(false) {
            details.push(format!(
                "`{interface}`: the pace of interrupts is fixed: `ethtool -C {interface} adaptive-rx on`"
            ));
        }
        if let Some((now, most)) = tuning.queues.filter(|(now, most)| now < most) {
            details.push(format!(
                "`{interface}`: it has {now} queues, and could have {most}: `ethtool -L {interface} combined {most}`"
            ));
        }
    }
    let queues: usize = machine.adapters.iter().map(|adapter| adapter.queues).sum();
    let said = format!("{} interfaces with {queues} receive queues", machine.adapters.len());
    Check::ok(NAME, said).with(details)
}

/// Never more than a remark: what an idle processor costs is in the response times, not in what the host holds.
fn idle(machine: &Machine) -> Check {
    const NAME: &str = "idle states";
    match machine.idle_exit {
        Some(exit) if exit > DEEP => Check::ok(
            NAME,
            format!(
                "a processor takes up to {exit} µs to leave one, which is part of measured response times; on Intel's \
                 processors, the kernel's parameter `intel_idle.max_cstate=1` avoids it"
            ),
        ),
        Some(exit) => Check::ok(NAME, format!("a processor leaves them within {exit} µs")),
        None => Check::ok(NAME, "the kernel does not control them"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::State;

    fn adapter(is_ena: bool, tuning: Tuning) -> Adapter {
        Adapter { interface: "ens5".into(), is_ena, tuning, queues: 8 }
    }

    #[test]
    fn only_what_could_be_more_is_named() {
        let small = Tuning { ring: Some((1_024, 8_192)), is_adaptive: Some(false), queues: Some((8, 32)) };
        let full = Tuning { ring: Some((8_192, 8_192)), is_adaptive: Some(true), queues: Some((32, 32)) };
        let judged =
            |is_ena, tuning| adapters(&Machine { adapters: vec![adapter(is_ena, tuning)], ..Machine::default() });
        let found = judged(true, small);
        assert_eq!((found.state, found.details.len()), (State::Ok, 3), "{found:?}");
        assert!(found.details[0].contains("`ethtool -G ens5 rx 8192`"), "{found:?}");
        for (is_ena, tuning) in [(true, full), (true, Tuning::default()), (false, small)] {
            assert_eq!(judged(is_ena, tuning).details, [""; 0]);
        }
        let unsteered = Machine { unsteered: vec!["ens6".into()], ..Machine::default() };
        assert!(adapters(&unsteered).message.contains("ens6"));
    }

    #[test]
    fn the_deepest_state_that_is_on_counts() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(idle_exit(folder.path()), None);
        for (name, latency, disable) in [("state0", "0", "0"), ("state1", "2\n", "0\n"), ("state2", "133", "1")] {
            let state = folder.path().join(name);
            std::fs::create_dir(&state).unwrap();
            #[expect(clippy::disallowed_methods, reason = "files of a test")]
            for (name, text) in [("latency", latency), ("disable", disable)] {
                std::fs::write(state.join(name), text).unwrap();
            }
        }
        assert_eq!(idle_exit(folder.path()), Some(2));
    }
}
