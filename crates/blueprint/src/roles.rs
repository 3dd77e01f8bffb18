//! What hosts and tasks may do: three roles and the instance profile, with no more than they need.

use trunnion_engine::Resource;
use trunnion_kinds::{IamInstanceProfile, IamRole, S3Object, iam_path, instance_profile_name, role_name};
use trunnion_stack::Stack;

use crate::{
    BlueprintError,
    address::{self, CONTROL_PLANE, EXECUTION, GENERATOR, bucket_of, log_group_of, of, tags},
    policy::{Policy, Statement, domain, partition},
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
            policy: policy.map(|policy| policy.compact()).transpose()?,
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
        // A role that is there keeps its name.
        roles: vec![of(address::role(GENERATOR), "name")],
        tags: tags(stack, &address),
    };
    resources.push(resource(address, &profile)?.after([address::role(GENERATOR)]));
    Ok(resources)
}

/// The policies of this room, by the path they are told under.
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
            trust: Policy::trust(format!("ec2.{}", domain(&stack.region)), []),
            policy: Some(Policy::new([Statement::allow("ReadGenerator", ["s3:GetObject"], vec![objects])])),
        },
        Role {
            which: CONTROL_PLANE,
            // Dedicated hosts are reached by SSH and not through AWS, so the task itself needs no permission.
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

/// Only ECS tasks of this account and region: without the conditions, ECS could be made to use the role for others.
fn tasks(stack: &Stack) -> Policy {
    let cluster = format!("arn:{}:ecs:{}:{}:*", partition(&stack.region), stack.region, stack.account);
    let conditions =
        [("ArnLike", "aws:SourceArn", cluster), ("StringEquals", "aws:SourceAccount", stack.account.clone())];
    Policy::trust("ecs-tasks.amazonaws.com".to_owned(), conditions)
}

fn execution(stack: &Stack) -> Policy {
    let partition = partition(&stack.region);
    let place = format!("{}:{}", stack.region, stack.account);
    let mut secrets = vec![secret(&stack.control_plane.token), secret(&stack.control_plane.ssh.private_key)];
    secrets.dedup();
    let streams = format!("arn:{partition}:logs:{place}:log-group:{}:*", log_group_of(stack));
    let mut statements = vec![
        Statement::allow("ReadSecrets", ["secretsmanager:GetSecretValue"], secrets),
        Statement::allow("WriteLog", ["logs:CreateLogStream", "logs:PutLogEvents"], vec![streams]),
    ];
    if let Some(repository) = ecr_repository(stack) {
        // The login has no ARN to name; it opens nothing that the second statement does not.
        statements.push(Statement::allow("LogInToRegistry", ["ecr:GetAuthorizationToken"], vec!["*".to_owned()]));
        let pull = ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"];
        statements.push(Statement::allow("PullImage", pull, vec![repository]));
    }
    Policy::new(statements)
}

/// The secret itself: ECS may name a key and a version of it behind its ARN, IAM knows the ARN only.
pub(crate) fn secret(arn: &str) -> String {
    arn.split(':').take(7).collect::<Vec<_>>().join(":")
}

/// ARN of the repository that the control plane's image comes from, if that is one of ECR:
/// `<account>.dkr.ecr.<region>.amazonaws.com/<repository>:<tag>`.
fn ecr_repository(stack: &Stack) -> Option<String> {
    let (host, rest) = stack.control_plane.image.split_once('/')?;
    let (account, host) = host.split_once(".dkr.ecr.")?;
    let (region, _) = host.split_once(".amazonaws.com")?;
    let repository = rest.split(['@', ':']).next()?;
    Some(format!("arn:{}:ecr:{region}:{account}:repository/{repository}", partition(region)))
}
