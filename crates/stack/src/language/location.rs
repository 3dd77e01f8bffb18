//! The private locations. Each has its own pool.

use std::collections::BTreeMap;

use serde_json::json;

use super::{
    Around, Described,
    key::{Kind, or, or_else, or_empty, required},
    kinds::{Line, List, Readings, Scalars, Shaped, Word},
    section::section,
};
use crate::{
    diagnostic::{Diagnostic, Findings},
    field::{Field, Map},
    forms,
    model::Engine,
    shape::listed,
    sources::shown_text,
};

/// The first Java version with which `GraalVM` can run JavaScript simulations (Gatling requires 21.0.2 or newer).
const GRAAL: u8 = 21;

section! {
    /// A Gatling private location, backed by one pool.
    pub struct Location {
        /// The pool's name. Each location has a pool of its own.
        pool: String = required(PoolOfTheStack, "heavy").such_as(&["heavy"]),
        /// The description that Gatling shows.
        description: String = or_else(Line, "`pool <pool>`", |map, _| of_pool(map))
            .such_as(&["Paris, four very large generators"]),
        /// What runs the simulations. JavaScript needs GraalVM, which your own image must contain.
        engine: Engine = or(
            Word(&[
                ("classic", Engine::Classic, "Java, Kotlin and Scala"),
                ("javascript", Engine::JavaScript, "JavaScript and TypeScript"),
            ]),
            "classic",
        ).such_as(&["javascript"]),
        /// Options of the generators' JVM. If there are any, `--add-opens=java.base/java.lang=ALL-UNNAMED` is put before them, because
        /// Gatling needs it.
        jvm_options: Vec<String> = or_empty(
            List {
                item: Shaped {
                    form: &forms::JVM_OPTION,
                    otherwise: "not a JVM option",
                    help: "write each option as an item of its own, such as `-Xmx128g`",
                },
                limit: None,
                is_distinct: false,
            },
            "none",
        ).such_as(&["[-Xmx128g]"]),
        /// Java system properties of every run. Their values are text, as they are spelled.
        system_properties: BTreeMap<String, String> = or_empty(
            Scalars {
                names: &forms::PROPERTY,
                otherwise: "is not a valid system property name",
            },
            "none",
        ).such_as(&["{ load.profile: heavy }"]),
    }
    check(map, around, findings) {
        runs(engine, map, around.java, findings)
    }
}

/// The default description of a location.
fn of_pool(map: &Map) -> String {
    let pool = map.get("pool");
    format!("pool {}", pool.as_ref().and_then(Field::spelled).unwrap_or_default())
}

/// The name of a pool in the file, even if that pool has mistakes.
struct PoolOfTheStack;

impl Kind for PoolOfTheStack {
    type Value = String;

    fn read(&self, field: &Field, around: &Around, findings: &mut Findings) -> Option<String> {
        let none = Readings::default();
        let pools = around.pools.unwrap_or(&none);
        let name = findings.text(field)?;
        if pools.is_written(name) {
            return Some(name.to_owned());
        }
        let help = match (pools.nearest(name), pools.written.as_slice()) {
            (Some(nearest), _) => format!("did you mean `{nearest}`?"),
            (None, []) => format!("add a pool `{}` under `pools`", shown_text(name)),
            (None, [only]) => format!("there is one pool: `{}`", shown_text(only)),
            (None, names) => format!("the pools are {}", listed(names)),
        };
        findings.about(
            field,
            "stack::unknown_pool",
            format!("is `{}`, but there is no such pool", shown_text(name)),
            help,
        );
        None
    }

    fn describe(&self) -> Described {
        Described {
            name: "text".to_owned(),
            bounds: vec!["a name under `pools`".to_owned()],
            forms: vec![json!({ "type": "string", "pattern": forms::POOL_NAME.pattern() })],
            ..Described::default()
        }
    }
}

fn runs(engine: Option<Engine>, map: &Map, java: Option<u8>, findings: &mut Findings) -> Option<()> {
    if let (Some(Engine::JavaScript), Some(java), Some(field)) = (engine, java, map.get("engine"))
        && java < GRAAL
    {
        let says = format!("is `javascript`, which needs GraalVM {GRAAL} or newer, but `generator.java` is {java}");
        findings.about(&field, "stack::java", says, format!("set `generator.java` to {GRAAL} or more"));
        return None;
    }
    Some(())
}

/// Refuses a pool that an earlier location already names, even if that location has other mistakes.
pub(super) fn share_no_pool(top: &Map, around: &Around, findings: &mut Findings) -> Option<()> {
    let mut taken: BTreeMap<String, (&str, Field)> = BTreeMap::new();
    let mut is_right = Some(());
    for (id, location) in top.get("locations").iter().flat_map(Field::keys) {
        let pool = location.keys().into_iter().find(|(key, _)| *key == "pool").map(|(_, pool)| pool);
        let Some(pool) = pool else { continue };
        let name = pool.spelled().unwrap_or_default().to_owned();
        if !around.pools.is_some_and(|pools| pools.is_written(&name)) {
            continue;
        }
        let Some((first, place)) = taken.get(&name) else {
            taken.insert(name, (id, pool));
            continue;
        };
        let message = format!("{} uses pool `{name}`, which `{}` already uses", pool.shown(), shown_text(first));
        findings.push(
            Diagnostic::new("stack::shared_pool", Some(pool.place), message)
                .with_help("give each location a pool of its own: a host belongs to one location")
                .with_also(place.place.clone(), "used here first"),
        );
        is_right = None;
    }
    is_right
}
