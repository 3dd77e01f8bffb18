//! Reading a stack in three round trips, however the calls depend on each other.
//!
//! 1. Who we are; the lookups that need nothing (VPC, SSM parameters, instance types, secrets); one bulk read for each
//!    kind: hosts, security groups and launch templates by tag, roles and log groups by path or prefix, bucket, instance
//!    profile, cluster, service and task definitions by name. Roles of other regions, which are in the same list, are left out.
//! 2. What depends on those: subnets, routes and images; what the newest version of each template says; the bucket's
//!    settings and its objects; the policies of roles; tags and contents that the bulk reads leave out; by its id, whatever
//!    is recorded and was not seen, for only then is it gone; by its name, whatever is to be created (`taken.rs`).
//! 3. As soon as the call before it is answered: the policy of each role that has one, the checksum of each object.
//!
//! Only where an earlier version made the instance profile and nothing tells it is one more call made behind these.
//!
//! The number of calls does not grow with the number of hosts, except by pages. Where AWS says only in one page how the
//! next one is asked for, they come one after the other.

use std::collections::{BTreeSet, HashMap};

use futures::future::{join, try_join_all};
use trunnion_engine::{Address, Graph, Observed, ProviderError, Remote, State};
use trunnion_kinds::{
    ADDRESS_TAG, EcsCluster, EcsService, EcsTaskDefinition, IamInstanceProfile, IamRole, Instance, LaunchTemplate,
    LogGroup, S3Bucket, S3Object, SecurityGroup, Tags, bucket_name, former_iam_path, iam_prefix,
};

use crate::{
    Aws,
    convert::{attribute, belongs, tags_of},
    error::{Failure, Told as _},
    kinds::{
        ecs_cluster, ecs_service,
        ecs_task_definition::{self, Revisions},
        iam_instance_profile, iam_role,
        instance::{self, Host},
        launch_template::{self, Header},
        log_group, s3_bucket, s3_object, security_group,
    },
    lookups::{self, Answers, Queries},
    taken::{Wanted, foreign, wanted_names},
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
    let unseen = first.unseen(recorded);
    let wanted = Wanted::of(desired, &first);
    seen.lookups(first.vpcs);
    seen.lookups(first.types);
    seen.lookups(first.secrets);
    for host in first.hosts {
        seen.put(Instance::KIND, host.remote().map_err(told)?);
    }
    seen.put_all(SecurityGroup::KIND, first.groups);
    seen.put_ours(EcsCluster::KIND, first.cluster);
    seen.put_ours(EcsService::KIND, first.service);
    let mut profiles = first.profiles;

    let second = Second {
        templates: first.templates,
        buckets: first.buckets,
        roles: first.roles,
        log_groups: first.log_groups,
        definitions: first.definitions,
        unseen,
        wanted,
    };
    let waves = second.waves(queries.has_second());
    second.read(aws, &queries, &first.parameters, &mut seen).await.map_err(told)?;
    let further = seen.further_profiles(aws, &profiles);
    let more = !further.is_empty();
    profiles.extend(read_profiles(aws, further).await.map_err(told)?);
    seen.put_profiles(aws, profiles);
    aws.counter.set_waves(1 + waves + u32::from(more));
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
pub(crate) struct First {
    vpcs: Answers,
    parameters: HashMap<String, String>,
    types: Answers,
    secrets: Answers,
    hosts: Vec<Host>,
    pub groups: Vec<Remote>,
    pub templates: Vec<Header>,
    buckets: Vec<(String, Tags)>,
    pub roles: Vec<String>,
    profiles: Vec<Remote>,
    log_groups: Vec<trunnion_kinds::LogGroup>,
    cluster: Option<Remote>,
    service: Option<Remote>,
    definitions: Revisions,
}

impl First {
    async fn read(aws: &Aws, queries: &Queries, recorded: &State) -> Result<Self, Failure> {
        let stack = aws.connection.stack.as_str();
        let (prefix, control_plane) = (iam_prefix(stack), format!("{stack}-control-plane"));
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
                Box::pin(iam_role::list(aws)),
                Box::pin(read_profiles(aws, iam_instance_profile::names(aws, recorded))),
                Box::pin(log_group::list(aws, &prefix)),
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

    /// The ids by kind of what is recorded and was not seen. The other kinds are read by their names in the first place.
    fn unseen(&self, recorded: &State) -> Unseen {
        let by_id = |remotes: &[Remote]| remotes.iter().map(|remote| remote.id.clone()).collect();
        let of = |kind: &str, seen: BTreeSet<String>| -> Vec<String> {
            let of_kind = recorded.resources.iter().filter(|(address, _)| address.kind.as_str() == kind);
            of_kind.map(|(_, found)| found.id.clone()).filter(|id| !seen.contains(id)).collect()
        };
        Unseen {
            hosts: of(Instance::KIND, self.hosts.iter().map(|host| host.id.clone()).collect()),
            groups: of(SecurityGroup::KIND, by_id(&self.groups)),
            templates: of(LaunchTemplate::KIND, self.templates.iter().map(|found| found.id.clone()).collect()),
            roles: of(IamRole::KIND, self.roles.iter().cloned().collect()),
            definitions: of(EcsTaskDefinition::KIND, self.definitions.all().cloned().collect()),
        }
    }
}

/// A name that follows from the stack's, and those of this kind that are recorded.
fn names(recorded: &State, kind: &str, name: String) -> BTreeSet<String> {
    let of_kind = recorded.resources.iter().filter(|(address, _)| address.kind.as_str() == kind);
    of_kind.map(|(_, found)| found.id.clone()).chain([name]).collect()
}

/// The buckets that are named as the stack's are, with their tags.
async fn buckets(aws: &Aws, recorded: &State) -> Result<Vec<(String, Tags)>, Failure> {
    let connection = &aws.connection;
    let name = bucket_name(&connection.stack, &connection.account, &connection.region);
    let asked = names(recorded, S3Bucket::KIND, name).into_iter().map(|name| {
        Box::pin(async move { Ok::<_, Failure>(s3_bucket::find(aws, &name).await?.map(|tags| (name, tags))) })
    });
    Ok(try_join_all(asked).await?.into_iter().flatten().collect())
}

/// The instance profiles of these names, whoever they belong to.
async fn read_profiles(aws: &Aws, names: impl IntoIterator<Item = String>) -> Result<Vec<Remote>, Failure> {
    let asked = names.into_iter().map(|name| Box::pin(async move { iam_instance_profile::read(aws, &name).await }));
    Ok(try_join_all(asked).await?.into_iter().flatten().collect())
}

/// The ids of what is recorded and was not seen.
#[derive(Debug, Default)]
struct Unseen {
    hosts: Vec<String>,
    groups: Vec<String>,
    templates: Vec<String>,
    roles: Vec<String>,
    definitions: Vec<String>,
}

impl Unseen {
    fn is_empty(&self) -> bool {
        [&self.hosts, &self.groups, &self.templates, &self.roles, &self.definitions].iter().all(|ids| ids.is_empty())
    }
}

/// What the other waves ask for, beside lookups.
struct Second {
    templates: Vec<Header>,
    buckets: Vec<(String, Tags)>,
    roles: Vec<String>,
    log_groups: Vec<trunnion_kinds::LogGroup>,
    definitions: Revisions,
    unseen: Unseen,
    wanted: Wanted,
}

impl Second {
    /// How many waves it takes: roles have policies, and buckets objects, which are read last.
    fn waves(&self, looks_up: bool) -> u32 {
        let has_two = !(self.buckets.is_empty() && self.roles.is_empty() && self.unseen.roles.is_empty());
        let is_any = looks_up
            || !(self.templates.is_empty()
                && self.log_groups.is_empty()
                && self.definitions.is_empty()
                && self.unseen.is_empty()
                && self.wanted.is_empty());
        if has_two { 2 } else { u32::from(is_any) }
    }

    async fn read(
        self,
        aws: &Aws,
        queries: &Queries,
        parameters: &HashMap<String, String>,
        seen: &mut Seen<'_>,
    ) -> Result<(), Failure> {
        let is_bucket_ours = |(name, tags): &(String, Tags)| seen.is_ours(S3Bucket::KIND, name, tags);
        let (buckets, others): (Vec<_>, Vec<_>) = self.buckets.into_iter().partition(is_bucket_ours);
        let (subnets, dns_servers, images, found, objects, again, taken) = futures::try_join!(
            Box::pin(lookups::subnets(aws, queries, &seen.observed.lookups)),
            Box::pin(lookups::dns_servers(aws, &seen.observed.lookups)),
            Box::pin(lookups::images(aws, queries, parameters)),
            Box::pin(async {
                futures::try_join!(
                    try_join_all(self.templates.into_iter().map(|found| Box::pin(launch_template::detail(aws, found)))),
                    try_join_all(buckets.iter().map(|(name, tags)| Box::pin(s3_bucket::read(aws, name, tags.clone())))),
                    try_join_all(self.roles.iter().map(|name| Box::pin(iam_role::read(aws, name)))),
                    try_join_all(self.log_groups.into_iter().map(|found| Box::pin(log_group::detail(aws, found)))),
                    Box::pin(ecs_task_definition::detail(aws, &self.definitions)),
                )
            }),
            try_join_all(buckets.iter().map(|(name, _)| Box::pin(objects(aws, name)))),
            Box::pin(again(aws, &self.unseen)),
            Box::pin(self.wanted.taken(aws, &seen.observed.lookups, &others)),
        )?;
        let (templates, buckets, roles, log_groups, definitions) = found;
        seen.lookups(subnets);
        seen.lookups(dns_servers);
        seen.lookups(images);
        seen.put_all(LaunchTemplate::KIND, templates.into_iter().flatten());
        seen.put_all(S3Bucket::KIND, buckets);
        seen.put_roles(aws, roles.into_iter().flatten());
        seen.put_ours(LogGroup::KIND, log_groups.into_iter().flatten());
        seen.put_ours(EcsTaskDefinition::KIND, definitions);
        seen.put_objects(objects.into_iter().flatten());
        seen.put_again(aws, again)?;
        seen.observed.taken.extend(taken);
        Ok(())
    }
}

/// The stack's objects in a bucket, each read as soon as it is listed.
async fn objects(aws: &Aws, bucket: &str) -> Result<Vec<Remote>, Failure> {
    let keys = s3_object::list(aws, bucket).await?;
    let found = try_join_all(keys.iter().map(|key| Box::pin(s3_object::read(aws, bucket, key)))).await?;
    Ok(found.into_iter().flatten().collect())
}

/// What is recorded and was not seen, read once more by its id.
struct Again {
    hosts: Vec<Host>,
    groups: Vec<Remote>,
    templates: Vec<Remote>,
    roles: Vec<Remote>,
    definitions: Vec<Remote>,
}

async fn again(aws: &Aws, unseen: &Unseen) -> Result<Again, Failure> {
    let (hosts, groups, templates, roles, definitions) = futures::try_join!(
        Box::pin(instance::confirm(aws, &unseen.hosts)),
        Box::pin(security_group::by_ids(aws, &unseen.groups)),
        try_join_all(unseen.templates.iter().map(|id| Box::pin(launch_template::confirm(aws, id)))),
        try_join_all(unseen.roles.iter().map(|name| Box::pin(iam_role::read(aws, name)))),
        try_join_all(unseen.definitions.iter().map(|arn| Box::pin(ecs_task_definition::read(aws, arn)))),
    )?;
    Ok(Again {
        hosts,
        groups,
        templates: templates.into_iter().flatten().collect(),
        roles: roles.into_iter().flatten().collect(),
        definitions: definitions.into_iter().flatten().collect(),
    })
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

    fn is_ours(&self, kind: &str, id: &str, tags: &Tags) -> bool {
        belongs(tags, self.stack, || self.by_id.contains_key(&(kind, id)))
    }

    /// Puts those that are ours, of resources that were found by name or id.
    fn put_ours(&mut self, kind: &str, remotes: impl IntoIterator<Item = Remote>) {
        let is_ours = |remote: &Remote| self.is_ours(kind, &remote.id, &tags_of(&remote.attributes));
        let (ours, others): (Vec<_>, Vec<_>) = remotes.into_iter().partition(is_ours);
        self.put_all(kind, ours);
        self.put_others(kind, others);
    }

    /// Notes which names that the stack wants belong to others.
    fn put_others(&mut self, kind: &str, others: Vec<Remote>) {
        for other in others.into_iter().filter(|other| !other.is_spent) {
            for (address, name) in wanted_names(self.desired, kind) {
                if [attribute(&other.attributes, "name"), attribute(&other.attributes, "family")].contains(&name) {
                    self.observed.taken.insert(address.clone(), foreign(kind, address, name));
                }
            }
        }
    }

    /// Puts the roles that are of this region.
    fn put_roles(&mut self, aws: &Aws, roles: impl IntoIterator<Item = Remote>) {
        for role in roles {
            let is_recorded = || self.by_id.contains_key(&(IamRole::KIND, role.id.as_str()));
            if iam_role::is_of_region(aws, &role, is_recorded) {
                self.put(IamRole::KIND, role);
            }
        }
    }

    /// The roles that were put.
    fn roles(&self) -> impl Iterator<Item = &Remote> {
        let remotes = self.observed.remotes.iter();
        remotes.filter(|(address, _)| address.kind.as_str() == IamRole::KIND).flat_map(|(_, remotes)| remotes)
    }

    /// Some instance profiles: those of this region, and the others.
    fn profiles(&self, aws: &Aws, found: Vec<Remote>) -> (Vec<Remote>, Vec<Remote>) {
        let roles: BTreeSet<String> = self.roles().map(|role| role.id.clone()).collect();
        found.into_iter().partition(|profile| {
            let is_recorded = self.by_id.contains_key(&(IamInstanceProfile::KIND, profile.id.as_str()));
            iam_instance_profile::is_of_region(aws, profile, &roles, is_recorded)
        })
    }

    /// The names by which to look for the instance profile where none was found.
    fn further_profiles(&self, aws: &Aws, found: &[Remote]) -> Vec<String> {
        if !self.profiles(aws, found.to_vec()).0.is_empty() {
            return Vec::new();
        }
        let former = former_iam_path(self.stack);
        let has_former_role = self.roles().any(|role| attribute(&role.attributes, "path") == former);
        iam_instance_profile::further_names(aws, &iam_instance_profile::names(aws, self.recorded), has_former_role)
    }

    fn put_profiles(&mut self, aws: &Aws, found: Vec<Remote>) {
        let (ours, others) = self.profiles(aws, found);
        self.put_all(IamInstanceProfile::KIND, ours);
        self.put_others(IamInstanceProfile::KIND, others);
    }

    /// Puts objects, but none that is hidden behind a marker where the stack wants that very object.
    fn put_objects(&mut self, objects: impl IntoIterator<Item = Remote>) {
        let resources = self.desired.resources().values();
        let resources = resources.filter(|resource| resource.address.kind.as_str() == S3Object::KIND);
        let wanted: BTreeSet<&str> = resources.map(|resource| attribute(&resource.attributes, "key")).collect();
        let is_to_be_made = |one: &Remote| one.is_spent && wanted.contains(attribute(&one.attributes, "key"));
        self.put_all(S3Object::KIND, objects.into_iter().filter(|one| !is_to_be_made(one)));
    }

    fn put_again(&mut self, aws: &Aws, again: Again) -> Result<(), Failure> {
        // An id of EC2 is never given to something else: what is recorded stays ours though its tags were taken away.
        for host in again.hosts {
            self.put_ours(Instance::KIND, [host.remote()?]);
        }
        self.put_ours(SecurityGroup::KIND, again.groups);
        self.put_ours(LaunchTemplate::KIND, again.templates);
        // A name can be: here the path decides.
        self.put_roles(aws, again.roles);
        self.put_ours(EcsTaskDefinition::KIND, again.definitions);
        Ok(())
    }

    /// Everything, the current one first where an address has several: the object that is wanted, the newest revision, the
    /// one recorded, the lowest id. What can only be deleted comes last.
    fn observed(self) -> Observed {
        let mut observed = self.observed;
        // Where the stack has its own, others are no obstacle: they may have revisions of the same family.
        let Observed { remotes, taken, .. } = &mut observed;
        let is_there =
            |address: &Address| remotes.get(address).is_some_and(|found| found.iter().any(|one| !one.is_spent));
        taken.retain(|address, _| !is_there(address));
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
                (remote.is_spent, !is_wanted, std::cmp::Reverse(revision), !is_recorded, remote.id.clone())
            });
        }
        observed
    }
}
