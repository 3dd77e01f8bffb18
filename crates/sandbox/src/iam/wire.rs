//! The query protocol of IAM and STS: form parameters in requests, XML documents in answers.

use std::{collections::BTreeSet, fmt::Write};

use quick_xml::{
    Writer,
    events::{BytesEnd, BytesStart, Event},
};
use serde::Serialize;
use trunnion_catalog::limits::MOST_TAGS;

use crate::{
    call::{Call, Fault, Input, Reply},
    json::page,
};

/// A list in the query protocol: one `<member>` for each item.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Members<T> {
    member: Vec<T>,
}

impl<T> FromIterator<T> for Members<T> {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        Self { member: items.into_iter().collect() }
    }
}

impl<T> IntoIterator for Members<T> {
    type Item = T;
    type IntoIter = std::vec::IntoIter<T>;

    fn into_iter(self) -> Self::IntoIter {
        self.member.into_iter()
    }
}

/// A form parameter; an empty one counts as missing.
pub(crate) fn parameter<'c>(call: &'c Call, name: &str) -> Option<&'c str> {
    let Input::Query(parameters) = &call.input else { return None };
    let place = parameters.partition_point(|(key, _)| key.as_str() < name);
    let (key, value) = parameters.get(place)?;
    (key == name && !value.is_empty()).then_some(value)
}

/// The lengths of lists: those of tags in botocore's models of IAM and STS, that of policies in `AssumeRole` (STS API
/// reference, both read November 2026).
const LONGEST_LISTS: [(&str, usize); 4] =
    [("PolicyArns", 10), ("TagKeys", MOST_TAGS), ("Tags", MOST_TAGS), ("TransitiveTagKeys", MOST_TAGS)];

/// Refuses lists that are too long. The server does so before it evaluates policies.
pub(crate) fn check_lists(call: &Call) -> Result<(), Fault> {
    let Input::Query(parameters) = &call.input else { return Ok(()) };
    for (list, most) in LONGEST_LISTS {
        let start = format!("{list}.member.");
        let place = parameters.partition_point(|(key, _)| *key < start);
        let items = parameters.iter().skip(place).map_while(|(key, _)| key.strip_prefix(&start)?.split('.').next());
        if items.collect::<BTreeSet<_>>().len() > most {
            let member = list.chars().next().map(|c| c.to_ascii_lowercase()).into_iter().chain(list.chars().skip(1));
            let member: String = member.collect();
            return Err(Fault::new(
                "ValidationError",
                format!(
                    "1 validation error detected: Value at '{member}' failed to satisfy constraint: Member must have length \
                     less than or equal to {most}"
                ),
            ));
        }
    }
    Ok(())
}

/// A required form parameter.
pub(crate) fn required<'c>(call: &'c Call, name: &str) -> Result<&'c str, Fault> {
    parameter(call, name).ok_or_else(|| {
        let member = name.chars().next().map(|c| c.to_ascii_lowercase()).into_iter().chain(name.chars().skip(1));
        Fault::new(
            "ValidationError",
            format!(
                "1 validation error detected: Value null at '{}' failed to satisfy constraint: Member must not be null",
                member.collect::<String>()
            ),
        )
    })
}

/// `List.member.1`, `List.member.2` and so on; `List` alone is an empty list.
pub(crate) fn texts(call: &Call, list: &str) -> Vec<String> {
    (1..).map_while(|index| parameter(call, &format!("{list}.member.{index}"))).map(str::to_owned).collect()
}

/// Applies the paging of a list call: `MaxItems` (default 100, at most 1,000) and `Marker`.
pub(crate) fn paged<T>(call: &Call, items: Vec<(String, T)>) -> Result<(Members<T>, bool, Option<String>), Fault> {
    let limit = match parameter(call, "MaxItems") {
        None => 100,
        Some(text) => text.parse().ok().filter(|limit| (1..=1000).contains(limit)).ok_or_else(|| {
            Fault::new(
                "ValidationError",
                format!(
                    "1 validation error detected: Value '{text}' at 'maxItems' failed to satisfy constraint: Member \
                     must have value less than or equal to 1000"
                ),
            )
        })?,
    };
    let (rows, next) = page(items, limit, parameter(call, "Marker"), false)
        .ok_or_else(|| Fault::new("ValidationError", "Invalid Marker."))?;
    Ok((rows.into_iter().collect(), next.is_some(), next))
}

/// `<ActionResponse><ActionResult>…</ActionResult><ResponseMetadata>…`.
pub(crate) fn reply<T: Serialize>(call: &Call, namespace: &str, result: Option<&T>) -> Result<Reply, Fault> {
    #[derive(Serialize)]
    #[serde(rename_all = "PascalCase")]
    struct Metadata {
        request_id: String,
    }
    let root = format!("{}Response", call.action);
    let mut writer = Writer::new(Vec::new());
    let mut write = || -> Result<(), Box<dyn std::error::Error>> {
        writer.write_event(Event::Start(BytesStart::new(&*root).with_attributes([("xmlns", namespace)])))?;
        if let Some(result) = result {
            writer.write_serializable(&format!("{}Result", call.action), result)?;
        }
        let metadata = Metadata { request_id: call.request_id.clone() };
        writer.write_serializable("ResponseMetadata", &metadata)?;
        writer.write_event(Event::End(BytesEnd::new(&*root)))?;
        Ok(())
    };
    write().map_err(|error| Fault::new("ServiceFailure", error.to_string()).with_status(500))?;
    let document = String::from_utf8(writer.into_inner())
        .map_err(|error| Fault::new("ServiceFailure", error.to_string()).with_status(500))?;
    Ok(Reply::Xml(document))
}

/// Percent-encoding as IAM applies it to policy documents (RFC 3986: all but unreserved characters are encoded).
pub(crate) fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len() * 2);
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}
