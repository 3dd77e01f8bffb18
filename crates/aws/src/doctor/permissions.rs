//! Judges the permissions: what EC2 answers to a dry run counts, and IAM's simulation where EC2 cannot be asked.
//!
//! IAM simulates the policies of the identity alone. A dry run is checked against everything that AWS knows, so a
//! simulation is never enough where EC2 was asked.

use std::collections::{BTreeMap, BTreeSet};

use trunnion_engine::Finding;

use super::{
    dry_run::{Answer, DryRuns},
    roles,
    simulate::{By, Said, Simulated},
};
use crate::{
    calls::{Statement, Subject, grants_of},
    error::{Class, Failure, by_boundary, by_organization},
};

/// What is known of one action in one operation, the worst last.
#[derive(Debug, Clone)]
enum Known {
    /// EC2 or IAM allows it.
    Allowed,
    /// Nothing shows it, for this reason and with this next step.
    Unknown { why: String, help: Option<String> },
    /// It is refused, for this reason and with this next step.
    Refused { why: String, help: Option<String> },
}

/// The verdicts by action.
pub(super) struct Permissions(BTreeMap<&'static str, Known>);

impl Known {
    fn rank(&self) -> u8 {
        match self {
            Self::Allowed => 0,
            Self::Unknown { .. } => 1,
            Self::Refused { .. } => 2,
        }
    }
}

pub(super) fn judge(subject: &Subject, dry_runs: &DryRuns, simulated: &Simulated) -> Permissions {
    let mut actions: BTreeMap<&'static str, Known> = BTreeMap::new();
    for (operation, action) in simulated.cases.keys() {
        let known = match dry_runs.of(operation, action) {
            // A dry run is about one resource; the simulation is about each kind that the action needs.
            Some(Answer::Allowed) => match by_simulation(subject, simulated, operation, action) {
                Known::Refused { why, help } => {
                    Known::Unknown { why: format!("a dry run on one resource is allowed, but {why}"), help }
                }
                _ => Known::Allowed,
            },
            Some(Answer::Denied(failure)) => refused_by_ec2(&failure),
            Some(Answer::Open(failure)) => {
                let simulated = by_simulation(subject, simulated, operation, action);
                // The simulation alone is not enough to allow what EC2 was asked.
                match simulated {
                    Known::Allowed => Known::Unknown {
                        why: format!("IAM's simulation allows it, but EC2 did not answer: {}", failure.message),
                        help: failure
                            .help
                            .or_else(|| Some(format!("a dry run of `{operation}` that EC2 answers would show it"))),
                    },
                    other => other,
                }
            }
            None => by_simulation(subject, simulated, operation, action),
        };
        let before = actions.entry(action).or_insert(Known::Allowed);
        if known.rank() > before.rank() {
            *before = known;
        }
    }
    Permissions(actions)
}

fn refused_by_ec2(failure: &Failure) -> Known {
    Known::Refused {
        why: format!("EC2 refuses it: {}", failure.message.trim_end_matches('.')),
        help: failure.help.clone(),
    }
}

fn by_simulation(subject: &Subject, simulated: &Simulated, operation: &str, action: &'static str) -> Known {
    let mut worst = Known::Allowed;
    let cases = simulated.cases.iter().filter(|((one, other), _)| *one == operation && *other == action);
    for case in cases.flat_map(|(_, cases)| cases) {
        let known = match simulated.answers.get(case) {
            Some(Ok(Said::Allowed)) => Known::Allowed,
            None => Known::Unknown { why: "IAM's simulation left it out".to_owned(), help: None },
            Some(Ok(Said::Depends { keys })) => {
                let keys: Vec<String> = keys.iter().map(|key| format!("`{key}`")).collect();
                let why = format!("the policies depend on {}, which a simulation does not know", keys.join(", "));
                let help = format!(
                    "look for conditions on {} in the policies of {}, and compare them with the session of this command, such as whether it has MFA",
                    keys.join(", "),
                    simulated.source
                );
                Known::Unknown { why, help: Some(help) }
            }
            Some(Ok(Said::Denied(By::Organization))) => Known::Refused {
                why: format!("no policy of the organization allows it on {}", case.resource),
                help: Some(by_organization(action)),
            },
            Some(Ok(Said::Denied(By::Boundary))) => Known::Refused {
                why: format!("the permissions boundary of {} does not allow it on {}", simulated.source, case.resource),
                help: Some(by_boundary(action)),
            },
            Some(Ok(Said::Denied(By::Policy(policy)))) => Known::Refused {
                why: format!("the policy `{policy}` of {} denies it on {}", simulated.source, case.resource),
                help: Some(format!("change the statement that denies `{action}`: no permission overrides it")),
            },
            Some(Ok(Said::Denied(By::Nothing))) => Known::Refused {
                why: format!("no policy of {} allows it on {}", simulated.source, case.resource),
                help: statement(subject, operation, action),
            },
            Some(Err(failure)) => open(failure),
        };
        if known.rank() > worst.rank() {
            worst = known;
        }
    }
    worst
}

fn open(failure: &Failure) -> Known {
    if failure.class == Class::Denied {
        let action = crate::calls::action_of(failure.operation);
        let why = "IAM's simulation is not allowed".to_owned();
        return Known::Unknown { why, help: Some(format!("`{action}` would answer it")) };
    }
    let error = failure.clone().about("");
    Known::Unknown { why: error.message, help: error.help }
}

/// The statement that allows the action.
fn statement(subject: &Subject, operation: &str, action: &'static str) -> Option<String> {
    let statements =
        grants_of(operation, action).into_iter().filter_map(|grant| Statement::of(grant, [action], subject));
    let statements: Vec<String> = statements.map(|statement| format!("`{}`", statement.compact())).collect();
    (!statements.is_empty()).then(|| format!("add to the policies of the identity {}", statements.join(" and ")))
}

impl Permissions {
    /// Whether the identity has a permission, if that is known.
    pub fn of(&self, action: &str) -> Option<bool> {
        match self.0.get(action)? {
            Known::Allowed => Some(true),
            Known::Refused { .. } => Some(false),
            Known::Unknown { .. } => None,
        }
    }

    /// One finding for each missing permission; those that are present are counted together, and so are those that nothing
    /// shows for the same reason. The roles of services have findings of their own.
    pub fn into_findings(self) -> Vec<Finding> {
        let mut findings = Vec::new();
        let mut present = BTreeSet::new();
        let mut open: BTreeMap<(String, Option<String>), Vec<&str>> = BTreeMap::new();
        for (action, known) in self.0.into_iter().filter(|(action, _)| *action != roles::CREATE) {
            match known {
                Known::Allowed => drop(present.insert(action)),
                Known::Refused { why, help } => findings.push(Finding::missing(action, why, help)),
                Known::Unknown { why, help } => open.entry((why, help)).or_default().push(action),
            }
        }
        findings.extend(open.into_iter().map(|((why, help), actions)| match actions.as_slice() {
            [only] => Finding::unknown(*only, why, help),
            several => {
                let subject = format!("{} permissions", several.len());
                Finding::unknown(subject, format!("{why}: {}", several.join(", ")), help)
            }
        }));
        if !present.is_empty() {
            findings.push(Finding::ok("permissions", format!("the identity has {}", present.len())));
        }
        findings
    }
}
