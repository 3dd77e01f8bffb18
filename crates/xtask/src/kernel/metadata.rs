//! Tests that simulations cannot reach the metadata service, and with it the credentials of the host's role.

use std::time::Duration;

use trunnion_host::Mode;

use super::{
    Test,
    check::{Checked, listen},
    command::Ended,
    ensure,
    stage::{Stage, StageOptions},
};
use crate::Failure;

pub(crate) const TESTS: &[Test] =
    &[("metadata_is_closed_to_simulations", closed), ("metadata_is_open_if_the_stack_says_so", open)];

const PATIENCE: Duration = Duration::from_mins(1);

/// Asks for a token, as every client of the metadata service does first.
const TOKEN: &str = "curl --silent --show-error --fail --max-time 5 --request PUT \
    --header 'X-aws-ec2-metadata-token-ttl-seconds: 60' http://169.254.169.254/latest/api/token";

/// The same by other ways: a connection that begins with data, one from an address of another interface, one of a namespace for
/// users, and a datagram.
const OTHER_WAYS: [&str; 4] = [
    "python3 -c 'import socket; socket.socket().sendto(b\"GET /\", 0x20000000, (\"169.254.169.254\", 80))'",
    "python3 -c 'import socket; s = socket.socket(); s.bind((\"10.0.1.10\", 0)); s.connect((\"169.254.169.254\", 80))'",
    "unshare --user --map-root-user python3 -c 'import socket; socket.create_connection((\"169.254.169.254\", 80), 5)'",
    "python3 -c 'import socket; socket.socket(type=socket.SOCK_DGRAM).sendto(b\"x\", (\"169.254.169.254\", 80))'",
];

fn of_user(stage: &Stage, script: &str) -> Result<Ended, Failure> {
    stage.as_user("gatling", &["bash", "-c", script])
}

fn closed() -> Result<(), Failure> {
    for mode in [Mode::Kernel, Mode::Simulation, Mode::Off] {
        let stage = Stage::new(StageOptions::one_subnet(2, 2))?;
        stage.config(|config| {
            config.spread.mode = mode;
            if mode == Mode::Off {
                config.connections.per_destination = 100;
                config.connections.total = 100;
            }
        })?;
        let _sshd = listen(&stage)?;
        let mut service = stage.generator_as_service(&["run"])?;
        service.wait_for_notice("READY=1", PATIENCE)?;
        Checked::new(&stage, &[])?.failed(&[])?;
        stage.script(TOKEN)?.succeeded()?;
        let refused = of_user(&stage, TOKEN)?;
        ensure!(refused.stdout.is_empty() && refused.stderr.contains("Failed to connect"), "{mode}: {refused}");
        for way in OTHER_WAYS {
            let refused = of_user(&stage, way)?;
            ensure!(refused.stderr.contains("Permission denied"), "{mode}: {way}: {refused}");
        }
        let ipv6 = stage.script("ip -6 route get fd00:ec2::254 uid $(id -u gatling)")?;
        ensure!(ipv6.stderr.contains("Permission denied"), "{mode}: {ipv6}");
        // DNS and time are other addresses.
        stage
            .script(
                "ip route get 169.254.169.253 uid $(id -u gatling); ip route get 169.254.169.123 uid $(id -u gatling)",
            )?
            .succeeded()?;
    }

    // A rule that comes first opens it, which the check sees. The service restores what was removed.
    let stage = Stage::new(StageOptions::one_subnet(2, 2))?;
    let _sshd = listen(&stage)?;
    stage.generator(&["setup"])?.succeeded()?;
    stage.generator(&["spread"])?.succeeded()?;
    stage.script("ip rule del priority 1")?.succeeded()?;
    let found = Checked::new(&stage, &[])?;
    found.failed(&["metadata access"])?.says("metadata access", "`169.254.169.254` is in reach")?;
    stage.generator(&["setup"])?.succeeded()?;
    Checked::new(&stage, &[])?.failed(&[])?;
    stage.generator(&["setup", "--undo"])?.succeeded()?;
    let left = stage.script("ip rule; ip -6 rule")?.succeeded()?.stdout;
    ensure!(!left.contains("prohibit"), "{left}");
    // The programs are gone, too, with the id of a user that the next account may get.
    let shown = stage.generator(&["spread", "--show"])?;
    ensure!(shown.code != 0, "the programs are still attached: {shown}");
    Ok(())
}

fn open() -> Result<(), Failure> {
    let stage = Stage::new(StageOptions::one_subnet(2, 2))?;
    let _sshd = listen(&stage)?;
    // The earlier setup closed it.
    stage.generator(&["setup"])?.succeeded()?;
    stage.config(|config| config.metadata_access = true)?;
    stage.generator(&["setup"])?.succeeded()?;
    stage.generator(&["spread"])?.succeeded()?;
    of_user(&stage, TOKEN)?.succeeded()?;
    Checked::new(&stage, &[])?.failed(&[])?;
    Ok(())
}
