//! What the variables of a CI job say about the place of the comment.

use std::{fs, path::Path};

use serde_json::Value;

use crate::{ForgeError, Kind, Run};

/// The environment, in which a variable that is set but empty counts as unset.
pub(crate) struct Lookup<'a>(pub &'a dyn Fn(&str) -> Option<String>);

impl Lookup<'_> {
    pub fn get(&self, name: &str) -> Option<String> {
        (self.0)(name).filter(|value| !value.is_empty())
    }

    pub fn needed(&self, name: &'static str, help: &str) -> Result<String, ForgeError> {
        self.get(name).ok_or_else(|| ForgeError::Variable {
            name,
            problem: "is not set".to_owned(),
            help: help.to_owned(),
        })
    }

    fn number(&self, name: &str) -> Option<u64> {
        self.get(name)?.trim().parse().ok()
    }

    pub fn kind(&self) -> Result<Kind, ForgeError> {
        // Other CI systems can set the variables of GitHub for a job.
        if self.get("GITHUB_ACTIONS").is_some() {
            Ok(Kind::GitHub)
        } else if self.get("GITLAB_CI").is_some() {
            Ok(Kind::GitLab)
        } else if self.get("GITHUB_REPOSITORY").is_some() {
            Ok(Kind::GitHub)
        } else {
            Err(ForgeError::NotInCi)
        }
    }
}

/// Whose comment it is on GitHub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GitHubPlace {
    pub repository: String,
    pub number: u64,
    pub run: Option<Run>,
    pub run_url: Option<String>,
    /// Whether the pull request comes from a fork. `None` if the event does not say it.
    pub is_fork: Option<bool>,
}

/// Whose comment it is on GitLab.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GitLabPlace {
    pub project: String,
    pub number: u64,
    pub run: Option<Run>,
    pub run_url: Option<String>,
    pub project_url: Option<String>,
}

impl GitHubPlace {
    pub fn of(lookup: &Lookup<'_>) -> Result<Self, ForgeError> {
        let help = "GitHub Actions sets it; elsewhere, set it to owner/name";
        let repository = lookup.needed("GITHUB_REPOSITORY", help)?;
        if !is_repository(&repository) {
            return Err(ForgeError::Variable {
                name: "GITHUB_REPOSITORY",
                problem: "is not of the form owner/name".to_owned(),
                help: help.to_owned(),
            });
        }
        let event = lookup.get("GITHUB_EVENT_PATH").and_then(|path| event(Path::new(&path)));
        let (number, is_fork) = request(event.as_ref(), lookup)?;
        let run = lookup.number("GITHUB_RUN_ID");
        let run = run.map(|id| Run { id, attempt: lookup.number("GITHUB_RUN_ATTEMPT").unwrap_or(1) });
        let server = lookup.get("GITHUB_SERVER_URL").unwrap_or_else(|| "https://github.com".to_owned());
        let server = server.trim_end_matches('/');
        let run_url = run.map(|run| format!("{server}/{repository}/actions/runs/{}/attempts/{}", run.id, run.attempt));
        Ok(Self { repository, number, run, run_url, is_fork })
    }
}

fn is_repository(name: &str) -> bool {
    let is_part = |part: &str| {
        !part.is_empty()
            && !part.chars().all(|character| character == '.')
            && part.chars().all(|character| character.is_ascii_alphanumeric() || "._-".contains(character))
    };
    name.split_once('/').is_some_and(|(owner, name)| is_part(owner) && is_part(name))
}

/// The event's document. Without one, the reference can still have the number.
fn event(path: &Path) -> Option<Value> {
    if !fs::metadata(path).ok()?.is_file() {
        return None;
    }
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

/// The number of the pull request, and whether it comes from a fork.
fn request(event: Option<&Value>, lookup: &Lookup<'_>) -> Result<(u64, Option<bool>), ForgeError> {
    let number = |at: &str| event.and_then(|event| event.pointer(at)).and_then(Value::as_u64);
    let is_fork = |head: Option<u64>, base: Option<u64>| Some(head? != base?);
    if let Some(found) = number("/pull_request/number") {
        let base = number("/pull_request/base/repo/id").or_else(|| number("/repository/id"));
        return Ok((found, is_fork(number("/pull_request/head/repo/id"), base)));
    }
    if let Some(found) = number("/issue/number")
        && event.is_some_and(|event| event.pointer("/issue/pull_request").is_some_and(|link| !link.is_null()))
    {
        return Ok((found, None));
    }
    let none = |why: &str, help: &str| ForgeError::NoRequest {
        kind: Kind::GitHub,
        why: why.to_owned(),
        help: help.to_owned(),
    };
    if event.is_some_and(|event| event.get("workflow_run").is_some_and(Value::is_object)) {
        let requests = event.and_then(|event| event.pointer("/workflow_run/pull_requests")?.as_array());
        // The list also has pull requests of other repositories with the same head.
        let here = number("/repository/id");
        let requests: Vec<u64> = requests
            .into_iter()
            .flatten()
            .filter(|request| {
                let base = request.pointer("/base/repo/id").and_then(Value::as_u64);
                base.is_none() || here.is_none() || base == here
            })
            .filter_map(|request| request.get("number")?.as_u64())
            .collect();
        let fork = is_fork(number("/workflow_run/head_repository/id"), here);
        return match requests.as_slice() {
            [found] => Ok((*found, fork)),
            [] => Err(none(
                "its event `workflow_run` has no pull request, which is also so for a fork",
                "set `GITHUB_REF` to refs/pull/<number>/merge, with a number that the first workflow hands over, or use \
                 the job's summary",
            )),
            _ => Err(none(
                "its event `workflow_run` has several pull requests",
                "set `GITHUB_REF` to refs/pull/<number>/merge",
            )),
        };
    }
    let reference = lookup.get("GITHUB_REF").unwrap_or_default();
    let found = reference.strip_prefix("refs/pull/").and_then(|rest| rest.split_once('/'));
    if let Some((found, "merge" | "head")) = found
        && let Ok(found) = found.parse()
    {
        return Ok((found, None));
    }
    let why = match (lookup.get("GITHUB_EVENT_NAME"), reference.as_str()) {
        (Some(name), "") => format!("its event is `{name}`"),
        (Some(name), reference) => format!("its event is `{name}`, and `GITHUB_REF` is `{reference}`"),
        (None, "") => "neither `GITHUB_EVENT_PATH` nor `GITHUB_REF` has one".to_owned(),
        (None, reference) => format!("`GITHUB_REF` is `{reference}`"),
    };
    Err(none(&why, "start the workflow with `on: pull_request`, or use the job's summary"))
}

impl GitLabPlace {
    pub fn of(lookup: &Lookup<'_>) -> Result<Self, ForgeError> {
        let Some(number) = lookup.number("CI_MERGE_REQUEST_IID") else {
            let source = lookup.get("CI_PIPELINE_SOURCE");
            let source = source.map(|source| format!(" (the pipeline's source is `{source}`)")).unwrap_or_default();
            return Err(ForgeError::NoRequest {
                kind: Kind::GitLab,
                why: format!("`CI_MERGE_REQUEST_IID` is not set{source}"),
                help: "add a rule to the job: if: $CI_PIPELINE_SOURCE == \"merge_request_event\"".to_owned(),
            });
        };
        // A pipeline of a fork runs in the fork, but its merge request belongs to this project.
        let project = match lookup.get("CI_MERGE_REQUEST_PROJECT_ID") {
            Some(project) => project,
            None => lookup.needed("CI_PROJECT_ID", "GitLab CI sets it")?,
        };
        if project.parse::<u64>().is_err() {
            return Err(ForgeError::Variable {
                name: "CI_PROJECT_ID",
                problem: "is not a number".to_owned(),
                help: "GitLab CI sets it".to_owned(),
            });
        }
        // A job that is retried stays in its pipeline, and its id grows.
        let run = lookup.number("CI_PIPELINE_ID");
        let run = run.map(|id| Run { id, attempt: lookup.number("CI_JOB_ID").unwrap_or(1) });
        let project_url = lookup.get("CI_MERGE_REQUEST_PROJECT_URL").or_else(|| lookup.get("CI_PROJECT_URL"));
        Ok(Self { project, number, run, run_url: lookup.get("CI_JOB_URL"), project_url })
    }
}
