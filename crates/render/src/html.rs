//! A preview as a page of HTML that needs nothing else: no script, font, image or style sheet is fetched. It has the content of the
//! Markdown in the same order, without its limit of length, and charts of cost and virtual users.
//!
//! Whatever comes from a stack or from AWS is shown as text: `maud` escapes each value, and no attribute has one.

mod chart;

use maud::{DOCTYPE, Markup, PreEscaped, html};
use trunnion_engine::{
    Action, Drift,
    preview::{InBase, Preview, Problem, Severity, Verdict},
};
use trunnion_estimate::{Decimal, Estimate, Total, grouped};

use crate::{
    diff::{self, Side},
    drift::{drift_claim, drift_rows},
    estimate::{Estimated, Unpriced, hourly_change, users_change},
    markdown::words,
    overview::{MISSING, NOT_COMPARED, NOT_READ, OFFLINE, ONLY_PENDING, Overview, Own, Shown, about_minutes},
    terminal,
    tree::{Detail, Effect, Entry, Remark, Row, Summary, Tree},
    value::safe,
};

/// Nothing is fetched and nothing runs, whatever a page would contain. The empty icon keeps a browser from asking for one.
const POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'";

const STYLE: &str = include_str!("html/style.css");

/// A preview as a page of HTML.
pub fn preview_html(preview: &Preview) -> String {
    let overview = Overview::of(preview);
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="referrer" content="no-referrer";
                link rel="icon" href="data:,";
                title { "Trunnion preview: " (overview.claim()) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                (head(&overview))
                main {
                    (contents(&overview))
                    (chart::of_stacks(&overview))
                    (shared_notes(&overview))
                    @for (at, shown) in overview.stacks.iter().enumerate() { (stack(shown, at + 1)) }
                }
                footer { p { "Made by " code { "trunnion preview" } ". Nothing here is applied yet." } }
            }
        }
    };
    page.into_string()
}

/// The headline, the base, and how many stacks are left out.
fn head(overview: &Overview<'_>) -> Markup {
    let differences = overview.differences();
    // The figure is large, what it counts is small.
    let difference = |text: &String| {
        let parts = text.split_once(' ').filter(|_| text.starts_with(['+', '-']));
        html! {
            @if let Some((figure, unit)) = parts {
                li.difference { strong { (minus(figure)) } " " span { (unit) } }
            } @else {
                li.difference.words { strong { (text) } }
            }
        }
    };
    html! {
        header {
            p.product { "Trunnion preview" }
            h1 { (overview.claim()) }
            @for (_, obstacle) in overview.obstacles() { p.obstacle { (obstacle) } }
            ul.figures aria-label="In all stacks" {
                @for (effect, count) in overview.counts() {
                    li.(if count == 0 { "none" } else { effect_class(effect) }) {
                        strong { (grouped(count as u64)) } " " span { (words(effect)) }
                    }
                }
                @for text in &differences { (difference(text)) }
            }
            (base(overview))
        }
    }
}

fn base(overview: &Overview<'_>) -> Markup {
    let base = &overview.preview.base;
    let named = code(&base.named);
    html! {
        @match (&base.problem, &base.commit) {
            (Some(problem), _) => p.callout.warn { "The base " (named) " " (NOT_READ) " " (said(problem)) },
            (None, Some(commit)) => p { "Compared with " (named) " at " (code(commit)) "." },
            (None, None) => p { "Compared with " (named) "." },
        }
        @if overview.preview.is_offline { p.callout.warn { (OFFLINE) } }
        @if let Some(left_out) = overview.left_out() { p.faint { (left_out) } }
    }
}

/// The stacks in a table, each with a link to its section; nothing for one.
fn contents(overview: &Overview<'_>) -> Markup {
    if overview.stacks.len() < 2 {
        return html! {};
    }
    let row = |(at, shown): (usize, &Shown<'_>)| {
        let estimate = shown.own.as_ref().and_then(|own| own.plan.remarks.estimate.as_ref());
        html! {
            tr {
                th scope="row" { div.name { a href={ "#stack-" (at + 1) } { (name(shown)) } } }
                td { (state(shown)) (counts(shown)) }
                @if let Some(estimate) = estimate {
                    @let users = number_change(estimate.virtual_users_before, estimate.virtual_users);
                    td.number { span.unit { "an hour: " } (minus(&cost_change(estimate))) }
                    td.number { span.unit { "virtual users: " } (minus(&users)) }
                } @else { td {} td {} }
            }
        }
    };
    html! {
        nav aria-labelledby="stacks" {
            h2 #stacks { "Stacks" }
            (scrolling("Stacks", &html! {
                table.contents {
                    thead { tr {
                        th scope="col" { "stack" } th scope="col" { "changes" }
                        th.number scope="col" { "an hour" } th.number scope="col" { "virtual users" }
                    } }
                    tbody { @for numbered in overview.stacks.iter().enumerate() { (row(numbered)) } }
                }
            }))
        }
    }
}

/// What speaks against a stack, or is unknown of it, in a few words.
fn state(shown: &Shown<'_>) -> Markup {
    let forbids = shown.stack.verdicts.iter().any(|verdict| verdict.severity == Severity::Deny);
    let warns = !forbids && !shown.stack.verdicts.is_empty();
    let is_unknown = matches!(shown.stack.base, InBase::Unknown(_));
    html! {
        @if shown.stack.problem.is_some() { span.pill.deny { "no plan" } " " }
        @if forbids { span.pill.deny { "forbidden" } " " }
        @if warns { span.pill.warn { "warning" } " " }
        @if is_unknown { span.pill.warn { "not compared" } " " }
        @if shown.stack.base == InBase::Missing { span.pill { "new" } " " }
    }
}

/// How many resources each effect has, the gravest first.
fn counts(shown: &Shown<'_>) -> Markup {
    let Some(own) = &shown.own else { return html! {} };
    let summary = &own.plan.compared.summary;
    let counts = [
        (Effect::Delete, summary.delete),
        (Effect::Replace, summary.replace),
        (Effect::Update, summary.update),
        (Effect::Create, summary.create),
    ];
    html! {
        @for (effect, count) in counts.into_iter().filter(|(_, count)| *count > 0) {
            span.pill.(effect_class(effect)) { (count) " " (words(effect)) } " "
        }
        @if !shown.stack.pending.is_empty() { span.pill.pending { (shown.stack.pending.len()) " pending" } }
    }
}

fn shared_notes(overview: &Overview<'_>) -> Markup {
    html! {
        @if !overview.shared.is_empty() {
            section {
                h2 { "Notes on several stacks" }
                ul.remarks {
                    @for (note, count) in &overview.shared {
                        li { (remark(&Remark::of(note))) " " span.faint { "In " (count) " stacks." } }
                    }
                }
            }
        }
    }
}

/// A stack in one environment. Each part of it has a function of its own.
fn stack(shown: &Shown<'_>, number: usize) -> Markup {
    let heading = format!("stack-{number}");
    html! {
        article aria-labelledby=(heading) {
            h2 id=(heading) { (name(shown)) }
            (summary(shown))
            @if let Some(own) = &shown.own { (about(&own.tree)) }
            (circumstances(shown))
            @if let Some(own) = &shown.own {
                (lost(&own.tree, 3))
                (kept(&own.tree, 3))
                (cost(shown, own))
                @if let Some(pending) = &shown.pending { (pending_part(pending)) }
                @if let Some(drift) = &shown.stack.drift { (drift_part(drift)) }
                (verdicts(shown))
                (notes(&own.tree))
                (command(shown))
                p.faint { "Digest of what it asks for: " (code(&own.plan.compared.digest)) }
                (details(&own.tree, "Details"))
            }
        }
    }
}

/// What somebody changed outside of Trunnion, folded.
fn drift_part(drift: &Drift) -> Markup {
    html! {
        details {
            summary { "Drift: " (drift_claim(drift)) }
            (scrolling("Drift", &html! {
                table {
                    thead { tr {
                        th scope="col" { "kind" } th scope="col" { "is" }
                        th scope="col" { "attribute" } th.number scope="col" { "resources" }
                    } }
                    tbody {
                        @for row in drift_rows(drift) {
                            tr {
                                th scope="row" { (code(row.kind)) }
                                td { (row.what) }
                                td { @if let Some(path) = &row.attribute { (code(path)) } }
                                td.number { (row.count) }
                            }
                        }
                    }
                }
            }))
        }
    }
}

/// The file, and the environment.
fn name(shown: &Shown<'_>) -> Markup {
    html! {
        (code(&shown.stack.file))
        @if let Some(environment) = &shown.stack.environment { " (" bdi { (safe(environment)) } ")" }
    }
}

fn summary(shown: &Shown<'_>) -> Markup {
    let Some(own) = &shown.own else { return html! { p { (state(shown)) } } };
    let [claim, rest] = ONLY_PENDING;
    html! {
        p.summary {
            (state(shown))
            @match &own.tree.summary {
                _ if shown.is_only_pending() => { strong { (claim) } " " (rest) },
                Summary::Nothing { claim, about } => { strong { (claim) } ": " (prose(about)) },
                Summary::Changes { is_partial, counts, phases, effects } => {
                    @if *is_partial { span.pill.warn { "partial plan" } " " }
                    @for (effect, count) in counts {
                        span.pill.(effect_class(*effect)) { (count) " " (words(*effect)) } " "
                    }
                    @if *phases > 1 { span.pill { "in " (phases) " phases" } " " }
                    @for effect in effects { span.pill { (minus(effect)) } " " }
                },
            }
            // A larger workload alone changes nothing in AWS.
            @if !own.has_changes() && let Some(estimate) = &own.plan.remarks.estimate {
                " "
                @for effect in Estimated::of(estimate).changes { span.pill { (minus(&effect)) } " " }
            }
            @if !shown.is_only_pending() && !shown.stack.pending.is_empty() {
                span.pill.pending { (shown.stack.pending.len()) " pending" }
            }
        }
    }
}

/// Where it is, as whom it was planned, and who applied it last.
fn about(tree: &Tree) -> Markup {
    let about = tree.head.about.iter().chain(&tree.head.applied);
    html! {
        ul.about {
            li { "stack " code { (tree.head.stack) } }
            @for part in about { li { (prose(part)) } }
        }
    }
}

/// Why there is no plan, and what is known of it in the base.
fn circumstances(shown: &Shown<'_>) -> Markup {
    html! {
        @if let Some(problem) = &shown.stack.problem { p.callout.deny { strong { "No plan: " } (said(problem)) } }
        @match &shown.stack.base {
            InBase::Planned => {},
            InBase::Missing => p { (MISSING) },
            InBase::Unknown(problem) => p.callout.warn { (NOT_COMPARED) " " (said(problem)) },
        }
    }
}

/// What is deleted and replaced, with what forces it.
fn lost(tree: &Tree, level: u8) -> Markup {
    let reasons = |entry: &Entry| {
        let forces: Vec<&str> = entry.forcing().collect();
        html! {
            @if let Some(reason) = &entry.reason { (prose(reason)) }
            @if entry.reason.is_some() && !forces.is_empty() { ", " }
            (codes(&forces))
        }
    };
    changed(tree.entries().filter(|entry| entry.is_lost()), "Deleted and replaced", "because of", level, reasons)
}

/// What is created and changed in place.
fn kept(tree: &Tree, level: u8) -> Markup {
    let changes = |entry: &Entry| {
        let paths: Vec<&str> = entry.changing().collect();
        html! {
            @if let Some(reason) = &entry.reason { (prose(reason)) }
            @if entry.reason.is_some() && !paths.is_empty() { ", " }
            (codes(&paths))
        }
    };
    changed(tree.entries().filter(|entry| !entry.is_lost()), "Created and changed", "changes", level, changes)
}

fn changed<'e>(
    entries: impl Iterator<Item = &'e Entry>,
    title: &str,
    last: &str,
    level: u8,
    about: impl Fn(&Entry) -> Markup,
) -> Markup {
    let mut entries = entries.peekable();
    if entries.peek().is_none() {
        return html! {};
    }
    html! {
        section {
            (heading(level, title))
            table.changes {
                thead { tr { th scope="col" { "effect" } th scope="col" { "resource" } th scope="col" { (last) } } }
                tbody {
                    @for entry in entries {
                        tr {
                            td { (sign(entry.action)) }
                            th scope="row" {
                                code { (entry.addresses) }
                                @if entry.count > 1 { " (" (entry.count) " alike)" }
                            }
                            td { (about(entry)) }
                        }
                    }
                }
            }
        }
    }
}

/// What it costs and holds, before and after.
fn cost(shown: &Shown<'_>, own: &Own) -> Markup {
    let Some(estimate) = &own.plan.remarks.estimate else { return html! {} };
    let estimated = Estimated::of(estimate);
    html! {
        section {
            h3 { "Cost and capacity" }
            (totals(shown, estimate))
            (chart::of_pools(shown.stack.before.as_ref(), estimate))
            (pools(&estimated, estimate))
            dl.whole {
                @for [label, sentence] in &estimated.whole { div { dt { (label) } dd { (prose(sentence)) } } }
            }
        }
    }
}

fn totals(shown: &Shown<'_>, estimate: &Estimate) -> Markup {
    let currency = safe(&estimate.currency);
    let (before, after) = (&estimate.cost_before, &estimate.cost);
    let monthly = after.monthly.saturating_sub(before.monthly);
    let rows = [
        [
            "an hour".to_owned(),
            amount(before, before.hourly, &currency),
            amount(after, after.hourly, &currency),
            cost_change(estimate),
        ],
        [
            "a month".to_owned(),
            amount(before, before.monthly, &currency),
            amount(after, after.monthly, &currency),
            change(monthly, &currency, Unpriced::of(estimate)),
        ],
        [
            "virtual users".to_owned(),
            grouped(estimate.virtual_users_before),
            grouped(estimate.virtual_users),
            number_change(estimate.virtual_users_before, estimate.virtual_users),
        ],
    ];
    let compared = match shown.stack.before {
        Some(_) => "Before: what the base costs and holds, once it is applied.",
        None => "Before: what exists now.",
    };
    html! {
        (scrolling("Before and after", &html! {
            table.totals {
                thead { tr {
                    td {} th.number scope="col" { "before" } th.number scope="col" { "after" } th.number scope="col" { "difference" }
                } }
                tbody {
                    @for [label, before, after, difference] in &rows {
                        tr {
                            th scope="row" { (label) }
                            td.number { (before) } td.number { strong { (after) } } td.number { (minus(difference)) }
                        }
                    }
                }
            }
        }))
        p.faint { (compared) }
    }
}

/// The pools with their hosts and what limits their users, and what all cost and hold.
fn pools(estimated: &Estimated, estimate: &Estimate) -> Markup {
    if estimated.pools.is_empty() {
        return html! {};
    }
    let currency = safe(&estimate.currency);
    scrolling(
        "Pools",
        &html! {
            table.pools {
                thead { tr {
                    th scope="col" { "pool" } th scope="col" { "hosts" } th.number scope="col" { "virtual users" }
                    th.number scope="col" { "an hour" } th scope="col" { "limited by" }
                } }
                tbody {
                    @for row in &estimated.pools {
                        tr {
                            @for (at, cell) in row.iter().enumerate() {
                                @match at {
                                    0 => th scope="row" { (cell) },
                                    2 | 3 => td.number { (cell) },
                                    _ => td { (cell) },
                                }
                            }
                        }
                    }
                }
                tfoot { tr {
                    th scope="row" { "in all, with what is not of a pool" } td {}
                    td.number { (grouped(estimate.virtual_users)) }
                    td.number { (amount(&estimate.cost, estimate.cost.hourly, &currency)) } td {}
                } }
            }
        },
    )
}

/// What the base asks for, apart from what the stack file asks for.
fn pending_part(pending: &Tree) -> Markup {
    html! {
        section.pending {
            h3 { "What the base asks for, not applied yet" }
            p.faint { "An apply does this, too." }
            (lost(pending, 4))
            (kept(pending, 4))
            (details(pending, "Details of what the base asks for"))
        }
    }
}

fn verdicts(shown: &Shown<'_>) -> Markup {
    let verdicts = shown.verdicts();
    let words = |verdict: &Verdict| match verdict.severity {
        Severity::Deny => ("forbids it", "deny"),
        Severity::Warn => ("warning", "warn"),
    };
    html! {
        @if !verdicts.is_empty() {
            section {
                h3 { "Verdicts" }
                @for verdict in verdicts {
                    @let (words, class) = words(verdict);
                    div.callout.(class) {
                        p { span.pill.(class) { (words) } " " (prose(&safe(&verdict.message))) " " (code(&verdict.code)) }
                        @if let Some(help) = &verdict.help { p.help { "Help: " (prose(&safe(help))) } }
                    }
                }
            }
        }
    }
}

fn notes(tree: &Tree) -> Markup {
    let notes: Vec<&Remark> = tree.warnings.iter().chain(&tree.notes).collect();
    html! {
        @if !notes.is_empty() {
            section {
                h3 { "Notes" }
                ul.remarks { @for note in notes { li { (remark(note)) } } }
            }
        }
    }
}

fn command(shown: &Shown<'_>) -> Markup {
    html! {
        @if let Some(command) = &shown.stack.command {
            section {
                h3 { "To apply it" }
                pre.command { code { (safe(command)) } }
                @if let Some(seconds) = shown.stack.expected_seconds { p.faint { "It takes " (about_minutes(seconds)) "." } }
            }
        }
    }
}

/// Every attribute that changes, folded.
fn details(tree: &Tree, title: &str) -> Markup {
    let entries: Vec<&Entry> = tree.entries().filter(|entry| !entry.rows.is_empty()).collect();
    let resources: usize = entries.iter().map(|entry| entry.count).sum();
    html! {
        @if !entries.is_empty() {
            details {
                summary { (title) " " span.faint { "(" (resources) @if resources == 1 { " resource)" } @else { " resources)" } } }
                @for entry in entries {
                    div.entry {
                        p {
                            (sign(entry.action)) " " code { (entry.addresses) }
                            @if let Some(identity) = terminal::identity(&entry.identity) { " " code.faint { (identity) } }
                        }
                        @for row in &entry.rows { (attribute(row)) }
                    }
                }
            }
        }
    }
}

fn attribute(row: &Row) -> Markup {
    html! {
        div.diff {
            @for (at, (side, text)) in diff::lines(row).iter().enumerate() {
                div class=(match side { Side::Both => "both", Side::Before => "before", Side::After => "after" }) {
                    span { (side.sign()) } (text)
                    @if at == 0 { @for mark in &row.marks { " " span.mark { (terminal::mark(mark)) } } }
                }
            }
        }
    }
}

fn heading(level: u8, title: &str) -> Markup {
    html! { @if level == 3 { h3 { (title) } } @else { h4 { (title) } } }
}

/// What happens to a resource, as a word and in colour.
fn sign(action: Action) -> Markup {
    let (word, class) = match action {
        Action::None => ("unchanged", ""),
        Action::Create => ("create", "create"),
        Action::Update => ("update", "update"),
        Action::Replace => ("replace", "replace"),
        Action::Delete => ("delete", "delete"),
    };
    html! { span.pill.(class) { (word) } }
}

const fn effect_class(effect: Effect) -> &'static str {
    match effect {
        Effect::Create => "create",
        Effect::Update => "update",
        Effect::Replace => "replace",
        Effect::Delete => "delete",
        Effect::Unchanged => "unchanged",
        Effect::NotPlanned => "warn",
    }
}

fn remark(remark: &Remark) -> Markup {
    html! {
        (prose(&remark.message))
        @match &remark.detail {
            None => {},
            Some(Detail::Help(help)) => { " " span.help { "Help: " (prose(help)) } },
            Some(Detail::Addresses(addresses)) => { " " code { (addresses) } },
        }
    }
}

fn said(problem: &Problem) -> Markup {
    html! {
        (prose(&safe(&problem.message)))
        @if let Some(help) = &problem.help { " " span.help { "Help: " (prose(&safe(help))) } }
    }
}

/// A text from outside, as code.
fn code(text: &str) -> Markup {
    html! { code { (safe(text)) } }
}

fn codes(texts: &[&str]) -> Markup {
    html! { @for (at, text) in texts.iter().enumerate() { @if at > 0 { ", " } code { (text) } } }
}

/// A sentence. What is in backticks is code.
fn prose(text: &str) -> Markup {
    let parts: Vec<&str> = text.split('`').collect();
    let is_paired = !parts.len().is_multiple_of(2) && parts.iter().skip(1).step_by(2).all(|part| !part.is_empty());
    if !is_paired {
        return html! { bdi { (text) } };
    }
    html! { bdi { @for (at, part) in parts.iter().enumerate() { @if at % 2 == 1 { code { (part) } } @else { (part) } } } }
}

/// A table that scrolls by itself where it is wider than the page.
fn scrolling(label: &str, table: &Markup) -> Markup {
    html! { div.scrolling role="region" aria-label=(label) tabindex="0" { (table) } }
}

/// A change with a minus that is as wide as a plus.
fn minus(change: &str) -> String {
    change.strip_prefix('-').map_or_else(|| change.to_owned(), |rest| format!("−{rest}"))
}

/// `12.30 USD`, of a total that may have unpriced parts.
fn amount(total: &Total, amount: Decimal, currency: &str) -> String {
    match (total.unpriced.is_empty(), total.hourly.is_zero()) {
        (true, _) => format!("{} {currency}", chart::places(amount)),
        (false, true) => "unpriced".to_owned(),
        (false, false) => format!("{} {currency} and unpriced parts", chart::places(amount)),
    }
}

fn cost_change(estimate: &Estimate) -> String {
    let difference = estimate.cost.hourly.saturating_sub(estimate.cost_before.hourly);
    change(difference, &safe(&estimate.currency), Unpriced::of(estimate))
}

/// A difference without its period, which a heading says.
fn change(difference: Decimal, currency: &str, unpriced: Unpriced) -> String {
    hourly_change(difference, currency, unpriced).replacen(" an hour", "", 1)
}

fn number_change(before: u64, after: u64) -> String {
    let text = users_change(i128::from(after) - i128::from(before));
    text.split(' ').next().unwrap_or_default().to_owned()
}
