//! Security Token Service: the identity of the caller.

use serde::Serialize;

use crate::{
    call::{Call, Fault, Reply},
    cloud::Cloud,
    iam::wire::reply,
};

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
    let account = cloud.account.clone();
    let identity = Identity {
        arn: format!("{}:iam::{account}:user/sandbox", call.arn()),
        user_id: "AIDASANDBOXSANDBOXSAN",
        account,
    };
    reply(call, "https://sts.amazonaws.com/doc/2011-06-15/", Some(&identity))
}
