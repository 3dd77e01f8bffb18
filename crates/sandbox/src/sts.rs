//! Security Token Service: the identity of the caller.

use serde::Serialize;

use crate::{
    call::{Call, Fault, Reply},
    cloud::Cloud,
    iam::wire::reply,
};

/// The name and the id of the only user.
pub(crate) const USER: &str = "sandbox";
pub(crate) const USER_ID: &str = "AIDASANDBOXSANDBOXSAN";

/// The ARN of the only user.
pub(crate) fn user_arn(cloud: &Cloud, call: &Call) -> String {
    format!("{}:iam::{}:user/{USER}", call.arn(), cloud.account)
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Identity {
    arn: String,
    user_id: &'static str,
    account: String,
}

/// Answers one call.
pub fn handle(cloud: &mut Cloud, call: &Call) -> Result<Reply, Fault> {
    if call.action != "GetCallerIdentity" {
        return Err(Fault::new(
            "InvalidAction",
            format!("Could not find operation {} for version 2011-06-15", call.action),
        ));
    }
    let identity = Identity { arn: user_arn(cloud, call), user_id: USER_ID, account: cloud.account.clone() };
    reply(call, "https://sts.amazonaws.com/doc/2011-06-15/", Some(&identity))
}
