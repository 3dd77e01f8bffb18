//! Tests of `check`: it names what is wrong, one thing at a time, with its exit code and help.

use std::{collections::BTreeSet, time::Duration};

use super::{
    Test,
    command::{Ended, Service},
    ensure,
    imds::Fault,
    stage::{GENERATOR, Stage, StageOptions},
};
use crate::Failure;

pub(crate) const TESTS: &[Test] = &[
    ("check_accepts_a_healthy_host", check_accepts_a_healthy_host),
    ("check_names_what_is_wrong_with_the_network", check_names_what_is_wrong_with_the_network),
    ("check_names_what_is_wrong_with_limits_and_programs", check_names_what_is_wrong_with_limits_and_programs),
    ("check_reports_why_nothing_is_spread", check_reports_why_nothing_is_spread),
];

const PATIENCE: Duration = Duration::from_secs(20);

/// Listens on the SSH port, because the host has no sshd.
const LISTEN: &str = "import socket, sys, time
listener = socket.create_server((sys.argv[1], 22))
print('ready', flush=True)
time.sleep(600)";

/// A stage after `setup`: three interfaces in two subnets, three addresses each, 100 ports.
fn ready() -> Result<(Stage, Service), Failure> {
    let stage = Stage::new(StageOptions { subnets: vec![0, 0, 1], ..StageOptions::one_subnet(3, 3) })?;
    stage.generator(&["setup"])?.succeeded()?;
    stage.generator(&["spread"])?.succeeded()?;
    let sshd = listen(&stage)?;
    Ok((stage, sshd))
}

/// A program that listens where the control plane logs in.
pub(crate) fn listen(stage: &Stage) -> Result<Service, Failure> {
    let mut service = stage.start(&["python3", "-c", LISTEN, &stage.primary_address()?.to_string()])?;
    let end = std::time::Instant::now() + PATIENCE;
    while !service.said()?.0.contains("ready") {
        ensure!(service.is_running()? && std::time::Instant::now() < end, "nothing listens: {:?}", service.said()?);
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(service)
}

/// The JSON output of `check`.
pub(super) struct Checked {
    ended: Ended,
    document: serde_json::Value,
}

impl Checked {
    pub(super) fn new(stage: &Stage, arguments: &[&str]) -> Result<Self, Failure> {
        Self::of(stage.generator(&[&["check", "--json"], arguments].concat())?)
    }

    fn of(ended: Ended) -> Result<Self, Failure> {
        let document = ended.json()?;
        let healthy = document["healthy"] == true;
        ensure!(ended.code == i32::from(!healthy), "the exit code contradicts the report: {ended}");
        let failed: Vec<_> = checks(&document).filter(|check| check["state"] == "failed").collect();
        ensure!(healthy == failed.is_empty(), "healthy with failed checks: {ended}");
        for check in failed {
            ensure!(check["help"].as_str().is_some_and(|help| help.len() > 5), "no help: {check}");
        }
        Ok(Self { ended, document })
    }

    /// Checks that exactly these checks failed.
    pub(super) fn failed(&self, names: &[&str]) -> Result<&Self, Failure> {
        let failed: BTreeSet<_> = checks(&self.document)
            .filter(|check| check["state"] == "failed")
            .map(|check| &check["name"])
            .collect::<Vec<_>>()
            .into_iter()
            .filter_map(|name| name.as_str())
            .collect();
        ensure!(failed == names.iter().copied().collect(), "{failed:?} failed, not {names:?}: {}", self.ended);
        Ok(self)
    }

    /// Checks that the message, the details or the help of a check contain this text.
    pub(super) fn says(&self, name: &str, text: &str) -> Result<&Self, Failure> {
        let check = checks(&self.document).find(|check| check["name"] == name);
        let said = check.map(ToString::to_string).unwrap_or_default();
        ensure!(said.contains(text), "`{name}` does not say `{text}`: {said}");
        Ok(self)
    }

    fn capacity(&self, addresses: u64, total: u64, limit: &str) -> Result<&Self, Failure> {
        let capacity = &self.document["capacity"];
        ensure!(
            capacity["addresses"] == addresses && capacity["total"] == total && capacity["limit"] == limit,
            "the capacity is {capacity}, not {total} from {addresses} addresses by {limit}"
        );
        Ok(self)
    }
}

fn checks(document: &serde_json::Value) -> impl Iterator<Item = &serde_json::Value> {
    document["checks"].as_array().into_iter().flatten()
}

fn check_accepts_a_healthy_host() -> Result<(), Failure> {
    let (stage, _sshd) = ready()?;
    Checked::new(&stage, &[])?.failed(&[])?.capacity(9, 900, "ports")?.says("ena", "no ENA interface")?;

    // The text output: a mark and a word in each line, without colours in a pipe.
    let output = stage.generator(&["check"])?.succeeded()?.stdout;
    ensure!(output.contains("✓ ok       routes "), "{output}");
    ensure!(output.ends_with("This host holds what it was promised.\n") && !output.contains('\u{1b}'), "{output}");

    // A real connection from every address. The report names an address whose connection is dropped.
    let server = stage.listen(0, 0)?;
    let probe = ["--probe", &server.address().to_string()];
    Checked::new(&stage, &probe)?.failed(&[])?.says("probe", "all 9 addresses")?;
    let sources: BTreeSet<_> = server.peers().iter().map(std::net::SocketAddr::ip).collect();
    ensure!(sources.len() == 9, "the probe came from {sources:?}");
    let (address, interface) = (stage.addresses()[4], "eni1");
    stage
        .router()
        .run_with(
            &["nft", "-f", "-"],
            &format!(
                "add rule bridge vpc sources iifname \"{interface}\" ip saddr {address} tcp dport {} drop\n",
                server.address().port()
            ),
        )?
        .succeeded()?;
    Checked::new(&stage, &probe)?
        .failed(&["probe", "spread", "capacity"])?
        .says("probe", &format!("`{address}` does not reach"))?
        .capacity(8, 800, "ports")?;

    // The promise exceeds the capacity.
    stage.config(|config| config.connections.total = 1_000)?;
    let output = stage.generator(&["check"])?.ended_with(1)?.stdout;
    ensure!(output.contains("✗ failed   capacity") && output.contains("help: raise that limit"), "{output}");
    ensure!(output.contains("900 in all: limited by the local ports; 900 and 1000 were promised"), "{output}");
    ensure!(output.ends_with("This host is not ready: 1 check failed.\n"), "{output}");
    Ok(())
}

fn check_names_what_is_wrong_with_the_network() -> Result<(), Failure> {
    let (stage, _sshd) = ready()?;
    let addresses = stage.addresses();
    let [_, _, _, _, second, _, third, ..] = addresses[..] else { return Err("too few addresses".into()) };

    // A missing address.
    stage.host(&["ip", "addr", "del", &format!("{second}/32"), "dev", "ens6"])?.succeeded()?;
    Checked::new(&stage, &[])?
        .failed(&["addresses", "spread", "capacity"])?
        .says("addresses", &format!("`{second}` is not on `ens6`: no interface has it"))?
        .says("addresses", "run `trunnion-generator setup`")?
        .capacity(8, 800, "ports")?;
    // The address on another interface.
    stage.host(&["ip", "addr", "add", &format!("{second}/32"), "dev", "ens7"])?.succeeded()?;
    Checked::new(&stage, &[])?.says("addresses", &format!("`{second}` is not on `ens6`: it is on `ens7`"))?;
    stage.host(&["ip", "addr", "del", &format!("{second}/32"), "dev", "ens7"])?.succeeded()?;
    stage.generator(&["setup"])?.succeeded()?;
    Checked::new(&stage, &[])?.failed(&[])?;

    // A wrong rule, and a missing one.
    let rule = |verb: &str, table: &str| {
        stage.host(&["ip", "rule", verb, "from", &second.to_string(), "lookup", table, "priority", "10001"])
    };
    stage.script(&format!("ip rule add from {second} lookup main priority 9999"))?.succeeded()?;
    Checked::new(&stage, &[])?
        .failed(&["routes", "spread", "capacity"])?
        .says("routes", &format!("`{second}` leaves through `ens5` by table main to `192.0.2.1` and "))?;
    stage.script(&format!("ip rule del from {second} lookup main priority 9999"))?.succeeded()?;
    rule("del", "10001")?.succeeded()?;
    Checked::new(&stage, &[])?
        .failed(&["routes", "spread", "capacity"])?
        .says("routes", &format!("`{second}` leaves through `ens5` by table 10000 to `192.0.2.1` and "))?;
    stage.generator(&["setup"])?.succeeded()?;

    // A table without a usable route.
    stage.script("ip route flush table 10002; ip route add unreachable default table 10002")?.succeeded()?;
    Checked::new(&stage, &[])?
        .failed(&["routes", "spread", "capacity"])?
        .says("routes", &format!("`{third}` has no route to `192.0.2.1` and "))?
        .capacity(6, 600, "ports")?;
    stage.script("ip route flush table 10002")?.succeeded()?;
    stage.generator(&["setup"])?.succeeded()?;
    Checked::new(&stage, &[])?.failed(&[])?;

    // An interface that is down, and one that the kernel does not have.
    stage.host(&["ip", "link", "set", "ens7", "down"])?.succeeded()?;
    Checked::new(&stage, &[])?.says("interfaces", "`ens7` is down")?.failed(&[
        "interfaces",
        "routes",
        "spread",
        "capacity",
    ])?;
    stage.host(&["ip", "link", "del", "ens7"])?.succeeded()?;
    Checked::new(&stage, &[])?
        .failed(&["interfaces", "spread", "capacity"])?
        .says("interfaces", "the interface with MAC address `02:00:00:00:01:02` is missing")?
        .says("interfaces", "attach the interface")?
        .capacity(6, 600, "ports")?;

    // AWS has fewer interfaces than promised.
    stage.change(|metadata| metadata.interfaces.truncate(2))?;
    Checked::new(&stage, &[])?.says("metadata", "2 interfaces are attached, 3 were promised")?;

    // The metadata service does not answer.
    stage.imds().fail("network/interfaces", Fault::Status(500));
    Checked::new(&stage, &[])?.says("metadata", "cannot read from the metadata which addresses")?.capacity(
        0,
        0,
        "addresses",
    )?;
    Ok(())
}

fn check_names_what_is_wrong_with_limits_and_programs() -> Result<(), Failure> {
    let (stage, sshd) = ready()?;

    // Too few descriptors in a login of the SSH user.
    let limits = "/etc/security/limits.d/90-trunnion.conf";
    let good = stage.read(limits)?;
    stage.write(limits, "* - nofile 500\n")?;
    Checked::new(&stage, &[])?
        .failed(&["descriptors", "capacity"])?
        .says("descriptors", "`gatling` can open 500 files, 900 connections were promised")?
        .capacity(9, 500, "descriptors")?;
    stage.write(limits, &good)?;

    // Fewer ports, by range and by reservation.
    stage.host_namespace().sysctl(&["net.ipv4.ip_local_port_range=20000 20049"])?;
    Checked::new(&stage, &[])?
        .failed(&["ports", "capacity"])?
        .says("ports", "50 local ports, 20000 to 20049; 100 were promised")?
        .capacity(9, 450, "ports")?;
    stage
        .host_namespace()
        .sysctl(&["net.ipv4.ip_local_port_range=20000 20099", "net.ipv4.ip_local_reserved_ports=80,20000-20009"])?;
    Checked::new(&stage, &[])?.failed(&["ports", "capacity"])?.says("ports", "without the 10 of")?;
    stage.host_namespace().sysctl(&["net.ipv4.ip_local_reserved_ports="])?;

    // The promise exceeds the memory.
    stage.config(|config| config.connections.total = 1 << 40)?;
    Checked::new(&stage, &[])?.failed(&["descriptors", "memory", "capacity"])?.says("memory", "MiB are enough for")?;
    stage.config(|_| {})?;

    // A full table of tracked connections. Its size applies to the whole machine, so this host sees a smaller value,
    // while the connections in the table are real.
    Checked::new(&stage, &[])?.failed(&[])?.says("conntrack", "tracks no connections")?;
    stage
        .script(
            "nft add table ip track
        nft add chain ip track out '{ type filter hook output priority 0; }'
        nft add rule ip track out ct state new accept",
        )?
        .succeeded()?;
    Checked::new(&stage, &[])?.failed(&[])?.says("conntrack", "the kernel tracks ")?;
    let server = stage.listen(0, 0)?;
    let address = server.address();
    let streams = stage.host_namespace().inside(|| {
        (0..60).map(|_| std::net::TcpStream::connect_timeout(&address, PATIENCE)).collect::<Result<Vec<_>, _>>()
    })??;
    stage.write("/run/most", "50\n")?;
    stage.host(&["mount", "--bind", "/run/most", "/proc/sys/net/netfilter/nf_conntrack_max"])?.succeeded()?;
    Checked::new(&stage, &[])?
        .failed(&["conntrack", "capacity"])?
        .says("conntrack", "the connection table of the kernel is full")?
        .says("conntrack", "raise `net.netfilter.nf_conntrack_max`")?
        .capacity(9, 50, "conntrack")?;
    stage.write("/run/most", "800\n")?;
    Checked::new(&stage, &[])?
        .failed(&["conntrack", "capacity"])?
        .says("conntrack", "800 connections at most, 900 were")?;
    drop(streams);
    stage.script("umount /proc/sys/net/netfilter/nf_conntrack_max; nft delete table ip track")?.succeeded()?;

    // Another Java, no Java, no jq, a `noexec` folder, and no sshd.
    stage.config(|config| config.java = 21)?;
    Checked::new(&stage, &[])?.failed(&["java"])?.says("java", "is version 17, 21 was promised")?;
    stage.config(|_| {})?;
    let hide = |program: &str| {
        stage.script(&format!("mount --bind /dev/null \"$(readlink -f \"$(command -v {program})\")\""))?.succeeded()
    };
    hide("java")?;
    Checked::new(&stage, &[])?
        .failed(&["java"])?
        .says("java", "`gatling` finds no `java`")?
        .says("java", "install `java-17-amazon-corretto-headless`")?;
    hide("jq")?;
    Checked::new(&stage, &[])?.failed(&["java", "jq"])?.says("jq", "install `jq`")?;
    stage.script("mount -t tmpfs -o noexec,mode=777 none /var/lib/gatling")?.succeeded()?;
    Checked::new(&stage, &[])?.failed(&["java", "jq", "executables"])?.says("executables", "it runs no programs")?;
    drop(sshd);
    Checked::new(&stage, &[])?
        .failed(&["java", "jq", "executables", "sshd"])?
        .says("sshd", "nothing listens on port 22")?;

    // A user that does not exist.
    stage.config(|config| config.ssh.user = "nobody-at-all".into())?;
    Checked::new(&stage, &[])?.says("session", "`nobody-at-all` cannot open a session")?;
    Ok(())
}

fn check_reports_why_nothing_is_spread() -> Result<(), Failure> {
    let stage = Stage::new(StageOptions::one_subnet(2, 3))?;
    stage.generator(&["setup"])?.succeeded()?;
    let _sshd = listen(&stage)?;

    // The kernel accepts the program, but it is not attached.
    Checked::new(&stage, &[])?
        .failed(&["spread", "capacity"])?
        .says("spread", "connections are not spread: all come from one address")?
        .says("spread", "run `trunnion-generator spread`")?
        .capacity(1, 100, "ports")?;

    // The kernel refuses.
    let refused = ["setpriv", "--bounding-set", "-bpf,-sys_admin", GENERATOR, "check", "--json"];
    Checked::of(stage.host(&refused)?)?
        .failed(&["spread", "capacity"])?
        .says("spread", "the kernel does not allow this process to use BPF")?
        .says("spread", "CAP_BPF")?
        .capacity(1, 100, "ports")?;

    // An address that was drained by hand fails the capacity check, but not the spread check.
    stage.generator(&["spread"])?.succeeded()?;
    let drained = stage.addresses()[3].to_string();
    stage.generator(&["spread", "--drain", &drained])?.succeeded()?;
    Checked::new(&stage, &[])?
        .failed(&["capacity"])?
        .says("spread", &format!("`{drained}` is draining"))?
        .capacity(5, 500, "ports")?;

    // The stack asks for no spread by the kernel.
    stage.config(|config| config.spread.mode = trunnion_host::Mode::Simulation)?;
    Checked::new(&stage, &[])?.failed(&[])?.capacity(6, 600, "ports")?;
    stage.config(|config| {
        config.spread.mode = trunnion_host::Mode::Off;
        config.connections = trunnion_host::Connections { per_destination: 100, total: 100 };
    })?;
    Checked::new(&stage, &[])?.failed(&[])?.capacity(1, 100, "ports")?.says("spread", "the only source")?;
    Ok(())
}
