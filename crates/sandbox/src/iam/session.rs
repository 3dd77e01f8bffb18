//! Temporary credentials: sessions of roles, and tokens of users.

use std::collections::BTreeMap;

use jiff::{Timestamp, ToSpan as _};
use serde::{Deserialize, Serialize};

use super::{identity, managed, policy, policy::Named, unique_id, validation, wire::parameter};
use crate::{
    call::{Call, Fault, Input},
    cloud::Cloud,
    durations::Delay,
    json::hex_id,
};

/// The most characters of a session's policies together, and the most ARNs of managed ones.
const SESSION_POLICY: usize = 2_048;
const SESSION_ARNS: usize = 10;

/// Credentials with an end.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Session {
    pub secret: String,
    pub token: String,
    pub issued: Timestamp,
    pub expires: Timestamp,
    pub kind: Kind,
    /// The session's own policies, if it was given any.
    pub policies: Option<Vec<Named>>,
    pub tags: BTreeMap<String, String>,
    pub source_identity: Option<String>,
}

/// Whose session it is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Kind {
    /// Of a role, by its unique id.
    Role { role: String, name: String },
    /// Of the user with this access key.
    Token { access_key: String },
}

/// A session that has just begun: its access key and its row.
pub(crate) struct Begun {
    pub access_key: String,
    pub session: Session,
    /// ARN and `UserId` of a role's session.
    pub arn: String,
    pub user_id: String,
}

/// Begins a session of a role. Whether the caller may, has been decided.
pub(crate) fn assume(cloud: &mut Cloud, call: &Call) -> Result<Begun, Fault> {
    let name = super::wire::required(call, "RoleSessionName")?.to_owned();
    let is_name = |c: char| c.is_ascii_alphanumeric() || "+=,.@_-".contains(c);
    if !(2..=64).contains(&name.len()) || !name.chars().all(is_name) {
        return Err(validation(format!(
            "1 validation error detected: Value '{name}' at 'roleSessionName' failed to satisfy constraint: Member must \
             satisfy regular expression pattern: [\\w+=,.@-]*"
        )));
    }
    refuse_unserved(call, &["SerialNumber", "TokenCode", "TransitiveTagKeys", "ProvidedContexts"])?;
    let source = source_identity(cloud, call)?;
    let arn = super::wire::required(call, "RoleArn")?.to_owned();
    let found = cloud.iam.roles.values().find(|role| role.arn == arn);
    let found = found.filter(|role| cloud.knows(Delay::IamLag, &role.id, role.created, call.now));
    let found = found.map(|role| (role.id.clone(), role.max_session_seconds, identity::session_arn(role, &name)));
    let Some((role, longest, session_arn)) = found else {
        // A role that does not exist is refused like one that does not trust the caller.
        let caller = identity::identity(cloud, &call.origin.access_key, &call.region, call.now);
        let who = caller.map(|caller| caller.caller.arn().to_owned()).unwrap_or_default();
        let message = format!("User: {who} is not authorized to perform: sts:AssumeRole on resource: {arn}");
        return Err(Fault::new("AccessDenied", message).with_status(403));
    };
    let seconds = seconds(call, 3_600)?;
    if seconds > longest {
        return Err(validation("The requested DurationSeconds exceeds the MaxSessionDuration set for this role."));
    }
    if cloud.iam.sessions.get(&call.origin.access_key).is_some() && seconds > 3_600 {
        return Err(validation(
            "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining.",
        ));
    }
    let policies = policies(cloud, call)?;
    let tags = super::tag::given(call)?.into_iter().map(|tag| (tag.key, tag.value)).collect();
    let kind = Kind::Role { role: role.clone(), name: name.clone() };
    let mut begun = begin(cloud, call, kind, seconds);
    begun.session.policies = policies;
    begun.session.tags = tags;
    begun.session.source_identity = source;
    begun.arn = session_arn;
    begun.user_id = format!("{role}:{name}");
    cloud.iam.sessions.insert(begun.access_key.clone(), begun.session.clone());
    Ok(begun)
}

/// Begins a session of the caller itself.
pub(crate) fn token(cloud: &mut Cloud, call: &Call) -> Result<Begun, Fault> {
    if cloud.iam.sessions.get(&call.origin.access_key).is_some() {
        return Err(Fault::new("AccessDenied", "Cannot call GetSessionToken with session credentials").with_status(403));
    }
    refuse_unserved(call, &["SerialNumber", "TokenCode"])?;
    let seconds = seconds(call, 43_200)?;
    let kind = Kind::Token { access_key: call.origin.access_key.clone() };
    let begun = begin(cloud, call, kind, seconds);
    cloud.iam.sessions.insert(begun.access_key.clone(), begun.session.clone());
    Ok(begun)
}

fn begin(cloud: &mut Cloud, call: &Call, kind: Kind, seconds: u32) -> Begun {
    let access_key: String = unique_id(cloud, "ASIA").chars().take(20).collect();
    let session = Session {
        secret: hex_id(&format!("secret {access_key}"), 40),
        token: format!("FwoGZXIvYXdzE{}", hex_id(&format!("token {access_key}"), 64)),
        issued: call.now,
        expires: call.now + i64::from(seconds).seconds(),
        kind,
        policies: None,
        tags: BTreeMap::new(),
        source_identity: None,
    };
    Begun { access_key, session, arn: String::new(), user_id: String::new() }
}

/// Refuses parameters that nothing here does: to ignore them would give other credentials than asked for.
fn refuse_unserved(call: &Call, names: &[&str]) -> Result<(), Fault> {
    let Input::Query(parameters) = &call.input else { return Ok(()) };
    let is_one = |given: &str, name: &str| given.split('.').next() == Some(name);
    let found = names.iter().find(|name| parameters.iter().any(|(given, _)| is_one(given, name)));
    match found {
        Some(name) => Err(validation(format!("The sandbox does not serve the parameter {name} of {}.", call.action))),
        None => Ok(()),
    }
}

/// The source identity of the session from which a session is opened.
pub(super) fn inherited_source(cloud: &Cloud, access_key: &str) -> Option<String> {
    cloud.iam.sessions.get(access_key)?.source_identity.clone()
}

/// The source identity of a new session. It stays the same in all sessions that are opened from it ("Monitor and control
/// actions taken with assumed roles", IAM user guide, read November 2026).
fn source_identity(cloud: &Cloud, call: &Call) -> Result<Option<String>, Fault> {
    let inherited = inherited_source(cloud, &call.origin.access_key);
    let Some(given) = parameter(call, "SourceIdentity") else { return Ok(inherited) };
    let is_text = |c: char| c.is_ascii_alphanumeric() || "+=,.@_-".contains(c);
    if !(2..=64).contains(&given.len()) || !given.chars().all(is_text) {
        return Err(validation(format!(
            "1 validation error detected: Value '{given}' at 'sourceIdentity' failed to satisfy constraint: Member must \
             satisfy regular expression pattern: [\\w+=,.@-]*"
        )));
    }
    match inherited {
        Some(inherited) if inherited != given => {
            let caller = identity::identity(cloud, &call.origin.access_key, &call.region, call.now);
            let who = caller.map(|caller| caller.caller.arn().to_owned()).unwrap_or_default();
            let message = format!("User: {who} is not authorized to perform: sts:SetSourceIdentity");
            Err(Fault::new("AccessDenied", message).with_status(403))
        }
        _ => Ok(Some(given.to_owned())),
    }
}

fn seconds(call: &Call, default: u32) -> Result<u32, Fault> {
    let Some(text) = parameter(call, "DurationSeconds") else { return Ok(default) };
    text.parse().ok().filter(|seconds| (900..=129_600).contains(seconds)).ok_or_else(|| {
        validation(format!(
            "1 validation error detected: Value '{text}' at 'durationSeconds' failed to satisfy constraint: Member must \
             have value greater than or equal to 900"
        ))
    })
}

fn policies(cloud: &Cloud, call: &Call) -> Result<Option<Vec<Named>>, Fault> {
    let mut all = Vec::new();
    // "AssumeRole", API reference, read November 2026.
    let mut length = 0;
    if let Some(document) = parameter(call, "Policy") {
        length = document.chars().count();
        if length > SESSION_POLICY {
            return Err(validation(format!(
                "1 validation error detected: Value '{document}' at 'policy' failed to satisfy constraint: Member must \
                 have length less than or equal to {SESSION_POLICY}"
            )));
        }
        policy::check_identity(document)?;
        all.push(Named { name: "session policy".to_owned(), document: document.to_owned() });
    }
    for index in 1_usize.. {
        let Some(arn) = parameter(call, &format!("PolicyArns.member.{index}.arn")) else { break };
        if index > SESSION_ARNS {
            return Err(validation(format!(
                "1 validation error detected: Value at 'policyArns' failed to satisfy constraint: Member must have length \
                 less than or equal to {SESSION_ARNS}"
            )));
        }
        length += arn.chars().count();
        managed::check_attachable(cloud, call, arn)?;
        all.push(managed::document(cloud, arn));
    }
    if length > SESSION_POLICY {
        let message =
            format!("Packed policy consumes more than {SESSION_POLICY} characters, please use smaller policy.");
        return Err(Fault::new("PackedPolicyTooLarge", message));
    }
    Ok((!all.is_empty()).then_some(all))
}
