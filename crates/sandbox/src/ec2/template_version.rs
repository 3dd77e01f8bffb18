//! Versions of launch templates.

use std::borrow::Cow;

use trunnion_catalog::limits;

use super::{
    document, launch_data,
    model::{LaunchTemplate, LaunchTemplateVersion, Tags},
    select::{Filters, Pager, find, shown, text},
    template::{self, TWO_HUNDRED, named},
};
use crate::{
    call::{Call, Fault, Reply, arn_of},
    cloud::Cloud,
    durations::Delay,
    query::Params,
    xml::Xml,
};

/// How many versions one `DeleteLaunchTemplateVersions` names at most (EC2 API reference, read November 2026).
const MOST_DELETED: usize = 200;

const FILTERS: &[&str] = &["is-default-version", "image-id", "instance-type", "ebs-optimized", "iam-instance-profile"];

/// The key of a version; keys are sorted by number.
pub(super) fn version_key(template: &str, number: u64) -> String {
    format!("{template}/{number:06}")
}

/// The version of a template: `$Latest`, `$Default` (also without a value) or a number.
pub(super) fn version<'w>(
    cloud: &'w Cloud,
    call: &Call,
    template: &str,
    wanted: Option<&str>,
) -> Result<&'w LaunchTemplateVersion, Fault> {
    let row = find(&cloud.ec2.templates, &call.region, template)?;
    let wanted = wanted.unwrap_or("$Default");
    let number = number(row, wanted)?;
    cloud.ec2.versions.get(&version_key(template, number)).ok_or_else(|| no_version(template, wanted))
}

fn number(template: &LaunchTemplate, wanted: &str) -> Result<u64, Fault> {
    match wanted {
        "$Latest" => Ok(template.latest_version),
        "$Default" => Ok(template.default_version),
        wanted => wanted.parse().map_err(|_| {
            Fault::new(
                "InvalidLaunchTemplateId.VersionNotFound",
                format!("Could not find launch template version {wanted}"),
            )
        }),
    }
}

pub(super) fn no_version(template: &str, version: &str) -> Fault {
    Fault::new(
        "InvalidLaunchTemplateId.VersionNotFound",
        format!("Could not find the specified version {version} for the launch template with ID {template}."),
    )
}

pub(super) fn create(cloud: &mut Cloud, call: &Call) -> Result<Reply, Fault> {
    let params = call.params();
    if let Some(keys) = template::earlier(cloud, call, "")? {
        let known = keys.get(1).and_then(|key| cloud.ec2.versions.get(key));
        return Ok(one(cloud, call, known));
    }
    let id = named(cloud, call, &params)?;
    if !params.items("TagSpecification").is_empty() {
        let message = "The parameter TagSpecification is not recognized";
        return Err(Fault::new("UnknownParameter", message));
    }
    let over = template::data(&params)?;
    let description = template::version_description(&params)?;
    let data = match params.get("SourceVersion") {
        Some(source) => launch_data::merge(&version(cloud, call, &id, Some(source))?.data, &over),
        None => over,
    };
    let Some(template) = cloud.ec2.templates.get_mut(&id) else { return Err(no_version(&id, "$Latest")) };
    let used = template.latest_version.max(template.used_versions);
    if used >= limits::TEMPLATE_VERSIONS {
        let message = "You have reached the quota of versions of a launch template.";
        return Err(Fault::new("VersionLimitExceeded", message));
    }
    template.latest_version = used + 1;
    let number = template.latest_version;
    let row = LaunchTemplateVersion {
        region: call.region.clone(),
        created: call.now,
        template: id.clone(),
        number,
        description,
        data,
    };
    let key = version_key(&id, number);
    cloud.ec2.versions.insert(key.clone(), row);
    template::remember(cloud, call, "", vec![id, key.clone()]);
    Ok(one(cloud, call, cloud.ec2.versions.get(&key)))
}

/// The default version stays. A version that does not exist is an item of the answer, and no error.
pub(super) fn delete(cloud: &mut Cloud, call: &Call) -> Result<Reply, Fault> {
    let params = call.params();
    let id = named(cloud, call, &params)?;
    let wanted = params.list("LaunchTemplateVersion");
    if wanted.is_empty() || wanted.len() > MOST_DELETED {
        let message = format!("The request must name between 1 and {MOST_DELETED} versions of the launch template");
        return Err(Fault::new("InvalidParameterValue", message));
    }
    let template = find(&cloud.ec2.templates, &call.region, &id)?.clone();
    let (mut deleted, mut failed) = (Vec::new(), Vec::new());
    for wanted in wanted {
        let number = number(&template, wanted)?;
        if number == template.default_version {
            let message = format!("The default version ({number}) of the launch template cannot be deleted.");
            failed.push((number, "unexpectedError", message));
        } else if cloud.ec2.versions.remove(&version_key(&id, number)).is_some() {
            deleted.push(number);
        } else {
            failed.push((number, "launchTemplateVersionDoesNotExist", no_version(&id, wanted).message));
        }
    }
    let left = cloud.ec2.versions.values().filter(|version| version.template == id).map(|version| version.number);
    let latest = left.max().unwrap_or(template.latest_version);
    if let Some(row) = cloud.ec2.templates.get_mut(&id) {
        row.used_versions = row.used_versions.max(row.latest_version);
        row.latest_version = latest;
    }
    Ok(document(call, |xml| {
        let write = |xml: &mut Xml, number: u64| {
            xml.text("launchTemplateId", &id).text("launchTemplateName", &template.name).plain("versionNumber", number);
        };
        xml.list("successfullyDeletedLaunchTemplateVersionSet", "item", deleted, write);
        xml.list("unsuccessfullyDeletedLaunchTemplateVersionSet", "item", failed, |xml, (number, code, message)| {
            write(xml, number);
            xml.element("responseError", |xml| {
                xml.text("code", code).text("message", message);
            });
        });
    }))
}

fn one(cloud: &Cloud, call: &Call, version: Option<&LaunchTemplateVersion>) -> Reply {
    document(call, |xml| {
        if let Some(version) = version {
            xml.element("launchTemplateVersion", |xml| write(xml, cloud, version));
        }
    })
}

/// For one template, all versions or the given ones; for all templates, only `$Latest` and `$Default`.
pub(super) fn describe(cloud: &Cloud, call: &Call) -> Result<Reply, Fault> {
    let params = call.params();
    let filters = Filters::of(&params, FILTERS)?;
    let pager = Pager::of(&params, TWO_HUNDRED)?;
    let wanted = params.list("LaunchTemplateVersion");
    let listed = if params.has("LaunchTemplateId") || params.has("LaunchTemplateName") {
        of_one(cloud, call, &params, &wanted)?
    } else {
        if wanted.is_empty() || wanted.iter().any(|wanted| !matches!(*wanted, "$Latest" | "$Default")) {
            return Err(Fault::new(
                "InvalidParameterCombination",
                "Without a launch template the versions can be $Latest and $Default only",
            ));
        }
        cloud
            .ec2
            .versions
            .iter()
            .filter(|(_, version)| version.region == call.region)
            .filter(|(_, version)| {
                let numbers = |template: &LaunchTemplate| {
                    wanted.iter().any(|wanted| number(template, wanted).is_ok_and(|number| number == version.number))
                };
                cloud.ec2.templates.get(&version.template).is_some_and(numbers)
            })
            .collect()
    };
    let passing = listed.into_iter().filter(|(key, version)| {
        cloud.knows(Delay::Ec2Lag, key, version.created, call.now)
            && filters.accept(&Tags::new(), |filter| values(cloud, version, filter))
    });
    let (page, next) = pager.page(passing);
    Ok(document(call, |xml| {
        xml.list("launchTemplateVersionSet", "item", page, |xml, (_, version)| write(xml, cloud, version));
        xml.optional("nextToken", next);
    }))
}

type Listed<'w> = Vec<(&'w str, &'w LaunchTemplateVersion)>;

fn of_one<'w>(cloud: &'w Cloud, call: &Call, params: &Params<'_>, wanted: &[&str]) -> Result<Listed<'w>, Fault> {
    let id = named(cloud, call, params)?;
    let (least, most): (Option<u64>, Option<u64>) = (params.number("MinVersion")?, params.number("MaxVersion")?);
    if wanted.is_empty() {
        let all = cloud.ec2.versions.iter().filter(|(_, version)| version.template == id);
        return Ok(all
            .filter(|(_, version)| least.is_none_or(|least| version.number >= least))
            .filter(|(_, version)| most.is_none_or(|most| version.number <= most))
            .collect());
    }
    let mut listed = Listed::new();
    for wanted in wanted {
        let version = version(cloud, call, &id, Some(wanted))?;
        let key = version_key(&id, version.number);
        listed.extend(cloud.ec2.versions.entry(&key));
    }
    listed.sort_unstable_by_key(|(key, _)| *key);
    listed.dedup_by_key(|(key, _)| *key);
    Ok(listed)
}

fn is_default(cloud: &Cloud, version: &LaunchTemplateVersion) -> bool {
    cloud.ec2.templates.get(&version.template).is_some_and(|template| template.default_version == version.number)
}

fn values<'w>(cloud: &Cloud, version: &'w LaunchTemplateVersion, filter: &str) -> Vec<Cow<'w, str>> {
    let member = |wanted: &str| {
        let found = version.data.iter().find(|(name, _)| name == wanted);
        found.map_or_else(Vec::new, |(_, value)| text(value))
    };
    match filter {
        "is-default-version" => shown(is_default(cloud, version)),
        "image-id" => member("ImageId"),
        "instance-type" => member("InstanceType"),
        "ebs-optimized" => member("EbsOptimized"),
        _ => member("IamInstanceProfile.Arn"),
    }
}

fn write(xml: &mut Xml, cloud: &Cloud, version: &LaunchTemplateVersion) {
    let name = cloud.ec2.templates.get(&version.template).map(|template| template.name.as_str());
    xml.text("launchTemplateId", &version.template)
        .optional("launchTemplateName", name)
        .plain("versionNumber", version.number)
        .optional("versionDescription", version.description.as_ref())
        .moment("createTime", version.created)
        .text("createdBy", format!("{}:iam::{}:root", arn_of(&version.region), cloud.account))
        .plain("defaultVersion", is_default(cloud, version));
    launch_data::write(xml, &version.data);
}
