//! Tests of the service: it keeps the host set up, reports its health, and keeps connections when it stops.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    thread::sleep,
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;
use trunnion_host::{Config, Connections};

use super::{
    Test,
    check::listen,
    command::Service,
    ensure,
    imds::Fault,
    metrics::{self, Metrics},
    setup::with_services,
    stage::{Stage, StageOptions, target_ipv4},
};
use crate::Failure;

pub(crate) const TESTS: &[Test] = &[
    ("run_reports_the_health_of_the_host", run_reports_the_health_of_the_host),
    ("run_learns_which_ports_are_taken", run_learns_which_ports_are_taken),
    ("run_repairs_the_network", run_repairs_the_network),
    ("run_survives_an_outage_of_the_metadata", run_survives_an_outage_of_the_metadata),
    ("run_waits_for_late_metadata", run_waits_for_late_metadata),
    ("run_answers_although_the_metadata_is_contradictory", run_answers_although_the_metadata_is_contradictory),
    ("run_drains", run_drains),
    ("run_refuses_a_second_service", run_refuses_a_second_service),
    ("run_treats_a_late_interface_like_the_first", run_treats_a_late_interface_like_the_first),
    ("run_writes_one_line_for_each_message", run_writes_one_line_for_each_message),
    ("run_withstands_hostile_clients", run_withstands_hostile_clients),
    ("run_is_small_with_400_addresses", run_is_small_with_400_addresses),
];

pub(super) const PORT: u16 = Config::METRICS_PORT;
const PATIENCE: Duration = Duration::from_mins(1);
/// The most memory the service may take, in KiB.
const MOST_MEMORY: u64 = 22_000;

/// Opens this number of connections and holds them.
const HOLD: &str = "import socket, sys, time
held = [socket.create_connection((sys.argv[1], int(sys.argv[2])), 20) for _ in range(int(sys.argv[3]))]
print('ready', flush=True)
time.sleep(600)";

/// A host with three interfaces in two subnets, three addresses each, and a listener on the SSH port.
fn stage() -> Result<(Stage, Service), Failure> {
    let stage = Stage::new(StageOptions { subnets: vec![0, 0, 1], ..StageOptions::one_subnet(3, 3) })?;
    let sshd = listen(&stage)?;
    Ok((stage, sshd))
}

/// The service, once it is ready.
pub(super) fn start(stage: &Stage, refresh: &str) -> Result<Service, Failure> {
    let mut service = stage.generator_as_service(&["run", "--refresh", refresh])?;
    service.wait_for_notice("READY=1", PATIENCE)?;
    Ok(service)
}

/// Repeats an attempt until it succeeds.
pub(super) fn eventually<T>(mut attempt: impl FnMut() -> Result<T, Failure>) -> Result<T, Failure> {
    let end = Instant::now() + PATIENCE;
    loop {
        match attempt() {
            Err(_) if Instant::now() < end => sleep(Duration::from_millis(50)),
            result => return result,
        }
    }
}

/// Checks that `/health` has this status, and that its body contains this text.
fn health(stage: &Stage, status: u16, says: &str) -> Result<serde_json::Value, Failure> {
    let (found, body) = stage.get(PORT, "/health")?;
    ensure!(found == status && body.contains(says), "/health said {found}, not {status} with `{says}`: {body}");
    Ok(serde_json::from_str(&body)?)
}

fn is(found: f64, wanted: f64, what: &str) -> Result<(), Failure> {
    ensure!((found - wanted).abs() < 1e-6, "{what} is {found}, not {wanted}");
    Ok(())
}

/// The host's addresses with their interfaces, except loopback and link-local ones.
fn addresses(stage: &Stage) -> Result<BTreeSet<String>, Failure> {
    let output = stage.host(&["ip", "-o", "-4", "addr", "show"])?.succeeded()?.stdout;
    let words = output.lines().filter_map(|line| {
        let mut words = line.split_ascii_whitespace().skip(1);
        let (link, address) = (words.next()?, words.nth(1)?);
        (link != "lo").then(|| format!("{link} {}", address.split('/').next().unwrap_or_default()))
    });
    Ok(words.collect())
}

/// Rules and routes of all tables.
fn routing(stage: &Stage) -> Result<String, Failure> {
    Ok(stage.script("ip rule | sort; ip -4 route show table all | sed 's/ expires .*//' | sort")?.succeeded()?.stdout)
}

/// The sources of the spread, with their counters.
pub(super) fn sources(stage: &Stage) -> Result<BTreeMap<String, u64>, Failure> {
    let output = stage.generator(&["spread", "--show", "--json"])?.succeeded()?.json()?;
    let sources = output["sources"].as_array().into_iter().flatten();
    Ok(sources
        .filter_map(|source| Some((source["address"].as_str()?.to_owned(), source["connections"].as_u64()?)))
        .collect())
}

/// Opens connections to a target as the SSH user, and holds them.
pub(super) fn hold(stage: &Stage, to: SocketAddr, count: usize) -> Result<Service, Failure> {
    let mut service = stage.start_as_user(
        "gatling",
        &["python3", "-c", HOLD, &to.ip().to_string(), &to.port().to_string(), &count.to_string()],
    )?;
    eventually(|| {
        let (stdout, stderr) = service.said()?;
        ensure!(stdout.contains("ready"), "the connections are not established: {stderr}");
        Ok(())
    })?;
    ensure!(service.is_running()?, "the connections are gone");
    Ok(service)
}

/// Listens on ten ports of the range, on all addresses.
const TAKEN: &str = "import socket, time
listeners = [socket.create_server(('0.0.0.0', port)) for port in range(20000, 20010)]
print('ready', flush=True)
time.sleep(600)";

/// Connects 1,600 times and holds what stands.
const EVERY_PORT: &str = "import errno, socket, sys
held, refused = [], 0
for _ in range(1600):
    try:
        held.append(socket.create_connection((sys.argv[1], int(sys.argv[2])), 20))
    except OSError as error:
        assert error.errno == errno.EADDRNOTAVAIL, error
        refused += 1
print(len(held), refused, flush=True)";

/// Ports that listeners have are not in the count. A source is searched in vain once, and then left out for a while.
fn run_learns_which_ports_are_taken() -> Result<(), Failure> {
    let stage = Stage::new(StageOptions::one_subnet(2, 8))?;
    let _sshd = listen(&stage)?;
    let _service = start(&stage, "60")?;
    let taken = stage.start(&["python3", "-c", TAKEN])?;
    eventually(|| {
        ensure!(taken.said()?.0.contains("ready"), "nothing listens: {:?}", taken.said()?);
        Ok(())
    })?;
    let server = stage.listen(0, 0)?;
    let (ip, port) = (server.address().ip().to_string(), server.address().port().to_string());
    let said = stage.as_user("gatling", &["python3", "-c", EVERY_PORT, &ip, &port])?.succeeded()?.stdout;
    let numbers: Vec<f64> = said.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    let [held, refused] = numbers[..] else { return Err(format!("it said {said}").into()) };
    ensure!(held >= 1_420.0, "only {said}");
    let in_vain = Metrics::new(&stage)?.sum("trunnion_spread_without_port_total", &[]);
    ensure!((16.0..48.0).contains(&in_vain) && refused > 2.0 * in_vain, "{in_vain} searches in vain, and {said}");
    Ok(())
}

fn run_reports_the_health_of_the_host() -> Result<(), Failure> {
    let (stage, sshd) = stage()?;
    let mut service = start(&stage, "1")?;
    service.wait_for_notice("STATUS=healthy", PATIENCE)?;
    let output = health(&stage, 200, "\"status\":\"healthy\"")?;
    ensure!(output["capacity"]["per_destination"] == 900 && output["failing"] == serde_json::json!([]), "{output}");

    // Only the primary address is served.
    let second = SocketAddr::from((stage.addresses()[1], PORT));
    let refused = stage.router().inside(|| TcpStream::connect_timeout(&second, Duration::from_secs(5)))?;
    ensure!(refused.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused), "{second} is served");

    // Ninety connections to one destination, then as many that this side closes.
    let server = stage.listen(0, 7000)?;
    let holder = hold(&stage, server.address(), 90)?;
    let closing = stage.listen(1, 7001)?;
    drop(hold(&stage, closing.address(), 45)?);
    let primary = stage.primary_address()?.to_string();
    let metrics = eventually(|| {
        let metrics = Metrics::per_address(&stage)?;
        let others = metrics.sum("trunnion_connections", &[("state", "time_wait")])
            + metrics.sum("trunnion_connections", &[("state", "other")]);
        ensure!(others >= 45.0, "{others} connections are on their way down, not 45");
        Ok(metrics)
    })?;
    for address in stage.addresses().iter().map(ToString::to_string).filter(|address| *address != primary) {
        let of = [("address", address.as_str())];
        metrics
            .is("trunnion_connections", &[("address", &address), ("state", "established")], 10.0)?
            .is("trunnion_spread_connections_total", &of, 15.0)?
            .is("trunnion_spread_refused_total", &of, 0.0)?
            .is("trunnion_spread_draining", &of, 0.0)?
            .is("trunnion_ports_used_busiest_destination", &of, 10.0)?;
        let used = metrics.sum("trunnion_ports_used", &of);
        ensure!((10.0..=15.0).contains(&used), "{used} ports of {address} are used");
    }
    // The service's own connection to the metadata service also uses the primary address.
    let of_primary = metrics.sum("trunnion_connections", &[("address", &primary), ("state", "established")]);
    ensure!((10.0..15.0).contains(&of_primary), "{of_primary} connections of the primary address");
    metrics
        .is("trunnion_healthy", &[], 1.0)?
        .is("trunnion_draining", &[], 0.0)?
        .is("trunnion_ports_range", &[], 100.0)?
        .is("trunnion_promised_connections", &[("scope", "total")], 900.0)?
        .is("trunnion_capacity_connections", &[("scope", "destination")], 900.0)?
        .is("trunnion_gatling_running", &[], 0.0)?
        .is("trunnion_generator_info", &[("pool", "stage"), ("spread", "kernel")], 1.0)?;
    metrics::are_joined_by_interface(&stage, &server)?;
    for name in [
        "trunnion_cpu_seconds_total",
        "trunnion_process_cpu_seconds_total",
        "trunnion_process_resident_memory_bytes",
        "trunnion_memory_available_bytes",
        "trunnion_tcp_memory_bytes",
        "trunnion_open_files",
        "trunnion_metadata_age_seconds",
    ] {
        ensure!(!metrics.all(name, &[]).is_empty(), "there is no {name}");
    }
    drop(holder);
    eventually(|| {
        is(
            Metrics::per_address(&stage)?.sum(
                "trunnion_connections",
                &[("state", "established"), ("address", &stage.addresses()[4].to_string())],
            ),
            0.0,
            "established connections",
        )
    })?;

    // A program of the SSH user with the name java counts as Gatling.
    stage.script("install -o gatling \"$(command -v sleep)\" /var/lib/gatling/java")?.succeeded()?;
    let gatling = stage.start_as_user("gatling", &["/var/lib/gatling/java", "600"])?;
    eventually(|| {
        Metrics::new(&stage)?
            .is("trunnion_gatling_running", &[], 1.0)?
            .is("trunnion_gatling_processes", &[], 1.0)
            .map(drop)
    })?;
    drop(gatling);
    eventually(|| Metrics::new(&stage)?.is("trunnion_gatling_running", &[], 0.0).map(drop))?;

    // A failed check is reported, and so is its recovery.
    stage.host_namespace().sysctl(&["net.ipv4.ip_local_port_range=20000 20049"])?;
    eventually(|| health(&stage, 503, "\"name\":\"ports\"").map(drop))?;
    eventually(|| health(&stage, 200, "healthy").map(drop))?;
    ensure!(service.said()?.1.contains("ip_local_port_range`: set to"), "{:?}", service.said()?);
    drop(sshd);
    eventually(|| {
        let output = health(&stage, 503, "\"status\":\"unhealthy\"")?;
        ensure!(output["failing"][0]["name"] == "sshd" && output["failing"][0]["help"].is_string(), "{output}");
        Ok(())
    })?;
    Metrics::new(&stage)?.is("trunnion_healthy", &[], 0.0)?.is("trunnion_sound", &[], 0.0)?;
    Ok(())
}

fn run_repairs_the_network() -> Result<(), Failure> {
    let (stage, _sshd) = stage()?;
    // The refresh is so rare that only a kernel event can trigger the repair.
    let service = start(&stage, "3600")?;
    let (all, routing_before) = (addresses(&stage)?, routing(&stage)?);
    ensure!(all.len() == 9, "{all:?}");
    let lost = stage.addresses()[4];
    for taken in [
        format!("ip addr del {lost}/32 dev ens6"),
        format!("ip rule del from {lost}"),
        "ip route flush table 10002".to_owned(),
        "ip link set ens6 down".to_owned(),
        "ip addr flush dev ens7".to_owned(),
        "for priority in 10001 10002; do while ip rule del priority $priority 2> /dev/null; do :; done; done"
            .to_owned(),
    ] {
        stage.script(&taken)?.succeeded()?;
        eventually(|| {
            let (now, routing_now) = (addresses(&stage)?, routing(&stage)?);
            ensure!(now == all, "after `{taken}`: {now:?}, not {all:?}");
            ensure!(routing_now == routing_before, "after `{taken}`: {routing_now}, not {routing_before}");
            ensure!(sources(&stage)?.len() == 9, "after `{taken}`: {:?}", sources(&stage)?);
            health(&stage, 200, "healthy").map(drop)
        })
        .map_err(|failure| format!("{failure}\n{}", service.said().map(|said| said.1).unwrap_or_default()))?;
    }
    // All addresses still work.
    let server = stage.listen(1, 7000)?;
    let probe = ["check", "--probe", &server.address().to_string()];
    stage.generator(&probe)?.succeeded()?;

    // An interface that is unplugged, and comes back.
    stage.host(&["ip", "link", "set", "ens7", "netns", &stage.router().id().to_string()])?.succeeded()?;
    eventually(|| health(&stage, 503, "02:00:00:00:01:02").map(drop))?;
    ensure!(sources(&stage)?.len() == 6, "{:?}", sources(&stage)?);
    let host = stage.host_namespace().id().to_string();
    stage.router().run(&["ip", "link", "set", "ens7", "netns", &host])?.succeeded()?;
    eventually(|| health(&stage, 200, "healthy").map(drop))?;
    ensure!(addresses(&stage)? == all && sources(&stage)?.len() == 9, "{:?}", addresses(&stage)?);

    // A program that was detached by hand is attached again with the next event.
    stage.generator(&["spread", "--detach"])?.succeeded()?;
    stage.host(&["ip", "addr", "del", &format!("{lost}/32"), "dev", "ens6"])?.succeeded()?;
    eventually(|| {
        ensure!(sources(&stage)?.len() == 9, "not all sources are back");
        Ok(())
    })
}

fn run_survives_an_outage_of_the_metadata() -> Result<(), Failure> {
    let (stage, _sshd) = stage()?;
    // The promise does not need the address that AWS removes later.
    stage.config(|config| {
        config.addresses = 2;
        config.connections = Connections { per_destination: 600, total: 600 };
    })?;
    let service = start(&stage, "1")?;
    let all = addresses(&stage)?;
    let said = |text: &str| service.said().map(|said| said.1.matches(text).count());
    for (part, fault) in [
        ("", Fault::Status(500)),
        ("02:00:00:00:00:01/local-ipv4s", Fault::Status(404)),
        ("macs/", Fault::Text("")),
        ("local-ipv4s", Fault::Cut),
    ] {
        let before = said("metadata: read failed")?;
        stage.imds().fail(part, fault);
        eventually(|| {
            ensure!(said("metadata: read failed")? > before, "no failed read is logged: {:?}", service.said()?);
            Ok(())
        })?;
        ensure!(addresses(&stage)? == all, "{fault:?} of `{part}` took addresses away");
        // The known network is still repaired.
        let lost = stage.addresses()[7];
        stage.host(&["ip", "addr", "del", &format!("{lost}/32"), "dev", "ens7"])?.succeeded()?;
        eventually(|| {
            ensure!(addresses(&stage)? == all && sources(&stage)?.len() == 9, "{lost} did not come back");
            Ok(())
        })?;
        eventually(|| health(&stage, 200, "healthy").map(drop))?;
        stage.imds().heal();
    }

    // An address that AWS removed is removed after two reads agree, and from the spread first.
    let gone = stage.addresses()[8];
    let server = stage.listen(0, 7000)?;
    stage.change(|metadata| metadata.interfaces[2].addresses.truncate(2))?;
    eventually(|| {
        ensure!(
            addresses(&stage)?.len() == 8 && sources(&stage)?.len() == 8,
            "{gone} is still there: {}",
            service.said()?.1
        );
        Ok(())
    })?;
    let log = service.said()?.1;
    let place = |text: &str| log.find(text).ok_or_else(|| format!("`{text}` is not in {log}"));
    ensure!(
        place(&format!("metadata: {gone}/32 is gone; removing it if the next read agrees"))?
            < place(&format!("spread: removed source {gone}"))?,
        "{log}"
    );
    ensure!(place("spread: removed source")? < place(&format!("setup: address {gone}/32 on ens7: removed"))?, "{log}");

    // An address that AWS adds is used at once.
    stage.change(|metadata| metadata.interfaces[1].addresses.push([10, 0, 1, 77].into()))?;
    eventually(|| {
        let sources = sources(&stage)?;
        ensure!(sources.contains_key("10.0.1.77"), "the new address is no source: {sources:?}\n{}", service.said()?.1);
        Ok(())
    })?;
    let _holder = hold(&stage, server.address(), 9)?;
    ensure!(server.by_source().len() == 9, "{:?}", server.by_source());
    Ok(())
}

fn run_waits_for_late_metadata() -> Result<(), Failure> {
    let (stage, _sshd) = stage()?;
    stage.imds().fail("", Fault::Status(500));
    let mut service = stage.generator_as_service(&["run"])?;
    eventually(|| health(&stage, 503, "\"name\":\"metadata\"").map(drop))?;
    ensure!(addresses(&stage)?.len() == 1, "setup ran without metadata");
    stage.imds().heal();
    service.wait_for_notice("READY=1", PATIENCE)?;
    health(&stage, 200, "healthy").map(drop)
}

fn run_answers_although_the_metadata_is_contradictory() -> Result<(), Failure> {
    let (stage, _sshd) = stage()?;
    let give = |device| {
        stage.change(|metadata| {
            if let Some(second) = metadata.interfaces.get_mut(1) {
                second.device = device;
            }
        })
    };
    give(0)?;
    let _service = start(&stage, "1")?;
    eventually(|| health(&stage, 503, "two interfaces that are device 0").map(drop))?;
    ensure!(addresses(&stage)?.len() == 1, "setup ran without metadata");
    give(1)?;
    eventually(|| health(&stage, 200, "healthy").map(drop))
}

fn run_drains() -> Result<(), Failure> {
    let (stage, _sshd) = stage()?;
    let mut service = start(&stage, "60")?;
    let primary = SocketAddr::from((stage.primary_address()?, PORT));
    stage.change(|metadata| metadata.rebalance = Some("2026-11-23T08:22:00Z".into()))?;
    eventually(|| health(&stage, 503, "\"status\":\"draining\",\"draining\":\"AWS recommends a rebalance").map(drop))?;
    eventually(|| Metrics::new(&stage)?.is("trunnion_draining", &[], 1.0)?.is("trunnion_sound", &[], 1.0).map(drop))?;
    stage.change(|metadata| metadata.interruption = Some(("terminate".into(), "2026-11-23T08:30:00Z".into())))?;
    eventually(|| health(&stage, 503, "AWS will terminate this spot instance at 2026-11-23T08:30:00Z").map(drop))?;
    stage.change(|metadata| (metadata.rebalance, metadata.interruption) = (None, None))?;
    eventually(|| health(&stage, 200, "healthy").map(drop))?;

    // When the service stops, it answers a request in progress; connections, sources and addresses stay.
    let server = stage.listen(0, 7000)?;
    let _holder = hold(&stage, server.address(), 9)?;
    let mut slow = stage.router().inside(|| TcpStream::connect_timeout(&primary, PATIENCE))??;
    write!(slow, "GET /health HTTP/1.1\r\nHost: host\r\n")?;
    // Connections are accepted in order: once this one is answered, the earlier one is accepted.
    health(&stage, 200, "healthy")?;
    let (all, counted) = (addresses(&stage)?, sources(&stage)?);
    service.signal(Signal::SIGTERM)?;
    service.wait_for_notice("STOPPING=1", PATIENCE)?;
    write!(slow, "\r\n")?;
    let mut answer = String::new();
    slow.read_to_string(&mut answer)?;
    ensure!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("\"status\":\"draining\""), "{answer}");
    let ended = service.wait(PATIENCE)?.ended_with(0)?;
    ensure!(ended.stderr.contains("draining: the service is stopping"), "{ended}");
    ensure!(addresses(&stage)? == all && sources(&stage)? == counted, "the service removed something");
    ensure!(server.standing()? == 9, "{} connections are established", server.standing()?);
    let _more = hold(&stage, server.address(), 9)?;
    ensure!(server.by_source().values().all(|&count| count == 2), "{:?}", server.by_source());

    // The next service continues.
    let _service = start(&stage, "60")?;
    let metrics = Metrics::new(&stage)?;
    is(metrics.sum("trunnion_spread_connections_total", &[]), 18.0, "the number of spread connections")?;
    ensure!(server.standing()? == 18, "{} connections are established", server.standing()?);
    Ok(())
}

fn run_refuses_a_second_service() -> Result<(), Failure> {
    let (stage, _sshd) = stage()?;
    let service = start(&stage, "60")?;
    let second = stage.generator(&["run"])?.ended_with(1)?;
    ensure!(second.stderr.contains("already runs on this host, as process"), "{second}");
    health(&stage, 200, "healthy")?;
    // Nothing but a running service keeps the next one from starting.
    service.signal(Signal::SIGKILL)?;
    drop(service);
    start(&stage, "60")?;
    Ok(())
}

/// An interface that is attached while the service runs also needs what is not of its network.
fn run_treats_a_late_interface_like_the_first() -> Result<(), Failure> {
    let (stage, _sshd) = stage()?;
    let late = std::cell::Cell::new(None);
    stage.change(|metadata| late.set(metadata.interfaces.pop()))?;
    stage.config(|config| {
        config.interfaces = 2;
        config.connections.per_destination = 600;
        config.connections.total = 600;
    })?;
    with_services(&stage)?;
    let _service = start(&stage, "1")?;
    let masked = |name: &str| {
        let unit = stage.path(&format!("/etc/systemd/system/refresh-policy-routes@{name}.timer"));
        std::fs::read_link(unit).is_ok_and(|target| target.as_os_str() == "/dev/null")
    };
    ensure!(masked("ens5") && masked("ens6") && !masked("ens7"), "the timers of the first two interfaces");
    let late = late.take().ok_or("no interface")?;
    stage.change(|metadata| metadata.interfaces.push(late))?;
    eventually(|| {
        ensure!(masked("ens7"), "the timer of the late interface runs");
        Ok(())
    })
}

/// Text of the metadata service neither begins a line nor changes a terminal, in the journal and in errors of commands.
fn run_writes_one_line_for_each_message() -> Result<(), Failure> {
    let (stage, _sshd) = stage()?;
    let service = start(&stage, "1")?;
    let time = format!("soon\\nSTATUS=healthy\\u001b[2J{}", "x".repeat(60_000));
    stage.change(|metadata| metadata.rebalance = Some(time.clone()))?;
    let said = eventually(|| {
        let said = service.said()?.1;
        ensure!(said.contains("soon"), "nothing was said: {said}");
        Ok(said)
    })?;
    ensure!(!said.contains('\u{1b}') && !said.lines().any(|line| line.starts_with("STATUS=")), "{said}");
    ensure!(said.lines().all(|line| line.len() < 1_000), "a line is too long");

    stage.imds().fail("subnet-ipv4-cidr-block", Fault::Text("10.0.0.0\n\u{1b}[2Jok"));
    let ended = stage.generator(&["setup"])?.ended_with(1)?;
    ensure!(ended.stderr.contains(r"`10.0.0.0\n\u{1b}[2Jok`"), "{ended}");
    Ok(())
}

fn run_withstands_hostile_clients() -> Result<(), Failure> {
    let (stage, _sshd) = stage()?;
    let service = start(&stage, "60")?;
    let primary = SocketAddr::from((stage.primary_address()?, PORT));
    let connect = || stage.router().inside(|| TcpStream::connect_timeout(&primary, PATIENCE));
    let converse = |request: &[u8]| -> Result<String, Failure> {
        let mut stream = connect()??;
        stream.set_read_timeout(Some(PATIENCE))?;
        // The server may close the connection before it has read everything.
        let _ = stream.write_all(request);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        Ok(String::from_utf8_lossy(&answer).into_owned())
    };
    for (request, begins) in [
        ("POST /health HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc", "HTTP/1.1 405 "),
        ("GET /../etc/passwd HTTP/1.1\r\nHost: h\r\n\r\n", "HTTP/1.1 404 "),
        ("GET /health?verbose HTTP/1.0\r\n\r\n", "HTTP/1.0 200 "),
        ("nonsense\r\n\r\n", "HTTP/1.1 400 "),
        ("HEAD /metrics HTTP/1.1\r\nHost: h\r\n\r\n", "HTTP/1.1 200 "),
    ] {
        let answer = converse(request.as_bytes())?;
        ensure!(answer.starts_with(begins), "`{request}` was answered with {answer}");
        ensure!(!request.starts_with("HEAD") || answer.ends_with("\r\n\r\n"), "HEAD has a body: {answer}");
        ensure!(!request.starts_with("POST") || answer.contains("allow: GET, HEAD"), "{answer}");
    }
    let endless = format!("GET /health HTTP/1.1\r\nX: {}", "a".repeat(1 << 20));
    let answer = converse(endless.as_bytes())?;
    ensure!(!answer.contains(" 200 "), "a megabyte of header was taken: {answer}");

    // Hundreds of connections that send nothing or half a request, or read nothing, beside normal requests.
    let mut hanging = Vec::new();
    for number in 0..400 {
        let mut stream = connect()??;
        let _ = match number % 3 {
            0 => Ok(()),
            1 => write!(stream, "GET /health HTTP/1.1\r\nHost: h\r\n"),
            _ => write!(stream, "GET /metrics HTTP/1.1\r\nHost: h\r\n\r\n"),
        };
        hanging.push(stream);
        if number % 20 == 0 {
            health(&stage, 200, "healthy")?;
        }
    }
    for _ in 0..20 {
        health(&stage, 200, "healthy")?;
    }
    let memory = memory(&service)?;
    ensure!(memory < MOST_MEMORY, "the service takes {memory} KiB");
    let open = std::fs::read_dir(format!("/proc/{}/fd", service.id()))?.count();
    ensure!(open < 120, "the service has {open} files open");
    Ok(())
}

/// The resident memory of the service, in KiB.
fn memory(service: &Service) -> Result<u64, Failure> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", service.id()))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

/// The processor time of the service so far, in hundredths of a second.
fn processor(service: &Service) -> Result<u64, Failure> {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", service.id()))?;
    let words = stat.rsplit_once(')').ok_or("no name in stat")?.1.split_ascii_whitespace();
    words.skip(11).take(2).map(|word| Ok(word.parse::<u64>()?)).sum()
}

#[expect(clippy::print_stderr, reason = "figures for the person who runs it")]
fn run_is_small_with_400_addresses() -> Result<(), Failure> {
    let stage = Stage::new(StageOptions::one_subnet(8, 50))?;
    let _sshd = listen(&stage)?;
    stage.config(|config| config.connections.total = 15_000)?;
    let begun = Instant::now();
    // Six times as often as by default.
    let service = start(&stage, "10")?;
    let ready = begun.elapsed();
    health(&stage, 200, "healthy")?;
    ensure!(addresses(&stage)?.len() == 400 && sources(&stage)?.len() == 400, "some addresses are missing");
    let target = SocketAddr::from((target_ipv4(0), 7000));
    let _server = stage.listen(0, 7000)?;
    let _holder = hold(&stage, target, 800)?;
    for _ in 0..5 {
        is(Metrics::new(&stage)?.sum("trunnion_spread_connections_total", &[]), 800.0, "what was spread")?;
    }
    let (begun, before) = (Instant::now(), processor(&service)?);
    sleep(Duration::from_secs(20));
    let (took, passed) = (processor(&service)? - before, begun.elapsed().as_millis() / 10);
    let memory = memory(&service)?;
    eprintln!(
        "400 addresses: ready after {} ms, {memory} KiB resident, {took} of {passed} hundredths of a second of one core",
        ready.as_millis()
    );
    let lines = |path| Ok::<_, Failure>(stage.get(PORT, path)?.1.lines().count());
    let (joined, each) = (lines("/metrics")?, lines("/metrics?per=address")?);
    ensure!(joined < 300 && each > 3_000, "{joined} lines, and {each} with each address");
    ensure!(memory < MOST_MEMORY, "the service takes {memory} KiB");
    Ok(())
}
