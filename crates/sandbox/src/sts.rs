//! Security Token Service: the identity of the caller, and temporary credentials.

use serde::Serialize;

use crate::{
    call::{Call, Fault, Reply, arn_of},
    cloud::Cloud,
    iam::{self, Begun, wire::reply},
};

const NAMESPACE: &str = "https://sts.amazonaws.com/doc/2011-06-15/";
/// The name and the id of the administrator.
pub(crate) const USER: &str = "sandbox";
pub(crate) const USER_ID: &str = "AIDASANDBOXSANDBOXSAN";

/// The ARN of the administrator.
pub(crate) fn user_arn(cloud: &Cloud, region: &str) -> String {
    format!("{}:iam::{}:user/{USER}", arn_of(region), cloud.account)
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Identity {
    arn: String,
    user_id: String,
    account: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Credentials {
    access_key_id: String,
    secret_access_key: String,
    session_token: String,
    expiration: String,
}

impl From<&Begun> for Credentials {
    fn from(begun: &Begun) -> Self {
        Self {
            access_key_id: begun.access_key.clone(),
            secret_access_key: begun.session.secret.clone(),
            session_token: begun.session.token.clone(),
            expiration: begun.session.expires.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        }
    }
}

/// Answers one call.
pub fn handle(cloud: &mut Cloud, call: &Call) -> Result<Reply, Fault> {
    match call.action.as_str() {
        "GetCallerIdentity" => caller(cloud, call),
        "AssumeRole" => assume(cloud, call),
        "GetSessionToken" => token(cloud, call),
        other => Err(Fault::new("InvalidAction", format!("Could not find operation {other} for version 2011-06-15"))),
    }
}

fn caller(cloud: &Cloud, call: &Call) -> Result<Reply, Fault> {
    let found = iam::identity(cloud, &call.origin.access_key, &call.region, call.now);
    let Some(found) = found else {
        return Err(Fault::new("InvalidClientTokenId", "The security token included in the request is invalid.")
            .with_status(403));
    };
    let identity =
        Identity { arn: found.caller.arn().to_owned(), user_id: found.user_id, account: cloud.account.clone() };
    reply(call, NAMESPACE, Some(&identity))
}

fn assume(cloud: &mut Cloud, call: &Call) -> Result<Reply, Fault> {
    #[derive(Serialize)]
    #[serde(rename_all = "PascalCase")]
    struct User {
        assumed_role_id: String,
        arn: String,
    }
    #[derive(Serialize)]
    #[serde(rename_all = "PascalCase")]
    struct Answer {
        assumed_role_user: User,
        credentials: Credentials,
    }
    let begun = iam::assume(cloud, call)?;
    let credentials = Credentials::from(&begun);
    let assumed_role_user = User { assumed_role_id: begun.user_id, arn: begun.arn };
    reply(call, NAMESPACE, Some(&Answer { assumed_role_user, credentials }))
}

fn token(cloud: &mut Cloud, call: &Call) -> Result<Reply, Fault> {
    #[derive(Serialize)]
    #[serde(rename_all = "PascalCase")]
    struct Answer {
        credentials: Credentials,
    }
    let begun = iam::token(cloud, call)?;
    reply(call, NAMESPACE, Some(&Answer { credentials: Credentials::from(&begun) }))
}
