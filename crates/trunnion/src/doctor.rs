//! The examination of an account for a stack.

use tokio_util::sync::CancellationToken;
use trunnion_aws::Purpose;
use trunnion_blueprint::{self as blueprint, Binaries};
use trunnion_engine::{
    Context, ErrorClass, Examination, Finding, Format, Graph, Observed, Provider as _, State, Verdict,
};
use trunnion_stack::{ControlPlane, Stack, StateLocation};

use crate::{Engine, Error, connected::until};

/// The version of the document.
const FORMAT: Format = Format { major: 1, minor: 0 };

/// Warnings of a plan that mean that a stack does not work.
const NO_ROUTE: [&str; 2] = ["pool_unreachable", "control_plane_unreachable"];

impl Engine {
    /// Examines whether the account has what the stack needs, and whether the identity has the permissions of these commands.
    /// It changes nothing.
    ///
    /// A finding that something is missing is no error. Errors are about the examination itself: no credentials, those of
    /// another account, no answer.
    pub async fn examine(&self, purposes: &[Purpose], interrupt: &CancellationToken) -> Result<Examination, Error> {
        until(interrupt, self.findings(purposes, interrupt)).await
    }

    async fn findings(&self, purposes: &[Purpose], interrupt: &CancellationToken) -> Result<Examination, Error> {
        let stack = self.stack();
        let graph = blueprint::outline(stack, true).map_err(|error| Error::blueprint(stack, error))?;
        let state = match &stack.state {
            StateLocation::S3 { bucket, key } => Some((bucket.as_str(), key.as_str())),
            StateLocation::File(_) => None,
        };
        let context = Context::new(interrupt.clone());
        let examined = self.provider().examine(&graph, purposes, state, &context).await?;
        let mut findings = examined.findings;
        let state = match self.state().await {
            Ok(state) => state,
            Err(error) => {
                // Without a bucket there is no state either, and the bucket has a finding of its own.
                let no_bucket =
                    |one: &Finding| one.subject.starts_with("state bucket") && one.verdict == Verdict::Missing;
                if !findings.iter().any(no_bucket) {
                    findings.push(unreadable(&error));
                }
                State::empty(&stack.name)
            }
        };
        let (observed, knows_hosts) = match self.observed(&graph, &state, &context).await {
            Ok(observed) => (observed, true),
            Err(finding) => {
                findings.push(finding);
                (examined.observed, false)
            }
        };
        for taken in observed.taken.values() {
            let (message, help) = (taken.message.clone(), taken.help.clone());
            findings.push(Finding::missing("names", message, help));
        }
        findings.extend(fit(stack, &graph, &observed, knows_hosts));
        findings.push(control_plane(stack));
        Ok(Examination { format: FORMAT, stack: stack.name.clone(), place: self.place().key(), findings })
    }

    /// What a plan reads. It shows which names others have, and which hosts exist already.
    async fn observed(&self, graph: &Graph, state: &State, context: &Context) -> Result<Observed, Finding> {
        let observed = self.provider().observe(graph, state, context).await;
        observed.map_err(|error| {
            let detail = format!("a plan cannot be made: {}", error.message);
            Finding::unknown("names and existing resources", detail, error.help)
        })
    }
}

/// A state that cannot be read. A denial leaves open what is in it.
fn unreadable(error: &Error) -> Finding {
    let cause = std::error::Error::source(error).map(|cause| format!(": {cause}")).unwrap_or_default();
    let detail = format!("it cannot be read: {error}{cause}");
    let help = error.diagnostics().first().and_then(|one| one.help().map(|help| help.to_string()));
    if error.class() == Some(ErrorClass::Denied) {
        Finding::unknown("state", detail, help)
    } else {
        Finding::missing("state", detail, help)
    }
}

/// The error of a quota that the examination compares itself.
const EXAMINED: &str = "too_few_elastic_ips";

/// What depends on the addresses that existing hosts have already.
const NEEDS_HOSTS: [&str; 2] = ["pool_does_not_fit", "control_plane_does_not_fit"];

/// Whether hosts fit into their types, images and subnets, and whether these have routes.
fn fit(stack: &Stack, graph: &Graph, observed: &Observed, knows_hosts: bool) -> Vec<Finding> {
    let found = blueprint::findings(stack, &Binaries::of(stack), graph, observed);
    let warnings = found.warnings.into_iter().filter(|warning| NO_ROUTE.contains(&warning.code));
    let routes: Vec<Finding> = warnings
        .map(|one| Finding::missing(format!("route of {}", section(&one.path)), one.message, one.help))
        .collect();
    let errors = found.errors.into_iter().filter(|error| error.code != EXAMINED);
    let errors = errors.filter(|error| knows_hosts || !NEEDS_HOSTS.contains(&error.code));
    let errors: Vec<Finding> = errors.map(|one| Finding::missing(one.path, one.message, one.help)).collect();
    let whole = knows_hosts && observed.missing.is_empty() && !observed.lookups.is_empty();
    let fine = [
        (routes.is_empty(), "routes", "pools and control plane reach the internet"),
        (errors.is_empty(), "sizes", "hosts fit into their instance types, images and subnets"),
    ];
    let fine = fine.into_iter().filter(|(is_fine, ..)| *is_fine).map(|(_, subject, detail)| {
        if whole {
            Finding::ok(subject, detail)
        } else {
            Finding::unknown(subject, "only what was found is compared", None)
        }
    });
    let fine: Vec<Finding> = fine.collect();
    [fine, routes, errors].concat()
}

/// `pools.heavy` of `pools.heavy.zone`.
fn section(path: &str) -> &str {
    path.rsplit_once('.').map_or(path, |(section, _)| section)
}

/// ECS asks the control plane for `/info`, and replaces it again and again if it does not answer.
fn control_plane(stack: &Stack) -> Finding {
    let subject = "control plane version";
    let [year, week, patch] = ControlPlane::FIRST_VERSION;
    let first = format!("{year}.{week}.{patch}");
    let image = &stack.control_plane.image;
    match stack.control_plane.version() {
        Some(version) if version >= ControlPlane::FIRST_VERSION => {
            Finding::ok(subject, format!("`{image}` serves /info"))
        }
        Some(_) => {
            let detail = format!("`{image}` serves /info only with a repository for private packages");
            Finding::missing(subject, detail, Some(format!("use version {first} or later")))
        }
        None => {
            let detail = format!("the name `{image}` has no version; versions from {first} serve /info");
            Finding::unknown(
                subject,
                detail,
                Some("no permission shows it: use an image with a version in its tag".to_owned()),
            )
        }
    }
}
