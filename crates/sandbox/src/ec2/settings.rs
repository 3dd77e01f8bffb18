//! The settings of an account in a region. They cannot be changed here, so every call answers AWS's default.

use super::document;
use crate::call::{Call, Reply};

/// A setting that is one value: action, element of the answer, value.
///
/// Sources: EC2 user guide, "Encryption by default", "Block public access to your AMIs", "Block public access for
/// snapshots" and "EC2 Serial Console" (read November 2026).
const VALUES: [(&str, &str, &str); 5] = [
    ("GetEbsDefaultKmsKeyId", "kmsKeyId", "alias/aws/ebs"),
    ("GetEbsEncryptionByDefault", "ebsEncryptionByDefault", "false"),
    ("GetImageBlockPublicAccessState", "imageBlockPublicAccessState", "block-new-sharing"),
    ("GetSerialConsoleAccessStatus", "serialConsoleAccessEnabled", "false"),
    ("GetSnapshotBlockPublicAccessState", "state", "unblocked"),
];

/// The answer of a call for a setting.
pub(super) fn describe(call: &Call) -> Option<Reply> {
    if call.action == "GetInstanceMetadataDefaults" {
        return Some(document(call, |xml| {
            xml.element("accountLevel", |_| {});
        }));
    }
    let (_, element, value) = VALUES.iter().find(|(action, _, _)| *action == call.action)?;
    Some(document(call, |xml| {
        xml.text(element, value);
        if matches!(call.action.as_str(), "GetImageBlockPublicAccessState" | "GetSnapshotBlockPublicAccessState") {
            xml.text("managedBy", "account");
        }
    }))
}

/// The names of the calls.
#[cfg(test)]
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    VALUES.iter().map(|(action, _, _)| *action).chain(["GetInstanceMetadataDefaults"])
}
