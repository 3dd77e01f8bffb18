//! Who signed a request: the administrator, a user, or a session of a role, with the policies that apply.

use jiff::Timestamp;

use super::{
    managed,
    policy::{Caller, Named, Policies, Policy, Values},
    role::Role,
    session::{Kind, Session},
    user::User,
};
use crate::{ACCESS_KEY_ID, SECRET_ACCESS_KEY, call::arn_of, cloud::Cloud, durations::Delay, sts};

/// Who makes a request, and what applies to every request of theirs.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    pub caller: Caller,
    /// The policies, without those of a resource.
    pub policies: Policies,
    /// The condition keys that tell of the caller.
    pub keys: Vec<(String, Values)>,
    /// `UserId` in `GetCallerIdentity`.
    pub user_id: String,
    /// Whether these are credentials of `GetSessionToken`, which IAM and most of STS refuse.
    pub is_bare_token: bool,
}

impl Identity {
    /// Whether it is the administrator of the account.
    pub(crate) fn is_administrator(&self) -> bool {
        matches!(self.caller, Caller::Administrator { .. })
    }

    /// A service that acts for itself on behalf of a resource.
    pub(crate) fn service(name: String, keys: Vec<(String, Values)>) -> Self {
        Self {
            caller: Caller::Service { name },
            policies: Policies::default(),
            keys,
            user_id: String::new(),
            is_bare_token: false,
        }
    }
}

/// The secret of an access key.
#[derive(Debug)]
pub(crate) struct Credentials {
    pub secret: String,
    /// The token that each request must have.
    pub token: Option<String>,
    pub expires: Option<Timestamp>,
}

/// The secret of an access key that exists and that this part of IAM knows already.
pub(crate) fn credentials(cloud: &Cloud, access_key: &str, now: Timestamp) -> Option<Credentials> {
    if access_key == ACCESS_KEY_ID {
        return Some(Credentials { secret: SECRET_ACCESS_KEY.to_owned(), token: None, expires: None });
    }
    if let Some(session) = cloud.iam.sessions.get(access_key) {
        let Session { secret, token, expires, .. } = session.clone();
        return Some(Credentials { secret, token: Some(token), expires: Some(expires) });
    }
    let key = cloud
        .iam
        .keys
        .get(access_key)
        .filter(|key| key.active && cloud.knows(Delay::IamLag, access_key, key.created, now))?;
    Some(Credentials { secret: key.secret.clone(), token: None, expires: None })
}

/// Who has this access key.
pub(crate) fn identity(cloud: &Cloud, access_key: &str, region: &str, now: Timestamp) -> Option<Identity> {
    if access_key == ACCESS_KEY_ID {
        return Some(administrator(cloud, region));
    }
    if let Some(session) = cloud.iam.sessions.get(access_key) {
        return of_session(cloud, session, region, now);
    }
    let key = cloud.iam.keys.get(access_key)?;
    let user = cloud.iam.users.get(&key.user.to_lowercase())?;
    Some(of_user(cloud, user, now))
}

fn administrator(cloud: &Cloud, region: &str) -> Identity {
    let arn = sts::user_arn(cloud, region);
    Identity {
        keys: about(cloud, &arn, "User", sts::USER_ID, Some(sts::USER)),
        caller: Caller::Administrator { arn },
        policies: Policies::default(),
        user_id: sts::USER_ID.to_owned(),
        is_bare_token: false,
    }
}

fn of_user(cloud: &Cloud, user: &User, now: Timestamp) -> Identity {
    let held = user.held.effective(cloud, &user.arn, now);
    let mut keys = about(cloud, &user.arn, "User", &user.id, Some(&user.name));
    keys.extend(user.tags.iter().map(|tag| (format!("aws:PrincipalTag/{}", tag.key), tag.value.as_str().into())));
    Identity {
        caller: Caller::User { arn: user.arn.clone() },
        policies: Policies {
            identity: managed::documents(cloud, &held.inline, &held.attached),
            boundary: held.boundary.as_ref().map(|arn| managed::document(cloud, arn)),
            ..Policies::default()
        },
        keys,
        user_id: user.id.clone(),
        is_bare_token: false,
    }
}

fn of_session(cloud: &Cloud, session: &Session, region: &str, now: Timestamp) -> Option<Identity> {
    let issued = ("aws:TokenIssueTime".to_owned(), session.issued.strftime("%Y-%m-%dT%H:%M:%SZ").to_string().into());
    match &session.kind {
        Kind::Token { access_key } => {
            let mut identity = identity(cloud, access_key, region, now)?;
            identity.keys.push(issued);
            identity.keys.push(("aws:MultiFactorAuthPresent".to_owned(), false.into()));
            identity.is_bare_token = true;
            Some(identity)
        }
        Kind::Role { role, name } => {
            // A role that was deleted and made again is another one.
            let row = cloud.iam.roles.values().find(|row| row.id == *role)?;
            let mut identity = of_role(cloud, row, name, now);
            identity.policies.session.clone_from(&session.policies);
            for (key, value) in &session.tags {
                identity.keys.retain(|(known, _)| *known != format!("aws:PrincipalTag/{key}"));
                identity.keys.push((format!("aws:PrincipalTag/{key}"), value.as_str().into()));
            }
            let source = session.source_identity.as_deref();
            identity.keys.extend(source.map(|source| ("aws:SourceIdentity".to_owned(), source.into())));
            identity.keys.push(issued);
            identity.keys.push(("aws:MultiFactorAuthPresent".to_owned(), false.into()));
            Some(identity)
        }
    }
}

/// The user or the role with this ARN, as if it made a request.
pub(super) fn by_arn(cloud: &Cloud, arn: &str, region: &str, now: Timestamp) -> Option<Identity> {
    if arn == sts::user_arn(cloud, region) {
        return Some(administrator(cloud, region));
    }
    let user = cloud.iam.users.values().find(|user| user.arn == arn);
    let role = || cloud.iam.roles.values().find(|role| role.arn == arn);
    user.map(|user| of_user(cloud, user, now)).or_else(|| Some(of_role(cloud, role()?, "simulated", now)))
}

/// The first principal of a policy that is in this account and does not exist there, or that this part of IAM does not know
/// yet. Those of other accounts cannot be known here.
pub(crate) fn unknown_principal(cloud: &Cloud, document: &str, region: &str, now: Timestamp) -> Option<String> {
    let policy = Policy::read(document).ok()?;
    let is_unknown = |arn: &&str| {
        let parts: Vec<&str> = arn.splitn(6, ':').collect();
        let [_, partition, service, _, account, resource] = parts[..] else { return true };
        if account != cloud.account {
            return false;
        }
        let is_known = |id: &str, created| cloud.knows(Delay::IamLag, id, created, now);
        let of_session = resource.strip_prefix("assumed-role/").and_then(|rest| Some(rest.split_once('/')?.0));
        let mut roles = cloud.iam.roles.values();
        let is_there = match (service, of_session) {
            ("sts", Some(name)) => roles.any(|row| row.name == name && is_known(&row.id, row.created)),
            ("sts", None) => false,
            _ if *arn == sts::user_arn(cloud, region) => true,
            _ => {
                let mut users = cloud.iam.users.values();
                users.any(|row| row.arn == *arn && is_known(&row.id, row.created))
                    || roles.any(|row| row.arn == *arn && is_known(&row.id, row.created))
            }
        };
        !is_there || arn_of(region).strip_prefix("arn:") != Some(partition)
    };
    policy.principals().find(is_unknown).map(str::to_owned)
}

/// A session of a role that a service opens, such as ECS for a task.
pub(crate) fn in_role(cloud: &Cloud, role: &str, session: &str, now: Timestamp) -> Option<Identity> {
    let role =
        cloud.iam.roles.values().find(|row| row.arn == role && cloud.all_know(Delay::IamLag, row.created, now))?;
    Some(of_role(cloud, role, session, now))
}

/// The ARN of a session of a role.
pub(super) fn session_arn(role: &Role, session: &str) -> String {
    let arn = role.arn.replacen(":iam:", ":sts:", 1);
    let account = arn.split(":role/").next().unwrap_or_default();
    format!("{account}:assumed-role/{}/{session}", role.name)
}

fn of_role(cloud: &Cloud, role: &Role, session: &str, now: Timestamp) -> Identity {
    let held = role.held.effective(cloud, &role.arn, now);
    let arn = session_arn(role, session);
    let user_id = format!("{}:{session}", role.id);
    let mut keys = about(cloud, &role.arn, "AssumedRole", &user_id, None);
    keys.extend(role.tags.iter().map(|tag| (format!("aws:PrincipalTag/{}", tag.key), tag.value.as_str().into())));
    Identity {
        caller: Caller::Session { arn, role: role.arn.clone() },
        policies: Policies {
            identity: managed::documents(cloud, &held.inline, &held.attached),
            boundary: held.boundary.as_ref().map(|arn| managed::document(cloud, arn)),
            ..Policies::default()
        },
        keys,
        user_id,
        is_bare_token: false,
    }
}

fn about(cloud: &Cloud, arn: &str, kind: &str, user_id: &str, name: Option<&str>) -> Vec<(String, Values)> {
    let mut keys: Vec<(String, Values)> = vec![
        ("aws:PrincipalAccount".to_owned(), cloud.account.as_str().into()),
        ("aws:PrincipalArn".to_owned(), arn.into()),
        ("aws:PrincipalIsAWSService".to_owned(), false.into()),
        ("aws:PrincipalType".to_owned(), kind.into()),
        ("aws:userid".to_owned(), user_id.into()),
    ];
    keys.extend(name.map(|name| ("aws:username".to_owned(), name.into())));
    keys
}

/// The trust policy of a role for an evaluation.
pub(super) fn trust(cloud: &Cloud, role: &Role, now: Timestamp) -> Named {
    let held = role.held.effective(cloud, &role.arn, now);
    Named { name: format!("trust policy of {}", role.name), document: held.trust.clone().unwrap_or_default() }
}
