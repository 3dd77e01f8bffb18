//! `ecs_task_definition`. Every registration creates a revision, so a create looks at the newest revision first: an
//! interrupted attempt may have registered it. Afterwards it looks at the revision before its own, which AWS may not have
//! shown at first.

use std::sync::atomic::{AtomicBool, Ordering};

use aws_sdk_ecs::{
    config::retry::RetryConfig,
    types::{
        Compatibility, ContainerCondition, ContainerDefinition, ContainerDependency, CpuArchitecture,
        Failure as EcsFailure, HealthCheck as EcsCheck, KeyValuePair, LogConfiguration as EcsLog, LogDriver,
        MountPoint, NetworkMode, OsFamily, PortMapping, RuntimePlatform, Secret, SortOrder, TaskDefinition,
        TaskDefinitionField, TaskDefinitionStatus, TransportProtocol, Volume,
    },
};
use trunnion_engine::{Map, Remote, Rules, Token, lies_under};
use trunnion_kinds::{
    Container, EcsTaskDefinition, HealthCheck, LogConfiguration, Mount, Tags, Value, control_plane_name,
};

use super::tagging::{change_ecs, from_ecs, to_ecs};
use crate::{
    Aws, Connection,
    convert::{is_ours, remote, tags_of, text},
    driver::{Driver, all, differing},
    error::{Class, Failure, OfCall as _, is_unknown_end},
    reading::Reading,
    recorded::is_revision,
};

/// How many inactive revisions are described at the same time.
const BATCH: usize = 10;

/// ARNs of the family's inactive revisions, newest first.
async fn list_inactive(aws: &Aws, family: &str) -> Result<Vec<String>, Failure> {
    let call = aws.clients.ecs.list_task_definitions().family_prefix(family).sort(SortOrder::Desc);
    let answer = call.status(TaskDefinitionStatus::Inactive).send().await.of_call("ecs:ListTaskDefinitions")?;
    Ok(answer.task_definition_arns.unwrap_or_default())
}

async fn list_active(aws: &Aws, family: &str) -> Result<Vec<String>, Failure> {
    let call = aws.clients.ecs.list_task_definitions().family_prefix(family).status(TaskDefinitionStatus::Active);
    let mut pages = call.into_paginator().send();
    let mut arns = Vec::new();
    while let Some(page) = pages.next().await {
        arns.extend(page.of_call("ecs:ListTaskDefinitions")?.task_definition_arns.into_iter().flatten());
    }
    Ok(arns)
}

/// ARNs of exactly this family, newest first. A prefix search also finds families with longer names.
fn of_family(mut arns: Vec<String>, family: &str) -> Vec<String> {
    arns.retain(|arn| arn.rsplit('/').next().and_then(|name| name.split(':').next()) == Some(family));
    arns.sort_by_key(|arn| std::cmp::Reverse(revision(arn)));
    arns
}

/// The revision number at the end of an ARN.
fn revision(arn: &str) -> u64 {
    arn.rsplit(':').next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// A revision by its ARN, or the newest active revision of a family by its name; `None` if it is deleted. An inactive
/// revision can only be deleted.
async fn read(aws: &Aws, name: &str) -> Result<Option<Remote>, Failure> {
    Ok(describe(aws, name).await?.flatten())
}

/// The same; the inner option is empty for a revision that is being deleted.
async fn describe(aws: &Aws, name: &str) -> Result<Option<Option<Remote>>, Failure> {
    let call = aws.clients.ecs.describe_task_definition().task_definition(name).include(TaskDefinitionField::Tags);
    let answer = match call.send().await.of_call("ecs:DescribeTaskDefinition") {
        Ok(answer) => answer,
        // ECS uses this code for a family without revisions.
        Err(failure) if failure.class == Class::NotFound || failure.code == "ClientException" => return Ok(None),
        Err(failure) => return Err(failure),
    };
    let tags = from_ecs(answer.tags);
    match answer.task_definition {
        Some(found) if found.status != Some(TaskDefinitionStatus::DeleteInProgress) => {
            let arn = found.task_definition_arn.clone().unwrap_or_default();
            let is_spent = found.status == Some(TaskDefinitionStatus::Inactive);
            Ok(Some(Some(Remote { is_spent, ..as_remote(&arn, &from_definition(found, tags))? })))
        }
        Some(_) => Ok(Some(None)),
        None => Err(Failure::of_call("ecs:DescribeTaskDefinition", Class::Unreachable, "ECS returned no definition")),
    }
}

fn as_remote(arn: &str, definition: &EcsTaskDefinition) -> Result<Remote, Failure> {
    remote(arn, definition, [("arn", arn.into())])
}

fn from_definition(found: TaskDefinition, tags: Tags) -> EcsTaskDefinition {
    let number = |text: Option<String>| text.and_then(|text| text.parse().ok()).unwrap_or(0);
    let role = |arn: Option<String>| arn.map_or(Value::Null, Value::from);
    EcsTaskDefinition {
        family: found.family.unwrap_or_default(),
        cpu: number(found.cpu),
        memory: number(found.memory),
        execution_role: role(found.execution_role_arn),
        task_role: role(found.task_role_arn),
        volumes: found.volumes.into_iter().flatten().filter_map(|volume| volume.name).collect(),
        containers: found
            .container_definitions
            .into_iter()
            .flatten()
            .map(|container| (container.name.clone().unwrap_or_default(), from_container(container)))
            .collect(),
        tags,
    }
}

fn from_container(found: ContainerDefinition) -> Container {
    let mut options = found.log_configuration.and_then(|log| log.options).unwrap_or_default();
    let mut option = |name: &str| options.remove(name).unwrap_or_default();
    Container {
        image: found.image.unwrap_or_default(),
        // ECS's default.
        essential: found.essential.unwrap_or(true),
        entry_point: found.entry_point.unwrap_or_default(),
        command: found.command.unwrap_or_default(),
        user: found.user,
        environment: found
            .environment
            .into_iter()
            .flatten()
            .filter_map(|pair| Some((pair.name?, pair.value.unwrap_or_default().into())))
            .collect(),
        secrets: found.secrets.into_iter().flatten().map(|secret| (secret.name, secret.value_from.into())).collect(),
        mounts: found.mount_points.into_iter().flatten().map(from_mount).collect(),
        read_only_root: found.readonly_root_filesystem.unwrap_or(false),
        depends_on: found
            .depends_on
            .into_iter()
            .flatten()
            .map(|needed| (needed.container_name, needed.condition.as_str().to_owned()))
            .collect(),
        ports: found.port_mappings.into_iter().flatten().filter_map(|mapping| mapping.container_port).collect(),
        health_check: found.health_check.map(|check| HealthCheck {
            command: check.command,
            // ECS's defaults.
            interval_seconds: check.interval.unwrap_or(30),
            timeout_seconds: check.timeout.unwrap_or(5),
            retries: check.retries.unwrap_or(3),
            start_period_seconds: check.start_period.unwrap_or(0),
        }),
        stop_timeout_seconds: found.stop_timeout,
        log: LogConfiguration {
            group: option("awslogs-group"),
            region: option("awslogs-region"),
            stream_prefix: option("awslogs-stream-prefix"),
        },
    }
}

fn from_mount(mount: MountPoint) -> Mount {
    Mount {
        volume: mount.source_volume.unwrap_or_default(),
        path: mount.container_path.unwrap_or_default(),
        read_only: mount.read_only.unwrap_or(false),
    }
}

fn to_container(name: &str, container: &Container) -> Result<ContainerDefinition, Failure> {
    let built = |error: aws_sdk_ecs::error::BuildError| Failure::own(error.to_string(), None);
    let mut definition = ContainerDefinition::builder()
        .name(name)
        .image(&container.image)
        .essential(container.essential)
        .set_entry_point(some(container.entry_point.clone()))
        .set_command(some(container.command.clone()))
        .set_user(container.user.clone())
        .set_readonly_root_filesystem(container.read_only_root.then_some(true))
        .set_stop_timeout(container.stop_timeout_seconds);
    for (name, value) in &container.environment {
        definition = definition.environment(KeyValuePair::builder().name(name).value(text(value)?).build());
    }
    for (name, arn) in &container.secrets {
        definition = definition.secrets(Secret::builder().name(name).value_from(text(arn)?).build().map_err(built)?);
    }
    for mount in &container.mounts {
        let point = MountPoint::builder().source_volume(&mount.volume).container_path(&mount.path);
        definition = definition.mount_points(point.read_only(mount.read_only).build());
    }
    for (name, condition) in &container.depends_on {
        let needed = ContainerDependency::builder().container_name(name);
        let needed = needed.condition(ContainerCondition::from(condition.as_str()));
        definition = definition.depends_on(needed.build().map_err(built)?);
    }
    for &port in &container.ports {
        let mapping = PortMapping::builder().container_port(port).protocol(TransportProtocol::Tcp);
        definition = definition.port_mappings(mapping.build());
    }
    if let Some(check) = &container.health_check {
        let asked = EcsCheck::builder()
            .set_command(Some(check.command.clone()))
            .interval(check.interval_seconds)
            .timeout(check.timeout_seconds)
            .retries(check.retries)
            .start_period(check.start_period_seconds);
        definition = definition.health_check(asked.build().map_err(built)?);
    }
    let log = EcsLog::builder()
        .log_driver(LogDriver::Awslogs)
        .options("awslogs-group", &container.log.group)
        .options("awslogs-region", &container.log.region)
        .options("awslogs-stream-prefix", &container.log.stream_prefix);
    Ok(definition.log_configuration(log.build().map_err(built)?).build())
}

fn some<T>(list: Vec<T>) -> Option<Vec<T>> {
    (!list.is_empty()).then_some(list)
}

/// Registers a revision with one call and returns its ARN.
async fn register(aws: &Aws, definition: &EcsTaskDefinition) -> Result<String, Failure> {
    let containers = definition.containers.iter();
    let containers =
        containers.map(|(name, container)| to_container(name, container)).collect::<Result<Vec<_>, _>>()?;
    let volumes = definition.volumes.iter().map(|name| Volume::builder().name(name).build()).collect();
    let platform = RuntimePlatform::builder()
        .operating_system_family(OsFamily::Linux)
        .cpu_architecture(CpuArchitecture::X8664)
        .build();
    let call = aws.clients.ecs.register_task_definition().family(&definition.family);
    let call = call.cpu(definition.cpu.to_string()).memory(definition.memory.to_string());
    let call = call.execution_role_arn(text(&definition.execution_role)?).task_role_arn(text(&definition.task_role)?);
    let call = call.network_mode(NetworkMode::Awsvpc).requires_compatibilities(Compatibility::Fargate);
    let call = call.runtime_platform(platform).set_volumes(Some(volumes)).set_container_definitions(Some(containers));
    let call = call.set_tags(Some(to_ecs(&definition.tags)));
    // A retry would register another revision.
    let once = aws_sdk_ecs::config::Builder::default().retry_config(RetryConfig::disabled());
    let answer = call.customize().config_override(once).send().await.of_call("ecs:RegisterTaskDefinition");
    let answer = answer.map_err(|failure| {
        let is_unknown = is_unknown_end(&failure);
        if is_unknown { Failure { class: Class::Unreachable, ..failure } } else { failure }
    })?;
    let arn = answer.task_definition.and_then(|made| made.task_definition_arn);
    let nothing = || Failure::of_call("ecs:RegisterTaskDefinition", Class::Unreachable, "ECS returned no revision");
    arn.ok_or_else(nothing)
}

/// The newest active revision, if it is the stack's and equals the wanted definition.
async fn newest_same(aws: &Aws, definition: &EcsTaskDefinition) -> Result<Option<Remote>, Failure> {
    let newest = read(aws, &definition.family).await?.filter(|newest| !newest.is_spent);
    let Some(newest) = newest.filter(|newest| aws.owns(&tags_of(&newest.attributes))) else { return Ok(None) };
    Ok(is_the_same(definition, &newest)?.then_some(newest))
}

/// Registers a revision. A call whose end is unknown is repeated only once AWS would show its revision.
async fn registered(aws: &Aws, definition: &EcsTaskDefinition) -> Result<Remote, Failure> {
    let is_unknown = AtomicBool::new(false);
    aws.patiently(&[Class::Lag, Class::Throttled, Class::Unreachable], || async {
        let newest = if is_unknown.swap(false, Ordering::Relaxed) {
            aws.within_lag(|| newest_same(aws, definition)).await?
        } else {
            newest_same(aws, definition).await?
        };
        if let Some(newest) = newest {
            return Ok(newest);
        }
        let made = register(aws, definition).await;
        is_unknown.store(made.as_ref().is_err_and(|failure| failure.class == Class::Unreachable), Ordering::Relaxed);
        as_remote(&made?, definition)
    })
    .await
}

/// The ARN of the revision before one.
fn before(arn: &str) -> Option<String> {
    let (family, _) = arn.rsplit_once(':')?;
    let number = revision(arn).checked_sub(1).filter(|number| *number > 0)?;
    Some(format!("{family}:{number}"))
}

/// Reads a revision back until AWS shows it. If AWS now shows an equal active revision before it, because it did not show
/// that of a killed apply at first, the earlier one stays and the new one is deleted.
async fn only_one(aws: &Aws, made: Remote, definition: &EcsTaskDefinition) -> Result<Remote, Failure> {
    if aws.within_lag(|| read(aws, &made.id)).await?.is_none() {
        let help = "run the same command again: the plan finds the revision".to_owned();
        return Err(Failure::own(format!("ECS does not show `{}`", made.id), help));
    }
    // A revision that cannot be described may be new, or it may have been deleted a long time ago.
    let Some(before) = before(&made.id) else { return Ok(made) };
    let seen = aws.within_lag(|| describe(aws, &before)).await?;
    let Some(Some(earlier)) = seen else { return Ok(made) };
    let is_equal = !earlier.is_spent && aws.owns(&tags_of(&earlier.attributes)) && is_the_same(definition, &earlier)?;
    if !is_equal {
        return Ok(made);
    }
    delete(aws, &made).await?;
    Ok(earlier)
}

/// Whether a revision equals the wanted definition, apart from tags, which can change in place.
fn is_the_same(definition: &EcsTaskDefinition, revision: &Remote) -> Result<bool, Failure> {
    let paths = differing(&EcsTaskDefinition::RULES, definition, revision)?;
    Ok(paths.iter().all(|path| lies_under(path, "tags")))
}

/// The reason why a revision was not deleted: the call succeeds and its answer has the failures.
fn refusal(refused: &EcsFailure) -> Failure {
    let code = refused.reason.clone().unwrap_or_default();
    let class = match code.as_str() {
        "TASK_DEFINITION_ACTIVE" => Class::Lag,
        "TASK_DEFINITION_NOT_FOUND" | "MISSING" => Class::NotFound,
        _ => Class::Other,
    };
    let message = refused.detail.clone().unwrap_or_else(|| "ECS gave no detail".to_owned());
    Failure { code, ..Failure::of_call("ecs:DeleteTaskDefinitions", class, message) }
}

/// The revisions of the control plane's family.
pub(crate) struct EcsTaskDefinitions;

impl Driver for EcsTaskDefinitions {
    type Attributes = EcsTaskDefinition;
    const RULES: Rules = EcsTaskDefinition::RULES;
    const NOUN: &'static str = "the task definition family";
    const NAME: &'static str = "family";
    const ROUNDS: u32 = 1;
    const LIST_MISSES: bool = true;

    /// ECS answers `AccessDeniedException` for a revision of another account.
    fn can_exist(arn: &str, connection: &Connection) -> bool {
        is_revision(arn, &connection.region, &connection.account)
    }

    /// The ARNs, newest first. AWS keeps inactive revisions forever, so only the newest hundred of them are listed.
    async fn list(&self, reading: &Reading<'_>) -> Result<Vec<Remote>, Failure> {
        let aws = reading.aws;
        let family = &control_plane_name(&aws.connection.stack);
        let (active, inactive) =
            futures::try_join!(Box::pin(list_active(aws, family)), Box::pin(list_inactive(aws, family)))?;
        let listed = |is_spent| move |arn| Remote { is_spent, ..Remote::new(arn, Map::new()) };
        let active = of_family(active, family).into_iter().map(listed(false));
        Ok(active.chain(of_family(inactive, family).into_iter().map(listed(true))).collect())
    }

    /// There may be many inactive revisions, and of any owner. They are described in batches of ten, newest first,
    /// until a batch has none of the stack's.
    async fn detail(&self, reading: &Reading<'_>, listed: Vec<Remote>) -> Result<Vec<Remote>, Failure> {
        let aws = reading.aws;
        let arns = |is_spent| {
            let found = listed.iter().filter(move |one| one.is_spent == is_spent);
            found.map(|one| one.id.clone()).collect::<Vec<_>>()
        };
        let inactive = async {
            let mut found = Vec::new();
            for arns in arns(true).chunks(BATCH) {
                let some = self.by_ids(aws, arns.to_vec()).await?;
                let is_last = !some.iter().any(|one| is_ours(&tags_of(&one.attributes), &aws.connection.stack));
                found.extend(some);
                if is_last {
                    break;
                }
            }
            Ok(found)
        };
        let (mut found, inactive) = futures::try_join!(Box::pin(self.by_ids(aws, arns(false))), Box::pin(inactive))?;
        found.extend(inactive);
        Ok(found)
    }

    async fn by_ids(&self, aws: &Aws, arns: Vec<String>) -> Result<Vec<Remote>, Failure> {
        all(arns.iter().map(|arn| read(aws, arn))).await
    }

    /// A newer revision has a higher rank.
    fn rank(&self, _: Option<&Map>, remote: &Remote) -> u64 {
        revision(&remote.id)
    }

    async fn create(&self, aws: &Aws, definition: EcsTaskDefinition, _: &Token) -> Result<Remote, Failure> {
        let made = registered(aws, &definition).await?;
        let made = only_one(aws, made, &definition).await?;
        self.update(aws, &made, definition, &[]).await
    }

    async fn update(
        &self,
        aws: &Aws,
        remote: &Remote,
        definition: EcsTaskDefinition,
        _: &[String],
    ) -> Result<Remote, Failure> {
        change_ecs(aws, &remote.id, &tags_of(&remote.attributes), &definition.tags).await?;
        as_remote(&remote.id, &definition)
    }

    async fn delete(&self, aws: &Aws, remote: &Remote) -> Result<(), Failure> {
        delete(aws, remote).await
    }
}

/// Deregisters and deletes a revision.
async fn delete(aws: &Aws, remote: &Remote) -> Result<(), Failure> {
    // ECS uses `ClientException` for a revision that does not exist.
    let is_gone = |failure: &Failure| failure.class == Class::NotFound || failure.code == "ClientException";
    let ecs = &aws.clients.ecs;
    if !remote.is_spent {
        let call = ecs.deregister_task_definition().task_definition(&remote.id);
        match call.send().await.of_call("ecs:DeregisterTaskDefinition") {
            Err(failure) if !is_gone(&failure) => return Err(failure),
            _ => {}
        }
    }
    // ECS may still treat a revision as active just after it was deregistered.
    let deleted = aws
        .patiently(&[Class::Lag], || async {
            let call = ecs.delete_task_definitions().task_definitions(&remote.id);
            let answer = call.send().await.of_call("ecs:DeleteTaskDefinitions")?;
            answer.failures.into_iter().flatten().next().map_or(Ok(()), |refused| Err(refusal(&refused)))
        })
        .await;
    match deleted {
        Err(failure) if !is_gone(&failure) => Err(failure),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn a_registered_container_reads_back_unchanged() {
        let container = Container {
            image: "gatlingcorp/control-plane:2026.42.2".into(),
            essential: true,
            entry_point: vec![],
            command: vec!["run".into()],
            user: Some("1001".into()),
            environment: BTreeMap::from([("A".to_owned(), Value::from("b"))]),
            secrets: BTreeMap::from([("TOKEN".to_owned(), Value::from("arn:aws:secretsmanager:x"))]),
            mounts: vec![Mount { volume: "conf".into(), path: "/app/conf".into(), read_only: true }],
            read_only_root: true,
            depends_on: BTreeMap::from([("conf".to_owned(), "SUCCESS".to_owned())]),
            ports: vec![8080],
            health_check: Some(HealthCheck {
                command: vec!["CMD-SHELL".into(), "true".into()],
                interval_seconds: 30,
                timeout_seconds: 5,
                retries: 3,
                start_period_seconds: 60,
            }),
            stop_timeout_seconds: Some(120),
            log: LogConfiguration { group: "g".into(), region: "eu-west-3".into(), stream_prefix: "s".into() },
        };
        let sent = to_container("main", &container).unwrap();
        assert_eq!(sent.name(), Some("main"));
        assert_eq!(from_container(sent), container);
    }

    #[test]
    fn the_revision_is_read_from_its_arn() {
        assert_eq!(revision("arn:aws:ecs:eu-west-3:123456789012:task-definition/a-control-plane:12"), 12);
    }
}
