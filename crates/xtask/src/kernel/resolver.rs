//! Tests that lookups of names are answered from the cache of the host, with `generator.dns_cache`.

use std::{
    thread,
    time::{Duration, Instant},
};

use super::{
    Test,
    check::Checked,
    command::Service,
    debian, ensure,
    stage::{Stage, StageOptions, target_ipv4},
};
use crate::Failure;

pub(crate) const TESTS: &[Test] = &[("lookups_are_answered_from_the_cache", cache)];

const PATIENCE: Duration = Duration::from_secs(30);

/// A server that knows the address of every name, and prints a line for each lookup.
const SERVER: &str = "import socket, struct, sys
server = socket.socket(type=socket.SOCK_DGRAM)
server.bind((sys.argv[1], 53))
print('ready', flush=True)
while True:
    query, client = server.recvfrom(512)
    end = query.index(b'\\0', 12) + 5
    is_address = query[end - 4:end - 2] == b'\\0\\x01'
    answer = query[:2] + b'\\x81\\x80\\0\\x01' + (b'\\0\\x01' if is_address else b'\\0\\0') + b'\\0\\0\\0\\0' + query[12:end]
    if is_address:
        answer += b'\\xc0\\x0c\\0\\x01\\0\\x01' + struct.pack('>IH', 60, 4) + socket.inet_aton(sys.argv[1])
    server.sendto(answer, client)
    print('lookup', flush=True)";

/// Looks a name up twenty times, as the SSH user.
const LOOK_UP: &str = "import socket, sys
for _ in range(20):
    assert socket.gethostbyname(sys.argv[1]) == sys.argv[2]";

/// systemd-resolved as Amazon Linux configures it: a file of the distribution turns its stub off.
const AS_AMAZON: &str = "rm /etc/systemd/system/systemd-resolved.service
    mkdir -p /etc/systemd/resolved.conf.d
    printf '[Resolve]\\nDNS=198.18.0.2\\nDNSStubListener=no\\n' > /etc/systemd/resolved.conf.d/resolved-disable-stub-listener.conf
    systemctl daemon-reload
    systemctl restart systemd-resolved.service
    ln -sfn /run/systemd/resolve/resolv.conf /etc/resolv.conf";

struct Names<'a> {
    stage: &'a Stage,
    server: Service,
}

impl Names<'_> {
    /// How many lookups reach the server while the SSH user looks the name up twenty times.
    fn look_up(&self, name: &str) -> Result<usize, Failure> {
        let count = || Ok::<_, Failure>(self.server.said()?.0.lines().filter(|line| *line == "lookup").count());
        let before = count()?;
        let address = target_ipv4(0).to_string();
        self.stage.as_user("gatling", &["python3", "-c", LOOK_UP, name, &address])?.succeeded()?;
        Ok(count()? - before)
    }
}

fn cache() -> Result<(), Failure> {
    let options = StageOptions { root: debian::files()?, booted: true, ..StageOptions::one_subnet(2, 2) };
    let stage = Stage::new(options)?;
    stage.install()?;
    let target = stage.target(0)?;
    let command = target.command(&["python3", "-c", SERVER, &target_ipv4(0).to_string()]);
    let server = Service::start(command, "a DNS server".into(), target)?;
    let end = Instant::now() + PATIENCE;
    while !server.said()?.0.contains("ready") {
        ensure!(Instant::now() < end, "no DNS server: {:?}", server.said()?);
        thread::sleep(Duration::from_millis(10));
    }
    let names = Names { stage: &stage, server };
    stage.script(AS_AMAZON)?.succeeded()?;
    stage.generator(&["setup"])?.succeeded()?;

    // Without the option, nothing is changed, and each lookup is a packet.
    let link = || Ok::<_, Failure>(stage.host(&["readlink", "/etc/resolv.conf"])?.stdout);
    ensure!(link()? == "/run/systemd/resolve/resolv.conf\n", "the link leads to {}", link()?);
    Checked::new(&stage, &[])?.says("dns", "198.18.0.2 without a cache")?;
    let asked = names.look_up("one.example.com")?;
    ensure!(asked >= 20, "{asked} lookups reached the server");

    stage.config(|config| config.dns_cache = true)?;
    Checked::new(&stage, &[])?.says("dns", "names 198.18.0.2 instead of the cache")?;
    stage.generator(&["setup"])?.succeeded()?;
    Checked::new(&stage, &[])?.says("dns", "from its cache")?;
    let asked = names.look_up("two.example.com")?;
    ensure!(asked < 4, "{asked} lookups reached the server");
    let again = stage.generator(&["setup"])?.succeeded()?;
    ensure!(again.stdout == "nothing to change\n", "{again}");
    stage.host(&["systemctl", "stop", "systemd-resolved.service"])?.succeeded()?;
    Checked::new(&stage, &[])?.says("dns", "nothing answers at 127.0.0.53")?;

    // Everything is as before after undo, a link or a file.
    stage.generator(&["setup", "--undo"])?.succeeded()?;
    ensure!(link()? == "/run/systemd/resolve/resolv.conf\n", "the link leads to {}", link()?);
    ensure!(!stage.path("/etc/systemd/resolved.conf.d/zz-trunnion.conf").exists(), "the file is still there");
    let stub = stage.host(&["ss", "-Hlun", "sport = 53"])?.succeeded()?.stdout;
    ensure!(stub.is_empty(), "the stub still listens: {stub}");
    stage.script("rm /etc/resolv.conf; echo nameserver 198.18.0.2 > /etc/resolv.conf")?.succeeded()?;
    stage.generator(&["setup"])?.succeeded()?;
    let asked = names.look_up("three.example.com")?;
    ensure!(asked < 4, "{asked} lookups reached the server");
    stage.generator(&["setup", "--undo"])?.succeeded()?;
    let text = stage.read("/etc/resolv.conf")?;
    ensure!(text == "nameserver 198.18.0.2\n" && link()?.is_empty(), "{text}");

    // An image without systemd-resolved.
    stage.script("rm /usr/lib/systemd/system/systemd-resolved.service")?.succeeded()?;
    let refused = stage.generator(&["setup"])?.ended_with(1)?;
    ensure!(refused.stderr.contains("needs systemd-resolved"), "{refused}");
    Ok(())
}
