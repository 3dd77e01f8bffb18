//! Collects the values of `/metrics`. The kernel needs seconds to list a million sockets, and reading `/proc` takes time,
//! too. So a value is used for [`REUSE`] times as long as it took to get: collecting never takes more than one part in
//! [`REUSE`] of one core, however many clients ask, and however often. A client waits for a new count of the sockets for
//! [`PATIENCE`], and gets the last one then.

use std::{
    collections::BTreeMap,
    fs, io,
    net::IpAddr,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use hyper::body::Bytes;
use tokio::time::timeout;
use trunnion_host::{Config, Mode, Ports};

use super::{
    gatling::{self, Gatling},
    metrics::{self, Per, Snapshot},
    shared::Shared,
    sockets::{self, Counts},
};
use crate::{
    accounts,
    check::{Ena, limits},
    layout::{Interface, Layout},
    local_ports::LocalPorts,
    spread::{Options, Source, Spreader},
};

/// A value is used for this many times as long as it took to get.
const REUSE: u32 = 20;

/// How long a client waits for a new count of the sockets: well below the ten seconds after which Prometheus gives up.
const PATIENCE: Duration = Duration::from_secs(2);

/// Provides the metrics as text.
#[derive(Debug)]
pub(super) struct Collector {
    shared: Arc<Shared>,
    cache: tokio::sync::Mutex<Cache>,
    sockets: Mutex<Reused<Arc<BTreeMap<IpAddr, Counts>>>>,
    /// Held while the sockets are counted.
    counting: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Cache {
    /// Shared by all answers that contain it.
    text: BTreeMap<Per, Reused<Bytes>>,
    gatling: Reused<Gatling>,
}

/// A value, until when it is used, and when it was collected.
#[derive(Debug)]
struct Reused<T>(Option<(T, Instant, Instant)>);

impl<T> Default for Reused<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T: Clone> Reused<T> {
    /// The last value while it is used, otherwise that of `fresh`.
    fn get(&mut self, fresh: impl FnOnce() -> io::Result<T>) -> Option<T> {
        if let Some(value) = self.value(Instant::now()) {
            return Some(value);
        }
        let begun = Instant::now();
        let value = fresh().ok()?;
        self.set(value.clone(), begun, Instant::now());
        Some(value)
    }

    fn value(&self, now: Instant) -> Option<T> {
        self.0.as_ref().filter(|(_, until, _)| now < *until).map(|(value, ..)| value.clone())
    }

    fn set(&mut self, value: T, begun: Instant, done: Instant) {
        let cost = done.saturating_duration_since(begun);
        self.0 = Some((value, done + cost * REUSE, done));
    }

    /// The last value, however old it is.
    fn last(&self) -> Option<T> {
        self.0.as_ref().map(|(value, ..)| value.clone())
    }

    fn age(&self) -> Duration {
        self.0.as_ref().map_or(Duration::ZERO, |(_, _, got)| got.elapsed())
    }
}

impl Collector {
    pub(super) fn new(shared: Arc<Shared>) -> Arc<Self> {
        Arc::new(Self {
            shared,
            cache: tokio::sync::Mutex::default(),
            sockets: Mutex::default(),
            counting: tokio::sync::Mutex::default(),
        })
    }

    /// The last count of the sockets, and its age. Waits for a new one if that is too old, but not for longer than
    /// [`PATIENCE`]: the count continues.
    async fn sockets(self: &Arc<Self>) -> (Option<Arc<BTreeMap<IpAddr, Counts>>>, Duration) {
        let this = Arc::clone(self);
        let counting = tokio::spawn(async move {
            let _one = this.counting.lock().await;
            if this.known_sockets().value(Instant::now()).is_some() {
                return;
            }
            let (addresses, ports) = (this.shared.addresses(), this.ports());
            let begun = Instant::now();
            // On another thread: this one must keep the network.
            let counted = tokio::task::spawn_blocking(move || sockets::count(&addresses, ports)).await;
            if let Ok(Ok(counts)) = counted {
                this.known_sockets().set(Arc::new(counts), begun, Instant::now());
            }
        });
        let _ = timeout(PATIENCE, counting).await;
        let known = self.known_sockets();
        (known.last(), known.age())
    }

    fn ports(&self) -> Ports {
        LocalPorts::look(&self.shared.config).range.unwrap_or(self.shared.config.ports)
    }

    fn known_sockets(&self) -> MutexGuard<'_, Reused<Arc<BTreeMap<IpAddr, Counts>>>> {
        self.sockets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The metrics as text. If the client closes its connection, the collection continues, so that clients cannot start
    /// several at once.
    pub(super) async fn text(self: &Arc<Self>, per: Per) -> Option<Bytes> {
        let this = Arc::clone(self);
        tokio::spawn(async move {
            let mut cache = this.cache.lock().await;
            if let Some(text) = cache.text.entry(per).or_default().value(Instant::now()) {
                return Some(text);
            }
            let sockets = this.sockets().await;
            let (shared, mut taken) = (Arc::clone(&this.shared), std::mem::take(&mut *cache));
            // On another thread: this one must keep the network.
            let collected = tokio::task::spawn_blocking(move || {
                let text = taken.collect(&shared, per, sockets);
                (taken, text)
            });
            let (taken, text) = collected.await.ok()?;
            *cache = taken;
            text
        })
        .await
        .ok()?
    }
}

impl Cache {
    fn collect(
        &mut self,
        shared: &Shared,
        per: Per,
        (sockets, sockets_age): (Option<Arc<BTreeMap<IpAddr, Counts>>>, Duration),
    ) -> Option<Bytes> {
        let limits = limits::Limits::look(&shared.config);
        let gatling = self.gatling.get(|| {
            let user = accounts::user(&shared.config.ssh.user).map_err(io::Error::other)?;
            Ok(user.map(|user| gatling::look(Path::new("/proc"), user.uid)).unwrap_or_default())
        });
        // The time of the text begins here: sockets and processes have their own.
        let begun = Instant::now();
        let (spread, spread_counters) = spread(&shared.config);
        let snapshot = Snapshot {
            health: shared.health(),
            metadata_age: shared.metadata_age(),
            per,
            interfaces: shared.layout().map(|layout| interfaces(&layout)).unwrap_or_default(),
            sockets,
            sockets_age,
            ports: limits.ports.range,
            spread,
            spread_counters,
            ena: shared.layout().map(|layout| Ena::look(&layout)).unwrap_or_default(),
            conntrack: limits.conntrack,
            open_files: limits.open_files,
            memory: limits.memory_bytes.zip(limits::memory("MemAvailable")),
            tcp_memory_bytes: tcp_memory(&limits::read("/proc/net/sockstat")),
            cpu: cpu(&limits::read("/proc/stat")),
            own_cpu_seconds: own_cpu(&limits::read("/proc/self/stat")),
            own_resident_bytes: own_resident(),
            gatling: gatling.unwrap_or_default(),
            config: shared.config.clone(),
        };
        let text = Bytes::from(metrics::encode(snapshot).ok()?);
        self.text.entry(per).or_default().set(text.clone(), begun, Instant::now());
        Some(text)
    }
}

/// By address, the name of its interface.
fn interfaces(layout: &Layout) -> BTreeMap<IpAddr, String> {
    let of = |interface: &Interface| {
        let name = interface.name.clone();
        interface.addresses.iter().map(move |&address| (address, name.clone())).collect::<Vec<_>>()
    };
    layout.interfaces.iter().flat_map(of).collect()
}

/// The counters of the spread program, if there is one: of the sources, and the others.
fn spread(config: &Config) -> (Vec<Source>, Option<[u64; 4]>) {
    if config.spread.mode != Mode::Kernel {
        return Default::default();
    }
    let counters = Spreader::open(Path::new(Options::PINS))
        .and_then(|spreader| Ok((spreader.sources()?, Some(spreader.counters()?))));
    counters.unwrap_or_default()
}

/// The memory of TCP buffers.
fn tcp_memory(sockstat: &str) -> Option<u64> {
    let line = sockstat.lines().find(|line| line.starts_with("TCP:"))?;
    let mut words = line.split_ascii_whitespace().skip_while(|word| *word != "mem");
    words.nth(1)?.parse::<u64>().ok()?.checked_mul(page_size())
}

/// The time of the processors since boot, by mode.
fn cpu(stat: &str) -> Vec<(&'static str, f64)> {
    const MODES: [&str; 8] = ["user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal"];
    let numbers = stat.lines().next().unwrap_or_default().split_ascii_whitespace().skip(1);
    MODES.into_iter().zip(numbers.map_while(|number| Some(seconds(number.parse().ok()?)))).collect()
}

/// User and system time of this process: the 14th and 15th word. The second word, the name, can contain spaces.
fn own_cpu(stat: &str) -> Option<f64> {
    let mut words = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11).map(str::parse::<u64>);
    Some(seconds(words.next()?.ok()?) + seconds(words.next()?.ok()?))
}

/// Converts clock ticks, which are hundredths of a second on x86-64 and arm64.
#[expect(clippy::cast_precision_loss, reason = "exact for three million years")]
fn seconds(ticks: u64) -> f64 {
    ticks as f64 / 100.0
}

fn own_resident() -> Option<u64> {
    let statm = fs::read_to_string("/proc/self/statm").ok()?;
    statm.split_ascii_whitespace().nth(1)?.parse::<u64>().ok()?.checked_mul(page_size())
}

fn page_size() -> u64 {
    nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE)
        .ok()
        .flatten()
        .and_then(|size| u64::try_from(size).ok())
        .unwrap_or(4096)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The clock goes on as soon as nothing else can.
    #[tokio::test(start_paused = true)]
    async fn a_client_gets_the_last_count_while_a_new_one_takes_long() {
        let config = r#"{"format":2,"stack":"s","pool":"p","instance_type":"c7i.xlarge","java":21,"interfaces":1,"addresses":1,
            "tracking":"tracked","ports":{"first":1024,"last":65535},"connections":{"per_destination":1,"total":1},
            "descriptors":1,"spread":{"mode":"off","except":[]},"metrics_port":9464,"executable_dir":"/",
            "ssh":{"user":"nobody","authorized_keys":[]}}"#;
        let shared = Arc::new(Shared::new(Config::parse(config).unwrap(), Duration::from_mins(1)));
        let collector = Collector::new(shared);
        let counts = Arc::new(BTreeMap::from([(IpAddr::from([10, 0, 0, 1]), Counts::default())]));
        let long_ago = Instant::now();
        collector.known_sockets().set(Arc::clone(&counts), long_ago, long_ago);
        let never_ends = collector.counting.lock().await;
        assert_eq!(collector.sockets().await.0, Some(counts));
        drop(never_ends);
    }

    #[test]
    fn a_value_is_used_in_proportion_to_its_cost() {
        let begun = Instant::now();
        let done = begun + Duration::from_secs(1);
        let mut answer = Reused::default();
        answer.set(7, begun, done);
        assert_eq!(answer.value(done + Duration::from_secs(19)), Some(7));
        assert_eq!(answer.value(done + Duration::from_secs(20)), None);
    }

    #[test]
    fn files_of_proc_are_read() {
        assert_eq!(tcp_memory("sockets: used 1\nTCP: inuse 3 orphan 0 tw 0 alloc 4 mem 2\n"), Some(2 * page_size()));
        assert_eq!(tcp_memory("sockets: used 1\n"), None);
        assert_eq!(cpu("cpu  100 200 x\ncpu0 1\n"), [("user", 1.0), ("nice", 2.0)]);
        // The idle time of 128 processors in a year.
        assert_eq!(cpu("cpu  0 0 0 403660800000\n")[3], ("idle", 4_036_608_000.0));
        assert_eq!(own_cpu("12 (a ) b) S 1 2 3 4 5 6 7 8 9 10 150 50 0"), Some(2.0));
        assert_eq!(own_cpu(""), None);
        assert!(own_cpu(&limits::read("/proc/self/stat")).is_some());
    }
}
