//! Which SSH libraries do not log in with a stack's kind of key.
//!
//! Gatling does not say which library its control plane uses. `cargo xtask kernel login` logs in to a host with each of these
//! (`crates/xtask/src/kernel/login.rs`); `docs/hosts.md` has the table. The stack has the public key, which shows its type and
//! not the file format of the private key. So there is no note on ECDSA, which all of them read as PEM.

use trunnion_engine::Note;
use trunnion_stack::Stack;

/// The type in a public key, its usual name, and the libraries that do not log in with it.
const REFUSED: &[(&str, &str, &str)] = &[
    (
        "ssh-ed25519",
        "an ed25519 key",
        "Apache MINA SSHD without its optional library `net.i2p.crypto:eddsa`, and JSch 0.1.55",
    ),
    ("ssh-rsa", "an RSA key", "JSch 0.1.55"),
];

/// A note on the stack's public key, unless all libraries log in with keys of its type.
pub(crate) fn note(stack: &Stack) -> Option<Note> {
    let kind = stack.control_plane.ssh.public_key.split(' ').next()?;
    let (_, key, libraries) = REFUSED.iter().find(|(refused, ..)| *refused == kind)?;
    Some(Note {
        code: "blueprint::public_key".to_owned(),
        message: format!(
            "`control_plane.ssh.public_key` is {key}; these SSH libraries do not log in with it: {libraries}; Gatling does not \
             document which one its control plane uses"
        ),
        help: Some(
            "if the control plane cannot log in to the hosts, use a key from `ssh-keygen -t ecdsa -b 256 -m PEM`"
                .to_owned(),
        ),
    })
}

#[cfg(test)]
mod tests;
