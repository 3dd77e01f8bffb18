//! The stacks that are applied, and the steps between them.

use std::fmt::Write as _;

/// A stack, as far as scenarios and histories change it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shape {
    /// The number of hosts of the large pool.
    pub heavy: u32,
    /// The name of the large pool. Any but `heavy` is a new one.
    pub name: &'static str,
    pub heavy_type: &'static str,
    pub tracking: &'static str,
    pub public_ip: bool,
    /// The number of hosts of the pool `probe`; none without the pool.
    pub probe: Option<u32>,
    /// The control plane's version.
    pub version: u32,
    pub retention: u32,
    pub team: Option<&'static str>,
    /// Whether everything is in the account's second network.
    pub second_vpc: bool,
    /// The build of the generator: `a` or `b`.
    pub build: char,
    /// Whether the state is in S3.
    pub is_remote: bool,
}

/// The bucket of states, in every account.
pub(super) const BUCKET: &str = "kill-states";

/// The key of the state there.
pub(super) const KEY: &str = "load/kill.json";

/// What most scenarios begin with.
pub(super) const BASE: Shape = Shape {
    heavy: 2,
    name: "heavy",
    heavy_type: "c7i.xlarge",
    tracking: "tracked",
    public_ip: false,
    probe: Some(1),
    version: 2,
    retention: 30,
    team: None,
    second_vpc: false,
    build: 'a',
    is_remote: false,
};

impl Shape {
    /// The stack file.
    pub fn yaml(&self) -> String {
        let Self { heavy, name, heavy_type, tracking, public_ip, version, retention, build, .. } = self;
        let mut text = String::from("stack: kill\nregion: eu-west-3\naccount: \"123456789012\"\n");
        let mut add = |line: String| {
            let _ = writeln!(text, "{line}");
        };
        if self.is_remote {
            add(format!("state: s3://{BUCKET}/load"));
        }
        if *name != BASE.name {
            add(format!("moved: [{{ from: {}, to: {name} }}]", BASE.name));
        }
        if let Some(team) = self.team {
            add(format!("tags: {{ team: {team} }}"));
        }
        if self.second_vpc {
            add("network: { vpc: { Name: second } }".to_owned());
        }
        add(format!("generator: {{ binary: generator-{build} }}"));
        add("pools:".to_owned());
        add(format!(
            "  {name}: {{ instance_type: {heavy_type}, zone: eu-west-3a, count: {heavy}, tracking: {tracking}, public_ip: {public_ip}, interfaces: 2, addresses: 2 }}"
        ));
        if let Some(probe) = self.probe {
            add(format!("  probe: {{ instance_type: c7i.xlarge, zone: eu-west-3a, count: {probe} }}"));
        }
        add("control_plane:".to_owned());
        add(format!("  image: gatlingcorp/control-plane:2026.42.{version}"));
        let secret = "arn:aws:secretsmanager:eu-west-3:123456789012:secret:gatling";
        add(format!("  token: {secret}/token-AbCdEf"));
        add("  ssh:".to_owned());
        add(format!("    private_key: {secret}/ssh-AbCdEf"));
        add("    public_key: ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEV4YW1wbGVLZXlOb3RGb3JSZWFsVXNlMDEyMzQ1Njc4 gatling"
            .to_owned());
        add(format!("  log_retention_days: {retention}"));
        add("locations:".to_owned());
        add(format!("  prl_heavy: {{ pool: {name} }}"));
        if self.probe.is_some() {
            add("  prl_probe: { pool: probe }".to_owned());
        }
        text
    }
}

/// A step from one stack to another one.
#[derive(Debug, Clone)]
pub(super) struct Scenario {
    pub name: &'static str,
    pub ground: Ground,
    /// What the step asks for; none if it destroys everything.
    pub after: Option<Shape>,
    /// What is given away or taken in before the apply.
    pub first: &'static [First],
    /// Whether all hosts and Elastic IPs must stay.
    pub keeps_all: bool,
    /// Whether it is too large for every run.
    pub is_large: bool,
}

/// What a step begins with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ground {
    /// What was applied; none if nothing was.
    pub shape: Option<Shape>,
    /// Whether somebody else made a host like those of the large pool, and an Elastic IP.
    pub has_others: bool,
}

/// A command before the apply of a step.
#[derive(Debug, Clone, Copy)]
pub(super) enum First {
    Forget(&'static str),
    ImportHost(&'static str),
    ImportAddress(&'static str),
}

/// A command of a step.
#[derive(Debug, Clone)]
pub(super) struct Command {
    pub arguments: Vec<String>,
    /// What its refusal says if an earlier run did it already.
    pub done: Option<&'static str>,
}

impl First {
    /// The command, with the ids of what somebody else made.
    pub fn command(self, others: &Others) -> Command {
        let (arguments, done) = match self {
            // Nothing says any more that it was the stack's.
            Self::Forget(address) => (vec!["forget", address], Some("neither in the stack nor among its resources")),
            Self::ImportHost(address) => (vec!["import", address, &others.host], None),
            Self::ImportAddress(address) => (vec!["import", address, &others.address], None),
        };
        Command { arguments: arguments.into_iter().chain(["--yes"]).map(str::to_owned).collect(), done }
    }
}

/// The ids of what somebody else made.
#[derive(Debug, Clone, Default)]
pub(super) struct Others {
    pub host: String,
    pub address: String,
}

impl Scenario {
    /// The last command of the step, which is that of every apply after it.
    pub fn command(&self) -> &'static [&'static str] {
        match &self.after {
            None => &["destroy", "--yes"],
            Some(_) => &["apply", "--yes", "--update-generator"],
        }
    }

    /// All commands of the step.
    pub fn commands(&self, others: &Others) -> Vec<Command> {
        let last = self.command().iter().map(|&argument| argument.to_owned()).collect();
        let first = self.first.iter().map(|first| first.command(others));
        first.chain([Command { arguments: last, done: None }]).collect()
    }

    /// The command that must find nothing to do.
    pub fn plan(&self) -> &'static [&'static str] {
        match &self.after {
            None => &["plan", "--destroy", "--detailed-exitcode"],
            Some(_) => &["plan", "--update-generator", "--detailed-exitcode"],
        }
    }

    /// The stack file of the step.
    pub fn yaml(&self) -> String {
        self.after.as_ref().or(self.ground.shape.as_ref()).map(Shape::yaml).unwrap_or_default()
    }

    /// A step from one shape to another one.
    pub fn step(name: &'static str, before: Option<Shape>, after: Option<Shape>) -> Self {
        let ground = Ground { shape: before, has_others: false };
        Self { name, ground, after, first: &[], keeps_all: false, is_large: false }
    }
}

/// Every scenario.
pub(super) fn all() -> Vec<Scenario> {
    let step = |name, after| Scenario::step(name, Some(BASE), Some(after));
    let public = Shape { public_ip: true, ..BASE };
    let fleet = Shape { heavy: 300, heavy_type: "c7i.large", probe: None, ..BASE };
    let remote = Shape { is_remote: true, ..BASE };
    let moved = Shape { name: "large", ..public.clone() };
    let import = Scenario::step("import", Some(public.clone()), Some(Shape { heavy: 3, ..public.clone() }));
    vec![
        Scenario::step("first-apply", None, Some(BASE)),
        step("scale-up", Shape { heavy: 4, ..BASE }),
        step("scale-down", Shape { heavy: 1, ..BASE }),
        step("type", Shape { heavy_type: "c7i.2xlarge", ..BASE }),
        step("generator", Shape { build: 'b', ..BASE }),
        step("vpc", Shape { second_vpc: true, ..BASE }),
        step("tags", Shape { team: Some("performance"), ..BASE }),
        step("pool-removed", Shape { probe: None, ..BASE }),
        step("control-plane", Shape { version: 3, retention: 7, ..BASE }),
        step("tracking", Shape { tracking: "untracked", ..BASE }),
        step("elastic-ip", public.clone()),
        Scenario::step("no-elastic-ip", Some(public.clone()), Some(BASE)),
        Scenario { keeps_all: true, ..Scenario::step("move", Some(public.clone()), Some(moved)) },
        Scenario {
            ground: Ground { has_others: true, ..import.ground.clone() },
            first: &[First::ImportHost("instance.heavy[2]"), First::ImportAddress("elastic_ip.heavy[2]")],
            keeps_all: true,
            ..import
        },
        Scenario {
            first: &[First::Forget("instance.heavy[1]"), First::Forget("elastic_ip.heavy[1]")],
            keeps_all: true,
            ..Scenario::step("forget", Some(public.clone()), Some(Shape { heavy: 1, ..public }))
        },
        Scenario::step("s3-first-apply", None, Some(remote.clone())),
        Scenario::step("s3-scale-up", Some(remote.clone()), Some(Shape { heavy: 4, ..remote.clone() })),
        Scenario::step("s3-destroy", Some(remote), None),
        Scenario::step("destroy", Some(BASE), None),
        Scenario { is_large: true, ..Scenario::step("fleet", None, Some(fleet)) },
    ]
}
