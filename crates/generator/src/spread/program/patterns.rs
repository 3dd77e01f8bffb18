//! The emitted programs under patterns of long and short connections, in an interpreter (`rbpf`) with stand-ins for the
//! kernel: its maps and helpers, and a choice of ports that has one for each connection of a source to a destination.
#![expect(unsafe_code, reason = "the helpers get pointers to the memory of the programs")]

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    slice,
};

use super::{
    super::{
        instructions::{Assembler, Helper},
        maps::{Key, MOST_SOURCES, Map, Settings, Treatment, key},
    },
    Hook, emit,
};

/// Memory for the values of maps. The interpreter lets programs use these addresses and no others.
const MEMORY: usize = 8 << 20;

/// What the helpers know of the run in progress.
#[derive(Default)]
struct Kernel {
    memory: Box<[u64]>,
    /// How much of the memory is used, in words.
    used: usize,
    /// Places of deleted values, by their number of words.
    free: BTreeMap<usize, Vec<usize>>,
    /// By map and key, the place of the value in the memory.
    values: BTreeMap<(u32, Vec<u8>), usize>,
    thread: u64,
    cookie: u64,
    now: u64,
    /// What the program bound, and the error that it set.
    bound: Option<Key>,
    error: Option<i64>,
    /// Sources that cannot be bound.
    absent: BTreeSet<Key>,
    refusals: u32,
    flags: u64,
}

thread_local! {
    static KERNEL: RefCell<Kernel> = RefCell::default();
}

const NETNS: u64 = 0x1234_5678_9abc;

fn with<T>(work: impl FnOnce(&mut Kernel) -> T) -> T {
    KERNEL.with_borrow_mut(work)
}

fn number(map: Map) -> u32 {
    u32::try_from(Map::ALL.iter().position(|one| *one == map).unwrap()).unwrap()
}

fn bytes_at(pointer: u64, length: u32) -> Vec<u8> {
    // SAFETY: the interpreter checked that programs pass pointers to their stack or to values, and their keys lie within.
    unsafe { slice::from_raw_parts(pointer as *const u8, length as usize) }.to_vec()
}

impl Kernel {
    fn words(map: u32) -> usize {
        Map::ALL[map as usize].definition().value_bytes.div_ceil(8) as usize
    }

    fn find(&mut self, map: u32, key: &[u8]) -> Option<usize> {
        if let Some(&place) = self.values.get(&(map, key.to_vec())) {
            return Some(place);
        }
        // An array has all of its values from the beginning.
        let is_array = Map::ALL[map as usize].definition().kind == 2;
        is_array.then(|| self.insert(map, key, &[]))
    }

    fn insert(&mut self, map: u32, key: &[u8], value: &[u8]) -> usize {
        let words = Self::words(map);
        let place = self.values.get(&(map, key.to_vec())).copied();
        let place = place.or_else(|| self.free.get_mut(&words).and_then(Vec::pop)).unwrap_or_else(|| {
            self.used += words;
            self.used - words
        });
        for (at, word) in self.memory[place..place + words].iter_mut().enumerate() {
            let bytes: Vec<u8> = (0..8).map(|byte| value.get(at * 8 + byte).copied().unwrap_or_default()).collect();
            *word = u64::from_le_bytes(bytes.try_into().unwrap());
        }
        self.values.insert((map, key.to_vec()), place);
        place
    }
}

fn map_lookup(map: u64, key: u64, _: u64, _: u64, _: u64) -> u64 {
    let map = u32::try_from(map).unwrap();
    let key = bytes_at(key, Map::ALL[map as usize].definition().key_bytes);
    with(|kernel| kernel.find(map, &key).map_or(0, |place| &raw const kernel.memory[place] as u64))
}

fn map_update(map: u64, key: u64, value: u64, flags: u64, _: u64) -> u64 {
    let map = u32::try_from(map).unwrap();
    let definition = Map::ALL[map as usize].definition();
    let (key, value) = (bytes_at(key, definition.key_bytes), bytes_at(value, definition.value_bytes));
    with(|kernel| {
        if flags != 0 && kernel.values.contains_key(&(map, key.clone())) {
            return 1;
        }
        kernel.insert(map, &key, &value);
        0
    })
}

fn map_delete(map: u64, key: u64, _: u64, _: u64, _: u64) -> u64 {
    let map = u32::try_from(map).unwrap();
    let key = bytes_at(key, Map::ALL[map as usize].definition().key_bytes);
    with(|kernel| {
        if let Some(place) = kernel.values.remove(&(map, key)) {
            kernel.free.entry(Kernel::words(map)).or_default().push(place);
        }
        0
    })
}

fn bind(_: u64, address: u64, _: u64, _: u64, _: u64) -> u64 {
    let sockaddr = bytes_at(address, 8);
    let source = key(std::net::Ipv4Addr::new(sockaddr[4], sockaddr[5], sockaddr[6], sockaddr[7]).into());
    with(|kernel| {
        if kernel.absent.contains(&source) {
            kernel.refusals += 1;
            return u64::MAX;
        }
        kernel.bound = Some(source);
        0
    })
}

/// The programs, loaded.
struct Stage {
    connect: Vec<u8>,
    states: Vec<u8>,
    /// How many ports each source has.
    ports: u32,
    sources: Vec<Key>,
    /// How many ports of each source are used, by others or by connections to the destination.
    used: BTreeMap<Key, u32>,
    /// The sources of connections, by the cookies of their sockets.
    open: BTreeMap<u64, Key>,
    /// How often the kernel searched a source in vain.
    in_vain: u32,
}

/// How a connection ended that was not made.
#[derive(Debug, PartialEq, Eq)]
enum Refused {
    /// The program refused it.
    AtOnce,
    /// The kernel searched in vain for a port.
    InVain,
}

fn loaded(hook: Hook) -> Vec<u8> {
    let code = emit(hook, Assembler::without_atomics()).unwrap();
    let mut bytes = code.bytes;
    for (at, map) in code.maps {
        let at = usize::try_from(at).unwrap();
        bytes[at + 4..at + 8].copy_from_slice(&number(map).to_le_bytes());
    }
    bytes
}

/// What stands for a helper of the kernel.
type Stand = fn(u64, u64, u64, u64, u64) -> u64;

fn run(program: &[u8], context: &mut [u8], socket: &[u8]) -> u64 {
    let mut machine = rbpf::EbpfVmRaw::new(None).unwrap();
    // The kernel's own verifier checks the programs in the scenes of `cargo xtask kernel`.
    machine.set_verifier(|_| Ok(())).unwrap();
    machine.set_program(program).unwrap();
    let helpers: [(Helper, Stand); 11] = [
        (Helper::MapLookup, map_lookup),
        (Helper::MapUpdate, map_update),
        (Helper::MapDelete, map_delete),
        (Helper::KtimeGetNs, |_, _, _, _, _| with(|kernel| kernel.now)),
        (Helper::GetCurrentPidTgid, |_, _, _, _, _| with(|kernel| kernel.thread)),
        (Helper::GetCurrentUidGid, |_, _, _, _, _| 1000),
        (Helper::GetSocketCookie, |_, _, _, _, _| with(|kernel| kernel.cookie)),
        (Helper::SockOpsCbFlagsSet, |_, flags, _, _, _| {
            with(|kernel| kernel.flags = flags);
            0
        }),
        (Helper::Bind, bind),
        (Helper::GetNetnsCookie, |_, _, _, _, _| NETNS),
        (Helper::SetRetval, |error, _, _, _, _| {
            with(|kernel| kernel.error = Some(error.cast_signed()));
            0
        }),
    ];
    for (helper, function) in helpers {
        machine.register_helper(helper as u32, function).unwrap();
    }
    let memory = with(|kernel| kernel.memory.as_ptr_range());
    machine.register_allowed_memory(memory.start as u64..memory.end as u64);
    machine.register_allowed_memory(socket.as_ptr() as u64..socket.as_ptr() as u64 + socket.len() as u64);
    machine.execute_program(context).unwrap()
}

const DESTINATION: [u8; 4] = [198, 18, 0, 2];

impl Stage {
    fn new(sources: usize, ports: u32) -> Self {
        with(|kernel| *kernel = Kernel { memory: vec![0; MEMORY / 8].into(), now: 1, ..Kernel::default() });
        let sources: Vec<Key> = (0..sources)
            .map(|number| key(std::net::Ipv4Addr::from(0x0a00_0001 + u32::try_from(number).unwrap()).into()))
            .collect();
        with(|kernel| {
            let settings = Settings { uid: Some(1000), netns_cookie: NETNS, ports };
            kernel.insert(number(Map::Settings), &[0; 4], &settings.bytes());
            let destination = [&128_u32.to_le_bytes()[..], &key(std::net::Ipv4Addr::from(DESTINATION).into())].concat();
            kernel.insert(number(Map::Destinations), &destination, &(Treatment::All as u32).to_le_bytes());
            let count = u32::try_from(sources.len()).unwrap();
            kernel.insert(number(Map::Counts), &[0; 4], &count.to_le_bytes());
            for (slot, source) in (0_u32..).zip(&sources) {
                kernel.insert(number(Map::Sources), &slot.to_le_bytes(), source);
                kernel.insert(number(Map::Slots), source, &slot.to_le_bytes());
                kernel.insert(number(Map::Taken), source, &[]);
            }
        });
        let used = sources.iter().map(|source| (*source, 0)).collect();
        Self {
            connect: loaded(Hook::Connect4),
            states: loaded(Hook::States),
            ports,
            sources,
            used,
            open: BTreeMap::new(),
            in_vain: 0,
        }
    }

    /// A thread connects a socket, which gets this cookie.
    fn connect(&mut self, thread: u64, cookie: u64) -> Result<(), Refused> {
        let socket = [0_u8; 80];
        let mut context = [0_u8; 72];
        context[4..8].copy_from_slice(&DESTINATION);
        context[24..28].copy_from_slice(&u32::from(443_u16.to_be()).to_le_bytes());
        context[32..36].copy_from_slice(&1_u32.to_le_bytes());
        context[36..40].copy_from_slice(&6_u32.to_le_bytes());
        context[64..72].copy_from_slice(&(socket.as_ptr() as u64).to_le_bytes());
        with(|kernel| (kernel.thread, kernel.cookie, kernel.bound, kernel.error) = (thread, cookie, None, None));
        if run(&self.connect, &mut context, &socket) == 0 {
            assert_eq!(with(|kernel| kernel.error), Some(-99), "EADDRNOTAVAIL");
            return Err(Refused::AtOnce);
        }
        let source = with(|kernel| kernel.bound).unwrap();
        let used = self.used.get_mut(&source).unwrap();
        if *used == self.ports {
            self.in_vain += 1;
            return Err(Refused::InVain);
        }
        *used += 1;
        with(|kernel| kernel.flags = 0);
        self.tell(source, cookie, 3, 0);
        assert_eq!(with(|kernel| kernel.flags), 4, "the end is asked for");
        self.open.insert(cookie, source);
        Ok(())
    }

    fn close(&mut self, cookie: u64) {
        let source = self.open.remove(&cookie).unwrap();
        self.tell(source, cookie, 10, 7);
        *self.used.get_mut(&source).unwrap() -= 1;
    }

    fn tell(&self, source: Key, cookie: u64, operation: u32, state: u32) {
        let mut context = [0_u8; 96];
        context[..4].copy_from_slice(&operation.to_le_bytes());
        context[8..12].copy_from_slice(&state.to_le_bytes());
        context[20..24].copy_from_slice(&2_u32.to_le_bytes());
        context[24..28].copy_from_slice(&DESTINATION);
        context[28..32].copy_from_slice(&source[12..]);
        context[64..68].copy_from_slice(&(u32::from(443_u16.to_be()) << 16).to_le_bytes());
        with(|kernel| kernel.cookie = cookie);
        assert_eq!(run(&self.states, &mut context, &[]), 1);
    }

    /// How many connections the programs count for each source.
    fn counted(&self) -> Vec<u64> {
        let of = |source: &Key| {
            let destination = key(std::net::Ipv4Addr::from(DESTINATION).into());
            let port = u32::from(443_u16.to_be()).to_le_bytes();
            let live = [&source[..], &destination, &port].concat();
            with(|kernel| {
                let place = kernel.values.get(&(number(Map::Live), live));
                place.map_or(0, |&place| kernel.memory[place])
            })
        };
        self.sources.iter().map(of).collect()
    }

    fn unevenness(&self) -> u32 {
        let most = self.used.values().max().unwrap();
        most - self.used.values().min().unwrap()
    }

    fn capacity(&self) -> usize {
        self.sources.len() * self.ports as usize
    }
}

/// A sequence of connections that a client repeats: whether each of them stays.
fn pattern(random: &mut fastrand::Rng, period: usize) -> Vec<bool> {
    let mut stays: Vec<bool> = (0..period).map(|_| random.bool()).collect();
    stays[random.usize(..period)] = true;
    stays
}

/// Threads that repeat a pattern, each at its own place in it, until so many connections stand.
fn repeat(stage: &mut Stage, random: &mut fastrand::Rng, stays: &[bool], threads: u64, standing: usize) {
    let mut cookie = 0;
    let mut places: Vec<usize> = (0..threads).map(|_| random.usize(..stays.len())).collect();
    let mut short = Vec::new();
    while stage.open.len() - short.len() < standing {
        let thread = random.u64(..threads);
        let place = &mut places[usize::try_from(thread).unwrap()];
        cookie += 1;
        let made = stage.connect(thread, cookie);
        assert_eq!(made, Ok(()), "{} of {} stand", stage.open.len(), stage.capacity());
        if !stays[*place] {
            short.push(cookie);
        }
        *place = (*place + 1) % stays.len();
        // Short ones last for a few other connections.
        while short.len() > usize::try_from(threads).unwrap() {
            stage.close(short.remove(0));
        }
    }
    for cookie in short {
        stage.close(cookie);
    }
}

#[test]
fn no_pattern_makes_a_connect_fail_below_95_percent() {
    let mut random = fastrand::Rng::with_seed(12);
    for case in 0..2_000 {
        // The few that showed the fault, some large ones, and many small ones.
        let (sources, period, ports) = match case {
            0 => (16, 2, 100),
            1 => (16, 4, 100),
            2 => (15, 2, 100),
            3 => (240, 2, 50),
            4..20 => (random.usize(1..=60), random.usize(1..=64), random.u32(50..=120)),
            _ => (random.usize(1..=16), random.usize(1..=64), random.u32(6..=20)),
        };
        let threads = if random.bool() { 1 } else { 16 };
        let stays = match case {
            0..4 => (0..period).map(|place| place == 0).collect(),
            _ => pattern(&mut random, period),
        };
        let mut stage = Stage::new(sources, ports);
        // Short connections need ports, too.
        let standing = (stage.capacity() * 95 / 100).saturating_sub(17);
        repeat(&mut stage, &mut random, &stays, threads, standing);
        let used: Vec<u64> = stage.used.values().map(|&used| used.into()).collect();
        assert_eq!(stage.counted(), used, "{sources} sources, {ports} ports, {stays:?}");
    }
}

#[test]
fn many_sources_are_even_to_the_connection_and_then_full() {
    for sources in [1, 2, 3, 63, 64, 65, 128, 240] {
        let mut stage = Stage::new(sources, 10);
        for cookie in 0..stage.capacity() as u64 {
            assert_eq!(stage.connect(cookie % 16, cookie), Ok(()), "{sources} sources");
            assert!(stage.unevenness() <= 1, "{sources} sources, {cookie}: {:?}", stage.used);
        }
        for cookie in 1_000_000..1_000_003 {
            assert_eq!(stage.connect(cookie % 16, cookie), Err(Refused::AtOnce), "{sources} sources");
        }
        // A port that is free again is found at once.
        for cookie in [0, 7] {
            stage.close(cookie);
            assert_eq!(stage.connect(1, cookie), Ok(()), "{sources} sources");
            assert_eq!(stage.connect(1, 2_000_000), Err(Refused::AtOnce), "{sources} sources");
        }
        assert_eq!(stage.in_vain, 0);
    }
}

#[test]
fn sources_that_lose_their_connections_together_are_filled_again() {
    let mut random = fastrand::Rng::with_seed(5);
    let mut stage = Stage::new(100, 20);
    let full = stage.capacity() as u64 * 95 / 100;
    (0..full).for_each(|cookie| assert_eq!(stage.connect(cookie % 16, cookie), Ok(())));
    for round in 1..=4 {
        let lost: Vec<Key> = (0..25).map(|_| stage.sources[random.usize(..100)]).collect();
        let gone: Vec<u64> =
            stage.open.iter().filter(|(_, source)| lost.contains(source)).map(|(cookie, _)| *cookie).collect();
        for &cookie in &gone {
            stage.close(cookie);
        }
        for cookie in gone {
            assert_eq!(stage.connect(cookie % 16, round * 1_000_000 + cookie), Ok(()), "round {round}");
        }
    }
    assert_eq!((stage.in_vain, stage.open.len() as u64), (0, full));
}

#[test]
fn ports_that_others_use_are_learned_and_asked_for_again_after_a_while() {
    let mut stage = Stage::new(4, 100);
    // A service of the host uses ports of one source.
    let taken = stage.sources[2];
    stage.used.insert(taken, 10);
    let mut cookie = 0;
    let mut fill = |stage: &mut Stage| {
        let mut last = Ok(());
        while last != Err(Refused::AtOnce) {
            cookie += 1;
            last = stage.connect(1, cookie);
        }
    };
    fill(&mut stage);
    assert_eq!((stage.in_vain, stage.open.len()), (1, 390));
    fill(&mut stage);
    assert_eq!(stage.in_vain, 1, "it is not tried again at once");
    with(|kernel| kernel.now += 11_000_000_000);
    *stage.used.get_mut(&taken).unwrap() -= 10;
    fill(&mut stage);
    assert_eq!((stage.in_vain, stage.open.len()), (1, 400));
}

#[test]
fn what_was_learned_of_one_source_ends_in_time_while_another_is_learned() {
    let mut stage = Stage::new(4, 100);
    let [first, second] = [stage.sources[0], stage.sources[1]];
    stage.used.insert(first, 10);
    let mut cookie = 0;
    let mut fill = |stage: &mut Stage| {
        let mut last = Ok(());
        while last != Err(Refused::AtOnce) {
            cookie += 1;
            last = stage.connect(1, cookie);
        }
    };
    fill(&mut stage);
    assert_eq!((stage.in_vain, stage.open.len()), (1, 390));
    // The others move from one source to the next one.
    let moved: Vec<u64> =
        stage.open.iter().filter(|(_, source)| **source == second).map(|(cookie, _)| *cookie).take(10).collect();
    for cookie in moved {
        stage.close(cookie);
    }
    stage.used.insert(second, 100);
    stage.used.insert(first, 90);
    with(|kernel| kernel.now += 11_000_000_000);
    fill(&mut stage);
    assert_eq!((stage.in_vain, stage.open.len(), stage.used[&first]), (2, 390, 100));
}

#[test]
fn no_pattern_gives_its_long_connections_to_some_sources_alone() {
    let mut random = fastrand::Rng::with_seed(3);
    for (sources, period) in [(16, 2), (16, 4), (64, 8), (240, 2)] {
        let mut stage = Stage::new(sources, 100);
        let stays: Vec<bool> = (0..period).map(|place| place == 0).collect();
        let half = stage.capacity() / 2;
        repeat(&mut stage, &mut random, &stays, 1, half);
        let most = stage.used.values().max().unwrap();
        assert!(*most <= 80, "{sources} sources, every {period}th stays: {:?}", stage.used.values());
    }
}

#[test]
fn a_source_that_is_nearly_full_has_its_turn_only_when_all_are() {
    let mut stage = Stage::new(16, 100);
    let full = stage.capacity() as u64 * 95 / 100;
    (0..full).for_each(|cookie| assert_eq!(stage.connect(1, cookie), Ok(())));
    // Half of the sources lose all of their connections.
    let lost: Vec<Key> = stage.sources[..8].to_vec();
    let gone: Vec<u64> =
        stage.open.iter().filter(|(_, source)| lost.contains(source)).map(|(cookie, _)| *cookie).collect();
    for &cookie in &gone {
        stage.close(cookie);
    }
    for cookie in gone {
        assert_eq!(stage.connect(1, 1_000_000 + cookie), Ok(()));
        assert!(stage.used.values().all(|&used| used <= 98), "{:?}", stage.used.values());
    }
}

#[test]
fn a_source_that_cannot_be_bound_is_passed_over() {
    let mut stage = Stage::new(3, 10);
    let absent = stage.sources[1];
    with(|kernel| kernel.absent.insert(absent));
    for cookie in 0..18 {
        assert_eq!(stage.connect(1, cookie), Ok(()));
    }
    assert_eq!(stage.counted().into_iter().sum::<u64>(), 18);
    assert_eq!(stage.used[&absent], 0);
    assert!((6..=18).contains(&with(|kernel| kernel.refusals)), "it is asked once for a connection at most");
    with(|kernel| kernel.absent = BTreeSet::new());
    for cookie in 18..21 {
        assert_eq!(stage.connect(1, cookie), Ok(()));
    }
    assert_eq!(stage.used[&absent], 1);
}

#[test]
fn a_slot_that_is_cleared_meanwhile_is_passed_over() {
    for sources in [2, 3, 64, 65] {
        let mut stage = Stage::new(sources, 10);
        let last = u32::try_from(sources).unwrap() - 1;
        with(|kernel| kernel.insert(number(Map::Sources), &last.to_le_bytes(), &[]));
        for cookie in 0..2 * sources as u64 {
            assert_eq!(stage.connect(1, cookie), Ok(()), "{sources} sources");
        }
    }
}

#[test]
fn connections_that_the_client_bound_itself_are_counted() {
    let mut stage = Stage::new(2, 10);
    let bound = stage.sources[0];
    for cookie in 100..104 {
        *stage.used.get_mut(&bound).unwrap() += 1;
        stage.tell(bound, cookie, 3, 0);
        stage.open.insert(cookie, bound);
    }
    assert_eq!(stage.counted(), [4, 0]);
    for cookie in 0..16 {
        assert_eq!(stage.connect(1, cookie), Ok(()));
    }
    assert_eq!(stage.connect(1, 16), Err(Refused::AtOnce));
    stage.close(100);
    assert_eq!((stage.connect(1, 17), stage.in_vain), (Ok(()), 0));
}

#[test]
fn the_most_sources_are_searched() {
    let mut stage = Stage::new(MOST_SOURCES as usize, 1);
    (0..200).for_each(|cookie| assert_eq!(stage.connect(cookie, cookie), Ok(())));
    assert_eq!(stage.unevenness(), 1);
}
