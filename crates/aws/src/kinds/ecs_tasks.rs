//! Waits until the tasks of a service are STOPPED.
//!
//! A task that ECS has asked to stop keeps running for its stop timeout (120 s for the control plane). Until then it
//! holds its network interface, security groups and cluster. ECS does not wait for that: it starts the next task beside
//! it, whatever the deployment's percentages are (aws/containers-roadmap issues 959 and 2485), and it marks a deleted
//! service INACTIVE. Where two tasks must not run at the same time, the tasks themselves have to be polled.

use aws_sdk_ecs::types::{DesiredStatus, Task, TaskStopCode};

use crate::{
    Aws,
    error::{Class, Failure, OfCall as _},
    wait::Ended,
};

/// The most tasks that one call describes.
const PAGE: usize = 100;

/// The state of the service itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Look {
    /// It has tasks or may start some.
    Busy,
    /// It has no tasks and starts none.
    Quiet,
    /// The wait can end whatever its tasks do.
    Enough,
}

/// Waits until all tasks of the services with this name are STOPPED; `look` reads the service itself.
///
/// Tasks are listed by cluster, because ECS no longer lists those of a deleted service by its name.
pub(crate) async fn until_stopped<F: Future<Output = Result<Look, Failure>> + Send>(
    aws: &Aws,
    cluster: &str,
    service: &str,
    mut look: impl FnMut() -> F,
) -> Result<(), Failure> {
    let wait = aws.long_wait();
    let mut must_look_again = false;
    loop {
        let said = look().await?;
        if said == Look::Enough {
            return Ok(());
        }
        let tasks = unstopped(aws, cluster, service).await?;
        let is_over = said == Look::Quiet && tasks.is_empty();
        // A task that ECS starts at this moment may be visible only in the next poll.
        if is_over && !must_look_again {
            return Ok(());
        }
        must_look_again = !is_over;
        match wait.look().await {
            Ok(()) => {}
            Err(Ended::Interrupted) => return Err(Failure::interrupted(named(service, &tasks))),
            Err(Ended::OutOfPatience) => {
                return Err(Failure::own(
                    format!("{} after the wait", named(service, &tasks)),
                    "read the service's events in the ECS console, and run the command again: it continues".to_owned(),
                ));
            }
        }
    }
}

/// What the wait is for, as the start of a message.
fn named(service: &str, tasks: &[Task]) -> String {
    let Some(task) = tasks.first() else { return format!("the service `{service}` is still stopping its tasks") };
    let id = task.task_arn.as_deref().and_then(|arn| arn.rsplit('/').next()).unwrap_or_default();
    let status = task.last_status.as_deref().unwrap_or_default();
    let others =
        if tasks.len() > 1 { format!(", and {} more are not STOPPED", tasks.len() - 1) } else { String::new() };
    format!("the task `{id}` of the service `{service}` is still {status}{others}")
}

/// Why tasks of a service stopped before they ran; nothing if that cannot be read, because it only explains a failure.
pub(crate) async fn failed_starts(aws: &Aws, cluster: &str, service: &str) -> Vec<String> {
    let stopped = async {
        let arns = list(aws, cluster, DesiredStatus::Stopped).await?;
        describe(aws, cluster, service, &arns).await
    };
    let tasks = Box::pin(stopped).await.unwrap_or_default();
    let failed = tasks.into_iter().filter(|task| task.stop_code == Some(TaskStopCode::TaskFailedToStart));
    failed.filter_map(|task| task.stopped_reason).collect()
}

/// The tasks in a cluster that belong to services with this name and are not STOPPED.
async fn unstopped(aws: &Aws, cluster: &str, service: &str) -> Result<Vec<Task>, Failure> {
    let (running, stopping) = futures::try_join!(
        Box::pin(list(aws, cluster, DesiredStatus::Running)),
        Box::pin(list(aws, cluster, DesiredStatus::Stopped)),
    )?;
    let arns: std::collections::BTreeSet<String> = running.into_iter().chain(stopping).collect();
    let arns: Vec<String> = arns.into_iter().collect();
    let mut tasks = describe(aws, cluster, service, &arns).await?;
    tasks.retain(|task| task.last_status.as_deref() != Some("STOPPED"));
    Ok(tasks)
}

/// Those of these tasks that belong to services with this name.
async fn describe(aws: &Aws, cluster: &str, service: &str, arns: &[String]) -> Result<Vec<Task>, Failure> {
    let group = format!("service:{service}");
    let mut tasks = Vec::new();
    for arns in arns.chunks(PAGE) {
        let call = aws.clients.ecs.describe_tasks().cluster(cluster).set_tasks(Some(arns.to_vec()));
        match call.send().await.of_call("ecs:DescribeTasks") {
            Ok(answer) => tasks.extend(answer.tasks.into_iter().flatten()),
            Err(failure) if failure.class == Class::NotFound => {}
            Err(failure) => return Err(failure),
        }
    }
    tasks.retain(|task| task.group.as_deref() == Some(group.as_str()));
    Ok(tasks)
}

/// The tasks of a cluster that ECS wants to run, or to stop; none if the cluster does not exist.
async fn list(aws: &Aws, cluster: &str, desired: DesiredStatus) -> Result<Vec<String>, Failure> {
    let mut pages = aws.clients.ecs.list_tasks().cluster(cluster).desired_status(desired).into_paginator().send();
    let mut arns = Vec::new();
    while let Some(page) = pages.next().await {
        match page.of_call("ecs:ListTasks") {
            Ok(page) => arns.extend(page.task_arns.into_iter().flatten()),
            Err(failure) if failure.class == Class::NotFound => break,
            Err(failure) => return Err(failure),
        }
    }
    Ok(arns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_says_what_it_waits_for() {
        let task =
            |id: &str| Task::builder().task_arn(format!("arn:aws:ecs:x:1:task/a/{id}")).last_status("STOPPING").build();
        assert_eq!(named("cp", &[]), "the service `cp` is still stopping its tasks");
        assert_eq!(named("cp", &[task("1")]), "the task `1` of the service `cp` is still STOPPING");
        let said = named("cp", &[task("1"), task("2")]);
        assert_eq!(said, "the task `1` of the service `cp` is still STOPPING, and 1 more are not STOPPED");
    }
}
