//! ECS and CloudWatch Logs: cluster, revisions, service, log group.

use trunnion_engine::{Map, ProviderError, Remote, Value};
use trunnion_kinds::{EcsCluster, EcsService, EcsTaskDefinition, IamRole, LogGroup, STACK_TAG, SecurityGroup};

use super::{Account, Caller, Thing, text, texts, touches};

const CLUSTER: &str = EcsCluster::KIND;
const SERVICE: &str = EcsService::KIND;
const DEFINITION: &str = EcsTaskDefinition::KIND;
const LOGS: &str = LogGroup::KIND;

/// The start of every ECS ARN.
pub const ECS: &str = "arn:aws:ecs:eu-west-3:123456789012";

/// The number of a revision, which follows its family.
pub fn revision(name: &str) -> u64 {
    name.rsplit(':').next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

fn is_of_stack_of(thing: &Thing, wanted: &Map) -> bool {
    let tags = wanted.get("tags").and_then(Value::as_map);
    thing.stack() == tags.map(|tags| text(tags, STACK_TAG))
}

fn content(attributes: &Map) -> Map {
    let mut attributes = attributes.clone();
    attributes.retain(|name, _| name != "tags" && name != "arn");
    attributes
}

fn containers(definition: &Thing) -> impl Iterator<Item = &Map> {
    let containers = definition.attributes.get("containers").and_then(Value::as_map);
    containers.into_iter().flat_map(Map::values).filter_map(Value::as_map)
}

/// The full text of each conf in a revision.
pub fn confs(definition: &Thing) -> impl Iterator<Item = &str> {
    let environments = containers(definition).filter_map(|container| container.get("environment")?.as_map());
    environments.flat_map(Map::values).filter_map(Value::as_text)
}

/// The services whose task definition matches.
fn running<'a>(account: &'a Account, is_it: impl Fn(&Thing) -> bool + 'a) -> impl Iterator<Item = &'a str> {
    account.of_kind(SERVICE).filter_map(move |(id, service)| {
        let definition = account.get(DEFINITION, service.text("task_definition"))?;
        is_it(definition).then_some(id)
    })
}

/// A service whose control plane lists a host.
pub fn lists(account: &Account, private_ip: &str) -> Option<String> {
    let quoted = format!("\"{private_ip}\"");
    running(account, move |definition| confs(definition).any(|conf| conf.contains(&quoted))).next().map(str::to_owned)
}

/// A service whose tasks use a role.
pub fn role_user<'a>(account: &'a Account, arn: &'a str) -> Option<&'a str> {
    running(account, move |it| it.text("execution_role") == arn || it.text("task_role") == arn).next()
}

/// Checks that a service can start its task.
fn must_start(account: &Account, wanted: &Map) -> Result<(), String> {
    let name = text(wanted, "task_definition");
    let definition = account.get(DEFINITION, name).ok_or_else(|| format!("{name} is not found"))?;
    if definition.is_inactive {
        return Err(format!("{name} is inactive"));
    }
    for role in ["execution_role", "task_role"] {
        let arn = definition.text(role);
        let found = account.find(IamRole::KIND, |role| role.text("arn") == arn);
        let (_, found) = found.ok_or_else(|| format!("ECS cannot assume {arn}"))?;
        if role == "execution_role" && found.text("policy").is_empty() {
            return Err("the execution role may not read the secrets".to_owned());
        }
    }
    match containers(definition)
        .map(|container| text(container, "log.group"))
        .find(|it| account.get(LOGS, it).is_none())
    {
        Some(group) => Err(format!("the log group {group} does not exist")),
        None => Ok(()),
    }
}

/// Checks that a service's subnets and security groups exist in one VPC.
fn must_fit(account: &Account, wanted: &Map) -> Result<(), String> {
    let network = wanted.get("network").and_then(Value::as_map).cloned().unwrap_or_default();
    let subnets = texts(&network, "subnets");
    let vpcs: Vec<_> = subnets.iter().map(|subnet| account.subnets.get(subnet)).collect();
    for group in texts(&network, "security_groups") {
        let found = account.get(SecurityGroup::KIND, &group).ok_or_else(|| format!("{group} does not exist"))?;
        if vpcs.iter().any(|vpc| vpc.is_none_or(|vpc| vpc != found.text("vpc"))) {
            return Err(format!("{group} and a subnet are not of one VPC"));
        }
    }
    Ok(())
}

impl Caller<'_> {
    pub(super) async fn create_cluster(&self, wanted: &Map) -> Result<Remote, ProviderError> {
        let name = text(wanted, "name");
        let made = self.call("CreateCluster", name, |account| {
            if let Some((id, found)) = account.find(CLUSTER, |cluster| cluster.text("name") == name) {
                return if is_of_stack_of(found, wanted) { Ok(id) } else { Err(format!("{id} is not ours")) };
            }
            let id = format!("{ECS}:cluster/{name}");
            let mut attributes = wanted.clone();
            attributes.insert("arn".to_owned(), id.as_str().into());
            account.put(CLUSTER, &id, Thing { attributes, ..Thing::default() });
            Ok(id)
        });
        let id = made.await?;
        self.put_tags(CLUSTER, &id, wanted).await
    }

    pub(super) async fn delete_cluster(&self, id: &str) -> Result<(), ProviderError> {
        if !self.has(CLUSTER, id) {
            return Ok(());
        }
        let delete = |account: &mut Account| match account.find(SERVICE, |service| service.text("cluster") == id) {
            Some((service, _)) => Err(format!("ClusterContainsServices: {service}")),
            None => Ok(drop(account.remove(CLUSTER, id))),
        };
        self.call("DeleteCluster", id, delete).await
    }

    pub(super) async fn create_definition(&self, wanted: &Map) -> Result<Remote, ProviderError> {
        let family = text(wanted, "family");
        let newest = {
            let account = self.cloud.account.borrow();
            let active = account.of_kind(DEFINITION).filter(|(_, it)| it.text("family") == family && !it.is_inactive);
            let newest = active.max_by_key(|(id, _)| revision(id));
            let is_it = |it: &Thing| is_of_stack_of(it, wanted) && content(&it.attributes) == content(wanted);
            newest.filter(|(_, found)| is_it(found)).map(|(id, _)| id.to_owned())
        };
        if let Some(id) = newest {
            return self.put_tags(DEFINITION, &id, wanted).await;
        }
        let made = self.call("RegisterTaskDefinition", family, |account| {
            for role in ["execution_role", "task_role"] {
                let arn = text(wanted, role);
                if account.find(IamRole::KIND, |role| role.text("arn") == arn).is_none() {
                    return Err(format!("Role is not valid: {arn}"));
                }
            }
            let number = account.revisions.entry(family.to_owned()).or_insert(100);
            *number += 1;
            let id = format!("{ECS}:task-definition/{family}:{number}");
            let mut attributes = wanted.clone();
            attributes.insert("arn".to_owned(), id.as_str().into());
            account.put(DEFINITION, &id, Thing { attributes, ..Thing::default() });
            Ok(id)
        });
        let id = made.await?;
        self.remote(DEFINITION, &id)
    }

    pub(super) async fn delete_definition(&self, id: &str) -> Result<(), ProviderError> {
        let is_active = {
            let account = self.cloud.account.borrow();
            let Some(definition) = account.get(DEFINITION, id) else { return Ok(()) };
            !definition.is_inactive
        };
        // AWS would allow this although a service runs the revision; its next task could not start.
        let is_free = |account: &Account| match account.find(SERVICE, |service| service.text("task_definition") == id) {
            Some((service, _)) => Err(format!("{service} runs it")),
            None => Ok(()),
        };
        if is_active {
            let deregister = |account: &mut Account| {
                is_free(account)?;
                account.get_mut(DEFINITION, id)?.is_inactive = true;
                Ok(())
            };
            self.call("DeregisterTaskDefinition", id, deregister).await?;
        }
        let delete = |account: &mut Account| {
            is_free(account)?;
            account.remove(DEFINITION, id);
            Ok(())
        };
        self.call("DeleteTaskDefinitions", id, delete).await
    }

    pub(super) async fn create_service(&self, wanted: &Map) -> Result<Remote, ProviderError> {
        let (name, cluster) = (text(wanted, "name"), text(wanted, "cluster"));
        let made = self.call("CreateService", name, |account| {
            let is_it = |it: &Thing| it.text("name") == name && it.text("cluster") == cluster && !it.is_inactive;
            if let Some((id, found)) = account.find(SERVICE, is_it) {
                return if is_of_stack_of(found, wanted) { Ok((id, true)) } else { Err(format!("{id} is not ours")) };
            }
            if account.get(CLUSTER, cluster).is_none() {
                return Err(format!("ClusterNotFoundException: {cluster}"));
            }
            must_start(account, wanted)?;
            must_fit(account, wanted)?;
            let id = format!("{ECS}:service/{}/{name}", cluster.rsplit('/').next().unwrap_or_default());
            let mut attributes = wanted.clone();
            attributes.insert("arn".to_owned(), id.as_str().into());
            account.put(SERVICE, &id, Thing { attributes, ..Thing::default() });
            Ok((id, false))
        });
        let (id, is_found) = made.await?;
        if is_found {
            let paths = ["task_definition", "desired_count", "network", "deployment"].map(str::to_owned);
            return self.update_service(&id, wanted, &paths).await;
        }
        self.remote(SERVICE, &id)
    }

    pub(super) async fn update_service(
        &self,
        id: &str,
        wanted: &Map,
        paths: &[String],
    ) -> Result<Remote, ProviderError> {
        let named = |name: &&str| touches(paths, name);
        let named: Vec<&str> =
            ["task_definition", "desired_count", "network", "deployment"].into_iter().filter(named).collect();
        if !named.is_empty() {
            let update = |account: &mut Account| {
                if named.contains(&"task_definition") {
                    must_start(account, wanted)?;
                }
                if named.contains(&"network") {
                    must_fit(account, wanted)?;
                }
                named.iter().try_for_each(|name| account.set(SERVICE, id, name, wanted.get(*name)))
            };
            self.call("UpdateService", id, update).await?;
        }
        self.put_tags(SERVICE, id, wanted).await
    }

    pub(super) async fn delete_service(&self, id: &str) -> Result<(), ProviderError> {
        if !self.has(SERVICE, id) {
            return Ok(());
        }
        let none = Value::Number(0);
        self.call("UpdateService", id, |account| account.set(SERVICE, id, "desired_count", Some(&none))).await?;
        let drain = |account: &mut Account| {
            account.get_mut(SERVICE, id)?.is_inactive = true;
            Ok(())
        };
        self.call("DeleteService", id, drain).await?;
        self.call("UntilDrained", id, |account| Ok(drop(account.remove(SERVICE, id)))).await
    }

    pub(super) async fn create_log_group(&self, wanted: &Map) -> Result<Remote, ProviderError> {
        let name = text(wanted, "name");
        let made = self.call("CreateLogGroup", name, |account| {
            if let Some(found) = account.get(LOGS, name) {
                return if is_of_stack_of(found, wanted) { Ok(()) } else { Err("it is not ours".to_owned()) };
            }
            let mut attributes = wanted.clone();
            attributes.insert("retention_days".to_owned(), Value::Number(0));
            let arn = format!("arn:aws:logs:eu-west-3:123456789012:log-group:{name}");
            attributes.insert("arn".to_owned(), arn.into());
            account.put(LOGS, name, Thing { attributes, ..Thing::default() });
            Ok(())
        });
        made.await?;
        self.settle_log_group(name, wanted).await
    }

    pub(super) async fn settle_log_group(&self, id: &str, wanted: &Map) -> Result<Remote, ProviderError> {
        self.put("PutRetentionPolicy", (LOGS, id), "retention_days", wanted).await?;
        self.put_tags(LOGS, id, wanted).await
    }

    pub(super) async fn delete_log_group(&self, id: &str) -> Result<(), ProviderError> {
        if !self.has(LOGS, id) {
            return Ok(());
        }
        let logs_to = |definition: &Thing| containers(definition).any(|it| text(it, "log.group") == id);
        let delete = |account: &mut Account| {
            let user = running(account, logs_to).next().map(str::to_owned);
            user.map_or(Ok(()), |service| Err(format!("tasks of {service} log to it")))?;
            account.remove(LOGS, id);
            Ok(())
        };
        self.call("DeleteLogGroup", id, delete).await
    }
}

impl Account {
    /// Removes draining services, as if time had passed between two runs.
    pub fn settle(&mut self) {
        self.things.retain(|(kind, _), thing| kind != SERVICE || !thing.is_inactive);
    }
}
