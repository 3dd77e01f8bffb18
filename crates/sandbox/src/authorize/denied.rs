//! Refusals in the words of each service ("Troubleshoot access denied error messages", IAM user guide, read November
//! 2026; each service's code and status as its API reference has them).

use super::{Asking, Need};
use crate::{
    call::Fault,
    iam::policy::{Basis, Denial},
};

/// The error of a call that needs what its caller may not do.
pub(super) fn fault(asking: &Asking<'_>, need: &Need, denial: &Denial) -> Fault {
    // EC2 and Secrets Manager name no resource where an action has none.
    let is_silent = need.target.arn == "*" && matches!(asking.service, "ec2" | "secretsmanager");
    let resource = match need.target.shown.as_deref().unwrap_or(&need.target.arn) {
        _ if is_silent => None,
        arn if asking.service == "s3" => Some(format!("\"{arn}\"")),
        arn => Some(arn.to_owned()),
    };
    let text = because(asking.identity.caller.arn(), need.action, resource.as_deref(), denial);
    match asking.service {
        "ec2" => {
            Fault::new("UnauthorizedOperation", format!("You are not authorized to perform this operation. {text}"))
                .with_status(403)
        }
        "iam" | "sts" | "s3" => Fault::new("AccessDenied", text).with_status(403),
        _ => Fault::new("AccessDeniedException", text),
    }
}

/// AWS's sentence of a refusal.
pub(crate) fn because(caller: &str, action: &str, resource: Option<&str>, denial: &Denial) -> String {
    let on = resource.map(|resource| format!(" on resource: {resource}")).unwrap_or_default();
    let (article, policy) = match denial.basis {
        Basis::Identity | Basis::Administrator => ("an", "identity-based policy"),
        Basis::Resource => ("a", "resource-based policy"),
        Basis::Boundary => ("a", "permissions boundary"),
        Basis::Session => ("a", "session policy"),
        Basis::Trust => ("the", "role trust policy"),
    };
    let why = match (&denial.explicit, &denial.basis) {
        (Some(_), _) => format!(" with an explicit deny in {article} {policy}"),
        // STS gives no reason for it.
        (None, Basis::Trust) => String::new(),
        (None, _) => format!(" because no {policy} allows the {action} action"),
    };
    format!("User: {caller} is not authorized to perform: {action}{on}{why}")
}
