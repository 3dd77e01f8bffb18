//! A stack with a resource of every kind, written by hand, and a sandbox to create it in.

use std::{collections::BTreeMap, path::Path};

use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};
use serde::Serialize;
use trunnion_aws::{Aws, Connection};
use trunnion_engine::{
    Address, Context, Graph, Lookup, Map, Observed, Provider as _, Remote, Resolved, Resource, State, Token, Value,
    to_map,
};
use trunnion_kinds::{
    ADDRESS_TAG, Boot, Container, Deployment, EcsCluster, EcsService, EcsTaskDefinition, HOME_TAG, IamInstanceProfile,
    IamRole, Instance, Interface, LATEST, LaunchTemplate, LaunchTemplateData, LogConfiguration, LogGroup, Market,
    Metadata, Mount, S3Bucket, S3Object, STACK_TAG, SecurityGroup, SecurityGroupRule, ServiceNetwork, Tags, Volume,
    bucket_name, iam_path, instance_profile_name, lookup, role_name, rule_book,
};
use trunnion_sandbox::{ACCESS_KEY_ID, Effect, FaultRule, Options, Running, SECRET_ACCESS_KEY, Sandbox};

pub const STACK: &str = "loadtest";
pub const HOME: &str = "github.com/acme/infra/loadtest";
pub const ACCOUNT: &str = "123456789012";
pub const REGION: &str = "eu-west-3";
pub const PARAMETER: &str = "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64";
pub const TOKEN_SECRET: &str = "arn:aws:secretsmanager:eu-west-3:123456789012:secret:gatling/token-AbCdEf";

pub struct Cloud {
    pub running: Running,
    pub aws: Aws,
}

/// A strict sandbox, in an account whose quota of vCPUs has been raised. `TRUNNION_SEED` sets its seed.
#[expect(clippy::print_stdout, reason = "a failing test shows it")]
pub fn strict() -> Options {
    let seed = std::env::var("TRUNNION_SEED").map_or(1, |seed| seed.parse().unwrap());
    println!("the sandbox is strict: TRUNNION_SEED={seed}");
    Options::strict(seed).with_speed(500.0).with_vcpus(100_000)
}

pub async fn cloud(options: Options) -> Cloud {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let running = Sandbox::open(options).unwrap().serve(listener).unwrap();
    let aws = connect(&running).await;
    Cloud { running, aws }
}

pub async fn connect(running: &Running) -> Aws {
    connect_with(running, |_| {}).await
}

pub async fn connect_with(running: &Running, change: impl FnOnce(&mut Connection)) -> Aws {
    let mut connection =
        Connection::new(STACK, HOME, ACCOUNT, REGION).to_sandbox(running.endpoint(), ACCESS_KEY_ID, SECRET_ACCESS_KEY);
    change(&mut connection);
    Aws::connect(connection).await.unwrap()
}

/// The config of a client of the test's own, for what a stack never does.
pub fn sdk(running: &Running) -> aws_config::SdkConfig {
    let credentials = Credentials::new(ACCESS_KEY_ID, SECRET_ACCESS_KEY, None, None, "test");
    aws_config::SdkConfig::builder()
        .behavior_version(aws_config::BehaviorVersion::latest())
        .region(aws_config::Region::new(REGION))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .endpoint_url(running.endpoint())
        .build()
}

pub fn at(text: &str) -> Address {
    text.parse().unwrap()
}

pub fn tags(address: &str) -> Tags {
    [(STACK_TAG, STACK), (ADDRESS_TAG, address), (HOME_TAG, HOME), ("team", "performance")]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
}

pub fn lookups() -> Graph {
    let of = |address: &str, query: Map| Lookup { address: at(address), query };
    let subnet =
        lookup::Subnet { vpc: Value::reference(at("vpc.main"), "id"), zone: Some("eu-west-3a".into()), id: None };
    let image = lookup::Image { parameter: Some(PARAMETER.into()), id: None, architecture: "x86_64".into() };
    Graph::new(
        STACK,
        [],
        [
            of("vpc.main", Map::from([("default".to_owned(), Value::Null)])),
            of("subnet.heavy", to_map(&subnet).unwrap()),
            of("image.al2023", to_map(&image).unwrap()),
            of("instance_type.heavy", to_map(&lookup::InstanceType { name: "c6in.32xlarge".into() }).unwrap()),
            of("secret.token", to_map(&lookup::Secret { arn: TOKEN_SECRET.into() }).unwrap()),
        ],
    )
    .unwrap()
}

impl Cloud {
    pub async fn create(&self, address: &str, attributes: &impl Serialize) -> Remote {
        let resource = resolved(address, attributes);
        let token = token(&resource);
        self.aws.create(&resource, &token, &Context::default()).await.unwrap()
    }

    pub async fn update(&self, address: &str, remote: &Remote, attributes: &impl Serialize, paths: &[&str]) -> Remote {
        let paths: Vec<String> = paths.iter().map(|&path| path.to_owned()).collect();
        self.aws.update(remote, &resolved(address, attributes), &paths, &Context::default()).await.unwrap()
    }

    pub async fn observe(&self) -> Observed {
        self.aws.observe(&lookups(), &State::empty(STACK), &Context::default()).await.unwrap()
    }

    /// The only resource observed at an address once every read shows it.
    pub async fn one(&self, address: &str) -> Remote {
        self.running.until_consistent().await;
        let mut remotes = self.observe().await.remotes.remove(&at(address)).unwrap();
        assert_eq!(remotes.len(), 1, "{remotes:?}");
        remotes.remove(0)
    }
}

pub fn resolved(address: &str, attributes: &impl Serialize) -> Resolved {
    Resolved { address: at(address), attributes: to_map(attributes).unwrap() }
}

/// The token of a resource of the stack.
pub fn token(resource: &Resolved) -> Token {
    token_of(HOME, resource)
}

/// The token of a resource of a stack of the same name with another home.
pub fn token_of(home: &str, resource: &Resolved) -> Token {
    let book = rule_book();
    Token::new(home, STACK, resource, book.get(&resource.address.kind).unwrap())
}

pub fn text(map: &Map, name: &str) -> Value {
    map[name].as_text().unwrap().into()
}

pub fn bucket() -> S3Bucket {
    S3Bucket {
        name: bucket_name(STACK, ACCOUNT, REGION),
        versioning: true,
        encryption: "AES256".into(),
        public_access_blocked: true,
        policy:
            r#"{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Principal":"*","Action":"s3:*","Resource":"arn:aws:s3:::loadtest-123456789012-eu-west-3/*","Condition":{"Bool":{"aws:SecureTransport":"false"}}}]}"#
                .into(),
        tags: tags("s3_bucket.artifacts"),
    }
}

pub fn object(source: &Path, content: &[u8]) -> S3Object {
    use sha2::Digest as _;
    let sha256 = trunnion_engine::hex(&sha2::Sha256::digest(content));
    let mut tags = tags("s3_object.generator[x86_64]");
    tags.retain(|key, _| [STACK_TAG, ADDRESS_TAG, HOME_TAG].contains(&key.as_str()));
    S3Object {
        bucket: bucket().name.into(),
        key: format!("generator/{sha256}"),
        sha256,
        source: source.display().to_string(),
        tags,
    }
}

pub fn rule(protocol: &str, port: Option<i32>, peer: Value, description: &str) -> SecurityGroupRule {
    SecurityGroupRule {
        protocol: protocol.into(),
        from_port: port,
        to_port: port,
        peer,
        description: description.into(),
    }
}

pub fn group(name: &str, vpc: &Value, ingress: Vec<SecurityGroupRule>) -> SecurityGroup {
    SecurityGroup {
        name: format!("{STACK}-{name}"),
        description: format!("{name} of {STACK}"),
        vpc: vpc.clone(),
        ingress,
        egress: vec![rule("tcp", Some(443), "0.0.0.0/0".into(), "to the cloud")],
        tags: tags(&format!("security_group.{name}")),
    }
}

pub fn role(name: &str, service: &str) -> IamRole {
    IamRole {
        name: role_name(STACK, REGION, name),
        path: iam_path(STACK, REGION),
        description: format!("{name} of {STACK}"),
        trust_policy: format!(
            r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow","Principal":{{"Service":"{service}"}},"Action":"sts:AssumeRole"}}]}}"#
        ),
        policy: Some(
            r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["s3:GetObject",
            "secretsmanager:GetSecretValue","logs:CreateLogStream","logs:PutLogEvents"],"Resource":"*"}]}"#
                .into(),
        ),
        other_policies: vec![],
        attached_policies: vec![],
        tags: tags(&format!("iam_role.{name}")),
    }
}

pub fn profile() -> IamInstanceProfile {
    IamInstanceProfile {
        name: instance_profile_name(STACK, REGION),
        path: iam_path(STACK, REGION),
        roles: vec![role("generator", "ec2.amazonaws.com").name.into()],
        tags: tags("iam_instance_profile.generator"),
    }
}

pub fn template(observed: &Observed, group: &Value, profile: &Value) -> LaunchTemplate {
    let image = &observed.lookups[&at("image.al2023")];
    let subnet = &observed.lookups[&at("subnet.heavy")];
    let interface = |device| Interface {
        card: 0,
        device,
        subnet: text(subnet, "id"),
        security_groups: vec![group.clone()],
        addresses: 3,
        ipv6_prefixes: 0,
    };
    LaunchTemplate {
        name: format!("{STACK}.heavy"),
        data: LaunchTemplateData {
            image_source: PARAMETER.into(),
            image: text(image, "id"),
            instance_type: "c6in.32xlarge".into(),
            instance_profile: profile.clone(),
            volume: Volume {
                device: text(image, "root_device"),
                size_gib: 100,
                volume_type: "gp3".into(),
                encrypted: true,
                delete_on_termination: true,
            },
            metadata: Metadata { tokens: "required".into(), hop_limit: 1 },
            market: Market::OnDemand,
            interfaces: vec![interface(0), interface(1)],
            tags: BTreeMap::from([("team".to_owned(), "performance".to_owned())]),
            other: Vec::new(),
            user_data: "#!/bin/bash\necho ready\n".into(),
        },
        boot: Some(Boot {
            trunnion: "0.1.0".into(),
            generator: object(Path::new("generator"), b"generator").sha256,
            digest: "0123456789abcdef0123456789abcdef".into(),
        }),
        default_version: LATEST.into(),
        tags: tags("launch_template.heavy"),
    }
}

pub fn instance(template: &Remote, number: u32) -> Instance {
    Instance {
        launch_template: text(&template.attributes, "id"),
        version: text(&template.attributes, "version"),
        zone: "eu-west-3a".into(),
        template: "digest-of-the-template".into(),
        interfaces: 2,
        addresses: 3,
        state: "running".into(),
        tags: tags(&format!("instance.heavy[{number}]")),
    }
}

pub fn log_group() -> LogGroup {
    LogGroup {
        name: format!("/trunnion/{STACK}/control-plane"),
        retention_days: 30,
        tags: tags("log_group.control_plane"),
    }
}

pub fn cluster() -> EcsCluster {
    EcsCluster { name: STACK.into(), tags: tags("ecs_cluster.main") }
}

pub fn definition(role: &Value) -> EcsTaskDefinition {
    let container = |image: &str, essential| Container {
        image: image.into(),
        essential,
        entry_point: vec![],
        command: vec![],
        user: None,
        environment: BTreeMap::from([("CONF".to_owned(), "control-plane {}".into())]),
        secrets: BTreeMap::from([("TOKEN".to_owned(), TOKEN_SECRET.into())]),
        mounts: vec![Mount { volume: "conf".into(), path: "/app/conf".into(), read_only: false }],
        read_only_root: false,
        depends_on: BTreeMap::new(),
        ports: vec![],
        health_check: None,
        stop_timeout_seconds: Some(120),
        log: LogConfiguration { group: log_group().name, region: REGION.into(), stream_prefix: "control-plane".into() },
    };
    let mut main = container("gatlingcorp/control-plane:2026.42.2", true);
    main.ports = vec![8080];
    main.depends_on.insert("conf".into(), "SUCCESS".into());
    EcsTaskDefinition {
        family: format!("{STACK}-control-plane"),
        cpu: 1024,
        memory: 3072,
        execution_role: role.clone(),
        task_role: role.clone(),
        volumes: vec!["conf".into()],
        containers: [("conf".to_owned(), container("busybox:1", false)), ("main".to_owned(), main)].into(),
        tags: tags("ecs_task_definition.control_plane"),
    }
}

pub fn service(cluster: &Remote, definition: &Remote, observed: &Observed, group: &Value) -> EcsService {
    EcsService {
        name: format!("{STACK}-control-plane"),
        cluster: text(&cluster.attributes, "arn"),
        task_definition: text(&definition.attributes, "arn"),
        desired_count: 1,
        network: ServiceNetwork {
            subnets: vec![text(&observed.lookups[&at("subnet.heavy")], "id")],
            security_groups: vec![group.clone()],
            public_ip: true,
        },
        deployment: Deployment { minimum_healthy_percent: 0, maximum_percent: 100 },
        tags: tags("ecs_service.control_plane"),
    }
}

/// A graph of these resources and the lookups.
pub fn desired(resources: impl IntoIterator<Item = Resolved>) -> Graph {
    let resources = resources.into_iter().map(|one| Resource::new(one.address, one.attributes));
    let lookups = lookups();
    Graph::new(STACK, resources, lookups.lookups().values().cloned()).unwrap()
}

/// A fault: the call fails with this error this many times.
pub fn refused(operation: &str, times: u64, status: u16, code: &str) -> FaultRule {
    let effect = Effect::Error { code: code.into(), status, message: format!("{code}, injected by the test.") };
    FaultRule { operation: operation.into(), nth: 1, times, effect }
}

/// A running control plane.
pub struct ControlPlane {
    pub group: Remote,
    pub role: Value,
    pub cluster: Remote,
    pub definition: Remote,
    pub service: Remote,
    pub asked: EcsService,
}

pub const SERVICE: &str = "ecs_service.control_plane";
pub const DEFINITION: &str = "ecs_task_definition.control_plane";

impl ControlPlane {
    /// Creates everything that it needs, and waits until it runs.
    pub async fn start(cloud: &Cloud) -> Self {
        let observed = cloud.observe().await;
        let vpc = text(&observed.lookups[&at("vpc.main")], "id");
        let group = cloud.create("security_group.control_plane", &self::group("control_plane", &vpc, vec![])).await;
        let role = cloud.create("iam_role.control_plane", &role("control_plane", "ecs-tasks.amazonaws.com")).await;
        let role = text(&role.attributes, "arn");
        cloud.create("log_group.control_plane", &log_group()).await;
        let cluster = cloud.create("ecs_cluster.main", &cluster()).await;
        let definition = cloud.create(DEFINITION, &definition(&role)).await;
        let asked = service(&cluster, &definition, &observed, &text(&group.attributes, "id"));
        let service = cloud.create(SERVICE, &asked).await;
        Self { group, role, cluster, definition, service, asked }
    }

    /// The next revision, with another image.
    pub async fn next_revision(&self, cloud: &Cloud, version: &str) -> Value {
        let mut changed = definition(&self.role);
        changed.containers.get_mut("main").unwrap().image = format!("gatlingcorp/control-plane:{version}");
        let made = cloud.create(DEFINITION, &changed).await;
        text(&made.attributes, "arn")
    }
}
