//! Tests of the stage itself: it must behave like a VPC.

use std::{
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use nix::sys::signal::Signal;

use super::{
    Test, ensure,
    imds::Fault,
    stage::{Stage, StageOptions, target_ipv4},
};
use crate::Failure;

pub(crate) const TESTS: &[Test] = &[
    ("stage_is_a_vpc", stage_is_a_vpc),
    ("stage_has_a_metadata_service", stage_has_a_metadata_service),
    ("stage_does_not_change_the_machine", stage_does_not_change_the_machine),
];

const PATIENCE: Duration = Duration::from_secs(20);

fn stage_is_a_vpc() -> Result<(), Failure> {
    let stage = Stage::new(StageOptions { subnets: vec![0, 0, 1], ..StageOptions::one_subnet(3, 2) })?;
    let target = target_ipv4(1).to_string();
    stage.host(&["ping", "-c", "1", "-W", "5", &target])?.succeeded()?;

    let server = stage.serve(1, 8080)?;
    let body = stage.host(&["curl", "-sS", "--max-time", "10", &server.url()])?.succeeded()?.stdout;
    let [peer] = server.peers()[..] else { return Err("not one client came".into()) };
    ensure!(peer.ip() == stage.primary_address()?, "{peer} came");
    ensure!(body == peer.to_string(), "the answer was {body}");
    ensure!(stage.read("/etc/trunnion/generator.json")?.contains("20099"), "the config is missing");

    // Only the primary interface is up.
    let links = stage.host(&["ip", "-json", "addr"])?.succeeded()?.json()?;
    let up = |name: &str| {
        let links = links.as_array().into_iter().flatten();
        links.filter(|link| link["ifname"] == name).any(|link| link["operstate"] == "UP")
    };
    ensure!(up("ens5") && !up("ens6") && !up("ens7"), "{links}");

    // Set up the second interface by hand: it works with its own address only.
    let [_, second, _] = &stage.imds().metadata().interfaces[..] else { return Err("not three interfaces".into()) };
    let [own, other] = second.addresses[..] else { return Err("not two addresses".into()) };
    let foreign = "10.0.1.99";
    stage
        .script(&format!(
            "ip link set ens6 up
        ip addr add {own}/32 dev ens6
        ip addr add {other}/32 dev ens6
        ip addr add {foreign}/32 dev ens6
        ip route add default via 10.0.0.1 dev ens6 onlink table 10001
        for address in {own} {other} {foreign}; do ip rule add from $address lookup 10001; done
        sysctl -q -w net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2"
        ))?
        .succeeded()?;
    let curl = |source: &str| stage.host(&["curl", "-sS", "--interface", source, "--max-time", "2", &server.url()]);
    ensure!(curl(&other.to_string())?.succeeded()?.stdout.starts_with(&format!("{other}:")), "another source");
    curl(foreign)?.ended_with(28)?;
    stage.change(|metadata| metadata.interfaces[1].addresses.push([10, 0, 1, 99].into()))?;
    curl(foreign)?.succeeded()?;

    let holding = stage.listen(0, 0)?;
    let address = holding.address();
    let streams = stage
        .host_namespace()
        .inside(|| (0..5).map(|_| TcpStream::connect_timeout(&address, PATIENCE)).collect::<Result<Vec<_>, _>>())??;
    holding.wait_for(5, PATIENCE)?;
    ensure!(
        holding.standing()? == 5 && holding.by_source()[&stage.primary_address()?.into()] == 5,
        "not all connections are established"
    );
    drop(streams);
    holding.close_all();
    ensure!(holding.standing()? == 0, "some connections still exist");
    Ok(())
}

fn stage_has_a_metadata_service() -> Result<(), Failure> {
    let options = StageOptions { cards: vec![0, 1], prefixes: 1, ipv6: 2, ..StageOptions::many_subnets(2, 3) };
    let stage = Stage::new(options)?;
    let curl = |arguments: &[&str]| {
        let (path, options) = arguments.split_last().ok_or("no path")?;
        let url = format!("http://169.254.169.254/latest/{path}");
        let begin = ["curl", "-sS", "--max-time", "3", "--fail-with-body", "-w", " %{http_code}"];
        let ended = stage.host(&[&begin[..], options, &[&url]].concat())?;
        Ok::<_, Failure>(ended.stdout)
    };
    ensure!(curl(&["meta-data/mac"])?.ends_with("401"), "a request without a token is answered");
    ensure!(curl(&["-X", "PUT", "api/token"])?.ends_with("400"), "a token without an end is given");
    let token = curl(&["-X", "PUT", "-H", "X-aws-ec2-metadata-token-ttl-seconds: 60", "api/token"])?;
    let token = format!("X-aws-ec2-metadata-token: {}", token.strip_suffix(" 200").ok_or("no token")?);
    let get = |path: &str| curl(&["-H", &token, path]);

    let macs = get("meta-data/network/interfaces/macs/")?;
    ensure!(macs == "02:00:00:00:00:00/\n02:00:00:00:01:01/ 200", "{macs}");
    let second = "meta-data/network/interfaces/macs/02:00:00:00:01:01";
    for (name, value) in [
        ("device-number", "1"),
        ("network-card", "1"),
        ("local-ipv4s", "10.0.17.10\n10.0.17.11\n10.0.17.12"),
        ("ipv4-prefix", "10.0.17.128/28"),
        ("ipv6s", "2001:db8:0:1::2:1\n2001:db8:0:1::2:2"),
        ("subnet-ipv4-cidr-block", "10.0.16.0/20"),
        ("subnet-ipv6-cidr-blocks", "2001:db8:0:1::/64"),
    ] {
        let output = get(&format!("{second}/{name}"))?;
        ensure!(output == format!("{value} 200"), "{name} is {output}");
    }
    ensure!(get("meta-data/spot/instance-action")?.ends_with("404"), "there is a notice");
    stage.change(|metadata| metadata.interruption = Some(("terminate".into(), "2026-11-23T08:22:00Z".into())))?;
    ensure!(get("meta-data/spot/instance-action")?.contains("terminate"), "there is no notice");

    let server = stage.listen_ipv6(1, 0)?;
    let address = server.address();
    let stream = stage.host_namespace().inside(|| TcpStream::connect_timeout(&address, PATIENCE))??;
    server.wait_for(1, PATIENCE)?;
    let own: SocketAddr = server.peers().first().copied().ok_or("no client")?;
    ensure!(own == stream.local_addr()? && own.is_ipv6(), "{own} came");

    let imds = stage.imds();
    let faults = [(Fault::Status(500), " 500"), (Fault::Text(""), " 200"), (Fault::Silence, " 000"), (Fault::Cut, "")];
    for (fault, end) in faults {
        imds.fail("/mac", fault);
        let output = get("meta-data/mac")?;
        ensure!(output.ends_with(end) && (end != " 200" || output == end), "{fault:?} gave {output}");
        imds.heal();
    }
    ensure!(get("meta-data/mac")? == "02:00:00:00:00:00 200", "the service does not recover");
    ensure!(imds.requests().iter().any(|request| request == "PUT /latest/api/token"), "requests are not kept");
    imds.forget_tokens();
    ensure!(get("meta-data/mac")?.ends_with("401"), "the token is still good");

    let mut asking = stage.start(&["bash", "-c", "while curl -s 169.254.169.254/latest/meta-data/mac; do :; done"])?;
    imds.wait_for("/mac", 3, PATIENCE)?;
    ensure!(asking.is_running()?, "it does not ask on");
    asking.signal(Signal::SIGTERM)?;
    ensure!(asking.wait(PATIENCE)?.code == 128 + 15, "it did not end by the signal");
    Ok(())
}

fn stage_does_not_change_the_machine() -> Result<(), Failure> {
    let outside = |path: &str| std::fs::read_to_string(path);
    let (passwd, optmem) = (outside("/etc/passwd")?, outside("/proc/sys/net/core/optmem_max")?);
    {
        let stage = Stage::new(StageOptions::one_subnet(1, 1))?;
        stage
            .script(
                "useradd --create-home gatling
            [[ $(stat -f -c %T /sys/fs/bpf) == bpf_fs && $(stat -f -c %T /sys/fs/cgroup) == cgroup2fs ]]
            grep -q $$ /sys/fs/cgroup/cgroup.procs
            [[ $(ls /sys/class/net) == ens5$'\\n'lo ]]
            sysctl -q -w net.core.optmem_max=131073",
            )?
            .succeeded()?;
        ensure!(stage.as_user("gatling", &["id", "-un"])?.succeeded()?.stdout == "gatling\n", "another user");
        let version = stage.generator(&["--version"])?.succeeded()?.stdout;
        ensure!(stage.generator_as_service(&["--version"])?.wait(PATIENCE)?.stdout == version, "another version");
        let says = "exec 3<> /dev/null; python3 -c '
import os, socket
socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b\"READY=1\", \"\\0\" + os.environ[\"NOTIFY_SOCKET\"][1:])
'; sleep 60";
        let mut service = stage.start_as_user("gatling", &["bash", "-c", says])?;
        service.wait_for_notice("READY=1", PATIENCE)?;
        ensure!(service.id() > 0 && service.said()?.1.is_empty(), "it complains");
        ensure!(stage.get(1, "/").is_err(), "something answers at port 1");
    }
    ensure!(outside("/etc/passwd")? == passwd, "/etc/passwd of this machine was changed");
    ensure!(outside("/proc/sys/net/core/optmem_max")? == optmem, "net.core.optmem_max was not restored");
    Ok(())
}
