//! EC2: security groups, launch templates, hosts.

use std::collections::BTreeSet;

use trunnion_engine::{Address, Map, ProviderError, Remote, Token, Value, hex};
use trunnion_kinds::{
    EcsService, IamInstanceProfile, IamRole, Instance, InstanceInterface, LATEST, LaunchTemplate, S3Bucket, S3Object,
    SecurityGroup,
};

use super::{Account, Blocked, Caller, Thing, control_plane, text, texts, touches};

const GROUP: &str = SecurityGroup::KIND;
const TEMPLATE: &str = LaunchTemplate::KIND;
const HOST: &str = Instance::KIND;

fn stack_of(wanted: &Map) -> &str {
    let Some(Value::Map(tags)) = wanted.get("tags") else { return "" };
    text(tags, trunnion_kinds::STACK_TAG)
}

fn number(attributes: &Map, name: &str) -> i64 {
    attributes.get(name).and_then(Value::as_number).unwrap_or_default()
}

/// The security groups that rules refer to.
fn referred(rules: Option<&Value>) -> impl Iterator<Item = &str> {
    let rules = rules.and_then(Value::as_list).unwrap_or_default();
    rules.iter().filter_map(Value::as_map).map(|rule| text(rule, "peer")).filter(|peer| peer.starts_with("sg-"))
}

/// Whether a group can be deleted, or what blocks it.
fn users_of_group(account: &Account, id: &str) -> Result<(), Blocked> {
    if let Some((host, _)) = account.of_kind(HOST).find(|(_, host)| host.groups.contains(id)) {
        return Err(Blocked::Refused(format!("DependencyViolation: an interface of {host} uses it")));
    }
    let uses = |service: &Thing| {
        let network = service.attributes.get("network").and_then(Value::as_map);
        network.is_some_and(|network| texts(network, "security_groups").iter().any(|group| group == id))
    };
    if let Some((service, _)) = account.of_kind(EcsService::KIND).find(|(_, service)| uses(service)) {
        return Err(Blocked::Refused(format!("DependencyViolation: a task of {service} uses it")));
    }
    let refers = |group: &Thing| {
        ["ingress", "egress"].iter().any(|way| referred(group.attributes.get(*way)).any(|peer| peer == id))
    };
    match account.of_kind(GROUP).find(|(other, group)| *other != id && refers(group)) {
        Some((other, _)) => Err(Blocked::ForNow(format!("DependencyViolation: a rule of {other} refers to it"))),
        None => Ok(()),
    }
}

impl Caller<'_> {
    pub(super) async fn create_group(&self, wanted: &Map) -> Result<Remote, ProviderError> {
        let (name, vpc) = (text(wanted, "name"), text(wanted, "vpc"));
        let made = self.call("CreateSecurityGroup", name, |account| {
            let is_it = |group: &Thing| group.text("name") == name && group.text("vpc") == vpc;
            if let Some((id, found)) = account.find(GROUP, is_it) {
                let is_ours = found.stack() == Some(stack_of(wanted));
                return if is_ours { Ok(id) } else { Err(format!("InvalidGroup.Duplicate: {id} is not ours")) };
            }
            let id = format!("sg-{:08x}", account.number());
            let mut attributes = wanted.clone();
            attributes.extend(["ingress", "egress"].map(|way| (way.to_owned(), Value::List(Vec::new()))));
            attributes.insert("id".to_owned(), id.as_str().into());
            account.put(GROUP, &id, Thing { attributes, ..Thing::default() });
            Ok(id)
        });
        let id = made.await?;
        self.settle_group(&id, wanted).await
    }

    pub(super) async fn settle_group(&self, id: &str, wanted: &Map) -> Result<Remote, ProviderError> {
        for (call, way) in [("SetIngress", "ingress"), ("SetEgress", "egress")] {
            let missing = {
                let account = self.cloud.account.borrow();
                let vpc = account.get(GROUP, id).map(|group| group.text("vpc").to_owned()).unwrap_or_default();
                let is_missing = |peer: &&str| account.get(GROUP, peer).is_none_or(|peer| peer.text("vpc") != vpc);
                referred(wanted.get(way)).find(is_missing).map(str::to_owned)
            };
            if let Some(peer) = missing {
                return self.call(call, id, |_| Err(format!("InvalidGroup.NotFound: {peer}"))).await;
            }
            self.put(call, (GROUP, id), way, wanted).await?;
        }
        self.put_tags(GROUP, id, wanted).await
    }

    pub(super) async fn delete_group(&self, id: &str) -> Result<(), ProviderError> {
        let refers = {
            let account = self.cloud.account.borrow();
            let Some(group) = account.get(GROUP, id) else { return Ok(()) };
            ["ingress", "egress"].iter().any(|way| referred(group.attributes.get(*way)).next().is_some())
        };
        if refers {
            let none = Value::List(Vec::new());
            let revoke = |account: &mut Account| {
                account
                    .set(GROUP, id, "ingress", Some(&none))
                    .and_then(|()| account.set(GROUP, id, "egress", Some(&none)))
            };
            self.call("RevokeGroups", id, revoke).await?;
        }
        let delete = |account: &mut Account| {
            users_of_group(account, id)?;
            account.remove(GROUP, id);
            Ok(())
        };
        self.call_when_free("DeleteSecurityGroup", id, delete).await
    }

    pub(super) async fn create_template(&self, wanted: &Map) -> Result<Remote, ProviderError> {
        let name = text(wanted, "name");
        let data = wanted.get("data").cloned().unwrap_or(Value::Null);
        let made = self.call("CreateLaunchTemplate", name, |account| {
            if let Some((id, found)) = account.find(TEMPLATE, |template| template.text("name") == name) {
                let is_ours = found.stack() == Some(stack_of(wanted));
                return if is_ours { Ok((id, true)) } else { Err(format!("AlreadyExists: {id} is not ours")) };
            }
            let id = format!("lt-{:08x}", account.number());
            let mut attributes = wanted.clone();
            attributes.insert("id".to_owned(), id.as_str().into());
            attributes.insert("version".to_owned(), "1".into());
            attributes.insert("default_version".to_owned(), LATEST.into());
            account.put(TEMPLATE, &id, Thing { attributes, versions: vec![data.clone()], ..Thing::default() });
            Ok((id, false))
        });
        let (id, is_found) = made.await?;
        if is_found {
            let found = self.remote(TEMPLATE, &id)?.attributes;
            let is_other = ["data", "boot"].iter().any(|name| found.get(*name) != wanted.get(*name));
            let paths: &[&str] = if is_other { &["data", "default_version"] } else { &["default_version"] };
            let paths: Vec<String> = paths.iter().map(|path| (*path).to_owned()).collect();
            return self.update_template(&id, wanted, &paths).await;
        }
        self.remote(TEMPLATE, &id)
    }

    pub(super) async fn update_template(
        &self,
        id: &str,
        wanted: &Map,
        paths: &[String],
    ) -> Result<Remote, ProviderError> {
        // The description of a version's inputs is stored with its data, so a change of either makes a new version.
        let is_new_version = touches(paths, "data") || touches(paths, "boot");
        if is_new_version {
            let boot = wanted.get("boot").cloned().unwrap_or(Value::Null);
            let data = wanted.get("data").cloned().unwrap_or(Value::Null);
            let add = |account: &mut Account| {
                let template = account.get_mut(TEMPLATE, id)?;
                let before = template.versions.len().to_string();
                template.versions.push(data.clone());
                let newest = template.versions.len().to_string();
                let pairs = [("data", data), ("boot", boot), ("version", newest.into())];
                template.attributes.extend(pairs.map(|(name, value)| (name.to_owned(), value)));
                // The new version becomes the default by a later call.
                if template.text("default_version") == LATEST {
                    template.attributes.insert("default_version".to_owned(), before.into());
                }
                Ok(())
            };
            self.call("CreateLaunchTemplateVersion", id, add).await?;
        }
        if is_new_version || touches(paths, "default_version") {
            self.put("ModifyLaunchTemplate", (TEMPLATE, id), "default_version", wanted).await?;
        }
        self.put_tags(TEMPLATE, id, wanted).await
    }

    pub(super) async fn delete_template(&self, id: &str) -> Result<(), ProviderError> {
        if self.has(TEMPLATE, id) {
            self.call("DeleteLaunchTemplate", id, |account| Ok(drop(account.remove(TEMPLATE, id)))).await?;
        }
        Ok(())
    }

    pub(super) async fn create_host(
        &self,
        wanted: &Map,
        token: &Token,
        address: &Address,
    ) -> Result<Remote, ProviderError> {
        let at = address.to_string();
        let launched = self.call("RunInstances", &at, |account| {
            let mut token = token.clone();
            while let Some(terminated) = account.spent_tokens.get(&token.shortened(64)) {
                token = token.following(terminated);
            }
            let token = token.shortened(64);
            if let Some((id, _)) = account.find(HOST, |host| host.token == token) {
                return Ok((id, false));
            }
            let host = host(account, wanted, token)?;
            let id = host.text("id").to_owned();
            account.put(HOST, &id, host);
            Ok((id, true))
        });
        let (id, is_new) = launched.await?;
        self.cloud.note_up(address, is_new);
        self.remote(HOST, &id)
    }

    pub(super) async fn update_host(&self, id: &str, wanted: &Map, paths: &[String]) -> Result<Remote, ProviderError> {
        if touches(paths, "state") {
            self.put("StartInstances", (HOST, id), "state", wanted).await?;
        }
        self.put_tags(HOST, id, wanted).await
    }

    pub(super) async fn delete_host(&self, id: &str) -> Result<(), ProviderError> {
        if !self.has(HOST, id) {
            return Ok(());
        }
        let gone = self.call("TerminateInstances", id, |account| {
            let Some(host) = account.remove(HOST, id) else { return Ok(None) };
            account.spent_tokens.insert(host.token.clone(), id.to_owned());
            let listed = control_plane::lists(account, host.text("private_ip"));
            Ok(Some((host.address(), listed)))
        });
        if let Some((address, listed)) = gone.await? {
            self.cloud.note_terminated(id, address.as_ref(), listed.as_deref());
        }
        Ok(())
    }
}

/// Launches a host if its launch template works and everything that it boots with exists.
fn host(account: &mut Account, wanted: &Map, token: String) -> Result<Thing, String> {
    let template = account
        .get(TEMPLATE, text(wanted, "launch_template"))
        .ok_or_else(|| format!("InvalidLaunchTemplateId.NotFound: {}", text(wanted, "launch_template")))?;
    let version: usize = text(wanted, "version").parse().map_err(|_| "no version".to_owned())?;
    let data = version.checked_sub(1).and_then(|at| template.versions.get(at)).cloned();
    let data = data.ok_or("InvalidLaunchTemplateId.VersionNotFound")?;
    if data.digest() != text(wanted, "template") {
        return Err(format!("it says it is launched from something else than version {version}"));
    }
    let data = data.as_map().cloned().unwrap_or_default();
    let groups = groups(account, &data)?;
    let profile = text(&data, "instance_profile").to_owned();
    must_boot(account, &data, &profile)?;
    let (n, list) = (account.number(), data.get("interfaces").and_then(Value::as_list).unwrap_or_default());
    let id = format!("i-{n:08x}");
    let interfaces: Vec<InstanceInterface> = (0..)
        .zip(list.iter().filter_map(Value::as_map))
        .map(|(at, interface)| InstanceInterface {
            id: format!("eni-{n:06x}{at:02x}"),
            card: 0,
            device: at,
            private_ip: format!("10.{at}.{}.{}", n / 256, n % 256),
            addresses: u32::try_from(number(interface, "addresses")).unwrap_or_default(),
        })
        .collect();
    let fewest = interfaces.iter().map(|interface| interface.addresses).min().unwrap_or_default();
    let mut attributes = wanted.clone();
    let pairs = [
        ("interfaces", Value::Number(i64::try_from(interfaces.len()).unwrap_or_default())),
        ("addresses", Value::Number(fewest.into())),
        ("id", id.as_str().into()),
        ("private_ip", interfaces.first().map_or(Value::Null, |first| first.private_ip.as_str().into())),
        ("network_interfaces", Value::from_serialize(&interfaces).map_err(|error| error.to_string())?),
        ("volumes", Value::List(vec![format!("vol-{n:08x}").into()])),
    ];
    attributes.extend(pairs.map(|(name, value)| (name.to_owned(), value)));
    Ok(Thing { attributes, token, groups, profile, ..Thing::default() })
}

fn groups(account: &Account, data: &Map) -> Result<BTreeSet<String>, String> {
    let mut groups = BTreeSet::new();
    for interface in data.get("interfaces").and_then(Value::as_list).unwrap_or_default() {
        let interface = interface.as_map().cloned().unwrap_or_default();
        let vpc = account.subnets.get(text(&interface, "subnet")).ok_or("InvalidSubnetID.NotFound")?;
        for group in texts(&interface, "security_groups") {
            match account.get(GROUP, &group) {
                None => return Err(format!("InvalidGroup.NotFound: {group}")),
                Some(found) if found.text("vpc") != vpc => {
                    return Err(format!("InvalidParameter: {group} and the subnet are of different networks"));
                }
                Some(_) => groups.insert(group),
            };
        }
    }
    Ok(groups)
}

/// Checks that a host has its role with a policy, and that the binary in its user data exists.
fn must_boot(account: &Account, data: &Map, profile: &str) -> Result<(), String> {
    let found = account.find(IamInstanceProfile::KIND, |found| found.text("arn") == profile);
    let (_, found) = found.ok_or_else(|| format!("Invalid IAM Instance Profile: {profile}"))?;
    let role = texts(&found.attributes, "roles").into_iter().next().ok_or("the instance profile has no role")?;
    let role = account.get(IamRole::KIND, &role).ok_or("the instance profile's role is gone")?;
    if role.text("policy").is_empty() {
        return Err("the host's role may not read the binary".to_owned());
    }
    match objects_named(text(data, "user_data")).find(|key| !has_object(account, key)) {
        Some(key) => Err(format!("the host cannot read {key}")),
        None => Ok(()),
    }
}

/// The object keys in user data.
pub(super) fn objects_named(user_data: &str) -> impl Iterator<Item = &str> {
    user_data
        .match_indices(S3Object::PREFIX)
        .filter_map(|(at, prefix)| user_data.get(at..at + prefix.len() + hex(&[0; 32]).len()))
        .filter(|key| key[S3Object::PREFIX.len()..].bytes().all(|byte| byte.is_ascii_hexdigit()))
}

fn has_object(account: &Account, key: &str) -> bool {
    let is_it = |object: &Thing| object.text("key") == key;
    account
        .find(S3Object::KIND, is_it)
        .is_some_and(|(_, object)| account.get(S3Bucket::KIND, object.text("bucket")).is_some())
}
