//! The verdict on one request: explicit deny first, then what allows it ("Policy evaluation logic" and "Policy evaluation
//! for requests within a single account", IAM user guide, read November 2026). All is in one account.

use serde::{Deserialize, Serialize};

use super::{
    Unknown,
    context::Context,
    document::{Listed, Policy, Principal, Statement},
};

/// Who makes a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Caller {
    /// The administrator of the account: everything is allowed that nothing denies.
    Administrator {
        arn: String,
    },
    User {
        arn: String,
    },
    /// A session of a role: the ARN of the session, and that of the role.
    Session {
        arn: String,
        role: String,
    },
    /// A service, such as `ecs-tasks.amazonaws.com`.
    Service {
        name: String,
    },
}

impl Caller {
    /// The ARN in messages, or the name of the service.
    pub(crate) fn arn(&self) -> &str {
        match self {
            Self::Administrator { arn } | Self::User { arn } | Self::Session { arn, .. } => arn,
            Self::Service { name } => name,
        }
    }

    /// The account; a service has none.
    fn account(&self) -> Option<&str> {
        match self {
            Self::Service { .. } => None,
            other => other.arn().split(':').nth(4),
        }
    }

    /// What a policy can call the caller: account, role, session.
    fn is_called(&self, principal: &Principal) -> bool {
        match principal {
            Principal::Everybody => true,
            Principal::Account(account) => self.account() == Some(account),
            Principal::Arn(arn) => {
                self.account().is_some()
                    && (arn == self.arn() || matches!(self, Self::Session { role, .. } if role == arn))
            }
            Principal::Service(name) => matches!(self, Self::Service { name: own } if own == name),
            // Nobody here comes from an identity provider, or by a canonical id.
            Principal::Federated(_) | Principal::CanonicalUser(_) => false,
        }
    }

    /// The principals that all must be listed for a `NotPrincipal` to spare the caller.
    fn all_names(&self) -> Vec<Principal> {
        let account = || Principal::Account(self.account().unwrap_or_default().to_owned());
        match self {
            Self::Service { name } => vec![Principal::Service(name.clone())],
            Self::Session { arn, role } => vec![account(), Principal::Arn(role.clone()), Principal::Arn(arn.clone())],
            Self::User { arn } | Self::Administrator { arn } => vec![account(), Principal::Arn(arn.clone())],
        }
    }
}

/// What is asked.
#[derive(Debug)]
pub(crate) struct Request<'r> {
    pub caller: &'r Caller,
    /// Such as `s3:GetObject`.
    pub action: &'r str,
    /// An ARN, or `*` for actions without a resource.
    pub resource: &'r str,
    pub context: &'r Context,
}

/// A document with a name for messages.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Named {
    /// Its name or ARN.
    pub name: String,
    /// Its text.
    pub document: String,
}

/// All policies that apply to a request.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Policies {
    /// Of the user or the role.
    pub identity: Vec<Named>,
    /// The permissions boundary of the user or the role.
    pub boundary: Option<Named>,
    /// Of the session, if it was given any.
    pub session: Option<Vec<Named>>,
    /// Of the resource.
    pub resource: Option<Named>,
    /// Whether the resource's policy is the trust policy of a role, without which nobody assumes it.
    pub is_trust: bool,
}

/// What decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Basis {
    Administrator,
    Identity,
    Boundary,
    Session,
    Resource,
    Trust,
}

/// A statement, for messages: its policy, and its `Sid` or number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Deciding {
    pub policy: String,
    pub statement: String,
}

/// Why a request is denied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Denial {
    /// The kind of policy that denies it or should allow it.
    pub basis: Basis,
    /// The statement of an explicit deny; without one, nothing allows the request.
    pub explicit: Option<Deciding>,
}

/// The verdict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Decision {
    /// Allowed by this kind of policy; the administrator needs no statement.
    Allowed {
        basis: Basis,
        by: Option<Deciding>,
    },
    Denied(Denial),
}

/// How closely a resource's policy names the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fit {
    /// By its account, which leaves it to the account's own policies.
    Account,
    /// By its role, so that boundary and session policies still limit it.
    Role,
    /// By itself.
    Itself,
}

/// What one group of policies says.
#[derive(Debug, Default)]
struct Said {
    denies: Option<Deciding>,
    allows: Option<(Fit, Deciding)>,
}

/// The verdict on a request. An error means that there is none.
pub(crate) fn evaluate(request: &Request<'_>, policies: &Policies) -> Result<Decision, Unknown> {
    let trust_or_resource = if policies.is_trust { Basis::Trust } else { Basis::Resource };
    let is_bounded = policies.boundary.is_some();
    let said = |policies: &[Named]| said(request, policies, is_bounded);
    let identity = said(&policies.identity)?;
    let boundary = policies.boundary.as_ref().map(|one| said(std::slice::from_ref(one))).transpose()?;
    let session = policies.session.as_ref().map(|all| said(all)).transpose()?;
    let resource = policies.resource.as_ref().map(|one| said(std::slice::from_ref(one))).transpose()?;
    let resource = resource.unwrap_or_default();
    for (basis, said) in [
        (Basis::Identity, Some(&identity)),
        (trust_or_resource.clone(), Some(&resource)),
        (Basis::Boundary, boundary.as_ref()),
        (Basis::Session, session.as_ref()),
    ] {
        if let Some(explicit) = said.and_then(|said| said.denies.clone()) {
            return Ok(Decision::Denied(Denial { basis, explicit: Some(explicit) }));
        }
    }
    let nothing = |basis| Ok(Decision::Denied(Denial { basis, explicit: None }));
    let lacks = |said: &Option<Said>| said.as_ref().is_some_and(|said| said.allows.is_none());
    if policies.is_trust && resource.allows.is_none() {
        return nothing(Basis::Trust);
    }
    if let Some((fit, by)) = resource.allows.filter(|(fit, _)| *fit > Fit::Account) {
        if fit == Fit::Role && lacks(&boundary) {
            return nothing(Basis::Boundary);
        }
        if fit == Fit::Role && lacks(&session) {
            return nothing(Basis::Session);
        }
        return Ok(Decision::Allowed { basis: trust_or_resource, by: Some(by) });
    }
    match request.caller {
        Caller::Administrator { .. } => return Ok(Decision::Allowed { basis: Basis::Administrator, by: None }),
        Caller::Service { .. } => return nothing(trust_or_resource),
        Caller::User { .. } | Caller::Session { .. } => {}
    }
    let Some((_, by)) = identity.allows else { return nothing(Basis::Identity) };
    if lacks(&boundary) {
        return nothing(Basis::Boundary);
    }
    if lacks(&session) {
        return nothing(Basis::Session);
    }
    Ok(Decision::Allowed { basis: Basis::Identity, by: Some(by) })
}

fn said(request: &Request<'_>, policies: &[Named], is_bounded: bool) -> Result<Said, Unknown> {
    let mut said = Said::default();
    for Named { name, document } in policies {
        let unreadable = |reason| Unknown::Policy { policy: name.clone(), reason };
        if document.is_empty() {
            return Err(unreadable("the sandbox does not have its document".to_owned()));
        }
        for statement in &Policy::read(document).map_err(unreadable)?.statements {
            let Some(fit) = statement.fits(request, is_bounded)? else { continue };
            let by = || Deciding { policy: name.clone(), statement: statement.name.clone() };
            if !statement.allows {
                said.denies.get_or_insert_with(by);
            } else if said.allows.as_ref().is_none_or(|(before, _)| *before < fit) {
                said.allows = Some((fit, by()));
            }
        }
    }
    Ok(said)
}

impl Statement {
    /// Whether it applies to a request, and how closely it names the caller.
    fn fits(&self, request: &Request<'_>, is_bounded: bool) -> Result<Option<Fit>, Unknown> {
        let context = request.context;
        let fit = match &self.principals {
            None => Fit::Itself,
            Some(principals) => match Self::names(principals, request.caller, is_bounded) {
                Some(fit) => fit,
                None => return Ok(None),
            },
        };
        if !self.actions.covers(|action| action.matches(request.action, context, true))? {
            return Ok(None);
        }
        if let Some(resources) = &self.resources {
            let covers = |resource: &super::pattern::Pattern| {
                if resource.is_everything() {
                    return Ok(true);
                }
                // What has no resource is covered by `*` alone.
                if request.resource == "*" { Ok(false) } else { resource.matches_arn(request.resource, context) }
            };
            if !resources.covers(covers)? {
                return Ok(None);
            }
        }
        // Every condition is looked at, so that nothing unknown is passed over.
        let holds = self.conditions.iter().try_fold(true, |all, one| Ok(one.holds(context)? && all))?;
        Ok(holds.then_some(fit))
    }

    fn names(principals: &Listed<Principal>, caller: &Caller, is_bounded: bool) -> Option<Fit> {
        if principals.negated {
            let is_listed = |name: &Principal| principals.items.contains(name);
            // A deny spares only a caller whose account, role and session are all listed, and nobody who has a permissions
            // boundary ("AWS JSON policy elements: NotPrincipal", IAM user guide, read November 2026).
            let spared = !is_bounded && caller.all_names().iter().all(is_listed);
            return (!spared).then_some(Fit::Itself);
        }
        let fit = |principal: &Principal| match principal {
            Principal::Account(_) => Fit::Account,
            Principal::Arn(arn) if arn != caller.arn() => Fit::Role,
            _ => Fit::Itself,
        };
        principals.items.iter().filter(|principal| caller.is_called(principal)).map(fit).max()
    }
}

impl<T> Listed<T> {
    /// Whether an item matches, or none for a negated element.
    fn covers(&self, matches: impl Fn(&T) -> Result<bool, Unknown>) -> Result<bool, Unknown> {
        for item in &self.items {
            if matches(item)? {
                return Ok(!self.negated);
            }
        }
        Ok(self.negated)
    }
}
