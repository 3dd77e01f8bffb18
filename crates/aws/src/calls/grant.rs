//! What a call needs: IAM actions, on which resources and under which conditions.
//!
//! Facts are those of AWS's Service Authorization Reference, read November 2026.
//! `tests/conformance/authorization/calls.mjs` compares every action, resource type and condition key with a copy of it.

use std::collections::BTreeSet;

use super::subject::Subject;

/// The commands that make a call, as a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Commands(u8);

impl Commands {
    pub const PLAN: Self = Self(1);
    pub const APPLY: Self = Self(2);
    pub const DESTROY: Self = Self(4);
    /// What the examination of an account reads in addition to a plan.
    pub const DOCTOR: Self = Self(8);
    /// `plan` and `apply`. `destroy` reads only what belongs to the stack.
    pub const LOOKUP: Self = Self(1 | 2);
    /// The same, and the examination of an account.
    pub const LOOKUP_OR_DOCTOR: Self = Self(1 | 2 | 8);
    pub const CHANGE: Self = Self(2 | 4);
    pub const ALL: Self = Self(1 | 2 | 4);
    /// The same, and the examination of an account.
    pub const ALL_OR_DOCTOR: Self = Self(1 | 2 | 4 | 8);
    /// What lists, shows and restores versions of the state.
    pub const STATE: Self = Self(16);
    /// Takes the stack's tags off resources.
    pub const FORGET: Self = Self(32);
    /// Gives resources the stack's tags, and changes them in place.
    pub const IMPORT: Self = Self(64);
    /// `apply` and `import`.
    pub const UPDATE: Self = Self(2 | 64);
    /// `apply`, `destroy` and `import`.
    pub const CHANGE_OR_IMPORT: Self = Self(2 | 4 | 64);
    /// `apply`, `forget` and `import`: each changes tags, and signs in a tag of the cluster.
    pub const SIGN: Self = Self(2 | 32 | 64);
    /// `apply` and `forget`.
    pub const UNMARK: Self = Self(2 | 32);
    /// What writes the state.
    pub const WRITE_STATE: Self = Self(2 | 4 | 16 | 32 | 64);
    /// What reads the state.
    pub const READ_STATE: Self = Self(1 | 2 | 4 | 16);
    /// A call that no command makes for a stack of today.
    pub const NONE: Self = Self(0);

    /// Both sets.
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether the sets have a command in common.
    pub const fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

/// An IAM action that a call needs.
#[derive(Debug)]
pub(crate) struct Need {
    /// Such as `ec2:RunInstances`.
    pub action: &'static str,
    /// The statement that allows it.
    pub grant: &'static Grant,
    /// The commands that need it.
    pub commands: Commands,
}

/// A statement of a policy, without its actions.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Grant {
    /// The name of the statement.
    pub sid: &'static str,
    pub on: &'static [On],
    pub when: &'static [When],
}

impl Grant {
    /// Whether it allows only what has the tag of the stack.
    pub fn needs_tag(&self) -> bool {
        self.when.contains(&When::IsTagged)
    }
}

/// Resources, by the names that a stack gives them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum On {
    /// The actions have no ARN.
    Everything,
    Bucket,
    Cluster,
    ElasticIp,
    EcsRole,
    HostRole,
    Image,
    Instance,
    InstanceProfile,
    LaunchTemplate,
    LogGroup,
    NetworkInterface,
    Objects,
    Parameter,
    Role,
    Secret,
    SecurityGroup,
    Service,
    Snapshot,
    SpotRequest,
    SpotRole,
    StateBucket,
    StateObjects,
    Subnet,
    TaskDefinition,
    TaskRole,
    Tasks,
    Volume,
    Vpc,
}

impl On {
    /// The service and the resource type in the Service Authorization Reference.
    pub const fn resource_type(self) -> Option<(&'static str, &'static str)> {
        Some(match self {
            Self::Everything => return None,
            Self::Bucket | Self::StateBucket => ("s3", "bucket"),
            Self::Objects | Self::StateObjects => ("s3", "object"),
            Self::Cluster => ("ecs", "cluster"),
            Self::Service => ("ecs", "service"),
            Self::Tasks => ("ecs", "task"),
            Self::TaskDefinition => ("ecs", "task-definition"),
            Self::ElasticIp => ("ec2", "elastic-ip"),
            Self::Image => ("ec2", "image"),
            Self::Instance => ("ec2", "instance"),
            Self::LaunchTemplate => ("ec2", "launch-template"),
            Self::NetworkInterface => ("ec2", "network-interface"),
            Self::SecurityGroup => ("ec2", "security-group"),
            Self::Snapshot => ("ec2", "snapshot"),
            Self::SpotRequest => ("ec2", "spot-instances-request"),
            Self::Subnet => ("ec2", "subnet"),
            Self::Volume => ("ec2", "volume"),
            Self::Vpc => ("ec2", "vpc"),
            Self::EcsRole | Self::HostRole | Self::Role | Self::SpotRole | Self::TaskRole => ("iam", "role"),
            Self::InstanceProfile => ("iam", "instance-profile"),
            Self::LogGroup => ("logs", "log-group"),
            Self::Parameter => ("ssm", "parameter"),
            Self::Secret => ("secretsmanager", "Secret"),
        })
    }
}

/// A condition of a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    /// The call goes to the stack's region.
    InRegion,
    /// The resource has the tag of the stack.
    IsTagged,
    /// The resource has no tag of any stack.
    IsOfNoStack,
    /// The call gives what it creates the tag of the stack.
    Tags,
    /// The call does not give the resource to another stack.
    KeepsStack,
    /// The call removes named tags, and not that of the stack.
    RemovesOtherTags,
    /// The tags belong to a create call.
    WhileCreating,
    /// The role is passed to EC2.
    PassedToHosts,
    /// The role is passed to ECS tasks.
    PassedToTasks,
    /// The service-linked role is that of ECS or of spot instances.
    OfKnownService,
    /// The cluster is the stack's.
    InCluster,
}

/// One condition of a policy: operator, key and values.
pub(crate) type Condition = (&'static str, &'static str, Vec<String>);

impl When {
    /// What a policy says.
    pub fn conditions(self, subject: &Subject) -> Vec<Condition> {
        let stack = || vec![subject.stack.clone()];
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        match self {
            Self::InRegion => vec![("StringEquals", "aws:RequestedRegion", vec![subject.region.clone()])],
            Self::IsTagged => vec![("StringEquals", "aws:ResourceTag/trunnion:stack", stack())],
            Self::IsOfNoStack => vec![("Null", "aws:ResourceTag/trunnion:stack", words(&["true"]))],
            Self::Tags => vec![("StringEquals", "aws:RequestTag/trunnion:stack", stack())],
            Self::KeepsStack => vec![("StringEqualsIfExists", "aws:RequestTag/trunnion:stack", stack())],
            // A call without keys removes all tags (EC2 API reference, `DeleteTags`, read November 2026).
            Self::RemovesOtherTags => vec![
                ("ForAllValues:StringNotEquals", "aws:TagKeys", words(&["trunnion:stack"])),
                ("Null", "aws:TagKeys", words(&["false"])),
            ],
            Self::WhileCreating => {
                let creating = ["AllocateAddress", "CreateLaunchTemplate", "CreateSecurityGroup", "RunInstances"];
                vec![("StringEquals", "ec2:CreateAction", words(&creating))]
            }
            // In China, a role that joins an instance profile is passed to EC2's commercial principal, and a launch passes
            // it to China's own (aws/karpenter-provider-aws#6843, terraform-aws-modules/terraform-aws-eks#3422, read
            // November 2026).
            Self::PassedToHosts => {
                let mut services = vec![subject.principal("ec2"), String::from("ec2.amazonaws.com")];
                services.dedup();
                vec![("StringEquals", "iam:PassedToService", services)]
            }
            Self::PassedToTasks => vec![("StringEquals", "iam:PassedToService", vec![subject.principal("ecs-tasks")])],
            Self::OfKnownService => {
                let services: &[&str] = if subject.has_spot {
                    &["ecs.amazonaws.com", "spot.amazonaws.com"]
                } else {
                    &["ecs.amazonaws.com"]
                };
                vec![("StringEquals", "iam:AWSServiceName", words(services))]
            }
            Self::InCluster => vec![("ArnEquals", "ecs:cluster", subject.arns(On::Cluster))],
        }
    }
}

/// The condition keys whose values are known for every call: those that it has, and that it does not have the others.
pub(crate) fn known_keys(subject: &Subject) -> BTreeSet<&'static str> {
    let conditions = GRANTS.iter().flat_map(|grant| grant.when).flat_map(|when| when.conditions(subject));
    conditions.map(|(_, key, _)| key).collect()
}

const fn grant(sid: &'static str, on: &'static [On], when: &'static [When]) -> Grant {
    Grant { sid, on, when }
}

/// Reads that AWS allows for all resources of a region or for none.
pub(crate) static READ: Grant = grant("ReadRegion", &[On::Everything], &[When::InRegion]);

/// A list of roles. IAM is global: its calls have the region of its endpoint.
pub(crate) static LIST_ROLES: Grant = grant("ListRoles", &[On::Everything], &[]);

/// What the examination of an account asks IAM: about the caller itself, and about roles that AWS's services own.
pub(crate) static EXAMINE: Grant = grant("ExamineAccount", &[On::Everything], &[]);

/// Attributes of the network.
pub(crate) static READ_VPC: Grant = grant("ReadVpc", &[On::Vpc], &[]);

/// The stack's roles and instance profile. Their ARNs have the stack's path.
///
/// IAM does not know the path of a role that does not exist yet. It then checks the ARN without a path, and answers
/// `AccessDenied` instead of `NoSuchEntity` if no statement allows that (aws/aws-cdk#27067).
pub(crate) static IAM: Grant = grant("RolesOfTheStack", &[On::Role, On::InstanceProfile], &[]);

pub(crate) static PASS_TO_HOSTS: Grant = grant("PassRoleToHosts", &[On::HostRole], &[When::PassedToHosts]);

pub(crate) static PASS_TO_TASKS: Grant = grant("PassRolesToTasks", &[On::TaskRole], &[When::PassedToTasks]);

/// The first cluster of an account and its first spot instance create a role.
pub(crate) static SERVICE_ROLES: Grant =
    grant("ServiceLinkedRoles", &[On::EcsRole, On::SpotRole], &[When::OfKnownService]);

/// What hosts use and the stack does not own. The request for a spot instance has no tags.
pub(crate) static USE: Grant =
    grant("UseNetworkAndImages", &[On::Image, On::Snapshot, On::SpotRequest, On::Subnet, On::Vpc], &[]);

/// New resources, which carry the stack's tag from the start.
pub(crate) static LAUNCH: Grant =
    grant("LaunchHosts", &[On::Instance, On::NetworkInterface, On::Volume], &[When::Tags]);

pub(crate) static CREATE: Grant =
    grant("CreateInEc2", &[On::ElasticIp, On::LaunchTemplate, On::SecurityGroup], &[When::Tags]);

const OF_EC2: &[On] =
    &[On::ElasticIp, On::Instance, On::LaunchTemplate, On::NetworkInterface, On::SecurityGroup, On::Volume];

/// Resources of EC2 have ids without meaning, so the stack's tag decides. A resource that lost this tag is out of reach.
pub(crate) static CHANGE: Grant = grant("ChangeInEc2", OF_EC2, &[When::IsTagged]);

pub(crate) static TAG_NEW: Grant = grant("TagWhileCreatingInEc2", OF_EC2, &[When::WhileCreating, When::Tags]);

pub(crate) static TAG: Grant = grant("TagInEc2", OF_EC2, &[When::IsTagged, When::KeepsStack]);

pub(crate) static UNTAG: Grant = grant("UntagInEc2", OF_EC2, &[When::IsTagged, When::RemovesOtherTags]);

/// Gives a resource that the stack did not create to the stack.
pub(crate) static TAKE_IN: Grant = grant("TakeInInEc2", OF_EC2, &[When::IsOfNoStack, When::Tags]);

/// Takes all tags off, that of the stack too.
pub(crate) static GIVE_AWAY: Grant = grant("GiveAwayInEc2", OF_EC2, &[When::IsTagged]);

/// The stack's cluster and what is in it. Their ARNs have the stack's name.
pub(crate) static ECS: Grant = grant("ControlPlane", &[On::Cluster, On::Service, On::Tasks, On::TaskDefinition], &[]);

/// ECS checks a new revision against its family (Service Authorization Reference) or against nothing at all
/// (aws/containers-roadmap#929). All resources cover both, and the tag limits it to the stack.
pub(crate) static REGISTER: Grant = grant("RegisterTaskDefinitions", &[On::Everything], &[When::InRegion, When::Tags]);

/// AWS has no narrower form.
pub(crate) static DEREGISTER: Grant = grant("DeregisterTaskDefinitions", &[On::Everything], &[When::InRegion]);

/// The resource type of `ListTasks` is a container instance, which Fargate does not have.
pub(crate) static LIST_TASKS: Grant = grant("ListTasks", &[On::Everything], &[When::InCluster]);

pub(crate) static LOGS: Grant = grant("LogGroup", &[On::LogGroup], &[]);

pub(crate) static BUCKET: Grant = grant("ArtifactsBucket", &[On::Bucket], &[]);

pub(crate) static OBJECTS: Grant = grant("Artifacts", &[On::Objects], &[]);

pub(crate) static STATE_BUCKET: Grant = grant("StateBucket", &[On::StateBucket], &[]);

pub(crate) static STATE: Grant = grant("State", &[On::StateObjects], &[]);

pub(crate) static SECRETS: Grant = grant("SecretsWithoutValues", &[On::Secret], &[]);

pub(crate) static PARAMETERS: Grant = grant("ImageParameters", &[On::Parameter], &[]);

/// Every statement, in the order of a policy.
pub(crate) static GRANTS: [&Grant; 28] = [
    &READ,
    &LIST_ROLES,
    &EXAMINE,
    &READ_VPC,
    &LIST_TASKS,
    &PARAMETERS,
    &SECRETS,
    &STATE_BUCKET,
    &STATE,
    &BUCKET,
    &OBJECTS,
    &IAM,
    &PASS_TO_HOSTS,
    &PASS_TO_TASKS,
    &SERVICE_ROLES,
    &USE,
    &LAUNCH,
    &CREATE,
    &CHANGE,
    &TAG_NEW,
    &TAG,
    &UNTAG,
    &TAKE_IN,
    &GIVE_AWAY,
    &ECS,
    &REGISTER,
    &DEREGISTER,
    &LOGS,
];
