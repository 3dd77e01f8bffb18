//! A preview as Markdown: a headline of all stacks, and a section for each.

use std::fmt::Write as _;

use trunnion_engine::{
    Document, Drift, Note, Summary as Counts,
    preview::{InBase, Preview, Previewed, Problem, Severity, Verdict},
};
use trunnion_estimate::Decimal;

use crate::{
    drift::{DriftRow, drift_rows},
    estimate::{Estimated, Unpriced, hourly_change, users_change},
    markdown::{
        Part, Weight, about, changes, code, cost_of, details_of, fitted, lost_of, prose, remark, remarks, summary,
        table, words,
    },
    tree::{Effect, Remark, Tree},
    value::safe,
};

/// A preview in Markdown, shorter than [`LONGEST`](crate::markdown::LONGEST) as long as what is never left out fits: what is deleted or
/// replaced, verdicts, notes and commands.
pub fn preview(preview: &Preview) -> String {
    let shared = shared_notes(preview);
    let mut texts = vec![vec![Part::always(head(preview, &shared))]];
    texts.extend(preview.stacks.iter().map(|one| stack(one, &shared)));
    fitted(&texts)
}

/// The notes that several stacks have, each with their number.
fn shared_notes(preview: &Preview) -> Vec<(Note, usize)> {
    let mut notes: Vec<(Note, usize)> = Vec::new();
    for note in preview.stacks.iter().filter_map(|stack| stack.plan.as_ref()).flat_map(|plan| &plan.remarks.notes) {
        match notes.iter_mut().find(|(known, _)| known == note) {
            Some((_, count)) => *count += 1,
            None => notes.push((note.clone(), 1)),
        }
    }
    notes.retain(|(_, count)| *count > 1);
    notes
}

/// The headline, the base, and how many stacks are left out.
fn head(preview: &Preview, shared: &[(Note, usize)]) -> String {
    let own: Vec<Document> = preview.stacks.iter().filter_map(Previewed::own).collect();
    let mut parts = vec![match preview.stacks.len() {
        0 => "No stack changes".to_owned(),
        1 => "1 stack changes".to_owned(),
        count => format!("{count} stacks change"),
    }];
    parts.extend(counts(&own));
    parts.extend(differences(&own));
    let verdicts = || preview.stacks.iter().flat_map(|stack| &stack.verdicts);
    match verdicts().filter(|verdict| verdict.severity == Severity::Deny).count() {
        0 => {}
        1 => parts.push("⛔ 1 verdict forbids it".to_owned()),
        count => parts.push(format!("⛔ {count} verdicts forbid it")),
    }
    match preview.stacks.iter().filter(|stack| stack.problem.is_some()).count() {
        0 => {}
        1 => parts.push("❌ 1 stack has no plan".to_owned()),
        count => parts.push(format!("❌ {count} stacks have no plan")),
    }
    let mut text = format!("# Trunnion preview\n\n**{}**\n\n", parts.join(" · "));
    let base = &preview.base;
    match (&base.problem, &base.commit) {
        (Some(problem), _) => {
            let _ = writeln!(
                text,
                "- ⚠️ The base {} cannot be read, so every change is shown, also what the base asks for: {}",
                code(&safe(&base.named)),
                said(problem)
            );
        }
        (None, Some(commit)) => {
            let _ = writeln!(text, "Compared with {} at {}.", code(&safe(&base.named)), code(&safe(commit)));
        }
        (None, None) => {
            let _ = writeln!(text, "Compared with {}.", code(&safe(&base.named)));
        }
    }
    if preview.is_offline {
        text += "\nIt is made from files alone, without any call to AWS, as if the base were applied. What is different in the account, \
                 its quotas, and whether its subnets, images and secrets exist is not known here.\n\n";
    }
    match preview.unchanged {
        0 => {}
        1 => text += "1 stack is the same in the base and left out.\n",
        count => {
            let _ = writeln!(text, "{count} stacks are the same in the base and left out.");
        }
    }
    if !shared.is_empty() {
        text += "\n### Notes on several stacks\n\n";
    }
    for (note, count) in shared {
        let _ = writeln!(text, "{}  In {count} stacks.", remark(&Remark::of(note)));
    }
    text
}

/// How many resources each effect has, over all plans.
fn counts(plans: &[Document]) -> Vec<String> {
    let sum = |of: fn(&Counts) -> usize| plans.iter().map(|plan| of(&plan.compared.summary)).sum::<usize>();
    let counts = [
        (Effect::Create, sum(|counts| counts.create)),
        (Effect::Update, sum(|counts| counts.update)),
        (Effect::Replace, sum(|counts| counts.replace)),
        (Effect::Delete, sum(|counts| counts.delete)),
    ];
    let shown = counts.into_iter().filter(|(_, count)| *count > 0);
    shown.map(|(effect, count)| format!("{count} {}", words(effect))).collect()
}

/// How cost and virtual users change, over all plans; cost for each currency.
fn differences(plans: &[Document]) -> Vec<String> {
    let mut hourly: Vec<(String, Decimal, Unpriced)> = Vec::new();
    let mut users = 0_i128;
    for estimate in plans.iter().filter_map(|plan| plan.remarks.estimate.as_ref()) {
        let difference = estimate.cost.hourly.saturating_sub(estimate.cost_before.hourly);
        let of_this = Unpriced::of(estimate);
        users += i128::from(estimate.virtual_users) - i128::from(estimate.virtual_users_before);
        match hourly.iter_mut().find(|(currency, ..)| *currency == estimate.currency) {
            Some((_, sum, unpriced)) => {
                *sum = sum.saturating_add(difference);
                unpriced.more |= of_this.more;
                unpriced.fewer |= of_this.fewer;
            }
            None => hourly.push((estimate.currency.clone(), difference, of_this)),
        }
    }
    if hourly.is_empty() {
        return Vec::new();
    }
    let costs = hourly.iter().map(|(currency, sum, unpriced)| prose(&hourly_change(*sum, &safe(currency), *unpriced)));
    costs.chain([users_change(users)]).collect()
}

fn stack(stack: &Previewed, shared: &[(Note, usize)]) -> Vec<Part> {
    let environment = stack.environment.as_ref().map(|name| format!(" ({})", prose(&safe(name)))).unwrap_or_default();
    let mut top = format!("## {}{environment}\n\n", code(&safe(&stack.file)));
    let (mut own, pending) = (stack.own(), stack.pending());
    if let Some(own) = &mut own {
        own.remarks.notes.retain(|note| shared.iter().all(|(known, _)| known != note));
    }
    let own = own.as_ref().map(|own| (own, Tree::of(own)));
    if let Some((own, tree)) = &own {
        if own.compared.steps.is_empty() && pending.is_some() {
            top += "**No changes** of its own; what the base asks for is not applied yet.\n\n";
        } else {
            let _ = writeln!(top, "{}\n", summary(&tree.summary));
        }
        // A larger workload alone changes nothing in AWS.
        if own.compared.steps.is_empty()
            && let Some(estimate) = &own.remarks.estimate
        {
            let _ = writeln!(top, "{}\n", prose(&Estimated::of(estimate).changes.join(" · ")));
        }
    }
    let about = Part {
        weight: Weight::Cost,
        text: own.as_ref().map(|(_, tree)| about(tree)).unwrap_or_default(),
        instead: String::new(),
    };
    let title = Part::always(top);
    let mut top = String::new();
    if let Some(problem) = &stack.problem {
        let _ = writeln!(top, "- ❌ {}", said(problem));
    }
    match &stack.base {
        InBase::Planned => {}
        InBase::Missing => top += "- New: the base has no such stack.\n",
        InBase::Unknown(problem) => {
            let _ = writeln!(top, "- ⚠️ It is not compared with the base: {}", said(problem));
        }
    }
    let Some((own, tree)) = own else { return vec![title, Part::always(top)] };
    let mut parts = vec![
        title,
        about,
        Part::always(top),
        lost_of(&tree, "Deleted and replaced"),
        changes(&tree, "Created and changed"),
        cost_of(&tree),
    ];
    if let Some(pending) = pending.as_ref().map(Tree::of) {
        parts.push(lost_of(&pending, "Deleted and replaced by what the base asks for, not applied yet"));
        parts.push(changes(&pending, "Created and changed by what the base asks for, not applied yet"));
    }
    parts.extend(stack.drift.as_ref().map(drift));
    let mut end = verdicts(&stack.verdicts);
    let notes = remarks(&tree);
    if !notes.is_empty() {
        let _ = write!(end, "\n### Notes\n\n{notes}");
    }
    if let Some(command) = &stack.command {
        let _ = writeln!(end, "\nTo apply it: {}", code(&safe(command)));
    }
    parts.push(Part::always(end));
    let digest = format!("\nDigest of what it asks for: {}\n", code(&safe(&own.compared.digest)));
    parts.push(Part { weight: Weight::Cost, text: digest, instead: String::new() });
    parts.push(details_of(&tree));
    parts
}

/// What somebody changed outside of Trunnion, folded.
fn drift(drift: &Drift) -> Part {
    let summary = match drift.resources.len() {
        1 => "1 resource is not as it was applied".to_owned(),
        count => format!("{count} resources are not as they were applied"),
    };
    let cells = |row: DriftRow| {
        let attribute = row.attribute.map(|path| code(&safe(&path))).unwrap_or_default();
        vec![code(&safe(row.kind)), row.what.to_owned(), attribute, row.count.to_string()]
    };
    let rows = drift_rows(drift).into_iter().map(cells);
    let table = table("Drift", &["kind", "is", "attribute", "resources"], rows);
    Part {
        weight: Weight::Cost,
        text: format!("\n<details><summary>Drift: {summary}</summary>\n{table}\n</details>\n"),
        instead: format!("\nDrift: {summary}; `trunnion drift` lists it.\n"),
    }
}

/// What speaks against the change, the heaviest first.
fn verdicts(verdicts: &[Verdict]) -> String {
    let mut sorted: Vec<&Verdict> = verdicts.iter().collect();
    sorted.sort_by_key(|verdict| std::cmp::Reverse(verdict.severity));
    let row = |verdict: &Verdict| {
        let sign = match verdict.severity {
            Severity::Deny => "⛔",
            Severity::Warn => "⚠️",
        };
        let help = verdict.help.as_ref().map(|help| format!("*{}*", prose(&safe(help)))).unwrap_or_default();
        vec![sign.to_owned(), prose(&safe(&verdict.message)), help]
    };
    table("Verdicts", &["", "what", "help"], sorted.into_iter().map(row))
}

fn said(problem: &Problem) -> String {
    let help = problem.help.as_ref().map(|help| format!(" *Help: {}*", prose(&safe(help)))).unwrap_or_default();
    format!("{}{help}", prose(&safe(&problem.message)))
}
