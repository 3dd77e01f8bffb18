//! The ARNs of secrets, with what may stand behind them: `…:secret:<name>:<json key>:<version stage>:<version id>`.

use super::Field;
use crate::{
    diagnostic::Findings,
    model::Secret,
    secrets,
    sources::shown_text,
    words::{self, SecretName},
};
use trunnion_catalog::Partition;

/// A secret of this region and account. What is no ARN may be the secret itself and is never shown.
pub(super) fn read(
    field: &Field,
    region: Option<&str>,
    account: Option<&str>,
    findings: &mut Findings,
) -> Option<Secret> {
    if field.spelled().is_some_and(|spelled| !spelled.starts_with("arn:")) {
        findings.hide(field.node.span.clone());
    }
    if field.spelled().is_some_and(secrets::is_secret) {
        // Told already, for the whole file.
        return None;
    }
    let text = findings.text(field)?;
    let Some(arn) = words::Arn::parse(text) else {
        let help = "put the value into Secrets Manager and write its ARN: `arn:aws:secretsmanager:…`";
        findings.about(field, "stack::arn", "is no ARN of a secret; its value is not shown", help);
        return None;
    };
    let part = match arn.secret() {
        SecretName::Whole => None,
        SecretName::Part(part) => Some(part.to_owned()),
        SecretName::OtherService => {
            let says = format!("is an ARN of `{}`, but takes one of a Secrets Manager secret", shown_text(arn.service));
            let help = "it looks like `arn:aws:secretsmanager:<region>:<account>:secret:<name>`";
            findings.about(field, "stack::arn", says, help);
            return None;
        }
        SecretName::Malformed => {
            let says = "names no secret that Secrets Manager can have";
            let help = "its name has up to 512 letters, digits and `/ _ + = . @ -`; copy the ARN from the console";
            findings.about(field, "stack::arn", says, help);
            return None;
        }
        SecretName::MalformedPart(says) => {
            let help = "write `<ARN>:<json key>:<version stage>:<version id>`, where what is not needed stays empty: such as \
                `\"…:secret:<name>:password::\"`, in quotes";
            findings.about(field, "stack::arn", says, help);
            return None;
        }
    };
    let (region, account) = (region?, account?);
    let partition = Partition::of(region).id;
    for (what, theirs, ours) in
        [("partition", arn.partition, partition), ("region", arn.region, region), ("account", arn.account, account)]
    {
        if theirs != ours {
            let says = format!("is a secret of {what} `{}`, but the stack's is {ours}", shown_text(theirs));
            let help = format!("make a secret in {ours} and write its ARN; an environment may name another one");
            findings.about(field, "stack::arn", says, help);
            return None;
        }
    }
    let end = text.len() - part.as_ref().map_or(0, |part| part.len() + 1);
    Some(Secret { arn: text.get(..end)?.to_owned(), part })
}
