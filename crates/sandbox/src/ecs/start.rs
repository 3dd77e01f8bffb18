//! What ECS does with its roles before a task runs: it assumes them, reads the secrets, makes the log stream and pulls the
//! images. What fails is the task's stopped reason, in the words of public reports.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::definition::Definition;
use crate::{
    authorize::{Asking, Need, Origin, Target, because, evaluated_log, in_service, secret_target, with_log_tags},
    call::arn_of,
    cloud::Cloud,
    iam::{
        self, Identity,
        policy::{Decision, Denial, Unknown},
    },
    json::hex_id,
};

/// The prefixes of the pull-through cache rules that every registry here has; they are what ECR suggests for these
/// upstream registries (ECR user guide, read November 2026). All other repositories hold their images.
const CACHES: [&str; 2] = ["docker-hub/", "ecr-public/"];

/// Why tasks cannot run.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(from = "Written")]
pub(super) struct Blocked {
    /// The role that ECS cannot assume, so that a service starts no task.
    pub role: Option<String>,
    /// The stopped reason of the tasks.
    pub reason: String,
}

/// Earlier versions wrote the reason alone.
#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Reason(String),
    Whole { role: Option<String>, reason: String },
}

impl From<Written> for Blocked {
    fn from(written: Written) -> Self {
        match written {
            Written::Reason(reason) => Self { role: None, reason },
            Written::Whole { role, reason } => Self { role, reason },
        }
    }
}

impl Blocked {
    fn stopped(reason: String) -> Self {
        Self { role: None, reason }
    }

    /// boto/boto3 issue 1878, read November 2026.
    fn role(role: &str) -> Self {
        let reason = format!(
            "ECS was unable to assume the role '{role}' that was provided for this task. Please verify that the role being \
             passed has the proper trust relationship and permissions and that your IAM user has permissions to pass this \
             role."
        );
        Self { role: Some(role.to_owned()), reason }
    }
}

struct Starting<'s> {
    cloud: &'s Cloud,
    region: &'s str,
    now: Timestamp,
    origin: Origin,
    /// The name of the role's session, which is the task's id.
    session: String,
}

/// Why tasks of a definition cannot run, in the order in which Fargate finds out.
pub(super) fn failure(cloud: &Cloud, region: &str, now: Timestamp, definition: &str) -> Option<Blocked> {
    let row = cloud.ecs.definitions.get(definition)?;
    let origin =
        Origin { access_key: String::new(), address: None, agent: Some("Amazon ECS".to_owned()), is_secure: true };
    let starting = Starting { cloud, region, now, origin, session: hex_id(definition, 32) };
    starting.assume(row).and_then(|execution| starting.prepare(row, execution.as_ref())).err()
}

impl Starting<'_> {
    /// Assumes the task's roles, and gives the identity of the execution role.
    fn assume(&self, row: &Definition) -> Result<Option<Identity>, Blocked> {
        let mut execution = None;
        for member in ["executionRoleArn", "taskRoleArn"] {
            let role = row.text(member);
            if role.is_empty() {
                continue;
            }
            // A role that was made or changed only now is not known to every service.
            if !iam::delay::is_known_everywhere(self.cloud, role, self.now) || !self.trusts(role) {
                return Err(Blocked::role(role));
            }
            if member == "executionRoleArn" {
                execution = iam::in_role(self.cloud, role, &self.session, self.now);
            }
        }
        Ok(execution)
    }

    /// ECS assumes the roles of tasks as a service, for a task of this account. AWS's documents name the condition keys and
    /// say that only a pattern for all clusters works (ECS developer guide, "Task IAM role", read November 2026), so the
    /// source is that pattern.
    fn trusts(&self, role: &str) -> bool {
        let Some(target) = iam::assumed_by_service(self.cloud, role, self.now) else { return false };
        let (region, account) = (self.region, &self.cloud.account);
        let source = format!("{}:ecs:{region}:{account}:*", arn_of(region));
        let service = Identity::service("ecs-tasks.amazonaws.com".to_owned(), in_service(account, &source));
        self.asking(&service, "AssumeRole").is_allowed(&Need { action: "sts:AssumeRole", target })
    }

    fn prepare(&self, row: &Definition, execution: Option<&Identity>) -> Result<(), Blocked> {
        for container in row.containers() {
            self.read_secrets(container, execution)?;
        }
        for container in row.containers() {
            self.log_in(container, execution)?;
        }
        for container in row.containers() {
            self.open_log(container, execution)?;
        }
        row.containers().iter().try_for_each(|container| self.pull(container, execution))
    }

    fn read_secrets(&self, container: &Value, execution: Option<&Identity>) -> Result<(), Blocked> {
        let lists = [&container["secrets"], &container["logConfiguration"]["secretOptions"]];
        for secret in lists.into_iter().filter_map(Value::as_array).flatten() {
            let from = secret["valueFrom"].as_str().unwrap_or_default();
            if from.split(':').nth(2) != Some("secretsmanager") {
                self.read_parameter(from, execution)?;
                continue;
            }
            // GiamPy5/terraform-aws-directus issue 10, read November 2026.
            let failed = |reason: String| {
                Blocked::stopped(format!(
                    "ResourceInitializationError: unable to pull secrets or registry auth: execution resource retrieval \
                     failed: unable to retrieve secret from asm: service call has been retried 1 time(s): failed to fetch \
                     secret {from} from secrets manager: {reason}"
                ))
            };
            let arn = self.cloud.secrets.readable(from, &self.cloud.account).map_err(failed)?;
            let region = from.split(':').nth(3).unwrap_or_default();
            let tags = self.cloud.secrets.permitted(region, &self.cloud.account, &arn).map(|(_, tags)| tags);
            let target =
                secret_target(arn, region, &tags.unwrap_or_default()).with("secretsmanager:VersionStage", "AWSCURRENT");
            self.require(execution, "secretsmanager:GetSecretValue", target).map_err(failed)?;
        }
        Ok(())
    }

    /// A parameter of Systems Manager, by its ARN or by its name in the task's region ("Pass Systems Manager parameters
    /// through Amazon ECS environment variables", ECS developer guide, read November 2026).
    fn read_parameter(&self, from: &str, execution: Option<&Identity>) -> Result<(), Blocked> {
        let named = || {
            let account = if from.starts_with("/aws/") { "" } else { &self.cloud.account };
            let (region, name) = (self.region, from.trim_start_matches('/'));
            format!("{}:ssm:{region}:{account}:parameter/{name}", arn_of(region))
        };
        let arn = if from.starts_with("arn:") { from.to_owned() } else { named() };
        // aws/copilot-cli issue 4504 and HHS/simpler-grants-gov pull request 4330, read November 2026.
        let failed = |reason: String| {
            Blocked::stopped(format!(
                "ResourceInitializationError: unable to pull secrets or registry auth: execution resource retrieval failed: \
                 unable to retrieve secrets from ssm: service call has been retried 1 time(s): {reason}"
            ))
        };
        self.require(execution, "ssm:GetParameters", Target::of("parameter", arn.clone())).map_err(failed)?;
        if self.cloud.ssm.has(&arn) {
            return Ok(());
        }
        let name = arn.split_once(":parameter").map_or(from, |(_, name)| name);
        Err(failed(format!("invalid ssm parameters: {name}")))
    }

    /// A registry of ECR wants a login.
    fn log_in(&self, container: &Value, execution: Option<&Identity>) -> Result<(), Blocked> {
        if repository(container["image"].as_str().unwrap_or_default()).is_none() {
            return Ok(());
        }
        self.require(execution, "ecr:GetAuthorizationToken", Target::any()).map_err(|reason| {
            Blocked::stopped(format!(
                "ResourceInitializationError: unable to pull secrets or registry auth: execution resource retrieval failed: \
                 unable to retrieve ecr registry auth: service call has been retried 1 time(s): {reason}"
            ))
        })
    }

    fn open_log(&self, container: &Value, execution: Option<&Identity>) -> Result<(), Blocked> {
        let options = &container["logConfiguration"]["options"];
        let Some(group) = options["awslogs-group"].as_str() else { return Ok(()) };
        let (account, now_region) = (&self.cloud.account, self.region);
        let region = options["awslogs-region"].as_str().unwrap_or(now_region);
        // doctorray117/minecraft-ondemand issue 12, read November 2026.
        let failed = |what: &str, reason: String| {
            Blocked::stopped(format!(
                "ResourceInitializationError: failed to validate logger args: create stream has been retried 1 times: failed \
                 to create Cloudwatch log {what}: {reason} : exit status 1"
            ))
        };
        let creates = options["awslogs-create-group"] == "true";
        let exists = self.cloud.logs.has_group(region, account, group);
        if creates && !exists {
            let target = Target::of("log-group", evaluated_log(region, account, group, ""));
            self.require(execution, "logs:CreateLogGroup", target).map_err(|reason| failed("group", reason))?;
        }
        if !creates && !exists {
            let reason = "ResourceNotFoundException: The specified log group does not exist.".to_owned();
            return Err(failed("stream", reason));
        }
        let prefix = options["awslogs-stream-prefix"].as_str().unwrap_or("ecs");
        let stream = format!("{prefix}/{}/{}", container["name"].as_str().unwrap_or_default(), self.session);
        let group_arn = format!("{}:logs:{region}:{account}:log-group:{group}", arn_of(region));
        let target = || {
            let target = Target::of("log-stream", evaluated_log(region, account, group, &stream));
            with_log_tags(self.cloud, target, &group_arn)
        };
        self.require(execution, "logs:CreateLogStream", target()).map_err(|reason| failed("stream", reason))?;
        // The driver writes later, and a task whose lines are refused keeps running; nobody would see them, so this is
        // treated like the stream.
        self.require(execution, "logs:PutLogEvents", target()).map_err(|reason| failed("stream", reason))
    }

    /// ECR answers 403 to a manifest that it does not hand out (aws-samples/bedrock-access-gateway issue 114, read November
    /// 2026).
    fn pull(&self, container: &Value, execution: Option<&Identity>) -> Result<(), Blocked> {
        let image = container["image"].as_str().unwrap_or_default();
        let Some((arn, name)) = repository(image) else { return Ok(()) };
        let is_cached = CACHES.iter().any(|prefix| name.starts_with(prefix));
        let fill: &[&'static str] =
            if is_cached { &["ecr:BatchImportUpstreamImage", "ecr:CreateRepository"] } else { &[] };
        let pull = ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"];
        for action in pull.iter().chain(fill) {
            self.require(execution, action, Target::of("repository", arn.clone())).map_err(|_| {
                let host = image.split('/').next().unwrap_or_default();
                Blocked::stopped(format!(
                    "CannotPullContainerError: pull image manifest has been retried 1 time(s): failed to resolve ref {image}: \
                     unexpected status from HEAD request to https://{host}/v2/{name}/manifests/{}: 403 Forbidden",
                    tag(image)
                ))
            })?;
        }
        Ok(())
    }

    /// Refuses what the execution role may not do, with AWS's sentence.
    fn require(&self, execution: Option<&Identity>, action: &'static str, target: Target) -> Result<(), String> {
        let Some(execution) = execution else {
            return Err("NoCredentialProviders: no valid providers in chain".to_owned());
        };
        let need = Need { action, target };
        match self.asking(execution, "StartTask").decide(&need) {
            Ok(Decision::Allowed { .. }) => Ok(()),
            Ok(Decision::Denied(denial)) => Err(refusal(execution, &need, &denial)),
            Err(unknown) => Err(no_verdict(action, &unknown)),
        }
    }

    fn asking<'a>(&'a self, identity: &'a Identity, call: &'a str) -> Asking<'a> {
        Asking {
            cloud: self.cloud,
            identity,
            origin: &self.origin,
            service: "ecs-tasks",
            call,
            region: self.region,
            now: self.now,
        }
    }
}

fn refusal(execution: &Identity, need: &Need, denial: &Denial) -> String {
    let text = because(execution.caller.arn(), need.action, Some(&need.target.arn), denial);
    format!("AccessDeniedException: {text} status code: 400")
}

fn no_verdict(action: &str, unknown: &Unknown) -> String {
    format!("SandboxCannotEvaluate: {action}: {unknown}")
}

/// The ARN and the name of the repository of ECR that an image comes from: `ACCOUNT.dkr.ecr.REGION.DOMAIN/NAME:TAG`, or
/// with `dkr-ecr` for the dual-stack endpoint (ECR user guide, read November 2026).
fn repository(image: &str) -> Option<(String, String)> {
    let (host, path) = image.split_once('/')?;
    let (account, rest) = host.split_once('.')?;
    let is_account = account.len() == 12 && account.bytes().all(|byte| byte.is_ascii_digit());
    let region =
        ["dkr.ecr.", "dkr.ecr-fips.", "dkr-ecr.", "dkr-ecr-fips."].iter().find_map(|start| rest.strip_prefix(start))?;
    let (region, _) = region.split_once('.')?;
    let name = path.split(['@', ':']).next()?;
    is_account.then(|| (format!("{}:ecr:{region}:{account}:repository/{name}", arn_of(region)), name.to_owned()))
}

fn tag(image: &str) -> &str {
    let path = image.rsplit('/').next().unwrap_or_default();
    path.split_once(['@', ':']).map_or("latest", |(_, tag)| tag)
}

#[cfg(test)]
mod tests {
    use super::{repository, tag};

    #[test]
    fn only_images_of_ecr_have_a_repository_there() {
        let image = "123456789012.dkr.ecr.eu-west-3.amazonaws.com/docker-hub/gatlingcorp/control-plane:1.27.0";
        let (arn, name) = repository(image).unwrap();
        assert_eq!(arn, "arn:aws:ecr:eu-west-3:123456789012:repository/docker-hub/gatlingcorp/control-plane");
        assert_eq!((name.as_str(), tag(image)), ("docker-hub/gatlingcorp/control-plane", "1.27.0"));
        assert!(repository("123456789012.dkr-ecr.cn-north-1.on.amazonwebservices.com.cn/x").is_some());
        assert_eq!(repository("public.ecr.aws/docker/library/busybox:1.37.0"), None);
        assert_eq!(repository("busybox"), None);
    }
}
