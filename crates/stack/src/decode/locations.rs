//! The private locations, each backed by a pool of its own.

use std::collections::BTreeMap;

use super::{Field, Map, pools::Pools};
use crate::{
    diagnostic::{Diagnostic, Findings},
    model::{Engine, Location},
    shape::listed,
    sources::shown_text,
    words,
};

/// Locations of a stack: each has a pool of its own.
const MOST: usize = 100;
/// The first Java that `GraalVM` runs JavaScript simulations with (Gatling asks for 21.0.2 or newer).
const GRAAL: u8 = 21;

pub(crate) fn read(
    top: &Map,
    pools: &Pools,
    java: Option<u8>,
    findings: &mut Findings,
) -> Option<BTreeMap<String, Location>> {
    let map = findings.map_or_empty(top, "locations")?;
    if map.entries.len() > MOST
        && let Some(field) = top.get("locations")
    {
        let says = format!("holds {} locations, but {MOST} fit", map.entries.len());
        findings.about(&field, "stack::out_of_range", says, "split the stack: each one is planned as a whole");
        return None;
    }
    let mut locations = BTreeMap::new();
    let mut taken: BTreeMap<String, (String, Field)> = BTreeMap::new();
    for (id, field) in map.fields() {
        let location = location(id, &field, pools, java, findings);
        // A pool belongs to the location that names it first, also where something else is wrong with that one.
        let named = field.node.entries().iter().find(|entry| entry.key == "pool");
        if let Some(pool) = named.and_then(|_| findings.map(&field)).and_then(|map| map.get("pool"))
            && let Some(name) = pool.spelled().filter(|name| pools.is_written(name))
        {
            if let Some((first, place)) = taken.get(name) {
                let message =
                    format!("{} takes pool `{name}`, which `{}` has already", pool.shown(), shown_text(first));
                findings.push(
                    Diagnostic::new("stack::shared_pool", Some(pool.place), message)
                        .with_help("give each location a pool of its own: a host belongs to one location")
                        .with_also(place.place.clone(), "taken here"),
                );
                continue;
            }
            taken.insert(name.to_owned(), (id.to_owned(), pool));
        }
        if let Some(location) = location {
            locations.insert(id.to_owned(), location);
        }
    }
    (locations.len() == map.entries.len()).then_some(locations)
}

fn location(id: &str, field: &Field, pools: &Pools, java: Option<u8>, findings: &mut Findings) -> Option<Location> {
    let is_id = words::is_location_id(id);
    if !is_id {
        let help = "begin with `prl_`, then 1 to 26 lower-case letters, digits and `_`: such as `prl_heavy_paris`";
        findings.about(field, "stack::malformed", "is no id of a private location", help);
    }
    let map = findings.map(field)?;
    let pool = findings.required(&map, "pool", pools.names().first().unwrap_or(&"heavy"));
    let pool = pool.and_then(|field| self::pool(&field, pools, findings));
    let description = match map.get("description") {
        Some(field) => findings.text(&field),
        None => Some(""),
    };
    let engine =
        findings.choice_or_first(&map, "engine", &[("classic", Engine::Classic), ("javascript", Engine::JavaScript)]);
    let engine = engine.filter(|engine| runs(*engine, &map, java, findings));
    let jvm_options = jvm_options(&map, findings);
    let system_properties = findings.scalars(&map, "system_properties", |findings, key, _, field| {
        let is_property = words::is_identifier(key, ".-");
        if !is_property {
            let help = "take letters, digits, `_`, `.` and `-`, no digit first";
            findings.about_name(field, "stack::malformed", "is no name for a system property", help);
        }
        is_property.then_some(())
    });
    let (pool, description) = (pool?, description?);
    let description = if description.is_empty() { format!("pool {pool}") } else { description.to_owned() };
    is_id.then_some(Location {
        pool,
        description,
        engine: engine?,
        jvm_options: jvm_options?,
        system_properties: system_properties?,
    })
}

fn pool(field: &Field, pools: &Pools, findings: &mut Findings) -> Option<String> {
    let name = findings.text(field)?;
    if pools.is_written(name) {
        return Some(name.to_owned());
    }
    let help = match (pools.nearest(name), pools.names()) {
        (Some(nearest), _) => format!("did you mean `{nearest}`?"),
        (None, []) => "name it under `pools`".to_owned(),
        (None, [only]) => format!("there is one pool: `{}`", shown_text(only)),
        (None, names) => format!("the pools are {}", listed(names)),
    };
    findings.about(field, "stack::unknown_pool", format!("is `{}`, but there is no such pool", shown_text(name)), help);
    None
}

fn runs(engine: Engine, map: &Map, java: Option<u8>, findings: &mut Findings) -> bool {
    let Some(java) = java.filter(|java| engine == Engine::JavaScript && *java < GRAAL) else { return true };
    if let Some(field) = map.get("engine") {
        let says = format!("is `javascript`, which needs GraalVM {GRAAL} or newer, but `generator.java` is {java}");
        findings.about(&field, "stack::java", says, format!("set `generator.java` to {GRAAL} or more"));
    }
    false
}

fn jvm_options(map: &Map, findings: &mut Findings) -> Option<Vec<String>> {
    let items = findings.items(map, "jvm_options")?;
    let read: Vec<Option<String>> = items.iter().map(|item| jvm_option(item, findings)).collect();
    read.into_iter().collect()
}

fn jvm_option(field: &Field, findings: &mut Findings) -> Option<String> {
    let text = findings.text(field)?;
    if !text.starts_with('-') || text.contains(' ') {
        let says = format!("is `{}`, which is no option of a JVM", shown_text(text));
        findings.about(field, "stack::malformed", says, "write each option as an item of its own, such as `-Xmx128g`");
        return None;
    }
    Some(text.to_owned())
}
