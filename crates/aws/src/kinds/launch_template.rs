//! `launch_template`. Creation uses a client token. The name is unique; a template belongs to the stack if its tags say
//! so.

use std::collections::BTreeSet;

use aws_sdk_ec2::types::{Filter, LaunchTemplate as Ec2Template, LaunchTemplateVersion, ResourceType};
use serde::{Deserialize, Serialize};
use trunnion_engine::{Map, Remote, Rules, Token, Value};
use trunnion_kinds::{ADDRESS_TAG, HOME_TAG, LATEST, LaunchTemplate, Tags, stands_for};

use super::{
    launch_template_data::{description, from_description, from_version, to_request},
    tagging::{change_ec2, filter, from_ec2, of_stack, specification},
};
use crate::{
    Aws, Connection,
    convert::{attribute, is_ours, remote, tags_of, touches, typed},
    driver::{Driver, Wanted, all},
    error::{Class, Failure, OfCall as _, unless_gone},
    reading::Reading,
    recorded::is_ec2,
};

/// A template without the data of its versions.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Header {
    id: String,
    name: String,
    default: i64,
    latest: i64,
    tags: Tags,
}

impl From<Ec2Template> for Header {
    fn from(template: Ec2Template) -> Self {
        Self {
            id: template.launch_template_id.unwrap_or_default(),
            name: template.launch_template_name.unwrap_or_default(),
            default: template.default_version_number.unwrap_or(1),
            latest: template.latest_version_number.unwrap_or(1),
            tags: from_ec2(template.tags),
        }
    }
}

/// The templates that this filter leaves.
async fn list(aws: &Aws, filter: Filter) -> Result<Vec<Header>, Failure> {
    let call = aws.clients.ec2.describe_launch_templates().filters(filter);
    let mut pages = call.into_paginator().page_size(200).send();
    let mut templates = Vec::new();
    while let Some(page) = pages.next().await {
        let page = page.of_call("ec2:DescribeLaunchTemplates")?;
        templates.extend(page.launch_templates.into_iter().flatten().map(Header::from));
    }
    Ok(templates)
}

/// Whether one of the stack's templates has a name from an earlier version and no other home.
pub(crate) async fn has_former(aws: &Aws) -> Result<bool, Failure> {
    let prefix = format!("{}-", aws.connection.stack);
    let is_home = |tags: &Tags| tags.get(HOME_TAG).is_none_or(|home| *home == aws.connection.home);
    Ok(list(aws, of_stack(aws)).await?.iter().any(|found| found.name.starts_with(&prefix) && is_home(&found.tags)))
}

async fn by_id(aws: &Aws, id: &str) -> Result<Option<Header>, Failure> {
    let call = aws.clients.ec2.describe_launch_templates().launch_template_ids(id);
    first(call.send().await.of_call("ec2:DescribeLaunchTemplates").map(|answer| answer.launch_templates))
}

async fn by_name(aws: &Aws, name: &str) -> Result<Option<Header>, Failure> {
    let call = aws.clients.ec2.describe_launch_templates().launch_template_names(name);
    first(call.send().await.of_call("ec2:DescribeLaunchTemplates").map(|answer| answer.launch_templates))
}

fn first(found: Result<Option<Vec<Ec2Template>>, Failure>) -> Result<Option<Header>, Failure> {
    match found {
        Ok(templates) => Ok(templates.into_iter().flatten().next().map(Header::from)),
        Err(failure) if failure.class == Class::NotFound => Ok(None),
        Err(failure) => Err(failure),
    }
}

async fn newest(aws: &Aws, id: &str) -> Result<Option<LaunchTemplateVersion>, Failure> {
    let call = aws.clients.ec2.describe_launch_template_versions().launch_template_id(id).versions("$Latest");
    match call.send().await.of_call("ec2:DescribeLaunchTemplateVersions") {
        Ok(answer) => Ok(answer.launch_template_versions.into_iter().flatten().next()),
        Err(failure) if failure.class == Class::NotFound => Ok(None),
        Err(failure) => Err(failure),
    }
}

/// A template with the data of its newest version and, if somebody else made that one, of the last version of ours.
async fn detail(aws: &Aws, header: Header) -> Result<Option<Remote>, Failure> {
    let Some(version) = newest(aws, &header.id).await? else { return Ok(None) };
    completed(aws, header, version).await.map(Some)
}

async fn completed(aws: &Aws, header: Header, version: LaunchTemplateVersion) -> Result<Remote, Failure> {
    if is_described(&version) {
        return together(header, version);
    }
    let earlier = match last_described(aws, &header.id).await? {
        Some(earlier) => Some(together(header.clone(), earlier)?.attributes),
        None => None,
    };
    Ok(Remote { earlier, ..together(header, version)? })
}

/// Whether a version has a description of ours, which holds what is pinned.
fn is_described(version: &LaunchTemplateVersion) -> bool {
    !from_description(version.version_description.as_deref().unwrap_or_default()).1.is_empty()
}

/// The newest version with a description of ours: what was applied before somebody edited the template.
async fn last_described(aws: &Aws, id: &str) -> Result<Option<LaunchTemplateVersion>, Failure> {
    let call = aws.clients.ec2.describe_launch_template_versions().launch_template_id(id);
    let mut pages = call.into_paginator().page_size(200).send();
    let mut last: Option<LaunchTemplateVersion> = None;
    while let Some(page) = pages.next().await {
        let page = match page.of_call("ec2:DescribeLaunchTemplateVersions") {
            Err(failure) if failure.class == Class::NotFound => return Ok(None),
            page => page?,
        };
        let found = page.launch_template_versions.into_iter().flatten().filter(is_described);
        last = last.into_iter().chain(found).max_by_key(|version| version.version_number);
    }
    Ok(last)
}

/// A template by its id, whatever its tags, with the data of its newest version.
async fn by_id_in_full(aws: &Aws, id: &str) -> Result<Option<Remote>, Failure> {
    match futures::try_join!(Box::pin(by_id(aws, id)), Box::pin(newest(aws, id)))? {
        (Some(header), Some(version)) => completed(aws, header, version).await.map(Some),
        _ => Ok(None),
    }
}

fn together(header: Header, version: LaunchTemplateVersion) -> Result<Remote, Failure> {
    let latest = version.version_number.unwrap_or(header.latest);
    let (data, boot) = from_version(version);
    let template = LaunchTemplate {
        name: header.name,
        data,
        boot,
        default_version: if header.default == latest { LATEST.to_owned() } else { header.default.to_string() },
        tags: header.tags,
    };
    as_remote(&header.id, latest, &template)
}

fn as_remote(id: &str, version: i64, template: &LaunchTemplate) -> Result<Remote, Failure> {
    remote(id, template, [("id", id.into()), ("version", version.to_string().into())])
}

/// The same content and description on top of the same newest version give the same token, so a repeated call adds no
/// second version.
fn version_token(seen: &Map, id: &str, template: &LaunchTemplate) -> Token {
    let content = Value::from_serialize(&template.data).map(|data| data.digest()).unwrap_or_default();
    let address = trunnion_engine::Address::new(LaunchTemplate::KIND, id);
    let description = description(template);
    let seen = attribute(seen, "version");
    let attributes = [("content", content.as_str()), ("description", description.as_str()), ("version", seen)];
    let attributes = attributes.map(|(name, value)| (name.to_owned(), Value::from(value)));
    let resource = trunnion_engine::Resolved { address, attributes: attributes.into() };
    Token::new("", "version", &resource, &LaunchTemplate::RULES)
}

/// The templates with the stack's tag.
pub(crate) struct LaunchTemplates;

impl Driver for LaunchTemplates {
    type Attributes = LaunchTemplate;
    const RULES: Rules = LaunchTemplate::RULES;
    const NOUN: &'static str = "the launch template";
    const READS_BACK: bool = true;
    const ROUNDS: u32 = 1;
    const LIST_MISSES: bool = true;
    const IMPORTS: bool = true;

    fn can_exist(id: &str, _: &Connection) -> bool {
        is_ec2(id, "lt-")
    }

    async fn list(&self, reading: &Reading<'_>) -> Result<Vec<Remote>, Failure> {
        list(reading.aws, of_stack(reading.aws)).await?.iter().map(|header| remote(&header.id, header, [])).collect()
    }

    /// Adds the data of the newest version to each.
    async fn detail(&self, reading: &Reading<'_>, listed: Vec<Remote>) -> Result<Vec<Remote>, Failure> {
        let asked = listed.into_iter().map(|found| async move { detail(reading.aws, typed(&found.attributes)?).await });
        all(asked).await
    }

    async fn by_ids(&self, aws: &Aws, ids: Vec<String>) -> Result<Vec<Remote>, Failure> {
        all(ids.iter().map(|id| by_id_in_full(aws, id))).await
    }

    /// A template of an earlier version keeps its name: it is recognised by its address.
    fn to_ask(&self, reading: &Reading<'_>, listed: &[Remote]) -> Vec<Wanted> {
        let tags = listed.iter().map(|found| tags_of(&found.attributes));
        let there: BTreeSet<String> = tags.filter_map(|mut tags| tags.remove(ADDRESS_TAG)).collect();
        let names = reading.names(LaunchTemplate::KIND, Self::NAME);
        names.filter(|wanted| !there.contains(&wanted.address.to_string())).collect()
    }

    async fn taken(&self, reading: &Reading<'_>, names: Vec<Wanted>) -> Result<Vec<Wanted>, Failure> {
        // A filter, because a missing name is then no error.
        let asked = names.iter().map(|wanted| wanted.name.clone()).collect();
        let found = list(reading.aws, filter("launch-template-name", asked)).await?;
        let others = found.iter().filter(|template| !is_ours(&template.tags, &reading.aws.connection.stack));
        let others: BTreeSet<&str> = others.map(|template| template.name.as_str()).collect();
        Ok(names.into_iter().filter(|wanted| others.contains(wanted.name.as_str())).collect())
    }

    async fn create(&self, aws: &Aws, template: LaunchTemplate, token: &Token) -> Result<Remote, Failure> {
        let data = to_request(&template.data)?;
        let create = || async {
            let call = aws.clients.ec2.create_launch_template().launch_template_name(&template.name);
            let call = call.client_token(token.shortened(64)).version_description(description(&template));
            let tags = specification(ResourceType::LaunchTemplate, &template.tags);
            call.launch_template_data(data.clone())
                .tag_specifications(tags)
                .send()
                .await
                .of_call("ec2:CreateLaunchTemplate")
        };
        // A group or a profile that was just made.
        match aws.patiently(&[Class::Lag, Class::NotFound], create).await {
            Ok(answer) => {
                let made = answer.launch_template.map(Header::from);
                let id = made.ok_or_else(|| Failure::own("EC2 returned no launch template", None))?.id;
                as_remote(&id, 1, &template)
            }
            // An earlier attempt created it; its token has expired, or the template has since been changed in the
            // stack.
            Err(failure) if failure.class == Class::AlreadyExists || failure.code == "IdempotentParameterMismatch" => {
                self.adopt_by_name(aws, template).await
            }
            Err(failure) => Err(failure),
        }
    }

    async fn update(
        &self,
        aws: &Aws,
        remote: &Remote,
        template: LaunchTemplate,
        paths: &[String],
    ) -> Result<Remote, Failure> {
        let ec2 = &aws.clients.ec2;
        let id = &remote.id;
        // The tags first: permissions depend on them.
        let from: LaunchTemplate = typed(&remote.attributes)?;
        change_ec2(aws, std::slice::from_ref(id), &from.tags, &template.tags).await?;
        let mut version: i64 = attribute(&remote.attributes, "version").parse().unwrap_or(1);
        let says_more = touches(paths, "data") || touches(paths, "boot");
        if says_more {
            let token = version_token(&remote.attributes, id, &template);
            let (token, data) = (token.shortened(64), to_request(&template.data)?);
            let description = description(&template);
            // EC2 needs a moment until a new template is known everywhere.
            let made = aws.patiently(&[Class::Lag, Class::NotFound], || async {
                let call = ec2.create_launch_template_version().launch_template_id(id).client_token(&token);
                let call = call.version_description(&description).launch_template_data(data.clone());
                call.send().await.of_call("ec2:CreateLaunchTemplateVersion")
            });
            let answer = Box::pin(made).await?;
            version = answer.launch_template_version.and_then(|made| made.version_number).unwrap_or(version + 1);
        }
        if says_more || touches(paths, "default_version") {
            let default =
                if template.default_version == LATEST { version.to_string() } else { template.default_version.clone() };
            aws.patiently(&[Class::NotFound], || async {
                let call = ec2.modify_launch_template().launch_template_id(id).default_version(&default);
                call.send().await.of_call("ec2:ModifyLaunchTemplate")
            })
            .await?;
        }
        as_remote(id, version, &template)
    }

    async fn delete(&self, aws: &Aws, remote: &Remote) -> Result<(), Failure> {
        let deleted = aws.if_known(|| async {
            let call = aws.clients.ec2.delete_launch_template().launch_template_id(&remote.id);
            call.send().await.of_call("ec2:DeleteLaunchTemplate")
        });
        unless_gone(deleted.await)
    }
}

impl LaunchTemplates {
    /// Changes the template with this name to match, if it belongs to the stack.
    async fn adopt_by_name(&self, aws: &Aws, template: LaunchTemplate) -> Result<Remote, Failure> {
        let found = aws.until_seen(|| by_name(aws, &template.name)).await?.filter(|found| aws.owns(&found.tags));
        let Some(found) = found else { return Err(Self::foreign(&template.name)) };
        let Some(mut remote) = aws.until_seen(|| detail(aws, found.clone())).await? else {
            return Err(Self::foreign(&template.name));
        };
        // A description stores a long source in a shortened form.
        let source = &template.data.image_source;
        if let Some(Value::Map(data)) = remote.attributes.get_mut("data")
            && stands_for(attribute(data, "image_source"), source)
        {
            data.insert("image_source".to_owned(), source.as_str().into());
        }
        self.adopt(aws, &remote, template).await
    }
}
