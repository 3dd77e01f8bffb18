//! The metrics as `OpenMetrics` text. Every name begins with `trunnion_`, and contains the unit.
//!
//! A host can have hundreds of addresses, and a fleet thousands. So the values of addresses are joined by interface, unless
//! the client asks for those of each address with `/metrics?per=address`.

use std::{collections::BTreeMap, fmt, net::IpAddr, sync::Arc, time::Duration};

use prometheus_client::{
    collector::Collector,
    encoding::{
        DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, EncodeLabelSet, MetricEncoder, NoLabelSet, text,
    },
    metrics::MetricType,
    registry::{Registry, Unit},
};

use trunnion_host::{Config, Ports};

use super::{
    gatling::Gatling,
    shared::{Health, Status},
    sockets::Counts,
};
use crate::{
    check::{Ena, limits::Conntrack},
    spread::{Counter, Source},
};

pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What the values of addresses are joined by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Per {
    #[default]
    Interface,
    Address,
}

impl Per {
    /// What the query of the request asks for; `None` if that is unknown.
    pub(super) fn of_query(query: &str) -> Option<Self> {
        match query.split('&').find_map(|pair| pair.strip_prefix("per=")) {
            None | Some("interface") => Some(Self::Interface),
            Some("address") => Some(Self::Address),
            Some(_) => None,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Interface => "interface",
            Self::Address => "address",
        }
    }
}

/// The values of addresses, by interface or address.
type Joined<T> = BTreeMap<String, T>;

/// The values of `/metrics` at one moment. A value that is `None` could not be read.
#[derive(Debug)]
pub(super) struct Snapshot {
    pub(super) config: Config,
    pub(super) health: Health,
    pub(super) metadata_age: Option<Duration>,
    pub(super) per: Per,
    /// By address, the name of its interface.
    pub(super) interfaces: BTreeMap<IpAddr, String>,
    pub(super) sockets: Option<Arc<BTreeMap<IpAddr, Counts>>>,
    pub(super) sockets_age: Duration,
    pub(super) ports: Option<Ports>,
    pub(super) spread: Vec<Source>,
    pub(super) spread_counters: Option<[u64; 4]>,
    pub(super) ena: Vec<Ena>,
    pub(super) conntrack: Option<Conntrack>,
    pub(super) open_files: Option<(u64, u64)>,
    pub(super) memory: Option<(u64, u64)>,
    pub(super) tcp_memory_bytes: Option<u64>,
    /// Seconds of the host's processors, by mode.
    pub(super) cpu: Vec<(&'static str, f64)>,
    pub(super) own_cpu_seconds: Option<f64>,
    pub(super) own_resident_bytes: Option<u64>,
    pub(super) gatling: Gatling,
}

/// The snapshot as text.
pub(super) fn encode(snapshot: Snapshot) -> Result<String, fmt::Error> {
    let mut registry = Registry::with_prefix("trunnion");
    registry.register_collector(Box::new(snapshot));
    let mut document = String::new();
    text::encode(&mut document, &registry)?;
    Ok(document)
}

/// Encodes families of metrics.
struct Families<'a>(DescriptorEncoder<'a>);

impl Families<'_> {
    /// A gauge without labels, if there is a value.
    fn gauge(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        value: Option<impl EncodeGaugeValue>,
    ) -> fmt::Result {
        match value {
            Some(value) => self.0.encode_descriptor(name, help, unit, MetricType::Gauge)?.encode_gauge(&value),
            None => Ok(()),
        }
    }

    fn counter(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        value: Option<impl EncodeCounterValue>,
    ) -> fmt::Result {
        match value {
            Some(value) => {
                let mut metric = self.0.encode_descriptor(name, help, unit, MetricType::Counter)?;
                metric.encode_counter::<NoLabelSet, _, f64>(&value, None)
            }
            None => Ok(()),
        }
    }

    /// A gauge with labels.
    fn gauges<L: EncodeLabelSet, V: EncodeGaugeValue>(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        values: impl IntoIterator<Item = (L, V)>,
    ) -> fmt::Result {
        let mut metric: MetricEncoder<'_> = self.0.encode_descriptor(name, help, unit, MetricType::Gauge)?;
        values.into_iter().try_for_each(|(labels, value)| metric.encode_family(&labels)?.encode_gauge(&value))
    }

    /// A counter with labels.
    fn counters<L: EncodeLabelSet, V: EncodeCounterValue>(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        values: impl IntoIterator<Item = (L, V)>,
    ) -> fmt::Result {
        let mut metric: MetricEncoder<'_> = self.0.encode_descriptor(name, help, unit, MetricType::Counter)?;
        values.into_iter().try_for_each(|(labels, value)| {
            metric.encode_family(&labels)?.encode_counter::<NoLabelSet, _, f64>(&value, None)
        })
    }
}

impl Collector for Snapshot {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut families = Families(encoder);
        self.host(&mut families)?;
        self.connections(&mut families)?;
        self.spread(&mut families)?;
        self.limits(&mut families)?;
        self.processors(&mut families)?;
        self.gatling(&mut families)
    }
}

impl Snapshot {
    fn host(&self, families: &mut Families<'_>) -> fmt::Result {
        let config = &self.config;
        let mode = config.spread.mode.to_string();
        let labels = [
            ("version", env!("CARGO_PKG_VERSION")),
            ("stack", &config.stack),
            ("pool", &config.pool),
            ("instance_type", &config.instance_type),
            ("spread", &mode),
        ];
        let mut info =
            families.0.encode_descriptor("generator", "Versions and names of this host.", None, MetricType::Info)?;
        info.encode_info(&labels.as_slice())?;
        let healthy = self.health.status == Status::Healthy;
        families.gauge(
            "healthy",
            "Whether the host holds what it was promised and is not draining.",
            None,
            Some(number(healthy)),
        )?;
        let sound = self.health.is_sound();
        families.gauge(
            "sound",
            "Whether the host holds what it was promised, draining or not.",
            None,
            Some(number(sound)),
        )?;
        let draining = self.health.status == Status::Draining;
        families.gauge("draining", "Whether the host is draining: it stops soon.", None, Some(number(draining)))?;
        let promised = config.connections;
        let scopes =
            |destination: u64, total: u64| [([("scope", "destination")], destination), ([("scope", "total")], total)];
        families.gauges(
            "promised_connections",
            "Connections that the host was promised to hold, to one destination and in total.",
            None,
            scopes(promised.per_destination, promised.total),
        )?;
        if let Some(capacity) = &self.health.capacity {
            families.gauges(
                "capacity_connections",
                "Connections that the host can hold by the last check, to one destination and in total.",
                None,
                scopes(capacity.per_destination, capacity.total),
            )?;
        }
        families.gauge(
            "metadata_age",
            "Time since the metadata was last read.",
            Some(&Unit::Seconds),
            self.metadata_age.map(|age| age.as_secs_f64()),
        )
    }

    fn connections(&self, families: &mut Families<'_>) -> fmt::Result {
        let Some(sockets) = &self.sockets else { return Ok(()) };
        let joined = self.join(sockets.iter().map(|(&address, &counts)| (address, counts)), |sum: &mut Counts, of| {
            sum.established += of.established;
            sum.time_wait += of.time_wait;
            sum.other += of.other;
            sum.ports = sum.ports.max(of.ports);
            sum.busiest = sum.busiest.max(of.busiest);
        });
        let states = |(whose, counts): (&String, &Counts)| {
            let states =
                [("established", counts.established), ("time_wait", counts.time_wait), ("other", counts.other)];
            states.map(|(state, count)| ([(self.per.as_str(), whose.clone()), ("state", state.to_owned())], count))
        };
        families.gauges(
            "connections",
            "TCP connections of the local addresses, by state.",
            None,
            joined.iter().flat_map(states),
        )?;
        families.gauges(
            "ports_used",
            "Local ports of the range that sockets of an address use; of an interface, those of the address with most.",
            None,
            self.labelled(&joined, |counts| counts.ports),
        )?;
        families.gauges(
            "ports_used_busiest_destination",
            "Local ports of the range that connections of an address to its busiest destination use; of an interface, \
             those of the address with most.",
            None,
            self.labelled(&joined, |counts| counts.busiest),
        )?;
        families.gauge(
            "ports_range",
            "Local ports that each address has for connections to one destination.",
            None,
            self.ports.map(Ports::count),
        )?;
        families.gauge(
            "connections_age",
            "Time since the connections were counted.",
            Some(&Unit::Seconds),
            Some(self.sockets_age).as_ref().map(Duration::as_secs_f64),
        )
    }

    fn spread(&self, families: &mut Families<'_>) -> fmt::Result {
        let each = self.spread.iter().map(|source| {
            let &Source { address, draining, connections, refused, .. } = source;
            (address, [connections, refused, number(draining)])
        });
        let joined = self.join(each, |sum: &mut [u64; 3], of| {
            for (sum, of) in sum.iter_mut().zip(of) {
                *sum += of;
            }
        });
        families.counters(
            "spread_connections",
            "Connections that got the address as their source.",
            None,
            self.labelled(&joined, |[connections, ..]| *connections),
        )?;
        families.counters(
            "spread_refused",
            "Connections for which the kernel refused the address as their source.",
            None,
            self.labelled(&joined, |[_, refused, _]| *refused),
        )?;
        families.gauges(
            "spread_draining",
            "Addresses that new connections no longer get.",
            None,
            self.labelled(&joined, |[.., draining]| *draining),
        )?;
        families.counters(
            "spread_left",
            "Sockets of the SSH user that kept the source that they had when they were connected.",
            None,
            Counter::LEFT.into_iter().filter_map(|(counter, why)| Some(([("reason", why)], self.counted(counter)?))),
        )?;
        families.counter(
            "spread_without_port",
            "Connections that got a source address and no local port: the kernel searched one in vain.",
            None,
            self.counted(Counter::WithoutPort),
        )
    }

    fn counted(&self, counter: Counter) -> Option<u64> {
        self.spread_counters?.get(counter.place()).copied()
    }

    /// Joins the values of addresses by what the client asked for. An address that no interface has any more is left out.
    fn join<T: Default>(&self, values: impl Iterator<Item = (IpAddr, T)>, add: impl Fn(&mut T, T)) -> Joined<T> {
        let mut joined = Joined::new();
        for (address, value) in values {
            let whose = match self.per {
                Per::Address => Some(address.to_string()),
                Per::Interface => self.interfaces.get(&address).cloned(),
            };
            if let Some(whose) = whose {
                add(joined.entry(whose).or_default(), value);
            }
        }
        joined
    }

    /// The values with their labels.
    fn labelled<'a, T>(
        &'a self,
        joined: &'a Joined<T>,
        value: impl Fn(&T) -> u64 + 'a,
    ) -> impl Iterator<Item = ([(&'static str, String); 1], u64)> + 'a {
        joined.iter().map(move |(whose, of)| ([(self.per.as_str(), whose.clone())], value(of)))
    }

    fn limits(&self, families: &mut Families<'_>) -> fmt::Result {
        let exceeded = self.ena.iter().flat_map(|ena| {
            ena.exceeded.iter().map(|(allowance, count)| {
                ([("interface", ena.interface.clone()), ("allowance", allowance.clone())], *count)
            })
        });
        families.counters(
            "ena_allowance_exceeded_packets",
            "Packets that were queued or dropped because they exceeded an allowance of EC2.",
            None,
            exceeded,
        )?;
        let available =
            self.ena.iter().filter_map(|ena| Some(([("interface", ena.interface.clone())], ena.conntrack_available?)));
        families.gauges(
            "ena_conntrack_allowance_available",
            "Further connections that EC2 can track.",
            None,
            available,
        )?;
        families.gauge(
            "conntrack_entries",
            "Connections that the kernel tracks.",
            None,
            self.conntrack.map(|conntrack| conntrack.entries),
        )?;
        families.gauge(
            "conntrack_entries_limit",
            "The most connections that the kernel can track.",
            None,
            self.conntrack.and_then(|conntrack| conntrack.most),
        )?;
        families.gauge("open_files", "Open files of the whole host.", None, self.open_files.map(|(open, _)| open))?;
        families.gauge(
            "open_files_limit",
            "The limit of open files of the whole host.",
            None,
            self.open_files.map(|(_, most)| most),
        )?;
        families.gauge(
            "memory_total",
            "Memory of the host.",
            Some(&Unit::Bytes),
            self.memory.map(|(total, _)| total),
        )?;
        families.gauge(
            "memory_available",
            "Memory that is available for programs.",
            Some(&Unit::Bytes),
            self.memory.map(|(_, available)| available),
        )?;
        families.gauge("tcp_memory", "Memory of TCP buffers.", Some(&Unit::Bytes), self.tcp_memory_bytes)
    }

    fn processors(&self, families: &mut Families<'_>) -> fmt::Result {
        families.counters(
            "cpu",
            "Time of the host's processors, by mode.",
            Some(&Unit::Seconds),
            self.cpu.iter().map(|&(mode, seconds)| ([("mode", mode)], seconds)),
        )?;
        families.counter(
            "process_cpu",
            "Processor time of this service.",
            Some(&Unit::Seconds),
            self.own_cpu_seconds,
        )?;
        families.gauge(
            "process_resident_memory",
            "Memory of this service.",
            Some(&Unit::Bytes),
            self.own_resident_bytes,
        )
    }

    fn gatling(&self, families: &mut Families<'_>) -> fmt::Result {
        let gatling = &self.gatling;
        families.gauge("gatling_running", "Whether Gatling runs.", None, Some(number(gatling.processes > 0)))?;
        families.gauge("gatling_processes", "Processes of Gatling.", None, Some(gatling.processes))?;
        families.gauge(
            "gatling_open_files",
            "Open files of the Gatling process that has most of them.",
            None,
            Some(gatling.open_files),
        )?;
        families.gauge(
            "gatling_open_files_limit",
            "The limit of open files of that Gatling process.",
            None,
            gatling.open_files_limit,
        )
    }
}

fn number(truth: bool) -> u64 {
    u64::from(truth)
}
