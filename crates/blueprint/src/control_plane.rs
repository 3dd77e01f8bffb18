//! The Gatling control plane: an ECS service with one task on Fargate. A first container of the task writes the conf,
//! which the main container reads.

use std::collections::BTreeMap;

use trunnion_engine::{Lookup, Resource, Value};
use trunnion_kinds::{
    Container, Deployment, EcsCluster, EcsService, EcsTaskDefinition, HealthCheck, LogConfiguration, LogGroup, Mount,
    ServiceNetwork, control_plane_name, lookup,
};
use trunnion_stack::{Secret, Stack};

use crate::{
    BlueprintError,
    address::{self, CONTROL_PLANE, EXECUTION, log_group_of, of, tags},
    conf::{self, control_plane_conf},
    lookup as one_lookup,
    network::control_plane_placements,
    resource, size,
};

/// The lookup of the secret that holds the control plane's token.
pub(crate) const TOKEN_SECRET: &str = "token";
/// The lookup of the secret that holds the private key of the hosts.
pub(crate) const KEY_SECRET: &str = "ssh_private_key";
const WRITER: &str = "conf";
const MAIN: &str = "control-plane";
const VOLUME: &str = "conf";
/// The user ID that the control plane runs as.
const OWNER: &str = "1001";
/// The longest stop timeout of Fargate. The control plane uses it to finish its builds and deployments.
const LONGEST_STOP_SECONDS: i32 = 120;

/// Log group, cluster, task definition and service.
pub(crate) fn resources(stack: &Stack) -> Result<[Resource; 4], BlueprintError> {
    Ok([log_group(stack)?, cluster(stack)?, task_definition(stack)?, service(stack)?])
}

/// The lookups of the two secrets, which must exist.
pub(crate) fn lookups(stack: &Stack) -> Result<[Lookup; 2], BlueprintError> {
    let one = |name, secret: &Secret| one_lookup(address::secret(name), &lookup::Secret { arn: secret.arn.clone() });
    Ok([one(TOKEN_SECRET, &stack.control_plane.token)?, one(KEY_SECRET, &stack.control_plane.ssh.private_key)?])
}

fn log_group(stack: &Stack) -> Result<Resource, BlueprintError> {
    let address = address::log_group();
    let group = LogGroup {
        name: log_group_of(stack),
        retention_days: i32::try_from(stack.control_plane.log_retention_days).unwrap_or(i32::MAX),
        tags: tags(stack, &address),
    };
    resource(address, &group)
}

fn cluster(stack: &Stack) -> Result<Resource, BlueprintError> {
    let address = address::cluster();
    let tags = tags(stack, &address);
    resource(address, &EcsCluster { name: stack.name.clone(), tags })
}

fn task_definition(stack: &Stack) -> Result<Resource, BlueprintError> {
    let address = address::task_definition();
    let definition = EcsTaskDefinition {
        family: control_plane_name(&stack.name),
        cpu: stack.control_plane.cpu,
        memory: stack.control_plane.memory,
        execution_role: of(address::role(EXECUTION), "arn"),
        task_role: of(address::role(CONTROL_PLANE), "arn"),
        volumes: vec![VOLUME.to_owned()],
        containers: [(WRITER.to_owned(), writer(stack)?), (MAIN.to_owned(), main_container(stack))].into(),
        tags: tags(stack, &address),
    };
    let secrets = [&stack.control_plane.token.arn, &stack.control_plane.ssh.private_key.arn];
    size::check(&definition, secrets.into_iter().max_by_key(|arn| arn.len()).map_or("", String::as_str))?;
    Ok(resource(address, &definition)?.after([address::log_group()]))
}

/// The container that writes the conf and the private key. Only the control plane's user can read these files. The image
/// needs a shell, `chown` and `chmod`. It writes to the volume and to
/// nothing else.
fn writer(stack: &Stack) -> Result<Container, BlueprintError> {
    let (conf, key) = (conf::CONF, conf::PRIVATE_KEY);
    let script = format!(
        "set -eu; umask 077; \
         printf '%s' \"$CONTROL_PLANE_CONF\" > {conf}; \
         printf '%s\\n' \"$SSH_PRIVATE_KEY\" > {key}; \
         chown {OWNER} {conf} {key}; chmod 400 {conf} {key}"
    );
    Ok(Container {
        image: stack.control_plane.init_image.clone(),
        essential: false,
        entry_point: ["/bin/sh", "-c"].map(str::to_owned).into(),
        command: vec![script],
        user: None,
        environment: [("CONTROL_PLANE_CONF".to_owned(), control_plane_conf(stack)?)].into(),
        secrets: [("SSH_PRIVATE_KEY".to_owned(), value_of(KEY_SECRET, &stack.control_plane.ssh.private_key))].into(),
        mounts: vec![mount(false)],
        read_only_root: true,
        depends_on: BTreeMap::new(),
        ports: Vec::new(),
        health_check: None,
        stop_timeout_seconds: None,
        log: log(stack, WRITER),
    })
}

fn main_container(stack: &Stack) -> Container {
    Container {
        image: stack.control_plane.image.clone(),
        essential: true,
        entry_point: Vec::new(),
        command: Vec::new(),
        user: None,
        environment: BTreeMap::new(),
        secrets: [(conf::TOKEN.to_owned(), value_of(TOKEN_SECRET, &stack.control_plane.token))].into(),
        mounts: vec![mount(true)],
        read_only_root: false,
        depends_on: [(WRITER.to_owned(), "SUCCESS".to_owned())].into(),
        ports: vec![conf::PORT.into()],
        health_check: Some(health_check()),
        stop_timeout_seconds: Some(LONGEST_STOP_SECONDS),
        log: log(stack, MAIN),
    }
}

/// The source of a container's secret: the full ARN, followed by the part of the secret that the stack names.
fn value_of(lookup: &str, secret: &Secret) -> Value {
    let whole = of(address::secret(lookup), "arn");
    match &secret.part {
        Some(part) => Value::concat([whole, Value::Text(format!(":{part}"))]),
        None => whole,
    }
}

fn mount(read_only: bool) -> Mount {
    Mount { volume: VOLUME.to_owned(), path: conf::DIRECTORY.to_owned(), read_only }
}

fn log(stack: &Stack, stream_prefix: &str) -> LogConfiguration {
    LogConfiguration {
        group: log_group_of(stack),
        region: stack.region.clone(),
        stream_prefix: stream_prefix.to_owned(),
    }
}

/// Requests `/info` with a program that the image has.
///
/// Gatling does not document which programs the image contains. The check uses the first that exists of curl, wget (part
/// of busybox in Alpine images) and bash (which can open TCP connections). It does not try the next one after a failure,
/// so an unhealthy control plane gets one request, not three. If none exists, the check reports "healthy": ECS would
/// otherwise stop a working control plane again and again, and the task still ends when the process ends.
fn health_check() -> HealthCheck {
    let port = conf::PORT;
    let line = format!(
        "if command -v curl >/dev/null; then curl -fsS -o /dev/null http://127.0.0.1:{port}/info; \
         elif command -v wget >/dev/null; then wget -q -O /dev/null http://127.0.0.1:{port}/info; \
         elif command -v bash >/dev/null; then bash -c 'exec 3<>/dev/tcp/127.0.0.1/{port} && \
         printf \"GET /info HTTP/1.0\\r\\nHost: localhost\\r\\n\\r\\n\" >&3 && read -r _ code _ <&3 && [ \"$code\" = 200 ]'; \
         fi || exit 1"
    );
    HealthCheck {
        command: vec!["CMD-SHELL".to_owned(), line],
        interval_seconds: 30,
        timeout_seconds: 10,
        // Two and a half minutes: a build may use the whole CPU for that long.
        retries: 5,
        start_period_seconds: 120,
    }
}

fn service(stack: &Stack) -> Result<Resource, BlueprintError> {
    let address = address::service();
    let placements = control_plane_placements(stack);
    let service = EcsService {
        name: control_plane_name(&stack.name),
        cluster: of(address::cluster(), "arn"),
        task_definition: of(address::task_definition(), "arn"),
        desired_count: 1,
        network: ServiceNetwork {
            subnets: placements.iter().map(|placement| of(address::subnet(placement), "id")).collect(),
            security_groups: vec![of(address::security_group(CONTROL_PLANE), "id")],
            public_ip: stack.control_plane.public_ip,
        },
        // Two control planes with one token must never run at the same time: the old one stops before the new one
        // starts.
        deployment: Deployment { minimum_healthy_percent: 0, maximum_percent: 100 },
        tags: tags(stack, &address),
    };
    // ECS cannot start the task without the policy of its execution role.
    Ok(resource(address, &service)?.after([address::role(EXECUTION), address::log_group()]))
}
