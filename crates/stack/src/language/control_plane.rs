//! The control plane: its images, size and zones.

use serde_json::json;
use trunnion_catalog::limits::{FARGATE_SIZES, RETENTION_DAYS, SERVICE_SUBNETS, is_fargate_size};

use super::{
    Around, Described,
    images::{BUSYBOX, CONTROL_PLANE, ControlPlaneImage, Pinned},
    key::{Kind, or, or_empty, required},
    kinds::{Boolean, Limit, List, Nested},
    pool::Zone,
    protect,
    secret_arns::SecretArn,
    section::section,
    ssh::Ssh,
};
use crate::{
    diagnostic::{Diagnostic, Findings},
    field::{Field, Map},
    model::Secret,
    shape::either,
};

section! {
    /// The Gatling control plane, an ECS service on Fargate.
    pub struct ControlPlane {
        /// Container image of the control plane, pinned to a version or a digest.
        image: String = required(ControlPlaneImage, CONTROL_PLANE).such_as(&[CONTROL_PLANE]),
        /// Image of the container that writes the conf before the control plane starts. It needs a shell, `chown` and `chmod`.
        /// If ECR Public cannot be reached, use your own copy.
        init_image: String = or(Pinned { example: BUSYBOX }, BUSYBOX)
            .such_as(&["123456789012.dkr.ecr.eu-west-3.amazonaws.com/busybox:1.37.0"]),
        /// The secret that holds the control plane's token.
        token: Secret = required(SecretArn, "arn:aws:secretsmanager:…").such_as(&[
            "arn:aws:secretsmanager:eu-west-3:123456789012:secret:gatling/token-AbCdEf",
            "\"arn:aws:secretsmanager:eu-west-3:123456789012:secret:gatling-AbCdEf:cp_token::\"",
        ]),
        /// How the control plane logs in to the hosts.
        ssh: Ssh = required(Nested::new(), "{ private_key: …, public_key: … }"),
        /// Whether the task gets a public address. Behind a NAT gateway it needs none.
        public_ip: bool = or(Boolean, "true").such_as(&["false"]),
        /// Fargate CPU units. 1024 is one vCPU.
        cpu: u32 = or(Cpu, "1024").such_as(&["2048"]),
        /// Fargate memory in MiB.
        memory: u32 = or(Memory, "3072").such_as(&["4096"]),
        /// Availability zones of the control plane's subnets. In a VPC with several subnets per zone, leave it out and give each pool a
        /// `subnet`.
        zones: Vec<String> = or_empty(List { item: Zone, limit: Some(ZONES), is_distinct: true }, "the subnets of the pools")
            .such_as(&["[eu-west-3a, eu-west-3b]"]),
        /// How many days CloudWatch Logs keeps the log.
        log_retention_days: u32 = or(Retention, "30").such_as(&["7"]),
        /// Whether plans that would delete or replace its service, its cluster or its log are refused. Its configuration can still change.
        protect: bool = protect::own(),
    }
    check(map, _around, findings) {
        size(map, cpu?, memory?, findings)
    }
}

/// Every zone is a subnet of the service.
const ZONES: Limit = Limit {
    most: SERVICE_SUBNETS,
    code: "stack::subnets",
    says: |found, most| format!("has {found} zones, each with a subnet, but an ECS service allows {most} at most"),
    help: "remove some: one is enough to run",
};

/// CPU units. Their combination with the memory is checked after both are read.
struct Cpu;

impl Kind for Cpu {
    type Value = u32;

    fn read(&self, field: &Field, _: &Around, findings: &mut Findings) -> Option<u32> {
        findings.integer(field, &(1..=u32::MAX))
    }

    fn describe(&self) -> Described {
        numbers(&FARGATE_SIZES.map(|(cpu, ..)| cpu))
    }
}

/// Memory in MiB. Its combination with the CPU units is checked after both are read.
struct Memory;

impl Kind for Memory {
    type Value = u32;

    fn read(&self, field: &Field, _: &Around, findings: &mut Findings) -> Option<u32> {
        findings.integer(field, &(1..=u32::MAX))
    }

    fn describe(&self) -> Described {
        let bounds = FARGATE_SIZES.map(|(cpu, ..)| format!("with {cpu} CPU units: {}", sizes(cpu))).into();
        let least = FARGATE_SIZES.iter().map(|(_, from, ..)| *from).min();
        let most = FARGATE_SIZES.iter().map(|(_, _, to, _)| *to).max();
        Described {
            name: "whole number".to_owned(),
            bounds,
            forms: vec![json!({ "type": "integer", "minimum": least, "maximum": most })],
            ..Described::default()
        }
    }
}

/// The memory sizes that Fargate allows with these CPU units.
fn sizes(cpu: u32) -> String {
    match FARGATE_SIZES.into_iter().find(|(known, ..)| *known == cpu) {
        // 256 CPU units have 512, 1024 and 2048 MiB, but not 1536.
        Some((256, ..)) => "512, 1024 or 2048".to_owned(),
        Some((_, from, to, step)) => format!("{from} to {to} in steps of {step}"),
        None => "none".to_owned(),
    }
}

fn size(map: &Map, cpu: u32, memory: u32, findings: &mut Findings) -> Option<()> {
    if !FARGATE_SIZES.iter().any(|(known, ..)| *known == cpu) {
        let field = map.get("cpu")?;
        let sizes = FARGATE_SIZES.map(|(cpu, ..)| cpu.to_string()).join(", ");
        findings.about(
            &field,
            "stack::fargate_size",
            format!("is {cpu}, which Fargate does not have"),
            format!("it has {sizes}"),
        );
        return None;
    }
    if is_fargate_size(cpu, memory) {
        return Some(());
    }
    let field = map.get("memory").or_else(|| map.get("cpu"))?;
    let message = format!("Fargate has no task with {cpu} CPU units and {memory} MiB of memory");
    let help = format!("with {cpu} CPU units, `memory` can be {}", sizes(cpu));
    findings.push(Diagnostic::new("stack::fargate_size", Some(field.place), message).with_help(help));
    None
}

/// A period of CloudWatch Logs.
struct Retention;

impl Kind for Retention {
    type Value = u32;

    fn read(&self, field: &Field, _: &Around, findings: &mut Findings) -> Option<u32> {
        let longest = RETENTION_DAYS.into_iter().max().unwrap_or(u32::MAX);
        let days = findings.integer(field, &(1..=longest))?;
        if RETENTION_DAYS.contains(&days) {
            return Some(days);
        }
        let longer = RETENTION_DAYS.into_iter().find(|known| *known > days).unwrap_or(longest);
        let says = format!("is {days}, which CloudWatch Logs does not have");
        findings.about(field, "stack::retention", says, format!("the next longer period is {longer} days"));
        None
    }

    fn describe(&self) -> Described {
        numbers(&RETENTION_DAYS)
    }
}

/// The description of a choice of numbers.
fn numbers(numbers: &[u32]) -> Described {
    Described {
        name: "whole number".to_owned(),
        bounds: vec![either(&numbers.iter().map(ToString::to_string).collect::<Vec<_>>())],
        forms: vec![json!({ "type": "integer", "enum": numbers })],
        ..Described::default()
    }
}
