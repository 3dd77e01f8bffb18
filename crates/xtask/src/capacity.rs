//! `cargo xtask capacity`: measures how many TCP connections one host holds to one destination, from one address and from
//! sixteen, how fast they are opened, and the cost of spreading. It needs root, and for some minutes no other load on the
//! machine.
//!
//! Host and destination are namespaces of this machine with a router between them, so the figures include both ends of
//! every connection. A process can have about 20,000 descriptors, so many processes of `xtask` hold the connections. The
//! destination keeps connections in the queue of its listening socket, where they are established and need no descriptor.
//! So only the host is measured.
//!
//! Connections are opened as with the generator's service, which alternates the preferred half of the local ports. The
//! figures without alternation are measured too.

#![expect(clippy::cast_precision_loss, reason = "figures for people, who need few digits")]

use std::{
    fmt::Write as _,
    fs, io,
    net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream},
    os::fd::AsRawFd as _,
    sync::mpsc::{self, RecvTimeoutError, Sender},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use aya::{
    programs::loaded_programs,
    sys::{Stats, enable_stats},
};
use clap::Args;
use nix::{
    sched::{CloneFlags, setns},
    sys::{
        resource::{Resource, getrlimit},
        socket::{AddressFamily, Backlog, SockFlag, SockType, SockaddrIn, bind, setsockopt, socket, sockopt},
    },
};
use serde::{Deserialize, Serialize};
use trunnion_estimate::grouped;
use trunnion_host::Config;

use crate::{
    Failure, generator,
    kernel::{
        command::Service,
        stage::{self, Stage, StageOptions},
    },
};

/// The target number of connections: more than any published figure for one client host on EC2 (600,000).
const AIM: usize = 1_000_000;
const ADDRESSES: u8 = 16;

/// The longest time for opening connections, from one address and from sixteen.
const LONGEST: [Duration; 2] = [Duration::from_mins(2), Duration::from_mins(5)];

/// Opening connections stops below this amount of free memory.
const LEAST_FREE_BYTES: u64 = 2 << 30;

/// The number of processes that open connections at the same time.
const AT_ONCE: usize = 2;

/// The number of connections in a batch with or without spreading, and the number of batches.
const BATCH: usize = 8_000;
const BATCHES: usize = 9;

/// Ranges of local ports that prefer even and odd ports.
const RANGES: [&str; 2] = ["1024 65535", "1025 65534"];
const PORTS: usize = 64_512;

/// How full the addresses are when single connects are timed, in percent. At 100, the connect fails.
const SHARES: [usize; 6] = [0, 50, 90, 95, 99, 100];

/// How many connects are timed then.
const TIMED: usize = 300;

/// How long one half of the ports is preferred.
const TURN: Duration = Duration::from_millis(250);

/// Descriptors that a holder itself needs.
const SPARE_DESCRIPTORS: u64 = 64;

const XTASK: &str = "/usr/local/bin/xtask";
const PORT: u16 = 8_080;

/// The arguments of a holder.
#[derive(Debug, Args)]
pub(crate) struct Holder {
    destination: SocketAddr,
    /// How many connections to open at most
    most: usize,
    /// For how many seconds to open connections at most
    seconds: u64,
    /// Hold them until this process ends; otherwise close them at once
    #[arg(long)]
    hold: bool,
    /// Bind each connection to the next of these addresses, without a wish for a port, as a simulation does
    #[arg(long, value_delimiter = ',')]
    from: Vec<Ipv4Addr>,
    /// How long no connect must have succeeded before the ports count as full
    #[arg(long, default_value_t = 0)]
    patience_millis: u64,
}

/// The result of a holder.
#[derive(Debug, Serialize, Deserialize)]
struct Opened {
    connections: usize,
    /// Why it opened fewer connections than requested.
    end: Option<String>,
    micros: u64,
    /// How long half of the connects took at most, and 99 % of them.
    nanos: [u64; 2],
}

/// Opens connections and prints how many it opened.
#[expect(clippy::print_stdout, reason = "the benchmark that starts it reads this")]
pub(crate) fn hold(arguments: &Holder) -> Result<(), Failure> {
    let begin = Instant::now();
    let mut held = Vec::with_capacity(arguments.most);
    let mut end = None;
    let mut nanos = Vec::with_capacity(arguments.most);
    let (mut turn, mut succeeded) = (0, Instant::now());
    while held.len() < arguments.most {
        let before = Instant::now();
        let connected = connect(arguments.destination, &arguments.from, turn);
        turn += 1;
        nanos.push(u64::try_from(before.elapsed().as_nanos())?);
        match connected {
            Ok(stream) => {
                held.push(stream);
                succeeded = Instant::now();
            }
            // The service alternates the port range, so an address can seem full while its first or last port is free. The
            // spread program leaves such an address out for ten seconds.
            Err(error)
                if matches!(error.kind(), io::ErrorKind::AddrNotAvailable | io::ErrorKind::AddrInUse)
                    && succeeded.elapsed() < Duration::from_millis(arguments.patience_millis) =>
            {
                thread::sleep(Duration::from_millis(1));
            }
            Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => {
                end = Some("no port is free".into());
                break;
            }
            Err(error) => {
                end = Some(error.to_string());
                break;
            }
        }
        if begin.elapsed() > Duration::from_secs(arguments.seconds) {
            end = Some("time is up".into());
            break;
        }
        if held.len() % 1_000 == 0 && free_bytes()? < LEAST_FREE_BYTES {
            end = Some("memory runs out".into());
            break;
        }
    }
    let micros = u64::try_from(begin.elapsed().as_micros())?;
    nanos.sort_unstable();
    let nanos = [50, 99].map(|percent| nanos.get(nanos.len() * percent / 100).copied().unwrap_or_default());
    println!("{}", serde_json::to_string(&Opened { connections: held.len(), end, micros, nanos })?);
    if arguments.hold {
        // Much longer than the benchmark takes. The benchmark ends this process.
        thread::sleep(Duration::from_mins(30));
    }
    for stream in &held {
        // Connections are reset on close, so that all ports are free again.
        setsockopt(stream, sockopt::Linger, &nix::libc::linger { l_onoff: 1, l_linger: 0 })?;
    }
    Ok(())
}

/// A connection that binds its turn of these addresses first; with none, it binds nothing.
fn connect(destination: SocketAddr, from: &[Ipv4Addr], turn: usize) -> io::Result<TcpStream> {
    let Some(source) = turn.checked_rem(from.len()).and_then(|at| from.get(at)) else {
        return TcpStream::connect(destination);
    };
    let socket = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    bind(socket.as_raw_fd(), &SockaddrIn::from(SocketAddrV4::new(*source, 0)))?;
    let SocketAddr::V4(destination) = destination else { return Err(io::ErrorKind::Unsupported.into()) };
    nix::sys::socket::connect(socket.as_raw_fd(), &SockaddrIn::from(destination))?;
    Ok(TcpStream::from(socket))
}

/// Opens connections from the host to all these destinations at once until none is possible any more, as this user, and returns
/// their number.
pub(crate) fn until_full(
    stage: &Stage,
    user: &str,
    destinations: &[SocketAddr],
    from: &[String],
) -> Result<u64, Failure> {
    fs::copy("/proc/self/exe", stage.path(XTASK))?;
    let (mut listeners, mut holders) = (Vec::new(), Vec::new());
    for (number, destination) in (0..).zip(destinations) {
        let target = stage.target(number)?;
        target.sysctl(&["net.core.somaxconn=2000000", "net.ipv4.tcp_max_syn_backlog=200000"])?;
        let command =
            target.command(&[&std::env::current_exe()?.display().to_string(), "listen", &destination.to_string()]);
        let listener = Service::start(command, "listen".into(), target)?;
        wait_for_line(&listener)?;
        listeners.push(listener);
    }
    let (most, from) = (most_of_a_process()?.to_string(), from.join(","));
    for destination in destinations {
        let destination = destination.to_string();
        let mut command = vec![XTASK, "hold", &destination, &most, "60", "--hold", "--patience-millis", "15000"];
        if !from.is_empty() {
            command.extend(["--from", &from]);
        }
        holders.push(stage.start_as_user(user, &command)?);
    }
    let mut connections = 0;
    for holder in &holders {
        let one: Opened = serde_json::from_str(&wait_for_line(holder)?)?;
        connections += u64::try_from(one.connections)?;
    }
    drop(listeners);
    Ok(connections)
}

/// Listens and keeps connections in the socket's queue until this process ends.
#[expect(clippy::print_stdout, reason = "the benchmark that starts it reads this")]
pub(crate) fn listen(address: SocketAddr) -> Result<(), Failure> {
    let listener = std::net::TcpListener::bind(address)?;
    // Listen again, with the longest queue that the namespace allows.
    nix::sys::socket::listen(&listener, Backlog::MAXALLOWABLE)?;
    println!("ready");
    thread::sleep(Duration::from_mins(30));
    Ok(())
}

/// The figures of one measurement.
#[derive(Debug)]
struct Filling {
    connections: usize,
    time: Duration,
    end: String,
    kernel_bytes: u64,
    /// How long each request for the service's metrics took while they stood.
    scrapes: Vec<Duration>,
}

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "a chore talks to the person who runs it")]
pub(crate) fn capacity() -> Result<(), Failure> {
    if !nix::unistd::geteuid().is_root() {
        return Err("the benchmark makes network namespaces, which only root can: run it as root".into());
    }
    eprintln!("Building the static generator in release …");
    stage::set_binary(generator::build_static("release")?);
    stage::clear_leftovers()?;
    let bench = Bench::new()?;

    eprintln!("Timing connections with and without spreading …");
    let cost = bench.cost()?;
    eprintln!("  {cost:?}");
    eprintln!("Timing the program …");
    let program = bench.program_nanos()?;
    eprintln!("  {program:.0} ns");
    eprintln!("Timing one address as it fills …");
    let (plain, turned) = (bench.rates(false)?, bench.rates(true)?);
    eprintln!("  {plain:?} with even ports first, {turned:?} with alternating halves");
    eprintln!("Timing single connects as addresses fill …");
    let connects = [1, usize::from(ADDRESSES)].map(|addresses| bench.connects(addresses));
    let [of_one, of_all] = connects;
    let (of_one, of_all) = (of_one?, of_all?);
    eprintln!("  {of_one:?}\n  {of_all:?}");
    eprintln!("Filling one address …");
    let one = bench.fill(usize::MAX, LONGEST[0], 1, 0)?;
    eprintln!("  {} connections in {:.0?}, then: {}", one.connections, one.time, one.end);
    bench.spread()?;
    eprintln!("Filling {ADDRESSES} addresses …");
    let all = bench.fill(AIM, LONGEST[1], AT_ONCE, 10)?;
    eprintln!("  {} connections in {:.0?}, then: {}", all.connections, all.time, all.end);

    println!("{}\n", machine()?);
    println!("| what | one address | {ADDRESSES} addresses |\n|---|---|---|");
    println!(
        "| connections held to one destination | {} | {} ({:.1} times as many) |",
        thousands(one.connections),
        thousands(all.connections),
        ratio(all.connections, one.connections)
    );
    println!("| opened in | {:.0?} | {:.0?} |", one.time, all.time);
    println!("| reason for the end | {} | {} |", one.end, all.end);
    println!("| connections a second on average | {} | {} |", rate(&one), rate(&all));
    println!(
        "| kernel memory of a connection, both ends | {} bytes | {} bytes |",
        thousands(per(one.kernel_bytes, one.connections)),
        thousands(per(all.kernel_bytes, all.connections))
    );
    let longest = all.scrapes.iter().max().copied().unwrap_or_default();
    println!("| the longest of {} requests for the metrics | | {longest:.1?} |", all.scrapes.len());
    println!(
        "\n| connections a second from one address, its ports towards the destination | even ports first | \
         alternating halves |\n|---|---|---|"
    );
    for (name, (plain, turned)) in ["empty", "45 % used", "55 % used", "95 % used"].iter().zip(plain.iter().zip(turned))
    {
        println!("| {name} | {} | {} |", thousands(*plain), thousands(turned));
    }
    println!(
        "\n| a connect with spreading, microseconds: half, 99 % | one address | {ADDRESSES} addresses |\n|---|---|---|"
    );
    let shown = |[half, most]: [u64; 2]| format!("{:.0}, {:.0}", half as f64 / 1_000.0, most as f64 / 1_000.0);
    for (share, (one, all)) in SHARES.iter().zip(of_one.iter().zip(&of_all)) {
        println!("| {share} % of the ports used | {} | {} |", shown(*one), shown(*all));
    }
    println!("\n| spreading | microseconds per connect |\n|---|---|");
    println!("| off | {:.2} (least), {:.2} (median) |", cost.off.least, cost.off.median);
    println!("| on, {ADDRESSES} addresses | {:.2} (least), {:.2} (median) |", cost.on.least, cost.on.median);
    println!("| added | {:.2} (median of the pairs' differences) |", cost.added);
    println!("| the programs themselves, by the kernel's own count | {:.2} |", program / 1_000.0);
    Ok(())
}

/// A host with sixteen addresses on one interface, and a destination.
struct Bench {
    stage: Stage,
    sources: Vec<String>,
    destination: SocketAddr,
}

/// Microseconds.
#[derive(Debug)]
struct Spread {
    least: f64,
    median: f64,
}

#[derive(Debug)]
struct Cost {
    off: Spread,
    on: Spread,
    /// The median of the differences within each pair.
    added: f64,
}

impl Bench {
    fn new() -> Result<Self, Failure> {
        let stage = Stage::new(StageOptions { targets: 1, ..StageOptions::one_subnet(1, ADDRESSES) })?;
        // As on a host, the port on which the service will listen is left free.
        let mut script = format!(
            "sysctl -q -w net.ipv4.ip_local_port_range='1024 65535' net.ipv4.ip_local_reserved_ports={}\n",
            Config::METRICS_PORT
        );
        let addresses = stage.addresses();
        for address in addresses.iter().skip(1) {
            writeln!(script, "ip addr add {address}/32 dev ens5")?;
        }
        stage.script(&script)?.succeeded()?;
        stage.target(0)?.sysctl(&["net.core.somaxconn=2000000", "net.ipv4.tcp_max_syn_backlog=200000"])?;
        // This still works after cargo has replaced the file.
        fs::copy("/proc/self/exe", stage.path(XTASK))?;
        let destination = SocketAddr::from((stage::target_ipv4(0), PORT));
        let sources = addresses.iter().map(Ipv4Addr::to_string).collect();
        Ok(Self { stage, sources, destination })
    }

    /// A destination. When it is dropped, it resets all its connections. This must happen before their other ends are
    /// closed, so that no port of the host stays in `TIME_WAIT`.
    fn listen(&self) -> Result<Service, Failure> {
        let target = self.stage.target(0)?;
        let command =
            target.command(&[&std::env::current_exe()?.display().to_string(), "listen", &self.destination.to_string()]);
        let listener = Service::start(command, "listen".into(), target)?;
        wait_for_line(&listener)?;
        Ok(listener)
    }

    fn spread(&self) -> Result<(), Failure> {
        let sources: Vec<&str> = self.sources.iter().map(String::as_str).collect();
        self.stage.generator(&[&["spread", "--uid", "0", "--source"], &sources[..]].concat())?.succeeded().map(drop)
    }

    fn start_holder(&self, most: usize, seconds: u64, hold: bool) -> Result<Service, Failure> {
        let (destination, most, seconds) = (self.destination.to_string(), most.to_string(), seconds.to_string());
        let mut command = vec![XTASK, "hold", &destination, &most, &seconds];
        command.extend(hold.then_some("--hold"));
        self.stage.start(&command)
    }

    /// Microseconds per connect of one batch.
    fn batch(&self) -> Result<f64, Failure> {
        let ended = self.start_holder(BATCH, 60, false)?.wait(Duration::from_secs(90))?.succeeded()?;
        let opened: Opened = serde_json::from_str(&ended.stdout)?;
        match opened.end {
            None => Ok(opened.micros as f64 / BATCH as f64),
            Some(end) => Err(format!("a batch ended early: {end}").into()),
        }
    }

    /// Alternates batches without and with spreading, so that other influences affect both.
    fn cost(&self) -> Result<Cost, Failure> {
        let _listener = self.listen()?;
        self.batch()?;
        let (mut off, mut on) = (Vec::new(), Vec::new());
        for _ in 0..BATCHES {
            off.push(self.batch()?);
            self.spread()?;
            on.push(self.batch()?);
            self.stage.generator(&["spread", "--detach"])?.succeeded()?;
        }
        let added = off.iter().zip(&on).map(|(off, on)| on - off).collect();
        Ok(Cost { off: spread_of(off), on: spread_of(on), added: spread_of(added).median })
    }

    /// The kernel's time for all runs of the programs that belong to one connection, in nanoseconds, averaged over one batch.
    fn program_nanos(&self) -> Result<f64, Failure> {
        let _listener = self.listen()?;
        self.spread()?;
        self.batch()?;
        let _counting = enable_stats(Stats::RunTime)?;
        let before = runs();
        self.batch()?;
        let after = runs();
        // Those that ran: one at `connect()`, and one at the states of the socket. No other host may be at work.
        let nanos: Vec<f64> = after
            .iter()
            .filter_map(|&(id, count, time)| {
                let (_, count_before, time_before) = before.iter().find(|(before, ..)| *before == id)?;
                let (count, time) = (count.checked_sub(*count_before)?, time.checked_sub(*time_before)?);
                (count >= BATCH as u64).then(|| time.as_nanos() as f64 / BATCH as f64)
            })
            .collect();
        self.stage.generator(&["spread", "--detach"])?.succeeded()?;
        if nanos.len() == 2 {
            Ok(nanos.iter().sum())
        } else {
            Err(format!("{} programs ran at each connection instead of 2", nanos.len()).into())
        }
    }

    /// Connections per second from one address when its ports to the destination are free, almost half used, just over half
    /// used, and almost all used.
    fn rates(&self, turning: bool) -> Result<[usize; 4], Failure> {
        let listener = self.listen()?;
        let turns = if turning { Some(self.turns()?) } else { None };
        let mut filled = Filled { bench: self, holders: Vec::new(), connections: 0 };
        let mut rates = [0; 4];
        // Prefer the odd ports after one half, so that the later measurements match a host that filled up by itself.
        for (rate, (share, range)) in rates.iter_mut().zip([(0, 0), (45, 0), (55, 1), (95, 1)]) {
            let aim = PORTS * share / 100;
            let half = PORTS / 2;
            if turns.is_none() && aim > half && filled.connections < half {
                filled.until(half)?;
            }
            if turns.is_none() {
                self.range(RANGES[range])?;
            }
            filled.until(aim)?;
            if turns.is_none() {
                self.range(RANGES[0])?;
            }
            *rate = filled.more(1_000, 4)?;
        }
        drop(turns);
        drop(listener);
        Ok(rates)
    }

    /// Nanoseconds of half of the connects and of 99 % of them, for each of [`SHARES`], spread over so many addresses.
    fn connects(&self, addresses: usize) -> Result<Vec<[u64; 2]>, Failure> {
        let _listener = self.listen()?;
        let sources: Vec<&str> = self.sources.iter().take(addresses).map(String::as_str).collect();
        self.stage.generator(&[&["spread", "--uid", "0", "--source"], &sources[..]].concat())?.succeeded()?;
        let turns = self.turns()?;
        let mut filled = Filled { bench: self, holders: Vec::new(), connections: 0 };
        let mut found = Vec::new();
        for share in SHARES {
            let aim = addresses * PORTS * share / 100;
            let opened = if share < 100 {
                filled.until(aim)?;
                filled.open(TIMED, 60)?
            } else {
                // Listeners take some ports, and the two ranges differ by two ports. So a connect that fails may be followed
                // by some that do not.
                loop {
                    let opened = filled.open(most_of_a_process()?, 60)?;
                    if opened.connections == 0 {
                        break opened;
                    }
                }
            };
            if opened.end.is_some() != (share == 100) {
                return Err(format!("{} connects at {share} %, then: {:?}", opened.connections, opened.end).into());
            }
            found.push(opened.nanos);
        }
        drop(turns);
        self.stage.generator(&["spread", "--detach"])?.succeeded()?;
        Ok(found)
    }

    fn range(&self, range: &str) -> Result<(), Failure> {
        self.stage.host_namespace().sysctl(&[&format!("net.ipv4.ip_local_port_range={range}")])
    }

    /// Alternates the preferred half of the ports, as the generator's service does, until it is dropped.
    fn turns(&self) -> Result<Turns, Failure> {
        let network = fs::File::open(format!("/proc/{}/ns/net", self.stage.host_namespace().id()))?;
        let (stop, stopped) = mpsc::channel::<()>();
        let thread = thread::spawn(move || -> io::Result<()> {
            setns(network, CloneFlags::CLONE_NEWNET)?;
            for range in RANGES.iter().cycle() {
                set_port_range(range)?;
                if stopped.recv_timeout(TURN) != Err(RecvTimeoutError::Timeout) {
                    break;
                }
            }
            set_port_range(RANGES[0])
        });
        Ok(Turns { stop: Some(stop), thread: Some(thread) })
    }

    /// Opens this number of connections and holds them all.
    #[expect(clippy::print_stderr, reason = "a chore talks to the person who runs it")]
    fn fill(&self, aim: usize, longest: Duration, at_once: usize, scrapes: usize) -> Result<Filling, Failure> {
        let listener = self.listen()?;
        let _turns = self.turns()?;
        let most = most_of_a_process()?;
        let kernel_before = kernel_bytes()?;
        let begin = Instant::now();
        let (mut holders, mut opened): (Vec<Service>, Vec<Opened>) = (Vec::new(), Vec::new());
        let mut end = None;
        while end.is_none() {
            // Processes that have reported their result only hold connections.
            let planned: usize =
                opened.iter().map(|one| one.connections).sum::<usize>() + (holders.len() - opened.len()) * most;
            if holders.len() - opened.len() < at_once && planned < aim {
                let left = longest.saturating_sub(begin.elapsed()).as_secs();
                holders.push(self.start_holder(most.min(aim - planned), left, true)?);
            } else if let Some(next) = holders.get(opened.len()) {
                let one: Opened = serde_json::from_str(&wait_for_line(next)?)?;
                eprintln!(
                    "  {} after {:.0?}",
                    thousands(opened.iter().map(|one| one.connections).sum::<usize>() + one.connections),
                    begin.elapsed()
                );
                end.clone_from(&one.end);
                opened.push(one);
            } else {
                end = Some("the target was reached".into());
            }
        }
        for holder in holders.iter().skip(opened.len()) {
            opened.push(serde_json::from_str(&wait_for_line(holder)?)?);
        }
        let time = begin.elapsed();
        let connections: usize = opened.iter().map(|one| one.connections).sum();
        let kernel_bytes = kernel_bytes()?.saturating_sub(kernel_before);
        let standing = sockets(holders.first().ok_or("no process")?.id())?;
        if standing < connections {
            return Err(format!("only {standing} of {connections} connections are established").into());
        }
        let scrapes = if scrapes == 0 { Vec::new() } else { self.scrapes(scrapes)? };
        drop(listener);
        Ok(Filling { connections, time, end: end.unwrap_or_default(), kernel_bytes, scrapes })
    }

    /// Starts the service, and asks for its metrics so many times.
    fn scrapes(&self, count: usize) -> Result<Vec<Duration>, Failure> {
        let mut service = self.stage.generator_as_service(&["run"])?;
        service.wait_for_notice("READY=1", Duration::from_mins(2))?;
        let mut took = Vec::new();
        for _ in 0..count {
            let begin = Instant::now();
            let (status, body) = self.stage.get(Config::METRICS_PORT, "/metrics")?;
            took.push(begin.elapsed());
            if status != 200 {
                return Err(format!("/metrics said {status}: {body}").into());
            }
            std::thread::sleep(Duration::from_secs(5));
        }
        Ok(took)
    }
}

/// A thread that alternates the preferred half of the ports.
struct Turns {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl Drop for Turns {
    #[expect(clippy::print_stderr, reason = "a chore talks to the person who runs it")]
    fn drop(&mut self) {
        drop(self.stop.take());
        let ended = self.thread.take().map(JoinHandle::join);
        if !matches!(ended, Some(Ok(Ok(())))) {
            eprintln!("warning: the halves of the ports were not alternated: {ended:?}");
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a kernel parameter, not a regular file")]
fn set_port_range(range: &str) -> io::Result<()> {
    fs::write("/proc/sys/net/ipv4/ip_local_port_range", range)
}

/// Connections that are opened in several steps.
struct Filled<'a> {
    bench: &'a Bench,
    holders: Vec<Service>,
    connections: usize,
}

impl Filled<'_> {
    fn until(&mut self, aim: usize) -> Result<(), Failure> {
        while self.connections < aim {
            self.more((aim - self.connections).min(most_of_a_process()?), 60)?;
        }
        Ok(())
    }

    /// Opens more connections, for at most this number of seconds, and holds them.
    fn open(&mut self, count: usize, seconds: u64) -> Result<Opened, Failure> {
        let holder = self.bench.start_holder(count, seconds, true)?;
        let opened: Opened = serde_json::from_str(&wait_for_line(&holder)?)?;
        self.holders.push(holder);
        self.connections += opened.connections;
        Ok(opened)
    }

    /// The same. Returns the connections per second.
    fn more(&mut self, count: usize, seconds: u64) -> Result<usize, Failure> {
        let opened = self.open(count, seconds)?;
        match opened.end.as_deref() {
            None | Some("time is up") => Ok(per_second(opened.connections, Duration::from_micros(opened.micros))),
            Some(end) => Err(format!("{} connections, then: {end}", self.connections).into()),
        }
    }
}

/// The most connections that one process can hold.
fn most_of_a_process() -> Result<usize, Failure> {
    Ok(usize::try_from(getrlimit(Resource::RLIMIT_NOFILE)?.1.min(1 << 20) - SPARE_DESCRIPTORS)?)
}

/// The first line that a process prints.
fn wait_for_line(service: &Service) -> Result<String, Failure> {
    let end = Instant::now() + Duration::from_mins(10);
    loop {
        let (said, complained) = service.said()?;
        if let Some((line, _)) = said.split_once('\n') {
            return Ok(line.to_owned());
        }
        if !complained.is_empty() || Instant::now() > end {
            return Err(format!("a process printed nothing: {complained}").into());
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// Sockets in use in the network namespace of a process.
fn sockets(process: u32) -> Result<usize, Failure> {
    let text = fs::read_to_string(format!("/proc/{process}/net/sockstat"))?;
    let used = text.lines().find_map(|line| line.strip_prefix("TCP: inuse ")?.split(' ').next());
    Ok(used.ok_or("no count of sockets")?.parse()?)
}

/// Id, runs and time of every program that counts connections or spreads IPv4 ones on this machine.
fn runs() -> Vec<(u32, u64, Duration)> {
    let programs = loaded_programs().filter_map(Result::ok);
    let ours = programs.filter(|program| matches!(program.name_as_str(), Some("connect4" | "states")));
    ours.map(|program| (program.id(), program.run_count(), program.run_time())).collect()
}

fn spread_of(mut values: Vec<f64>) -> Spread {
    values.sort_by(f64::total_cmp);
    Spread {
        least: values.first().copied().unwrap_or_default(),
        median: values.get(values.len() / 2).copied().unwrap_or_default(),
    }
}

fn rate(filling: &Filling) -> String {
    thousands(per_second(filling.connections, filling.time))
}

fn per_second(count: usize, time: Duration) -> usize {
    let per_second = count as u128 * 1_000_000 / time.as_micros().max(1);
    usize::try_from(per_second).unwrap_or(usize::MAX)
}

fn ratio(one: usize, other: usize) -> f64 {
    one as f64 / other.max(1) as f64
}

fn per(bytes: u64, connections: usize) -> usize {
    usize::try_from(bytes).unwrap_or_default() / connections.max(1)
}

fn thousands(number: usize) -> String {
    grouped(u64::try_from(number).unwrap_or(u64::MAX))
}

/// A line of `/proc/meminfo`, in bytes.
fn memory(name: &str) -> io::Result<u64> {
    let text = fs::read_to_string("/proc/meminfo")?;
    let kib = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':')?.split_whitespace().next()?.parse().ok());
    kib.map(|kib: u64| kib * 1_024).ok_or_else(|| io::Error::other(format!("/proc/meminfo has no {name}")))
}

pub(crate) fn free_bytes() -> io::Result<u64> {
    memory("MemAvailable")
}

pub(crate) fn kernel_bytes() -> io::Result<u64> {
    memory("Slab")
}

/// Kernel, processors and memory, in a line.
pub(crate) fn machine() -> Result<String, Failure> {
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let processors = fs::read_to_string("/proc/cpuinfo")?;
    let model = processors.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = model.map_or(std::env::consts::ARCH, |(_, model)| model);
    let count = thread::available_parallelism()?;
    let gib = memory("MemTotal")? as f64 / f64::from(1 << 30);
    Ok(format!(
        "Linux {}, {count} CPUs ({}), {gib:.0} GiB; host and destination on the same machine.",
        kernel.trim(),
        model.trim()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_thousands_separators() {
        assert_eq!([0, 999, 1_000, 1_032_192].map(thousands), ["0", "999", "1,000", "1,032,192"]);
    }
}
