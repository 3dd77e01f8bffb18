//! The ARNs of secrets, with optional fields: `…:secret:<name>:<json key>:<version stage>:<version id>`.

use serde_json::json;
use trunnion_catalog::{
    Partition,
    limits::{SECRET_NAME, SECRET_STAGE, SECRET_VERSION},
};

use super::{Around, Described, key::Kind};
use crate::{diagnostic::Findings, field::Field, model::Secret, secrets, sources::shown_text};

/// A secret of this region and account. A value that is not an ARN may be the secret itself and is never shown.
pub(super) struct SecretArn;

impl Kind for SecretArn {
    type Value = Secret;

    fn read(&self, field: &Field, around: &Around, findings: &mut Findings) -> Option<Secret> {
        if field.spelled().is_some_and(|spelled| !spelled.starts_with("arn:")) {
            findings.hide(field.node.span.clone());
        }
        if field.spelled().is_some_and(secrets::is_secret) {
            // Already reported, by the check of the whole file.
            return None;
        }
        let text = findings.text(field)?;
        let Some(arn) = Arn::parse(text) else {
            let help = "put the value into Secrets Manager and write its ARN: `arn:aws:secretsmanager:…`";
            findings.about(field, "stack::arn", "is not the ARN of a secret; its value is not shown", help);
            return None;
        };
        let part = match arn.secret() {
            SecretName::Whole => None,
            SecretName::Part(part) => Some(part.to_owned()),
            SecretName::OtherService => {
                let says = format!("is an ARN of `{}`, not of a Secrets Manager secret", shown_text(arn.service));
                let help = "it looks like `arn:aws:secretsmanager:<region>:<account>:secret:<name>`";
                findings.about(field, "stack::arn", says, help);
                return None;
            }
            SecretName::Malformed => {
                let says = "is not the ARN of a valid secret";
                let help = format!(
                    "its name has up to {SECRET_NAME} letters, digits and `/ _ + = . @ -`; copy the ARN from the console"
                );
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
        let (region, account) = (around.region?, around.account?);
        let partition = Partition::of(region).id;
        for (what, create, theirs, ours) in [
            ("partition ", "create", arn.partition, partition),
            ("", "create or replicate", arn.region, region),
            ("account ", "create", arn.account, account),
        ] {
            if theirs != ours {
                let theirs = shown_text(theirs);
                let says = format!("is a secret in {what}`{theirs}`, but the stack is in {what}`{ours}`");
                let key = if what == "account " { "account" } else { "region" };
                let help = format!("{create} it in {what}`{ours}` and use that ARN, or correct `{key}`");
                findings.about(field, "stack::arn", says, help);
                return None;
            }
        }
        let end = text.len() - part.as_ref().map_or(0, |part| part.len() + 1);
        Some(Secret { arn: text.get(..end)?.to_owned(), part })
    }

    fn describe(&self) -> Described {
        Described {
            name: "text".to_owned(),
            bounds: vec![
                "the ARN of a Secrets Manager secret in the stack's region and account, with or without the six characters that \
                 Secrets Manager appends to the name"
                    .to_owned(),
                "`:<json key>:<version stage>:<version id>` may follow where only a part of the secret is needed, with quotes \
                 around the whole"
                    .to_owned(),
            ],
            forms: vec![json!({ "type": "string", "pattern": "^arn:aws[a-z-]*:secretsmanager:" })],
            ..Described::default()
        }
    }
}

/// The name of a secret without what Secrets Manager appends to it in the ARN: a hyphen and six characters.
fn own_name(name: &str) -> &str {
    let appended = |(_, end): &(&str, &str)| end.len() == 6 && end.bytes().all(|byte| byte.is_ascii_alphanumeric());
    name.rsplit_once('-').filter(appended).map_or(name, |(own, _)| own)
}

/// The parts of an ARN that are checked.
#[derive(Debug, PartialEq, Eq)]
struct Arn<'t> {
    partition: &'t str,
    service: &'t str,
    region: &'t str,
    account: &'t str,
    resource: &'t str,
}

impl<'t> Arn<'t> {
    /// Splits a text with the form of an ARN; `None` for other text.
    fn parse(text: &'t str) -> Option<Self> {
        let mut parts = text.splitn(6, ':');
        let mut next = || parts.next();
        (next()? == "arn").then_some(())?;
        let (partition, service, region, account, resource) = (next()?, next()?, next()?, next()?, next()?);
        Some(Arn { partition, service, region, account, resource })
    }

    /// The secret in Secrets Manager that the ARN names.
    fn secret(&self) -> SecretName<'t> {
        let Some(rest) = self.resource.strip_prefix("secret:").filter(|_| self.service == "secretsmanager") else {
            return SecretName::OtherService;
        };
        let (name, part) = rest.split_once(':').map_or((rest, None), |(name, part)| (name, Some(part)));
        let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"/_+=.@-".contains(&byte);
        if name.is_empty() || own_name(name).len() > SECRET_NAME || !name.bytes().all(is_part) {
            return SecretName::Malformed;
        }
        let Some(part) = part else { return SecretName::Whole };
        let fields: Vec<&str> = part.split(':').collect();
        let &[key, stage, version] = fields.as_slice() else {
            return SecretName::MalformedPart("has something after the secret's name that is not three fields");
        };
        if key.is_empty() && stage.is_empty() && version.is_empty() {
            return SecretName::MalformedPart("ends in three empty fields");
        }
        if !stage.is_empty() && !version.is_empty() {
            return SecretName::MalformedPart("names both a stage and an id of the secret's version");
        }
        let (shortest, longest) = SECRET_VERSION;
        if stage.chars().count() > SECRET_STAGE
            || !(version.is_empty() || (shortest..=longest).contains(&version.len()))
        {
            return SecretName::MalformedPart("names a version that no secret has");
        }
        SecretName::Part(part)
    }
}

/// The part of a secret that an ARN names.
#[derive(Debug, PartialEq, Eq)]
enum SecretName<'t> {
    /// The whole current version.
    Whole,
    /// `<json key>:<version stage>:<version id>` after the ARN.
    Part(&'t str),
    /// Not the ARN of a secret.
    OtherService,
    /// The name is not valid for a secret.
    Malformed,
    /// The fields after the name are malformed, for this reason.
    MalformedPart(&'static str),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arns_have_six_parts() {
        let arn = Arn::parse("arn:aws:secretsmanager:eu-west-3:123456789012:secret:gatling/token-AbCdEf").unwrap();
        assert_eq!((arn.region, arn.account), ("eu-west-3", "123456789012"));
        assert_eq!(arn.secret(), SecretName::Whole);
        let other = Arn::parse("arn:aws:ssm:eu-west-3:123456789012:parameter/x").unwrap();
        assert_eq!(other.secret(), SecretName::OtherService);
        assert_eq!(Arn::parse("arn:aws:s3"), None);
        assert_eq!(Arn::parse("cpt_0123456789"), None);
    }

    #[test]
    fn keys_and_versions_follow_a_secret() {
        let of = |rest: &'static str| Arn {
            partition: "aws",
            service: "secretsmanager",
            region: "",
            account: "",
            resource: rest,
        };
        for part in ["cp_token::", ":AWSPREVIOUS:", "key:stage:", "::9d4cb84b-ad69-40c0-a0ab-cead36b967e8"] {
            let resource: &'static str = format!("secret:x-AbCdEf:{part}").leak();
            assert_eq!(of(resource).secret(), SecretName::Part(part));
        }
        for wrong in [
            "secret:x:key",
            "secret:x:::",
            "secret:x:a:b:c:d",
            "secret:x::s:9d4cb84b-ad69-40c0-a0ab-cead36b967e8",
            "secret:x:::v1",
        ] {
            assert!(matches!(of(wrong).secret(), SecretName::MalformedPart(_)), "{wrong}");
        }
        assert_eq!(of("secret:x y").secret(), SecretName::Malformed);
        assert_eq!(of("secret:").secret(), SecretName::Malformed);
        let long = |length: usize, end: &str| -> &'static str { format!("secret:{}{end}", "x".repeat(length)).leak() };
        for (resource, is_name) in [
            (long(SECRET_NAME, ""), true),
            (long(SECRET_NAME, "-AbCdEf"), true),
            (long(SECRET_NAME + 1, ""), false),
            (long(SECRET_NAME + 1, "-AbCdEf"), false),
        ] {
            assert_eq!(of(resource).secret() == SecretName::Whole, is_name, "{}", resource.len());
        }
    }
}
