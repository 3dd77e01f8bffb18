//! The stacks under test, and their changes.

use std::{
    path::{Path, PathBuf},
    sync::OnceLock,
};

use trunnion_blueprint::{Binaries, Binary, blueprint};
use trunnion_catalog::Architecture;
use trunnion_engine::{Address, Graph, PlanOptions};
use trunnion_stack::{LoadOptions, Stack};

/// A small stack with every feature: two pools, one with untracked interfaces.
const SMALL: &str = r#"
stack: small
region: eu-west-3
account: "123456789012"
tags: { team: performance }
network: { vpc: vpc-0123456789abcdef0 }
generator:
  template: boot.tera
  metrics_from: [10.30.0.0/16]
pools:
  heavy:
    instance_type: c7i.4xlarge
    count: 2
    zone: eu-west-3a
    interfaces: 2
    addresses: 2
    tracking: untracked
  probe:
    instance_type: c7i.xlarge
    count: 1
    zone: eu-west-3b
    interfaces: 2
    addresses: 2
control_plane:
  image: gatlingcorp/control-plane:2026.42.2
  token: arn:aws:secretsmanager:eu-west-3:123456789012:secret:gatling/token-AbCdEf
  ssh:
    private_key: arn:aws:secretsmanager:eu-west-3:123456789012:secret:gatling/ssh-AbCdEf
    public_key: ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEV4YW1wbGVLZXlOb3RGb3JSZWFsVXNlMDEyMzQ1Njc4 gatling
  zones: [eu-west-3a, eu-west-3b]
  log_retention_days: 30
locations:
  prl_heavy: { pool: heavy }
  prl_probe: { pool: probe }
"#;

/// A short boot template that uses the same references as the built-in one.
const BOOT: &str = "#!/bin/bash\n{{ pool }} {{ metrics_port }} s3://{{ generator.bucket }}/{{ generator.key }}\n";

/// The digests of two generator binaries.
const BINARY: &str = "6a0c3f2d1b9e8d7c6b5a49382716051423324150697887a6b5c4d3e2f1009f8e";
const NEXT_BINARY: &str = "7b1d4f3e2cad9e8f7d6c5b4a493827162534435261708998b7c6d5e4f3021a9f";

/// The stack of a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Base {
    /// [`SMALL`].
    Small,
    /// `stacks/loadtest.yaml`, with the built-in boot template.
    Reference,
}

impl Base {
    fn text(self) -> String {
        match self {
            Self::Small => SMALL.to_owned(),
            Self::Reference => {
                let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../stacks/loadtest.yaml");
                std::fs::read_to_string(path).unwrap()
            }
        }
    }
}

/// The hosts that a change may replace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hosts {
    /// No host that stays in the stack.
    None,
    /// Those of this pool.
    Of(&'static str),
    /// All of them.
    All,
}

/// A change of the stack file, or other options for the plan.
#[derive(Debug, Clone, Copy)]
pub struct Change {
    pub name: &'static str,
    /// Pairs of old and new text in the stack file.
    edits: &'static [(&'static str, &'static str)],
    pub hosts: Hosts,
    is_next_binary: bool,
    /// Whether AWS publishes a newer image.
    pub is_image_published: bool,
    is_destroy: bool,
    update_pinned: bool,
    replace: &'static str,
    targets: &'static [&'static str],
}

impl Change {
    /// None.
    pub const NOTHING: Self = Self::new("nothing", Hosts::None, &[]);

    const fn new(name: &'static str, hosts: Hosts, edits: &'static [(&'static str, &'static str)]) -> Self {
        Self {
            name,
            edits,
            hosts,
            is_next_binary: false,
            is_image_published: false,
            is_destroy: false,
            update_pinned: false,
            replace: "",
            targets: &[],
        }
    }

    pub fn options(&self) -> PlanOptions {
        let address = |text: &str| text.parse::<Address>().unwrap();
        let mut options = PlanOptions::default();
        options.targets = self.targets.iter().copied().map(address).collect();
        options.update_pinned = self.update_pinned;
        options.replace = Some(self.replace).filter(|text| !text.is_empty()).map(address).into_iter().collect();
        options
    }

    /// Whether a second plan with the same options would make the same changes again.
    pub fn is_asked(&self) -> bool {
        !self.replace.is_empty()
    }

    pub fn is_partial(&self) -> bool {
        !self.targets.is_empty()
    }
}

const IMAGE: (&str, &str) = ("control-plane:2026.42.2", "control-plane:2026.43.0");
const TYPE: (&str, &str) = ("instance_type: c7i.4xlarge", "instance_type: c7i.8xlarge");
const VPC: (&str, &str) = ("vpc-0123456789abcdef0", "vpc-0fedcba9876543210");
const UP: (&str, &str) = ("count: 2", "count: 3");
const DOWN: (&str, &str) = ("count: 2", "count: 1");
const TAGS: (&str, &str) = ("team: performance", "team: quality, cost-center: load");
const SIZE: (&str, &str) = ("log_retention_days: 30", "log_retention_days: 30\n  cpu: 2048\n  memory: 4096");
const RETENTION: (&str, &str) = ("log_retention_days: 30", "log_retention_days: 90");
const TRACKED: (&str, &str) = ("tracking: untracked", "tracking: tracked");
const ZONE: (&str, &str) = ("zone: eu-west-3a", "zone: eu-west-3c");
const PROBE: &str = "  probe:
    instance_type: c7i.xlarge
    count: 1
    zone: eu-west-3b
    interfaces: 2
    addresses: 2
";
const NO_PROBE: [(&str, &str); 2] = [(PROBE, ""), ("  prl_probe: { pool: probe }\n", "")];
const THIRD: &str = "pools:
  third: { instance_type: c7i.xlarge, zone: eu-west-3b, interfaces: 2, addresses: 2 }
";
const NEXT: Change = Change::new("generator binary", Hosts::All, &[]);

/// Every change of [`SMALL`].
pub const CHANGES: &[Change] = &[
    Change::new("nothing", Hosts::None, &[]),
    Change { is_image_published: true, ..Change::new("a newer image is published", Hosts::None, &[]) },
    Change { is_image_published: true, update_pinned: true, ..Change::new("--update-images", Hosts::All, &[]) },
    Change::new("control plane image", Hosts::None, &[IMAGE]),
    Change::new("control plane size", Hosts::None, &[SIZE]),
    Change::new("control plane zones", Hosts::None, &[("zones: [eu-west-3a, eu-west-3b]", "zones: [eu-west-3a]")]),
    Change::new("log retention", Hosts::None, &[RETENTION]),
    Change::new("JVM options", Hosts::None, &[("{ pool: heavy }", "{ pool: heavy, jvm_options: [-Xmx8g] }")]),
    Change::new("no location", Hosts::None, &[("  prl_probe: { pool: probe }\n", "")]),
    Change::new("user tags", Hosts::None, &[TAGS]),
    Change::new("who reads metrics", Hosts::None, &[("[10.30.0.0/16]", "[10.31.0.0/16, 10.32.0.0/16]")]),
    Change::new("one host more", Hosts::None, &[UP]),
    Change::new("one host less", Hosts::None, &[DOWN]),
    Change::new("no host in a pool", Hosts::None, &[("count: 2", "count: 0")]),
    Change::new("pool added", Hosts::None, &[("pools:\n", THIRD)]),
    Change::new("pool removed", Hosts::None, &NO_PROBE),
    Change::new("pool renamed", Hosts::Of("load"), &[("heavy", "load")]),
    Change::new("instance type", Hosts::Of("heavy"), &[TYPE]),
    Change::new("volume", Hosts::Of("probe"), &[("count: 1", "count: 1\n    volume_gib: 60")]),
    Change::new("addresses", Hosts::Of("heavy"), &[("addresses: 2\n    tracking", "addresses: 4\n    tracking")]),
    Change::new("image pin", Hosts::Of("heavy"), &[("count: 2", "count: 2\n    image: ami-0aaaaaaaaaaaaaaaa")]),
    Change::new("zone", Hosts::Of("heavy"), &[ZONE]),
    Change::new("subnet", Hosts::Of("heavy"), &[("zone: eu-west-3a", "subnet: subnet-0123456789abcdef0")]),
    Change::new("tracked", Hosts::Of("heavy"), &[TRACKED]),
    Change::new("untracked everywhere", Hosts::Of("probe"), &[("count: 1", "count: 1\n    tracking: untracked")]),
    Change::new("metrics port", Hosts::All, &[("metrics_from", "metrics_port: 9500\n  metrics_from")]),
    Change { is_next_binary: true, ..NEXT },
    Change::new("VPC", Hosts::All, &[VPC]),
    Change::new("image and type", Hosts::Of("heavy"), &[IMAGE, TYPE]),
    Change::new("VPC, count and tags", Hosts::All, &[VPC, UP, TAGS]),
    Change::new("type, pool removed", Hosts::Of("heavy"), &[TYPE, NO_PROBE[0], NO_PROBE[1]]),
    Change { is_next_binary: true, ..Change::new("everything", Hosts::All, &[IMAGE, TYPE, VPC, DOWN, TAGS, SIZE]) },
    Change { replace: "instance.heavy[1]", ..Change::new("--replace of a host", Hosts::Of("heavy"), &[]) },
    Change { replace: "instance.heavy", ..Change::new("--replace of a pool", Hosts::Of("heavy"), &[]) },
    Change { replace: "ecs_service.control_plane", ..Change::new("--replace of the service", Hosts::None, &[]) },
    Change { replace: "instance.heavy[0]", ..Change::new("--replace of a host, image", Hosts::Of("heavy"), &[IMAGE]) },
    Change { is_destroy: true, ..Change::new("destroy", Hosts::None, &[]) },
    Change::new("another stack", Hosts::All, &[("stack: small", "stack: smaller")]),
];

/// Changes that are applied with `--target`.
pub const TARGETED: &[Change] = &[
    Change {
        targets: &["instance.heavy"],
        ..Change::new("hosts of image and type", Hosts::Of("heavy"), &[IMAGE, TYPE])
    },
    Change { targets: &["instance.heavy[1]"], ..Change::new("a host of a type", Hosts::Of("heavy"), &[TYPE]) },
    Change { targets: &["instance.probe"], ..Change::new("hosts of a VPC", Hosts::All, &[VPC]) },
    Change { targets: &["ecs_service.control_plane"], ..Change::new("service of a VPC", Hosts::All, &[VPC]) },
    Change { targets: &["ecs_service.control_plane"], ..Change::new("service of a type", Hosts::Of("heavy"), &[TYPE]) },
    Change { targets: &["security_group.generator"], ..Change::new("group of a VPC", Hosts::All, &[VPC]) },
    Change { targets: &["launch_template.heavy"], ..Change::new("template of a type", Hosts::Of("heavy"), &[TYPE]) },
    Change {
        targets: &["launch_template.heavy"],
        is_next_binary: true,
        ..Change::new("template of a binary", Hosts::All, &[])
    },
    Change {
        targets: &["s3_object.generator[x86_64]"],
        is_next_binary: true,
        ..Change::new("binary", Hosts::All, &[])
    },
    Change {
        targets: &["iam_role.generator"],
        ..Change::new("role of everything", Hosts::All, &[IMAGE, TYPE, VPC, TAGS])
    },
    Change {
        targets: &["ecs_task_definition.control_plane"],
        ..Change::new("revision of an image", Hosts::None, &[IMAGE])
    },
    Change {
        targets: &["ecs_cluster.main", "log_group.control_plane"],
        ..Change::new("cluster and logs", Hosts::None, &[RETENTION])
    },
    Change {
        targets: &["security_group.untracked"],
        ..Change::new("a group of tracked", Hosts::Of("heavy"), &[TRACKED])
    },
    Change {
        targets: &["instance.probe", "launch_template.probe"],
        ..Change::new("hosts of a pool removed", Hosts::None, &NO_PROBE)
    },
    Change { targets: &["instance.heavy[1]"], ..Change::new("a host less", Hosts::None, &[DOWN]) },
];

/// The earlier form of [`SMALL`].
pub const BEFORE: Change = Change {
    is_next_binary: true,
    ..Change::new("before", Hosts::All, &[IMAGE, TYPE, DOWN, TAGS, RETENTION, ("[10.30.0.0/16]", "[10.33.0.0/16]")])
};

/// The changes of the reference stack.
pub const REFERENCE_CHANGES: &[Change] = &[
    Change::new("nothing", Hosts::None, &[]),
    Change::new("control plane image", Hosts::None, &[IMAGE]),
    Change::new("instance type", Hosts::Of("heavy"), &[("instance_type: c6in.32xlarge", "instance_type: c6in.metal")]),
    Change::new("VPC", Hosts::All, &[("generator:\n", "network: { vpc: vpc-0fedcba9876543210 }\ngenerator:\n")]),
    Change { is_next_binary: true, ..NEXT },
    Change { is_destroy: true, ..Change::new("destroy", Hosts::None, &[]) },
];

/// The earlier form of the reference stack.
pub const REFERENCE_BEFORE: Change = Change::new("before", Hosts::All, &[("count: 4", "count: 3"), IMAGE]);

/// The graph of a stack after a change.
pub fn graph(base: Base, change: &Change) -> Graph {
    let mut text = base.text();
    for (from, to) in change.edits {
        assert!(text.contains(from), "{}: the stack file does not contain `{from}`", change.name);
        text = text.replace(from, to);
    }
    let folder = folder();
    let options = LoadOptions::new().with_executable_dir(folder);
    let stack = match Stack::parse(&text, &folder.join("stack.yaml"), None, &options) {
        Ok(stack) => stack,
        Err(invalid) => panic!("{}: {invalid:?}", change.name),
    };
    if change.is_destroy {
        return Graph::empty(&stack.name);
    }
    let sha256 = if change.is_next_binary { NEXT_BINARY } else { BINARY };
    let binary = Binary { path: "generator".into(), sha256: sha256.to_owned(), is_dynamic: false };
    blueprint(&stack, &Binaries::new([(Architecture::X86_64, binary)])).unwrap()
}

/// A folder with a boot template and a minimal ELF file as the generator. All stacks use the same folder, because the
/// folder is part of a stack's home.
fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("plans");
        std::fs::create_dir_all(&folder).unwrap();
        let mut elf = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 62, 0, 1, 0, 0, 0];
        elf.resize(64, 0);
        std::fs::write(folder.join("trunnion-generator"), elf).unwrap();
        std::fs::write(folder.join("boot.tera"), BOOT).unwrap();
        folder
    })
}
