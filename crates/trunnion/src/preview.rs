//! What a stack would change, compared with what the base of a pull request asks for.
//!
//! The stack file of a pull request may come from a stranger. What decides whether its plan may be applied is therefore read
//! from the base: the budget with the workload and the prices that it counts with, and what is protected.

mod pairs;

use std::{borrow::Cow, path::PathBuf, sync::Arc};

use tokio_util::sync::CancellationToken;
use trunnion_blueprint as blueprint;
pub use trunnion_engine::preview::{
    Base, InBase, Preview, Previewed, Problem, Severity, Stands, TextDifference, Totals, Verdict,
};
use trunnion_engine::{Action, Address, Document, DocumentChange, Endpoint, Origin, Place, Provider, State};
use trunnion_estimate::Estimate;
use trunnion_kinds::LaunchTemplate;
use trunnion_stack::Stack;

pub use self::pairs::{BaseFiles, Pair, pairs};
use self::pairs::{Side, is_same_stack, problem};
use crate::{
    Engine, Error, Options, OverBudget, Policies, Request,
    commit::is_tracked,
    connected::{Parts, until},
    duration,
    offline::Offline,
    policies,
};

/// What decides whether a change may be applied.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Terms {
    /// The policies that each plan is judged by, or why they cannot be read: that forbids each plan.
    pub policies: Result<Policies, Problem>,
    /// Whether budget, workload, prices and protection are those of the change itself, not of the base.
    pub trust_head: bool,
}

impl Terms {
    /// With these policies, and with budget, workload, prices and protection of the base.
    pub fn new(policies: Result<Policies, Problem>) -> Self {
        Self { policies, trust_head: false }
    }
}

impl Pair {
    /// Plans the stack as it is and as the base has it: against the account, or without `cloud` from files alone, as if the base
    /// were applied.
    ///
    /// # Errors
    /// [`Error::Interrupted`] alone: everything else that fails is part of the preview.
    pub async fn preview(
        self,
        cloud: Option<Options>,
        terms: &Terms,
        interrupt: &CancellationToken,
    ) -> Result<Previewed, Error> {
        let mut previewed = Previewed {
            file: self.file.display().to_string(),
            environment: self.environment.clone(),
            base: match &self.base {
                Side::Missing => InBase::Missing,
                Side::Unknown(problem) => InBase::Unknown(problem.clone()),
                Side::Stack(_) => InBase::Planned,
            },
            plan: None,
            problem: None,
            command: None,
            expected_seconds: None,
            pending: Vec::new(),
            before: None,
            texts: Vec::new(),
            drift: None,
            verdicts: Vec::new(),
        };
        let head = match self.head {
            Ok(head) => head,
            Err(problem) => {
                previewed.problem = Some(problem);
                return Ok(previewed);
            }
        };
        let base = match self.base {
            Side::Stack(base) if is_same_stack(&head, &base) => Some(*base),
            Side::Stack(base) => {
                let message = format!(
                    "in the base, it is `{}` of account {} in {}: another stack, which is not compared and stays as it is",
                    base.name, base.account, base.region
                );
                previewed.base = InBase::Unknown(Problem { message, help: None });
                None
            }
            Side::Missing | Side::Unknown(_) => None,
        };
        let compared = match cloud {
            Some(cloud) => Box::pin(in_account(previewed.clone(), (head, base), cloud, terms, interrupt)).await,
            None => Box::pin(in_files(previewed.clone(), (head, base), terms, interrupt)).await,
        };
        match compared {
            Err(Error::Interrupted) => Err(Error::Interrupted),
            Err(error) => Ok(Previewed { problem: Some(problem(&error)), ..previewed }),
            Ok(compared) => Ok(compared),
        }
    }
}

/// Compares with what stands in the account.
async fn in_account(
    previewed: Previewed,
    (head, base): (Stack, Option<Stack>),
    cloud: Options,
    terms: &Terms,
    interrupt: &CancellationToken,
) -> Result<Previewed, Error> {
    let (file, environment) = (previewed.file.clone(), previewed.environment.clone());
    let origin = Origin { file, environment, sandbox: cloud.sandbox.is_some(), ..Origin::default() };
    let engine = Box::pin(Engine::connect(head, cloud)).await?;
    let compared = async {
        let state = until(interrupt, engine.state()).await?;
        Box::pin(engine.parts.compared_with(base, previewed, (state, &origin), terms, interrupt)).await
    };
    let compared = compared.await;
    engine.close().await;
    let compared = compared?;
    let expected_seconds = compared.plan.as_ref().and_then(duration::expected);
    Ok(Previewed { command: Some(command("apply", &origin)), expected_seconds, ..compared })
}

/// Compares with what the base makes of an account.
async fn in_files(
    mut previewed: Previewed,
    (head, mut base): (Stack, Option<Stack>),
    terms: &Terms,
    interrupt: &CancellationToken,
) -> Result<Previewed, Error> {
    let offline = match Offline::new(base.as_ref()) {
        Ok(offline) => offline,
        Err(error) => {
            previewed.base = InBase::Unknown(problem(&error));
            base = None;
            Offline::default()
        }
    };
    let (file, environment) = (previewed.file.clone(), previewed.environment.clone());
    let origin = Origin { file, environment, ..Origin::default() };
    let place = Place { account: head.account.clone(), region: head.region.clone(), endpoint: Endpoint::Aws };
    // With a state of its own, nothing looks as if it were lost.
    let state = State { lineage: "files".to_owned(), ..State::empty(&head.name) };
    let parts = Parts::new(head, Arc::new(offline), Arc::new(()), place);
    let compared = Box::pin(parts.compared_with(base, previewed, (state, &origin), terms, interrupt)).await?;
    Ok(Previewed { drift: None, ..compared })
}

impl<P: Provider, S: Send + Sync> Parts<P, S> {
    /// Plans the stack, judges the plan by the base, and compares it with the plan of the base.
    async fn compared_with(
        &self,
        base: Option<Stack>,
        mut previewed: Previewed,
        (state, origin): (State, &Origin),
        terms: &Terms,
        interrupt: &CancellationToken,
    ) -> Result<Previewed, Error> {
        let head = &self.stack;
        // The file of the pull request, with what decides of the base.
        let judge = match &base {
            Some(base) if !terms.trust_head => Stack {
                workload: base.workload.clone(),
                prices: base.prices.clone(),
                budget: base.budget.clone(),
                ..head.clone()
            },
            _ => head.clone(),
        };
        let request = Request::new();
        let judged = until(interrupt, self.judged(state.clone(), &request, Some(&judge), interrupt)).await?;
        let plan = judged.planned.document(origin);
        let over = [
            OverBudget::of_document(head, &plan),
            judged.estimate.as_ref().and_then(|estimate| OverBudget::of(&judge, estimate, None)),
        ];
        for over in over.into_iter().flatten() {
            let verdict = Verdict {
                severity: Severity::Deny,
                code: "plan::budget".to_owned(),
                message: over.to_string(),
                help: Some(over.help()),
            };
            if !previewed.verdicts.contains(&verdict) {
                previewed.verdicts.push(verdict);
            }
        }
        if let Some(base) = base.as_ref().filter(|_| !terms.trust_head) {
            previewed.verdicts.extend(protected(base, head, &plan));
        }
        previewed.drift = judged.drift.filter(|drift| !drift.is_empty());
        previewed.plan = Some(plan);
        let base = base.map(|base| self.with_stack(base));
        if let Some(base) = &base {
            match until(interrupt, base.plan(state, &request, interrupt)).await {
                Err(Error::Interrupted) => return Err(Error::Interrupted),
                Err(error) => previewed.base = InBase::Unknown(problem(&error)),
                Ok(planned) => previewed = previewed.compared(&planned.document(origin)),
            }
        }
        // What the base asks for already is not the fault of the change.
        if let Some(mut own) = previewed.own() {
            previewed.texts = base.map(|base| user_data(&base.stack, head, &own)).unwrap_or_default();
            // Nor do its own prices and workload count.
            if let (Some(shown), Some(judged)) = (&mut own.remarks.estimate, judged.estimate) {
                let (cost_before, virtual_users_before) = match &previewed.before {
                    Some(before) => (before.cost.clone(), before.virtual_users),
                    None => (judged.cost_before.clone(), judged.virtual_users_before),
                };
                *shown = Estimate { cost_before, virtual_users_before, ..judged };
            }
            previewed.verdicts.extend(policies::verdicts(&terms.policies, &own));
        }
        Ok(previewed)
    }
}

/// A command for a stack, quoted for a shell.
fn command(verb: &str, origin: &Origin) -> String {
    let environment = origin.environment.iter().flat_map(|name| ["--env", name]);
    let words = ["trunnion", verb, &origin.file].into_iter().chain(environment);
    let words = words.chain(origin.sandbox.then_some("--sandbox"));
    let quoted = words.map(|word| shlex::try_quote(word).map_or_else(|_| word.to_owned(), Cow::into_owned));
    quoted.collect::<Vec<_>>().join(" ")
}

/// The user data that a plan changes. Beside the files of a repository, a machine of CI may have some that only it should read.
fn user_data(base: &Stack, head: &Stack, plan: &Document) -> Vec<TextDifference> {
    let path = "data.user_data";
    let changes = |change: &&DocumentChange| {
        change.address.kind.as_str() == LaunchTemplate::KIND && change.differences.iter().any(|it| it.path == path)
    };
    let values: Vec<&str> =
        [base, head].iter().flat_map(|stack| stack.generator.variables.values()).map(|it| &**it).collect();
    let texts = |change: &DocumentChange| {
        let text = |stack: &Stack| {
            let is_tracked = |path: &PathBuf| stack.files.are_of_revision() || is_tracked(stack.files.root(), path);
            let is_public = stack.generator.template.as_ref().is_none_or(is_tracked);
            is_public.then(|| blueprint::boot_for_review(stack, &change.address.name, &values).ok().flatten()).flatten()
        };
        let (before, after) = (text(base)?, text(head)?);
        let texts = TextDifference { address: change.address.clone(), path: path.to_owned(), before, after };
        (texts.before != texts.after).then_some(texts)
    };
    plan.compared.changes.iter().filter(changes).filter_map(texts).collect()
}

/// What the base protects and the plan deletes or replaces, also under another name.
fn protected(base: &Stack, head: &Stack, plan: &Document) -> Vec<Verdict> {
    let moves = blueprint::moves(head);
    let protecting = |address: &Address| {
        let renamed = moves.iter().filter(|one| one.kind == address.kind && one.to == address.name);
        let former = renamed.map(|one| Address { name: one.from.clone(), ..address.clone() });
        let mut names = [address.clone()].into_iter().chain(former);
        names.find(|address| blueprint::is_protected(base, address)).map(|address| blueprint::protecting_key(&address))
    };
    let is_lost = |action: Action| matches!(action, Action::Delete | Action::Replace);
    let lost = plan.compared.changes.iter().filter(|change| is_lost(change.action));
    let verdict = |change: &DocumentChange| {
        let key = protecting(&change.address)?;
        let action = if change.action == Action::Delete { "deleted" } else { "replaced" };
        Some(Verdict {
            severity: Severity::Deny,
            code: "plan::protected".to_owned(),
            message: format!("`{}` would be {action}, but the base protects it (`{key}`)", change.address),
            help: Some("remove the protection in a pull request of its own, and merge that first".to_owned()),
        })
    };
    lost.filter_map(verdict).collect()
}
