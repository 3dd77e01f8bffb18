//! Versions of launch templates.

use std::borrow::Cow;

use super::{
    document, launch_data,
    model::{LaunchTemplate, LaunchTemplateVersion, Tags},
    select::{Filters, Pager, find, shown, text},
    template::{self, TWO_HUNDRED, named},
};
use crate::{
    call::{Call, Fault, Reply, arn_of},
    query::Params,
    world::World,
    xml::Xml,
};

/// AWS's quota for each template.
const MOST_VERSIONS: u64 = 10_000;

const FILTERS: &[&str] = &["is-default-version", "image-id", "instance-type", "ebs-optimized", "iam-instance-profile"];

/// The key of a version; keys are sorted by number.
pub(super) fn version_key(template: &str, number: u64) -> String {
    format!("{template}/{number:06}")
}

/// The version of a template: `$Latest`, `$Default` (also without a value) or a number.
pub(super) fn version<'w>(
    world: &'w World,
    call: &Call,
    template: &str,
    wanted: Option<&str>,
) -> Result<&'w LaunchTemplateVersion, Fault> {
    let row = find(&world.ec2.templates, &call.region, template)?;
    let wanted = wanted.unwrap_or("$Default");
    let number = number(row, wanted)?;
    world.ec2.versions.get(&version_key(template, number)).ok_or_else(|| no_version(template, wanted))
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

pub(super) fn create(world: &mut World, call: &Call) -> Result<Reply, Fault> {
    let params = call.params();
    if let Some(keys) = template::earlier(world, call)? {
        let known = keys.get(1).and_then(|key| world.ec2.versions.get(key));
        return Ok(one(world, call, known));
    }
    let id = named(world, call, &params)?;
    if !params.items("TagSpecification").is_empty() {
        let message = "The parameter TagSpecification is not recognized";
        return Err(Fault::new("UnknownParameter", message));
    }
    let over = template::data(&params)?;
    let data = match params.get("SourceVersion") {
        Some(source) => launch_data::merge(&version(world, call, &id, Some(source))?.data, &over),
        None => over,
    };
    let Some(template) = world.ec2.templates.get_mut(&id) else { return Err(no_version(&id, "$Latest")) };
    if template.latest_version >= MOST_VERSIONS {
        let message = "You have reached the quota of versions of a launch template.";
        return Err(Fault::new("VersionLimitExceeded", message));
    }
    template.latest_version += 1;
    let number = template.latest_version;
    let row = LaunchTemplateVersion {
        region: call.region.clone(),
        created: call.now,
        template: id.clone(),
        number,
        description: params.get("VersionDescription").map(str::to_owned),
        data,
    };
    let key = version_key(&id, number);
    world.ec2.versions.insert(key.clone(), row);
    template::remember(world, call, vec![id, key.clone()]);
    Ok(one(world, call, world.ec2.versions.get(&key)))
}

fn one(world: &World, call: &Call, version: Option<&LaunchTemplateVersion>) -> Reply {
    document(call, |xml| {
        if let Some(version) = version {
            xml.element("launchTemplateVersion", |xml| write(xml, world, version));
        }
    })
}

/// For one template, all versions or the given ones; for all templates, only `$Latest` and `$Default`.
pub(super) fn describe(world: &World, call: &Call) -> Result<Reply, Fault> {
    let params = call.params();
    let filters = Filters::of(&params, FILTERS)?;
    let pager = Pager::of(&params, TWO_HUNDRED)?;
    let wanted = params.list("LaunchTemplateVersion");
    let listed = if params.has("LaunchTemplateId") || params.has("LaunchTemplateName") {
        of_one(world, call, &params, &wanted)?
    } else {
        if wanted.is_empty() || wanted.iter().any(|wanted| !matches!(*wanted, "$Latest" | "$Default")) {
            return Err(Fault::new(
                "InvalidParameterCombination",
                "Without a launch template the versions can be $Latest and $Default only",
            ));
        }
        world
            .ec2
            .versions
            .iter()
            .filter(|(_, version)| version.region == call.region)
            .filter(|(_, version)| {
                let numbers = |template: &LaunchTemplate| {
                    wanted.iter().any(|wanted| number(template, wanted).is_ok_and(|number| number == version.number))
                };
                world.ec2.templates.get(&version.template).is_some_and(numbers)
            })
            .collect()
    };
    let passing = listed.into_iter().filter(|(_, version)| {
        world.visible(version.created, call.now)
            && filters.accept(&Tags::new(), |filter| values(world, version, filter))
    });
    let (page, next) = pager.page(passing);
    Ok(document(call, |xml| {
        xml.list("launchTemplateVersionSet", "item", page, |xml, (_, version)| write(xml, world, version));
        xml.optional("nextToken", next);
    }))
}

type Listed<'w> = Vec<(&'w str, &'w LaunchTemplateVersion)>;

fn of_one<'w>(world: &'w World, call: &Call, params: &Params<'_>, wanted: &[&str]) -> Result<Listed<'w>, Fault> {
    let id = named(world, call, params)?;
    let (least, most): (Option<u64>, Option<u64>) = (params.number("MinVersion")?, params.number("MaxVersion")?);
    if wanted.is_empty() {
        let all = world.ec2.versions.iter().filter(|(_, version)| version.template == id);
        return Ok(all
            .filter(|(_, version)| least.is_none_or(|least| version.number >= least))
            .filter(|(_, version)| most.is_none_or(|most| version.number <= most))
            .collect());
    }
    let mut listed = Listed::new();
    for wanted in wanted {
        let version = version(world, call, &id, Some(wanted))?;
        let key = version_key(&id, version.number);
        listed.extend(world.ec2.versions.entry(&key));
    }
    listed.sort_unstable_by_key(|(key, _)| *key);
    listed.dedup_by_key(|(key, _)| *key);
    Ok(listed)
}

fn is_default(world: &World, version: &LaunchTemplateVersion) -> bool {
    world.ec2.templates.get(&version.template).is_some_and(|template| template.default_version == version.number)
}

fn values<'w>(world: &World, version: &'w LaunchTemplateVersion, filter: &str) -> Vec<Cow<'w, str>> {
    let member = |wanted: &str| {
        let found = version.data.iter().find(|(name, _)| name == wanted);
        found.map_or_else(Vec::new, |(_, value)| text(value))
    };
    match filter {
        "is-default-version" => shown(is_default(world, version)),
        "image-id" => member("ImageId"),
        "instance-type" => member("InstanceType"),
        "ebs-optimized" => member("EbsOptimized"),
        _ => member("IamInstanceProfile.Arn"),
    }
}

fn write(xml: &mut Xml, world: &World, version: &LaunchTemplateVersion) {
    let name = world.ec2.templates.get(&version.template).map(|template| template.name.as_str());
    xml.text("launchTemplateId", &version.template)
        .optional("launchTemplateName", name)
        .plain("versionNumber", version.number)
        .optional("versionDescription", version.description.as_ref())
        .moment("createTime", version.created)
        .text("createdBy", format!("{}:iam::{}:root", arn_of(&version.region), world.account))
        .plain("defaultVersion", is_default(world, version));
    launch_data::write(xml, &version.data);
}
