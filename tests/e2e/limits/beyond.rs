//! One call beyond each limit, straight to the sandbox and without any check of ours.

use std::fmt::Write as _;

use aws_sdk_cloudwatchlogs as logs;
use aws_sdk_ec2::{
    self as ec2,
    types::{
        BlockDeviceMapping, DomainType, EbsBlockDevice, InstanceNetworkInterfaceSpecification, IpPermission, IpRange,
        NewDhcpConfiguration, RequestLaunchTemplateData, ResourceType, Tag, TagSpecification, VolumeType,
    },
};
use aws_sdk_ecs::{
    self as ecs,
    types::{AwsVpcConfiguration, Compatibility, ContainerDefinition, LaunchType, NetworkConfiguration, NetworkMode},
};
use aws_sdk_iam as iam;
use aws_sdk_s3::{
    self as s3,
    config::{BehaviorVersion, Credentials, Region},
    error::{ProvideErrorMetadata, SdkError},
    types::{BucketLocationConstraint, CreateBucketConfiguration, Delete, ObjectIdentifier},
};
use aws_sdk_secretsmanager as secrets;
use aws_sdk_ssm as ssm;
use trunnion_catalog::limits;
use trunnion_tests::SandboxProcess;

/// A row, the code of AWS for it, and the sandbox's.
type Refusal = (&'static str, &'static str, String);

const REGION: &str = "eu-west-3";
const TRUST: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"ec2.amazonaws.com"},"Action":"sts:AssumeRole"}]}"#;

/// Clients of the SDK.
pub(crate) struct Raw {
    ec2: ec2::Client,
    ecs: ecs::Client,
    iam: iam::Client,
    logs: logs::Client,
    s3: s3::Client,
    secrets: secrets::Client,
    ssm: ssm::Client,
    image: String,
    subnet: String,
    group: String,
}

macro_rules! client {
    ($service:ident, $sandbox:expr) => {
        $service::Client::from_conf(
            $service::Config::builder()
                .behavior_version(BehaviorVersion::latest())
                .region(Region::new(REGION))
                .endpoint_url(&$sandbox.endpoint)
                .http_client(aws_smithy_http_client::Builder::new().build_http())
                .credentials_provider(Credentials::new("sandbox", "sandbox", None, None, "test"))
                .build(),
        )
    };
}

impl Raw {
    pub(crate) async fn connect(sandbox: &SandboxProcess) -> Self {
        let ec2 = client!(ec2, sandbox);
        let s3 = s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(REGION))
            .endpoint_url(&sandbox.endpoint)
            .force_path_style(true)
            .http_client(aws_smithy_http_client::Builder::new().build_http())
            .credentials_provider(Credentials::new("sandbox", "sandbox", None, None, "test"));
        let subnets = ec2.describe_subnets().send().await.unwrap();
        let subnet = subnets.subnets().first().and_then(|subnet| subnet.subnet_id.clone()).unwrap();
        let images = ec2.describe_images().owners("amazon").send().await.unwrap();
        let is_x86 = |image: &&ec2::types::Image| image.architecture.as_ref().is_some_and(|of| of.as_str() == "x86_64");
        let image = images.images().iter().find(is_x86).and_then(|image| image.image_id.clone()).unwrap();
        let ecs = client!(ecs, sandbox);
        // The first cluster of an account only creates ECS's service-linked role.
        if ecs.create_cluster().cluster_name("cluster").send().await.is_err() {
            ecs.create_cluster().cluster_name("cluster").send().await.unwrap();
        }
        let group = ec2.create_security_group().group_name("full").description("full").send().await.unwrap();
        Self {
            ecs,
            iam: client!(iam, sandbox),
            logs: client!(logs, sandbox),
            s3: s3::Client::from_conf(s3.build()),
            secrets: client!(secrets, sandbox),
            ssm: client!(ssm, sandbox),
            group: group.group_id.unwrap(),
            ec2,
            image,
            subnet,
        }
    }
}

/// The code of an error, or what happened instead.
fn code<T, E: ProvideErrorMetadata, R>(result: Result<T, SdkError<E, R>>) -> String {
    match result {
        Ok(_) => "accepted".to_owned(),
        Err(error) => error.code().unwrap_or("no code").to_owned(),
    }
}

fn text(length: usize) -> String {
    "x".repeat(length)
}

/// Every row that a call can exceed.
pub(crate) async fn refusals(raw: &Raw) -> Vec<Refusal> {
    let mut all = Vec::new();
    all.extend(of_hosts(raw).await);
    all.extend(of_templates(raw).await);
    all.extend(of_network(raw).await);
    all.extend(of_definitions(raw).await);
    all.extend(of_services(raw).await);
    all.extend(of_roles(raw).await);
    all.extend(of_policies(raw).await);
    all.extend(of_buckets(raw).await);
    all.extend(of_objects(raw).await);
    all.extend(of_others(raw).await);
    all
}

async fn of_hosts(raw: &Raw) -> Vec<Refusal> {
    let launch = || {
        let run = raw.ec2.run_instances().image_id(&raw.image).instance_type("c7i.xlarge".into());
        run.min_count(1).max_count(1)
    };
    let interface = |device: i32, addresses: i32| {
        InstanceNetworkInterfaceSpecification::builder()
            .device_index(device)
            .subnet_id(&raw.subnet)
            .secondary_private_ip_address_count(addresses - 1)
            .build()
    };
    let volume = |kind: VolumeType, gib: i32| {
        let ebs = EbsBlockDevice::builder().volume_type(kind).volume_size(gib).build();
        launch().block_device_mappings(BlockDeviceMapping::builder().device_name("/dev/sdf").ebs(ebs).build())
    };
    let user_data = base64(limits::USER_DATA_BYTES + 1);
    let beyond = |most: u32| i32::try_from(most).unwrap() + 1;
    let cards = (0..5).fold(launch(), |run, device| run.network_interfaces(interface(device, 1)));
    vec![
        ("USER_DATA_BYTES", "InvalidParameterValue", code(launch().user_data(user_data).send().await)),
        ("GP3_GIB", "InvalidParameterValue", code(volume(VolumeType::Gp3, beyond(limits::GP3_GIB)).send().await)),
        ("VOLUME_GIB", "InvalidParameterValue", code(volume(VolumeType::St1, 124).send().await)),
        ("InstanceType::cards", "AttachmentLimitExceeded", code(cards.send().await)),
        (
            "InstanceType::ipv4_per_interface",
            "PrivateIpAddressLimitExceeded",
            code(launch().network_interfaces(interface(0, 16)).send().await),
        ),
        (
            "INSTANCES_PER_CALL",
            "InstanceLimitExceeded",
            code(launch().max_count(beyond(limits::INSTANCES_PER_CALL)).send().await),
        ),
        (
            "CLIENT_TOKEN",
            "InvalidParameterValue",
            code(launch().client_token(text(limits::CLIENT_TOKEN.1 + 1)).send().await),
        ),
    ]
}

/// Bytes in base64.
fn base64(bytes: usize) -> String {
    // Three bytes are four letters; `A` is six bits of zero.
    let whole = "A".repeat(bytes / 3 * 4);
    let rest = ["", "AA==", "AAA="][bytes % 3];
    format!("{whole}{rest}")
}

async fn of_templates(raw: &Raw) -> Vec<Refusal> {
    let create = |name: String| {
        let data = RequestLaunchTemplateData::builder().instance_type("c7i.xlarge".into()).build();
        raw.ec2.create_launch_template().launch_template_name(name).launch_template_data(data)
    };
    let long = text(limits::VERSION_DESCRIPTION + 1);
    vec![
        (
            "TEMPLATE_NAME",
            "InvalidLaunchTemplateName.MalformedException",
            code(create(text(limits::TEMPLATE_NAME.1 + 1)).send().await),
        ),
        (
            "VERSION_DESCRIPTION",
            "InvalidParameterValue",
            code(create("described".to_owned()).version_description(long).send().await),
        ),
    ]
}

async fn of_network(raw: &Raw) -> Vec<Refusal> {
    let group = |name: String| raw.ec2.create_security_group().group_name(name).description("x");
    let tagged = |tags: Vec<(String, String)>| {
        let tags = tags.into_iter().map(|(key, value)| Tag::builder().key(key).value(value).build());
        let tags =
            TagSpecification::builder().resource_type(ResourceType::SecurityGroup).set_tags(Some(tags.collect()));
        group("tagged".to_owned()).tag_specifications(tags.build())
    };
    let many = (0..=limits::MOST_TAGS).map(|number| (format!("k{number}"), String::new())).collect();
    let servers = (0..=limits::DNS_SERVERS).map(|number| format!("10.0.0.{number}")).collect();
    let servers = NewDhcpConfiguration::builder().key("domain-name-servers").set_values(Some(servers)).build();
    let ranges =
        (0..=limits::SECURITY_GROUP_RULES).map(|last| IpRange::builder().cidr_ip(format!("10.0.0.{last}/32")).build());
    let rules =
        IpPermission::builder().ip_protocol("tcp").from_port(1).to_port(1).set_ip_ranges(Some(ranges.collect()));
    let rules = raw.ec2.authorize_security_group_ingress().group_id(&raw.group).ip_permissions(rules.build());
    let mut groups = Vec::new();
    for number in 0..=limits::INTERFACE_GROUPS {
        groups.push(group(format!("g{number}")).send().await.unwrap().group_id.unwrap());
    }
    let run = raw.ec2.run_instances().image_id(&raw.image).instance_type("c7i.xlarge".into()).min_count(1).max_count(1);
    let interface = run.subnet_id(&raw.subnet).set_security_group_ids(Some(groups));
    for _ in 0..limits::ELASTIC_IPS {
        raw.ec2.allocate_address().domain(DomainType::Vpc).send().await.unwrap();
    }
    vec![
        ("MOST_TAGS", "TagLimitExceeded", code(tagged(many).send().await)),
        ("TAG_OF_AWS", "InvalidParameterValue", code(tagged(vec![("AWS:x".to_owned(), String::new())]).send().await)),
        (
            "LONGEST_TAG_KEY",
            "InvalidParameterValue",
            code(tagged(vec![(text(limits::LONGEST_TAG_KEY + 1), String::new())]).send().await),
        ),
        (
            "LONGEST_TAG_VALUE",
            "InvalidParameterValue",
            code(tagged(vec![("k".to_owned(), text(limits::LONGEST_TAG_VALUE + 1))]).send().await),
        ),
        ("GROUP_TEXT", "InvalidParameterValue", code(group(text(limits::GROUP_TEXT + 1)).send().await)),
        ("RESERVED_GROUP_PREFIX", "InvalidParameterValue", code(group("sg-x".to_owned()).send().await)),
        (
            "DNS_SERVERS",
            "InvalidParameterValue",
            code(raw.ec2.create_dhcp_options().dhcp_configurations(servers).send().await),
        ),
        ("SECURITY_GROUP_RULES", "RulesPerSecurityGroupLimitExceeded", code(rules.send().await)),
        ("INTERFACE_GROUPS", "SecurityGroupsPerInterfaceLimitExceeded", code(interface.send().await)),
        ("ELASTIC_IPS", "AddressLimitExceeded", code(raw.ec2.allocate_address().domain(DomainType::Vpc).send().await)),
    ]
}

type Definition = ecs::operation::register_task_definition::builders::RegisterTaskDefinitionFluentBuilder;

fn definition(raw: &Raw, container: ecs::types::builders::ContainerDefinitionBuilder) -> Definition {
    raw.ecs
        .register_task_definition()
        .family("family")
        .network_mode(NetworkMode::Awsvpc)
        .requires_compatibilities(Compatibility::Fargate)
        .cpu("256")
        .memory("512")
        .container_definitions(container.name("main").build())
}

fn container() -> ecs::types::builders::ContainerDefinitionBuilder {
    ContainerDefinition::builder().image("a/b:1")
}

async fn of_definitions(raw: &Raw) -> Vec<Refusal> {
    let image = format!("a/{}:1", text(limits::CONTAINER_IMAGE - 3));
    let command = text(limits::TASK_DEFINITION_BYTES);
    let tasks = (0..=limits::TASKS_PER_CALL).map(|number| format!("{number:032x}")).collect();
    let definitions = (0..=limits::DEFINITIONS_PER_CALL).map(|number| format!("family:{number}")).collect();
    vec![
        ("CONTAINER_IMAGE", "ClientException", code(definition(raw, container().image(image)).send().await)),
        ("FARGATE_SIZES", "ClientException", code(definition(raw, container()).memory("1536").send().await)),
        (
            "FARGATE_STOP_SECONDS",
            "ClientException",
            code(definition(raw, container().stop_timeout(limits::FARGATE_STOP_SECONDS + 1)).send().await),
        ),
        ("TASK_DEFINITION_BYTES", "ClientException", code(definition(raw, container().command(command)).send().await)),
        (
            "DEFINITIONS_PER_CALL",
            "InvalidParameterException",
            code(raw.ecs.delete_task_definitions().set_task_definitions(Some(definitions)).send().await),
        ),
        (
            "TASKS_PER_CALL",
            "InvalidParameterException",
            code(raw.ecs.describe_tasks().cluster("cluster").set_tasks(Some(tasks)).send().await),
        ),
    ]
}

async fn of_services(raw: &Raw) -> Vec<Refusal> {
    definition(raw, container()).send().await.unwrap();
    let service = |subnets: usize, groups: usize| {
        let network = AwsVpcConfiguration::builder()
            .set_subnets(Some(vec![raw.subnet.clone(); subnets]))
            .set_security_groups(Some(vec![raw.group.clone(); groups]))
            .build()
            .unwrap();
        raw.ecs
            .create_service()
            .cluster("cluster")
            .service_name("service")
            .task_definition("family")
            .launch_type(LaunchType::Fargate)
            .network_configuration(NetworkConfiguration::builder().awsvpc_configuration(network).build())
    };
    let tasks = i32::try_from(limits::SERVICE_TASKS).unwrap() + 1;
    let name = text(limits::ECS_NAME + 1);
    vec![
        (
            "SERVICE_SUBNETS",
            "InvalidParameterException",
            code(service(limits::SERVICE_SUBNETS + 1, 1).desired_count(0).send().await),
        ),
        (
            "SERVICE_GROUPS",
            "InvalidParameterException",
            code(service(1, limits::SERVICE_GROUPS + 1).desired_count(0).send().await),
        ),
        ("SERVICE_TASKS", "InvalidParameterException", code(service(1, 1).desired_count(tasks).send().await)),
        ("ECS_NAME", "InvalidParameterException", code(raw.ecs.create_cluster().cluster_name(name).send().await)),
    ]
}

async fn of_roles(raw: &Raw) -> Vec<Refusal> {
    let role = |name: String| raw.iam.create_role().role_name(name).assume_role_policy_document(TRUST);
    let path = format!("/{}/", text(limits::IAM_PATH - 1));
    let tag = iam::types::Tag::builder().key("k").value("a,b").build().unwrap();
    let sources: String = (0..limits::TRUST_POLICY / 10).fold(String::new(), |mut list, number| {
        let _ = write!(list, ",\"{number:010}\"");
        list
    });
    let condition = format!(r#""Condition":{{"StringEquals":{{"sts:ExternalId":["x"{sources}]}}}},"Action""#);
    let long = TRUST.replace(r#""Action""#, &condition);
    let profile = text(limits::PROFILE_NAME + 1);
    vec![
        ("ROLE_NAME", "ValidationError", code(role(text(limits::ROLE_NAME + 1)).send().await)),
        (
            "PROFILE_NAME",
            "ValidationError",
            code(raw.iam.create_instance_profile().instance_profile_name(profile).send().await),
        ),
        ("IAM_PATH", "ValidationError", code(role("r".to_owned()).path(path).send().await)),
        ("is_tag_text", "ValidationError", code(role("r".to_owned()).tags(tag).send().await)),
        ("TRUST_POLICY", "LimitExceeded", code(role("r".to_owned()).assume_role_policy_document(long).send().await)),
    ]
}

/// A policy of an identity that is longer than this.
fn policy(longer_than: usize) -> String {
    let object = format!("arn:aws:s3:::bucket/{}", text(longer_than));
    format!(
        r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow","Action":"s3:GetObject","Resource":"{object}"}}]}}"#
    )
}

async fn of_policies(raw: &Raw) -> Vec<Refusal> {
    raw.iam.create_role().role_name("role").assume_role_policy_document(TRUST).send().await.unwrap();
    raw.iam.create_user().user_name("user").send().await.unwrap();
    let put = |name: String, document: String| {
        raw.iam.put_role_policy().role_name("role").policy_name(name).policy_document(document)
    };
    let of_user =
        raw.iam.put_user_policy().user_name("user").policy_name("p").policy_document(policy(limits::USER_POLICY));
    let managed =
        |name: String, length: usize| raw.iam.create_policy().policy_name(name).policy_document(policy(length));
    let mut last = String::new();
    for number in 0..=limits::ATTACHED_POLICIES {
        let made = managed(format!("m{number}"), 1).send().await.unwrap();
        let arn = made.policy.and_then(|policy| policy.arn).unwrap();
        last = code(raw.iam.attach_role_policy().role_name("role").policy_arn(arn).send().await);
    }
    vec![
        ("POLICY_NAME", "ValidationError", code(put(text(limits::POLICY_NAME + 1), policy(1)).send().await)),
        ("ROLE_POLICY", "LimitExceeded", code(put("p".to_owned(), policy(limits::ROLE_POLICY)).send().await)),
        ("USER_POLICY", "LimitExceeded", code(of_user.send().await)),
        ("MANAGED_POLICY", "LimitExceeded", code(managed("m".to_owned(), limits::MANAGED_POLICY).send().await)),
        ("ATTACHED_POLICIES", "LimitExceeded", last),
    ]
}

async fn of_buckets(raw: &Raw) -> Vec<Refusal> {
    let place = || CreateBucketConfiguration::builder().location_constraint(BucketLocationConstraint::from(REGION));
    let create = |name: String| raw.s3.create_bucket().bucket(name).create_bucket_configuration(place().build());
    let tag = s3::types::Tag::builder().key("k").value("a\u{a0}b").build().unwrap();
    let tagged = raw.s3.create_bucket().bucket("tagged").create_bucket_configuration(place().tags(tag).build());
    vec![
        ("BUCKET_NAME", "InvalidBucketName", code(create(text(limits::BUCKET_NAME.1 + 1)).send().await)),
        ("RESERVED_BUCKET_PREFIXES", "InvalidBucketName", code(create("sthree-x".to_owned()).send().await)),
        ("RESERVED_BUCKET_SUFFIXES", "InvalidBucketName", code(create("x-s3alias".to_owned()).send().await)),
        ("is_s3_tag_text", "InvalidTag", code(tagged.send().await)),
    ]
}

async fn of_objects(raw: &Raw) -> Vec<Refusal> {
    let place = CreateBucketConfiguration::builder().location_constraint(BucketLocationConstraint::from(REGION));
    raw.s3.create_bucket().bucket("bucket").create_bucket_configuration(place.build()).send().await.unwrap();
    let tags: Vec<String> = (0..=limits::S3_OBJECT_TAGS).map(|number| format!("k{number}=v")).collect();
    let objects = (0..=limits::OBJECTS_PER_CALL)
        .map(|number| ObjectIdentifier::builder().key(format!("{number}")).build().unwrap());
    let delete = Delete::builder().set_objects(Some(objects.collect())).build().unwrap();
    let put = |key: String| raw.s3.put_object().bucket("bucket").key(key);
    let policy = policy(limits::BUCKET_POLICY).replace(r#""Effect""#, r#""Principal":"*","Effect""#);
    let put_policy = || raw.s3.put_bucket_policy().bucket("bucket").policy(&policy);
    // S3 may refuse the first change of a new bucket.
    let first = code(put_policy().send().await);
    let of_policy = if first == "OperationAborted" { code(put_policy().send().await) } else { first };
    vec![
        ("OBJECT_KEY", "KeyTooLongError", code(put(text(limits::OBJECT_KEY + 1)).send().await)),
        ("S3_OBJECT_TAGS", "BadRequest", code(put("k".to_owned()).tagging(tags.join("&")).send().await)),
        (
            "OBJECTS_PER_CALL",
            "MalformedXML",
            code(raw.s3.delete_objects().bucket("bucket").delete(delete).send().await),
        ),
        ("BUCKET_POLICY", "PolicyTooLarge", of_policy),
    ]
}

async fn of_others(raw: &Raw) -> Vec<Refusal> {
    let secret = || raw.secrets.get_secret_value().secret_id("gatling/token");
    let parameter = |name: String| {
        raw.ssm.put_parameter().name(name).value("ami-01234567").r#type(ssm::types::ParameterType::String)
    };
    let rest = limits::PARAMETER_ARN - "arn:aws:ssm:eu-west-3:123456789012:parameter/".len();
    let names = (0..=limits::PARAMETERS_PER_CALL).map(|number| format!("/p/{number}")).collect();
    raw.logs.create_log_group().log_group_name("group").send().await.unwrap();
    let longest = limits::RETENTION_DAYS.into_iter().max().and_then(|days| i32::try_from(days).ok()).unwrap();
    let keep = raw.logs.put_retention_policy().log_group_name("group").retention_in_days(longest + 1);
    vec![
        (
            "SECRET_NAME",
            "ValidationException",
            code(raw.secrets.create_secret().name(text(limits::SECRET_NAME + 1)).secret_string("x").send().await),
        ),
        (
            "SECRET_STAGE",
            "ValidationException",
            code(secret().version_stage(text(limits::SECRET_STAGE + 1)).send().await),
        ),
        (
            "SECRET_VERSION",
            "ValidationException",
            code(secret().version_id(text(limits::SECRET_VERSION.1 + 1)).send().await),
        ),
        ("PARAMETER_ARN", "ValidationException", code(parameter(format!("/{}", text(rest + 1))).send().await)),
        (
            "PARAMETER_LEVELS",
            "HierarchyLevelLimitExceededException",
            code(parameter("/p".repeat(limits::PARAMETER_LEVELS + 1)).send().await),
        ),
        (
            "PARAMETERS_PER_CALL",
            "ValidationException",
            code(raw.ssm.get_parameters().set_names(Some(names)).send().await),
        ),
        ("RETENTION_DAYS", "InvalidParameterException", code(keep.send().await)),
        (
            "LOG_NAME",
            "InvalidParameterException",
            code(raw.logs.create_log_group().log_group_name(text(limits::LOG_NAME + 1)).send().await),
        ),
    ]
}
