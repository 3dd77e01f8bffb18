//! `trunnion size`: the cheapest pool for a workload.

use std::{collections::BTreeSet, fmt::Write as _};

use rust_decimal::Decimal;
use serde_json::{Value as Json, json};
use trunnion::{
    ExitCode, Stack, blueprint,
    catalog::{
        Architecture,
        limits::ELASTIC_IPS,
        prices::{Item, item, priced_regions, rounded},
    },
    estimate::{
        Bytes, CREDITS_PER_HOUR, Choice, Constraints, Market, Mode, NoChoice, Prices, Route, Tracking, Workload,
        grouped, heap_for, size as cheapest,
    },
    render::{Column, style, table},
};

use super::{
    arguments::{Network, Size},
    failure::Failure,
    output::Output,
    stack_file,
};

pub(crate) fn size(arguments: &Size, output: Output) -> Result<ExitCode, Failure> {
    let Inputs { workload, prices, mode, ports } = inputs(arguments)?;
    zones_fit(arguments, &prices.region)?;
    let virtual_users = arguments.virtual_users.or(workload.virtual_users).ok_or_else(|| {
        let help = "say how many it must hold: `--virtual-users 2000000`";
        Failure::with_help("size::virtual_users", "there is no number of virtual users", help)
    })?;
    let zones = u32::try_from(arguments.zone.len()).unwrap_or(u32::MAX).max(1);
    let constraints = Constraints {
        least_hosts: zones,
        most_hosts: arguments.most_hosts,
        architecture: arguments.arch.map(Into::into),
        market: if arguments.spot { Market::Spot } else { Market::OnDemand },
        one_may_fail: arguments.one_may_fail,
        // Where the kernel spreads nothing, only the first interface sends.
        tracking: if arguments.tracked || mode == Mode::Off { Tracking::Tracked } else { Tracking::Untracked },
        route: match arguments.network {
            Network::InternetGateway => Route::InternetGateway,
            Network::NatGateway => Route::Nat,
            Network::Other => Route::Other,
        },
        volume_gib: arguments.volume_gib,
        families: arguments.family.clone(),
        mode,
        ports,
    };
    let choices = cheapest(virtual_users, &workload, &constraints, &prices)
        .map_err(|why| refused(why, virtual_users, &prices, arguments))?;
    let shown = choices.get(..usize::from(arguments.show).min(choices.len())).unwrap_or_default();
    if arguments.json {
        let choices: Vec<Json> = shown.iter().map(|choice| as_json(choice, &prices)).collect();
        output.data(&format!("{:#}", Json::from(choices)))?;
    } else {
        output.readable(&text(shown, virtual_users, &workload, &prices, arguments))?;
    }
    Ok(ExitCode::Done)
}

/// What a pool must hold, and how its connections are spread.
struct Inputs {
    workload: Workload,
    prices: Prices,
    mode: Mode,
    ports: u64,
}

/// Each zone is named once, and gets a host.
fn zones_fit(arguments: &Size, region: &str) -> Result<(), Failure> {
    let distinct: BTreeSet<&String> = arguments.zone.iter().collect();
    let most = usize::try_from(arguments.most_hosts).unwrap_or(usize::MAX);
    let (message, help) = if let Some(zone) = distinct.iter().find(|zone| !zone.starts_with(region)) {
        (format!("`{zone}` is no zone of `{region}`"), "name zones of the region, or another `--region`")
    } else if distinct.len() < arguments.zone.len() {
        ("a zone is named twice".to_owned(), "name each `--zone` once")
    } else if distinct.len() > most {
        let message = format!("{} zones need at least as many hosts, but `--most-hosts` is {most}", distinct.len());
        (message, "raise `--most-hosts`, or name fewer zones")
    } else {
        return Ok(());
    };
    Err(Failure::with_help("size::zones", message, help))
}

/// The workload and the prices: those of a stack, if one is named, with what the options say instead.
fn inputs(arguments: &Size) -> Result<Inputs, Failure> {
    let Inputs { mut workload, prices, mode, ports } = if let Some(file) = &arguments.stack {
        let stack = Stack::load(file, arguments.env.as_deref(), &stack_file::options(&arguments.allow_file))?;
        let (mode, ports) = blueprint::sources_of(&stack);
        Inputs { workload: blueprint::workload(&stack), prices: blueprint::prices(&stack), mode, ports }
    } else {
        let Constraints { mode, ports, .. } = Constraints::default();
        let prices = Prices::of_region(arguments.region.clone().unwrap_or_default());
        Inputs { workload: Workload::default(), prices, mode, ports }
    };
    if let Some(connections) = arguments.connections_per_user {
        workload.connections_per_user = connections;
    }
    if let Some(rate) = arguments.requests_per_second_per_user {
        workload.requests_per_second_per_user = rate;
    }
    if let Some(bytes) = arguments.bytes_per_request {
        workload.bytes_per_request = Bytes::Together(bytes.into());
    }
    if arguments.private_targets.is_some() || arguments.public_targets.is_some() {
        workload.targets.private = arguments.private_targets.unwrap_or(0);
        workload.targets.public = arguments.public_targets.unwrap_or(0);
    }
    if workload.targets.all() == 0 {
        let help = "raise `--private-targets` or `--public-targets`";
        return Err(Failure::with_help("size::targets", "the workload has no target", help));
    }
    if let Some(memory) = arguments.memory_per_user {
        workload.memory_per_user = memory.into();
    }
    if let Some(margin) = arguments.memory_margin_percent {
        workload.memory_margin_percent = margin;
    }
    Ok(Inputs { workload, prices, mode, ports })
}

fn refused(why: NoChoice, virtual_users: u64, prices: &Prices, arguments: &Size) -> Failure {
    match why {
        NoChoice::Unpriced => {
            let has_volumes = |region: &&str| item(Item::Gp3GbMonth, region).is_some();
            let known = priced_regions().into_iter().filter(has_volumes).collect::<Vec<_>>().join(", ");
            let message = if prices.item(Item::Gp3GbMonth).is_none() {
                format!("the volumes of hosts have no price in `{}`", prices.region)
            } else {
                format!("no instance type that fits these options has a price in `{}`", prices.region)
            };
            let help = format!(
                "use one of {known}, or give types their prices in the stack file (`prices.instances`, `prices.gp3_gb_month`) \
                 and name it with `--stack`"
            );
            Failure::with_help("size::unpriced", message, help)
        }
        NoChoice::TooSmall(largest) => {
            let message = format!(
                "no pool of at most {} hosts holds {} virtual users{}",
                arguments.most_hosts,
                grouped(virtual_users),
                largest
                    .as_ref()
                    .map(|largest| format!(
                        "; {} × {} would hold {}",
                        largest.count,
                        largest.host.instance_type.name,
                        grouped(largest.virtual_users)
                    ))
                    .unwrap_or_default()
            );
            let limit = largest.and_then(|largest| largest.binds).map(|limit| format!(": {} binds", limit.words()));
            // More hosts do not help where they share what is used up.
            let more_hosts = match limit.as_deref() {
                Some(limit) if limit.contains("NAT gateway") => "",
                _ if arguments.most_hosts >= 1_000 => "",
                _ => "raise `--most-hosts`, or ",
            };
            let help = format!("{more_hosts}lower what a user needs{}", limit.unwrap_or_default());
            Failure::with_help("size::too_small", message, help)
        }
    }
}

fn text(choices: &[Choice], virtual_users: u64, workload: &Workload, prices: &Prices, arguments: &Size) -> String {
    let mut text = format!(
        "{}The cheapest pools for {} virtual users in {}{:#}\n",
        style::STRONG,
        grouped(virtual_users),
        prices.region,
        style::STRONG
    );
    let Some(best) = choices.first() else { return text };
    let month = Decimal::from(Workload::HOURS_OF_A_MONTH);
    let rows: Vec<Vec<String>> = choices
        .iter()
        .map(|choice| {
            vec![
                format!("{} × {}", choice.count, choice.host.instance_type.name),
                format!("{} × {}", choice.host.interfaces, choice.host.addresses),
                rounded(choice.hourly, 2).to_string(),
                rounded(choice.hourly.saturating_mul(month), 0).to_string(),
                grouped(choice.virtual_users),
                trade(choice, best, virtual_users),
            ]
        })
        .collect();
    text += &table(
        &[
            Column::Left("hosts"),
            Column::Left("interfaces × addresses"),
            Column::Right("an hour"),
            Column::Right("a month"),
            Column::Right("holds"),
            Column::Left("what it trades"),
        ],
        &rows,
    );
    let _ = writeln!(
        text,
        "  Amounts are in {}, for instances, volumes and public addresses{}. {} % more memory for scripts is included.",
        prices.currency,
        if prices.gatling_credit.is_some() { ", with Gatling's credits" } else { ", without Gatling's credits" },
        workload.memory_margin_percent
    );
    if arguments.one_may_fail {
        text += "  One host may fail: `holds` is without it.\n";
    }
    let public = u64::from(best.host.public_addresses) * u64::from(best.count);
    if public > ELASTIC_IPS as u64 {
        let _ = writeln!(
            text,
            "  The first one needs {} Elastic IPs; AWS allows {ELASTIC_IPS} in a region by default.",
            grouped(public)
        );
    }
    if workload.targets.public > 0 && matches!(arguments.network, Network::Other) {
        text += "  Behind an internet gateway, public targets need public addresses: `--network internet-gateway`.\n";
    } else if best.host.interfaces > 1 && matches!(arguments.network, Network::Other) {
        text += "  Behind an internet gateway, as in a default VPC, such hosts need `public_ip: true` to reach Gatling's cloud.\n";
    }
    let _ = writeln!(text, "\n{}For the stack file{:#}\n{}", style::STRONG, style::STRONG, yaml(best, arguments));
    let hosts = u64::from(best.count - u32::from(arguments.one_may_fail)).max(1);
    let _ = writeln!(
        text,
        "For one test with all these users, a location needs `jvm_options: [-Xmx{}m]`.",
        heap_for(virtual_users.div_ceil(hosts), workload).div_ceil(1 << 20).max(LEAST_HEAP_MIB)
    );
    text
}

/// The smallest heap that is proposed: what Gatling takes for itself was not measured as a heap, and is at most 180 MiB of memory.
const LEAST_HEAP_MIB: u64 = 256;

/// What a choice gives up or wins against the cheapest one.
fn trade(choice: &Choice, best: &Choice, virtual_users: u64) -> String {
    let mut trades = Vec::new();
    if choice != best {
        let more = choice.hourly.saturating_sub(best.hourly).saturating_mul(Decimal::ONE_HUNDRED);
        let more = more.checked_div(best.hourly).map(|more| format!("{} % more", rounded(more, 1)));
        trades.push(more.unwrap_or_else(|| "more".to_owned()));
    }
    trades.push(choice.host.instance_type.architecture.to_string());
    let spare = u128::from(choice.virtual_users.saturating_sub(virtual_users)) * 100 / u128::from(virtual_users.max(1));
    trades.push(format!("{spare} % spare"));
    trades.push(format!("{} credits an hour", grouped(u64::from(choice.count) * CREDITS_PER_HOUR)));
    if let Some(limit) = choice.binds {
        trades.push(format!("limited by {}", limit.words()));
    }
    trades.join(", ")
}

/// The pools of a choice, one in each zone, to paste into a stack file.
fn yaml(choice: &Choice, arguments: &Size) -> String {
    let zones: Vec<Option<&String>> =
        if arguments.zone.is_empty() { vec![None] } else { arguments.zone.iter().map(Some).collect() };
    let mut text = String::from("pools:\n");
    let (count, parts) = (choice.count, u32::try_from(zones.len()).unwrap_or(1));
    for (at, zone) in (0..).zip(&zones) {
        let here = count / parts + u32::from(at < count % parts);
        let name = if at == 0 { "heavy".to_owned() } else { format!("heavy-{}", at + 1) };
        let zone = zone.map_or("…", String::as_str);
        let _ = write!(
            text,
            "  {name}:\n    instance_type: {}\n    count: {here}\n    zone: {zone}\n    interfaces: {}\n    addresses: {}\n",
            choice.host.instance_type.name, choice.host.interfaces, choice.host.addresses
        );
        if choice.host.tracking == Tracking::Untracked {
            text += "    tracking: untracked\n";
        }
        if choice.host.public_addresses > 0 {
            let _ = writeln!(text, "    public_addresses: {}", choice.host.public_addresses);
        }
        if arguments.volume_gib != Constraints::default().volume_gib {
            let _ = writeln!(text, "    volume_gib: {}", arguments.volume_gib);
        }
        if arguments.spot {
            text += "    market: spot\n";
        }
    }
    text
}

fn as_json(choice: &Choice, prices: &Prices) -> Json {
    let host = &choice.host;
    json!({
        "instance_type": host.instance_type.name,
        "architecture": host.instance_type.architecture,
        "count": choice.count,
        "interfaces": host.interfaces,
        "addresses": host.addresses,
        "public_addresses": host.public_addresses,
        "tracking": host.tracking,
        "hourly": rounded(choice.hourly, 6).normalize().to_string(),
        "currency": prices.currency,
        "virtual_users": choice.virtual_users,
        "binds": choice.binds,
    })
}

impl From<super::arguments::Arch> for Architecture {
    fn from(arch: super::arguments::Arch) -> Self {
        match arch {
            super::arguments::Arch::X86_64 => Architecture::X86_64,
            super::arguments::Arch::Arm64 => Architecture::Arm64,
        }
    }
}
