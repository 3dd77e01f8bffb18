//! What a plan costs and how many virtual users it holds, as text for people.

use std::fmt::Write as _;

use rust_decimal::Decimal;
use trunnion_catalog::prices::rounded;
use trunnion_estimate::{Capacity, Estimate, Line, Per, PoolCapacity, Total, grouped, price_lines};

use crate::{Column, style, table::table, value::safe};

/// The part of a plan about cost and capacity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Estimated {
    /// Each pool: its name, its hosts, how many virtual users they hold, what they cost for an hour, and what limits their users.
    pub pools: Vec<Vec<String>>,
    /// Sentences about the whole: a label and a text.
    pub whole: Vec<[String; 2]>,
    /// What changes, after the number of changes: cost and virtual users.
    pub changes: Vec<String>,
}

impl Estimated {
    /// What stands, in a sentence after another one: ` It costs 4.12 USD an hour and holds 640,000 virtual users.`
    pub(crate) fn stands(estimate: &Estimate) -> String {
        let cost = known(&estimate.cost, &safe(&estimate.currency));
        format!(" It costs {cost} and holds {}.", users(estimate.virtual_users))
    }

    /// The content of an estimate.
    pub fn of(estimate: &Estimate) -> Self {
        let currency = safe(&estimate.currency);
        let mut whole = rest(estimate, &currency);
        whole.push(["in all".to_owned(), in_all(estimate, &currency)]);
        // Nothing of what has a price is no price.
        let is_known = |amount: &Decimal| !amount.is_zero() || estimate.cost.unpriced.is_empty();
        if let Some(amount) = estimate.million_user_hours.filter(is_known) {
            let unpriced = if estimate.cost.unpriced.is_empty() { "" } else { ", without what is unpriced" };
            let text = format!("{} {currency} for a million hours of a virtual user{unpriced}", rounded(amount, 2));
            whole.push(["per user".to_owned(), text]);
        }
        if estimate.cost_before != Total::default() {
            whole.push(["before".to_owned(), totals(&estimate.cost_before, &currency)]);
        }
        for location in &estimate.locations {
            if location.capacity.binds == Some(trunnion_estimate::Limit::Heap) {
                let text = format!(
                    "one test holds {}, limited by its heap of {} MiB",
                    users(location.capacity.virtual_users),
                    grouped(location.heap_mib)
                );
                whole.push([safe(&location.location), text]);
            }
        }
        if let Some(comparison) = &estimate.comparison {
            let mut text = format!(
                "{} for {}: {} credits an hour instead of {}",
                counted(comparison.managed_generators, "managed generator"),
                users(comparison.virtual_users),
                grouped(comparison.managed_credits_per_hour),
                grouped(comparison.credits_per_hour)
            );
            match (&comparison.managed_hourly, &comparison.hourly, &comparison.cheaper_from_credit) {
                (Some(managed), Some(own), _) => {
                    let (managed, own) = (rounded(*managed, 2), rounded(*own, 2));
                    let _ = write!(text, "; {managed} {currency} an hour instead of {own} with the credits");
                }
                (_, _, Some(credit)) if estimate.cost.unpriced.is_empty() => {
                    let _ = write!(text, "; hosts are cheaper from {} {currency} a credit on", rounded(*credit, 4));
                }
                _ => {}
            }
            whole.push(["instead".to_owned(), text]);
        }
        Self {
            pools: estimate.pools.iter().map(|pool| self::pool(pool, &currency)).collect(),
            whole,
            changes: changes(estimate, &currency),
        }
    }
}

fn pool(pool: &PoolCapacity, currency: &str) -> Vec<String> {
    let hourly = match (pool.unpriced.is_empty(), rounded(pool.hourly, 2)) {
        (true, hourly) => format!("{hourly} {currency}"),
        (false, hourly) if hourly.is_zero() => "unpriced".to_owned(),
        (false, hourly) => format!("{hourly} {currency} and more"),
    };
    vec![
        safe(&pool.pool),
        format!("{} × {}", pool.hosts, safe(&pool.instance_type)),
        grouped(pool.capacity.virtual_users),
        hourly,
        pool.capacity.binds.map(|limit| limit.words().to_owned()).unwrap_or_default(),
    ]
}

/// `holds 1,939,393 virtual users, limited by CPU`
fn held(capacity: &Capacity) -> String {
    let limit = capacity.binds.map(|limit| format!(", limited by {}", limit.words())).unwrap_or_default();
    format!("holds {}{limit}", users(capacity.virtual_users))
}

/// What is not of the hosts, in a line for each group.
fn rest(estimate: &Estimate, currency: &str) -> Vec<[String; 2]> {
    let mut groups: Vec<(&str, Decimal, bool)> = Vec::new();
    for line in &estimate.lines {
        let group = match line.of.split(['.', ' ']).next().unwrap_or_default() {
            "instance" | "elastic_ip" => continue,
            "traffic" => "traffic",
            "NAT" => "NAT",
            _ => "control",
        };
        let hourly = line.hourly.unwrap_or_default();
        match groups.iter_mut().find(|(known, ..)| *known == group) {
            Some((_, sum, is_priced)) => {
                *sum = sum.saturating_add(hourly);
                *is_priced &= line.hourly.is_some();
            }
            None => groups.push((group, hourly, line.hourly.is_some())),
        }
    }
    let row = |(group, sum, is_priced): (&str, Decimal, bool)| {
        let what = match group {
            "traffic" => "of the workload, while it runs",
            "NAT" => "the gateway, which is not a part of the stack",
            _ => "the control plane, its logs and the generator binaries",
        };
        let unpriced = if is_priced { "" } else { " and unpriced parts" };
        let cost = if sum.is_zero() && !is_priced {
            "unpriced".to_owned()
        } else {
            format!("{} {currency} an hour{unpriced}", rounded(sum, 2))
        };
        [group.to_owned(), format!("{what} · {cost}")]
    };
    groups.into_iter().map(row).collect()
}

/// The part that has a price, and whether there is another one.
fn known(total: &Total, currency: &str) -> String {
    let hourly = rounded(total.hourly, 2);
    match total.unpriced.is_empty() {
        true => format!("{hourly} {currency} an hour"),
        false if total.hourly.is_zero() => "what has no known price".to_owned(),
        false => format!("{hourly} {currency} an hour and unpriced parts"),
    }
}

fn totals(total: &Total, currency: &str) -> String {
    let names: Vec<String> = total.unpriced.keys().map(|name| safe(name)).collect();
    if total.hourly.is_zero() && !names.is_empty() {
        return format!("unpriced: {}", names.join(", "));
    }
    let unpriced = if names.is_empty() { String::new() } else { format!("; unpriced: {}", names.join(", ")) };
    format!("{} {currency} an hour, {} a month{unpriced}", rounded(total.hourly, 2), rounded(total.monthly, 2))
}

fn changes(estimate: &Estimate, currency: &str) -> Vec<String> {
    let difference = estimate.cost.hourly.saturating_sub(estimate.cost_before.hourly);
    let unpriced = Unpriced::of(estimate);
    let users = i128::from(estimate.virtual_users) - i128::from(estimate.virtual_users_before);
    vec![hourly_change(difference, currency, unpriced), users_change(users)]
}

/// How what has no price changes.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Unpriced {
    pub(crate) more: bool,
    pub(crate) fewer: bool,
}

impl Unpriced {
    pub(crate) fn of(estimate: &Estimate) -> Self {
        let (before, after) = (&estimate.cost_before, &estimate.cost);
        Self { more: after.has_more_unpriced(before), fewer: before.has_more_unpriced(after) }
    }
}

/// `+8.61 USD an hour`
pub(crate) fn hourly_change(difference: Decimal, currency: &str, unpriced: Unpriced) -> String {
    // Cents are enough, unless they hide that something changes.
    let hourly = [2, 4, 6].map(|places| rounded(difference, places)).into_iter().find(|amount| !amount.is_zero());
    let hourly = hourly.unwrap_or_else(|| rounded(Decimal::ZERO, 2));
    let sign = if hourly.is_sign_negative() { "" } else { "+" };
    let parts = match (unpriced.more, unpriced.fewer) {
        (false, false) => return format!("{sign}{hourly} {currency} an hour"),
        (true, false) => "unpriced parts",
        (false, true) => "fewer unpriced parts",
        (true, true) => "other unpriced parts",
    };
    if difference.is_zero() {
        return parts.to_owned();
    }
    format!("{sign}{hourly} {currency} an hour and {parts}")
}

/// `+1,939,393 virtual users`
pub(crate) fn users_change(difference: i128) -> String {
    let sign = if difference < 0 { "-" } else { "+" };
    format!("{sign}{}", users(u64::try_from(difference.unsigned_abs()).unwrap_or(u64::MAX)))
}

/// What a stack costs, line by line, with the source of each price.
pub fn cost(estimate: &Estimate) -> String {
    let currency = safe(&estimate.currency);
    let mut text = title(&format!("Cost in {currency}"));
    let rows: Vec<Vec<String>> = estimate.lines.iter().map(cost_row).collect();
    text += &table(
        &[
            Column::Left(""),
            Column::Left(""),
            Column::Right("an hour"),
            Column::Right("a month"),
            Column::Left(""),
            Column::Left("price"),
        ],
        &rows,
    );
    let _ = write!(text, "\n  in all: {}\n", in_all(estimate, &currency));
    if !estimate.unpriced.is_empty() {
        text += "  Unpriced parts are missing in these sums. To give them a price, write into `prices` of the stack file:\n  prices:\n";
        for line in price_lines(&estimate.unpriced) {
            let _ = writeln!(text, "    {}", safe(&line));
        }
    }
    text
}

fn cost_row(line: &Line) -> Vec<String> {
    let per = match line.per {
        Per::Hour => "an hour",
        Per::Month => "a month",
        Per::HourOfLoad => "an hour of load",
    };
    let amount = |amount: Option<Decimal>, places| {
        amount.map_or("unpriced".to_owned(), |amount| rounded(amount, places).to_string())
    };
    vec![
        safe(&line.of),
        format!("{} × {}", line.count, safe(&line.item)),
        amount(line.hourly, 4),
        amount(line.monthly, 2),
        format!("{} {per}", line.quantity),
        match (&line.price, &line.source) {
            (Some(price), Some(source)) => format!("{price} ({})", safe(source)),
            _ => String::new(),
        },
    ]
}

/// How many virtual users a stack holds, with each limit.
pub fn capacity(estimate: &Estimate) -> String {
    let mut text = title("Capacity");
    let pools = estimate.pools.iter().map(|pool| {
        (format!("pool {} ({} × {})", safe(&pool.pool), pool.hosts, safe(&pool.instance_type)), &pool.capacity)
    });
    let locations = estimate.locations.iter().map(|location| {
        let heap = grouped(location.heap_mib);
        (
            format!("location {}, one JVM with {heap} MiB of heap on each host", safe(&location.location)),
            &location.capacity,
        )
    });
    for (name, capacity) in pools.chain(locations) {
        let _ = write!(text, "  {name}: {}", held(capacity));
        if let Some(lifted) = &capacity.lifted_by {
            let _ = write!(text, "; raised by {}", safe(lifted));
        }
        let _ = write!(
            text,
            "\n    {} requests and {} packets a second\n",
            grouped(capacity.requests_per_second),
            grouped(capacity.packets_per_second)
        );
        for bound in &capacity.bounds {
            let _ = writeln!(text, "    {:>16}  {}", grouped(bound.virtual_users), bound.limit.words());
        }
    }
    let _ = writeln!(text, "  in all: {}", users(estimate.virtual_users));
    text
}

/// What everything costs, and what of it is not known.
fn in_all(estimate: &Estimate, currency: &str) -> String {
    let network = if estimate.without_network { "; without NAT gateways and addresses that subnets give" } else { "" };
    totals(&estimate.cost, currency) + network
}

/// What the figures assume, and what they leave out.
pub fn assumptions(estimate: &Estimate) -> String {
    let compared = estimate.comparison.iter().flat_map(|comparison| &comparison.assumptions);
    let lines = estimate.assumptions.iter().chain(compared).map(|line| format!("  - {}\n", safe(line)));
    let network = if estimate.without_network {
        "  - no subnet was read: NAT gateways and addresses that subnets give are left out; a plan reads them\n"
    } else {
        ""
    };
    format!("{}{}{network}", title("Assumptions"), lines.collect::<String>())
}

fn title(text: &str) -> String {
    format!("{}{text}{:#}\n", style::STRONG, style::STRONG)
}

fn users(count: u64) -> String {
    counted(count, "virtual user")
}

fn counted(count: u64, one: &str) -> String {
    format!("{} {one}{}", grouped(count), if count == 1 { "" } else { "s" })
}
