//! Machine images of hosts, and pinned container images.

use serde_json::json;
use trunnion_catalog::{
    Partition,
    limits::{self, CONTAINER_IMAGE, PARAMETER_LEVELS},
};

use super::{Around, Described, key::Kind, kinds::shaped};
use crate::{
    diagnostic::Findings,
    field::Field,
    forms,
    model::{ControlPlane, Image},
    sources::shown_text,
    tree::Value,
};

/// The control plane version in examples.
pub(super) const CONTROL_PLANE: &str = "gatlingcorp/control-plane:2026.42.2";
/// The default image of the container that writes the conf: Docker Hub's `busybox`, from ECR Public, whose limit for
/// anonymous pulls is much higher than that of Docker Hub.
pub(super) const BUSYBOX: &str = "public.ecr.aws/docker/library/busybox:1.37.0";

/// The image that hosts boot from.
pub(super) struct MachineImage;

impl Kind for MachineImage {
    type Value = Image;

    fn read(&self, field: &Field, around: &Around, findings: &mut Findings) -> Option<Image> {
        const HELP: &str = "write `al2023`, an id such as `ami-0123456789abcdef0`, or `{ ssm: /path/of/a/parameter }`";
        if let Value::Map(_) = &field.node.value {
            let map = findings.map(field)?;
            let mut unknown = map.fields().filter(|(key, _)| *key != "ssm").peekable();
            if unknown.peek().is_some() || map.entries.is_empty() {
                findings.about(field, "stack::wrong_type", "is a map, but not one with the key `ssm` alone", HELP);
                return None;
            }
            let parameter = map.get("ssm")?;
            let text = findings.text(&parameter)?;
            if !forms::PARAMETER.fits(text) {
                let says = format!("is `{}`, which is not a valid path of an SSM parameter", shown_text(text));
                let help = format!("write {}", forms::PARAMETER.words());
                findings.about(&parameter, "stack::malformed", says, help);
                return None;
            }
            can_exist(text, around, &parameter, findings)?;
            return Some(Image::Parameter(text.to_owned()));
        }
        match findings.text(field)? {
            "al2023" => Some(Image::AmazonLinux2023),
            id if forms::MACHINE_IMAGE.fits(id) => Some(Image::Id(id.to_owned())),
            other => {
                let says = format!("is `{}`, which is not a valid image", shown_text(other));
                findings.about(field, "stack::malformed", says, HELP);
                None
            }
        }
    }

    fn describe(&self) -> Described {
        Described {
            name: "text, or a map with the key `ssm`".to_owned(),
            bounds: vec![
                "`al2023`: Amazon Linux 2023 for the pool's architecture".to_owned(),
                format!("an id: {}", forms::MACHINE_IMAGE.words()),
                format!("`ssm`: the path of the SSM parameter that holds an id; {}", forms::PARAMETER.words()),
            ],
            forms: vec![
                json!({ "const": "al2023" }),
                json!({ "type": "string", "pattern": forms::MACHINE_IMAGE.pattern() }),
                json!({
                    "type": "object",
                    "properties": { "ssm": {
                        "type": "string",
                        "pattern": forms::PARAMETER.pattern(),
                        "maxLength": limits::PARAMETER_ARN,
                    } },
                    "required": ["ssm"],
                    "additionalProperties": false,
                }),
            ],
            is_replaced: true,
            ..Described::default()
        }
    }
}

/// Refuses a parameter that Systems Manager cannot have.
fn can_exist(name: &str, around: &Around, field: &Field, findings: &mut Findings) -> Option<()> {
    let levels = name.matches('/').count();
    if levels > PARAMETER_LEVELS {
        let says = format!("has {levels} levels, but Systems Manager allows {PARAMETER_LEVELS}");
        findings.about(field, "stack::malformed", says, "use a shorter path");
        return None;
    }
    let (region, account) = (around.region?, around.account?);
    let arn = format!("arn:{}:ssm:{region}:{account}:parameter{name}", Partition::of(region).id).len();
    if arn > limits::PARAMETER_ARN {
        let most = name.len().saturating_sub(arn - limits::PARAMETER_ARN);
        let says = format!("has {} characters, but Systems Manager allows {most} in {region}", name.len());
        findings.about(field, "stack::malformed", says, "use a shorter path");
        return None;
    }
    Some(())
}

/// A container image with a version or a digest.
pub(super) struct Pinned {
    /// A pinned image.
    pub(super) example: &'static str,
}

impl Kind for Pinned {
    type Value = String;

    fn read(&self, field: &Field, _: &Around, findings: &mut Findings) -> Option<String> {
        let text = findings.text(field)?;
        let is_short = limits::image_characters(text) <= CONTAINER_IMAGE;
        if is_short && forms::CONTAINER_IMAGE.fits(text) && !forms::LATEST.fits(text) {
            return Some(text.to_owned());
        }
        let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"._-/:@".contains(&byte);
        let (_, tag) = text.rsplit('/').next().unwrap_or_default().split_once(':').unwrap_or_default();
        if !is_short {
            let says = format!("has {} characters, but ECS allows {CONTAINER_IMAGE}", limits::image_characters(text));
            findings.about(field, "stack::malformed", says, "use a shorter repository or tag; a digest does not count");
        } else if !text.bytes().all(is_part) {
            let says = format!("is `{}`, which is not a valid container image", shown_text(text));
            findings.about(field, "stack::malformed", says, format!("write {}", forms::CONTAINER_IMAGE.words()));
        } else if text.contains('@') {
            let help = "a digest is `sha256:` and 64 hex digits";
            findings.about(field, "stack::malformed", "has a malformed digest", help);
        } else {
            let says = if forms::LATEST.fits(text) {
                "uses the tag `latest`: two starts may run two versions"
            } else if tag.is_empty() {
                "names no version: two starts may run two versions"
            } else {
                "is not a valid container image"
            };
            findings.about(field, "stack::unpinned_image", says, format!("pin a version, such as `{}`", self.example));
        }
        None
    }

    fn describe(&self) -> Described {
        let mut described = shaped(&forms::CONTAINER_IMAGE);
        described.bounds.extend([
            "no `latest`".to_owned(),
            format!("at most {CONTAINER_IMAGE} characters, its digest not counted"),
        ]);
        for form in &mut described.forms {
            form["maxLength"] = json!(CONTAINER_IMAGE + "@sha256:".len() + 64);
            form["not"] = json!({ "pattern": forms::LATEST.pattern() });
        }
        described
    }
}

/// The image of a control plane with a health endpoint that ECS can use.
pub(super) struct ControlPlaneImage;

const PINNED: Pinned = Pinned { example: CONTROL_PLANE };

impl Kind for ControlPlaneImage {
    type Value = String;

    fn read(&self, field: &Field, around: &Around, findings: &mut Findings) -> Option<String> {
        let image = PINNED.read(field, around, findings)?;
        let first = ControlPlane::FIRST_VERSION;
        match ControlPlane::version_of(&image) {
            Some(version) if version < first => {
                let [year, week, patch] = first;
                let says = format!(
                    "is a control plane before {year}.{week}.{patch}, which answers `/info` only if it has a repository: ECS \
                     would count it as unhealthy and restart it again and again"
                );
                findings.about(field, "stack::control_plane_version", says, "use a newer version, such as `2026.42.2`");
                None
            }
            _ => Some(image),
        }
    }

    fn describe(&self) -> Described {
        let mut described = PINNED.describe();
        let [year, week, patch] = ControlPlane::FIRST_VERSION;
        described.bounds.push(format!("version {year}.{week}.{patch} or newer"));
        described
    }
}
