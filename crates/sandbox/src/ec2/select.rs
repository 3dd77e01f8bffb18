//! The common part of Describe calls: ids, filters, visibility and pages.

use std::borrow::Cow;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::Timestamp;

use super::model::Tags;
use crate::{
    call::{Call, Fault},
    cloud::Cloud,
    durations::Delay,
    query::Params,
    table::Table,
};

/// A resource for Describe calls.
pub(super) trait Row: Clone {
    /// The prefix of its ids, such as `vpc-`.
    const PREFIX: &'static str;
    /// Its type in tag specifications and `DescribeTags`.
    const KIND: &'static str;
    /// The name of its id in AWS's messages.
    const NOUN: &'static str;
    /// The error code for unknown ids.
    const NOT_FOUND: &'static str;
    /// The error code for ids with a wrong format.
    const MALFORMED: &'static str;
    /// The parameter that lists ids.
    const IDS: &'static str;
    /// The filters it supports besides those for tags.
    const FILTERS: &'static [&'static str];

    /// The region it belongs to.
    fn region(&self) -> &str;
    /// When it was created.
    fn created(&self) -> Timestamp;
    /// Its tags.
    fn tags(&self) -> &Tags;
    /// Its tags, for changes.
    fn tags_mut(&mut self) -> &mut Tags;
    /// Its values for one of its filters.
    fn values<'r>(&'r self, id: &'r str, cloud: &'r Cloud, filter: &str) -> Vec<Cow<'r, str>>;
}

/// Implements the accessors of the fields `region`, `created` and `tags`.
macro_rules! row_fields {
    () => {
        fn region(&self) -> &str {
            &self.region
        }
        fn created(&self) -> ::jiff::Timestamp {
            self.created
        }
        fn tags(&self) -> &$crate::ec2::model::Tags {
            &self.tags
        }
        fn tags_mut(&mut self) -> &mut $crate::ec2::model::Tags {
            &mut self.tags
        }
    };
}
pub(super) use row_fields;

/// The row with this id in the call's region.
pub(super) fn find<'t, T: Row>(table: &'t Table<T>, region: &str, id: &str) -> Result<&'t T, Fault> {
    well_formed::<T>(id)?;
    table.get(id).filter(|row| row.region() == region).ok_or_else(|| not_found::<T>(&[id]))
}

/// The row with this id in the call's region, for changes.
pub(super) fn find_mut<'t, T: Row>(table: &'t mut Table<T>, region: &str, id: &str) -> Result<&'t mut T, Fault> {
    find(table, region, id)?;
    table.get_mut(id).ok_or_else(|| not_found::<T>(&[id]))
}

fn well_formed<T: Row>(id: &str) -> Result<(), Fault> {
    let digits = id.strip_prefix(T::PREFIX);
    if digits
        .is_some_and(|digits| matches!(digits.len(), 8 | 17) && digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
    {
        return Ok(());
    }
    Err(Fault::new(T::MALFORMED, format!("Invalid id: \"{id}\" (expecting \"{}...\")", T::PREFIX)))
}

/// The error for ids that do not exist.
pub(super) fn not_found<T: Row>(ids: &[&str]) -> Fault {
    let (plural, verb) = if ids.len() > 1 { ("s", "do") } else { ("", "does") };
    Fault::new(T::NOT_FOUND, format!("The {}{plural} '{}' {verb} not exist", T::NOUN, ids.join(", ")))
}

/// The filters of a call.
#[derive(Debug)]
pub(super) struct Filters<'c> {
    filters: Vec<(&'c str, Vec<&'c str>)>,
}

impl<'c> Filters<'c> {
    /// Reads `Filter.N`; only the filters in `known` and those for tags are accepted.
    pub(super) fn of(params: &Params<'c>, known: &[&str]) -> Result<Self, Fault> {
        let mut filters = Vec::new();
        for filter in params.items("Filter") {
            let name = filter.require("Name")?;
            if !known.contains(&name) && !name.starts_with("tag:") && name != "tag-key" {
                return Err(Fault::new("InvalidParameterValue", format!("The filter '{name}' is invalid")));
            }
            let values = filter.list("Value");
            if values.len() > 200 {
                return Err(Fault::new("FilterLimitExceeded", "The maximum number of filter values is 200"));
            }
            filters.push((name, values));
        }
        Ok(Self { filters })
    }

    /// Whether a resource with these tags matches; `values` returns its values for the other filters.
    pub(super) fn accept<'r>(&self, tags: &Tags, values: impl Fn(&str) -> Vec<Cow<'r, str>>) -> bool {
        self.filters.iter().all(|(name, wanted)| {
            let wants = |value: &str| wanted.iter().any(|pattern| matches(pattern.as_bytes(), value.as_bytes()));
            if let Some(key) = name.strip_prefix("tag:") {
                tags.get(key).is_some_and(|value| wants(value))
            } else if *name == "tag-key" {
                tags.keys().any(|key| wants(key))
            } else {
                values(name).iter().any(|value| wants(value))
            }
        })
    }
}

/// AWS's patterns: `*` is any text, `?` any single character, `\` makes the next character literal.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    match pattern {
        [] => text.is_empty(),
        [b'*', rest @ ..] => (0..=text.len()).any(|skip| text.get(skip..).is_some_and(|text| matches(rest, text))),
        [b'?', rest @ ..] => text.split_first().is_some_and(|(_, text)| matches(rest, text)),
        [b'\\', literal, rest @ ..] | [literal, rest @ ..] => {
            text.split_first().is_some_and(|(first, text)| first == literal && matches(rest, text))
        }
    }
}

/// How many items a page has.
#[derive(Debug, Clone, Copy)]
pub(super) struct PageSize {
    pub(super) least: usize,
    pub(super) most: usize,
    /// The page size without `MaxResults`; `None` for a single page with everything.
    pub(super) default: Option<usize>,
}

/// The page size of most calls.
pub(super) const THOUSAND: PageSize = PageSize { least: 5, most: 1000, default: None };

/// `MaxResults` and `NextToken` of a call.
#[derive(Debug)]
pub(super) struct Pager {
    size: usize,
    after: Option<String>,
}

impl Pager {
    /// Reads both parameters.
    pub(super) fn of(params: &Params<'_>, size: PageSize) -> Result<Self, Fault> {
        let asked: Option<usize> = params.number("MaxResults")?;
        if let Some(asked) = asked
            && !(size.least..=size.most).contains(&asked)
        {
            return Err(Fault::new(
                "InvalidParameterValue",
                format!(
                    "Value ( {asked} ) for parameter maxResults is invalid. Expecting a value between {} and {}.",
                    size.least, size.most
                ),
            ));
        }
        let after = params.get("NextToken").filter(|token| !token.is_empty()).map(|token| {
            let bytes = URL_SAFE_NO_PAD.decode(token).ok();
            bytes
                .and_then(|bytes| String::from_utf8(bytes).ok())
                .ok_or_else(|| Fault::new("InvalidNextToken", "The token is invalid or has expired."))
        });
        Ok(Self { size: asked.or(size.default).unwrap_or(usize::MAX), after: after.transpose()? })
    }

    /// The items on this page, and the token of the next page. `items` are sorted by their keys.
    pub(super) fn page<'k, T>(&self, items: impl Iterator<Item = (&'k str, T)>) -> (Vec<(&'k str, T)>, Option<String>) {
        let after = self.after.as_deref();
        let mut items = items.skip_while(|(key, _)| after.is_some_and(|after| *key <= after));
        let page: Vec<(&'k str, T)> = items.by_ref().take(self.size).collect();
        let next = match page.last() {
            Some((key, _)) if items.next().is_some() => Some(URL_SAFE_NO_PAD.encode(key)),
            _ => None,
        };
        (page, next)
    }
}

/// The rows of a page and the token of the next page.
pub(super) type Page<'t, T> = (Vec<(&'t str, &'t T)>, Option<String>);

/// The rows of a Describe call: those of its region that are visible, have one of its ids if it has ids, and match its
/// filters.
pub(super) fn select<'t, T: Row>(
    cloud: &'t Cloud,
    call: &Call,
    table: &'t Table<T>,
    size: PageSize,
) -> Result<Page<'t, T>, Fault> {
    let params = call.params();
    let filters = Filters::of(&params, T::FILTERS)?;
    let pager = Pager::of(&params, size)?;
    let mut ids = params.list(T::IDS);
    if !ids.is_empty() && params.get("MaxResults").is_some() && T::KIND == "instance" {
        return Err(Fault::new(
            "InvalidParameterCombination",
            "The parameter instancesSet cannot be used with the parameter maxResults",
        ));
    }
    let is_here =
        |id: &str, row: &T| row.region() == call.region && cloud.knows(Delay::Ec2Lag, id, row.created(), call.now);
    let passes = |id: &'t str, row: &'t T| {
        is_here(id, row) && filters.accept(known_tags(cloud, call, id, row), |filter| row.values(id, cloud, filter))
    };
    if ids.is_empty() {
        return Ok(pager.page(table.iter().filter(|(id, row)| passes(id, row))));
    }
    for id in &ids {
        well_formed::<T>(id)?;
    }
    let missing: Vec<&str> =
        ids.iter().copied().filter(|id| !table.get(id).is_some_and(|row| is_here(id, row))).collect();
    if !missing.is_empty() {
        return Err(not_found::<T>(&missing));
    }
    ids.sort_unstable();
    ids.dedup();
    let named = ids.into_iter().filter_map(|id| table.entry(id)).filter(|(id, row)| passes(id, row));
    Ok(pager.page(named))
}

/// The tags of a row as filters know them: later than the row itself.
pub(super) fn known_tags<'t, T: Row>(cloud: &Cloud, call: &Call, id: &str, row: &'t T) -> &'t Tags {
    static NONE: Tags = Tags::new();
    let lag = cloud.clock().takes(Delay::Ec2TagLag);
    let since = row.created();
    // The tags start on their way once the replica knows the row.
    let is_known = !cloud.is_strict()
        || since > call.now
        || call.now.checked_sub(lag).is_ok_and(|then| then >= since && cloud.knows(Delay::Ec2Lag, id, since, then));
    if is_known { row.tags() } else { &NONE }
}

/// A filter value that is stored as text.
pub(super) fn text(value: &str) -> Vec<Cow<'_, str>> {
    vec![Cow::Borrowed(value)]
}

/// A filter value that is computed.
#[expect(clippy::needless_pass_by_value, reason = "callers pass numbers and short texts they made for this")]
pub(super) fn shown<'r>(value: impl ToString) -> Vec<Cow<'r, str>> {
    vec![Cow::Owned(value.to_string())]
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn patterns_match_as_at_aws() {
        for (pattern, value, expected) in [
            ("al2023-*-x86_64", "al2023-ami-x86_64", true),
            ("al2023-*", "al2022-ami", false),
            ("i-?", "i-1", true),
            ("a\\*", "a*", true),
            ("a\\*", "ab", false),
        ] {
            assert_eq!(matches(pattern.as_bytes(), value.as_bytes()), expected, "{pattern} {value}");
        }
    }
}
