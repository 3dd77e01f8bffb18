//! The metrics of the service, as the parser of the Prometheus project reads them.

use std::collections::BTreeMap;

use super::{
    ensure,
    run::{PORT, eventually},
    stage::Stage,
    target::Server,
};
use crate::Failure;

/// A socket of TCP that it binds itself, two of UDP, and three to this host.
const LEFT_ALONE: &str = "import socket, sys
bound = socket.socket()
bound.bind(('0.0.0.0', 0))
bound.connect((sys.argv[1], 7000))
for _ in range(2):
    socket.socket(type=socket.SOCK_DGRAM).connect((sys.argv[1], 7000))
listener = socket.create_server(('127.0.0.1', 0))
for _ in range(3):
    socket.create_connection(listener.getsockname())";

/// The parser of the Prometheus project, as Debian packages it in python3-prometheus-client.
const PARSE: &str = "import json, sys
from prometheus_client.openmetrics.parser import text_string_to_metric_families
families = text_string_to_metric_families(sys.stdin.read())
print(json.dumps([[sample.name, sample.labels, sample.value] for family in families for sample in family.samples]))";

/// The samples of `/metrics`, by name and labels.
pub(super) struct Metrics(BTreeMap<(String, BTreeMap<String, String>), f64>);

impl Metrics {
    pub(super) fn new(stage: &Stage) -> Result<Self, Failure> {
        Self::at(stage, "/metrics")
    }

    pub(super) fn per_address(stage: &Stage) -> Result<Self, Failure> {
        Self::at(stage, "/metrics?per=address")
    }

    fn at(stage: &Stage, path: &str) -> Result<Self, Failure> {
        let (status, body) = stage.get(PORT, path)?;
        ensure!(status == 200, "/metrics said {status}: {body}");
        let parsed = stage.host_namespace().run_with(&["python3", "-c", PARSE], &body)?.succeeded()?;
        let samples: Vec<(String, BTreeMap<String, String>, f64)> = serde_json::from_str(&parsed.stdout)?;
        Ok(Self(samples.into_iter().map(|(name, labels, value)| ((name, labels), value)).collect()))
    }

    /// The samples with this name and at least these labels.
    pub(super) fn all(&self, name: &str, labels: &[(&str, &str)]) -> Vec<f64> {
        let matches = |found: &BTreeMap<String, String>| {
            labels.iter().all(|(key, value)| found.get(*key).is_some_and(|found| found == value))
        };
        self.0.iter().filter(|((found, with), _)| found == name && matches(with)).map(|(_, value)| *value).collect()
    }

    pub(super) fn is(&self, name: &str, labels: &[(&str, &str)], value: f64) -> Result<&Self, Failure> {
        let found = self.all(name, labels);
        ensure!(found.len() == 1 && (found[0] - value).abs() < 1e-6, "{name} {labels:?} is {found:?}, not {value}");
        Ok(self)
    }

    pub(super) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.all(name, labels).iter().sum()
    }
}

/// Ninety connections to the server stand, and 45 others were closed.
pub(super) fn are_joined_by_interface(stage: &Stage, server: &Server) -> Result<(), Failure> {
    // By default the addresses of an interface are joined.
    let joined = Metrics::new(stage)?;
    ensure!(joined.all("trunnion_connections", &[]).len() == 9, "not three states of three interfaces");
    for interface in ["ens6", "ens7"] {
        let of = [("interface", interface)];
        joined
            .is("trunnion_connections", &[("interface", interface), ("state", "established")], 30.0)?
            .is("trunnion_spread_connections_total", &of, 45.0)?
            .is("trunnion_spread_draining", &of, 0.0)?
            .is("trunnion_ports_used_busiest_destination", &of, 10.0)?;
    }
    let (status, body) = stage.get(PORT, "/metrics?per=subnet")?;
    ensure!(status == 400 && body.contains("`interface` or `address`"), "{status}: {body}");
    // Sockets that the programs leave alone.
    let left = |reason: &str| joined.sum("trunnion_spread_left_total", &[("reason", reason)]);
    let before = [left("bound"), left("not_tcp"), left("excepted")];
    stage.as_user("gatling", &["python3", "-c", LEFT_ALONE, &server.address().ip().to_string()])?.succeeded()?;
    eventually(|| {
        let metrics = Metrics::new(stage)?;
        for ((reason, before), more) in ["bound", "not_tcp", "excepted"].into_iter().zip(before).zip([1.0, 2.0, 3.0]) {
            metrics.is("trunnion_spread_left_total", &[("reason", reason)], before + more)?;
        }
        Ok(())
    })
}
