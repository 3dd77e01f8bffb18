//! Container images: pinned, and of a control plane that works here.

use super::{Field, Map};
use crate::{diagnostic::Findings, model::ControlPlane, sources::shown_text};

/// What writes the conf unless the stack names another image: Docker Hub's own `busybox`, from a registry that limits
/// anonymous pulls much later than Docker Hub does.
pub(crate) const INIT_IMAGE: &str = "public.ecr.aws/docker/library/busybox:1.37.0";

/// The image of the container that writes the conf.
pub(super) fn init_image(map: &Map, findings: &mut Findings) -> Option<String> {
    match map.get("init_image") {
        Some(field) => pinned(&field, INIT_IMAGE, findings),
        None => Some(INIT_IMAGE.to_owned()),
    }
}

/// The control plane's own image.
pub(super) fn control_plane(field: &Field, findings: &mut Findings) -> Option<String> {
    let image = pinned(field, "gatlingcorp/control-plane:2026.42.2", findings)?;
    let first = ControlPlane::FIRST_VERSION;
    match ControlPlane::version_of(&image) {
        Some(version) if version < first => {
            let [year, week, patch] = first;
            let says = format!(
                "takes a control plane before {year}.{week}.{patch}, which answers `/info` only where it has a repository, \
                 so that ECS would take it for sick and restart it for ever"
            );
            findings.about(field, "stack::control_plane_version", says, "take a newer version, such as `2026.42.2`");
            None
        }
        _ => Some(image),
    }
}

/// A container image that stays the same: with a version or a digest.
fn pinned(field: &Field, example: &str, findings: &mut Findings) -> Option<String> {
    let text = findings.text(field)?;
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"._-/:@".contains(&byte);
    if text.len() > 255 || !text.bytes().all(is_part) {
        let says = format!("is `{}`, which is no container image", shown_text(text));
        findings.about(field, "stack::malformed", says, "write `repository:tag` or `repository@sha256:…`");
        return None;
    }
    if let Some((_, digest)) = text.split_once('@') {
        let hex = digest.strip_prefix("sha256:").unwrap_or_default();
        if hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Some(text.to_owned());
        }
        findings.about(
            field,
            "stack::malformed",
            "has a digest that is none",
            "a digest is `sha256:` and 64 hex digits",
        );
        return None;
    }
    let name = text.rsplit('/').next().unwrap_or_default();
    let says = match name.split_once(':') {
        None => "names no version, so that every start may take another one",
        Some((_, tag)) if tag == "latest" || tag.starts_with("latest-") => {
            "takes `latest`, so that every start may take another version"
        }
        Some((name, tag)) if name.is_empty() || tag.is_empty() => "is no container image",
        Some(_) => return Some(text.to_owned()),
    };
    findings.about(field, "stack::unpinned_image", says, format!("pin a version, such as `{example}`"));
    None
}
