//! How the control plane logs in to the hosts: user and key pair.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::json;

use super::{
    Around, Described,
    key::{Kind, or, required},
    kinds::shaped,
    secret_arns::SecretArn,
    section::section,
};
use crate::{
    diagnostic::Findings, field::Field, forms, model::Secret, secrets, shape::either, sources::shown_text,
    tree::ScalarKind,
};

section! {
    /// How the control plane logs in to the hosts.
    pub struct Ssh {
        /// The user it logs in as. Hosts without a user of this name create one.
        user: String = or(User, "gatling").such_as(&["load"]),
        /// The secret that holds the private key.
        private_key: Secret = required(SecretArn, "arn:aws:secretsmanager:…")
            .such_as(&["arn:aws:secretsmanager:eu-west-3:123456789012:secret:gatling/ssh-AbCdEf"]),
        /// The public key that hosts authorize, as one line of `authorized_keys`.
        public_key: String = required(PublicKey, "ssh-ed25519 …").such_as(&[
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEV4YW1wbGVLZXlOb3RGb3JSZWFsVXNlMDEyMzQ1Njc4 gatling",
        ]),
    }
}

/// Key types that a control plane logs in with.
const KEY_TYPES: [&str; 5] =
    ["ssh-ed25519", "ssh-rsa", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521"];

struct User;

impl Kind for User {
    type Value = String;

    fn read(&self, field: &Field, _: &Around, findings: &mut Findings) -> Option<String> {
        let text = findings.text(field)?;
        if is_of_system(text) {
            let says = format!("is `{}`, a system user of the hosts", shown_text(text));
            let help = "use another name, such as `gatling`: hosts without such a user get one";
            findings.about(field, "stack::system_user", says, help);
            return None;
        }
        if forms::USER.fits(text) {
            return Some(text.to_owned());
        }
        let says = format!("is `{}`, which is not a valid user name", shown_text(text));
        findings.about(field, "stack::malformed", says, format!("use {}", forms::USER.words()));
        None
    }

    fn describe(&self) -> Described {
        let mut described = shaped(&forms::USER);
        described.bounds.push("no user that the hosts' system has by itself".to_owned());
        for form in &mut described.forms {
            form["not"] = json!({ "pattern": format!("^({}|{SYSTEMD}.*)$", SYSTEM_USERS.join("|")) });
        }
        described
    }
}

/// One line of `authorized_keys`: type, key, comment.
struct PublicKey;

impl Kind for PublicKey {
    type Value = String;

    fn read(&self, field: &Field, _: &Around, findings: &mut Findings) -> Option<String> {
        if field.spelled().is_some_and(|spelled| !KEY_TYPES.iter().any(|known| spelled.trim().starts_with(known))) {
            findings.hide(field.node.span.clone());
        }
        if field.spelled().is_some_and(secrets::is_secret) {
            return None;
        }
        if field.spelled().is_some_and(|spelled| spelled.trim().lines().count() > 1) {
            let help = "write the one line that ends in `.pub`; each stack has one key";
            findings.about(field, "stack::public_key", "has several lines", help);
            return None;
        }
        // A block scalar ends in a newline that is not part of the key.
        let text = match field.spelled().filter(|_| field.kind() == Some(ScalarKind::Text)) {
            Some(spelled) if !spelled.trim().is_empty() => findings.printable(field, spelled.trim())?,
            _ => findings.text(field)?,
        };
        let mut words = text.split(' ').filter(|word| !word.is_empty());
        let kind = words.next().unwrap_or_default();
        if !KEY_TYPES.contains(&kind) {
            let help =
                format!("write the one line that `ssh-keygen` puts into the `.pub` file: {}", either(&KEY_TYPES));
            findings.about(
                field,
                "stack::public_key",
                "is not a public key of a known type; its value is not shown",
                help,
            );
            return None;
        }
        if !words.next().is_some_and(|body| is_key_of(kind, body)) {
            let help = "copy the whole line of the `.pub` file";
            findings.about(field, "stack::public_key", format!("is not a whole `{kind}` key"), help);
            return None;
        }
        Some(text.to_owned())
    }

    fn describe(&self) -> Described {
        Described {
            name: "text".to_owned(),
            bounds: vec![format!("one line that begins with {}", either(&KEY_TYPES))],
            forms: vec![json!({ "type": "string", "pattern": format!("^({}) ", KEY_TYPES.join("|")) })],
            ..Described::default()
        }
    }
}

/// Whether the body of the key contains this type (RFC 4253: the name of the type after its length).
fn is_key_of(kind: &str, body: &str) -> bool {
    let Ok(bytes) = STANDARD.decode(body) else { return false };
    let Some((length, rest)) = bytes.split_first_chunk::<4>() else { return false };
    let length = u32::from_be_bytes(*length) as usize;
    length == kind.len() && rest.starts_with(kind.as_bytes()) && rest.len() >= kind.len() + 32
}

/// System users and groups of Amazon Linux 2023 (its `/etc/passwd` and `/etc/group`, and those of its usual services),
/// besides `systemd-…`.
const SYSTEM_USERS: &[&str] = &[
    "adm",
    "apache",
    "audio",
    "bin",
    "cdrom",
    "chrony",
    "cwagent",
    "daemon",
    "dbus",
    "dialout",
    "disk",
    "ec2-instance-connect",
    "floppy",
    "ftp",
    "games",
    "halt",
    "input",
    "kmem",
    "kvm",
    "libstoragemgmt",
    "lock",
    "lp",
    "mail",
    "man",
    "mem",
    "nginx",
    "nobody",
    "operator",
    "polkitd",
    "render",
    "root",
    "rpc",
    "rpcuser",
    "screen",
    "sgx",
    "shutdown",
    "ssh_keys",
    "sshd",
    "stapdev",
    "stapsys",
    "stapusr",
    "sync",
    "sys",
    "tape",
    "tcpdump",
    "tss",
    "tty",
    "unbound",
    "users",
    "utempter",
    "utmp",
    "video",
    "wheel",
];

/// The prefix of further system users.
const SYSTEMD: &str = "systemd-";

/// Whether this is the name of a system user or group.
fn is_of_system(text: &str) -> bool {
    SYSTEM_USERS.contains(&text) || text.starts_with(SYSTEMD)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_of_the_system_are_known() {
        for theirs in ["root", "wheel", "nobody", "systemd-resolve"] {
            assert!(is_of_system(theirs), "{theirs}");
        }
        assert!(!is_of_system("gatling") && !is_of_system("ec2-user"));
    }
}
