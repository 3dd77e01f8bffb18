//! Bars of what stacks and pools cost and hold, before and after. Each bar has its value as text beside it.

use maud::{Markup, html};
use trunnion_catalog::prices::rounded;
use trunnion_engine::preview::Stands;
use trunnion_estimate::{Decimal, Estimate, PoolCapacity, Total, grouped};

use crate::{
    html::{cost_change, minus, name, number_change},
    overview::Overview,
    value::safe,
};

/// How many bars a chart of stacks or pools has at most: those that change most.
const MOST: usize = 12;

/// The shortest bar of something that is not zero, in percent.
const SHORTEST: Decimal = Decimal::from_parts(8, 0, 0, false, 1);

/// What one stack or pool has before and after.
struct Pair {
    name: Markup,
    /// Nothing where it is not known.
    before: Option<Value>,
    after: Value,
    change: String,
}

/// A number, and how it is written.
struct Value {
    size: Decimal,
    text: String,
}

impl Pair {
    /// How far its bars differ.
    fn difference(&self) -> Decimal {
        let before = self.before.as_ref().map(|value| value.size).unwrap_or_default();
        self.after.size.saturating_sub(before).abs()
    }
}

/// What each stack costs, with a chart for each currency, and how many virtual users it holds.
pub(super) fn of_stacks(overview: &Overview<'_>) -> Markup {
    let estimates: Vec<(Markup, Option<&Estimate>)> = overview
        .stacks
        .iter()
        .map(|shown| (name(shown), shown.own.as_ref().and_then(|own| own.plan.remarks.estimate.as_ref())))
        .collect();
    let known = || estimates.iter().filter_map(|(name, estimate)| estimate.map(|estimate| (name, estimate)));
    let without = estimates.len() - known().count();
    if known().next().is_none() {
        return html! {};
    }
    let mut costs: Vec<(&str, Vec<Pair>)> = Vec::new();
    for (name, estimate) in known() {
        let pair = Pair {
            name: name.clone(),
            before: Some(cost(&estimate.cost_before)),
            after: cost(&estimate.cost),
            change: cost_change(estimate),
        };
        match costs.iter_mut().find(|(currency, _)| *currency == estimate.currency) {
            Some((_, pairs)) => pairs.push(pair),
            None => costs.push((&estimate.currency, vec![pair])),
        }
    }
    let users = known().map(|(name, estimate)| Pair {
        name: name.clone(),
        before: Some(users(estimate.virtual_users_before)),
        after: users(estimate.virtual_users),
        change: number_change(estimate.virtual_users_before, estimate.virtual_users),
    });
    html! {
        section aria-labelledby="charts" {
            h2 #charts { "Cost and capacity of the stacks" }
            div.charts {
                @for (currency, pairs) in costs { (chart(&format!("Cost an hour in {}", safe(currency)), pairs, "stacks")) }
                (chart("Virtual users", users.collect(), "stacks"))
            }
            @match without {
                0 => {},
                1 => p.faint { "1 stack has no estimate and is not in the charts." },
                count => p.faint { (count) " stacks have no estimate and are not in the charts." },
            }
        }
    }
}

/// What each pool of a stack costs and holds. Before is known of a base that was planned, and where nothing exists.
pub(super) fn of_pools(before: Option<&Stands>, estimate: &Estimate) -> Markup {
    let old: Option<&[PoolCapacity]> = match before {
        Some(stands) if !stands.pools.is_empty() || stands.virtual_users == 0 => Some(&stands.pools),
        None if estimate.cost_before == Total::default() && estimate.virtual_users_before == 0 => Some(&[]),
        _ => None,
    };
    let mut names: Vec<&str> = estimate.pools.iter().map(|pool| pool.pool.as_str()).collect();
    names.extend(
        old.unwrap_or_default()
            .iter()
            .map(|pool| pool.pool.as_str())
            .filter(|name| !estimate.pools.iter().any(|pool| pool.pool == *name)),
    );
    if names.is_empty() {
        return html! {};
    }
    let of = |pools: &'_ [PoolCapacity], name: &str| pools.iter().find(|pool| pool.pool == name).cloned();
    let both = |name: &&str| (old.map(|old| of(old, name)), of(&estimate.pools, name));
    let pool_cost = |pool: Option<&PoolCapacity>| {
        pool.map_or_else(|| amount(Decimal::ZERO, true), |pool| amount(pool.hourly, pool.unpriced.is_empty()))
    };
    let held = |pool: Option<&PoolCapacity>| pool.map(|pool| pool.capacity.virtual_users).unwrap_or_default();
    let costs = names.iter().map(|name| {
        let (before, after) = both(name);
        let hourly = |pool: Option<&PoolCapacity>| pool.map(|pool| pool.hourly).unwrap_or_default();
        Pair {
            name: html! { bdi { (safe(name)) } },
            before: before.as_ref().map(|pool| pool_cost(pool.as_ref())),
            after: pool_cost(after.as_ref()),
            change: before
                .as_ref()
                .map(|pool| signed(hourly(after.as_ref()).saturating_sub(hourly(pool.as_ref()))))
                .unwrap_or_default(),
        }
    });
    let capacities = names.iter().map(|name| {
        let (before, after) = both(name);
        Pair {
            name: html! { bdi { (safe(name)) } },
            before: before.as_ref().map(|pool| users(held(pool.as_ref()))),
            after: users(held(after.as_ref())),
            change: before
                .as_ref()
                .map(|pool| number_change(held(pool.as_ref()), held(after.as_ref())))
                .unwrap_or_default(),
        }
    });
    html! {
        div.charts {
            (chart(&format!("Cost of each pool an hour in {}", safe(&estimate.currency)), costs.collect(), "pools"))
            (chart("Virtual users of each pool", capacities.collect(), "pools"))
        }
    }
}

fn chart(title: &str, mut pairs: Vec<Pair>, what: &str) -> Markup {
    let left_out = pairs.len().saturating_sub(MOST);
    if left_out > 0 {
        pairs.sort_by_key(|pair| std::cmp::Reverse(pair.difference()));
        pairs.truncate(MOST);
    }
    let values = || pairs.iter().flat_map(|pair| pair.before.iter().chain([&pair.after]));
    let largest = values().map(|value| value.size).max().unwrap_or_default();
    html! {
        figure {
            figcaption { (title) }
            ul {
                @for pair in &pairs {
                    li {
                        span.name { (pair.name) }
                        span.change { (minus(&pair.change)) }
                        span.value {
                            span { "before" }
                            @match &pair.before {
                                Some(value) => { (bar(value, largest, "before")) span.number { (value.text) } },
                                None => { span.bar {} span.number { "not known" } },
                            }
                        }
                        span.value { span { "after" } (bar(&pair.after, largest, "after")) span.number { (pair.after.text) } }
                    }
                }
            }
            @if left_out > 0 { p.faint { "The " (MOST) " largest changes; " (left_out) " other " (what) " are not shown." } }
        }
    }
}

/// A bar whose length is the share of the largest value. What is not zero has a visible length.
fn bar(value: &Value, largest: Decimal, class: &str) -> Markup {
    let share = value.size.checked_div(largest).unwrap_or_default() * Decimal::ONE_HUNDRED;
    let width = if value.size > Decimal::ZERO { share.max(SHORTEST).min(Decimal::ONE_HUNDRED) } else { Decimal::ZERO };
    let width = format!("{}%", rounded(width, 2).normalize());
    html! {
        svg.bar width="100%" height="8" aria-hidden="true" focusable="false" {
            rect.track width="100%" height="8" rx="2" {}
            rect class=(class) width=(width) height="8" rx="2" {}
        }
    }
}

fn cost(total: &Total) -> Value {
    amount(total.hourly, total.unpriced.is_empty())
}

fn amount(size: Decimal, is_priced: bool) -> Value {
    let text = match (is_priced, size.is_zero()) {
        (true, _) => places(size).to_string(),
        (false, true) => "unpriced".to_owned(),
        (false, false) => format!("{} and more", places(size)),
    };
    Value { size, text }
}

/// Cents are enough, unless nothing would be left of the amount.
pub(super) fn places(amount: Decimal) -> Decimal {
    let shown = [2, 4, 6].map(|places| rounded(amount, places)).into_iter().find(|amount| !amount.is_zero());
    shown.unwrap_or_else(|| rounded(Decimal::ZERO, 2))
}

fn signed(difference: Decimal) -> String {
    let shown = places(difference);
    format!("{}{shown}", if shown.is_sign_negative() { "" } else { "+" })
}

fn users(count: u64) -> Value {
    Value { size: count.into(), text: grouped(count) }
}
