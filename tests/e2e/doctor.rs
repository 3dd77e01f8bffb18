//! `trunnion doctor`: an account that has everything, accounts in which something is missing, and what it calls.

use std::{
    collections::BTreeSet,
    time::{SystemTime, UNIX_EPOCH},
};

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_sdk_ec2::types::{AttributeBooleanValue, BlockDeviceMapping, DomainType, EbsBlockDevice};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use trunnion_tests::{Ended, SandboxProcess, Stage};

const STATES: &str = "doctor-states-123456789012";
const PARAMETER: &str = "/images/beta";

/// Pools that have nothing in common, so that each can lack something alone.
const STACK: &str = r#"
stack: doctored
region: eu-west-3
account: "123456789012"
state: s3://doctor-states-123456789012/team/
network: { vpc: VPC }
pools:
  alpha: { instance_type: c7i.xlarge, subnet: SUBNET_A }
  beta: { instance_type: m7i.xlarge, subnet: SUBNET_B, image: { ssm: /images/beta } }
  gamma: { instance_type: r7i.xlarge, subnet: SUBNET_C, count: 1 }
  delta: { instance_type: c7i.2xlarge, subnet: SUBNET_D, public_ip: true, image: IMAGE_D, volume_gib: 90 }
  epsilon: { instance_type: c7i.4xlarge, subnet: SUBNET_D, image: IMAGE_E }
control_plane:
  image: gatlingcorp/control-plane:2026.42.2
  public_ip: true
  cpu: 1024
  memory: 4096
  zones: [eu-west-3a]
  token: arn:aws:secretsmanager:eu-west-3:123456789012:secret:gatling/token-AbCdEf
  ssh:
    private_key: arn:aws:secretsmanager:eu-west-3:123456789012:secret:gatling/ssh-AbCdEf
    public_key: ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEV4YW1wbGVLZXlOb3RGb3JSZWFsVXNlMDEyMzQ1Njc4 gatling
locations:
  prl_alpha: { pool: alpha }
  prl_beta: { pool: beta }
  prl_gamma: { pool: gamma }
  prl_delta: { pool: delta }
  prl_epsilon: { pool: epsilon }
"#;

/// Something that an account can lack.
#[derive(Debug, Clone, Copy)]
enum Fault {
    /// A policy of the identity denies the action.
    Denied(&'static str),
    /// The sandbox is started with this option.
    Started(&'static [&'static str]),
    /// The stack asks for this instead.
    Edited(&'static str, &'static str),
    /// The administrator changes the account.
    Changed(fn(&World)),
}

/// Each fault with the beginning of its line.
const FAULTS: &[(&str, Fault)] = &[
    ("ec2:AllocateAddress", Fault::Denied("ec2:AllocateAddress")),
    ("ec2:AssociateAddress", Fault::Denied("ec2:AssociateAddress")),
    ("ec2:AuthorizeSecurityGroupIngress", Fault::Denied("ec2:AuthorizeSecurityGroupIngress")),
    ("ec2:CreateLaunchTemplate", Fault::Denied("ec2:CreateLaunchTemplate")),
    ("ec2:CreateLaunchTemplateVersion", Fault::Denied("ec2:CreateLaunchTemplateVersion")),
    ("ec2:CreateSecurityGroup", Fault::Denied("ec2:CreateSecurityGroup")),
    ("ec2:CreateTags", Fault::Denied("ec2:CreateTags")),
    ("ec2:DeleteSecurityGroup", Fault::Denied("ec2:DeleteSecurityGroup")),
    ("ec2:RunInstances", Fault::Denied("ec2:RunInstances")),
    ("ec2:TerminateInstances", Fault::Denied("ec2:TerminateInstances")),
    ("ecs:CreateCluster", Fault::Denied("ecs:CreateCluster")),
    ("ecs:CreateService", Fault::Denied("ecs:CreateService")),
    ("ecs:DeleteCluster", Fault::Denied("ecs:DeleteCluster")),
    ("ecs:RegisterTaskDefinition", Fault::Denied("ecs:RegisterTaskDefinition")),
    ("ecs:UpdateService", Fault::Denied("ecs:UpdateService")),
    ("iam:AddRoleToInstanceProfile", Fault::Denied("iam:AddRoleToInstanceProfile")),
    ("iam:CreateInstanceProfile", Fault::Denied("iam:CreateInstanceProfile")),
    ("iam:CreateRole", Fault::Denied("iam:CreateRole")),
    ("iam:DeleteRole", Fault::Denied("iam:DeleteRole")),
    ("iam:PassRole", Fault::Denied("iam:PassRole")),
    ("iam:PutRolePolicy", Fault::Denied("iam:PutRolePolicy")),
    ("logs:CreateLogGroup", Fault::Denied("logs:CreateLogGroup")),
    ("logs:PutRetentionPolicy", Fault::Denied("logs:PutRetentionPolicy")),
    ("s3:CreateBucket", Fault::Denied("s3:CreateBucket")),
    ("s3:PutBucketPolicy", Fault::Denied("s3:PutBucketPolicy")),
    ("s3:PutObject", Fault::Denied("s3:PutObject")),
    ("service-linked role AWSServiceRoleForECS", Fault::Denied("iam:CreateServiceLinkedRole")),
    ("quota of vCPUs of On-Demand Standard instances", Fault::Started(&["--vcpus", "4"])),
    ("quota of vCPUs of Fargate tasks", Fault::Edited("cpu: 1024\n  memory: 4096", "cpu: 8192\n  memory: 16384")),
    ("pools.gamma", Fault::Edited("count: 1", "count: 12")),
    ("pools.delta.volume_gib", Fault::Edited("volume_gib: 90", "volume_gib: 40")),
    ("state bucket", Fault::Changed(World::delete_state_bucket)),
    ("secret.token", Fault::Changed(World::delete_token)),
    ("secret.ssh_private_key", Fault::Changed(World::purge_ssh_key)),
    ("image.beta", Fault::Changed(World::delete_parameter)),
    ("image.epsilon", Fault::Changed(World::deregister_image)),
    ("route of pools.gamma", Fault::Changed(World::remove_route)),
    ("DNS of ", Fault::Changed(World::switch_dns_off)),
    ("quota of Elastic IPs", Fault::Changed(World::use_elastic_ips)),
];

/// An account, seen by its administrator, who reads at once what was just made. So the sandbox is not strict here; a
/// strict one goes on with its data.
struct World {
    sandbox: SandboxProcess,
    data: TempDir,
    runtime: Runtime,
    config: SdkConfig,
    vpc: String,
    /// Of the zones and of one small subnet.
    subnets: [String; 4],
    /// The route table of the small subnet.
    table: String,
    images: [String; 2],
}

impl World {
    fn new() -> Self {
        let data = tempfile::tempdir().unwrap();
        let sandbox = SandboxProcess::start_friendly(&["--data", data.path().to_str().unwrap()]);
        let runtime = Runtime::new().unwrap();
        let config = runtime.block_on(
            aws_config::defaults(BehaviorVersion::latest())
                .endpoint_url(&sandbox.endpoint)
                .region(Region::new("eu-west-3"))
                .credentials_provider(Credentials::new("sandbox", "sandbox", None, None, "test"))
                .load(),
        );
        let empty = || String::new();
        let mut world = Self {
            sandbox,
            data,
            runtime,
            config,
            vpc: empty(),
            subnets: Default::default(),
            table: empty(),
            images: Default::default(),
        };
        world.make_network();
        world.images = [world.image("delta", 80), world.image("epsilon", 8)];
        let image = world.image("beta", 8);
        let put = aws_sdk_ssm::Client::new(&world.config).put_parameter().name(PARAMETER).value(image);
        world.wait(put.r#type(aws_sdk_ssm::types::ParameterType::String).send());
        let s3 = aws_sdk_s3::Client::from_conf(
            aws_sdk_s3::config::Builder::from(&world.config).force_path_style(true).build(),
        );
        let place = aws_sdk_s3::types::CreateBucketConfiguration::builder()
            .location_constraint(aws_sdk_s3::types::BucketLocationConstraint::EuWest3)
            .build();
        world.wait(s3.create_bucket().bucket(STATES).create_bucket_configuration(place).send());
        world
    }

    fn wait<T, E: std::fmt::Debug>(&self, call: impl Future<Output = Result<T, E>>) -> T {
        self.runtime.block_on(call).unwrap()
    }

    fn ec2(&self) -> aws_sdk_ec2::Client {
        aws_sdk_ec2::Client::new(&self.config)
    }

    /// A VPC with a subnet in each of three zones, and a small one with a route table of its own.
    fn make_network(&mut self) {
        let ec2 = self.ec2();
        let vpc = self.wait(ec2.create_vpc().cidr_block("10.9.0.0/16").send()).vpc.unwrap().vpc_id.unwrap();
        let gateway = self.wait(ec2.create_internet_gateway().send()).internet_gateway.unwrap();
        let gateway = gateway.internet_gateway_id.unwrap();
        self.wait(ec2.attach_internet_gateway().internet_gateway_id(&gateway).vpc_id(&vpc).send());
        let subnet = |range: &str, zone: &str| {
            let call = ec2.create_subnet().vpc_id(&vpc).cidr_block(range).availability_zone(zone);
            let id = self.wait(call.send()).subnet.unwrap().subnet_id.unwrap();
            let gives = AttributeBooleanValue::builder().value(true).build();
            self.wait(ec2.modify_subnet_attribute().subnet_id(&id).map_public_ip_on_launch(gives).send());
            id
        };
        let routed = |subnet: &str| {
            let table = self.wait(ec2.create_route_table().vpc_id(&vpc).send()).route_table.unwrap();
            let table = table.route_table_id.unwrap();
            let route = ec2.create_route().route_table_id(&table).destination_cidr_block("0.0.0.0/0");
            self.wait(route.gateway_id(&gateway).send());
            self.wait(ec2.associate_route_table().route_table_id(&table).subnet_id(subnet).send());
            table
        };
        let subnets = [
            subnet("10.9.0.0/20", "eu-west-3a"),
            subnet("10.9.16.0/20", "eu-west-3b"),
            subnet("10.9.32.0/28", "eu-west-3c"),
            subnet("10.9.48.0/20", "eu-west-3b"),
        ];
        let tables: Vec<String> = subnets.iter().map(|subnet| routed(subnet)).collect();
        self.table.clone_from(&tables[2]);
        self.subnets = subnets;
        self.vpc = vpc;
    }

    fn image(&self, name: &str, size: i32) -> String {
        let root = EbsBlockDevice::builder().volume_size(size).build();
        let root = BlockDeviceMapping::builder().device_name("/dev/xvda").ebs(root).build();
        let call = self.ec2().register_image().name(name).root_device_name("/dev/xvda").block_device_mappings(root);
        self.wait(call.send()).image_id.unwrap()
    }

    fn delete_state_bucket(&self) {
        let config = aws_sdk_s3::config::Builder::from(&self.config).force_path_style(true).build();
        self.wait(aws_sdk_s3::Client::from_conf(config).delete_bucket().bucket(STATES).send());
    }

    fn delete_token(&self) {
        self.wait(aws_sdk_secretsmanager::Client::new(&self.config).delete_secret().secret_id("gatling/token").send());
    }

    /// Deletes it without a way back.
    fn purge_ssh_key(&self) {
        let secrets = aws_sdk_secretsmanager::Client::new(&self.config);
        let gone = secrets.delete_secret().secret_id("gatling/ssh").force_delete_without_recovery(true);
        self.wait(gone.send());
    }

    fn delete_parameter(&self) {
        self.wait(aws_sdk_ssm::Client::new(&self.config).delete_parameter().name(PARAMETER).send());
    }

    fn deregister_image(&self) {
        self.wait(self.ec2().deregister_image().image_id(&self.images[1]).send());
    }

    fn remove_route(&self) {
        let route = self.ec2().delete_route().route_table_id(&self.table).destination_cidr_block("0.0.0.0/0");
        self.wait(route.send());
    }

    fn switch_dns_off(&self) {
        let off = AttributeBooleanValue::builder().value(false).build();
        self.wait(self.ec2().modify_vpc_attribute().vpc_id(&self.vpc).enable_dns_support(off).send());
    }

    fn use_elastic_ips(&self) {
        for _ in 0..5 {
            self.wait(self.ec2().allocate_address().domain(DomainType::Vpc).send());
        }
    }

    /// A user with these policies, and its access key.
    fn user(&self, policies: &[Value]) -> Key {
        let iam = aws_sdk_iam::Client::new(&self.config);
        self.wait(iam.create_user().user_name("operator").send());
        for (number, policy) in policies.iter().enumerate() {
            let name = format!("policy{number}");
            let made = self.wait(iam.create_policy().policy_name(name).policy_document(policy.to_string()).send());
            let arn = made.policy.unwrap().arn.unwrap();
            self.wait(iam.attach_user_policy().user_name("operator").policy_arn(arn).send());
        }
        let key = self.wait(iam.create_access_key().user_name("operator").send()).access_key.unwrap();
        (key.access_key_id, key.secret_access_key)
    }

    fn stage(&self) -> Stage {
        let [a, b, c, d] = &self.subnets;
        let [delta, epsilon] = &self.images;
        let names = [("VPC", &self.vpc), ("SUBNET_A", a), ("SUBNET_B", b), ("SUBNET_C", c), ("SUBNET_D", d)];
        let names = names.into_iter().chain([("IMAGE_D", delta), ("IMAGE_E", epsilon)]);
        let text = names.fold(STACK.to_owned(), |text, (name, id)| text.replace(name, id));
        Stage::new(&text)
    }

    /// The account for a stage, with these options.
    fn open(self, stage: Stage, options: &[&str]) -> Account {
        drop(self.sandbox);
        let data = self.data.path().to_str().unwrap();
        // Before it has started, everybody knows of the new access key: a minute takes 3 ms.
        let sandbox = SandboxProcess::start_at(20_000, &[&["--data", data], options].concat());
        Account { stage: stage.at(&sandbox), sandbox, _data: self.data }
    }
}

/// An account that is examined.
struct Account {
    sandbox: SandboxProcess,
    stage: Stage,
    _data: TempDir,
}

/// The access key and the secret of a user.
type Key = (String, String);

impl Account {
    /// Runs doctor as a user. It changes nothing.
    fn doctor(&self, (id, secret): &Key, more: &[&str]) -> Ended {
        let variables = [("AWS_ACCESS_KEY_ID", id.as_str()), ("AWS_SECRET_ACCESS_KEY", secret.as_str())];
        let before = self.sandbox.changing_calls();
        let ended = self.stage.run_with(&[&["doctor"], more].concat(), &variables);
        assert_eq!(self.sandbox.changing_calls(), before);
        ended
    }
}

fn administrator() -> Value {
    json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]})
}

/// The beginning of the line that nothing can answer: what other tasks use is in no list.
const FARGATE: &str = "quota of vCPUs of Fargate tasks";

/// The lines that are open, without the one that always is.
fn open(ended: &Ended) -> Vec<&str> {
    let (always, others): (Vec<&str>, Vec<&str>) =
        lines(ended, "unknown").into_iter().partition(|line| line.starts_with(FARGATE));
    assert_eq!(always.len(), 1, "{}", ended.stdout);
    others
}

/// The lines with a verdict.
fn lines<'e>(ended: &'e Ended, verdict: &str) -> Vec<&'e str> {
    let lines = ended.stdout.lines().filter_map(|line| line.strip_prefix(&format!("{verdict:8}")));
    lines.filter(|line| !line.starts_with(' ')).collect()
}

/// Runs doctor on an account with these faults.
fn examined(faults: &[&(&str, Fault)]) -> (Account, Ended) {
    let world = World::new();
    let stage = world.stage();
    let (mut denied, mut options) = (Vec::new(), Vec::new());
    for (_, fault) in faults {
        match fault {
            Fault::Denied(action) => denied.push(*action),
            Fault::Edited(from, to) => stage.edit(from, to),
            Fault::Changed(change) => change(&world),
            Fault::Started(more) => options.extend_from_slice(more),
        }
    }
    let mut statements = vec![json!({"Effect": "Allow", "Action": "*", "Resource": "*"})];
    if !denied.is_empty() {
        statements.push(json!({"Effect": "Deny", "Action": denied, "Resource": "*"}));
    }
    let key = world.user(&[json!({"Version": "2012-10-17", "Statement": statements})]);
    let account = world.open(stage, &options);
    let ended = account.doctor(&key, &[]);
    assert!(account.sandbox.changing_calls().is_empty());
    (account, ended)
}

#[test]
fn an_account_with_everything_lacks_nothing() {
    let (account, ended) = examined(&[]);
    assert_eq!(ended.code, 0, "{}\n{}", ended.stdout, ended.stderr);
    assert!(lines(&ended, "missing").is_empty() && open(&ended).is_empty(), "{}", ended.stdout);
    assert!(lines(&ended, "ok").len() > 15, "{}", ended.stdout);
    let calls = account.sandbox.calls();
    assert!(calls["ec2:RunInstances (dry run)"]["count"] == 1, "{calls}");
}

#[test]
fn each_thing_that_is_missing_has_exactly_its_line() {
    assert!(FAULTS.len() >= 30);
    let check = |fault: &(&str, Fault)| {
        let (_, ended) = examined(&[fault]);
        let missing = lines(&ended, "missing");
        let is_its = matches!(missing.as_slice(), [only] if only.starts_with(fault.0));
        assert!(is_its && ended.code == 1, "{fault:?}\n{}\n{}", ended.stdout, ended.stderr);
    };
    // Each waits most of the time, for IAM's rate limit.
    std::thread::scope(|scope| {
        for faults in FAULTS.chunks(FAULTS.len().div_ceil(5)) {
            scope.spawn(move || faults.iter().for_each(check));
        }
    });
}

#[test]
#[expect(clippy::print_stdout, reason = "the seed repeats the draw")]
fn twelve_missing_things_have_twelve_lines() {
    let own = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let seed: u64 = std::env::var("TRUNNION_DRAW").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(own);
    println!("TRUNNION_DRAW={seed}");
    let mut left: Vec<_> = FAULTS.iter().collect();
    let mut state = seed;
    let drawn: Vec<_> = (0..12)
        .map(|_| {
            // A linear congruential generator (Knuth, MMIX).
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            left.swap_remove(usize::try_from((state >> 33) % left.len() as u64).unwrap())
        })
        .collect();
    let (_, ended) = examined(&drawn);
    println!("{}", ended.stdout);
    let missing = lines(&ended, "missing");
    let its: BTreeSet<&str> = drawn
        .iter()
        .filter(|(line, _)| missing.iter().any(|one| one.starts_with(line)))
        .map(|(line, _)| *line)
        .collect();
    let wanted: BTreeSet<&str> = drawn.iter().map(|(line, _)| *line).collect();
    assert_eq!(its, wanted, "TRUNNION_DRAW={seed}");
    assert_eq!((missing.len(), ended.code), (12, 1), "TRUNNION_DRAW={seed}");
}

#[test]
fn what_the_identity_may_not_ask_is_unknown_and_names_the_permission() {
    let world = World::new();
    let stage = world.stage();
    let printed = stage.succeed(&["permissions", "--for", "plan"]).stdout;
    let key = world.user(&[serde_json::from_str(&printed).unwrap()]);
    let ended = world.open(stage, &[]).doctor(&key, &["--for", "plan"]);
    assert_eq!(ended.code, 0, "{}\n{}", ended.stdout, ended.stderr);
    for action in [
        "iam:SimulatePrincipalPolicy",
        "iam:GetAccountSummary",
        "ec2:DescribeInstanceTypeOfferings",
        "ec2:DescribeVpcAttribute",
    ] {
        assert!(ended.stdout.contains(&format!("help: `{action}` would answer it")), "{action}\n{}", ended.stdout);
    }
    assert!(lines(&ended, "missing").is_empty(), "{}", ended.stdout);
}

#[test]
fn the_policy_of_doctor_shows_all_but_what_nothing_shows() {
    let world = World::new();
    let stage = world.stage();
    let printed = stage.succeed(&["permissions", "--for", "doctor"]).stdout;
    let key = world.user(&[serde_json::from_str(&printed).unwrap()]);
    let ended = world.open(stage, &[]).doctor(&key, &["--for", "plan", "--json"]);
    assert_eq!(ended.code, 0, "{}\n{}", ended.stdout, ended.stderr);
    let document: Value = serde_json::from_str(&ended.stdout).unwrap();
    let others = document["findings"].as_array().unwrap().iter().filter(|finding| finding["verdict"] != "ok");
    let others: Vec<&str> = others.map(|finding| finding["subject"].as_str().unwrap()).collect();
    assert_eq!(others, [FARGATE], "{document:#}");
}

#[test]
fn a_policy_of_apply_allows_what_apply_needs() {
    const LAUNCH: &str =
        "it asks about the default group of the VPC, which the policies do not allow: ec2:CreateTags, ec2:RunInstances";
    let world = World::new();
    let stage = world.stage();
    let mut policies = vec![];
    for purpose in ["apply", "destroy", "doctor"] {
        let printed: Value = serde_json::from_str(&stage.succeed(&["permissions", "--for", purpose]).stdout).unwrap();
        policies.extend(printed.as_array().cloned().unwrap_or_else(|| vec![printed]));
    }
    let key = world.user(&policies);
    let ended = world.open(stage, &[]).doctor(&key, &[]);
    assert_eq!(ended.code, 0, "{}\n{}", ended.stdout, ended.stderr);
    // The policies allow a launch into groups of the stack only, and it has none yet.
    assert!(matches!(open(&ended).as_slice(), [only] if only.ends_with(LAUNCH)), "{}", ended.stdout);
}

#[test]
fn an_applied_stack_is_examined_by_dry_runs_on_its_resources() {
    let world = World::new();
    let key = world.user(&[administrator()]);
    let stage = world.stage();
    let account = world.open(stage, &[]);
    account.stage.succeed(&["apply", "--yes"]);
    let ended = account.doctor(&key, &[]);
    assert_eq!(ended.code, 0, "{}\n{}", ended.stdout, ended.stderr);
    assert!(open(&ended).is_empty(), "{}", ended.stdout);
    let calls = account.sandbox.calls();
    for operation in ["TerminateInstances", "DeleteLaunchTemplate", "DisassociateAddress", "CreateTags"] {
        assert_eq!(calls[format!("ec2:{operation} (dry run)")]["count"], 1, "{operation}");
    }
    // One of its three groups is not in use.
    assert_eq!(calls["ec2:DeleteSecurityGroup (dry run)"]["count"], 3);
}

#[test]
fn what_ec2_allows_on_one_resource_may_be_denied_on_another() {
    let world = World::new();
    let templates = "arn:aws:ec2:*:*:launch-template/*";
    let deny = json!({"Effect": "Deny", "Action": "ec2:RunInstances", "Resource": templates});
    let mut policy = administrator();
    policy["Statement"].as_array_mut().unwrap().push(deny);
    let key = world.user(&[policy]);
    let stage = world.stage();
    let ended = world.open(stage, &[]).doctor(&key, &[]);
    assert_eq!(ended.code, 0, "{}\n{}", ended.stdout, ended.stderr);
    let expected = "ec2:RunInstances: a dry run on one resource is allowed, but ";
    assert!(matches!(open(&ended).as_slice(), [only] if only.starts_with(expected)), "{}", ended.stdout);
}

#[test]
fn a_state_that_cannot_be_read_is_missing() {
    let world = World::new();
    let key = world.user(&[administrator()]);
    let config = aws_sdk_s3::config::Builder::from(&world.config).force_path_style(true).build();
    let put = aws_sdk_s3::Client::from_conf(config).put_object().bucket(STATES).key("team/doctored.json");
    world.wait(put.body(b"no state".to_vec().into()).send());
    let stage = world.stage();
    let ended = world.open(stage, &[]).doctor(&key, &["--json"]);
    assert_eq!(ended.code, 1, "{}\n{}", ended.stdout, ended.stderr);
    let document: Value = serde_json::from_str(&ended.stdout).unwrap();
    let missing = document["findings"].as_array().unwrap().iter().filter(|finding| finding["verdict"] == "missing");
    let missing: Vec<&Value> = missing.collect();
    assert!(
        matches!(missing.as_slice(), [one] if one["subject"] == "state" && one["help"].is_string()),
        "{document:#}"
    );
}

#[test]
fn what_cannot_be_examined_is_an_error() {
    let stage = Stage::new("");
    std::fs::remove_file(stage.path("stack.yaml")).unwrap();
    let none = stage.run_with(&["doctor"], &[]);
    assert!(none.code == 1 && none.said().contains("no `stack.yaml`"), "{}", none.stderr);
    let sandbox = SandboxProcess::start(&[]);
    let stage = Stage::with("minimal").at(&sandbox);
    let refused = stage.run_with(&["doctor"], &[("AWS_ACCESS_KEY_ID", "AKIAUNKNOWN")]);
    assert!(refused.code == 1 && refused.said().contains("sts:GetCallerIdentity"), "{}", refused.stderr);
    assert!(refused.stdout.is_empty(), "{}", refused.stdout);
    stage.edit("account: \"123456789012\"", "account: \"210987654321\"");
    let text = std::fs::read_to_string(stage.path("stack.yaml")).unwrap().replace(":123456789012:", ":210987654321:");
    stage.write("stack.yaml", text);
    let other = stage.run(&["doctor"]);
    assert!(
        other.code == 1 && other.said().contains("the credentials are of account 123456789012"),
        "{}",
        other.stderr
    );
    let alone = Stage::with("minimal");
    let without = alone.run_with(&["doctor"], &[("AWS_EC2_METADATA_DISABLED", "true")]);
    assert!(without.code == 1 && without.stdout.is_empty(), "{}", without.stderr);
    stage.edit("region: eu-west-3\n", "region: eu-west-33\n");
    assert_eq!(stage.run(&["doctor"]).code, 1);
}
