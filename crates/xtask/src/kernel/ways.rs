//! Tests that replies leave through the interface with their source address, whatever routes DHCP added to the main
//! table.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use super::{
    Test,
    check::{Checked, listen},
    command::Service,
    ensure,
    namespace::Namespace,
    setup::{Killer, MOMENTS, everything, network, same},
    stage::{Stage, StageOptions},
    target::Server,
};
use crate::Failure;

pub(crate) const TESTS: &[Test] = &[
    ("ways_of_replies_are_those_of_their_addresses", replies),
    ("ways_of_three_interfaces_in_one_subnet", three_in_one_subnet),
    ("ways_to_containers_stay_open", containers),
    ("ways_are_checked_to_every_kind_of_destination", checked),
    ("ways_are_kept_by_the_service", kept),
    ("ways_do_not_depend_on_the_main_default_route", other_default_routes),
    ("ways_converge_wherever_setup_was_killed", killed),
];

const PATIENCE: Duration = Duration::from_mins(1);

/// The port on which the host listens, on all addresses.
const PORT: u16 = 7100;

/// Addresses in each subnet, such as that of a control plane, and outside of all subnets.
const NEIGHBOURS: [&str; 5] = ["10.0.0.1", "10.0.15.200", "10.0.31.200", "2001:db8::c8", "2001:db8:0:1::c8"];

/// Connects from each neighbour to each address of the host of the same family, and prints the addresses without an
/// answer.
const CONNECT: &str = "
import socket, sys
from concurrent.futures import ThreadPoolExecutor
port, neighbours, own = sys.argv[1], sys.argv[2].split(), sys.stdin.read().split()
def connect(pair):
    try:
        socket.create_connection((pair[1], int(port)), 5, (pair[0], 0)).close()
    except OSError as error:
        print(*pair, error)
pairs = [(one, other) for one in neighbours for other in own if (':' in one) == (':' in other)]
list(ThreadPoolExecutor(64).map(connect, pairs))
";

/// Three interfaces, two of them in one subnet, the third on another card; prefixes and IPv6.
fn options() -> StageOptions {
    StageOptions {
        subnets: vec![0, 0, 1],
        cards: vec![0, 0, 1],
        prefixes: 1,
        ipv6: 2,
        ..StageOptions::one_subnet(3, 3)
    }
}

/// The routes from DHCP and router advertisements on the other interfaces, with the metrics of amazon-ec2-net-utils.
/// The primary interface has lost its own subnet.
const ELSEWHERE: &str = "
    ip link set ens6 up
    ip addr add 10.0.1.10/20 dev ens6 noprefixroute
    ip route add 10.0.0.0/20 dev ens6 proto dhcp scope link src 10.0.1.10 metric 522
    ip route add 10.0.0.1 dev ens6 proto dhcp scope link src 10.0.1.10 metric 522
    ip route add 10.0.0.2 dev ens6 proto dhcp scope link src 10.0.1.10 metric 522
    ip route add default via 10.0.0.1 dev ens6 proto dhcp src 10.0.1.10 metric 522
    ip route del 10.0.0.0/20 dev ens5";
const ELSEWHERE_IPV6: &str = "
    ip -6 addr add 2001:db8::2:1/128 dev ens6 nodad
    ip -6 route add 2001:db8::/64 dev ens6 proto ra metric 522
    ip -6 route add default via fe80::1 dev ens6 proto ra metric 522";
/// The same routes for a second subnet. The second target and the first IPv6 target have their own routes.
const OTHER_SUBNET: &str = "
    ip link set ens7 up
    ip addr add 10.0.18.10/20 dev ens7 noprefixroute
    ip route add 10.0.16.0/20 dev ens7 proto dhcp scope link src 10.0.18.10 metric 612
    ip route add default via 10.0.16.1 dev ens7 proto dhcp src 10.0.18.10 metric 612
    ip route add 198.18.1.0/24 via 10.0.16.1 dev ens7 proto dhcp src 10.0.18.10 metric 612
    ip -6 addr add 2001:db8:0:1::3:1/128 dev ens7 nodad
    ip -6 route add 2001:db8:0:1::/64 dev ens7 proto ra metric 612
    ip -6 route add 2001:db8:ff00::/64 via fe80::1 dev ens7 proto ra metric 612";
/// Also removes the default route of the primary interface.
const NO_WAY_OUT: &str = "ip route del default dev ens5; ip -6 route del default dev ens5";

/// A stage with neighbours in each subnet. These commands run on the host first, like other programs.
fn stage(options: StageOptions, before: &[&str]) -> Result<Stage, Failure> {
    let stage = Stage::new(options)?;
    let subnets: BTreeSet<_> = stage.imds().metadata().interfaces.iter().map(|interface| interface.subnet).collect();
    stage.router().ip("addr add 10.0.15.200/20 dev sub0\naddr add 2001:db8::c8/64 dev sub0 nodad\n")?;
    if subnets.len() > 1 {
        stage.router().ip("addr add 10.0.31.200/20 dev sub1\naddr add 2001:db8:0:1::c8/64 dev sub1 nodad\n")?;
    }
    stage.script(&before.join("\n"))?.succeeded()?;
    Ok(stage)
}

/// The host's addresses of both families.
fn own(stage: &Stage) -> Vec<IpAddr> {
    let interfaces = stage.imds().metadata().interfaces;
    let ipv6 = interfaces.iter().flat_map(|interface| interface.ipv6_addresses.clone());
    stage.addresses().into_iter().map(IpAddr::from).chain(ipv6.map(IpAddr::from)).collect()
}

/// Connects from a namespace to these addresses of the host. Fails with the addresses that did not answer.
fn answers(host: &Server, from: &Namespace, sources: &[&str], own: &[IpAddr]) -> Result<(), Failure> {
    host.close_all();
    let own = own.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    let command = ["python3", "-c", CONNECT, &PORT.to_string(), &sources.join(" ")];
    let silent = from.run_with(&command, &own)?.succeeded()?.stdout;
    ensure!(silent.is_empty(), "no reply came from the address in the second column:\n{silent}");
    Ok(())
}

/// Checks that a neighbour in each subnet, the router and both targets get a reply from each address of the host.
fn every_reply_comes(stage: &Stage) -> Result<(), Failure> {
    let own = own(stage);
    // A listener on the unspecified IPv6 address accepts both families.
    let host = Server::start(stage.host_namespace(), SocketAddr::from(([0_u16; 8], PORT)), false)?;
    let output = stage.router().run(&["ip", "-o", "addr"])?.succeeded()?.stdout;
    let neighbours: Vec<_> =
        NEIGHBOURS.into_iter().filter(|neighbour| output.contains(&format!(" {neighbour}/"))).collect();
    ensure!(neighbours.len() >= 3, "the neighbours are {neighbours:?}");
    answers(&host, stage.router(), &neighbours, &own)?;
    for target in 0..2 {
        let sources = [format!("198.18.{target}.2"), format!("2001:db8:ff00:{target}::2")];
        answers(&host, stage.target(target)?, &sources.each_ref().map(String::as_str), &own)?;
    }
    Ok(())
}

fn changes_nothing(stage: &Stage) -> Result<(), Failure> {
    let output = stage.generator(&["setup"])?.succeeded()?.stdout;
    ensure!(output == "nothing to change\n", "a second setup says\n{output}");
    Ok(())
}

/// Checks that setup makes every reply arrive, that `check` agrees, and that undo restores the host.
fn is_brought_about(stage: &Stage) -> Result<(), Failure> {
    let _sshd = listen(stage)?;
    let before = everything(stage)?;
    stage.generator(&["setup"])?.succeeded()?;
    every_reply_comes(stage)?;
    changes_nothing(stage)?;
    stage.generator(&["spread"])?.succeeded()?;
    Checked::new(stage, &[])?.failed(&[])?;

    // A drained address gets no new connections, but still answers.
    let drained = stage.addresses()[1].to_string();
    stage.generator(&["spread", "--drain", &drained])?.succeeded()?;
    every_reply_comes(stage)?;
    stage.generator(&["spread", "--detach"])?.succeeded()?;
    stage.generator(&["setup", "--undo"])?.succeeded()?;
    same("undo", &before, &everything(stage)?)
}

fn replies() -> Result<(), Failure> {
    let ipv6 = [ELSEWHERE, ELSEWHERE_IPV6, OTHER_SUBNET].join("\n");
    for (what, before) in [
        ("a host that only has its first address", vec![]),
        ("the primary interface lost its subnet", vec![ELSEWHERE]),
        ("every interface has its routes in the main table", vec![&*ipv6]),
        ("the primary interface also lost its default route", vec![&*ipv6, NO_WAY_OUT]),
        // Routes of dhclient have the metric 0, the lowest.
        (
            "other interfaces come first in the main table",
            vec![ELSEWHERE, "ip route add 10.0.0.0/20 dev ens6; ip route add default via 10.0.0.1 dev ens6"],
        ),
    ] {
        let stage = stage(options(), &before)?;
        is_brought_about(&stage).map_err(|failure| format!("{what}: {failure}"))?;
    }
    Ok(())
}

fn three_in_one_subnet() -> Result<(), Failure> {
    const THIRD: &str = "
        ip link set ens7 up
        ip addr add 10.0.2.10/20 dev ens7 noprefixroute
        ip route add 10.0.0.0/20 dev ens7 proto dhcp scope link src 10.0.2.10 metric 5
        ip route add 10.0.0.0/16 dev ens7 proto dhcp scope link src 10.0.2.10 metric 5";
    let stage = stage(StageOptions::one_subnet(3, 4), &[ELSEWHERE, THIRD])?;
    is_brought_about(&stage)
}

/// A container on the host reaches the primary address through a bridge. Only the host's main table has the bridge.
fn containers() -> Result<(), Failure> {
    let stage = stage(options(), &[ELSEWHERE, ELSEWHERE_IPV6, OTHER_SUBNET])?;
    let container = Namespace::network("container")?;
    stage.generator(&["setup"])?.succeeded()?;
    stage.host_namespace().ip(&format!(
        "link add docker0 type veth peer name eth0 netns {}\n\
         addr add 172.17.0.1/16 dev docker0\n\
         addr add fd00:17::1/64 dev docker0 nodad\n\
         link set docker0 up\n",
        container.id()
    ))?;
    container.ip("link set eth0 up\n\
         addr add 172.17.0.2/16 dev eth0\n\
         addr add fd00:17::2/64 dev eth0 nodad\n\
         route add default via 172.17.0.1\n\
         route add default via fd00:17::1\n")?;
    let first = stage.imds().metadata().interfaces.first().cloned().ok_or("no interface")?;
    let mut primary: Vec<IpAddr> = first.all_addresses().into_iter().map(IpAddr::from).collect();
    primary.extend(first.ipv6_addresses.iter().map(|&address| IpAddr::from(address)));
    let host = Server::start(stage.host_namespace(), SocketAddr::from(([0_u16; 8], PORT)), false)?;
    answers(&host, &container, &["172.17.0.2", "fd00:17::2"], &primary)?;
    drop(host);
    every_reply_comes(&stage)?;
    changes_nothing(&stage)
}

fn checked() -> Result<(), Failure> {
    let stage = stage(options(), &[ELSEWHERE, ELSEWHERE_IPV6, OTHER_SUBNET])?;
    let _sshd = listen(&stage)?;
    stage.generator(&["setup"])?.succeeded()?;
    stage.generator(&["spread"])?.succeeded()?;
    let good = Checked::new(&stage, &[])?;
    good.failed(&[])?;
    // Capacity counts IPv4.
    let (lost, lost_ipv6) = (&["routes", "spread", "capacity"][..], &["routes", "spread"][..]);
    for (broken, lost, says, repaired) in [
        // The rules of the primary interface's addresses are gone.
        (
            "while ip rule del table 10000; do :; done; while ip rule del priority 20001; do :; done",
            lost,
            "`10.0.0.10` leaves through `ens6` by table main to `10.0.0.1`",
            "",
        ),
        (
            "ip route del 10.0.16.0/20 table 10000",
            lost,
            "`10.0.0.11` leaves through `ens7` by table main to `10.0.16.1`",
            "",
        ),
        (
            "ip -6 rule del priority 20000; ip -6 rule del priority 20001; ip -6 rule del priority 20002",
            lost_ipv6,
            "`2001:db8::1:2` leaves through `ens6` by table main to `2001:db8::1`",
            "",
        ),
        // Another program adds a route for a part of a subnet.
        (
            "ip route add 10.0.15.0/24 dev ens5 table 10001",
            lost,
            "`10.0.1.10` leaves through `ens5` by table 10001 to `10.0.15.254`",
            "ip route del 10.0.15.0/24 dev ens5 table 10001",
        ),
        // A destination that only the main table has.
        (
            "ip route add 203.0.113.0/24 via 10.0.16.1 dev ens7",
            lost,
            "`10.0.0.12` leaves through `ens7` by table main to `203.0.113.254`",
            "",
        ),
    ] {
        stage.script(&format!("({broken}) 2> /dev/null; true"))?.succeeded()?;
        Checked::new(&stage, &[])?
            .failed(lost)
            .and_then(|checked| checked.says("routes", says))
            .map_err(|failure| format!("after `{broken}`: {failure}"))?;
        stage.script(repaired)?.succeeded()?;
        stage.generator(&["setup"])?.succeeded()?;
        Checked::new(&stage, &[])?.failed(&[]).map_err(|failure| format!("`{broken}` stays: {failure}"))?;
        changes_nothing(&stage)?;
    }
    every_reply_comes(&stage)?;

    // Connections without a bound address have rules of their own. Without them, they use the main table.
    let rules = "while ip rule del from 0.0.0.0/32 2> /dev/null; do :; done";
    let metadata = "ip route add 169.254.169.254 via 10.0.0.1 dev ens5";
    stage
        .script(&format!("{rules}; {metadata}; while ip -4 route del default 2> /dev/null; do :; done"))?
        .succeeded()?;
    Checked::new(&stage, &[])?
        .failed(&["routes"])?
        .says("routes", "that bind no address have no route to `192.0.2.1`")?;
    stage.generator(&["setup"])?.succeeded()?;
    Checked::new(&stage, &[])?.failed(&[])?;
    let other = "ip route add default via 10.0.0.1 dev ens6 src 10.0.0.10 metric 1";
    stage.script(&format!("{rules}; {other}"))?.succeeded()?;
    Checked::new(&stage, &[])?.failed(&["routes"])?.says(
        "routes",
        "that bind no address leave through `ens6` to `192.0.2.1` with the source `10.0.0.10`, which is not on it",
    )?;
    stage.generator(&["setup"])?.succeeded()?;
    Checked::new(&stage, &[])?.failed(&[])?;
    stage.script("ip route del default metric 1")?.succeeded()?;

    // `setup` also reports a foreign rule with a higher priority.
    stage.script("ip rule add from 10.0.0.10 lookup main priority 100")?.succeeded()?;
    Checked::new(&stage, &[])?.failed(lost)?;
    let ended = stage.generator(&["setup"])?.ended_with(1)?;
    ensure!(ended.stdout.is_empty(), "{ended}");
    let named = "rule from 10.0.0.10/32 lookup 254 of priority 100 takes precedence over";
    ensure!(ended.stderr.matches(named).count() == 1, "{ended}");
    Ok(())
}

/// Waits until all replies arrive and the host is healthy.
fn eventually_kept(stage: &Stage, service: &Service, after: &str) -> Result<(), Failure> {
    let end = Instant::now() + PATIENCE;
    loop {
        let attempt = every_reply_comes(stage).and_then(|()| {
            let (status, body) = stage.get(trunnion_host::Config::METRICS_PORT, "/health")?;
            ensure!(status == 200, "/health said {body}");
            changes_nothing(stage)
        });
        match attempt {
            Err(_) if Instant::now() < end => std::thread::sleep(Duration::from_millis(50)),
            Err(failure) => return Err(format!("after `{after}`: {failure}\n{}", service.said()?.1).into()),
            Ok(()) => return Ok(()),
        }
    }
}

fn kept() -> Result<(), Failure> {
    let stage = stage(options(), &[])?;
    let _sshd = listen(&stage)?;
    // The refresh is so rare that only a kernel event can trigger the repair.
    let mut service = stage.generator_as_service(&["run", "--refresh", "3600"])?;
    service.wait_for_notice("READY=1", PATIENCE)?;
    eventually_kept(&stage, &service, "the start")?;
    let before = network(&stage)?;
    for later in [
        // A late lease, and one with lower metrics than all others.
        ELSEWHERE.replace("ip link set ens6 up\n", "").replace("ip addr add", "true"),
        OTHER_SUBNET.lines().filter(|line| line.contains(" route ")).collect::<Vec<_>>().join("\n"),
        "ip route add 10.0.0.0/20 dev ens6; ip route add default via 10.0.0.1 dev ens6".to_owned(),
        NO_WAY_OUT.to_owned(),
        "ip route add 198.18.0.0/23 via 10.0.0.1 dev ens6 metric 3".to_owned(),
        "ip rule flush; ip rule add lookup main priority 32766; ip route flush table 10000".to_owned(),
        "while ip -6 rule del table 10000 2> /dev/null; do :; done; ip -6 route flush table 10000".to_owned(),
        "ip link set ens5 down; ip link set ens5 up".to_owned(),
    ] {
        stage.script(&later)?.succeeded()?;
        eventually_kept(&stage, &service, &later)?;
    }
    ensure!(network(&stage)? != before, "nothing happened");
    Ok(())
}

/// Other default routes come first in the main table, or there is none: every address still answers, and root's connections
/// come from the primary address.
fn other_default_routes() -> Result<(), Failure> {
    const OTHERS: [&str; 4] = [
        "ip route add default via 10.0.0.77 dev ens5 metric 0 onlink",
        "ip route add default via 10.0.0.1 dev ens6 metric 0 onlink",
        "ip route add default via 10.0.0.1 dev ens6 src 10.0.1.10 metric 0 onlink",
        "while ip -4 route del default 2> /dev/null; do :; done",
    ];
    for (interfaces, others) in [(1, &[OTHERS[0], OTHERS[3]][..]), (2, &OTHERS[..])] {
        for other in others {
            let stage = Stage::new(StageOptions::one_subnet(interfaces, 2))?;
            let _sshd = listen(&stage)?;
            let server = stage.listen(0, 7_000)?;
            let before = network(&stage)?;
            let holds = |when: &str| -> Result<(), Failure> {
                let unbound = format!(
                    "import socket; print(socket.create_connection(('{}', {}), 5).getsockname()[0])",
                    server.address().ip(),
                    server.address().port()
                );
                let source = stage.host(&["python3", "-c", &unbound])?.succeeded()?.stdout;
                ensure!(source == "10.0.0.10\n", "{other}, {when}: root's connections come from {source}");
                let own = own(&stage);
                let host = Server::start(stage.host_namespace(), SocketAddr::from(([0_u16; 8], PORT)), false)?;
                answers(&host, stage.target(0)?, &["198.18.0.2"], &own)?;
                Checked::new(&stage, &[])?.failed(&[]).map_err(|failure| format!("{other}, {when}: {failure}"))?;
                Ok(())
            };
            stage.generator(&["setup"])?.succeeded()?;
            stage.generator(&["spread"])?.succeeded()?;
            stage.script(other)?.succeeded()?;
            holds("after setup")?;
            stage.generator(&["setup"])?.succeeded()?;
            holds("after another setup")?;
            stage.generator(&["setup", "--undo"])?.succeeded()?;
            // The routes of a link that undo sets down are gone.
            let removed = other.replace("route add", "route del").replace(" onlink", "");
            stage.script(&format!("{removed} 2> /dev/null || true"))?.succeeded()?;
            if other.starts_with("ip") {
                same("undo", &before, &network(&stage)?)?;
            }
        }
    }
    Ok(())
}

fn killed() -> Result<(), Failure> {
    let stage = stage(options(), &[ELSEWHERE, ELSEWHERE_IPV6, OTHER_SUBNET, NO_WAY_OUT])?;
    let before = everything(&stage)?;
    let mut killer = Killer::new(&stage, &["setup"])?;
    let whole = everything(&stage)?;
    for moment in 0..MOMENTS {
        stage.generator(&["setup", "--undo"])?.succeeded()?;
        same(&format!("undo after a setup that was killed at moment {moment}"), &before, &everything(&stage)?)?;
        killer.kill(moment)?;
        if moment % 2 == 0 {
            continue;
        }
        stage.generator(&["setup"])?.succeeded()?;
        same(&format!("setup after it was killed at moment {moment}"), &whole, &everything(&stage)?)?;
        every_reply_comes(&stage)?;
    }
    killer.finish()?;
    let mut killer = Killer::new(&stage, &["setup", "--undo"])?;
    for moment in 0..MOMENTS {
        stage.generator(&["setup"])?.succeeded()?;
        killer.kill(moment)?;
        stage.generator(&["setup", "--undo"])?.succeeded()?;
        same(&format!("undo after it was killed at moment {moment}"), &before, &everything(&stage)?)?;
    }
    killer.finish()
}
