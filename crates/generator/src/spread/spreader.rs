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
use ipnet::IpNet;
use netlink_packet_sock_diag::inet::StateFlags;

use super::{
    error::SpreadError,
    maps::{Key, LiveKey, MOST_SOURCES, Map, Settings, address, always_except, family, key, live_key, prefix},
    object_file::object_file,
    place::{Pins, open_cgroup, root_cgroup},
    program::Hook,
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

    /// Sets the sources, and the exceptions in addition to those that always hold. A source that was drained by hand stays
    /// drained until it is added by hand. Established connections are not affected.
    pub(crate) fn sync(&self, sources: &[IpAddr], except: &[IpNet]) -> Result<(), SpreadError> {
        let mut maps = self.maps()?;
        let sources: BTreeSet<IpAddr> = sources.iter().map(IpAddr::to_canonical).collect();
        for ipv6 in [false, true] {
            let count = sources.iter().filter(|address| address.is_ipv6() == ipv6).count();
            if u32::try_from(count).is_ok_and(|count| count > MOST_SOURCES) {
                return Err(SpreadError::TooMany(count));
            }
        }
        maps.set_except(except)?;
        let draining = maps.draining()?;
        let gone: Vec<_> = maps.taken()?.into_iter().filter(|address| !sources.contains(address)).collect();
        let mut dropped = gone.clone();
        dropped.extend(&draining);
        maps.drop_sources(&dropped)?;
        for &address in &gone {
            maps.taken.remove(&key(address)).map_err(|error| SpreadError::map("remove a source", error))?;
            unless_gone(maps.slots.remove(&key(address)))
                .map_err(|error| SpreadError::map("remove a source", error))?;
        }
        maps.take_sources(sources.iter().copied(), &draining)
    }

    /// Adds these addresses to the sources, drained or new.
    pub(crate) fn add(&self, addresses: &[IpAddr]) -> Result<(), SpreadError> {
        let mut maps = self.maps()?;
        for &address in addresses {
            unless_gone(maps.draining.remove(&key(address))).map_err(|error| SpreadError::map("end a drain", error))?;
        }
        maps.take_sources(addresses.iter().map(IpAddr::to_canonical), &BTreeSet::new())
    }

    /// Drains these sources. When this returns, no new connection can get them. Established connections are not affected.
    pub(crate) fn drain(&self, addresses: &[IpAddr]) -> Result<(), SpreadError> {
        let mut maps = self.maps()?;
        let known = maps.taken()?;
        let addresses: Vec<_> = addresses.iter().map(IpAddr::to_canonical).collect();
        if let Some(&unknown) = addresses.iter().find(|address| !known.contains(address)) {
            return Err(SpreadError::NoSource(unknown));
        }
        for &address in &addresses {
            maps.draining.insert(key(address), 1, 0).map_err(|error| SpreadError::map("begin a drain", error))?;
        }
        maps.drop_sources(&addresses)
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
        let sources = maps.taken.iter().map(|entry| {
            let (key, [connections, refused]) = entry?;
            let address = address(key);
            Ok(Source { address, draining: draining.contains(&address), connections, refused })
        });
        let mut sources =
            sources.collect::<Result<Vec<_>, _>>().map_err(|error| SpreadError::map("read the sources", error))?;
        sources.sort_unstable_by_key(|source| source.address);
        Ok(sources)
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
            for family in [0, 1] {
                counts.set(family, 0, 0).map_err(|error| SpreadError::map("count the sources", error))?;
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
            except: typed(&pins, Map::Except)?,
            slots: typed(&pins, Map::Slots)?,
            full: typed(&pins, Map::Full)?,
            live: typed(&pins, Map::Live)?,
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
    except: LpmTrie<MapData, Key, u32>,
    slots: HashMap<MapData, Key, u32>,
    full: HashMap<MapData, [u8; 24], [u64; 4]>,
    live: HashMap<MapData, LiveKey, u64>,
    /// The lock.
    _pins: Pins,
}

impl Maps {
    /// Adds those of the addresses that are neither sources yet nor `draining`.
    fn take_sources(
        &mut self,
        addresses: impl Iterator<Item = IpAddr>,
        draining: &BTreeSet<IpAddr>,
    ) -> Result<(), SpreadError> {
        let failed = |error| SpreadError::map("add a source", error);
        let mut active = BTreeSet::new();
        for family in [0, 1] {
            for (slot, address) in (family * MOST_SOURCES..).zip(self.active(family)?) {
                // A version without this map may have added the source.
                if self.slots.get(&key(address), 0).ok() != Some(slot) {
                    self.slots.insert(key(address), slot, 0).map_err(failed)?;
                }
                active.insert(address);
            }
        }
        for address in addresses {
            let key = key(address);
            if let Err(MapError::KeyNotFound) = self.taken.get(&key, 0) {
                self.taken.insert(key, [0, 0], 0).map_err(failed)?;
            }
            if draining.contains(&address) || !active.insert(address) {
                continue;
            }
            let family = family(address);
            let count = self.count(family)?;
            if count >= MOST_SOURCES {
                return Err(SpreadError::TooMany(active.len()));
            }
            let slot = family * MOST_SOURCES + count;
            self.slots.insert(key, slot, 0).map_err(failed)?;
            self.sources.set(slot, key, 0).map_err(failed)?;
            self.set_count(family, count + 1)?;
        }
        Ok(())
    }

    /// Removes the addresses from the sources, and waits until no connection can get one any more. The last source is copied
    /// over the slot of the removed one before the number of sources is lowered, so that no slot is ever empty.
    fn drop_sources(&mut self, addresses: &[IpAddr]) -> Result<(), SpreadError> {
        let failed = |error| SpreadError::map("drain a source", error);
        for family in [0, 1] {
            let mut active = self.active(family)?;
            for address in addresses {
                let Some(at) = active.iter().position(|source| source == address) else { continue };
                let (Ok(at_u32), Ok(last)) = (u32::try_from(at), u32::try_from(active.len() - 1)) else { continue };
                active.swap_remove(at);
                let first = family * MOST_SOURCES;
                if let Some(&moved) = active.get(at) {
                    self.slots.insert(key(moved), first + at_u32, 0).map_err(failed)?;
                    self.sources.set(first + at_u32, key(moved), 0).map_err(failed)?;
                }
                self.set_count(family, last)?;
                self.sources.set(first + last, Key::default(), 0).map_err(failed)?;
            }
        }
        if !addresses.is_empty() {
            sys::wait_for_running_programs();
            // They are those of slots that have other sources now. The next connections set them again.
            self.forget_marks()?;
        }
        Ok(())
    }

    fn forget_marks(&mut self) -> Result<(), SpreadError> {
        let failed = |error| SpreadError::map("forget which sources are full", error);
        let keys: Vec<_> = self.full.keys().collect::<Result<_, _>>().map_err(failed)?;
        keys.iter().try_for_each(|key| unless_gone(self.full.remove(key)).map_err(failed))
    }

    /// The sources of a family that are not drained, in the order of their slots.
    fn active(&self, family: u32) -> Result<Vec<IpAddr>, SpreadError> {
        let first = family * MOST_SOURCES;
        let slots = first..first + self.count(family)?.min(MOST_SOURCES);
        slots
            .map(|slot| self.sources.get(&slot, 0).map(address))
            .collect::<Result<_, _>>()
            .map_err(|error| SpreadError::map("read the sources", error))
    }

    fn count(&self, family: u32) -> Result<u32, SpreadError> {
        self.counts.get(&family, 0).map_err(|error| SpreadError::map("count the sources", error))
    }

    fn set_count(&mut self, family: u32, count: u32) -> Result<(), SpreadError> {
        self.counts.set(family, count, 0).map_err(|error| SpreadError::map("count the sources", error))
    }

    fn taken(&self) -> Result<BTreeSet<IpAddr>, SpreadError> {
        let keys = self.taken.keys().map(|key| key.map(address));
        keys.collect::<Result<_, _>>().map_err(|error| SpreadError::map("read the sources", error))
    }

    fn draining(&self) -> Result<BTreeSet<IpAddr>, SpreadError> {
        let keys = self.draining.keys().map(|key| key.map(address));
        keys.collect::<Result<_, _>>().map_err(|error| SpreadError::map("read the drained sources", error))
    }

    fn set_except(&mut self, except: &[IpNet]) -> Result<(), SpreadError> {
        let failed = |error| SpreadError::map("change the exceptions", error);
        let wanted: BTreeSet<_> = always_except().iter().chain(except).map(|&range| prefix(range)).collect();
        let there = self.except.keys().map(|key| key.map(|key| (key.prefix_len(), key.data())));
        let there: BTreeSet<_> = there.collect::<Result<_, _>>().map_err(failed)?;
        for &(length, first) in wanted.difference(&there) {
            self.except.insert(&PrefixKey::new(length, first), 1, 0).map_err(failed)?;
        }
        for &(length, first) in there.difference(&wanted) {
            self.except.remove(&PrefixKey::new(length, first)).map_err(failed)?;
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
