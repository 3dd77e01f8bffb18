//! Measures how many users one JVM holds to one address and port, what a user takes, and what the service costs.

#![expect(clippy::cast_precision_loss, reason = "figures for people, who need few digits")]

use std::{
    fs,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use nix::unistd::{SysconfVar, sysconf};
use trunnion_estimate::{Workload, grouped};
use trunnion_host::Ports;

use super::{
    rig::{self, ADDRESSES, Load, Rig, Running, Sizes},
    seconds,
};
use crate::{
    Failure,
    capacity::{free_bytes, kernel_bytes, machine},
    kernel::ensure,
};

/// All local ports, as on a host of EC2.
const PORTS: Ports = Ports { first: 1_024, last: 65_535 };

/// Users stop arriving below this amount of free memory.
const LEAST_FREE_BYTES: u64 = 768 << 20;

/// The users of a run that measures the cost.
const USERS: u64 = 200;
/// A run is measured after this time, in which the JVM compiles its code, and for this time.
const WARM_UP: Duration = Duration::from_secs(12);
const MEASURED: Duration = Duration::from_secs(15);

/// What to measure.
#[derive(Debug)]
pub(super) struct Aim {
    pub(super) users: u64,
    pub(super) rate: u64,
    pub(super) pairs: usize,
}

/// Measures, and prints tables for docs/hosts.md.
#[expect(clippy::print_stdout, clippy::print_stderr, reason = "a chore talks to the person who runs it")]
pub(super) fn measure(files: &Path, aim: &Aim) -> Result<(), Failure> {
    let mut rig = Rig::new(files, PORTS, Sizes::of(0)?)?;
    let mut costs = Vec::new();
    for (simulation, what) in [("ClosedKeepAlive", "request"), ("ClosedNewConnections", "connection")] {
        let mut pairs = Vec::new();
        for pair in 1..=aim.pairs {
            eprintln!("{simulation}: pair {pair} of {} …", aim.pairs);
            let without = cost(&mut rig, simulation)?;
            rig.start_service()?;
            let with = cost(&mut rig, simulation)?;
            rig.stop_service()?;
            eprintln!("  {:.1} and {:.1} µs of Gatling's CPU time a {what}", without.micros(), with.micros());
            pairs.push((without, with));
        }
        costs.push((what, pairs));
    }
    drop(rig);

    let sizes = Sizes::of(aim.users)?;
    let mut rig = Rig::new(files, PORTS, sizes)?;
    rig.start_service()?;
    let held = hold(&mut rig, aim)?;

    println!("{}\n", machine()?);
    held.print(&sizes);
    print_costs(&costs, aim.pairs);
    Ok(())
}

/// Memory of one JVM with this many WebSocket users, and of the kernel for this end of their connections, in bytes. The heap is
/// not larger than what the model gives the users: with more, a JVM takes more, and leaves garbage in it.
pub(super) fn memory(files: &Path, users: u64) -> Result<u64, Failure> {
    let heap = users * Workload::MEMORY_PER_USER;
    let mut rig = Rig::new(files, PORTS, Sizes { gatling_mib: heap >> 20, ..Sizes::of(users)? })?;
    rig.start_service()?;
    let held = hold(&mut rig, &Aim { users, rate: 2_000, pairs: 0 })?;
    ensure!(held.users == users, "only {} of {users} users were held: {}", held.users, held.end);
    Ok(held.rss + held.kernel / 2)
}

/// One JVM that holds users.
struct Held {
    users: u64,
    /// How many were opened, those included that were closed again.
    opened: u64,
    /// What Gatling says of those.
    complaint: String,
    /// Why it does not hold more.
    end: String,
    time: Duration,
    shown: String,
    rss: u64,
    live: u64,
    kernel: u64,
    cpu: Duration,
}

#[expect(clippy::print_stderr, reason = "a chore talks to the person who runs it")]
fn hold(rig: &mut Rig, aim: &Aim) -> Result<Held, Failure> {
    eprintln!("Holding {} users …", grouped(aim.users));
    let kernel = kernel_bytes()?;
    let load = Load {
        simulation: "WebSocket",
        users: aim.users,
        tls: false,
        ramp: aim.users.div_ceil(aim.rate),
        hold: 86_400,
        pause_millis: 0,
    };
    let mut running = rig.start(&load)?;
    let longest = Duration::from_secs(2 * load.ramp + 120);
    let (mut begin, mut shown) = (None, Instant::now());
    let (end, counts, said) = loop {
        rig::interrupted()?;
        let (said, complained) = running.gatling.said()?;
        ensure!(running.gatling.is_running()?, "Gatling ended: {said}\n{complained}");
        let counts = rig.counted(&running)?;
        let open = counts.open();
        if open > 0 {
            begin.get_or_insert_with(Instant::now);
        }
        if shown.elapsed() > Duration::from_secs(10) {
            shown = Instant::now();
            eprintln!("  {} users, {} MiB of memory free", grouped(open), free_bytes()? >> 20);
        }
        let time = begin.map(|begin| begin.elapsed()).unwrap_or_default();
        if counts.websockets >= aim.users {
            break ("the aim".to_owned(), counts, said);
        }
        if free_bytes()? < LEAST_FREE_BYTES {
            break ("memory runs out".to_owned(), counts, said);
        }
        if time > longest {
            break (rig::complaint(&said).to_owned(), counts, said);
        }
        thread::sleep(Duration::from_millis(500));
    };
    let time = begin.map(|begin| begin.elapsed()).unwrap_or_default();
    let (rss, cpu) = (rss(&running)?, cpu(&running)?);
    let kernel = kernel_bytes()?.saturating_sub(kernel);
    let users = counts.open();
    let of_each = rig.evenness(counts.sources.iter().map(|(source, (_, open))| (*source, *open)));
    let of_each = of_each.unwrap_or_else(|error| error.to_string());
    eprintln!("  {} users in {}: {end}; collecting Gatling's garbage …", grouped(users), seconds(time));
    let live = live(rig, &running)?;
    let after = rig.counted(&running)?.open();
    ensure!(after >= users || end != "the aim", "only {after} of {users} users stayed");
    let (opened, complaint) = (counts.websockets, rig::complaint(&said).to_owned());
    Ok(Held { users, opened, complaint, end, time, shown: of_each, rss, live, kernel, cpu })
}

impl Held {
    #[expect(clippy::print_stdout, reason = "a chore talks to the person who runs it")]
    fn print(&self, sizes: &Sizes) {
        let of_user = |bytes: u64| grouped(bytes / self.users.max(1));
        let gib = (self.rss + self.kernel) as f64 / f64::from(1 << 30);
        let tables = match sizes.tables {
            0 => "default event loops".to_owned(),
            tables => format!("{tables} event loops, each with a table of descriptors of its own"),
        };
        println!("| idle WebSocket users of one JVM to one address and port | |\n|---|---|");
        println!("| held | {} (ended by: {}) |", grouped(self.users), self.end);
        if self.opened > self.users {
            println!(
                "| closed again meanwhile | {} of {}: {} |",
                grouped(self.opened - self.users),
                grouped(self.opened),
                self.complaint
            );
        }
        println!("| opened in | {} |", seconds(self.time));
        println!("| evenness at the target | {} |", self.shown);
        println!("| resident memory of a user | {} B |", of_user(self.rss));
        println!("| live heap of a user | {} B |", of_user(self.live));
        println!("| kernel memory of a user, both ends | {} B |", of_user(self.kernel));
        println!("| users per GiB of resident and kernel memory | {:.0} |", self.users as f64 / gib);
        println!("| users opened per second and core of Gatling | {:.0} |", self.users as f64 / self.cpu.as_secs_f64());
        println!("| Gatling's settings | `-Xmx{}m`, {tables} |\n", sizes.gatling_mib);
    }
}

/// What a number of requests or connections took.
#[derive(Debug, Clone, Copy)]
struct Cost {
    count: u64,
    cpu: Duration,
    time: Duration,
    rss: u64,
}

impl Cost {
    /// Gatling's CPU time of one.
    fn micros(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.count as f64
    }

    fn a_second(&self) -> f64 {
        self.count as f64 / self.time.as_secs_f64()
    }

    fn a_second_and_core(&self) -> f64 {
        self.count as f64 / self.cpu.as_secs_f64()
    }

    fn a_second_and_gib(&self) -> f64 {
        self.a_second() / (self.rss as f64 / f64::from(1 << 30))
    }
}

/// Runs a closed simulation without pauses, and measures a part of it.
fn cost(rig: &mut Rig, simulation: &str) -> Result<Cost, Failure> {
    let load = Load { simulation, users: USERS, tls: false, ramp: 1, hold: 600, pause_millis: 0 };
    let mut running = rig.start(&load)?;
    wait(&mut running, WARM_UP)?;
    let (begin, before, cpu_before) = (Instant::now(), rig.counted(&running)?.requests, cpu(&running)?);
    wait(&mut running, MEASURED)?;
    let (time, after, cpu_after) = (begin.elapsed(), rig.counted(&running)?.requests, cpu(&running)?);
    ensure!(after > before, "{simulation} sends nothing: {}", rig::complaint(&running.gatling.said()?.0));
    Ok(Cost { count: after - before, cpu: cpu_after.saturating_sub(cpu_before), time, rss: rss(&running)? })
}

fn wait(running: &mut Running, time: Duration) -> Result<(), Failure> {
    let end = Instant::now() + time;
    while Instant::now() < end {
        rig::interrupted()?;
        ensure!(running.gatling.is_running()?, "Gatling ended: {:?}", running.gatling.said()?);
        thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

#[expect(clippy::print_stdout, reason = "a chore talks to the person who runs it")]
fn print_costs(costs: &[(&str, Vec<(Cost, Cost)>)], pairs: usize) {
    println!(
        "| medians of {pairs} pairs of runs with {USERS} users | without the service | with it | difference in a pair |"
    );
    println!("|---|---|---|---|");
    for (what, pairs) in costs {
        let row = |name: &str, digits: usize, of: fn(&Cost) -> f64| {
            let without = median(pairs.iter().map(|(without, _)| of(without)));
            let with = median(pairs.iter().map(|(_, with)| of(with)));
            let difference = median(pairs.iter().map(|(without, with)| of(with) - of(without)));
            println!("| {name} | {without:.digits$} | {with:.digits$} | {difference:+.digits$} |");
        };
        row(&format!("Gatling's CPU time of a {what}, µs"), 1, Cost::micros);
        row(&format!("{what}s a second"), 0, Cost::a_second);
        row(&format!("{what}s a second and core of Gatling"), 0, Cost::a_second_and_core);
        row(&format!("{what}s a second and GiB of Gatling's resident memory"), 0, Cost::a_second_and_gib);
    }
    println!(
        "\nA request goes over a kept connection. A connection carries one request. {ADDRESSES} addresses with the service, one without."
    );
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// Gatling's resident memory, in bytes.
fn rss(running: &Running) -> Result<u64, Failure> {
    let status = fs::read_to_string(format!("/proc/{}/status", running.gatling.id()))?;
    let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next()?.parse().ok());
    Ok(kib.map(|kib: u64| kib * 1_024).ok_or("Gatling has no resident memory")?)
}

/// The CPU time that Gatling has taken, its system calls included.
fn cpu(running: &Running) -> Result<Duration, Failure> {
    let stat = fs::read_to_string(format!("/proc/{}/stat", running.gatling.id()))?;
    // The name of the program, in parentheses, can contain spaces.
    let fields = stat.rsplit_once(')').ok_or("no process")?.1.split_whitespace();
    let ticks: f64 = fields.skip(11).take(2).map(str::parse::<f64>).sum::<Result<_, _>>()?;
    let a_second = sysconf(SysconfVar::CLK_TCK)?.ok_or("the kernel has no clock ticks")?;
    Ok(Duration::from_secs_f64(ticks / a_second as f64))
}

/// The bytes of Gatling's heap after a garbage collection.
fn live(rig: &Rig, running: &Running) -> Result<u64, Failure> {
    let process = running.gatling.id().to_string();
    rig.ask_jvm(&[&process, "GC.run"])?;
    let said = rig.ask_jvm(&[&process, "GC.heap_info"])?;
    let used = said.lines().find_map(|line| line.split_once(" used ")?.1.split('K').next()?.parse().ok());
    Ok(used.map(|kib: u64| kib * 1_024).ok_or_else(|| format!("`jcmd` names no used heap: {said}"))?)
}
