//! `cargo xtask model`: compares the capacity model with the kernel and with the real Gatling, in settings that a seed draws. With
//! `--predict`, only the predictions are printed.
//!
//! A client opens connections to each target until none is possible any more, beside the service. A JVM of Gatling opens WebSocket
//! users, and its memory is compared. Predictions may lie up to 10 % below what was measured, and never above.

use std::time::Duration;

use clap::Args;
use trunnion_estimate::{
    Decimal, GATLING_BYTES, Host, KERNEL_BYTES_PER_CONNECTION, Mode, Route, SYSTEM_BYTES, Targets, Tracking, Workload,
    users_in,
};
use trunnion_host::{Connections, Ports};

use crate::{
    Failure, capacity, gatling, generator,
    kernel::{
        check::listen,
        check_tools, ensure,
        stage::{self, Stage, StageOptions},
    },
};

/// The arguments of `cargo xtask model`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Which settings are drawn
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many settings of the kernel
    #[arg(long, default_value_t = 8, value_name = "COUNT")]
    settings: usize,
    /// How many settings of Gatling's memory
    #[arg(long, default_value_t = 2, value_name = "COUNT")]
    memories: usize,
    /// Print only the predictions
    #[arg(long)]
    predict: bool,
}

const PATIENCE: Duration = Duration::from_mins(1);
const PORT: u16 = 8_080;
const TOOLS: &[(&str, &str)] = &[
    ("ip", "iproute2"),
    ("nft", "nftables"),
    ("nsenter", "util-linux"),
    ("python3", "python3"),
    ("setpriv", "util-linux"),
    ("sysctl", "procps"),
    ("unshare", "util-linux"),
    ("useradd", "passwd"),
];

/// A host and its targets.
#[derive(Debug, Clone)]
struct Setting {
    interfaces: u8,
    addresses: u8,
    targets: u8,
    mode: Mode,
    tracking: Tracking,
    ports: u16,
}

impl Setting {
    fn draw(draw: &mut fastrand::Rng) -> Self {
        let interfaces = draw.u8(1..=4);
        let mode = *draw.choice(&[Mode::Kernel, Mode::Kernel, Mode::Simulation, Mode::Off]).unwrap_or(&Mode::Kernel);
        // A simulation can name any address, so what is tracked makes no difference to it.
        let is_untracked = interfaces > 1 && mode == Mode::Kernel && draw.bool();
        Self {
            interfaces,
            addresses: draw.u8(1..=5),
            targets: draw.u8(1..=3),
            mode,
            tracking: if is_untracked { Tracking::Untracked } else { Tracking::Tracked },
            ports: draw.u16(50..=400),
        }
    }

    fn ports(&self) -> Ports {
        Ports { first: 20_000, last: 20_000 + self.ports - 1 }
    }

    /// Idle users with one connection each.
    fn predicted(&self) -> Result<u64, Failure> {
        let host = Host {
            instance_type: trunnion_catalog::instance_type("c7i.xlarge").ok_or("the catalog lacks a type")?,
            interfaces: self.interfaces.into(),
            addresses: self.addresses.into(),
            public_addresses: 0,
            mode: self.mode,
            tracking: self.tracking,
            ports: self.ports().count(),
            route: Route::Other,
            nat_gateway: None,
        };
        let workload = Workload {
            requests_per_second_per_user: Decimal::ZERO,
            targets: Targets { private: self.targets.into(), public: 0 },
            ..Workload::default()
        };
        Ok(host.capacity(1, &workload, None).virtual_users)
    }

    /// Opens connections to all targets at once until none is possible, and returns their number.
    fn measured(&self) -> Result<u64, Failure> {
        let options =
            StageOptions { targets: self.targets, ..StageOptions::one_subnet(self.interfaces.into(), self.addresses) };
        let stage = Stage::new(options)?;
        let _sshd = listen(&stage)?;
        stage.config(|config| {
            config.ports = self.ports();
            config.spread.mode = self.mode;
            config.tracking = self.tracking;
            config.connections = Connections { per_destination: 1, total: 1 };
        })?;
        stage.generator(&["setup"])?.succeeded()?;
        let mut service = stage.generator_as_service(&["run"])?;
        service.wait_for_notice("READY=1", PATIENCE)?;
        let from: Vec<String> = match self.mode {
            Mode::Simulation => stage.addresses().iter().map(ToString::to_string).collect(),
            Mode::Kernel | Mode::Off => Vec::new(),
        };
        let destinations: Vec<_> = (0..self.targets).map(|target| (stage::target_ipv4(target), PORT).into()).collect();
        capacity::until_full(&stage, "gatling", &destinations, &from)
    }

    fn words(&self) -> String {
        format!(
            "{} × {} addresses, {} ports each, {} targets, {}, {}",
            self.interfaces, self.addresses, self.ports, self.targets, self.mode, self.tracking
        )
    }
}

/// Users in memory, as the model has it: how many bytes they take without the operating system.
fn bytes_of(users: u64) -> u64 {
    users * (Workload::MEMORY_PER_USER + KERNEL_BYTES_PER_CONNECTION) + GATLING_BYTES
}

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "a chore talks to the person who runs it")]
pub(crate) fn model(arguments: &Arguments) -> Result<(), Failure> {
    let mut draw = fastrand::Rng::with_seed(arguments.seed);
    gatling::stop_at_signals();
    let settings: Vec<Setting> = (0..arguments.settings).map(|_| Setting::draw(&mut draw)).collect();
    let memories: Vec<u64> = (0..arguments.memories).map(|_| draw.u64(60..=120) * 1_000).collect();
    let _alone = if arguments.predict {
        None
    } else {
        check_tools(TOOLS)?;
        stage::set_binary(generator::build_static("dev")?);
        let alone = stage::alone()?;
        stage::clear_leftovers()?;
        Some(alone)
    };
    let mut wrong = Vec::new();
    let mut row = |words: &str, predicted: u64, measured: Option<u64>| {
        let part = measured.map_or_else(
            || " | |".to_owned(),
            |measured| {
                if predicted > measured || predicted < measured / 10 * 9 {
                    wrong.push(words.to_owned());
                }
                format!(" {measured} | {}.{} % |", predicted * 1_000 / measured / 10, predicted * 1_000 / measured % 10)
            },
        );
        println!("| {words} | {predicted} |{part}");
    };
    println!("| setting | predicted | measured | predicted of measured |\n|---|---|---|---|");
    for setting in &settings {
        let measured = if arguments.predict { None } else { Some(setting.measured()?) };
        row(&setting.words(), setting.predicted()?, measured);
    }
    let workload = Workload { memory_margin_percent: 0, ..Workload::default() };
    for users in memories {
        if arguments.predict {
            row(&format!("bytes of {users} WebSocket users of one JVM"), bytes_of(users), None);
            continue;
        }
        let bytes = gatling::memory_of(users)?;
        eprintln!("  {users} users take {bytes} bytes, and the model says {}", bytes_of(users));
        let words = format!("WebSocket users of one JVM in {} MiB", bytes >> 20);
        row(&words, users_in(bytes + SYSTEM_BYTES, &workload), Some(users));
    }
    ensure!(wrong.is_empty(), "these predictions are too high, or more than 10 % too low: {wrong:?}");
    Ok(())
}
