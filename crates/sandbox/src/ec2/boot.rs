//! A host's boot, as far as its role goes: the user data is read, and each object of S3 that it names is asked for with
//! the credentials that the instance metadata service would hand out.

use base64::{Engine, engine::general_purpose::STANDARD};
use jiff::Timestamp;

use super::model::{Instance, InstanceState};
use crate::{
    authorize::{Asking, Need, Origin},
    cloud::Cloud,
    iam::{self, Identity},
    s3::permissions,
};

/// Plays the boots that are due: of instances that run, and whose boot has no outcome yet.
pub(super) fn settle(cloud: &mut Cloud, now: Timestamp) {
    let is_due = |instance: &Instance| instance.state == InstanceState::Running && instance.console.is_none();
    let due = cloud.ec2.instances.iter().filter(|(_, instance)| is_due(instance));
    let consoles: Vec<(String, String)> =
        due.map(|(id, instance)| (id.to_owned(), console(cloud, id, instance, now))).collect();
    for (id, console) in consoles {
        if let Some(instance) = cloud.ec2.instances.get_mut(&id) {
            instance.console = Some(console);
        }
    }
}

/// What the boot writes to the console.
fn console(cloud: &Cloud, id: &str, instance: &Instance, now: Timestamp) -> String {
    let user_data = instance.user_data.as_ref().and_then(|digest| cloud.ec2.user_data.get(digest));
    let script = user_data.and_then(|text| STANDARD.decode(text).ok()).and_then(|text| String::from_utf8(text).ok());
    let objects = script.as_deref().map(objects).unwrap_or_default();
    let identity = identity(cloud, id, instance, now);
    let mut lines = vec![format!("{id}: cloud-init: running modules for final")];
    for (bucket, key) in objects {
        let failed = match &identity {
            // aws-samples/aws-plugin-for-slurm issue 3, read November 2026.
            None => Some("fatal error: Unable to locate credentials".to_owned()),
            Some(identity) => permissions::read_by_role(cloud, identity, &instance.region, &bucket, &key, now).map(
                |(status, text)| {
                    format!("fatal error: An error occurred ({status}) when calling the HeadObject operation: {text}")
                },
            ),
        };
        lines.push(match failed {
            Some(failed) => format!("download failed: s3://{bucket}/{key}: {failed}"),
            None => format!("download: s3://{bucket}/{key}"),
        });
    }
    lines.join("\n")
}

/// The session of the profile's role: EC2 must be able to assume it.
fn identity(cloud: &Cloud, id: &str, instance: &Instance, now: Timestamp) -> Option<Identity> {
    let (arn, _) = instance.profile.as_ref()?;
    let role = cloud.iam.instance_profile(arn)?.role.as_deref()?;
    let role = cloud.iam.role_arn(role)?.to_owned();
    let target = iam::assumed_by_service(cloud, &role, now)?;
    let service = Identity::service("ec2.amazonaws.com".to_owned(), Vec::new());
    let origin = Origin { access_key: String::new(), address: None, agent: None, is_secure: true };
    let asking = Asking {
        cloud,
        identity: &service,
        origin: &origin,
        service: "ec2",
        call: "AssumeRole",
        region: &instance.region,
        now,
    };
    if !asking.is_allowed(&Need { action: "sts:AssumeRole", target }) {
        return None;
    }
    let mut identity = iam::in_role(cloud, &role, id, now)?;
    identity.keys.push(("ec2:RoleDelivery".to_owned(), "2.0".into()));
    let source = super::arn(cloud, &instance.region, "instance", id);
    identity.keys.push(("ec2:SourceInstanceARN".to_owned(), source.into()));
    Some(identity)
}

/// The objects that a script names as `s3://BUCKET/KEY`, quoted or not. What has a variable of the shell in it is not
/// known before the script runs.
fn objects(script: &str) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = Vec::new();
    for rest in script.split("s3://").skip(1) {
        let word = rest.split(|c: char| c.is_whitespace() || ";|&)<>".contains(c)).next().unwrap_or_default();
        let word = word.replace(['\'', '"'], "");
        if let Some((bucket, key)) = word.split_once('/')
            && !word.contains('$')
            && !key.is_empty()
        {
            found.push((bucket.to_owned(), key.to_owned()));
        }
    }
    found.sort();
    found.dedup();
    found
}

#[cfg(test)]
mod tests {
    use super::objects;

    #[test]
    fn the_objects_of_a_script_are_found() {
        let script = "readonly object=s3://'my bucket'/x\nobject=s3://b-1/generator/'ab12'\naws s3 cp \"s3://b/$key\" /x; s3://b/k;";
        let pair = |bucket: &str, key: &str| (bucket.to_owned(), key.to_owned());
        assert_eq!(objects(script), [pair("b", "k"), pair("b-1", "generator/ab12")]);
    }
}
