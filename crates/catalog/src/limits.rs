//! Limits of AWS's services and the names they reserve, in one table. The checks of a stack, the blueprint, the provider
//! and the sandbox use the same constants, and each constant is a row of [`TABLE`] with its source.

mod text;

pub use text::{is_s3_tag_text, is_tag_of_aws, is_tag_text, reserved_in_bucket};

/// A row of [`TABLE`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// The name of its constant, or `InstanceType::…` for a fact of the catalog's file.
    pub name: &'static str,
    /// What is counted, such as `bytes before base64`.
    pub unit: &'static str,
    /// Where AWS, or somebody whom AWS refused, says so.
    pub source: &'static str,
    /// The month in which the source was read, such as `2026-11`.
    pub read: &'static str,
    /// Who refuses a stack beyond it.
    pub reach: Reach,
}

/// What stops a stack beyond a limit, before anything is created.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// `trunnion validate`, without any call.
    Validate,
    /// A plan, with what it reads.
    Plan,
    /// Nothing, because no stack gets there, for this reason.
    Never(&'static str),
    /// Nothing, for this reason: it is a quota of the account, which AWS can raise.
    Quota(&'static str),
}

/// Declares constants, and a row of the table for each.
macro_rules! limits {
    ($(
        $(#[doc = $doc:literal])*
        $name:ident: $type:ty = $value:expr, $unit:literal, $source:literal, $read:literal, $reach:expr;
    )*) => {
        $($(#[doc = $doc])* pub const $name: $type = $value;)*

        /// The rows of the constants.
        const CONSTANTS: &[Limit] = &[$(
            Limit { name: stringify!($name), unit: $unit, source: $source, read: $read, reach: $reach },
        )*];
    };
}

use Reach::{Never, Plan, Quota, Validate};

limits! {
    /// How many tags one resource can have, in every service; S3 objects have a lower limit.
    MOST_TAGS: usize = 50, "tags",
        "EC2 User Guide, \"Tag restrictions\"; `Tags` of botocore's models of ECS and CloudWatch Logs", "2026-11", Validate;
    /// The longest key of a tag.
    LONGEST_TAG_KEY: usize = 128, "characters",
        "`TagKey` of botocore's models of ECS, IAM and CloudWatch Logs", "2026-11", Validate;
    /// The longest value of a tag.
    LONGEST_TAG_VALUE: usize = 256, "characters",
        "`TagValue` of botocore's models of ECS, IAM and CloudWatch Logs", "2026-11", Validate;
    /// Keys and values of tags cannot start with this prefix, in upper or lower case: AWS reserves it for its own tags.
    TAG_OF_AWS: &str = "aws:", "prefix",
        "EC2 User Guide, \"Tag restrictions\"; IAM User Guide, \"Rules for tagging\"", "2026-11", Validate;
    /// How many tags an object in S3 can have.
    S3_OBJECT_TAGS: usize = 10, "tags",
        "Amazon S3 User Guide, \"Categorizing your objects using tags\"", "2026-08",
        Never("an object has the three tags of its owner");

    /// User data of a host.
    USER_DATA_BYTES: usize = 16_384, "bytes before base64",
        "EC2 User Guide, \"Run commands when you launch an EC2 instance with user data input\"", "2026-11", Validate;
    /// The smallest and the largest volume of each type.
    VOLUME_GIB: [(&str, u32, u32); 7] = [
        ("gp2", 1, 16_384),
        ("gp3", 1, GP3_GIB),
        ("io1", 4, 16_384),
        ("io2", 4, 65_536),
        ("st1", 125, 16_384),
        ("sc1", 125, 16_384),
        ("standard", 1, 1_024),
    ], "GiB", "`EbsBlockDevice.VolumeSize` of botocore's model of EC2", "2026-11", Validate;
    /// The largest volume of the hosts' type.
    GP3_GIB: u32 = 65_536, "GiB", "`EbsBlockDevice.VolumeSize` of botocore's model of EC2", "2026-11", Validate;
    /// How many rules a security group can have in one direction, for each of IPv4 and IPv6. A rule that names a group counts
    /// for both.
    SECURITY_GROUP_RULES: usize = 60, "rules",
        "Amazon VPC User Guide, \"Amazon VPC quotas\", the default", "2026-11", Plan;
    /// How many security groups an interface can have.
    INTERFACE_GROUPS: usize = 5, "groups",
        "Amazon VPC User Guide, \"Amazon VPC quotas\", the default", "2026-11", Never("an interface has one group");
    /// The longest name and the longest description of a security group.
    GROUP_TEXT: usize = 255, "characters",
        "`CreateSecurityGroup` of EC2's API reference", "2026-11",
        Never("a stack's name has 32 characters at most, and the rest is ours");
    /// Prefix that names of security groups cannot have, because it is the prefix of their ids.
    RESERVED_GROUP_PREFIX: &str = "sg-", "prefix",
        "`CreateSecurityGroup` of EC2's API reference", "2026-11", Validate;
    /// The shortest and the longest name of a launch template.
    TEMPLATE_NAME: (usize, usize) = (3, 128), "characters",
        "`LaunchTemplateName` of botocore's model of EC2", "2026-11",
        Never("it is a stack's name of 2 to 32 characters, a dot, and a pool's name of 1 to 20");
    /// The longest description of a launch template's version.
    VERSION_DESCRIPTION: usize = 255, "characters",
        "`VersionDescription` of botocore's model of EC2", "2026-11",
        Never("a longer description is cut");
    /// How many versions a launch template can have, deleted ones included.
    TEMPLATE_VERSIONS: u64 = 10_000, "versions",
        "EC2 User Guide, \"Launch template restrictions\"", "2026-11",
        Never("an apply adds one version");
    /// How many instances one call can launch.
    INSTANCES_PER_CALL: u32 = 1_000, "instances",
        "no source; the stricter guess", "2026-11", Never("each host has a call of its own");
    /// The longest client token of a launch template, and of other calls to EC2.
    CLIENT_TOKEN: (usize, usize) = (128, 64), "ASCII characters",
        "EC2's API reference, `CreateLaunchTemplate` and `RunInstances`", "2026-11",
        Never("a token is a digest and a number");
    /// How many DNS servers a set of DHCP options can have.
    DNS_SERVERS: usize = 4, "addresses",
        "Amazon VPC User Guide, \"DHCP option set concepts\"", "2026-11", Validate;

    /// A task definition when it is registered.
    TASK_DEFINITION_BYTES: usize = 65_536, "bytes",
        "Amazon ECS service quotas", "2026-08", Validate;
    /// How many subnets an ECS service with `awsvpc` can have.
    SERVICE_SUBNETS: usize = 16, "subnets",
        "`AwsVpcConfiguration` of ECS's API reference", "2026-11", Validate;
    /// How many security groups an ECS service with `awsvpc` can have.
    SERVICE_GROUPS: usize = 5, "groups",
        "`AwsVpcConfiguration` of ECS's API reference", "2026-11", Never("the service has one group");
    /// How many tasks an ECS service can have.
    SERVICE_TASKS: u64 = 5_000, "tasks", "Amazon ECS service quotas", "2026-11", Never("the service has one task");
    /// The longest name of a cluster, a service, a family and a container.
    ECS_NAME: usize = 255, "characters",
        "`CreateCluster`, `CreateService` and `RegisterTaskDefinition` of ECS's API reference", "2026-11",
        Never("a stack's name has 32 characters at most, and the rest is ours");
    /// The longest name of a container's image. The digest in a name is not counted.
    CONTAINER_IMAGE: usize = 255, "characters",
        "`ContainerDefinition.image` of botocore's model of ECS; hashicorp/terraform-provider-aws#22629", "2026-11",
        Validate;
    /// Fargate's sizes: CPU units, then memory in MiB from, to, in steps of. With 256 CPU units, 1,536 MiB are left out.
    FARGATE_SIZES: [(u32, u32, u32, u32); 7] = [
        (256, 512, 2_048, 512),
        (512, 1_024, 4_096, 1_024),
        (1_024, 2_048, 8_192, 1_024),
        (2_048, 4_096, 16_384, 1_024),
        (4_096, 8_192, 30_720, 1_024),
        (8_192, 16_384, 61_440, 4_096),
        (16_384, 32_768, 122_880, 8_192),
    ], "CPU units, MiB", "Amazon ECS developer guide, \"Task size\"", "2026-08", Validate;
    /// The longest stop timeout of a container on Fargate.
    FARGATE_STOP_SECONDS: i32 = 120, "seconds",
        "`ContainerDefinition.stopTimeout` of ECS's API reference", "2026-11", Never("the control plane has this one");

    /// The longest name of a role.
    ROLE_NAME: usize = 64, "characters",
        "`roleNameType` of botocore's model of IAM", "2026-11", Never("a longer name is cut and ends with a digest");
    /// The longest name of an instance profile.
    PROFILE_NAME: usize = 128, "characters",
        "`instanceProfileNameType` of botocore's model of IAM", "2026-11", Never("it is the name of a role");
    /// The longest name of a policy.
    POLICY_NAME: usize = 128, "characters",
        "`policyNameType` of botocore's model of IAM", "2026-11", Never("the name is the same in every stack");
    /// The longest path of a role or an instance profile.
    IAM_PATH: usize = 512, "characters",
        "`pathType` of botocore's model of IAM", "2026-11", Never("it holds a stack's name and a region");
    /// The longest trust policy of a role.
    TRUST_POLICY: usize = 2_048, "characters without white space",
        "IAM User Guide, \"IAM and AWS STS quotas\", the default", "2026-11",
        Never("only the region and the account in it differ");
    /// The inline policies of a role together.
    ROLE_POLICY: usize = 10_240, "characters without white space",
        "IAM User Guide, \"IAM and AWS STS quotas\"", "2026-11",
        Never("it names two secrets and two images, whose names are limited");
    /// The inline policies of a user together.
    USER_POLICY: usize = 2_048, "characters without white space",
        "IAM User Guide, \"IAM and AWS STS quotas\"", "2026-11", Never("a stack has no user");
    /// A managed policy.
    MANAGED_POLICY: usize = 6_144, "characters without white space",
        "IAM User Guide, \"IAM and AWS STS quotas\"", "2026-11", Never("a stack has no managed policy");
    /// How many managed policies a role or a user can have.
    ATTACHED_POLICIES: usize = 10, "policies",
        "IAM User Guide, \"IAM and AWS STS quotas\", the default", "2026-11", Never("a stack attaches none");

    /// The shortest and the longest name of a bucket.
    BUCKET_NAME: (usize, usize) = (3, 63), "characters",
        "Amazon S3 User Guide, \"General purpose bucket naming rules\"", "2026-11", Validate;
    /// Prefixes that names of general purpose buckets cannot have.
    RESERVED_BUCKET_PREFIXES: [&str; 3] = ["xn--", "sthree-", "amzn-s3-demo-"], "prefix",
        "Amazon S3 User Guide, \"General purpose bucket naming rules\"", "2026-11", Validate;
    /// Suffixes that names of general purpose buckets cannot have.
    RESERVED_BUCKET_SUFFIXES: [&str; 5] = ["-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3"], "suffix",
        "Amazon S3 User Guide, \"General purpose bucket naming rules\"", "2026-11",
        Never("a bucket's name ends with its region");
    /// The longest key of an object.
    OBJECT_KEY: usize = 1_024, "bytes",
        "Amazon S3 User Guide, \"Naming Amazon S3 objects\"", "2026-11", Validate;
    /// The longest policy of a bucket.
    BUCKET_POLICY: usize = 20_480, "bytes",
        "Amazon S3 User Guide, \"Adding a bucket policy by using the Amazon S3 console\"", "2026-11",
        Never("only the bucket's name in it differs");

    /// Periods for which a log group can keep its events.
    RETENTION_DAYS: [u32; 22] = [
        1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653,
    ], "days", "`PutRetentionPolicy` of CloudWatch Logs' API reference", "2026-08", Validate;
    /// The longest name of a log group and of a stream.
    LOG_NAME: usize = 512, "characters",
        "`LogGroupName` of botocore's model of CloudWatch Logs", "2026-11",
        Never("a stack's name has 32 characters at most, and the rest is ours");

    /// The longest name of a secret.
    SECRET_NAME: usize = 512, "characters",
        "`NameType` of botocore's model of Secrets Manager", "2026-11", Validate;
    /// The longest name of a stage of a secret's version.
    SECRET_STAGE: usize = 256, "characters",
        "`SecretVersionStageType` of botocore's model of Secrets Manager", "2026-11", Validate;
    /// The shortest and the longest id of a secret's version.
    SECRET_VERSION: (usize, usize) = (32, 64), "characters",
        "`SecretVersionIdType` of botocore's model of Secrets Manager", "2026-11", Validate;

    /// The longest ARN of a parameter: the name, and what stands before it.
    PARAMETER_ARN: usize = 1_011, "characters",
        "`PutParameter.Name` of botocore's model of Systems Manager", "2026-11", Validate;
    /// How many levels a parameter's path can have.
    PARAMETER_LEVELS: usize = 15, "levels",
        "`PutParameter.Name` of botocore's model of Systems Manager", "2026-11", Validate;

    /// How many parameters one call reads.
    PARAMETERS_PER_CALL: usize = 10, "parameters",
        "`ParameterNameList` of botocore's model of Systems Manager", "2026-11", Never("the provider makes several calls");
    /// How many objects one call deletes.
    OBJECTS_PER_CALL: usize = 1_000, "objects",
        "`DeleteObjects` of S3's API reference", "2026-11", Never("the provider makes several calls");
    /// How many task definitions one call deletes.
    DEFINITIONS_PER_CALL: usize = 10, "task definitions",
        "`DeleteTaskDefinitions` of ECS's API reference", "2026-11", Never("the provider names one in each call");
    /// How many tasks one call describes.
    TASKS_PER_CALL: usize = 100, "tasks",
        "`DescribeTasks` of ECS's API reference", "2026-11", Never("the provider makes several calls");

    /// How many Elastic IPs an account has in a region, unless AWS raised it.
    ELASTIC_IPS: usize = 5, "addresses",
        "Amazon VPC User Guide, \"Amazon VPC quotas\", L-0263D0A3, the default", "2026-11", Plan;
    /// How many vCPUs the running On-Demand hosts of the standard families, and those on spot, can each have in a new account.
    VCPUS: u32 = 5, "vCPUs in a region",
        "Amazon EC2 service quotas, L-1216C47A and L-34B43A08, the default", "2026-11",
        Quota("a plan compares the account's own quota, and notes one that is too low");
    /// How many network interfaces a region can have.
    NETWORK_INTERFACES: usize = 5_000, "interfaces in a region",
        "Amazon VPC User Guide, \"Amazon VPC quotas\", the default", "2026-11",
        Quota("a plan compares the account's own quota, and notes one that is too low");
    /// How many launch templates a region can have.
    LAUNCH_TEMPLATES: usize = 5_000, "launch templates in a region",
        "EC2 User Guide, \"Launch template restrictions\"", "2026-11",
        Quota("a plan reads only the stack's own, and a stack has 100 at most");
    /// How many security groups a region can have.
    SECURITY_GROUPS: usize = 2_500, "groups in a region",
        "Amazon VPC User Guide, \"Amazon VPC quotas\", the default", "2026-11",
        Quota("a plan reads only the stack's own, and a stack has four at most");
    /// How many VPCs a region can have.
    VPCS: usize = 5, "VPCs in a region",
        "Amazon VPC User Guide, \"Amazon VPC quotas\", the default", "2026-11", Never("a stack has no VPC");
    /// How many subnets a VPC can have.
    SUBNETS: usize = 200, "subnets in a VPC",
        "Amazon VPC User Guide, \"Amazon VPC quotas\", the default", "2026-11", Never("a stack has no subnet");
    /// How many ECS clusters a region can have.
    CLUSTERS: usize = 10_000, "clusters in a region",
        "Amazon ECS service quotas, the default", "2026-11",
        Quota("a plan reads only the stack's own, and a stack has one");
    /// How many roles an account can have.
    ROLES: usize = 1_000, "roles",
        "IAM User Guide, \"IAM and AWS STS quotas\", the default", "2026-11",
        Quota("a plan reads only the stack's own, and a stack has three");
    /// How many instance profiles an account can have.
    INSTANCE_PROFILES: usize = 1_000, "instance profiles",
        "IAM User Guide, \"IAM and AWS STS quotas\", the default", "2026-11",
        Quota("a plan reads only the stack's own, and a stack has one");
}

/// Rows without a constant: characters, and facts of the catalog's file.
const FACTS: &[Limit] = &[
    Limit {
        name: "is_tag_text",
        unit: "characters",
        source: "`TagKey` and `TagValue` of botocore's models of ECS, IAM and CloudWatch Logs",
        read: "2026-11",
        reach: Validate,
    },
    Limit {
        name: "is_s3_tag_text",
        unit: "characters",
        source: "Amazon S3 User Guide, \"Using cost allocation S3 bucket tags\": letters, white space, numbers and + - = . _ : /; \
                 which white space is not said, so only the space counts",
        read: "2026-11",
        reach: Validate,
    },
    Limit {
        name: "InstanceType::cards",
        unit: "interfaces of a network card",
        source: "the header of data/instance-types.csv",
        read: "2026-07",
        reach: Validate,
    },
    Limit {
        name: "InstanceType::ipv4_per_interface",
        unit: "private IPv4 addresses of an interface",
        source: "the header of data/instance-types.csv",
        read: "2026-07",
        reach: Validate,
    },
];

/// Every limit.
pub fn table() -> impl Iterator<Item = &'static Limit> {
    CONSTANTS.iter().chain(FACTS)
}

/// Whether Fargate has a task with these CPU units and this memory in MiB.
pub fn is_fargate_size(cpu: u32, memory: u32) -> bool {
    // 256 CPU units have 512, 1024 and 2048 MiB, but not 1536.
    FARGATE_SIZES
        .iter()
        .any(|(units, from, to, step)| *units == cpu && (*from..=*to).contains(&memory) && memory.is_multiple_of(*step))
        && (cpu, memory) != (256, 1_536)
}

/// The characters of an image's name that count: those before its digest, if it has one.
pub fn image_characters(image: &str) -> usize {
    image.split_once('@').map_or(image, |(name, _)| name).chars().count()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_row_has_one_name_a_source_and_a_month() {
        let mut names = BTreeSet::new();
        for row in table() {
            assert!(names.insert(row.name), "{} twice", row.name);
            assert!(!row.unit.is_empty() && !row.source.is_empty(), "{}", row.name);
            let is_month = row.read.split_once('-').is_some_and(|(year, month)| year == "2026" && month.len() == 2);
            assert!(is_month, "{}: {}", row.name, row.read);
            if let Never(why) | Quota(why) = row.reach {
                assert!(why.len() > 10, "{}", row.name);
            }
        }
    }

    #[test]
    fn lists_are_in_order() {
        assert!(FARGATE_SIZES.is_sorted_by_key(|(cpu, ..)| *cpu) && RETENTION_DAYS.is_sorted());
        assert!(is_fargate_size(256, 2_048) && is_fargate_size(8_192, 20_480));
        assert!(!is_fargate_size(256, 1_536) && !is_fargate_size(8_192, 18_432) && !is_fargate_size(128, 512));
    }

    #[test]
    fn a_digest_does_not_count() {
        assert_eq!(image_characters("a/b@sha256:0123"), 3);
        assert_eq!(image_characters("a/b:1"), 5);
    }
}
