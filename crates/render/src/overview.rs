//! What a preview says of its stacks, without markup: what its Markdown and its HTML have in common.

use trunnion_engine::{
    Document, Note,
    preview::{Preview, Previewed, Severity, Totals, Verdict},
};
use trunnion_estimate::Decimal;

use crate::{
    estimate::{Unpriced, hourly_change, users_change},
    tree::{Effect, Tree},
    value::safe,
};

/// What is said of a stack that the base does not have.
pub(crate) const MISSING: &str = "New: the base has no such stack.";
/// What is said of a stack without a comparison, before the reason.
pub(crate) const NOT_COMPARED: &str = "It is not compared with the base:";
/// What is said of a base that cannot be read, after its name and before the reason.
pub(crate) const NOT_READ: &str = "cannot be read, so every change is shown, also what the base asks for:";
/// What is said of a preview that is made from files alone.
pub(crate) const OFFLINE: &str = "It is made from files alone, without any call to AWS, as if the base were applied. What is different in the account, its \
     quotas, and whether its subnets, images and secrets exist is not known here.";
/// What is said of a stack whose changes are all pending: a claim and the rest of the sentence.
pub(crate) const ONLY_PENDING: [&str; 2] = ["No changes", "of its own; what the base asks for is not applied yet."];

/// A preview with what is computed of it.
pub(crate) struct Overview<'p> {
    pub(crate) preview: &'p Preview,
    pub(crate) stacks: Vec<Shown<'p>>,
    /// The notes that several stacks have, each with their number.
    pub(crate) shared: Vec<(Note, usize)>,
}

/// A stack with the two parts of its plan.
pub(crate) struct Shown<'p> {
    pub(crate) stack: &'p Previewed,
    /// What the stack file asks for and the base does not; without the notes that several stacks have.
    pub(crate) own: Option<Own>,
    /// What the base asks for, too, and nobody has applied yet.
    pub(crate) pending: Option<Tree>,
}

/// A plan with its visible content.
pub(crate) struct Own {
    pub(crate) plan: Document,
    pub(crate) tree: Tree,
}

/// `about 3 minutes`
pub(crate) fn about_minutes(seconds: u64) -> String {
    match seconds.div_ceil(60) {
        0 | 1 => "about a minute".to_owned(),
        minutes @ 2..=120 => format!("about {minutes} minutes"),
        minutes => format!("about {} hours", minutes.div_ceil(60)),
    }
}

impl<'p> Overview<'p> {
    pub(crate) fn of(preview: &'p Preview) -> Self {
        let shared = shared_notes(preview);
        let stacks = preview.stacks.iter().map(|stack| Shown::of(stack, &shared)).collect();
        Self { preview, stacks, shared }
    }

    /// `2 stacks change`
    pub(crate) fn claim(&self) -> String {
        match self.stacks.len() {
            0 => "No stack changes".to_owned(),
            1 => "1 stack changes".to_owned(),
            count => format!("{count} stacks change"),
        }
    }

    /// The stacks that a verdict forbids, and those without a plan: a sign, what it means, and names with environments. Of many, the
    /// first ones are named.
    pub(crate) fn in_trouble(&self) -> Vec<(&'static str, &'static str, Vec<String>)> {
        const NAMED: usize = 20;
        let is_forbidden = |stack: &Previewed| stack.verdicts.iter().any(|verdict| verdict.severity == Severity::Deny);
        let named = |is_one: &dyn Fn(&Previewed) -> bool| {
            let all: Vec<&Previewed> =
                self.stacks.iter().map(|shown| shown.stack).filter(|stack| is_one(stack)).collect();
            let name = |stack: &&Previewed| match &stack.environment {
                Some(environment) => format!("{} ({})", safe(&stack.file), safe(environment)),
                None => safe(&stack.file),
            };
            let mut names: Vec<String> = all.iter().take(NAMED).map(name).collect();
            if all.len() > NAMED {
                names.push(format!("and {} more", all.len() - NAMED));
            }
            names
        };
        let trouble =
            [("⛔", "forbidden", named(&is_forbidden)), ("❌", "no plan", named(&|stack| stack.problem.is_some()))];
        trouble.into_iter().filter(|(_, _, names)| !names.is_empty() && self.stacks.len() > 1).collect()
    }

    /// How many resources each effect has, over all plans.
    pub(crate) fn counts(&self) -> [(Effect, usize); 4] {
        let Totals { create, update, replace, delete, .. } = Totals::of(self.plans());
        [(Effect::Create, create), (Effect::Update, update), (Effect::Replace, replace), (Effect::Delete, delete)]
    }

    /// How cost and virtual users change, over all plans: the cost for each currency, then the users. Nothing without an estimate.
    pub(crate) fn differences(&self) -> Vec<String> {
        let mut hourly: Vec<(String, Decimal, Unpriced)> = Vec::new();
        let mut users = 0_i128;
        for estimate in self.plans().filter_map(|plan| plan.remarks.estimate.as_ref()) {
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
        let costs = hourly.iter().map(|(currency, sum, unpriced)| hourly_change(*sum, &safe(currency), *unpriced));
        costs.chain([users_change(users)]).collect()
    }

    /// What must be solved first, each with its sign.
    pub(crate) fn obstacles(&self) -> Vec<(&'static str, String)> {
        let stacks = || self.stacks.iter().map(|shown| shown.stack);
        let forbids = |verdict: &&Verdict| verdict.severity == Severity::Deny;
        let verdicts = match stacks().flat_map(|stack| &stack.verdicts).filter(forbids).count() {
            0 => None,
            1 => Some(("⛔", "1 verdict forbids it".to_owned())),
            count => Some(("⛔", format!("{count} verdicts forbid it"))),
        };
        let without_plan = match stacks().filter(|stack| stack.problem.is_some()).count() {
            0 => None,
            1 => Some(("❌", "1 stack has no plan".to_owned())),
            count => Some(("❌", format!("{count} stacks have no plan"))),
        };
        verdicts.into_iter().chain(without_plan).collect()
    }

    /// How many stacks are left out.
    pub(crate) fn left_out(&self) -> Option<String> {
        match self.preview.unchanged {
            0 => None,
            1 => Some("1 stack is the same in the base and left out.".to_owned()),
            count => Some(format!("{count} stacks are the same in the base and left out.")),
        }
    }

    fn plans(&self) -> impl Iterator<Item = &Document> {
        self.stacks.iter().filter_map(|shown| shown.own.as_ref()).map(|own| &own.plan)
    }
}

impl<'p> Shown<'p> {
    fn of(stack: &'p Previewed, shared: &[(Note, usize)]) -> Self {
        let own = stack.own().map(|mut plan| {
            plan.remarks.notes.retain(|note| shared.iter().all(|(known, _)| known != note));
            let mut tree = Tree::of(&plan);
            stack.texts.iter().for_each(|texts| tree.show(texts));
            Own { plan, tree }
        });
        Self { stack, own, pending: stack.pending().as_ref().map(Tree::of) }
    }

    /// What speaks against the change, the heaviest first.
    pub(crate) fn verdicts(&self) -> Vec<&Verdict> {
        let mut sorted: Vec<&Verdict> = self.stack.verdicts.iter().collect();
        sorted.sort_by_key(|verdict| std::cmp::Reverse(verdict.severity));
        sorted
    }

    /// Whether all its changes are pending.
    pub(crate) fn is_only_pending(&self) -> bool {
        self.pending.is_some() && self.own.as_ref().is_some_and(|own| !own.has_changes())
    }
}

impl Own {
    pub(crate) fn has_changes(&self) -> bool {
        !self.plan.compared.steps.is_empty()
    }
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
