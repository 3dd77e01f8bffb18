//! Launch templates; their versions are in `template_version`.

use std::borrow::Cow;

use trunnion_catalog::limits;

use super::{
    document, launch_data,
    model::{LaunchTemplate, LaunchTemplateVersion, Token},
    select::{self, Filters, PageSize, Pager, Row, find, known_tags, row_fields, shown, text},
    tag,
    template_version::version_key,
};
use crate::{
    call::{Call, Fault, Reply, arn_of},
    cloud::Cloud,
    durations::Delay,
    query::Params,
    xml::Xml,
};

/// The page size of templates and their versions.
pub(super) const TWO_HUNDRED: PageSize = PageSize { least: 1, most: 200, default: Some(200) };

impl Row for LaunchTemplate {
    const PREFIX: &'static str = "lt-";
    const KIND: &'static str = "launch-template";
    const NOUN: &'static str = "launch template ID";
    const NOT_FOUND: &'static str = "InvalidLaunchTemplateId.NotFound";
    const MALFORMED: &'static str = "InvalidLaunchTemplateId.Malformed";
    const IDS: &'static str = "LaunchTemplateId";
    const FILTERS: &'static [&'static str] = &["launch-template-name", "create-time"];

    row_fields!();
    fn values<'r>(&'r self, _: &'r str, _: &'r Cloud, filter: &str) -> Vec<Cow<'r, str>> {
        match filter {
            "create-time" => shown(self.created.strftime("%Y-%m-%dT%H:%M:%S.%3fZ")),
            _ => text(&self.name),
        }
    }
}

/// The id of the template that the call identifies by id or by name.
pub(super) fn named(cloud: &Cloud, call: &Call, params: &Params<'_>) -> Result<String, Fault> {
    match (params.get("LaunchTemplateId"), params.get("LaunchTemplateName")) {
        (Some(_), Some(_)) => Err(Fault::new(
            "InvalidParameterCombination",
            "Either a launch template ID or a launch template name must be specified in the request, not both",
        )),
        (Some(id), None) => find(&cloud.ec2.templates, &call.region, id).map(|_| id.to_owned()),
        (None, Some(name)) => by_name(cloud, call, name).map(|(id, _)| id.to_owned()),
        (None, None) => Err(Fault::new(
            "MissingParameter",
            "Either a launch template ID or a launch template name must be specified in the request",
        )),
    }
}

/// Refuses the name of a template which the replica that answers the call does not know yet.
pub(super) fn check_known(cloud: &Cloud, call: &Call, name: &str) -> Result<(), Fault> {
    match by_name(cloud, call, name) {
        Ok((id, template)) if !cloud.knows(Delay::Ec2Lag, id, template.created, call.now) => Err(no_name()),
        _ => Ok(()),
    }
}

fn no_name() -> Fault {
    Fault::new(
        "InvalidLaunchTemplateName.NotFoundException",
        "At least one of the launch templates specified in the request does not exist.",
    )
}

fn by_name<'w>(cloud: &'w Cloud, call: &Call, name: &str) -> Result<(&'w str, &'w LaunchTemplate), Fault> {
    let mut here = cloud.ec2.templates.iter().filter(|(_, template)| template.region == call.region);
    here.find(|(_, template)| template.name == name).ok_or_else(no_name)
}

pub(super) fn create(cloud: &mut Cloud, call: &Call) -> Result<Reply, Fault> {
    let params = call.params();
    if let Some(ids) = earlier(cloud, call, "")? {
        let known = ids.first().and_then(|id| cloud.ec2.templates.entry(id));
        return Ok(one(cloud, call, known));
    }
    let name = params.require("LaunchTemplateName")?;
    let allowed = |c: char| c.is_ascii_alphanumeric() || "().-/_".contains(c);
    let (shortest, longest) = limits::TEMPLATE_NAME;
    if !(shortest..=longest).contains(&name.len()) || !name.chars().all(allowed) {
        return Err(Fault::new(
            "InvalidLaunchTemplateName.MalformedException",
            "A launch template name must be between 3 and 128 characters, and may contain letters, numbers, and the \
             following characters: - ( ) . / _.",
        ));
    }
    if by_name(cloud, call, name).is_ok() {
        let message = "Launch template name already in use.";
        return Err(Fault::new("InvalidLaunchTemplateName.AlreadyExistsException", message));
    }
    let data = data(&params)?;
    let template = LaunchTemplate {
        region: call.region.clone(),
        created: call.now,
        name: name.to_owned(),
        default_version: 1,
        latest_version: 1,
        used_versions: 0,
        tags: tag::of_created::<LaunchTemplate>(&params)?,
    };
    let id = cloud.new_id(LaunchTemplate::PREFIX);
    let version = LaunchTemplateVersion {
        region: call.region.clone(),
        created: call.now,
        template: id.clone(),
        number: 1,
        description: version_description(&params)?,
        data,
    };
    cloud.ec2.versions.insert(version_key(&id, 1), version);
    cloud.ec2.templates.insert(id.clone(), template);
    remember(cloud, call, "", vec![id.clone()]);
    Ok(one(cloud, call, cloud.ec2.templates.entry(&id)))
}

/// The description of a version, if the call gives one.
pub(super) fn version_description(params: &Params<'_>) -> Result<Option<String>, Fault> {
    let description = params.get("VersionDescription");
    if description.is_some_and(|text| text.chars().count() > limits::VERSION_DESCRIPTION) {
        let message = "The version description exceeds the maximum length.";
        return Err(Fault::new("InvalidParameterValue", message));
    }
    Ok(description.map(str::to_owned))
}

/// The launch data of a call that creates a template or a version.
pub(super) fn data(params: &Params<'_>) -> Result<super::model::Flat, Fault> {
    let data = launch_data::read(&params.under("LaunchTemplateData"), "LaunchTemplateData.", &[])?;
    if data.is_empty() {
        return Err(Fault::new("MissingParameter", "The request must contain the parameter LaunchTemplateData"));
    }
    let stored = Params::new(&data);
    tag::specified(&stored, &["instance", "volume", "network-interface", "spot-instances-request"])?;
    Ok(data)
}

/// The ids that an earlier call with the same client token created. `zone` is that of a launch that names it: tokens of such
/// launches are compared within the zone ("Ensuring idempotency in Amazon EC2 API requests", EC2 developer guide, read November
/// 2026).
pub(super) fn earlier(cloud: &Cloud, call: &Call, zone: &str) -> Result<Option<Vec<String>>, Fault> {
    let Some(key) = token_key(call, zone)? else { return Ok(None) };
    match cloud.ec2.tokens.get(&key) {
        Some(token) if token.fingerprint == fingerprint(call) => Ok(Some(token.ids.clone())),
        // The guide says that a retry with other parameters is refused. The API reference of `RunInstances` does not.
        Some(token) if cloud.draws(&format!("other parameters {key}")) => Ok(Some(token.ids.clone())),
        Some(_) => Err(Fault::new(
            "IdempotentParameterMismatch",
            "The client token you have provided is associated with a resource that was created with different \
             parameters.",
        )),
        None => Ok(None),
    }
}

/// Stores the ids that a call with a client token created.
pub(super) fn remember(cloud: &mut Cloud, call: &Call, zone: &str, ids: Vec<String>) {
    if let Ok(Some(key)) = token_key(call, zone) {
        cloud.ec2.tokens.insert(key, Token { fingerprint: fingerprint(call), ids });
    }
}

fn token_key(call: &Call, zone: &str) -> Result<Option<String>, Fault> {
    let params = call.params();
    let Some(token) = params.get("ClientToken").filter(|token| !token.is_empty()) else { return Ok(None) };
    // `CreateLaunchTemplateVersion` documents a limit of 128; the usual one is 64.
    let (of_template, of_others) = limits::CLIENT_TOKEN;
    let most = if call.action.contains("LaunchTemplate") { of_template } else { of_others };
    if token.len() > most || !token.is_ascii() {
        let message = format!("The client token must have at most {most} ASCII characters.");
        return Err(Fault::new("InvalidParameterValue", message));
    }
    let place = if zone.is_empty() { &call.region } else { zone };
    Ok(Some(format!("{place} {} {token}", call.action)))
}

fn fingerprint(call: &Call) -> String {
    let params = call.params();
    let mut text = String::new();
    for (name, value) in params.pairs().filter(|(name, _)| !matches!(*name, "ClientToken" | "DryRun")) {
        text.extend([name, "=", value, "\n"]);
    }
    super::launch::digest(&text)
}

pub(super) fn modify(cloud: &mut Cloud, call: &Call) -> Result<Reply, Fault> {
    let params = call.params();
    let id = named(cloud, call, &params)?;
    let version: u64 = params
        .number("SetDefaultVersion")?
        .ok_or_else(|| Fault::new("MissingParameter", "The request must contain the parameter SetDefaultVersion"))?;
    if cloud.ec2.versions.get(&version_key(&id, version)).is_none() {
        return Err(super::template_version::no_version(&id, &version.to_string()));
    }
    if let Some(template) = cloud.ec2.templates.get_mut(&id) {
        template.default_version = version;
    }
    Ok(one(cloud, call, cloud.ec2.templates.entry(&id)))
}

pub(super) fn delete(cloud: &mut Cloud, call: &Call) -> Result<Reply, Fault> {
    let id = named(cloud, call, &call.params())?;
    let reply = one(cloud, call, cloud.ec2.templates.entry(&id));
    let state = &mut cloud.ec2;
    let versions: Vec<String> =
        state.versions.iter().filter(|(_, version)| version.template == id).map(|(key, _)| key.to_owned()).collect();
    for version in versions {
        state.versions.remove(&version);
    }
    state.templates.remove(&id);
    // A client token must not return a deleted template.
    let tokens: Vec<String> = state
        .tokens
        .iter()
        .filter(|(_, token)| token.ids.first() == Some(&id))
        .map(|(key, _)| key.to_owned())
        .collect();
    for token in tokens {
        state.tokens.remove(&token);
    }
    Ok(reply)
}

pub(super) fn describe(cloud: &Cloud, call: &Call) -> Result<Reply, Fault> {
    let params = call.params();
    let names = params.list("LaunchTemplateName");
    if names.is_empty() {
        let (page, next) = select::select(cloud, call, &cloud.ec2.templates, TWO_HUNDRED)?;
        return Ok(list(cloud, call, page, next));
    }
    let filters = Filters::of(&params, LaunchTemplate::FILTERS)?;
    let mut listed = Vec::new();
    for name in names {
        let (id, template) = by_name(cloud, call, name)?;
        if !cloud.knows(Delay::Ec2Lag, id, template.created, call.now) {
            return Err(no_name());
        }
        if filters.accept(known_tags(cloud, call, id, template), |filter| template.values(id, cloud, filter)) {
            listed.push((id, template));
        }
    }
    listed.sort_unstable_by_key(|(id, _)| *id);
    let (page, next) = Pager::of(&params, TWO_HUNDRED)?.page(listed.into_iter());
    Ok(list(cloud, call, page, next))
}

fn list(cloud: &Cloud, call: &Call, page: Vec<(&str, &LaunchTemplate)>, next: Option<String>) -> Reply {
    document(call, |xml| {
        xml.list("launchTemplates", "item", page, |xml, (id, template)| write(xml, cloud, id, template));
        xml.optional("nextToken", next);
    })
}

fn one(cloud: &Cloud, call: &Call, template: Option<(&str, &LaunchTemplate)>) -> Reply {
    document(call, |xml| {
        if let Some((id, template)) = template {
            xml.element("launchTemplate", |xml| write(xml, cloud, id, template));
        }
    })
}

fn write(xml: &mut Xml, cloud: &Cloud, id: &str, template: &LaunchTemplate) {
    xml.text("launchTemplateId", id)
        .text("launchTemplateName", &template.name)
        .moment("createTime", template.created)
        .text("createdBy", format!("{}:iam::{}:root", arn_of(&template.region), cloud.account))
        .plain("defaultVersionNumber", template.default_version)
        .plain("latestVersionNumber", template.latest_version);
    tag::write(xml, &template.tags);
}
