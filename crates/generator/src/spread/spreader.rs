//! Attaches the program to the kernel, sets its sources and exceptions, and reads its counters.
//!
//! This process keeps none of it: the maps, and the links that keep the programs attached, are pinned to a BPF file system,
//! where the next process finds them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    net::IpAddr,
    path::{Path, PathBuf},
};

use aya::{
    Ebpf, EbpfLoader,
    maps::{Array, HashMap, LpmTrie, Map as TypedMap, MapData, MapError, MapInfo, lpm_trie::Key as PrefixKey},
    programs::{CgroupAttachMode, CgroupSockAddr, Program, ProgramError, SockOps, links::FdLink},
};
use netlink_packet_sock_diag::inet::StateFlags;

use super::{
    error::SpreadError,
    maps::{Counter, Group, Key, LiveKey, MOST_SOURCES, Map, Settings, address, key, live_key},
    object_file::object_file,
    place::{Pins, open_cgroup, root_cgroup},
    program::Hook,
    rules::Rules,
    sys,
};
use crate::sockets::each_tcp;

/// Whose connections are spread, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Options {
    /// The user whose connections are spread; `None` for all users.
    pub(crate) uid: Option<u32>,
    /// The cgroup whose processes' connections are spread; `None` for the root of the cgroup2 hierarchy.
    pub(crate) cgroup: Option<PathBuf>,
    /// The folder on a BPF file system to which the program is pinned.
    pub(crate) pins: PathBuf,
    /// The number of local ports of each source.
    pub(crate) ports: u32,
}

impl Options {
    pub(crate) const PINS: &str = "/sys/fs/bpf/trunnion";

    /// For all processes of this user, with the default folder.
    pub(crate) fn of_user(uid: u32, ports: u32) -> Self {
        Self { uid: Some(uid), cgroup: None, pins: Self::PINS.into(), ports }
    }
}

/// A source address, with its counters since the program was first attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Source {
    pub(crate) address: IpAddr,
    /// Whether new connections no longer get it.
    pub(crate) draining: bool,
    /// Whether connections to the internet get it alone, or it among others, because it has a public address.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) public: bool,
    /// Connections that got this source.
    pub(crate) connections: u64,
    /// Connections for which the kernel refused it.
    pub(crate) refused: u64,
}

/// The program in the kernel.
#[derive(Debug, Clone)]
pub(crate) struct Spreader {
    pins: PathBuf,
}

impl Spreader {
    /// Tests whether this kernel accepts the program, without attaching it.
    pub(crate) fn probe() -> Result<(), SpreadError> {
        sys::netns_cookie().map_err(SpreadError::Unsupported)?;
        let mut loaded = loader().load(&object_file()?)?;
        Hook::ALL.into_iter().try_for_each(|hook| load(&mut loaded, hook))
    }

    /// Loads and attaches the program, for the network namespace of this process. The program of an earlier process is
    /// replaced without a gap; its sources, exceptions and counters stay.
    pub(crate) fn attach(options: &Options) -> Result<Self, SpreadError> {
        let netns_cookie = sys::netns_cookie().map_err(SpreadError::Unsupported)?;
        let cgroup = open_cgroup(&options.cgroup.clone().map_or_else(root_cgroup, Ok)?)?;
        let pins = Pins::make(&options.pins)?;
        let mut into_pins = loader();
        for map in Map::ALL {
            remove_if_other(&pins, map)?;
            into_pins.map_pin_path(map.name(), pins.pin(map.name()));
        }
        let mut loaded = into_pins.load(&object_file()?)?;
        for hook in Hook::ALL {
            load(&mut loaded, hook)?;
        }
        let mut settings: Array<_, [u8; 24]> = typed(&pins, Map::Settings)?;
        let bytes = Settings { uid: options.uid, netns_cookie, ports: options.ports }.bytes();
        settings.set(0, bytes, 0).map_err(|error| SpreadError::map("write the settings", error))?;
        for hook in Hook::ALL {
            attach(&mut loaded, &cgroup, &pins, hook)?;
        }
        Ok(Self { pins: options.pins.clone() })
    }

    /// Opens the program that an earlier process attached.
    pub(crate) fn open(pins: &Path) -> Result<Self, SpreadError> {
        let spreader = Self { pins: pins.to_owned() };
        spreader.maps()?;
        Ok(spreader)
    }

    /// Sets the sources, and the treatment of destinations in addition to that which always holds. A source that was drained
    /// by hand stays drained until it is added by hand. Established connections are not affected.
    pub(crate) fn sync(&self, rules: &Rules) -> Result<(), SpreadError> {
        let mut maps = self.maps()?;
        let wanted = rules.groups();
        for sources in wanted.values() {
            if u32::try_from(sources.len()).is_ok_and(|count| count > MOST_SOURCES) {
                return Err(SpreadError::TooMany(sources.len()));
            }
        }
        maps.set_destinations(rules)?;
        let draining: BTreeSet<IpAddr> = maps.draining()?.into_keys().collect();
        let mut dropped = false;
        for (&group, sources) in &wanted {
            let gone: Vec<_> = maps.active(group)?;
            let gone = gone.into_iter().filter(|address| !sources.contains(address) || draining.contains(address));
            dropped |= maps.drop_sources(group, &gone.collect::<Vec<_>>())?;
        }
        maps.settle(dropped)?;
        let failed = |error| SpreadError::map("remove a source", error);
        for address in maps.taken()? {
            // A drained source keeps its slot, so that the end of its connections is counted.
            let groups = [Group::all(address), Group::Public];
            for group in groups.into_iter().filter(|group| wanted.get(group).is_some_and(|of| !of.contains(&address))) {
                unless_gone(maps.slots(group).remove(&key(address))).map_err(failed)?;
            }
            if !wanted.values().any(|sources| sources.contains(&address)) {
                maps.taken.remove(&key(address)).map_err(failed)?;
            } else if draining.contains(&address) {
                maps.note_drained(
                    address,
                    wanted.iter().filter(|(_, of)| of.contains(&address)).map(|(group, _)| *group),
                )?;
            }
        }
        for (group, sources) in wanted {
            maps.take_sources(group, sources.difference(&draining).copied())?;
        }
        // They are sources, although new connections do not get them.
        let known = rules.addresses();
        maps.know(draining.into_iter().filter(|address| known.contains(address)))
    }

    /// Adds these addresses to the sources, drained or new.
    pub(crate) fn add(&self, addresses: &[IpAddr]) -> Result<(), SpreadError> {
        let mut maps = self.maps()?;
        let draining = maps.draining()?;
        for address in addresses.iter().map(IpAddr::to_canonical) {
            let groups = draining.get(&address).cloned().unwrap_or_else(|| vec![Group::all(address)]);
            unless_gone(maps.draining.remove(&key(address))).map_err(|error| SpreadError::map("end a drain", error))?;
            for group in groups {
                maps.take_sources(group, [address].into_iter())?;
            }
        }
        Ok(())
    }

    /// Drains these sources. When this returns, no new connection can get them. Established connections are not affected.
    pub(crate) fn drain(&self, addresses: &[IpAddr]) -> Result<(), SpreadError> {
        let mut maps = self.maps()?;
        let known = maps.taken()?;
        let addresses: Vec<_> = addresses.iter().map(IpAddr::to_canonical).collect();
        if let Some(&unknown) = addresses.iter().find(|address| !known.contains(address)) {
            return Err(SpreadError::NoSource(unknown));
        }
        let mut of: BTreeMap<IpAddr, Vec<Group>> = BTreeMap::new();
        for group in Group::ALL {
            for address in maps.active(group)?.into_iter().filter(|address| addresses.contains(address)) {
                of.entry(address).or_default().push(group);
            }
        }
        for (&address, groups) in &of {
            maps.note_drained(address, groups.iter().copied())?;
        }
        let mut dropped = false;
        for group in Group::ALL {
            dropped |= maps.drop_sources(group, &addresses)?;
        }
        maps.settle(dropped)
    }

    /// Counts the connections of each source again. Those from before the program was attached are counted by nothing else,
    /// and the kernel does not tell their end. Returns by how many connections the counts were wrong.
    ///
    /// Connections that begin or end meanwhile may be counted twice or not at all.
    pub(crate) fn recount(&self) -> Result<u64, SpreadError> {
        let sources = self.maps()?.taken()?;
        let mut found: BTreeMap<LiveKey, u64> = BTreeMap::new();
        // A port in `TIME_WAIT` counts as free, as in the kernel's program.
        let states = StateFlags::all().difference(StateFlags::LISTEN | StateFlags::CLOSE | StateFlags::TIME_WAIT);
        let counted = each_tcp(&states, |socket| {
            let id = &socket.socket_id;
            if sources.contains(&id.source_address.to_canonical()) {
                *found.entry(live_key(id)).or_default() += 1;
            }
        });
        counted.map_err(SpreadError::Sockets)?;
        let failed = |error| SpreadError::map("count the connections", error);
        let mut maps = self.maps()?;
        let known: BTreeMap<LiveKey, u64> = maps.live.iter().collect::<Result<_, _>>().map_err(failed)?;
        let mut wrong = 0;
        for (key, &count) in &found {
            let before = known.get(key).copied().unwrap_or_default();
            if before != count {
                wrong += before.abs_diff(count);
                maps.live.insert(key, count, 0).map_err(failed)?;
            }
        }
        for (key, before) in known.iter().filter(|(key, _)| !found.contains_key(*key)) {
            wrong += before;
            unless_gone(maps.live.remove(key)).map_err(failed)?;
        }
        if wrong > 0 {
            maps.forget_marks()?;
        }
        Ok(wrong)
    }

    /// All sources with their counters, by address.
    pub(crate) fn sources(&self) -> Result<Vec<Source>, SpreadError> {
        let maps = self.maps()?;
        let draining = maps.draining()?;
        let public: BTreeSet<IpAddr> = maps.active(Group::Public)?.into_iter().collect();
        let sources = maps.taken.iter().map(|entry| {
            let (key, [connections, refused]) = entry?;
            let address = address(key);
            let (draining, public) = (draining.contains_key(&address), public.contains(&address));
            Ok(Source { address, draining, public, connections, refused })
        });
        let mut sources =
            sources.collect::<Result<Vec<_>, _>>().map_err(|error| SpreadError::map("read the sources", error))?;
        sources.sort_unstable_by_key(|source| source.address);
        Ok(sources)
    }

    /// The counters since the program was first attached, by [`Counter::place`].
    pub(crate) fn counters(&self) -> Result<[u64; 4], SpreadError> {
        let maps = self.maps()?;
        let mut counters = [0; 4];
        for (value, counter) in counters.iter_mut().zip(Counter::ALL) {
            let read = maps.counters.get(&(counter as u32), 0);
            *value = read.map_err(|error| SpreadError::map("read the counters", error))?;
        }
        Ok(counters)
    }

    /// Detaches the program and removes its data, and what an earlier, killed detach left. When this returns, connections are
    /// no longer spread. Established connections are not affected. Returns whether there was anything to remove.
    pub(crate) fn detach(pins: &Path) -> Result<bool, SpreadError> {
        let pins = match Pins::find(pins) {
            Err(SpreadError::NotAttached { .. }) => return Ok(false),
            found => found?,
        };
        let pinned = |name: &str| pins.pin(name).exists();
        let had =
            Hook::ALL.into_iter().any(|hook| pinned(hook.name())) || Map::ALL.into_iter().any(|map| pinned(map.name()));
        // The kernel detaches a program some time after its pin is removed. Without sources, the program does nothing.
        if pins.pin(Map::Counts.name()).exists() {
            let mut counts: Array<_, u32> = typed(&pins, Map::Counts)?;
            for group in Group::ALL {
                counts.set(group.number(), 0, 0).map_err(|error| SpreadError::map("count the sources", error))?;
            }
            sys::wait_for_running_programs();
        }
        for hook in Hook::ALL {
            pins.remove(&successor(hook))?;
            pins.remove(hook.name())?;
        }
        Map::ALL.into_iter().try_for_each(|map| pins.remove(map.name()))?;
        Ok(had)
    }

    /// The maps, locked against other processes.
    fn maps(&self) -> Result<Maps, SpreadError> {
        let pins = Pins::find(&self.pins)?;
        let attached = Hook::ALL.into_iter().all(|hook| pins.pin(hook.name()).exists());
        if !attached {
            return Err(SpreadError::NotAttached { path: self.pins.clone() });
        }
        Ok(Maps {
            counts: typed(&pins, Map::Counts)?,
            sources: typed(&pins, Map::Sources)?,
            taken: typed(&pins, Map::Taken)?,
            draining: typed(&pins, Map::Draining)?,
            destinations: typed(&pins, Map::Destinations)?,
            slots: typed(&pins, Group::Ipv4.slots())?,
            public_slots: typed(&pins, Group::Public.slots())?,
            full: typed(&pins, Map::Full)?,
            live: typed(&pins, Map::Live)?,
            counters: typed(&pins, Map::Counters)?,
            _pins: pins,
        })
    }
}

/// The maps that this binary reads and writes while the program runs.
struct Maps {
    counts: Array<MapData, u32>,
    sources: Array<MapData, Key>,
    taken: HashMap<MapData, Key, [u64; 2]>,
    draining: HashMap<MapData, Key, u32>,
    destinations: LpmTrie<MapData, Key, u32>,
    slots: HashMap<MapData, Key, u32>,
    public_slots: HashMap<MapData, Key, u32>,
    full: HashMap<MapData, [u8; 24], [u64; 4]>,
    live: HashMap<MapData, LiveKey, u64>,
    counters: Array<MapData, u64>,
    /// The lock.
    _pins: Pins,
}

impl Maps {
    /// Adds those of the addresses that are no sources of the group yet.
    fn take_sources(&mut self, group: Group, addresses: impl Iterator<Item = IpAddr>) -> Result<(), SpreadError> {
        let failed = |error| SpreadError::map("add a source", error);
        let active = self.active(group)?;
        for (slot, &address) in (group.first()..).zip(&active) {
            // A version without this map may have added the source.
            if self.slots(group).get(&key(address), 0).ok() != Some(slot) {
                self.slots(group).insert(key(address), slot, 0).map_err(failed)?;
            }
        }
        let mut active: BTreeSet<IpAddr> = active.into_iter().collect();
        for address in addresses {
            self.know([address].into_iter())?;
            if !active.insert(address) {
                continue;
            }
            let count = self.count(group)?;
            if count >= MOST_SOURCES {
                return Err(SpreadError::TooMany(active.len()));
            }
            let slot = group.first() + count;
            self.slots(group).insert(key(address), slot, 0).map_err(failed)?;
            self.sources.set(slot, key(address), 0).map_err(failed)?;
            self.set_count(group, count + 1)?;
        }
        Ok(())
    }

    /// Gives the addresses counters, if they have none.
    fn know(&mut self, addresses: impl Iterator<Item = IpAddr>) -> Result<(), SpreadError> {
        for address in addresses {
            if let Err(MapError::KeyNotFound) = self.taken.get(&key(address), 0) {
                let added = self.taken.insert(key(address), [0, 0], 0);
                added.map_err(|error| SpreadError::map("add a source", error))?;
            }
        }
        Ok(())
    }

    /// Removes the addresses from the sources of the group; whether there were any. The last source is copied over the slot
    /// of the removed one before the number of sources is lowered, so that no slot is ever empty.
    fn drop_sources(&mut self, group: Group, addresses: &[IpAddr]) -> Result<bool, SpreadError> {
        let failed = |error| SpreadError::map("drain a source", error);
        let mut active = self.active(group)?;
        let mut dropped = false;
        for address in addresses {
            let Some(at) = active.iter().position(|source| source == address) else { continue };
            let (Ok(at_u32), Ok(last)) = (u32::try_from(at), u32::try_from(active.len() - 1)) else { continue };
            active.swap_remove(at);
            if let Some(&moved) = active.get(at) {
                self.slots(group).insert(key(moved), group.first() + at_u32, 0).map_err(failed)?;
                self.sources.set(group.first() + at_u32, key(moved), 0).map_err(failed)?;
            }
            self.set_count(group, last)?;
            self.sources.set(group.first() + last, Key::default(), 0).map_err(failed)?;
            dropped = true;
        }
        Ok(dropped)
    }

    /// Waits until no connection can get a source that was dropped.
    fn settle(&mut self, dropped: bool) -> Result<(), SpreadError> {
        if dropped {
            sys::wait_for_running_programs();
            // They are those of slots that have other sources now. The next connections set them again.
            self.forget_marks()?;
        }
        Ok(())
    }

    /// Notes that the source was drained by hand, and to which groups it belongs.
    fn note_drained(&mut self, address: IpAddr, groups: impl Iterator<Item = Group>) -> Result<(), SpreadError> {
        let bits = groups.fold(0, |bits, group| bits | 1 << group.number());
        self.draining.insert(key(address), bits, 0).map_err(|error| SpreadError::map("begin a drain", error))
    }

    fn slots(&mut self, group: Group) -> &mut HashMap<MapData, Key, u32> {
        match group {
            Group::Ipv4 | Group::Ipv6 => &mut self.slots,
            Group::Public => &mut self.public_slots,
        }
    }

    fn forget_marks(&mut self) -> Result<(), SpreadError> {
        let failed = |error| SpreadError::map("forget which sources are full", error);
        let keys: Vec<_> = self.full.keys().collect::<Result<_, _>>().map_err(failed)?;
        keys.iter().try_for_each(|key| unless_gone(self.full.remove(key)).map_err(failed))
    }

    /// The sources of a group that are not drained, in the order of their slots.
    fn active(&self, group: Group) -> Result<Vec<IpAddr>, SpreadError> {
        let slots = group.first()..group.first() + self.count(group)?.min(MOST_SOURCES);
        slots
            .map(|slot| self.sources.get(&slot, 0).map(address))
            .collect::<Result<_, _>>()
            .map_err(|error| SpreadError::map("read the sources", error))
    }

    fn count(&self, group: Group) -> Result<u32, SpreadError> {
        self.counts.get(&group.number(), 0).map_err(|error| SpreadError::map("count the sources", error))
    }

    fn set_count(&mut self, group: Group, count: u32) -> Result<(), SpreadError> {
        self.counts.set(group.number(), count, 0).map_err(|error| SpreadError::map("count the sources", error))
    }

    fn taken(&self) -> Result<BTreeSet<IpAddr>, SpreadError> {
        let keys = self.taken.keys().map(|key| key.map(address));
        keys.collect::<Result<_, _>>().map_err(|error| SpreadError::map("read the sources", error))
    }

    /// The drained sources, with the groups to which they belong.
    fn draining(&self) -> Result<BTreeMap<IpAddr, Vec<Group>>, SpreadError> {
        let drained = self.draining.iter().map(|entry| {
            let (key, bits) = entry?;
            Ok((address(key), Group::ALL.into_iter().filter(|group| bits & 1 << group.number() != 0).collect()))
        });
        drained.collect::<Result<_, _>>().map_err(|error| SpreadError::map("read the drained sources", error))
    }

    fn set_destinations(&mut self, rules: &Rules) -> Result<(), SpreadError> {
        let failed = |error| SpreadError::map("change the treatment of destinations", error);
        let wanted = rules.destinations();
        let there: BTreeMap<_, _> = self
            .destinations
            .iter()
            .map(|entry| entry.map(|(key, treatment)| ((key.prefix_len(), key.data()), treatment)))
            .collect::<Result<_, _>>()
            .map_err(failed)?;
        for (&(length, first), &treatment) in &wanted {
            if there.get(&(length, first)) != Some(&(treatment as u32)) {
                self.destinations.insert(&PrefixKey::new(length, first), treatment as u32, 0).map_err(failed)?;
            }
        }
        for &(length, first) in there.keys().filter(|prefix| !wanted.contains_key(*prefix)) {
            self.destinations.remove(&PrefixKey::new(length, first)).map_err(failed)?;
        }
        Ok(())
    }
}

/// The programs use no types of the kernel, so its type information (16 MB in memory) is not loaded.
fn loader<'a>() -> EbpfLoader<'a> {
    let mut loader = EbpfLoader::new();
    loader.btf(None);
    loader
}

fn program(loaded: &mut Ebpf, hook: Hook) -> Result<&mut Program, SpreadError> {
    Ok(loaded.program_mut(hook.name()).ok_or(ProgramError::NotLoaded)?)
}

fn load(loaded: &mut Ebpf, hook: Hook) -> Result<(), SpreadError> {
    let program = program(loaded, hook)?;
    match hook {
        Hook::States => <&mut SockOps>::try_from(program)?.load()?,
        Hook::Connect4 | Hook::Connect6 => <&mut CgroupSockAddr>::try_from(program)?.load()?,
    }
    Ok(())
}

/// Attaches the program in place of an earlier one. For a moment both run: the second to run finds the socket bound, and
/// leaves it as it is. An end that both count is put right by [`Spreader::recount`].
fn attach(loaded: &mut Ebpf, cgroup: &File, pins: &Pins, hook: Hook) -> Result<(), SpreadError> {
    let successor = successor(hook);
    // The pin of an interrupted replacement. It replaces the earlier one now, so that a program is attached at any time.
    if pins.pin(&successor).exists() {
        pins.rename(&successor, hook.name())?;
    }
    let program = program(loaded, hook)?;
    // The kernel accepts no flags here: a program that is attached by a link always allows others beside it.
    let link = match hook {
        Hook::States => {
            let program = <&mut SockOps>::try_from(program)?;
            let link = program.attach(cgroup, CgroupAttachMode::Single)?;
            FdLink::try_from(program.take_link(link)?)
        }
        Hook::Connect4 | Hook::Connect6 => {
            let program = <&mut CgroupSockAddr>::try_from(program)?;
            let link = program.attach(cgroup, CgroupAttachMode::Single)?;
            FdLink::try_from(program.take_link(link)?)
        }
    };
    let link = link.map_err(|error| SpreadError::link("keep the program attached", error))?;
    link.pin(pins.pin(&successor)).map_err(|error| SpreadError::pin("keep the program attached", error))?;
    pins.rename(&successor, hook.name())
}

/// The name of the pin of a program that replaces another. The kernel refuses names with dots.
fn successor(hook: Hook) -> String {
    format!("{}-new", hook.name())
}

/// Removes a map whose definition is not the one of this version of the binary.
fn remove_if_other(pins: &Pins, map: Map) -> Result<(), SpreadError> {
    let expected = map.definition();
    match MapInfo::from_pin(pins.pin(map.name())) {
        Ok(info)
            if info.map_type().is_ok_and(|kind| kind as u32 == expected.kind)
                && info.key_size() == expected.key_bytes
                && info.value_size() == expected.value_bytes
                && info.max_entries() == expected.entries
                && info.map_flags() == expected.flags =>
        {
            Ok(())
        }
        Ok(_) => pins.remove(map.name()),
        Err(error) if is_not_found(&error) => Ok(()),
        Err(error) => Err(SpreadError::map("open a map", error)),
    }
}

/// The same result, but an entry that is gone already is no error.
fn unless_gone(removed: Result<(), MapError>) -> Result<(), MapError> {
    match removed {
        Err(MapError::KeyNotFound) => Ok(()),
        Err(error) if is_not_found(&error) => Ok(()),
        other => other,
    }
}

fn is_not_found(error: &MapError) -> bool {
    matches!(error, MapError::SyscallError(error) if error.io_error.kind() == std::io::ErrorKind::NotFound)
}

/// Opens a pinned map.
fn typed<T: TryFrom<TypedMap, Error = MapError>>(pins: &Pins, map: Map) -> Result<T, SpreadError> {
    MapData::from_pin(pins.pin(map.name()))
        .and_then(TypedMap::from_map_data)
        .and_then(T::try_from)
        .map_err(|error| SpreadError::map("open a map", error))
}
