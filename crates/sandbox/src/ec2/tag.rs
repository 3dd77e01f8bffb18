//! Tags: set by create calls, changed on existing resources, and listed.

use std::{borrow::Cow, collections::BTreeMap};

use trunnion_catalog::limits;

use super::{
    State, document, done,
    model::Tags,
    select::{Filters, PageSize, Pager, Row, find_mut, known_tags, not_found},
};
use crate::{
    call::{Call, Fault, Reply},
    cloud::Cloud,
    durations::Delay,
    query::Params,
    table::Table,
    xml::Xml,
};

/// Writes a `tagSet`.
pub(super) fn write(xml: &mut Xml, tags: &Tags) {
    xml.list("tagSet", "item", tags, |xml, (key, value)| {
        xml.text("key", key).text("value", value);
    });
}

/// The tags of each resource type in `TagSpecification.N`; only the types in `taggable` are accepted.
pub(super) fn specified(params: &Params<'_>, taggable: &[&str]) -> Result<BTreeMap<String, Tags>, Fault> {
    let mut by_type: BTreeMap<String, Tags> = BTreeMap::new();
    for specification in params.items("TagSpecification") {
        let resource_type = specification.require("ResourceType")?;
        if !taggable.contains(&resource_type) {
            return Err(Fault::new(
                "InvalidParameterValue",
                format!("'{resource_type}' is not a valid taggable resource type for this operation."),
            ));
        }
        let tags = by_type.entry(resource_type.to_owned()).or_default();
        for (key, value) in pairs(&specification)? {
            if tags.insert(key.to_owned(), value.to_owned()).is_some() {
                return Err(Fault::new("InvalidParameterValue", format!("Duplicate tag key '{key}' specified.")));
            }
        }
        check_count(tags)?;
    }
    Ok(by_type)
}

/// The tags that a create call sets on the resource it creates.
pub(super) fn of_created<T: Row>(params: &Params<'_>) -> Result<Tags, Fault> {
    Ok(specified(params, &[T::KIND])?.remove(T::KIND).unwrap_or_default())
}

fn pairs<'a>(params: &Params<'a>) -> Result<Vec<(&'a str, &'a str)>, Fault> {
    let invalid = |message: String| Err(Fault::new("InvalidParameterValue", message));
    let mut pairs = Vec::new();
    for tag in params.items("Tag") {
        let (key, value) = (tag.require("Key")?, tag.get("Value").unwrap_or_default());
        if limits::is_tag_of_aws(key) {
            return invalid("Tag keys starting with 'aws:' are reserved for internal use".to_owned());
        }
        if key.chars().count() > limits::LONGEST_TAG_KEY {
            return invalid(format!("Tag key exceeds the maximum length of 128 characters: {key}"));
        }
        if value.chars().count() > limits::LONGEST_TAG_VALUE {
            return invalid(format!("Tag value exceeds the maximum length of 256 characters: {value}"));
        }
        pairs.push((key, value));
    }
    Ok(pairs)
}

fn check_count(tags: &Tags) -> Result<(), Fault> {
    if tags.len() > limits::MOST_TAGS {
        return Err(Fault::new("TagLimitExceeded", "The maximum number of Tags for a resource has been reached."));
    }
    Ok(())
}

/// A table of resources with tags, accessed by id.
trait Taggable {
    fn prefix(&self) -> &'static str;
    fn tags_of(&mut self, id: &str, region: &str) -> Result<&mut Tags, Fault>;
    /// The error if the replica that answers the call does not know this resource yet.
    fn check_known(&self, cloud: &Cloud, call: &Call, id: &str) -> Result<(), Fault>;
    fn all<'t>(&'t self, cloud: &Cloud, call: &Call, into: &mut Vec<(&'static str, &'t str, &'t Tags)>);
}

impl<T: Row> Taggable for Table<T> {
    fn prefix(&self) -> &'static str {
        T::PREFIX
    }

    fn tags_of(&mut self, id: &str, region: &str) -> Result<&mut Tags, Fault> {
        find_mut(self, region, id).map(T::tags_mut)
    }

    fn check_known(&self, cloud: &Cloud, call: &Call, id: &str) -> Result<(), Fault> {
        match self.get(id) {
            Some(row) if !cloud.knows(Delay::Ec2Lag, id, row.created(), call.now) => Err(not_found::<T>(&[id])),
            _ => Ok(()),
        }
    }

    fn all<'t>(&'t self, cloud: &Cloud, call: &Call, into: &mut Vec<(&'static str, &'t str, &'t Tags)>) {
        let rows = self.iter().filter(|(_, row)| row.region() == call.region);
        let known = rows.filter(|(id, row)| cloud.knows(Delay::Ec2Lag, id, row.created(), call.now));
        into.extend(known.map(|(id, row)| (T::KIND, id, known_tags(cloud, call, id, row))));
    }
}

fn tables(state: &State) -> [&dyn Taggable; 15] {
    [
        &state.vpcs,
        &state.subnets,
        &state.route_tables,
        &state.internet_gateways,
        &state.nat_gateways,
        &state.groups,
        &state.rules,
        &state.templates,
        &state.instances,
        &state.interfaces,
        &state.volumes,
        &state.elastic_ips,
        &state.images,
        &state.dhcp_options,
        &state.spot_requests,
    ]
}

/// The prefixes of the ids of all resources that can be tagged.
#[cfg(test)]
pub(super) fn prefixes() -> Vec<&'static str> {
    tables(&State::default()).iter().map(|table| table.prefix()).collect()
}

fn tables_mut(state: &mut State) -> [&mut dyn Taggable; 15] {
    [
        &mut state.vpcs,
        &mut state.subnets,
        &mut state.route_tables,
        &mut state.internet_gateways,
        &mut state.nat_gateways,
        &mut state.groups,
        &mut state.rules,
        &mut state.templates,
        &mut state.instances,
        &mut state.interfaces,
        &mut state.volumes,
        &mut state.elastic_ips,
        &mut state.images,
        &mut state.dhcp_options,
        &mut state.spot_requests,
    ]
}

fn tags_of<'s>(state: &'s mut State, id: &str, region: &str) -> Result<&'s mut Tags, Fault> {
    let table = tables_mut(state).into_iter().find(|table| id.starts_with(table.prefix()));
    let Some(table) = table else {
        return Err(Fault::new("InvalidID", format!("The ID '{id}' is not valid")));
    };
    table.tags_of(id, region)
}

/// Refuses a call that names a resource which the replica that answers it does not know yet.
pub(super) fn check_known(cloud: &Cloud, call: &Call) -> Result<(), Fault> {
    let params = call.params();
    let tables = tables(&cloud.ec2);
    // What people write is no id: values of tags and descriptions.
    let is_text = |name: &str| name.starts_with("Tag.") || name.contains(".Tag.") || name.ends_with("Description");
    for (name, value) in params.pairs().filter(|(name, _)| !is_text(name)) {
        if let Some(table) = tables.iter().find(|table| value.starts_with(table.prefix())) {
            table.check_known(cloud, call, value)?;
        }
        if name.ends_with("LaunchTemplateName") && call.action != "CreateLaunchTemplate" {
            super::template::check_known(cloud, call, value)?;
        }
    }
    Ok(())
}

/// ARNs and tags of the resources of a region that have tags.
pub(crate) fn tagged(cloud: &Cloud, call: &Call) -> Vec<(String, Tags)> {
    let mut resources = Vec::new();
    for table in tables(&cloud.ec2) {
        table.all(cloud, call, &mut resources);
    }
    let prefix = format!("{}:ec2:{}:{}", call.arn(), call.region, cloud.account);
    let own = resources.into_iter().filter(|(_, _, tags)| !tags.is_empty());
    own.map(|(kind, id, tags)| (format!("{prefix}:{kind}/{id}"), tags.clone())).collect()
}

pub(super) fn create(cloud: &mut Cloud, call: &Call) -> Result<Reply, Fault> {
    let params = call.params();
    let (ids, pairs) = (ids(&params)?, pairs(&params)?);
    if pairs.is_empty() {
        return Err(Fault::new("MissingParameter", "The request must contain the parameter Tag"));
    }
    for id in &ids {
        let mut tags = tags_of(&mut cloud.ec2, id, &call.region)?.clone();
        tags.extend(pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
        check_count(&tags)?;
    }
    for id in ids {
        let tags = tags_of(&mut cloud.ec2, id, &call.region)?;
        tags.extend(pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
    }
    Ok(done(call))
}

/// A tag with a value is deleted only if it has that value; a call without tags deletes all of them.
pub(super) fn delete(cloud: &mut Cloud, call: &Call) -> Result<Reply, Fault> {
    let params = call.params();
    let ids = ids(&params)?;
    let doomed = params.items("Tag");
    for id in &ids {
        tags_of(&mut cloud.ec2, id, &call.region)?;
    }
    for id in ids {
        let tags = tags_of(&mut cloud.ec2, id, &call.region)?;
        if doomed.is_empty() {
            tags.clear();
        }
        for tag in &doomed {
            let key = tag.require("Key")?;
            if tag.get("Value").is_none_or(|value| tags.get(key).is_some_and(|have| have == value)) {
                tags.remove(key);
            }
        }
    }
    Ok(done(call))
}

fn ids<'a>(params: &Params<'a>) -> Result<Vec<&'a str>, Fault> {
    let ids = params.list("ResourceId");
    if ids.is_empty() {
        return Err(Fault::new("MissingParameter", "The request must contain the parameter resourceIdSet"));
    }
    Ok(ids)
}

pub(super) fn describe(cloud: &Cloud, call: &Call) -> Result<Reply, Fault> {
    let params = call.params();
    let filters = Filters::of(&params, &["key", "value", "resource-id", "resource-type"])?;
    let pager = Pager::of(&params, PageSize { least: 5, most: 1000, default: Some(1000) })?;
    let mut resources = Vec::new();
    for table in tables(&cloud.ec2) {
        table.all(cloud, call, &mut resources);
    }
    let mut rows = Vec::new();
    for (kind, id, tags) in &resources {
        for (key, value) in *tags {
            let one = Tags::from([(key.clone(), value.clone())]);
            let accepted = filters.accept(&one, |filter| {
                vec![Cow::Borrowed(match filter {
                    "key" => key.as_str(),
                    "value" => value.as_str(),
                    "resource-id" => id,
                    _ => kind,
                })]
            });
            if accepted {
                rows.push((format!("{id} {key}"), (*kind, *id, key, value)));
            }
        }
    }
    rows.sort_unstable();
    let (page, next) = pager.page(rows.iter().map(|(key, row)| (key.as_str(), row)));
    Ok(document(call, |xml| {
        xml.list("tagSet", "item", page, |xml, (_, (kind, id, key, value))| {
            xml.text("resourceId", id).text("resourceType", kind).text("key", key).text("value", value);
        });
        xml.optional("nextToken", next);
    }))
}
