//! IAM and S3: roles, instance profiles, buckets, objects.

use trunnion_engine::{Map, ProviderError, Remote, Value};
use trunnion_kinds::{IamInstanceProfile, IamRole, Instance, LaunchTemplate, S3Bucket, S3Object, STACK_TAG};

use super::{Account, Caller, Thing, control_plane, network, text, texts};

const ROLE: &str = IamRole::KIND;
const PROFILE: &str = IamInstanceProfile::KIND;
const BUCKET: &str = S3Bucket::KIND;
const OBJECT: &str = S3Object::KIND;

/// A host that uses an instance profile.
fn host_with<'a>(account: &'a Account, profile: &'a str) -> Option<&'a str> {
    account.of_kind(Instance::KIND).find(|(_, host)| host.profile == profile).map(|(id, _)| id)
}

/// A launch template that names an object.
fn template_of<'a>(account: &'a Account, bucket: &str, key: &str) -> Option<&'a str> {
    let names_it = |template: &Thing| {
        let user_data = template.text("data.user_data");
        user_data.contains(bucket) && network::objects_named(user_data).any(|named| named == key)
    };
    account.of_kind(LaunchTemplate::KIND).find(|(_, template)| names_it(template)).map(|(id, _)| id)
}

impl Caller<'_> {
    pub(super) async fn create_role(&self, wanted: &Map) -> Result<Remote, ProviderError> {
        let (name, path) = (text(wanted, "name"), text(wanted, "path"));
        let made = self.call("CreateRole", name, |account| {
            if let Some(found) = account.get(ROLE, name) {
                let is_ours = found.text("path") == path;
                return if is_ours { Ok(()) } else { Err("EntityAlreadyExists: it is not ours".to_owned()) };
            }
            let mut attributes = wanted.clone();
            attributes.insert("policy".to_owned(), Value::Null);
            attributes.insert("arn".to_owned(), format!("arn:aws:iam::123456789012:role{path}{name}").into());
            account.put(ROLE, name, Thing { attributes, ..Thing::default() });
            Ok(())
        });
        made.await?;
        self.settle_role(name, wanted).await
    }

    pub(super) async fn settle_role(&self, id: &str, wanted: &Map) -> Result<Remote, ProviderError> {
        self.put("UpdateRole", (ROLE, id), "description", wanted).await?;
        self.put("UpdateAssumeRolePolicy", (ROLE, id), "trust_policy", wanted).await?;
        self.put("PutRolePolicy", (ROLE, id), "policy", wanted).await?;
        self.put("DeleteRolePolicy", (ROLE, id), "other_policies", wanted).await?;
        self.put("DetachRolePolicy", (ROLE, id), "attached_policies", wanted).await?;
        self.put_tags(ROLE, id, wanted).await
    }

    pub(super) async fn delete_role(&self, id: &str) -> Result<(), ProviderError> {
        if !self.has(ROLE, id) {
            return Ok(());
        }
        // AWS would allow this although hosts use the role.
        let is_deleted_first = self.is_deleted_first(ROLE, id);
        self.call("DeleteRolePolicy", id, |account| account.set(ROLE, id, "policy", None)).await?;
        let with_it = |profile: &Thing| texts(&profile.attributes, "roles").iter().any(|role| role == id);
        let profile = self.cloud.account.borrow().find(PROFILE, with_it).map(|(profile, _)| profile);
        if let Some(profile) = profile {
            let remove = |account: &mut Account| {
                let arn = account.get(PROFILE, &profile).map(|found| found.text("arn").to_owned()).unwrap_or_default();
                if let Some(host) = host_with(account, &arn).filter(|_| !is_deleted_first) {
                    return Err(format!("{host} would lose its role"));
                }
                account.set(PROFILE, &profile, "roles", Some(&Value::List(Vec::new())))
            };
            self.call("RemoveRoleFromInstanceProfile", &profile, remove).await?;
        }
        let delete = |account: &mut Account| {
            if let Some((profile, _)) = account.find(PROFILE, with_it) {
                return Err(format!("DeleteConflict: {profile} has it"));
            }
            let arn = account.get(ROLE, id).map(|role| role.text("arn").to_owned()).unwrap_or_default();
            if let Some(service) = control_plane::role_user(account, &arn).filter(|_| !is_deleted_first) {
                return Err(format!("the tasks of {service} have it"));
            }
            account.remove(ROLE, id);
            Ok(())
        };
        self.call("DeleteRole", id, delete).await
    }

    pub(super) async fn create_profile(&self, wanted: &Map) -> Result<Remote, ProviderError> {
        let (name, path) = (text(wanted, "name"), text(wanted, "path"));
        let made = self.call("CreateInstanceProfile", name, |account| {
            if let Some(found) = account.get(PROFILE, name) {
                let is_ours = found.text("path") == path;
                return if is_ours { Ok(()) } else { Err("EntityAlreadyExists: it is not ours".to_owned()) };
            }
            let mut attributes = wanted.clone();
            attributes.insert("roles".to_owned(), Value::List(Vec::new()));
            let arn = format!("arn:aws:iam::123456789012:instance-profile{path}{name}");
            attributes.insert("arn".to_owned(), arn.into());
            account.put(PROFILE, name, Thing { attributes, ..Thing::default() });
            Ok(())
        });
        made.await?;
        self.settle_profile(name, wanted).await
    }

    pub(super) async fn settle_profile(&self, id: &str, wanted: &Map) -> Result<Remote, ProviderError> {
        let roles = texts(wanted, "roles");
        let has = self.remote(PROFILE, id).map(|found| texts(&found.attributes, "roles")).unwrap_or_default();
        if !has.is_empty() && has != roles {
            let none = Value::List(Vec::new());
            let remove = |account: &mut Account| account.set(PROFILE, id, "roles", Some(&none));
            self.call("RemoveRoleFromInstanceProfile", id, remove).await?;
        }
        if has != roles {
            let add = |account: &mut Account| match roles.iter().find(|role| account.get(ROLE, role).is_none()) {
                Some(role) => Err(format!("NoSuchEntity: {role}")),
                None => account.set(PROFILE, id, "roles", wanted.get("roles")),
            };
            self.call("AddRoleToInstanceProfile", id, add).await?;
        }
        self.put_tags(PROFILE, id, wanted).await
    }

    pub(super) async fn delete_profile(&self, id: &str) -> Result<(), ProviderError> {
        let Ok(found) = self.remote(PROFILE, id) else { return Ok(()) };
        let arn = text(&found.attributes, "arn");
        // AWS would allow this, and the host would lose its credentials.
        let is_deleted_first = self.is_deleted_first(PROFILE, id);
        let is_free = |account: &Account| match host_with(account, arn) {
            Some(host) if !is_deleted_first => Err(format!("{host} would lose its role")),
            _ => Ok(()),
        };
        if !texts(&found.attributes, "roles").is_empty() {
            let remove = |account: &mut Account| {
                is_free(account)?;
                account.set(PROFILE, id, "roles", Some(&Value::List(Vec::new())))
            };
            self.call("RemoveRoleFromInstanceProfile", id, remove).await?;
        }
        let delete = |account: &mut Account| {
            is_free(account)?;
            account.remove(PROFILE, id);
            Ok(())
        };
        self.call("DeleteInstanceProfile", id, delete).await
    }

    pub(super) async fn create_bucket(&self, wanted: &Map) -> Result<Remote, ProviderError> {
        let name = text(wanted, "name");
        let stack = wanted.get("tags").and_then(Value::as_map).map(|tags| text(tags, STACK_TAG).to_owned());
        let made = self.call("CreateBucket", name, |account| {
            if let Some(found) = account.get(BUCKET, name) {
                let is_empty = !account.of_kind(OBJECT).any(|(_, object)| object.text("bucket") == name);
                let is_ours = found.stack() == stack.as_deref() || (found.stack().is_none() && is_empty);
                return if is_ours { Ok(()) } else { Err("BucketAlreadyOwnedByYou: it is not ours".to_owned()) };
            }
            let mut attributes = wanted.clone();
            let new = [
                ("versioning", Value::Bool(false)),
                ("public_access_blocked", Value::Bool(false)),
                ("policy", Value::from("")),
                ("arn", format!("arn:aws:s3:::{name}").into()),
            ];
            attributes.extend(new.map(|(name, value)| (name.to_owned(), value)));
            account.put(BUCKET, name, Thing { attributes, ..Thing::default() });
            Ok(())
        });
        made.await?;
        self.settle_bucket(name, wanted).await
    }

    pub(super) async fn settle_bucket(&self, id: &str, wanted: &Map) -> Result<Remote, ProviderError> {
        for name in ["tags", "public_access_blocked", "encryption", "versioning", "policy"] {
            self.put("PutBucket", (BUCKET, id), name, wanted).await?;
        }
        self.remote(BUCKET, id)
    }

    pub(super) async fn delete_bucket(&self, id: &str) -> Result<(), ProviderError> {
        if !self.has(BUCKET, id) {
            return Ok(());
        }
        let inside: Vec<String> = {
            let account = self.cloud.account.borrow();
            account.of_kind(OBJECT).filter(|(_, it)| it.text("bucket") == id).map(|(id, _)| id.to_owned()).collect()
        };
        for object in inside {
            self.delete_object(&object).await?;
        }
        let delete = |account: &mut Account| match account.find(OBJECT, |object| object.text("bucket") == id) {
            Some((object, _)) => Err(format!("BucketNotEmpty: {object}")),
            None => Ok(drop(account.remove(BUCKET, id))),
        };
        self.call("DeleteBucket", id, delete).await
    }

    pub(super) async fn create_object(&self, wanted: &Map) -> Result<Remote, ProviderError> {
        let (bucket, key) = (text(wanted, "bucket"), text(wanted, "key"));
        let id = format!("{bucket}/{key}");
        let put = |account: &mut Account| {
            if account.get(BUCKET, bucket).is_none() {
                return Err(format!("NoSuchBucket: {bucket}"));
            }
            let mut attributes = wanted.clone();
            attributes.insert("source".to_owned(), "".into());
            account.put(OBJECT, &id, Thing { attributes, ..Thing::default() });
            Ok(())
        };
        self.call("PutObject", &id, put).await?;
        self.remote(OBJECT, &id)
    }

    pub(super) async fn delete_object(&self, id: &str) -> Result<(), ProviderError> {
        let Ok(found) = self.remote(OBJECT, id) else { return Ok(()) };
        let (bucket, key) = (text(&found.attributes, "bucket"), text(&found.attributes, "key"));
        let delete = |account: &mut Account| match template_of(account, bucket, key) {
            Some(template) => Err(format!("hosts of {template} boot with it")),
            None => Ok(drop(account.remove(OBJECT, id))),
        };
        self.call("DeleteObjects", id, delete).await
    }
}
