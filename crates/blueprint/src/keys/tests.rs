#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::path::Path;

use trunnion_stack::LoadOptions;

use super::*;

/// What the note on a key of this type says.
fn says(kind: &str) -> Option<String> {
    let text = include_str!("../../../../stacks/minimal.yaml");
    let mut stack = Stack::parse(text, Path::new("stack.yaml"), None, &LoadOptions::default()).unwrap();
    stack.control_plane.ssh.public_key = format!("{kind} AAAA gatling");
    note(&stack).map(|note| format!("{}: {}", note.code, note.message))
}

#[test]
fn only_types_that_a_library_refuses_give_a_note() {
    insta::assert_snapshot!(says("ssh-ed25519").unwrap(), @"blueprint::public_key: `control_plane.ssh.public_key` is an ed25519 key; these SSH libraries do not log in with it: Apache MINA SSHD without its optional library `net.i2p.crypto:eddsa`, and JSch 0.1.55; Gatling does not document which one its control plane uses");
    insta::assert_snapshot!(says("ssh-rsa").unwrap(), @"blueprint::public_key: `control_plane.ssh.public_key` is an RSA key; these SSH libraries do not log in with it: JSch 0.1.55; Gatling does not document which one its control plane uses");
    for kind in ["ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521"] {
        assert_eq!(says(kind), None);
    }
}
