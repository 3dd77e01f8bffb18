//! `ecs_service`. Creation uses a client token. The name is unique in the cluster, and it is free again once a deleted
//! service has drained.
//!
//! Two control planes with one token must never run at the same time, and ECS does not prevent that (see
//! `ecs_tasks.rs`). So every change stops the service first: it is scaled to 0, its tasks are awaited until they are
//! STOPPED, and then the new settings are written in the same call as the number of tasks. If the process is killed in
//! between, a service with 0 tasks remains, which the next plan shows as a difference.

use std::{
    fmt::Write as _,
    sync::{Mutex, PoisonError},
};

use aws_sdk_ecs::types::{
    AssignPublicIp, AvailabilityZoneRebalancing, AwsVpcConfiguration, DeploymentCircuitBreaker,
    DeploymentConfiguration, DeploymentRolloutState, LaunchType, NetworkConfiguration, PropagateTags, Service,
    ServiceField,
};
use trunnion_engine::{Remote, Rules, Token, Value};
use trunnion_kinds::{Deployment, EcsService, ServiceNetwork, control_plane_name};

use super::{
    ecs_tasks::{self, Look, until_stopped},
    tagging::{change_ecs, from_ecs, to_ecs},
};
use crate::{
    Aws, Connection,
    convert::{attribute, remote, tags_of, text, texts, touches, values},
    driver::Driver,
    error::{Class, Failure, OfCall as _},
    reading::Reading,
    recorded::is_ecs,
    wait::Ended,
};

/// How many of the service's events the message of a timeout quotes.
const EVENTS: usize = 3;

/// The service with this name in any state; `None` if the cluster or the service does not exist.
async fn describe(aws: &Aws, cluster: &str, name: &str) -> Result<Option<Service>, Failure> {
    let call = aws.clients.ecs.describe_services().cluster(cluster).services(name).include(ServiceField::Tags);
    match call.send().await.of_call("ecs:DescribeServices") {
        Ok(answer) => Ok(answer.services.into_iter().flatten().next()),
        Err(failure) if failure.class == Class::NotFound => Ok(None),
        Err(failure) => Err(failure),
    }
}

fn is_active(service: &Service) -> bool {
    service.status.as_deref() == Some("ACTIVE")
}

fn as_remote(arn: &str, service: &EcsService) -> Result<Remote, Failure> {
    remote(arn, service, [("arn", arn.into())])
}

fn from_service(found: Service) -> (String, EcsService) {
    let reference = |text: Option<String>| text.map_or(Value::Null, Value::from);
    let network = found.network_configuration.and_then(|network| network.awsvpc_configuration);
    let deployment = found.deployment_configuration;
    let service = EcsService {
        name: found.service_name.unwrap_or_default(),
        cluster: reference(found.cluster_arn),
        task_definition: reference(found.task_definition),
        desired_count: found.desired_count,
        network: ServiceNetwork {
            public_ip: network.as_ref().and_then(|network| network.assign_public_ip.as_ref())
                == Some(&AssignPublicIp::Enabled),
            security_groups: network
                .as_ref()
                .and_then(|network| network.security_groups.clone())
                .map_or_else(Vec::new, values),
            subnets: network.map_or_else(Vec::new, |network| values(network.subnets)),
        },
        deployment: Deployment {
            // ECS's defaults.
            minimum_healthy_percent: deployment.as_ref().and_then(|said| said.minimum_healthy_percent).unwrap_or(100),
            maximum_percent: deployment.as_ref().and_then(|said| said.maximum_percent).unwrap_or(200),
        },
        tags: from_ecs(found.tags),
    };
    (found.service_arn.unwrap_or_default(), service)
}

fn network(service: &EcsService) -> Result<NetworkConfiguration, Failure> {
    let vpc = AwsVpcConfiguration::builder()
        .set_subnets(Some(texts(&service.network.subnets)?))
        .set_security_groups(Some(texts(&service.network.security_groups)?))
        .assign_public_ip(if service.network.public_ip { AssignPublicIp::Enabled } else { AssignPublicIp::Disabled })
        .build()
        .map_err(|error| Failure::own(error.to_string(), None))?;
    Ok(NetworkConfiguration::builder().awsvpc_configuration(vpc).build())
}

fn deployment(service: &EcsService) -> DeploymentConfiguration {
    // A control plane that does not start must be visible; a rollback would hide it.
    let breaker = DeploymentCircuitBreaker::builder().enable(false).rollback(false).build();
    DeploymentConfiguration::builder()
        .minimum_healthy_percent(service.deployment.minimum_healthy_percent)
        .maximum_percent(service.deployment.maximum_percent)
        .deployment_circuit_breaker(breaker)
        .build()
}

fn is_draining(failure: &Failure) -> bool {
    failure.message.to_ascii_lowercase().contains("draining")
}

fn is_taken(failure: &Failure) -> bool {
    failure.message.to_ascii_lowercase().contains("not idempotent")
}

/// The active service with this name; `None` once an earlier one has been deleted and all its tasks have stopped.
async fn until_free(aws: &Aws, cluster: &str, name: &str) -> Result<Option<Service>, Failure> {
    let active = Mutex::new(None);
    until_stopped(aws, cluster, name, || async {
        let found = describe(aws, cluster, name).await?;
        Ok(match found {
            Some(found) if is_active(&found) => {
                *active.lock().unwrap_or_else(PoisonError::into_inner) = Some(found);
                Look::Enough
            }
            Some(found) if found.status.as_deref() == Some("DRAINING") => Look::Busy,
            _ => Look::Quiet,
        })
    })
    .await?;
    Ok(active.into_inner().unwrap_or_else(PoisonError::into_inner))
}

async fn call_create(aws: &Aws, service: &EcsService, token: &str) -> Result<Service, Failure> {
    let (network, deployment) = (network(service)?, deployment(service));
    let (cluster, definition) = (text(&service.cluster)?, text(&service.task_definition)?);
    aws.patiently(&[Class::Lag, Class::NotFound], || async {
        let call = aws.clients.ecs.create_service().cluster(cluster).service_name(&service.name).client_token(token);
        let call = call.task_definition(definition).desired_count(service.desired_count);
        let call = call.launch_type(LaunchType::Fargate).network_configuration(network.clone());
        let call = call.deployment_configuration(deployment.clone()).propagate_tags(PropagateTags::Service);
        // Rebalancing would start a second task beside the running one.
        let call = call.availability_zone_rebalancing(AvailabilityZoneRebalancing::Disabled);
        let answer = call.set_tags(Some(to_ecs(&service.tags))).send().await.of_call("ecs:CreateService")?;
        let mut made = answer.service.ok_or_else(|| Failure::own("ECS returned no service", None))?;
        // The answer may omit the tags.
        if made.tags.as_ref().is_none_or(Vec::is_empty) {
            made.tags = Some(to_ecs(&service.tags));
        }
        Ok(made)
    })
    .await
}

async fn call_update(aws: &Aws, service: &EcsService, paths: &[String]) -> Result<(), Failure> {
    let named = |path: &str| touches(paths, path);
    let cluster = text(&service.cluster)?;
    let network = named("network").then(|| network(service)).transpose()?;
    let deployment = named("deployment").then(|| deployment(service));
    let definition = text(&service.task_definition)?;
    aws.patiently(&[Class::Lag], || async {
        let call = aws.clients.ecs.update_service().cluster(cluster).service(&service.name);
        let call = call.set_task_definition(named("task_definition").then(|| definition.to_owned()));
        let call = call.set_desired_count(named("desired_count").then_some(service.desired_count));
        let call = call.set_network_configuration(network.clone()).set_deployment_configuration(deployment.clone());
        let call = call.availability_zone_rebalancing(AvailabilityZoneRebalancing::Disabled);
        call.send().await.of_call("ecs:UpdateService").map(drop)
    })
    .await
}

/// Adds to a failure that it leaves the control plane stopped.
fn leaving_it_stopped(failure: Failure) -> Failure {
    let leaves = ["the control plane is stopped", "the next apply starts it once the cause is corrected"];
    Failure { leaves: Some(leaves), ..failure }
}

/// Scales a service to 0 and waits until all its tasks are STOPPED.
async fn stop(aws: &Aws, cluster: &str, name: &str) -> Result<(), Failure> {
    scale_to_none(aws, cluster, name).await?;
    let lag = aws.lag_wait();
    until_stopped(aws, cluster, name, || async {
        let found = describe(aws, cluster, name).await?.filter(is_active);
        if lag.is_over() && found.as_ref().is_some_and(|service| service.desired_count > 0) {
            return Err(Failure::own(
                format!("somebody started the service `{name}` again while it was to stop"),
                "another command may change the same stack: run this command again when that one is done".to_owned(),
            ));
        }
        let is_quiet = found
            .is_none_or(|service| (service.desired_count, service.running_count, service.pending_count) == (0, 0, 0));
        Ok(if is_quiet { Look::Quiet } else { Look::Busy })
    })
    .await
}

async fn scale_to_none(aws: &Aws, cluster: &str, name: &str) -> Result<(), Failure> {
    aws.patiently(&[Class::Lag], || async {
        let call = aws.clients.ecs.update_service().cluster(cluster).service(name).desired_count(0);
        // An earlier version left this setting to ECS. ECS refuses every update of a service that rebalances while its
        // `maximumPercent` is 100.
        let call = call.availability_zone_rebalancing(AvailabilityZoneRebalancing::Disabled);
        call.send().await.of_call("ecs:UpdateService").map(drop)
    })
    .await
}

fn is_steady(service: &Service) -> bool {
    let [deployment] = service.deployments() else { return false };
    let state = deployment.rollout_state.as_ref().map(DeploymentRolloutState::as_str);
    // Right after an update, ECS may still return the previous deployment.
    deployment.task_definition == service.task_definition
        && matches!(state, None | Some("COMPLETED"))
        && service.running_count == service.desired_count
}

/// Waits until only the newest revision runs, with the desired number of tasks.
async fn until_steady(aws: &Aws, cluster: &str, name: &str) -> Result<(), Failure> {
    let wait = aws.long_wait();
    loop {
        let found = describe(aws, cluster, name).await?;
        if found.as_ref().is_some_and(is_steady) {
            return Ok(());
        }
        match wait.look().await {
            Ok(()) => {}
            Err(Ended::Interrupted) => return Err(Failure::interrupted("the service is not steady yet")),
            Err(Ended::OutOfPatience) => {
                let reasons = ecs_tasks::failed_starts(aws, cluster, name).await;
                return Err(unsteady(found, &reasons));
            }
        }
    }
}

/// `reasons` say why tasks stopped before they ran: ECS does not repeat them in the service's events.
fn unsteady(found: Option<Service>, reasons: &[String]) -> Failure {
    let Some(service) = found else { return Failure::own("the service no longer exists", None) };
    let events: Vec<&str> = service.events().iter().filter_map(|event| event.message()).take(EVENTS).collect();
    let mut quoted = if events.is_empty() { String::new() } else { format!("; ECS says: {}", events.join(" | ")) };
    if let Some(reason) = reasons.first() {
        let _ = write!(quoted, "; a task stopped before it ran: {reason}");
    }
    Failure::own(
        format!("the service runs {} of {} tasks after the wait{quoted}", service.running_count, service.desired_count),
        "read the control plane's log group and the service's events; the service is kept".to_owned(),
    )
}

/// The service of the stack's control plane.
pub(crate) struct EcsServices;

impl Driver for EcsServices {
    type Attributes = EcsService;
    const RULES: Rules = EcsService::RULES;
    const NOUN: &'static str = "the ECS service";

    fn can_exist(arn: &str, connection: &Connection) -> bool {
        is_ecs(arn, "service/", connection)
    }

    async fn list(&self, reading: &Reading<'_>) -> Result<Vec<Remote>, Failure> {
        let stack = &reading.aws.connection.stack;
        let found = describe(reading.aws, stack, &control_plane_name(stack)).await?.filter(is_active).map(from_service);
        found.iter().map(|(arn, service)| as_remote(arn, service)).collect()
    }

    async fn create(&self, aws: &Aws, service: EcsService, token: &Token) -> Result<Remote, Failure> {
        let cluster = text(&service.cluster)?;
        let name = &service.name;
        for n in 0.. {
            if let Some(found) = until_free(aws, cluster, name).await? {
                return self.adopt_service(aws, found, service).await;
            }
            match call_create(aws, &service, &token.nth(n).shortened(36)).await {
                // The token belongs to a service that has since been deleted.
                Ok(made) if !is_active(&made) => {}
                Ok(made) => return self.adopt_service(aws, made, service).await,
                // An earlier attempt created it and AWS does not show it yet: the next poll finds it.
                Err(failure) if is_taken(&failure) => {
                    let seen =
                        aws.until_seen(|| async { Ok(describe(aws, cluster, name).await?.filter(is_active)) }).await?;
                    return self.adopt_service(aws, seen.ok_or(failure)?, service).await;
                }
                Err(failure) if is_draining(&failure) => {}
                Err(failure) => return Err(failure),
            }
        }
        Err(Failure::own("every client token has been used before", None))
    }

    async fn update(
        &self,
        aws: &Aws,
        remote: &Remote,
        service: EcsService,
        paths: &[String],
    ) -> Result<Remote, Failure> {
        let cluster = text(&service.cluster)?;
        let named = |path: &str| touches(paths, path);
        // A new deployment configuration alone starts no task (`UpdateService`, read November 2026).
        if service.desired_count > 0 && ["task_definition", "desired_count", "network"].into_iter().any(named) {
            stop(aws, cluster, &service.name).await?;
            let paths = [paths, &["desired_count".to_owned()]].concat();
            call_update(aws, &service, &paths).await.map_err(leaving_it_stopped)?;
        } else if ["task_definition", "desired_count", "network", "deployment"].into_iter().any(named) {
            call_update(aws, &service, paths).await?;
        }
        change_ecs(aws, &remote.id, &tags_of(&remote.attributes), &service.tags).await?;
        if aws.connection.wait {
            until_steady(aws, cluster, &service.name).await?;
        }
        as_remote(&remote.id, &service)
    }

    async fn delete(&self, aws: &Aws, remote: &Remote) -> Result<(), Failure> {
        let ecs = &aws.clients.ecs;
        let cluster = attribute(&remote.attributes, "cluster");
        let name = attribute(&remote.attributes, "name");
        let gone = |failure: &Failure| failure.class == Class::NotFound;
        match scale_to_none(aws, cluster, name).await {
            Err(failure) if !gone(&failure) => return Err(failure),
            _ => {}
        }
        let deleted = ecs.delete_service().cluster(cluster).service(name).force(true).send().await;
        match deleted.of_call("ecs:DeleteService") {
            Err(failure) if !gone(&failure) => return Err(failure),
            _ => {}
        }
        // The cluster and the security groups can be deleted only after the last task has stopped.
        until_stopped(aws, cluster, name, || async {
            let found = describe(aws, cluster, name).await?;
            let is_gone = found.is_none_or(|service| service.status.as_deref() == Some("INACTIVE"));
            Ok(if is_gone { Look::Quiet } else { Look::Busy })
        })
        .await
    }
}

impl EcsServices {
    /// Changes an existing service to match, if it belongs to the stack.
    async fn adopt_service(&self, aws: &Aws, found: Service, service: EcsService) -> Result<Remote, Failure> {
        let (arn, found) = from_service(found);
        if !aws.owns(&found.tags) {
            return Err(Self::foreign(&service.name));
        }
        self.adopt(aws, &as_remote(&arn, &found)?, service).await
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_ecs::types::{Deployment as EcsDeployment, ServiceEvent};

    use super::*;

    fn service(states: &[&str], running: i32) -> Service {
        let deployments = states
            .iter()
            .map(|state| EcsDeployment::builder().rollout_state(DeploymentRolloutState::from(*state)).build());
        let event = ServiceEvent::builder().message("unable to pull the image").build();
        Service::builder()
            .set_deployments(Some(deployments.collect()))
            .desired_count(1)
            .running_count(running)
            .events(event)
            .build()
    }

    #[test]
    fn a_service_is_steady_once_one_complete_deployment_runs() {
        assert!(is_steady(&service(&["COMPLETED"], 1)));
        assert!(!is_steady(&service(&["COMPLETED"], 0)));
        assert!(!is_steady(&service(&["IN_PROGRESS"], 1)));
        assert!(!is_steady(&service(&["IN_PROGRESS", "COMPLETED"], 1)));
    }

    #[test]
    fn a_timeout_quotes_what_ecs_says() {
        assert!(unsteady(Some(service(&[], 0)), &[]).message.ends_with("ECS says: unable to pull the image"));
    }
}
