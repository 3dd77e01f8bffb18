//! Names that the stack needs and somebody else has: they are found by the plan, not in the middle of an apply.
//!
//! Most of them show in the reads that are made anyway (`observe.rs`). What is only read by our tags or our path is asked
//! for by name where it is to be created, so a plan of what stands already pays nothing.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::try_join_all;
use trunnion_engine::{Address, Graph, Map, ProviderError, Value};
use trunnion_kinds::{
    ADDRESS_TAG, EcsCluster, EcsService, EcsTaskDefinition, IamInstanceProfile, IamRole, LaunchTemplate, LogGroup,
    S3Bucket, SecurityGroup, Tags, former_role_name, iam_path,
};

use crate::{
    Aws,
    convert::{attribute, is_ours},
    error::Failure,
    kinds::{iam_role, launch_template, s3_bucket, security_group},
    observe::First,
};

/// The addresses of a kind that the stack wants, with their names.
pub(crate) fn wanted_names<'a>(desired: &'a Graph, kind: &str) -> impl Iterator<Item = (&'a Address, &'a str)> {
    let of_kind = desired.resources().values().filter(move |resource| resource.address.kind.as_str() == kind);
    let name = if kind == EcsTaskDefinition::KIND { "family" } else { "name" };
    of_kind.map(move |resource| (&resource.address, attribute(&resource.attributes, name)))
}

/// What is said of a name that somebody else has.
pub(crate) fn foreign(kind: &str, address: &Address, name: &str) -> ProviderError {
    let what = match kind {
        EcsCluster::KIND => "the ECS cluster",
        EcsService::KIND => "the ECS service",
        EcsTaskDefinition::KIND => "the task definition family",
        IamInstanceProfile::KIND => "the instance profile",
        IamRole::KIND => "the IAM role",
        LaunchTemplate::KIND => "the launch template",
        LogGroup::KIND => "the log group",
        S3Bucket::KIND => "the bucket",
        SecurityGroup::KIND => "the security group",
        other => other,
    };
    Failure::foreign(what, name).about(&format!("`{address}`"))
}

/// Names that are to be created, of kinds that are read by tag or path.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    roles: Vec<(Address, String)>,
    templates: Vec<(Address, String)>,
    /// With the VPC, which may be a reference to a lookup.
    groups: Vec<(Address, String, Value)>,
    buckets: Vec<(Address, String)>,
}

impl Wanted {
    /// The names that the first wave did not show to be the stack's.
    pub fn of(desired: &Graph, first: &First) -> Self {
        let owned = |(address, name): (&Address, &str)| (address.clone(), name.to_owned());
        let roles: BTreeSet<&str> = first.roles.iter().map(String::as_str).collect();
        // A role or template of an earlier version keeps the name that it has.
        let former = |address: &Address| former_role_name(desired.stack(), &address.name.replace('_', "-"));
        let has_role =
            |(address, name): &(&Address, &str)| roles.contains(name) || roles.contains(former(address).as_str());
        let templates: BTreeSet<&str> =
            first.templates.iter().filter_map(|found| found.tags.get(ADDRESS_TAG)).map(String::as_str).collect();
        let groups: BTreeSet<&str> = first.groups.iter().map(|group| attribute(&group.attributes, "name")).collect();
        let vpc = |address: &Address| desired.resources().get(address).and_then(|found| found.attributes.get("vpc"));
        Self {
            roles: wanted_names(desired, IamRole::KIND).filter(|wanted| !has_role(wanted)).map(owned).collect(),
            templates: wanted_names(desired, LaunchTemplate::KIND)
                .filter(|(address, _)| !templates.contains(address.to_string().as_str()))
                .map(owned)
                .collect(),
            groups: wanted_names(desired, SecurityGroup::KIND)
                .filter(|(_, name)| !groups.contains(name))
                .filter_map(|(address, name)| Some((address.clone(), name.to_owned(), vpc(address)?.clone())))
                .collect(),
            buckets: wanted_names(desired, S3Bucket::KIND).map(owned).collect(),
        }
    }

    /// Whether nothing is to be asked for.
    pub fn is_empty(&self) -> bool {
        self.roles.is_empty() && self.templates.is_empty() && self.groups.is_empty()
    }

    /// Those that somebody else has. `buckets` are the buckets of this account that do not say that they are the stack's.
    pub async fn taken(
        &self,
        aws: &Aws,
        lookups: &BTreeMap<Address, Map>,
        buckets: &[(String, Tags)],
    ) -> Result<BTreeMap<Address, ProviderError>, Failure> {
        let (roles, templates, groups, buckets) = futures::try_join!(
            Box::pin(self.roles(aws)),
            Box::pin(self.templates(aws)),
            Box::pin(self.groups(aws, lookups)),
            Box::pin(self.buckets(aws, buckets)),
        )?;
        let told = |(kind, address, name): (&str, Address, String)| {
            let error = foreign(kind, &address, &name);
            (address, error)
        };
        let roles = roles.into_iter().map(|(address, name)| (IamRole::KIND, address, name));
        let templates = templates.into_iter().map(|(address, name)| (LaunchTemplate::KIND, address, name));
        let groups = groups.into_iter().map(|(address, name)| (SecurityGroup::KIND, address, name));
        let buckets = buckets.into_iter().map(|(address, name)| (S3Bucket::KIND, address, name));
        Ok(roles.chain(templates).chain(groups).chain(buckets).map(told).collect())
    }

    async fn roles(&self, aws: &Aws) -> Result<Vec<(Address, String)>, Failure> {
        let path = iam_path(&aws.connection.stack, &aws.connection.region);
        let asked = self.roles.iter().map(|(address, name)| {
            let path = &path;
            Box::pin(async move {
                let found = iam_role::path_of(aws, name).await?;
                Ok::<_, Failure>(found.filter(|found| found != path).map(|_| (address.clone(), name.clone())))
            })
        });
        Ok(try_join_all(asked).await?.into_iter().flatten().collect())
    }

    async fn templates(&self, aws: &Aws) -> Result<Vec<(Address, String)>, Failure> {
        if self.templates.is_empty() {
            return Ok(Vec::new());
        }
        let names = self.templates.iter().map(|(_, name)| name.clone()).collect();
        let found = launch_template::by_names(aws, names).await?;
        let others: BTreeSet<&str> = found
            .iter()
            .filter(|template| !is_ours(&template.tags, &aws.connection.stack))
            .map(|template| template.name.as_str())
            .collect();
        Ok(self.templates.iter().filter(|(_, name)| others.contains(name.as_str())).cloned().collect())
    }

    async fn groups(&self, aws: &Aws, lookups: &BTreeMap<Address, Map>) -> Result<Vec<(Address, String)>, Failure> {
        let mut by_vpc: BTreeMap<String, Vec<(Address, String)>> = BTreeMap::new();
        for (address, name, vpc) in &self.groups {
            let vpc = vpc.resolve(&|reference| lookups.get(&reference.address)?.get(&reference.attribute).cloned());
            if let Some(vpc) = vpc.as_text() {
                by_vpc.entry(vpc.to_owned()).or_default().push((address.clone(), name.clone()));
            }
        }
        let asked = by_vpc.into_iter().map(|(vpc, wanted)| {
            Box::pin(async move {
                let names = wanted.iter().map(|(_, name)| name.clone()).collect();
                let found = security_group::by_names(aws, &vpc, names).await?;
                let is_foreign = |name: &str| {
                    found.iter().any(|(other, tags)| other == name && !is_ours(tags, &aws.connection.stack))
                };
                Ok::<_, Failure>(wanted.into_iter().filter(|(_, name)| is_foreign(name)).collect::<Vec<_>>())
            })
        });
        Ok(try_join_all(asked).await?.into_iter().flatten().collect())
    }

    async fn buckets(&self, aws: &Aws, found: &[(String, Tags)]) -> Result<Vec<(Address, String)>, Failure> {
        let mut taken = Vec::new();
        for (name, tags) in found {
            let wanted = self.buckets.iter().find(|(_, wanted)| wanted == name);
            if let Some(wanted) = wanted
                && !s3_bucket::may_claim(aws, name, tags).await?
            {
                taken.push(wanted.clone());
            }
        }
        Ok(taken)
    }
}
