//! Three IAM roles and the instance profile. Each role allows only what hosts or tasks need.

use trunnion_catalog::Partition;
use trunnion_engine::{Reference, Resource};
use trunnion_kinds::{IamInstanceProfile, IamRole, S3Object, iam_path, instance_profile_name, role_name};
use trunnion_stack::{Secret, Stack};

use crate::{
    BlueprintError,
    address::{self, CONTROL_PLANE, EXECUTION, GENERATOR, bucket_of, log_group_of, of, tags},
    control_plane::{KEY_SECRET, TOKEN_SECRET},
    policy::{Policy, Statement, Target, partition},
    resource,
};

struct Role {
    which: &'static str,
    description: &'static str,
    trust: Policy,
    policy: Option<Policy>,
}

/// The roles and the instance profile.
pub(crate) fn resources(stack: &Stack) -> Result<Vec<Resource>, BlueprintError> {
    let mut resources = Vec::new();
    for Role { which, description, trust, policy } in roles(stack) {
        let address = address::role(which);
        let role = IamRole {
            name: role_name(&stack.name, &stack.region, &which.replace('_', "-")),
            path: iam_path(&stack.name, &stack.region),
            description: format!("{description} of Trunnion stack {}", stack.name),
            trust_policy: trust.compact()?,
            policy: policy.map(|policy| policy.value()).transpose()?,
            other_policies: Vec::new(),
            attached_policies: Vec::new(),
            tags: tags(stack, &address),
        };
        resources.push(resource(address, &role)?);
    }
    let address = address::instance_profile();
    let profile = IamInstanceProfile {
        name: instance_profile_name(&stack.name, &stack.region),
        path: iam_path(&stack.name, &stack.region),
        // An existing role keeps its name, so this refers to the observed one.
        roles: vec![of(address::role(GENERATOR), "name")],
        tags: tags(stack, &address),
    };
    resources.push(resource(address, &profile)?.after([address::role(GENERATOR)]));
    Ok(resources)
}

/// The policies of the roles, with the paths that `trunnion render policy` prints them under.
pub(crate) fn policies(stack: &Stack) -> Vec<(String, Policy)> {
    let mut policies = Vec::new();
    for Role { which, trust, policy, .. } in roles(stack) {
        let address = address::role(which);
        policies.push((format!("{address}.trust_policy"), trust));
        policies.extend(policy.map(|policy| (format!("{address}.policy"), policy)));
    }
    policies
}

fn roles(stack: &Stack) -> [Role; 3] {
    let bucket = format!("arn:{}:s3:::{}", partition(&stack.region), bucket_of(stack));
    let objects = format!("{bucket}/{}*", S3Object::PREFIX);
    [
        Role {
            which: GENERATOR,
            description: "Generator hosts",
            trust: Policy::trust(Partition::of(&stack.region).service_principal("ec2"), []),
            policy: Some(Policy::new([Statement::allow("ReadGenerator", ["s3:GetObject"], vec![objects])])),
        },
        Role {
            which: CONTROL_PLANE,
            // The control plane connects to dedicated hosts by SSH, so the task needs no AWS permission.
            description: "Gatling control plane",
            trust: tasks(stack),
            policy: None,
        },
        Role {
            which: EXECUTION,
            description: "Start of the Gatling control plane",
            trust: tasks(stack),
            policy: Some(execution(stack)),
        },
    ]
}

/// Trusts only ECS tasks of this account and region. Without these conditions, another account could make ECS use the
/// role (the confused deputy problem).
fn tasks(stack: &Stack) -> Policy {
    let cluster = format!("arn:{}:ecs:{}:{}:*", partition(&stack.region), stack.region, stack.account);
    let conditions =
        [("ArnLike", "aws:SourceArn", cluster), ("StringEquals", "aws:SourceAccount", stack.account.clone())];
    Policy::trust(Partition::of(&stack.region).service_principal("ecs-tasks"), conditions)
}

fn execution(stack: &Stack) -> Policy {
    let partition = partition(&stack.region);
    let place = format!("{}:{}", stack.region, stack.account);
    let (token, private_key) = (&stack.control_plane.token, &stack.control_plane.ssh.private_key);
    let mut secrets = vec![target(TOKEN_SECRET, token)];
    if private_key.arn != token.arn {
        secrets.push(target(KEY_SECRET, private_key));
    }
    let streams = format!("arn:{partition}:logs:{place}:log-group:{}:*", log_group_of(stack));
    let mut statements = vec![
        Statement::allow("ReadSecrets", ["secretsmanager:GetSecretValue"], secrets),
        Statement::allow("WriteLog", ["logs:CreateLogStream", "logs:PutLogEvents"], vec![streams]),
    ];
    let repositories = ecr_repositories(stack);
    if !repositories.is_empty() {
        // `GetAuthorizationToken` has no resource ARN. It gives no access beyond what the next statement allows.
        statements.push(Statement::allow("LogInToRegistry", ["ecr:GetAuthorizationToken"], vec!["*".to_owned()]));
        let pull = ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"];
        let caches: Vec<String> = repositories.iter().filter(|repository| is_cache(repository)).cloned().collect();
        statements.push(Statement::allow("PullImage", pull, repositories));
        if !caches.is_empty() {
            // The first pull through a pull-through cache creates the repository and imports the image.
            let fill = ["ecr:BatchImportUpstreamImage", "ecr:CreateRepository"];
            statements.push(Statement::allow("FillCache", fill, caches));
        }
    }
    Policy::new(statements)
}

/// A secret in a policy. IAM needs the full ARN, which may be longer than the ARN in the stack.
fn target(lookup: &str, secret: &Secret) -> Target {
    let reference = Reference { address: address::secret(lookup), attribute: "arn".to_owned() };
    let shown = if secret.is_whole() { secret.arn.clone() } else { format!("<the whole ARN of {}>", secret.arn) };
    Target::LookedUp { reference, shown }
}

/// The ARNs of the ECR repositories of the containers' images, each once.
fn ecr_repositories(stack: &Stack) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for image in [&stack.control_plane.image, &stack.control_plane.init_image] {
        if let Some(arn) = ecr_repository(image)
            && !found.contains(&arn)
        {
            found.push(arn);
        }
    }
    found
}

/// The ARN of an image's repository, if it is in ECR: `<account>.dkr.ecr.<region>.<domain>/<name>:<tag>`, or
/// `<account>.dkr-ecr.<region>.<domain>` by its dual-stack endpoint (ECR User Guide, "Making requests over IPv6", read November
/// 2026).
fn ecr_repository(image: &str) -> Option<String> {
    let (host, rest) = image.split_once('/')?;
    let (account, host) = host.split_once('.')?;
    let (endpoint, host) = ["dkr.ecr.", "dkr.ecr-fips.", "dkr-ecr.", "dkr-ecr-fips."]
        .into_iter()
        .find_map(|endpoint| Some((endpoint, host.strip_prefix(endpoint)?)))?;
    let (region, domain) = host.split_once('.')?;
    let partition = Partition::of(region);
    let is_dual_stack = endpoint.starts_with("dkr-ecr");
    let expected = if is_dual_stack { partition.dual_stack_domain } else { partition.domain };
    let is_account = account.len() == 12 && account.bytes().all(|byte| byte.is_ascii_digit());
    if domain != expected || !is_account {
        return None;
    }
    let repository = rest.split(['@', ':']).next()?;
    Some(format!("arn:{}:ecr:{region}:{account}:repository/{repository}", partition.id))
}

/// Whether a repository is a pull-through cache: its name ends with the name of an upstream repository.
fn is_cache(repository: &str) -> bool {
    let name = repository.split_once(":repository/").map_or(repository, |(_, name)| name);
    ["/gatlingcorp/control-plane", "/library/busybox"].iter().any(|upstream| name.ends_with(upstream))
}
