//! The stacks that are applied, and the steps between them.

use std::fmt::Write as _;

/// A stack, as far as scenarios and histories change it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shape {
    /// The number of hosts of the pool `heavy`.
    pub heavy: u32,
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
}

/// What most scenarios begin with.
pub(super) const BASE: Shape = Shape {
    heavy: 2,
    heavy_type: "c7i.xlarge",
    tracking: "tracked",
    public_ip: false,
    probe: Some(1),
    version: 2,
    retention: 30,
    team: None,
    second_vpc: false,
    build: 'a',
};

impl Shape {
    /// The stack file.
    pub fn yaml(&self) -> String {
        let Self { heavy, heavy_type, tracking, public_ip, version, retention, build, .. } = self;
        let mut text = String::from("stack: kill\nregion: eu-west-3\naccount: \"123456789012\"\n");
        let mut add = |line: String| {
            let _ = writeln!(text, "{line}");
        };
        if let Some(team) = self.team {
            add(format!("tags: {{ team: {team} }}"));
        }
        if self.second_vpc {
            add("network: { vpc: { Name: second } }".to_owned());
        }
        add(format!("generator: {{ binary: generator-{build} }}"));
        add("pools:".to_owned());
        add(format!(
            "  heavy: {{ instance_type: {heavy_type}, zone: eu-west-3a, count: {heavy}, tracking: {tracking}, public_ip: {public_ip}, interfaces: 2, addresses: 2 }}"
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
        add("  prl_heavy: { pool: heavy }".to_owned());
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
    /// What was applied before; none if nothing was.
    pub before: Option<Shape>,
    /// What the step asks for; none if it destroys everything.
    pub after: Option<Shape>,
    /// Whether it is too large for every run.
    pub is_large: bool,
}

impl Scenario {
    /// The command of the step and of every apply after it.
    pub fn command(&self) -> &'static [&'static str] {
        match &self.after {
            None => &["destroy", "--yes"],
            Some(_) => &["apply", "--yes", "--update-generator"],
        }
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
        self.after.as_ref().or(self.before.as_ref()).map(Shape::yaml).unwrap_or_default()
    }
}

/// Every scenario.
pub(super) fn all() -> Vec<Scenario> {
    let step = |name, after| Scenario { name, before: Some(BASE), after: Some(after), is_large: false };
    let public = Shape { public_ip: true, ..BASE };
    let fleet = Shape { heavy: 300, heavy_type: "c7i.large", probe: None, ..BASE };
    vec![
        Scenario { name: "first-apply", before: None, after: Some(BASE), is_large: false },
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
        Scenario { name: "no-elastic-ip", before: Some(public), after: Some(BASE), is_large: false },
        Scenario { name: "destroy", before: Some(BASE), after: None, is_large: false },
        Scenario { name: "fleet", before: None, after: Some(fleet), is_large: true },
    ]
}
