//! Tests of `setup`: it gives a new host all of its addresses, does not change foreign objects, can be killed at any point and
//! run again, and can be undone completely.

mod watch;

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    thread,
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;

use self::watch::every_address_reaches_the_target;
use super::{
    Test,
    command::Ended,
    debian, ensure,
    imds::Fault,
    stage::{GENERATOR, Stage, StageOptions},
};
use crate::Failure;

pub(crate) const TESTS: &[Test] = &[
    ("setup_reaches_the_target_from_every_address_of_one_subnet", one_subnet),
    ("setup_reaches_the_target_from_every_address_of_several_subnets", several_subnets),
    ("setup_reaches_the_target_from_four_hundred_addresses", four_hundred),
    ("setup_is_taken_back_whole", taken_back),
    ("setup_converges_wherever_it_was_killed", killed),
    ("setup_undo_converges_wherever_it_was_killed", undo_killed),
    ("setup_never_loses_an_address_to_a_failing_metadata_service", failing_metadata),
    ("setup_drops_an_address_only_if_the_promise_holds", dropped_address),
    ("setup_repairs_what_somebody_else_broke", repaired),
    ("setup_leaves_alone_what_is_not_its_own", foreign),
    ("setup_raises_the_limits_and_admits_the_user", files),
    ("setup_is_led_nowhere_by_the_user", hostile_user),
    ("setup_calls_systemctl_and_masks_the_refresh", services),
    ("setup_puts_back_what_sshd_refuses", refused_sshd),
    ("setup_asks_the_real_sshd", real_sshd),
    ("setup_needs_root", not_root),
];

const PATIENCE: Duration = Duration::from_mins(1);

/// The number of points at which a setup or undo is killed.
pub(super) const MOMENTS: u32 = 16;

/// Three interfaces, two of them in one subnet, the third on another card; prefixes and IPv6.
fn mixed() -> StageOptions {
    StageOptions {
        subnets: vec![0, 0, 1],
        cards: vec![0, 0, 1],
        prefixes: 1,
        ipv6: 2,
        ..StageOptions::one_subnet(3, 3)
    }
}

/// A stage whose host has its own file for `nr_open`, because the kernel's value applies to the whole machine.
fn stage(options: StageOptions) -> Result<Stage, Failure> {
    let stage = Stage::new(options)?;
    let own = "echo 1048576 > /run/nr_open; mount --bind /run/nr_open /proc/sys/fs/nr_open";
    stage.script(own)?.succeeded()?;
    Ok(stage)
}

/// Without sshd, setup prints a warning and nothing else.
fn setup(stage: &Stage) -> Result<Ended, Failure> {
    stage.generator(&["setup"])?.succeeded()
}

fn changes_nothing(stage: &Stage) -> Result<(), Failure> {
    let output = setup(stage)?.stdout;
    ensure!(output == "nothing to change\n", "a second setup says\n{output}");
    let output = stage.generator(&["setup", "--json"])?.succeeded()?.stdout;
    ensure!(output == "[]\n", "a second setup says\n{output}");
    Ok(())
}

/// The host's network without link-local addresses, which take some time to settle.
pub(super) fn network(stage: &Stage) -> Result<String, Failure> {
    // Some files cannot be read, and some tables do not exist.
    let script = "set +e
    {
        ip -o link | sed -E 's/ (qdisc|qlen|mode|group) [^ ]+//g; s/ brd .*//'
        ip -o -d addr | sed -E 's/valid_lft.*//'
        ip -d rule; ip -6 -d rule
        ip -d route show table all; ip -6 -d route show table all
    } | sed -E '/ inet6 fe80/d; /^(local )?fe80/d; s/ expires [0-9]+sec//; s/[[:space:]]+$//'
    grep -rs '' /proc/sys/net/ipv4/conf /proc/sys/net/ipv6/conf | grep -v stable_secret | sort; true";
    Ok(stage.script(script)?.succeeded()?.stdout)
}

/// The network, the limits, and every file that setup might touch.
pub(super) fn everything(stage: &Stage) -> Result<String, Failure> {
    // Programs that change accounts leave backups and a lock file.
    let script = "set +e
    grep -rs '' /proc/sys/net/ipv4 /proc/sys/net/core /proc/sys/fs/nr_open | grep -v /conf/ | sort
    cd /
    files() { find etc home var/lib/trunnion var/lib/gatling \\( -name '*-' -o -name .pwd.lock \\) -prune -o \"$@\" 2> /dev/null; }
    files -printf '%p %y %m %U %G %l\\n' | sort
    files -type f -print0 | sort -z | xargs -0 sha256sum; true";
    Ok(format!("{}{}", network(stage)?, stage.script(script)?.succeeded()?.stdout))
}

/// Fails with the differing lines.
pub(super) fn same(what: &str, before: &str, after: &str) -> Result<(), Failure> {
    let (before, after): (BTreeSet<_>, BTreeSet<_>) = (before.lines().collect(), after.lines().collect());
    let mut output = String::new();
    before.difference(&after).try_for_each(|line| writeln!(output, "- {line}"))?;
    after.difference(&before).try_for_each(|line| writeln!(output, "+ {line}"))?;
    ensure!(output.is_empty(), "{what}:\n{output}");
    Ok(())
}

fn reaches(options: StageOptions) -> Result<(), Failure> {
    let stage = stage(options)?;
    setup(&stage)?;
    every_address_reaches_the_target(&stage)?;
    let before = network(&stage)?;
    changes_nothing(&stage)?;
    same("a second setup changes the network", &before, &network(&stage)?)
}

fn one_subnet() -> Result<(), Failure> {
    reaches(StageOptions { prefixes: 1, ipv6: 2, ..StageOptions::one_subnet(3, 3) })
}

fn several_subnets() -> Result<(), Failure> {
    reaches(mixed())
}

fn four_hundred() -> Result<(), Failure> {
    reaches(StageOptions::one_subnet(8, 50))
}

fn taken_back() -> Result<(), Failure> {
    let stage = stage(mixed())?;
    let before = everything(&stage)?;
    setup(&stage)?;
    ensure!(everything(&stage)? != before, "setup changed nothing");
    stage.generator(&["setup", "--undo"])?.succeeded()?;
    same("what was before is not what is after", &before, &everything(&stage)?)?;
    let output = stage.generator(&["setup", "--undo", "--json"])?.succeeded()?.stdout;
    ensure!(output == "[]\n", "a second undo says\n{output}");
    // Setup can run again after undo.
    setup(&stage)?;
    every_address_reaches_the_target(&stage)
}

/// Kills a command at points that are spread over its running time.
pub(super) struct Killer<'a> {
    stage: &'a Stage,
    arguments: &'a [&'a str],
    /// How long the command takes.
    whole: Duration,
    cut: u32,
}

impl<'a> Killer<'a> {
    /// Runs the command to its end once, to measure its time.
    pub(super) fn new(stage: &'a Stage, arguments: &'a [&'a str]) -> Result<Self, Failure> {
        let begun = Instant::now();
        stage.generator(arguments)?.succeeded()?;
        Ok(Self { stage, arguments, whole: begun.elapsed(), cut: 0 })
    }

    /// Runs the command and kills it at this one of all [`MOMENTS`].
    pub(super) fn kill(&mut self, moment: u32) -> Result<(), Failure> {
        let mut running = self.stage.start(&[&[GENERATOR], self.arguments].concat())?;
        // A sleep is right here: the point in time is what the test varies.
        thread::sleep(self.whole * moment / MOMENTS);
        if running.is_running()? {
            running.signal(Signal::SIGKILL)?;
            self.cut += 1;
        } else {
            // The command may have ended before.
            self.whole = self.whole * 2 / 3;
        }
        running.wait(PATIENCE)?;
        Ok(())
    }

    pub(super) fn finish(&self) -> Result<(), Failure> {
        ensure!(self.cut >= MOMENTS / 2, "`{}` was interrupted only {} times", self.arguments.join(" "), self.cut);
        Ok(())
    }
}

fn killed() -> Result<(), Failure> {
    let stage = stage(mixed())?;
    let before = everything(&stage)?;
    let mut killer = Killer::new(&stage, &["setup"])?;
    let whole = everything(&stage)?;
    for moment in 0..MOMENTS {
        stage.generator(&["setup", "--undo"])?.succeeded()?;
        same(&format!("undo after a setup that was killed at moment {moment}"), &before, &everything(&stage)?)?;
        killer.kill(moment)?;
        if moment % 2 == 0 {
            // An interrupted setup can also be undone at once.
            continue;
        }
        setup(&stage)?;
        same(&format!("setup after it was killed at moment {moment}"), &whole, &everything(&stage)?)?;
    }
    killer.finish()
}

fn undo_killed() -> Result<(), Failure> {
    let stage = stage(mixed())?;
    let before = everything(&stage)?;
    setup(&stage)?;
    let mut killer = Killer::new(&stage, &["setup", "--undo"])?;
    for moment in 0..MOMENTS {
        setup(&stage)?;
        killer.kill(moment)?;
        stage.generator(&["setup", "--undo"])?.succeeded()?;
        same(&format!("undo after it was killed at moment {moment}"), &before, &everything(&stage)?)?;
    }
    killer.finish()
}

fn failing_metadata() -> Result<(), Failure> {
    let stage = stage(mixed())?;
    let before = everything(&stage)?;
    let imds = stage.imds();
    // On a new host, a failure changes nothing.
    imds.fail("", Fault::Status(500));
    let output = stage.generator(&["setup"])?.ended_with(1)?.stderr;
    ensure!(output.contains("metadata service answered") && output.contains("500"), "{output}");
    imds.heal();
    same("a setup without metadata changed something", &before, &everything(&stage)?)?;

    setup(&stage)?;
    let whole = everything(&stage)?;
    let second = imds.metadata().interfaces.get(1).map(|second| second.mac.clone()).ok_or("no second interface")?;
    let must_have = format!("{second}/local-ipv4s");
    for (path, fault) in [
        ("", Fault::Status(500)),
        ("api/token", Fault::Status(403)),
        ("", Fault::Silence),
        ("interfaces/macs/", Fault::Text("")),
        (must_have.as_str(), Fault::Status(404)),
        (must_have.as_str(), Fault::Status(503)),
        (must_have.as_str(), Fault::Text("")),
        (must_have.as_str(), Fault::Cut),
        ("/ipv4-prefix", Fault::Status(500)),
        ("/ipv4-prefix", Fault::Cut),
        ("/ipv6s", Fault::Silence),
    ] {
        imds.fail(path, fault);
        let ended = stage.generator(&["setup"])?.ended_with(1)?;
        imds.heal();
        ensure!(ended.stdout.is_empty() && ended.stderr.starts_with("error: "), "{ended}");
        same(&format!("{fault:?} at `{path}`"), &whole, &everything(&stage)?)?;
    }
    // Metadata without prefixes looks like a host without any. Their addresses are kept for the promise, with a
    // warning.
    for fault in [Fault::Status(404), Fault::Text("")] {
        imds.fail("/ipv4-prefix", fault);
        let ended = stage.generator(&["setup"])?.succeeded()?;
        imds.heal();
        ensure!(ended.stdout == "nothing to change\n", "{ended}");
        ensure!(ended.stderr.matches("is kept").count() == 3 * 16 + 2, "{ended}");
        same(&format!("{fault:?} of prefixes"), &whole, &everything(&stage)?)?;
    }
    // Tokens expire.
    imds.forget_tokens();
    changes_nothing(&stage)
}

fn dropped_address() -> Result<(), Failure> {
    let stage = stage(StageOptions::one_subnet(3, 4))?;
    setup(&stage)?;
    let whole = network(&stage)?;
    stage.change(|metadata| {
        if let Some(second) = metadata.interfaces.get_mut(1) {
            second.addresses.pop();
        }
    })?;
    let ended = stage.generator(&["setup"])?.succeeded()?;
    ensure!(ended.stdout == "nothing to change\n", "{ended}");
    for kept in ["rule from 10.0.1.13/32 lookup 10001", "address 10.0.1.13/32 on ens6"] {
        ensure!(ended.stderr.contains(kept), "{ended}");
    }
    same("an address that the promise needs", &whole, &network(&stage)?)?;

    stage.config(|config| config.addresses = 3)?;
    let ended = stage.generator(&["setup"])?.succeeded()?;
    let expected =
        "rule from 10.0.1.13/32 lookup 10001 of priority 10001: removed\naddress 10.0.1.13/32 on ens6: removed\n";
    ensure!(ended.stdout == expected, "{ended}");
    changes_nothing(&stage)?;
    every_address_reaches_the_target(&stage)
}

fn repaired() -> Result<(), Failure> {
    let stage = stage(mixed())?;
    setup(&stage)?;
    let whole = network(&stage)?;
    for broken in [
        "ip addr del 10.0.1.12/32 dev ens6",
        "ip addr flush dev ens6 scope global",
        "ip link set ens7 down",
        "ip rule del from 10.0.1.11 lookup 10001",
        "ip rule flush table 10001; ip rule flush table 10101",
        "ip route flush table 10001",
        "ip route replace default via 10.0.0.9 dev ens6 table 10001 proto 84",
        "ip rule del from 10.0.1.11 lookup 10001; ip rule add from 10.0.1.11 lookup 10101 pref 10001 protocol 84",
        "sysctl -q -w net.ipv4.conf.ens6.arp_ignore=0",
    ] {
        stage.script(broken)?.succeeded()?;
        let ended = setup(&stage)?;
        ensure!(ended.stdout != "nothing to change\n", "`{broken}` is not repaired");
        same(&format!("after `{broken}`"), &whole, &network(&stage)?)?;
    }
    changes_nothing(&stage)?;
    every_address_reaches_the_target(&stage)
}

fn foreign() -> Result<(), Failure> {
    const FOREIGN: &str = "
        ip link set ens6 up
        ip addr add 192.168.7.7/24 dev ens6
        ip addr add 10.0.1.11/20 dev ens6 noprefixroute
        ip rule add from 192.168.7.7 lookup 77 pref 100
        ip route add default via 192.168.7.1 dev ens6 table 77";
    let stage = stage(mixed())?;
    stage.script(FOREIGN)?.succeeded()?;
    let before = everything(&stage)?;
    let output = setup(&stage)?.stdout;
    // A foreign address with another prefix length stays.
    ensure!(!output.contains("10.0.1.11/32 on ens6") && !output.contains("192.168.7.7"), "{output}");
    every_address_reaches_the_target(&stage)?;
    changes_nothing(&stage)?;

    let blocking = "from 10.0.1.11 lookup 77 pref 200";
    stage.script(&format!("ip rule add {blocking}"))?.succeeded()?;
    let ended = stage.generator(&["setup"])?.ended_with(1)?;
    ensure!(ended.stdout.is_empty(), "{ended}");
    ensure!(ended.stderr.contains("rule from 10.0.1.11/32 lookup 77 of priority 200 takes precedence over"), "{ended}");
    stage.script(&format!("ip rule del {blocking}"))?.succeeded()?;
    stage.generator(&["setup", "--undo"])?.succeeded()?;
    same("what is not ours", &before, &everything(&stage)?)
}

fn files() -> Result<(), Failure> {
    let stage = stage(StageOptions::one_subnet(2, 2))?;
    let config = stage.config(|_| {})?;
    let before = everything(&stage)?;
    setup(&stage)?;
    let sysctls = stage.read("/etc/sysctl.d/90-trunnion.conf")?;
    ensure!(sysctls.contains("net.ipv4.ip_local_port_range = 20000 20099\n"), "{sysctls}");
    // The kernel's values match the file: loading it changes nothing.
    let values = "cat /proc/sys/net/ipv4/{ip_local_port_range,tcp_fin_timeout,tcp_rmem,tcp_wmem} /proc/sys/net/core/optmem_max /proc/sys/fs/nr_open";
    let now = stage.script(values)?.succeeded()?.stdout;
    stage.script("sysctl --quiet --load=/etc/sysctl.d/90-trunnion.conf")?.succeeded()?;
    let loaded = stage.script(values)?.succeeded()?.stdout;
    ensure!(loaded.split_whitespace().eq(now.split_whitespace()), "the file and the kernel differ: {now}{loaded}");
    ensure!(now.starts_with("20000\t20099\n15\n4096\t131072\t33554432\n"), "{now}");
    let limits = stage.read("/etc/security/limits.d/90-trunnion.conf")?;
    ensure!(limits == "* - nofile 15000\nroot - nofile 15000\n", "{limits}");
    let systemd = stage.read("/etc/systemd/system.conf.d/90-trunnion.conf")?;
    ensure!(systemd == "[Manager]\nDefaultLimitNOFILE=15000\n", "{systemd}");
    let keys = stage.as_user("gatling", &["bash", "-c", "cat ~gatling/.ssh/authorized_keys; stat -c '%U %a' ~gatling ~gatling/.ssh{,/authorized_keys} /var/lib/gatling"])?;
    let expected = format!("{}\n", config.ssh.authorized_keys.concat());
    let output = keys.succeeded()?.stdout;
    ensure!(output.starts_with(&expected) && output.ends_with("gatling 700\ngatling 600\ngatling 755\n"), "{output}");
    stage
        .as_user(
            "gatling",
            &["bash", "-c", "cd /var/lib/gatling && printf '#!/bin/sh\n' > run && chmod +x run && ./run && rm run"],
        )?
        .succeeded()?;

    // Ports of other services are left to them, and the empty list of before comes back.
    stage.generator(&["setup", "--undo"])?.succeeded()?;
    stage.config(|config| {
        config.reserved_ports = vec![20_050, 20_060];
        config.connections.per_destination = 4 * 98;
        config.connections.total = 4 * 98;
    })?;
    setup(&stage)?;
    let reserved =
        || Ok::<_, Failure>(stage.host(&["cat", "/proc/sys/net/ipv4/ip_local_reserved_ports"])?.succeeded()?.stdout);
    ensure!(reserved()? == "20050,20060\n", "{}", reserved()?);
    changes_nothing(&stage)?;
    stage.generator(&["setup", "--undo"])?.succeeded()?;
    ensure!(reserved()?.trim().is_empty(), "undo leaves {}", reserved()?);
    let again = stage.generator(&["setup", "--undo"])?.succeeded()?.stdout;
    ensure!(again == "nothing to change\n", "{again}");
    stage.config(|_| {})?;
    same("undo of reserved ports", &before, &everything(&stage)?)?;
    setup(&stage)?;

    // Another config is applied; the journal keeps the original values.
    stage.config(|config| {
        config.descriptors = 16_000;
        config.ssh.authorized_keys = vec!["ssh-ed25519 BBBB other".into()];
    })?;
    let output = setup(&stage)?.stdout;
    ensure!(output.lines().count() == 3 && output.contains("authorized_keys"), "{output}");
    stage.generator(&["setup", "--undo"])?.succeeded()?;
    stage.config(|_| {})?;
    same("undo", &before, &everything(&stage)?)?;

    // An existing user keeps its files.
    stage.script("useradd --create-home gatling; mkdir ~gatling/.ssh; echo own > ~gatling/.ssh/authorized_keys; chown -R gatling: ~gatling/.ssh")?.succeeded()?;
    let before = everything(&stage)?;
    setup(&stage)?;
    stage.generator(&["setup", "--undo"])?.succeeded()?;
    same("undo with a user that was there", &before, &everything(&stage)?)?;

    stage.config(|config| config.ssh.user = "daemon".into())?;
    let ended = stage.generator(&["setup"])?.ended_with(1)?;
    ensure!(ended.stderr.contains("`daemon` is an account of the system"), "{ended}");
    Ok(())
}

/// Fakes of sshd and systemctl. sshd prints what it reads; systemctl logs its arguments.
const SSHD: &str = r#"#!/bin/bash
shopt -s nullglob
files=(/etc/ssh/sshd_config.d/*.conf /etc/ssh/sshd_config)
if [[ -e /run/refuse ]] && grep -qs ^ListenAddress /etc/ssh/sshd_config.d/*; then echo 'line 1: refused' >&2; exit 255; fi
[[ $1 == -T ]] || exit 0
echo 'port 22'
mapfile -t listen < <(sed -n 's/^ListenAddress //p' "${files[@]}" 2> /dev/null)
[[ -n ${listen[*]} ]] || listen=(0.0.0.0)
printf 'listenaddress %s:22\n' "${listen[@]}"
"#;
const SYSTEMCTL: &str = "#!/bin/bash\n[[ $1 != is-active ]] || exit 3\necho \"$*\" >> /run/systemctl.log\n";

pub(super) fn with_services(stage: &Stage) -> Result<(), Failure> {
    stage.write("/usr/sbin/sshd", SSHD)?;
    stage.write("/usr/local/sbin/systemctl", SYSTEMCTL)?;
    stage.make_folder("/run/systemd/system")?;
    stage.write("/usr/lib/systemd/system/sshd.service", "[Service]\nExecStart=/usr/sbin/sshd -D\n")?;
    stage.write("/usr/lib/systemd/system/refresh-policy-routes@.timer", "[Timer]\nOnUnitInactiveSec=60\n")?;
    stage.script("chmod +x /usr/sbin/sshd /usr/local/sbin/systemctl; touch /run/systemctl.log")?.succeeded()?;
    Ok(())
}

/// The SSH user runs code of many teams: none of its files can redirect or block what root does.
fn hostile_user() -> Result<(), Failure> {
    let stage = stage(StageOptions::one_subnet(2, 2))?;
    setup(&stage)?;
    let as_user = |script: &str| stage.as_user("gatling", &["bash", "-c", script]);
    let lock = as_user("cd /; exec 9< /var/lib/trunnion && flock --nonblock 9")?;
    ensure!(lock.stderr.contains("Permission denied"), "the user can lock the journal: {lock}");
    stage.script("mkdir -p /home/other/.ssh; echo theirs > /home/other/.ssh/authorized_keys")?;
    let others = || Ok::<_, Failure>(stage.script("cd /home/other; find . -printf '%p %m %U\\n'; cat .ssh/*")?.stdout);
    let before = others()?;

    // A link or pipe in place of a file is replaced. A link in place of a folder is reported as a problem.
    for (instead, code) in [
        ("mkfifo ~gatling/.ssh/authorized_keys", 0),
        ("truncate --size 1T ~gatling/.ssh/authorized_keys; chmod 600 ~gatling/.ssh/authorized_keys", 0),
        ("ln -s /home/other/.ssh/authorized_keys ~gatling/.ssh", 0),
        ("cd ~gatling; rm -r .ssh; ln -s /home/other/.ssh .ssh", 1),
    ] {
        as_user(&format!("rm -f ~gatling/.ssh/authorized_keys; {instead}"))?.succeeded()?;
        let ended = stage.generator(&["setup"])?.ended_with(code)?;
        ensure!(code == 0 || ended.stderr.contains("`/home/gatling/.ssh` is not a folder"), "{instead}: {ended}");
        ensure!(others()? == before, "{instead}: {}", others()?);
    }
    stage.generator(&["setup", "--undo"])?.succeeded()?;
    ensure!(others()? == before, "undo: {}", others()?);
    Ok(())
}

fn services() -> Result<(), Failure> {
    let stage = stage(StageOptions::one_subnet(2, 2))?;
    with_services(&stage)?;
    let before = everything(&stage)?;
    setup(&stage)?;
    let output = stage.read("/run/systemctl.log")?;
    let expected = "daemon-reload\nstop refresh-policy-routes@ens5.timer\n\
        stop refresh-policy-routes@ens6.timer\ntry-reload-or-restart sshd.service\n";
    ensure!(output == expected, "systemctl was called with\n{output}");
    for name in ["ens5", "ens6"] {
        let unit = format!("/etc/systemd/system/refresh-policy-routes@{name}.timer");
        ensure!(std::fs::read_link(stage.path(&unit))?.as_os_str() == "/dev/null", "{unit} is not masked");
    }
    let sshd = stage.read("/etc/ssh/sshd_config.d/00-trunnion.conf")?;
    ensure!(sshd.contains("\nListenAddress 10.0.0.10\nUsePAM yes\n"), "{sshd}");
    changes_nothing(&stage)?;
    ensure!(stage.read("/run/systemctl.log")? == expected, "systemctl was called again");

    stage.write("/etc/ssh/sshd_config.d/50-other.conf", "ListenAddress 0.0.0.0\n")?;
    let ended = stage.generator(&["setup"])?.ended_with(1)?;
    ensure!(ended.stderr.contains("sshd also listens on 0.0.0.0:22"), "{ended}");
    stage.script("rm /etc/ssh/sshd_config.d/50-other.conf /run/systemctl.log")?.succeeded()?;

    stage.generator(&["setup", "--undo"])?.succeeded()?;
    let output = stage.read("/run/systemctl.log")?;
    let expected = "daemon-reload\nstart refresh-policy-routes@ens5.timer\n\
        start refresh-policy-routes@ens6.timer\ntry-reload-or-restart sshd.service\n";
    ensure!(output == expected, "systemctl was called with\n{output}");
    same("undo", &before, &everything(&stage)?)?;

    // If setup is killed before it calls systemctl, the next setup calls it.
    let mut killer = Killer::new(&stage, &["setup"])?;
    for moment in 0..MOMENTS {
        stage.generator(&["setup", "--undo"])?.succeeded()?;
        stage.script("rm /run/systemctl.log")?.succeeded()?;
        killer.kill(moment)?;
        setup(&stage)?;
        let output = stage.read("/run/systemctl.log")?;
        for line in
            ["daemon-reload\n", "stop refresh-policy-routes@ens6.timer\n", "try-reload-or-restart sshd.service\n"]
        {
            ensure!(output.contains(line), "killed at moment {moment}, systemctl was not called with {line}");
        }
    }
    killer.finish()?;
    stage.generator(&["setup", "--undo"])?.succeeded()?;
    stage.script("rm /run/systemctl.log")?.succeeded()?;
    same("undo after setups that were killed", &before, &everything(&stage)?)
}

fn refused_sshd() -> Result<(), Failure> {
    let stage = stage(StageOptions::one_subnet(2, 2))?;
    with_services(&stage)?;
    stage.write("/run/refuse", "")?;
    let ended = stage.generator(&["setup"])?.ended_with(1)?;
    ensure!(
        ended.stderr.contains("sshd rejects its configuration") && ended.stderr.contains("line 1: refused"),
        "{ended}"
    );
    ensure!(!stage.path("/etc/ssh/sshd_config.d/00-trunnion.conf").exists(), "the file that sshd refuses stays");
    let output = stage.read("/run/systemctl.log")?;
    ensure!(!output.contains("sshd.service"), "sshd was reloaded with a file that it rejects: {output}");
    // All other steps were done.
    every_address_reaches_the_target(&stage)?;
    stage.script("rm /run/refuse")?.succeeded()?;
    setup(&stage)?;
    changes_nothing(&stage)
}

fn not_root() -> Result<(), Failure> {
    let stage = stage(StageOptions::one_subnet(1, 1))?;
    let before = everything(&stage)?;
    for arguments in [&["setup"][..], &["setup", "--undo"]] {
        let ended = stage.as_user("daemon", &[&[GENERATOR], arguments].concat())?.ended_with(1)?;
        ensure!(ended.stdout.is_empty() && ended.stderr.contains("only root can"), "{ended}");
    }
    same("a setup without rights", &before, &everything(&stage)?)
}

/// This machine may have no sshd; Debian's files have one.
fn real_sshd() -> Result<(), Failure> {
    let stage = stage(StageOptions { root: debian::files()?, ..StageOptions::one_subnet(2, 2) })?;
    let before = everything(&stage)?;
    let ended = stage.generator(&["setup"])?.succeeded()?;
    ensure!(!ended.stderr.contains("rejects"), "{ended}");
    let effective = stage.host(&["sshd", "-T"])?.succeeded()?.stdout;
    let listeners: Vec<_> = effective.lines().filter(|line| line.starts_with("listenaddress ")).collect();
    ensure!(listeners == ["listenaddress 10.0.0.10:22"], "sshd would listen on {listeners:?}");
    changes_nothing(&stage)?;
    stage.generator(&["setup", "--undo"])?.succeeded()?;
    same("undo", &before, &everything(&stage)?)
}
