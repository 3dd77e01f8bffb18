//! The whole table of AWS's limits: what the sandbox refuses, `validate` or a plan refuses first.

mod beyond;

use std::collections::{BTreeMap, BTreeSet};

use trunnion_catalog::limits::{self, Reach};
use trunnion_tests::{Ended, SandboxProcess, Stage};

use beyond::{Raw, refusals};

/// Rows that no raw call can reach in a test, and why.
const UNREACHED: [(&str, &str); 10] = [
    ("TEMPLATE_VERSIONS", "it takes 10,000 calls"),
    ("VCPUS", "a quota of the account"),
    ("NETWORK_INTERFACES", "a quota of the account"),
    ("LAUNCH_TEMPLATES", "a quota of the account"),
    ("SECURITY_GROUPS", "a quota of the account"),
    ("VPCS", "a quota of the account"),
    ("SUBNETS", "a quota of the account"),
    ("CLUSTERS", "a quota of the account"),
    ("ROLES", "a quota of the account"),
    ("INSTANCE_PROFILES", "a quota of the account"),
];

/// How many rows of the table no stack reaches.
const MOST_NEVER: usize = 30;

/// A place in the text of `stacks/minimal.yaml`, and the text there.
struct Edit(&'static str, String);

impl Edit {
    /// Keys at the top of the file.
    fn top(keys: impl Into<String>) -> Self {
        Self("\npools:\n", format!("\n{}\npools:\n", keys.into()))
    }

    /// Further keys of the pool.
    fn pool(keys: impl Into<String>) -> Self {
        Self("zone: eu-west-3a }", format!("zone: eu-west-3a, {} }}", keys.into()))
    }

    /// Further keys of the control plane.
    fn control_plane(keys: impl Into<String>) -> Self {
        Self("control_plane:\n", format!("control_plane:\n  {}\n", keys.into()))
    }

    fn on(&self, text: &str) -> String {
        assert!(text.contains(self.0), "{}", self.0);
        text.replace(self.0, &self.1)
    }
}

/// A stack at a limit, and one beyond it.
struct Case {
    /// The rows of the table that it tries.
    rows: &'static [&'static str],
    at: Vec<Edit>,
    beyond: Vec<Edit>,
    /// Whether a plan passes at the limit. Other stacks name what the sandbox does not have.
    is_whole: bool,
    /// A part of the message.
    says: String,
}

impl Case {
    fn new(rows: &'static [&'static str], at: Edit, beyond: Edit, says: &str) -> Self {
        Self { rows, at: vec![at], beyond: vec![beyond], is_whole: true, says: says.to_owned() }
    }

    /// The same, for stacks that name what the sandbox does not have.
    fn valid_only(self) -> Self {
        Self { is_whole: false, ..self }
    }

    /// The same, with this in both stacks too.
    fn with(mut self, edit: impl Fn() -> Edit) -> Self {
        self.at.push(edit());
        self.beyond.push(edit());
        self
    }
}

fn stage(edits: &[Edit], sandbox: &SandboxProcess) -> Stage {
    let minimal = std::fs::read_to_string(trunnion_tests::root().join("stacks/minimal.yaml")).unwrap();
    Stage::new(&edits.iter().fold(minimal, |text, edit| edit.on(&text))).at(sandbox)
}

fn tags(count: usize) -> Edit {
    let tags: Vec<String> = (0..count).map(|number| format!("tag-{number}: x")).collect();
    Edit::top(format!("tags: {{ {} }}\n", tags.join(", ")))
}

fn tag(key: &str, value: &str) -> Edit {
    Edit::top(format!("tags: {{ \"{key}\": \"{value}\" }}\n"))
}

fn of_tags() -> Vec<Case> {
    let (key, value) = (limits::LONGEST_TAG_KEY, limits::LONGEST_TAG_VALUE);
    let own = 6;
    let most = limits::MOST_TAGS - own;
    vec![
        Case::new(&["MOST_TAGS"], tags(most), tags(most + 1), "has 45 tags"),
        Case::new(
            &["LONGEST_TAG_KEY"],
            tag(&"k".repeat(key), ""),
            tag(&"k".repeat(key + 1), ""),
            "is not a tag key that AWS allows",
        ),
        Case::new(
            &["LONGEST_TAG_VALUE"],
            tag("k", &"v".repeat(value)),
            tag("k", &"v".repeat(value + 1)),
            "has a value that AWS does not allow in tags",
        ),
        Case::new(&["TAG_OF_AWS"], tag("awsx", ""), tag("AWS:x", ""), "which AWS reserves"),
        Case::new(&["is_tag_text"], tag("k", "a b"), tag("k", "a,b"), "has a value that AWS does not allow in tags"),
        Case::new(
            &["is_s3_tag_text"],
            tag("k", "a b"),
            tag("k", "a\u{a0}b"),
            "has a value that AWS does not allow in tags",
        ),
    ]
}

fn of_names() -> Vec<Case> {
    let named = |name: &str| Edit("stack: minimal", format!("stack: {name}"));
    // `minimal-123456789012-<region>` and a region of 42 letters have 63 together.
    let (_, longest) = limits::BUCKET_NAME;
    let region = |letters: usize| Edit("eu-west-3", format!("eu-{}-1", "w".repeat(letters - "eu--1".len())));
    let rest = longest - "minimal-123456789012-".len();
    let secret = |name: String| Edit("secret:gatling/token-AbCdEf", format!("secret:{name}-AbCdEf"));
    let part = |part: String| {
        let arn = "arn:aws:secretsmanager:eu-west-3:123456789012:secret:gatling/token-AbCdEf";
        Edit(
            "  token: arn:aws:secretsmanager:eu-west-3:123456789012:secret:gatling/token-AbCdEf",
            format!("  token: \"{arn}:{part}\""),
        )
    };
    let (_, version) = limits::SECRET_VERSION;
    let parameter = |name: String| Edit::pool(format!("image: {{ ssm: {name} }}"));
    let name = limits::PARAMETER_ARN - "arn:aws:ssm:eu-west-3:123456789012:parameter/".len();
    let image = |letters: usize| Edit::control_plane(format!("init_image: a/{}:1", "b".repeat(letters - "a/:1".len())));
    let state = |letters: usize| Edit::top(format!("state: s3://acme-state/{}\n", "s".repeat(letters)));
    let prefix = limits::OBJECT_KEY - 124;
    vec![
        Case::new(&["RESERVED_GROUP_PREFIX"], named("sga"), named("sg"), "`sg-`"),
        Case::new(&["RESERVED_BUCKET_PREFIXES"], named("sthre"), named("sthree"), "`sthree-`"),
        Case::new(&["BUCKET_NAME"], region(rest), region(rest + 1), "64 characters long, but S3 allows 63")
            .valid_only(),
        Case::new(
            &["SECRET_NAME"],
            secret("s".repeat(limits::SECRET_NAME)),
            secret("s".repeat(limits::SECRET_NAME + 1)),
            "is not the ARN of a valid secret",
        )
        .valid_only(),
        Case::new(
            &["SECRET_STAGE"],
            part(format!(":{}:", "s".repeat(limits::SECRET_STAGE))),
            part(format!(":{}:", "s".repeat(limits::SECRET_STAGE + 1))),
            "names a version that no secret has",
        ),
        Case::new(
            &["SECRET_VERSION"],
            part(format!("::{}", "v".repeat(version))),
            part(format!("::{}", "v".repeat(version + 1))),
            "names a version that no secret has",
        ),
        Case::new(
            &["PARAMETER_ARN"],
            parameter(format!("/{}", "p".repeat(name))),
            parameter(format!("/{}", "p".repeat(name + 1))),
            "but Systems Manager allows 967",
        )
        .valid_only(),
        Case::new(
            &["PARAMETER_LEVELS"],
            parameter("/p".repeat(limits::PARAMETER_LEVELS)),
            parameter("/p".repeat(limits::PARAMETER_LEVELS + 1)),
            "has 16 levels",
        )
        .valid_only(),
        Case::new(
            &["CONTAINER_IMAGE"],
            image(limits::CONTAINER_IMAGE),
            image(limits::CONTAINER_IMAGE + 1),
            "has 256 characters, but ECS allows 255",
        ),
        Case::new(&["OBJECT_KEY"], state(prefix), state(prefix + 1), "has a prefix that is not safe in S3")
            .valid_only(),
    ]
}

fn of_sizes() -> Vec<Case> {
    let volume = |gib: u32| Edit::pool(format!("volume_gib: {gib}"));
    let servers = |count: usize| {
        let servers: Vec<String> = (1..=count).map(|number| format!("10.0.0.{number}")).collect();
        Edit::top(format!("network: {{ dns_servers: [{}] }}\n", servers.join(", ")))
    };
    let zones = |count: u8| {
        let zones: Vec<String> =
            (b'a'..).take(count.into()).map(|last| format!("eu-west-3{}", char::from(last))).collect();
        Edit::control_plane(format!("zones: [{}]", zones.join(", ")))
    };
    // One rule for HTTPS, and one for each subnet with hosts.
    let subnets = |count: usize| {
        let pools = (1..count)
            .map(|number| format!("  p{number}: {{ instance_type: c7i.xlarge, subnet: subnet-{number:08x} }}\n"));
        let first = "  small: { instance_type: c7i.xlarge, zone: eu-west-3a }\n";
        let own = "  small: { instance_type: c7i.xlarge, subnet: subnet-00000000 }\n";
        Edit(first, pools.fold(own.to_owned(), |text, pool| text + &pool))
    };
    let rules = limits::SECURITY_GROUP_RULES;
    let subnet_count = u8::try_from(limits::SERVICE_SUBNETS).unwrap();
    let gib = limits::GP3_GIB;
    vec![
        Case::new(&["GP3_GIB", "VOLUME_GIB"], volume(gib), volume(gib + 1), "65537"),
        Case::new(&["DNS_SERVERS"], servers(limits::DNS_SERVERS), servers(limits::DNS_SERVERS + 1), "has 5 items"),
        Case::new(&["SERVICE_SUBNETS"], zones(subnet_count), zones(subnet_count + 1), "has 17 zones").valid_only(),
        Case::new(&["SECURITY_GROUP_RULES"], subnets(rules - 1), subnets(rules), "needs 61 rules")
            .valid_only()
            .with(|| Edit::control_plane("zones: [eu-west-3a]")),
        Case::new(
            &["FARGATE_SIZES"],
            Edit::control_plane("cpu: 256\n  memory: 2048"),
            Edit::control_plane("cpu: 256\n  memory: 2560"),
            "Fargate has no task with 256 CPU units and 2560 MiB",
        ),
        Case::new(
            &["RETENTION_DAYS"],
            Edit::control_plane("log_retention_days: 3288"),
            Edit::control_plane("log_retention_days: 3289"),
            "which CloudWatch Logs does not have",
        ),
        Case::new(
            &["InstanceType::cards"],
            Edit::pool("interfaces: 4"),
            Edit::pool("interfaces: 5"),
            "asks for 5 network interfaces, but c7i.xlarge allows 4",
        ),
        Case::new(
            &["InstanceType::ipv4_per_interface"],
            Edit::pool("addresses: 15"),
            Edit::pool("addresses: 16"),
            "asks for 16 IPv4 addresses per interface, but c7i.xlarge allows 15",
        ),
        Case::new(
            &["ELASTIC_IPS"],
            Edit::pool(format!("public_ip: true, count: {}", limits::ELASTIC_IPS)),
            Edit::pool(format!("public_ip: true, count: {}", limits::ELASTIC_IPS + 1)),
            "the stack needs 6 more Elastic IPs",
        ),
    ]
}

/// The user data and the conf are at their limits to the byte.
fn of_bytes(sandbox: &SandboxProcess) -> Vec<Case> {
    let script = |bytes: usize| {
        let padding = "x".repeat(bytes - "#!/bin/bash\n# ".len());
        Edit::top(format!("generator: {{ template: boot.sh.tera, variables: {{ padding: \"{padding}\" }} }}\n"))
    };
    let described =
        |bytes: usize| Edit("{ pool: small }", format!("{{ pool: small, description: {} }}", "d".repeat(bytes)));
    // The message for a conf that is too long by far says how long the rest is.
    let ended = stage(&[described(limits::TASK_DEFINITION_BYTES)], sandbox).run(&["validate"]);
    let said = ended.said();
    let size = said.split_once("task definition has ").and_then(|(_, rest)| rest.split_once(" bytes"));
    let size: usize = size.unwrap_or_else(|| panic!("{said}")).0.parse().unwrap();
    let most = 2 * limits::TASK_DEFINITION_BYTES - size;
    vec![
        Case::new(
            &["USER_DATA_BYTES"],
            script(limits::USER_DATA_BYTES),
            script(limits::USER_DATA_BYTES + 1),
            "has 16385 bytes, but AWS allows 16384",
        ),
        Case::new(&["TASK_DEFINITION_BYTES"], described(most), described(most + 1), "has 65537 bytes"),
    ]
}

fn cases(sandbox: &SandboxProcess) -> Vec<Case> {
    [of_tags(), of_names(), of_sizes(), of_bytes(sandbox)].into_iter().flatten().collect()
}

fn run(edits: &[Edit], sandbox: &SandboxProcess, command: &str) -> Ended {
    let stage = stage(edits, sandbox);
    stage.write("boot.sh.tera", "#!/bin/bash\n# {{ variables.padding }}");
    stage.run(&[command])
}

#[test]
fn a_stack_at_a_limit_passes_and_one_beyond_is_refused_before_any_change() {
    let sandbox = SandboxProcess::start(&[]);
    for Case { rows, at, beyond, is_whole, says } in cases(&sandbox) {
        let command = if is_whole { "plan" } else { "validate" };
        let passed = run(&at, &sandbox, command);
        assert_eq!(passed.code, 0, "{rows:?} at the limit\n{}", passed.stderr);
        for row in rows {
            let reach = limits::table().find(|limit| limit.name == *row).unwrap().reach;
            let command = match reach {
                Reach::Validate => "validate",
                Reach::Plan => "plan",
                other => panic!("{row} has a case, but its reach is {other:?}"),
            };
            let refused = run(&beyond, &sandbox, command);
            assert_eq!(refused.code, 1, "{rows:?} beyond the limit\n{}{}", refused.stdout, refused.stderr);
            assert!(refused.said().contains(&says), "{rows:?}: `{says}` in\n{}", refused.stderr);
        }
    }
    assert_eq!(sandbox.changing_calls(), BTreeMap::new());
}

/// One stack with all limits of resources that it creates: the sandbox accepts what the checks accept.
#[test]
fn a_stack_at_many_limits_is_applied() {
    let sandbox = SandboxProcess::start(&[]);
    let own = limits::MOST_TAGS - 6;
    let tag = |number: usize| format!("{number:0128}: {}", "v".repeat(limits::LONGEST_TAG_VALUE));
    let tags: Vec<String> = (0..own).map(|number| format!("t{}", &tag(number)[1..])).collect();
    let stage = stage(
        &[
            Edit::top(format!("tags: {{ {} }}\n", tags.join(", "))),
            Edit::pool(format!("volume_gib: {}, interfaces: 4, addresses: 15", limits::GP3_GIB)),
            Edit("stack: minimal", format!("stack: {}", "m".repeat(31))),
            Edit::control_plane("cpu: 16384\n  memory: 122880\n  log_retention_days: 3653"),
        ],
        &sandbox,
    );
    stage.converge(&[]);
}

#[tokio::test]
async fn the_sandbox_refuses_what_is_beyond_each_limit() {
    // Its calls use at once what they made.
    let sandbox = SandboxProcess::start_friendly(&[]);
    let raw = Raw::connect(&sandbox).await;
    let mut refused = BTreeSet::new();
    let mut others = Vec::new();
    for (row, expected, answer) in refusals(&raw).await {
        if answer != expected {
            others.push(format!("{row}: {answer} instead of {expected}"));
        }
        refused.insert(row);
    }
    assert_eq!(others, Vec::<String>::new());
    let tried: BTreeSet<&str> = cases(&sandbox).iter().flat_map(|case| case.rows.iter().copied()).collect();
    let mut never = 0;
    for limit in limits::table() {
        let is_unreached = UNREACHED.iter().any(|(row, _)| *row == limit.name);
        assert_ne!(refused.contains(limit.name), is_unreached, "{} in the sandbox", limit.name);
        match limit.reach {
            Reach::Validate | Reach::Plan => assert!(tried.contains(limit.name), "{} in a stack", limit.name),
            Reach::Never(_) => never += 1,
            Reach::Quota(_) => assert!(is_unreached, "{}", limit.name),
        }
    }
    assert!(never <= MOST_NEVER, "{never} rows that no stack reaches");
    let known: BTreeSet<&str> = limits::table().map(|limit| limit.name).collect();
    assert!(refused.is_subset(&known) && tried.is_subset(&known));
}
