//! Reading a stack, in three waves of concurrent calls at the most.
//!
//! 1. Who we are; the lookups that need nothing (VPC, SSM parameters, instance types, secrets); one bulk read for each
//!    kind: hosts, security groups and launch templates by tag, roles and log groups by path or prefix, bucket, instance
//!    profile, cluster, service and task definitions by name.
//! 2. What depends on those: subnets, routes and images; what the newest version of each template says; the bucket's
//!    settings and its objects; the policies of roles; tags and contents that the bulk reads leave out.
//! 3. The policy of each role that has one; checksums of objects; and by its id, whatever is recorded and was not seen:
//!    only then is it gone.
//!
//! The number of calls does not grow with the number of hosts, except by pages.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use futures::future::{join, try_join_all};
use trunnion_engine::{Address, Graph, Observed, ProviderError, Remote, State};
use trunnion_kinds::{
    ADDRESS_TAG, EcsCluster, EcsService, EcsTaskDefinition, IamInstanceProfile, IamRole, Instance, LaunchTemplate,
    LogGroup, S3Bucket, S3Object, STACK_TAG, SecurityGroup, Tags, bucket_name, iam_path, instance_profile_name,
};

use crate::{
    Aws,
    convert::{attribute, tags_of},
    error::{Failure, Told as _},
    kinds::{
        ecs_cluster, ecs_service, ecs_task_definition, iam_instance_profile, iam_role,
        instance::{self, Host},
        launch_template::{self, Header},
        log_group, s3_bucket, s3_object, security_group,
    },
    lookups::{self, Answers, Queries},
};

/// Reads everything that belongs to the stack, and what it looks up.
pub(crate) async fn observe(aws: &Aws, desired: &Graph, recorded: &State) -> Result<Observed, ProviderError> {
    let told = |failure: Failure| failure.about("");
    let recorded = &*crate::recorded::credible(aws, recorded);
    let queries = Queries::of(desired).map_err(told)?;
    let (identity, first) = join(Box::pin(check_account(aws)), Box::pin(First::read(aws, &queries, recorded))).await;
    identity?;
    let first = first.map_err(told)?;
    let mut seen = Seen::new(aws, desired, recorded);
    seen.lookups(first.vpcs);
    seen.lookups(first.types);
    seen.lookups(first.secrets);
    for host in first.hosts {
        seen.put(Instance::KIND, host.remote().map_err(told)?);
    }
    seen.put_all(SecurityGroup::KIND, first.groups);
    seen.put_ours(EcsCluster::KIND, first.cluster);
    seen.put_ours(EcsService::KIND, first.service);
    seen.put_all(IamInstanceProfile::KIND, first.profiles);

    let second = Second {
        templates: first.templates,
        buckets: first.buckets,
        roles: first.roles,
        log_groups: first.log_groups,
        definitions: first.definitions,
    };
    let any = second.is_any() || queries.has_second();
    let objects = second.read(aws, &queries, &first.parameters, &mut seen).await.map_err(told)?;

    let unseen = seen.unseen();
    let more = !objects.is_empty() || !unseen.is_empty();
    third(aws, objects, unseen, &mut seen).await.map_err(told)?;
    aws.counter.set_waves(1 + u32::from(any) + u32::from(more));
    Ok(seen.observed())
}

/// Makes sure that the credentials are of the stack's account.
async fn check_account(aws: &Aws) -> Result<(), ProviderError> {
    let answer = aws.clients.sts.get_caller_identity().send().await.told("sts:GetCallerIdentity");
    let answer = answer.map_err(|failure| failure.about(""))?;
    if let Some(arn) = answer.arn {
        // The first answer stays: the credentials are the same in every call.
        let _ = aws.identity.set(arn);
    }
    let account = answer.account.unwrap_or_default();
    if account == aws.connection.account {
        return Ok(());
    }
    let message =
        format!("the credentials are of account {account}, but the stack is of account {}", aws.connection.account);
    let help = "choose another profile with `AWS_PROFILE`, or correct `account` in the stack file".to_owned();
    Err(ProviderError::new(message, help))
}

/// What the first wave brings.
struct First {
    vpcs: Answers,
    parameters: HashMap<String, String>,
    types: Answers,
    secrets: Answers,
    hosts: Vec<Host>,
    groups: Vec<Remote>,
    templates: Vec<Header>,
    buckets: Vec<(String, Tags)>,
    roles: Vec<String>,
    profiles: Vec<Remote>,
    log_groups: Vec<trunnion_kinds::LogGroup>,
    cluster: Option<Remote>,
    service: Option<Remote>,
    definitions: Vec<String>,
}

impl First {
    async fn read(aws: &Aws, queries: &Queries, recorded: &State) -> Result<Self, Failure> {
        let stack = aws.connection.stack.as_str();
        let path = iam_path(stack);
        let control_plane = format!("{stack}-control-plane");
        let network = async {
            futures::try_join!(
                Box::pin(lookups::vpcs(aws, queries)),
                Box::pin(lookups::parameters(aws, queries)),
                Box::pin(lookups::types(aws, queries)),
                Box::pin(lookups::secrets(aws, queries)),
                Box::pin(instance::read(aws)),
                Box::pin(security_group::read(aws)),
                Box::pin(launch_template::list(aws)),
            )
        };
        let others = async {
            futures::try_join!(
                Box::pin(buckets(aws, recorded)),
                Box::pin(iam_role::list(aws, &path)),
                Box::pin(profiles(aws, recorded)),
                Box::pin(log_group::list(aws, &path)),
                Box::pin(ecs_cluster::read(aws)),
                Box::pin(ecs_service::read(aws, stack, &control_plane)),
                Box::pin(ecs_task_definition::list(aws, &control_plane)),
            )
        };
        let (network, others) = futures::try_join!(Box::pin(network), Box::pin(others))?;
        let (vpcs, parameters, types, secrets, hosts, groups, templates) = network;
        let (buckets, roles, profiles, log_groups, cluster, service, definitions) = others;
        Ok(Self {
            vpcs,
            parameters,
            types,
            secrets,
            hosts,
            groups,
            templates,
            buckets,
            roles,
            profiles,
            log_groups,
            cluster,
            service,
            definitions,
        })
    }
}

/// A name that follows from the stack's, and those of this kind that are recorded.
fn names(recorded: &State, kind: &str, name: String) -> BTreeSet<String> {
    let of_kind = recorded.resources.iter().filter(|(address, _)| address.kind.as_str() == kind);
    of_kind.map(|(_, found)| found.id.clone()).chain([name]).collect()
}

/// The stack's buckets with their tags.
async fn buckets(aws: &Aws, recorded: &State) -> Result<Vec<(String, Tags)>, Failure> {
    let connection = &aws.connection;
    let name = bucket_name(&connection.stack, &connection.account, &connection.region);
    let asked = names(recorded, S3Bucket::KIND, name).into_iter().map(|name| {
        Box::pin(async move { Ok::<_, Failure>(s3_bucket::find(aws, &name).await?.map(|tags| (name, tags))) })
    });
    let found = try_join_all(asked).await?.into_iter().flatten();
    let is_recorded = |name: &str| {
        recorded.resources.iter().any(|(address, found)| address.kind.as_str() == S3Bucket::KIND && found.id == name)
    };
    let ours = |(name, tags): &(String, Tags)| is_ours(tags, &connection.stack, || is_recorded(name));
    Ok(found.filter(ours).collect())
}

/// Whether a resource is the stack's: by its tags, or, where they are gone, by the state that knows its id. What carries
/// another stack's tag never is.
fn is_ours(tags: &Tags, stack: &str, is_recorded: impl Fn() -> bool) -> bool {
    tags.get(STACK_TAG).map_or_else(is_recorded, |tagged| tagged == stack)
}

/// The stack's instance profiles: those in its path.
async fn profiles(aws: &Aws, recorded: &State) -> Result<Vec<Remote>, Failure> {
    let stack = &aws.connection.stack;
    let asked = names(recorded, IamInstanceProfile::KIND, instance_profile_name(stack))
        .into_iter()
        .map(|name| Box::pin(async move { iam_instance_profile::read(aws, &name).await }));
    let found = try_join_all(asked).await?.into_iter().flatten();
    Ok(found.filter(|profile| attribute(&profile.attributes, "path") == iam_path(stack)).collect())
}

/// What the second wave asks for, beside lookups.
struct Second {
    templates: Vec<Header>,
    buckets: Vec<(String, Tags)>,
    roles: Vec<String>,
    log_groups: Vec<trunnion_kinds::LogGroup>,
    definitions: Vec<String>,
}

impl Second {
    fn is_any(&self) -> bool {
        !(self.templates.is_empty()
            && self.buckets.is_empty()
            && self.roles.is_empty()
            && self.log_groups.is_empty()
            && self.definitions.is_empty())
    }

    /// Reads it, and says which objects lie in which bucket.
    async fn read(
        self,
        aws: &Aws,
        queries: &Queries,
        parameters: &HashMap<String, String>,
        seen: &mut Seen<'_>,
    ) -> Result<Vec<(String, String)>, Failure> {
        let buckets = &self.buckets;
        let objects = buckets.iter().map(|(bucket, _)| {
            Box::pin(async move {
                let keys = s3_object::list(aws, bucket).await?;
                Ok::<_, Failure>(keys.into_iter().map(|key| (bucket.clone(), key)).collect::<Vec<_>>())
            })
        });
        let (subnets, images, found) = futures::try_join!(
            Box::pin(lookups::subnets(aws, queries, &seen.observed.lookups)),
            Box::pin(lookups::images(aws, queries, parameters)),
            Box::pin(async {
                futures::try_join!(
                    try_join_all(self.templates.into_iter().map(|found| Box::pin(launch_template::detail(aws, found)))),
                    try_join_all(buckets.iter().map(|(name, tags)| Box::pin(s3_bucket::read(aws, name, tags.clone())))),
                    try_join_all(objects),
                    try_join_all(self.roles.iter().map(|name| Box::pin(iam_role::read(aws, name)))),
                    try_join_all(self.log_groups.into_iter().map(|found| Box::pin(log_group::detail(aws, found)))),
                    try_join_all(self.definitions.iter().map(|arn| Box::pin(ecs_task_definition::read(aws, arn)))),
                )
            }),
        )?;
        let (templates, buckets, objects, roles, log_groups, definitions) = found;
        seen.lookups(subnets);
        seen.lookups(images);
        seen.put_all(LaunchTemplate::KIND, templates.into_iter().flatten());
        seen.put_all(S3Bucket::KIND, buckets);
        seen.put_all(IamRole::KIND, roles.into_iter().flatten());
        seen.put_ours(LogGroup::KIND, log_groups.into_iter().flatten());
        seen.put_ours(EcsTaskDefinition::KIND, definitions.into_iter().flatten());
        Ok(objects.into_iter().flatten().collect())
    }
}

/// Reads objects, and once more by their ids the resources that are recorded and were not seen.
async fn third(
    aws: &Aws,
    objects: Vec<(String, String)>,
    unseen: BTreeMap<String, Vec<String>>,
    seen: &mut Seen<'_>,
) -> Result<(), Failure> {
    let path = iam_path(&aws.connection.stack);
    let ids = |kind: &str| unseen.get(kind).cloned().unwrap_or_default();
    let (hosts, groups) = (ids(Instance::KIND), ids(SecurityGroup::KIND));
    let (templates, roles) = (ids(LaunchTemplate::KIND), ids(IamRole::KIND));
    let definitions = ids(EcsTaskDefinition::KIND);
    let (found, hosts, groups, templates, roles, definitions) = futures::try_join!(
        try_join_all(objects.iter().map(|(bucket, key)| Box::pin(s3_object::read(aws, bucket, key)))),
        Box::pin(instance::confirm(aws, &hosts)),
        Box::pin(async { if groups.is_empty() { Ok(Vec::new()) } else { security_group::by_ids(aws, groups).await } }),
        try_join_all(templates.iter().map(|id| Box::pin(launch_template::confirm(aws, id)))),
        try_join_all(roles.iter().map(|name| Box::pin(iam_role::read(aws, name)))),
        try_join_all(definitions.iter().map(|arn| Box::pin(ecs_task_definition::read(aws, arn)))),
    )?;
    seen.put_all(S3Object::KIND, found.into_iter().flatten());
    // An id of EC2 is never given to something else: what is recorded stays ours though its tags were taken away.
    for host in hosts {
        seen.put_ours(Instance::KIND, [host.remote()?]);
    }
    seen.put_ours(SecurityGroup::KIND, groups);
    seen.put_ours(LaunchTemplate::KIND, templates.into_iter().flatten());
    // A name can be: here the path decides.
    let in_path = |remote: &Remote| attribute(&remote.attributes, "path") == path;
    seen.put_all(IamRole::KIND, roles.into_iter().flatten().filter(in_path));
    seen.put_ours(EcsTaskDefinition::KIND, definitions.into_iter().flatten());
    Ok(())
}

/// What was seen so far, by address.
struct Seen<'a> {
    stack: &'a str,
    desired: &'a Graph,
    recorded: &'a State,
    /// Address by kind and id, of everything recorded.
    by_id: HashMap<(&'a str, &'a str), &'a Address>,
    observed: Observed,
}

impl<'a> Seen<'a> {
    fn new(aws: &'a Aws, desired: &'a Graph, recorded: &'a State) -> Self {
        let by_id =
            recorded.resources.iter().map(|(address, found)| ((address.kind.as_str(), found.id.as_str()), address));
        Self { stack: &aws.connection.stack, desired, recorded, by_id: by_id.collect(), observed: Observed::default() }
    }

    fn lookups(&mut self, answers: Answers) {
        for (address, answer) in answers {
            match answer {
                Ok(found) => {
                    self.observed.lookups.insert(address, found);
                }
                Err(failure) => {
                    let error = failure.about(&format!("`{address}`"));
                    self.observed.missing.insert(address, error);
                }
            }
        }
    }

    /// Puts a resource where its address tag says; else where the state knows its id.
    fn put(&mut self, kind: &str, remote: Remote) {
        let tagged = tags_of(&remote.attributes).get(ADDRESS_TAG).and_then(|tag| tag.parse::<Address>().ok());
        let address = tagged
            .filter(|address| address.kind.as_str() == kind)
            .or_else(|| self.by_id.get(&(kind, remote.id.as_str())).map(|address| (*address).clone()))
            .unwrap_or_else(|| Address::keyed(kind, "unaddressed", &remote.id));
        self.observed.remotes.entry(address).or_default().push(remote);
    }

    fn put_all(&mut self, kind: &str, remotes: impl IntoIterator<Item = Remote>) {
        for remote in remotes {
            self.put(kind, remote);
        }
    }

    /// Puts those that are ours, of resources that were found by name or id.
    fn put_ours(&mut self, kind: &str, remotes: impl IntoIterator<Item = Remote>) {
        for remote in remotes {
            let is_recorded = || self.by_id.contains_key(&(kind, remote.id.as_str()));
            if is_ours(&tags_of(&remote.attributes), self.stack, is_recorded) {
                self.put(kind, remote);
            }
        }
    }

    /// The ids by kind of what is recorded and was not seen.
    fn unseen(&self) -> BTreeMap<String, Vec<String>> {
        let seen: BTreeSet<(&str, &str)> = self
            .observed
            .remotes
            .iter()
            .flat_map(|(address, remotes)| remotes.iter().map(|remote| (address.kind.as_str(), remote.id.as_str())))
            .collect();
        let mut unseen: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (address, recorded) in &self.recorded.resources {
            let kind = address.kind.as_str();
            // The others are read by their names in the first place.
            let by_tag_or_path =
                [Instance::KIND, SecurityGroup::KIND, LaunchTemplate::KIND, IamRole::KIND, EcsTaskDefinition::KIND];
            if by_tag_or_path.contains(&kind) && !seen.contains(&(kind, recorded.id.as_str())) {
                unseen.entry(kind.to_owned()).or_default().push(recorded.id.clone());
            }
        }
        unseen
    }

    /// Everything, the current one first where an address has several: the object that is wanted, the newest revision, the
    /// one recorded, the lowest id.
    fn observed(self) -> Observed {
        let mut observed = self.observed;
        for (address, remotes) in &mut observed.remotes {
            let recorded = self.recorded.resources.get(address).map(|found| found.id.as_str());
            let wanted = self.desired.resources().get(address).map(|found| attribute(&found.attributes, "key"));
            remotes.sort_by_cached_key(|remote| {
                let revision = match address.kind.as_str() {
                    EcsTaskDefinition::KIND => ecs_task_definition::revision(&remote.id),
                    _ => 0,
                };
                let is_wanted =
                    wanted.is_some_and(|key| !key.is_empty() && attribute(&remote.attributes, "key") == key);
                let is_recorded = recorded == Some(remote.id.as_str());
                (!is_wanted, std::cmp::Reverse(revision), !is_recorded, remote.id.clone())
            });
        }
        observed
    }
}
