//! Which permissions a call needs, and whether its caller has them.
//!
//! Each service has a table with one row per served call: the IAM actions that the call needs, each with the function
//! that finds the resources and the condition keys. `reference.txt` holds what AWS's Service Authorization Reference says
//! of these actions; tests compare the tables with it and with the calls that are served. A call without a row is refused
//! to everybody but the administrator.

mod context;
mod denied;
mod logs;
pub(crate) mod out_of_band;
pub(crate) mod record;
pub(crate) mod reference;
mod secrets;
mod service_quotas;
mod ssm;
mod sts;
mod tagging;
#[cfg(test)]
mod tests;

use std::net::IpAddr;

use jiff::Timestamp;

use crate::{
    call::{Call, Fault, Input, arn_of},
    cloud::Cloud,
    ec2, ecs, iam,
    iam::{
        Identity,
        policy::{Decision, Named, Policies, Request, Unknown, Values, evaluate},
    },
    signature::Denied,
};

pub(crate) use context::in_service;
pub(crate) use denied::because;
pub(crate) use logs::{evaluated as evaluated_log, own_tags as with_log_tags};
pub(crate) use secrets::secret as secret_target;

/// Where a request comes from.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    /// The access key that signed it.
    pub access_key: String,
    pub address: Option<IpAddr>,
    pub agent: Option<String>,
    /// Whether it counts as sent over TLS. The sandbox stands for AWS's endpoints, so it does unless a header says that
    /// it came to a proxy without TLS.
    pub is_secure: bool,
}

impl Origin {
    /// The origin of a request of the administrator.
    #[cfg(test)]
    pub(crate) fn administrator() -> Self {
        Self { access_key: crate::ACCESS_KEY_ID.to_owned(), address: None, agent: None, is_secure: true }
    }
}

/// A call with the data that it is about.
#[derive(Debug)]
pub(crate) struct Scene<'s> {
    pub cloud: &'s Cloud,
    pub call: &'s Call,
}

/// Finds the resources of one action of a call; none if the call does not need the action.
pub(crate) type Resolver = fn(&Scene<'_>) -> Vec<Target>;

/// A call, and the actions that it needs.
pub(crate) type Row = (&'static str, &'static [(&'static str, Resolver)]);

/// A resource that an action needs, with its condition keys.
#[derive(Debug, Clone, Default)]
pub(crate) struct Target {
    /// Its type in the Service Authorization Reference; empty for actions without a resource.
    pub kind: &'static str,
    /// Its ARN, or `*`.
    pub arn: String,
    /// Values of condition keys.
    pub keys: Vec<(String, Values)>,
    /// Its own policy.
    pub policy: Option<Named>,
    /// Whether that is the trust policy of a role.
    pub is_trust: bool,
    /// What refusals call it, if not by its ARN.
    pub shown: Option<String>,
}

impl Target {
    /// What actions without a resource are about.
    pub(crate) fn any() -> Self {
        Self { arn: "*".to_owned(), ..Self::default() }
    }

    /// A resource of a type.
    pub(crate) fn of(kind: &'static str, arn: impl Into<String>) -> Self {
        Self { kind, arn: arn.into(), ..Self::default() }
    }

    /// The same with a condition key.
    #[must_use]
    pub(crate) fn with(mut self, key: &str, value: impl Into<Values>) -> Self {
        self.keys.push((key.to_owned(), value.into()));
        self
    }

    /// The same with a condition key that has a value only sometimes.
    #[must_use]
    pub(crate) fn with_some(self, key: &str, value: Option<impl Into<Values>>) -> Self {
        match value {
            Some(value) => self.with(key, value),
            None => self,
        }
    }

    /// The same with the tags of the resource. `families` are the beginnings of keys, such as `aws:ResourceTag/`.
    #[must_use]
    pub(crate) fn has_tags<'t>(
        mut self,
        families: &[&str],
        tags: impl IntoIterator<Item = (&'t str, &'t str)>,
    ) -> Self {
        for (key, value) in tags {
            self.keys.extend(families.iter().map(|family| (format!("{family}{key}"), value.into())));
        }
        self
    }

    /// The same with tags in the request.
    #[must_use]
    pub(crate) fn gets_tags<'t>(mut self, tags: impl IntoIterator<Item = (&'t str, &'t str)>) -> Self {
        let mut keys = Vec::new();
        for (key, value) in tags {
            self.keys.push((format!("aws:RequestTag/{key}"), value.into()));
            keys.push(key.to_owned());
        }
        if keys.is_empty() { self } else { self.with("aws:TagKeys", keys) }
    }

    /// The same with the keys of tags that the request removes.
    #[must_use]
    pub(crate) fn loses_tags(self, keys: Vec<String>) -> Self {
        if keys.is_empty() { self } else { self.with("aws:TagKeys", keys) }
    }
}

/// An action on a resource.
#[derive(Debug, Clone)]
pub(crate) struct Need {
    pub action: &'static str,
    pub target: Target,
}

/// What is asked for, by whom, from where.
#[derive(Debug)]
pub(crate) struct Asking<'a> {
    pub cloud: &'a Cloud,
    pub identity: &'a Identity,
    pub origin: &'a Origin,
    /// Such as `ec2`.
    pub service: &'a str,
    /// The name of the call, for the record.
    pub call: &'a str,
    pub region: &'a str,
    pub now: Timestamp,
}

/// Refuses a call that its caller may not make.
pub(crate) fn check(cloud: &Cloud, call: &Call) -> Result<(), Fault> {
    let Some(identity) = iam::identity(cloud, &call.origin.access_key, &call.region, call.now) else {
        return Err(Denied::UnknownKey.fault(&call.service, matches!(call.input, Input::Json(_))));
    };
    if identity.is_bare_token
        && (call.service == "iam"
            || !matches!(call.action.as_str(), "AssumeRole" | "GetCallerIdentity") && call.service == "sts")
    {
        // Without a second factor, such credentials open neither IAM nor most of STS (`GetSessionToken`, API reference,
        // read November 2026).
        return Err(Fault::new("InvalidClientTokenId", "The security token included in the request is invalid")
            .with_status(403));
    }
    // Only resource policies limit the administrator, and of these services only roles have any.
    if identity.is_administrator() && !cloud.authorizations.is_on() && call.service != "sts" {
        return Ok(());
    }
    let asking = Asking::of(cloud, &identity, call);
    let Some(needs) = needs(cloud, call) else {
        if identity.is_administrator() || rows(&call.service).is_empty() {
            return Ok(());
        }
        let message = format!("the sandbox does not know which permissions {}:{} needs", call.service, call.action);
        return Err(Fault::new("SandboxUnknownPermissions", message));
    };
    needs.iter().try_for_each(|need| asking.judge(need))
}

/// Whether the caller of a call may do something that the call does besides, where AWS goes on without it.
pub(crate) fn may(cloud: &Cloud, call: &Call, action: &'static str, target: Target) -> bool {
    let Some(identity) = iam::identity(cloud, &call.origin.access_key, &call.region, call.now) else { return false };
    Asking::of(cloud, &identity, call).is_allowed(&Need { action, target })
}

/// The rows of a service, and the names of its table's calls.
pub(crate) fn rows(service: &str) -> &'static [Row] {
    match service {
        "ec2" => ec2::PERMISSIONS,
        "ecs" => ecs::PERMISSIONS,
        "iam" => iam::PERMISSIONS,
        "sts" => sts::PERMISSIONS,
        "ssm" => ssm::PERMISSIONS,
        "logs" => logs::PERMISSIONS,
        "secretsmanager" => secrets::PERMISSIONS,
        "servicequotas" => service_quotas::PERMISSIONS,
        "tagging" => tagging::PERMISSIONS,
        _ => &[],
    }
}

/// What a call needs; `None` if the call is in no table.
fn needs(cloud: &Cloud, call: &Call) -> Option<Vec<Need>> {
    let (_, actions) = rows(&call.service).iter().find(|(name, _)| *name == call.action)?;
    let scene = Scene { cloud, call };
    Some(needs_of(actions.iter().map(|(action, resolve)| (*action, resolve(&scene)))))
}

/// The needs of a row. A call without a readable resource needs its first action on everything, so that no row is passed
/// without a verdict.
pub(crate) fn needs_of(resolved: impl Iterator<Item = (&'static str, Vec<Target>)>) -> Vec<Need> {
    let (mut first, mut needs) = (None, Vec::new());
    for (action, targets) in resolved {
        first = first.or(Some(action));
        needs.extend(targets.into_iter().map(|target| Need { action, target }));
    }
    if needs.is_empty() {
        needs.extend(first.map(|action| Need { action, target: Target::any() }));
    }
    needs
}

impl<'a> Asking<'a> {
    /// For a call of the query and JSON services.
    fn of(cloud: &'a Cloud, identity: &'a Identity, call: &'a Call) -> Self {
        Self {
            cloud,
            identity,
            origin: &call.origin,
            service: &call.service,
            call: &call.action,
            region: &call.region,
            now: call.now,
        }
    }

    /// Refuses an action that the caller may not do.
    pub(crate) fn judge(&self, need: &Need) -> Result<(), Fault> {
        match self.decide(need) {
            Ok(Decision::Allowed { .. }) => Ok(()),
            Ok(Decision::Denied(denial)) => Err(denied::fault(self, need, &denial)),
            Err(unknown) => Err(Fault::new("SandboxCannotEvaluate", format!("{}: {unknown}", need.action))),
        }
    }

    /// Whether the caller may do it; what cannot be evaluated is no permission.
    pub(crate) fn is_allowed(&self, need: &Need) -> bool {
        matches!(self.decide(need), Ok(Decision::Allowed { .. }))
    }

    /// The verdict, which is recorded.
    pub(crate) fn decide(&self, need: &Need) -> Result<Decision, Unknown> {
        let policies = Policies {
            resource: need.target.policy.clone(),
            is_trust: need.target.is_trust,
            ..self.identity.policies.clone()
        };
        let context = context::of(self, need);
        let request = Request {
            caller: &self.identity.caller,
            action: need.action,
            resource: &need.target.arn,
            context: &context,
        };
        let verdict = evaluate(&request, &policies);
        self.cloud.authorizations.write(self, need, &policies, &context, &verdict);
        verdict
    }
}

/// A resource of an action that has none.
pub(crate) fn any(_: &Scene<'_>) -> Vec<Target> {
    vec![Target::any()]
}

impl Scene<'_> {
    /// An ARN in the call's region and account.
    pub(crate) fn arn(&self, service: &str, resource: &str) -> String {
        format!("{}:{service}:{}:{}:{resource}", arn_of(&self.call.region), self.call.region, self.cloud.account)
    }

    /// A text of the JSON document.
    pub(crate) fn text(&self, member: &str) -> Option<&str> {
        self.json().get(member)?.as_str()
    }

    /// The texts of a list of the JSON document.
    pub(crate) fn texts(&self, member: &str) -> Vec<&str> {
        let list = self.json().get(member).and_then(serde_json::Value::as_array);
        list.into_iter().flatten().filter_map(serde_json::Value::as_str).collect()
    }

    /// The JSON document.
    pub(crate) fn json(&self) -> &serde_json::Value {
        match &self.call.input {
            Input::Json(document) => document,
            Input::Query(_) => &serde_json::Value::Null,
        }
    }

    /// The tags in a member of the JSON document, each an object with a key and a value as the service spells them.
    pub(crate) fn tags(&self, member: &str) -> Vec<(&str, &str)> {
        let (key, value) = if self.call.service == "ecs" { ("key", "value") } else { ("Key", "Value") };
        let list = self.json().get(member).and_then(serde_json::Value::as_array);
        list.into_iter()
            .flatten()
            .filter_map(|tag| Some((tag.get(key)?.as_str()?, tag[value].as_str().unwrap_or_default())))
            .collect()
    }
}
