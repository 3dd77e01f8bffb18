//! The questions for IAM's simulation: each action of the table of calls, on ARNs of the stack, with the condition keys
//! that AWS would set.

use std::collections::{BTreeMap, BTreeSet};

use trunnion_catalog::Partition;

use crate::calls::{Commands, Need, On, Subject, When, all};

/// A condition key with its values, and whether it is one that can have several.
pub(super) type Entry = (&'static str, Vec<String>, bool);

/// An action on a resource.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Case {
    pub action: &'static str,
    pub resource: String,
    pub context: Vec<Entry>,
}

/// The cases of the operations that these commands call, by operation and action.
pub(super) type Cases = BTreeMap<(&'static str, &'static str), BTreeSet<Case>>;

pub(super) fn of(subject: &Subject, commands: Commands) -> Cases {
    let mut cases = Cases::new();
    for call in all() {
        for need in call.needs.iter().filter(|need| need.commands.meets(commands)) {
            let of_need = cases.entry((call.operation, need.action)).or_default();
            for on in need.grant.on.iter().filter(|on| is_accepted(need.action, **on)) {
                let context = context(subject, need, *on);
                let case = |resource| Case { action: need.action, resource, context: context.clone() };
                of_need.extend(subject.examples(*on).into_iter().map(case));
            }
        }
    }
    cases.retain(|_, cases| !cases.is_empty());
    cases
}

/// Whether an action is checked on resources of this type (Service Authorization Reference, read November 2026). A
/// statement is shared by actions, so it names more types than each of them has.
fn is_accepted(action: &str, on: On) -> bool {
    let name = action.split_once(':').map_or(action, |(_, name)| name);
    let of = |parts: &[&str]| parts.iter().any(|part| name.contains(part));
    match (on, action) {
        (_, "ec2:RunInstances") => on != On::Vpc && on != On::ElasticIp,
        (_, "ec2:CreateTags" | "ec2:DeleteTags") => true,
        (On::Image | On::Snapshot | On::SpotRequest | On::Subnet | On::NetworkInterface | On::Volume, _) => false,
        (On::Vpc | On::SecurityGroup, _) => of(&["SecurityGroup", "DescribeVpcAttribute"]),
        (On::LaunchTemplate, _) => of(&["LaunchTemplate"]),
        (On::ElasticIp, _) => of(&["Address"]),
        (On::Instance, _) => of(&["Instances", "AssociateAddress"]) && name != "DisassociateAddress",
        (On::InstanceProfile, _) => of(&["InstanceProfile"]) && name != "ListInstanceProfilesForRole",
        (On::Role, _) => !of(&["InstanceProfile"]) || name == "ListInstanceProfilesForRole",
        (On::Cluster, _) => of(&["Cluster", "TagResource", "UntagResource"]),
        (On::Service, _) => of(&["Service", "TagResource", "UntagResource"]),
        (On::Tasks, _) => name == "DescribeTasks",
        (On::TaskDefinition, _) => of(&["TaskDefinition", "TagResource", "UntagResource"]),
        _ => true,
    }
}

/// What AWS sets for the call.
fn context(subject: &Subject, need: &Need, on: On) -> Vec<Entry> {
    let region = if need.action.starts_with("iam:") { region_of_iam(subject) } else { subject.region.clone() };
    let mut context: BTreeMap<&str, (Vec<String>, bool)> = BTreeMap::new();
    context.insert("aws:RequestedRegion", (vec![region], false));
    context.insert("aws:SecureTransport", (vec!["true".to_owned()], false));
    for when in need.grant.when {
        for (_, key, values) in when.conditions(subject) {
            let is_list = key == "aws:TagKeys";
            let value = match when {
                When::RemovesOtherTags => "trunnion:address".to_owned(),
                When::WhileCreating => creates(on).to_owned(),
                When::OfKnownService => service_of(on).to_owned(),
                _ => values.into_iter().next().unwrap_or_default(),
            };
            context.insert(key, (vec![value], is_list));
        }
    }
    context.into_iter().map(|(key, (values, is_list))| (key, values, is_list)).collect()
}

/// The operation that creates resources of this type.
fn creates(on: On) -> &'static str {
    match on {
        On::ElasticIp => "AllocateAddress",
        On::LaunchTemplate => "CreateLaunchTemplate",
        On::SecurityGroup => "CreateSecurityGroup",
        _ => "RunInstances",
    }
}

/// The service that owns a service-linked role, as `iam:AWSServiceName` has it in every partition.
fn service_of(on: On) -> &'static str {
    if on == On::SpotRole { "spot.amazonaws.com" } else { "ecs.amazonaws.com" }
}

/// IAM is global: its calls have the region of its endpoint (IAM endpoints, AWS General Reference, read November 2026).
fn region_of_iam(subject: &Subject) -> String {
    match Partition::of(&subject.region).id {
        "aws-cn" => "cn-north-1".to_owned(),
        "aws-us-gov" => "us-gov-west-1".to_owned(),
        "aws" => "us-east-1".to_owned(),
        _ => subject.region.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_action_is_asked_on_a_resource_of_its_own_type() {
        let subject = Subject::somewhere("a", "123456789012", "eu-west-3")
            .with_state("states", ["a.json".into(), "a.lock.json".into()]);
        let every = Commands::ALL.and(Commands::DOCTOR);
        let cases = of(&subject, every);
        for call in all() {
            for need in call.needs.iter().filter(|need| need.commands.meets(every)) {
                assert!(cases.contains_key(&(call.operation, need.action)), "{}: {}", call.operation, need.action);
            }
        }
        let resources = |action: &str| -> BTreeSet<&str> {
            let of_action = cases.iter().filter(|((_, one), _)| *one == action);
            of_action
                .flat_map(|(_, cases)| cases.iter().filter_map(|case| case.resource.split([':', '/']).nth(5)))
                .collect()
        };
        assert_eq!(resources("ec2:TerminateInstances"), BTreeSet::from(["instance"]));
        assert_eq!(resources("ec2:ReleaseAddress"), BTreeSet::from(["elastic-ip"]));
        assert_eq!(resources("iam:DeleteInstanceProfile"), BTreeSet::from(["instance-profile"]));
        assert_eq!(resources("iam:DeleteRole"), BTreeSet::from(["role"]));
        let all_cases = || cases.values().flatten();
        assert!(all_cases().all(|case| case.resource == "*" || !case.resource.contains(['*', '?'])));
        assert!(all_cases().all(|case| case.context.iter().all(|(_, values, _)| !values.is_empty())));
    }
}
