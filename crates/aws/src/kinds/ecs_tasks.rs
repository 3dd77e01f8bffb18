//! The tasks of a service that are not STOPPED yet.
//!
//! A task that ECS asked to stop runs on for as long as its containers may take (120 s for the control plane), and holds its
//! network interface, its security groups and its cluster until then. ECS waits for none of that: it starts a successor
//! beside it, whatever the percentages of the deployment say (aws/containers-roadmap issues 959 and 2485), and calls a
//! deleted service INACTIVE. Where two must not run at once, look at the tasks themselves.

use aws_sdk_ecs::types::{DesiredStatus, Task};

use crate::{
    Aws,
    error::{Class, Failure, Told as _},
    wait::Ended,
};

/// As many tasks as one call describes.
const PAGE: usize = 100;

/// What the service itself says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Look {
    /// It still has, or may start, tasks.
    Busy,
    /// It has no tasks, and starts none.
    Quiet,
    /// Its tasks need not be waited for.
    Enough,
}

/// Waits until no task of the services of this name in a cluster is short of STOPPED; `look` asks the service itself.
///
/// Tasks are listed by cluster, because those of a deleted service are not listed by its name any more.
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
        // A task that ECS starts at this moment may be listed only at the next look.
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
                    "look at the events of the service in the ECS console, and run it again: it continues".to_owned(),
                ));
            }
        }
    }
}

/// What is waited for.
fn named(service: &str, tasks: &[Task]) -> String {
    let Some(task) = tasks.first() else { return format!("the service `{service}` is still stopping its tasks") };
    let id = task.task_arn.as_deref().and_then(|arn| arn.rsplit('/').next()).unwrap_or_default();
    let status = task.last_status.as_deref().unwrap_or_default();
    let others =
        if tasks.len() > 1 { format!(", and {} more are not STOPPED", tasks.len() - 1) } else { String::new() };
    format!("the task `{id}` of the service `{service}` is still {status}{others}")
}

/// The tasks of this name's services in a cluster that are not STOPPED.
async fn unstopped(aws: &Aws, cluster: &str, service: &str) -> Result<Vec<Task>, Failure> {
    let (running, stopping) = futures::try_join!(
        Box::pin(list(aws, cluster, DesiredStatus::Running)),
        Box::pin(list(aws, cluster, DesiredStatus::Stopped)),
    )?;
    let arns: std::collections::BTreeSet<String> = running.into_iter().chain(stopping).collect();
    let arns: Vec<String> = arns.into_iter().collect();
    let group = format!("service:{service}");
    let mut tasks = Vec::new();
    for arns in arns.chunks(PAGE) {
        let call = aws.clients.ecs.describe_tasks().cluster(cluster).set_tasks(Some(arns.to_vec()));
        match call.send().await.told("ecs:DescribeTasks") {
            Ok(answer) => tasks.extend(answer.tasks.into_iter().flatten()),
            Err(failure) if failure.class == Class::NotFound => {}
            Err(failure) => return Err(failure),
        }
    }
    tasks
        .retain(|task| task.group.as_deref() == Some(group.as_str()) && task.last_status.as_deref() != Some("STOPPED"));
    Ok(tasks)
}

/// The tasks of a cluster that ECS wants to run, or to stop; none where there is no cluster.
async fn list(aws: &Aws, cluster: &str, desired: DesiredStatus) -> Result<Vec<String>, Failure> {
    let mut pages = aws.clients.ecs.list_tasks().cluster(cluster).desired_status(desired).into_paginator().send();
    let mut arns = Vec::new();
    while let Some(page) = pages.next().await {
        match page.told("ecs:ListTasks") {
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
