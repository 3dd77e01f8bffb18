//! A preview as Markdown: a headline of all stacks, and a section for each.

use std::fmt::Write as _;

use trunnion_engine::{
    Drift,
    preview::{InBase, Preview, Problem, Severity, Verdict},
};

use crate::{
    drift::{DriftRow, drift_claim, drift_rows},
    estimate::Estimated,
    markdown::{
        Part, Weight, about, changes, code, code_alone, cost_of, details_of, fitted, lost_of, prose, remark, remarks,
        summary, table, words,
    },
    overview::{MISSING, NOT_COMPARED, NOT_READ, OFFLINE, ONLY_PENDING, Overview, Own, Shown, about_minutes},
    tree::Remark,
    value::safe,
};

/// A preview in Markdown, shorter than [`LONGEST`](crate::markdown::LONGEST) as long as what is never left out fits: what is deleted or
/// replaced, the first verdicts of each stack, and commands.
pub fn preview(preview: &Preview) -> String {
    let overview = Overview::of(preview);
    let mut texts = vec![vec![Part::always(head(&overview))]];
    texts.extend(overview.stacks.iter().map(stack));
    fitted(&texts)
}

/// The headline, the base, and how many stacks are left out.
fn head(overview: &Overview<'_>) -> String {
    let mut parts = vec![overview.claim()];
    let counts = overview.counts().into_iter().filter(|(_, count)| *count > 0);
    parts.extend(counts.map(|(effect, count)| format!("{count} {}", words(effect))));
    parts.extend(overview.differences().iter().map(|difference| prose(difference)));
    parts.extend(overview.obstacles().iter().map(|(sign, obstacle)| format!("{sign} {obstacle}")));
    let mut text = format!("# Trunnion preview\n\n**{}**\n\n", parts.join(" · "));
    for (sign, what, stacks) in overview.in_trouble() {
        let _ =
            writeln!(text, "- {sign} {what}: {}", stacks.iter().map(|name| code(name)).collect::<Vec<_>>().join(", "));
    }
    let base = &overview.preview.base;
    match (&base.problem, &base.commit) {
        (Some(problem), _) => {
            let _ = writeln!(text, "- ⚠️ The base {} {NOT_READ} {}", code(&safe(&base.named)), said(problem));
        }
        (None, Some(commit)) => {
            let _ = writeln!(text, "Compared with {} at {}.", code(&safe(&base.named)), code(&safe(commit)));
        }
        (None, None) => {
            let _ = writeln!(text, "Compared with {}.", code(&safe(&base.named)));
        }
    }
    if overview.preview.is_offline {
        let _ = writeln!(text, "\n{OFFLINE}\n");
    }
    if let Some(left_out) = overview.left_out() {
        let _ = writeln!(text, "{left_out}");
    }
    if !overview.shared.is_empty() {
        text += "\n### Notes on several stacks\n\n";
    }
    for (note, count) in &overview.shared {
        let _ = writeln!(text, "{}  In {count} stacks.", remark(&Remark::of(note)));
    }
    text
}

fn stack(shown: &Shown<'_>) -> Vec<Part> {
    let stack = shown.stack;
    let environment = stack.environment.as_ref().map(|name| format!(" ({})", prose(&safe(name)))).unwrap_or_default();
    let mut top = format!("## {}{environment}\n\n", code(&safe(&stack.file)));
    if let Some(own) = &shown.own {
        if shown.is_only_pending() {
            let [claim, rest] = ONLY_PENDING;
            let _ = writeln!(top, "**{claim}** {rest}\n");
        } else {
            let _ = writeln!(top, "{}\n", summary(&own.tree.summary));
        }
        // A larger workload alone changes nothing in AWS.
        if !own.has_changes()
            && let Some(estimate) = &own.plan.remarks.estimate
        {
            let _ = writeln!(top, "{}\n", prose(&Estimated::of(estimate).changes.join(" · ")));
        }
    }
    let about = Part {
        weight: Weight::Cost,
        text: shown.own.as_ref().map(|own| about(&own.tree)).unwrap_or_default(),
        instead: String::new(),
    };
    let title = Part::always(top);
    let mut top = String::new();
    if let Some(problem) = &stack.problem {
        let _ = writeln!(top, "- ❌ {}", said(problem));
    }
    match &stack.base {
        InBase::Planned => {}
        InBase::Missing => {
            let _ = writeln!(top, "- {MISSING}");
        }
        InBase::Unknown(problem) => {
            let _ = writeln!(top, "- ⚠️ {NOT_COMPARED} {}", said(problem));
        }
    }
    let short = match (&stack.problem, &stack.base) {
        (Some(_), _) => "- ❌ It has no plan.\n",
        (None, InBase::Unknown(_)) => "- ⚠️ It is not compared with the base.\n",
        (None, InBase::Missing) => "- New.\n",
        (None, InBase::Planned) => "",
    };
    let top = Part { weight: Weight::Changes, text: top, instead: short.to_owned() };
    let Some(Own { plan, tree }) = &shown.own else { return vec![title, top] };
    let mut parts = vec![
        title,
        about,
        top,
        lost_of(tree, "Deleted and replaced"),
        changes(tree, "Created and changed"),
        cost_of(tree),
    ];
    if let Some(pending) = &shown.pending {
        parts.push(lost_of(pending, "Deleted and replaced by what the base asks for, not applied yet"));
        parts.push(changes(pending, "Created and changed by what the base asks for, not applied yet"));
    }
    parts.extend(stack.drift.as_ref().map(drift));
    parts.push(verdicts(shown));
    let notes = remarks(tree);
    if !notes.is_empty() {
        let count = tree.warnings.len() + tree.notes.len();
        let (text, instead) = (format!("\n### Notes\n\n{notes}"), format!("\nNotes: {count}\n"));
        parts.push(Part { weight: Weight::Said, text, instead });
    }
    let mut end = String::new();
    if let Some(command) = &stack.command {
        let time = stack.expected_seconds.map(|seconds| format!(", which takes {}", about_minutes(seconds)));
        let _ = writeln!(end, "\nTo apply it: {}{}", code_alone(&safe(command)), time.unwrap_or_default());
    }
    parts.push(Part::always(end));
    let digest = format!("\nDigest of what it asks for: {}\n", code(&safe(&plan.compared.digest)));
    parts.push(Part { weight: Weight::Cost, text: digest, instead: String::new() });
    parts.push(details_of(tree));
    parts
}

/// What somebody changed outside of Trunnion, folded.
fn drift(drift: &Drift) -> Part {
    let summary = drift_claim(drift);
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

/// How many verdicts are named where not all fit.
const NAMED_VERDICTS: usize = 2;

/// What speaks against the change.
fn verdicts(shown: &Shown<'_>) -> Part {
    let row = |verdict: &Verdict| {
        let sign = match verdict.severity {
            Severity::Deny => "⛔",
            Severity::Warn => "⚠️",
        };
        let help = verdict.help.as_ref().map(|help| format!("*{}*", prose(&safe(help)))).unwrap_or_default();
        vec![sign.to_owned(), prose(&safe(&verdict.message)), help]
    };
    let table_of = |verdicts: &[&Verdict]| table("Verdicts", &["", "what", "help"], verdicts.iter().copied().map(row));
    let all = shown.verdicts();
    let text = table_of(&all);
    let (first, rest) = all.split_at(all.len().min(NAMED_VERDICTS));
    let mut instead = table_of(first);
    if !rest.is_empty() {
        let _ = writeln!(instead, "\nand {} more", rest.len());
    }
    Part { weight: Weight::Said, text, instead }
}

fn said(problem: &Problem) -> String {
    let help = problem.help.as_ref().map(|help| format!(" *Help: {}*", prose(&safe(help)))).unwrap_or_default();
    format!("{}{help}", prose(&safe(&problem.message)))
}
