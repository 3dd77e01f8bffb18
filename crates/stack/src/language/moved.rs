//! `moved`: pools that have another name now. It is checked as `OpenTofu` checks its `moved` blocks
//! (<https://opentofu.org/docs/language/modules/develop/refactoring/>, read November 2026).

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use super::{
    Around, Described,
    key::Kind,
    kinds::{Limit, Shaped},
};
use crate::{
    diagnostic::{Diagnostic, Findings},
    field::{Field, Map},
    forms,
    shape::listed,
    sources::shown_text,
};

const KEYS: [&str; 2] = ["from", "to"];

const LIMIT: Limit = Limit {
    most: 100,
    code: "stack::out_of_range",
    says: |found, most| format!("has {found} items, but at most {most} are allowed"),
    help: "remove those that were applied everywhere",
};

/// Each earlier name of a pool, with the name that the pool has now.
pub(super) struct Moves;

/// One item of the list.
struct Move<'t> {
    from: (String, Field<'t>),
    to: (String, Field<'t>),
}

impl Kind for Moves {
    type Value = BTreeMap<String, String>;

    fn read(&self, field: &Field, around: &Around, findings: &mut Findings) -> Option<Self::Value> {
        let items = findings.items(field)?;
        LIMIT.holds(items.len(), field, findings)?;
        let read: Vec<Option<Move>> = items.iter().map(|item| one(item, around, findings)).collect();
        let moves: Vec<Move> = read.into_iter().collect::<Option<_>>()?;
        check(&moves, around, findings)?;
        resolved(&moves, findings)
    }

    fn describe(&self) -> Described {
        let name = json!({ "type": "string", "pattern": forms::POOL_NAME.pattern() });
        Described {
            name: "list".to_owned(),
            bounds: vec![
                format!("at most {} items", LIMIT.most),
                "each item: `from`, which no pool is named any more, and `to`, a pool or the `from` of another item"
                    .to_owned(),
                "no `from` and no `to` twice, and no circle".to_owned(),
            ],
            forms: vec![json!({
                "type": "array",
                "maxItems": LIMIT.most,
                "items": {
                    "type": "object",
                    "properties": { "from": name, "to": name },
                    "required": KEYS,
                    "additionalProperties": false,
                },
            })],
            may_be_empty: true,
            ..Described::default()
        }
    }
}

fn one<'t>(item: &Field<'t>, around: &Around, findings: &mut Findings) -> Option<Move<'t>> {
    let map = findings.map(item)?;
    let mut whole = true;
    for (key, field) in map.fields().filter(|(key, _)| !KEYS.contains(key)) {
        let message = format!("`{}` is not a key of {}", shown_text(key), map.shown());
        let help = format!("valid keys are {}", listed(&KEYS));
        findings.push(Diagnostic::new("stack::unknown_key", Some(field.key_place), message).with_help(help));
        whole = false;
    }
    let [from, to] = KEYS.map(|key| pool(&map, key, around, findings));
    Some(Move { from: from?, to: to? }).filter(|_| whole)
}

fn pool<'t>(map: &Map<'t>, key: &str, around: &Around, findings: &mut Findings) -> Option<(String, Field<'t>)> {
    const NAME: Shaped = Shaped {
        form: &forms::POOL_NAME,
        otherwise: "not a valid pool name",
        help: "write the name of a pool, such as `heavy`",
    };
    let Some(field) = map.get(key) else {
        findings.missing(map, key, "heavy");
        return None;
    };
    Some((NAME.read(&field, around, findings)?, field))
}

/// Whether each move can be made: nobody asks for its source any more, and it is the only one of its source and target.
fn check(moves: &[Move], around: &Around, findings: &mut Findings) -> Option<()> {
    let mut whole = true;
    let mut wrong = |field: &Field, says: String, help: String| {
        findings.about(field, "stack::moved", says, help);
        whole = false;
    };
    let (mut sources, mut targets) = (BTreeSet::new(), BTreeSet::new());
    for Move { from: (from, from_field), to: (to, to_field) } in moves {
        if around.pools.is_some_and(|pools| pools.is_written(from)) {
            let says = format!("is `{from}`, which is still a pool of the stack");
            wrong(from_field, says, format!("remove the pool `{from}`, or remove this item"));
        }
        if !sources.insert(from) {
            let says = format!("is `{from}`, which another item moves already");
            wrong(from_field, says, "a pool can get one new name only: remove one of the two items".to_owned());
        }
        if !targets.insert(to) {
            let says = format!("is `{to}`, to which another item moves a pool already");
            wrong(to_field, says, "two pools cannot become one: remove one of the two items".to_owned());
        }
        let is_known = around.pools.is_none_or(|pools| pools.is_written(to));
        if !is_known && !moves.iter().any(|other| other.from.0 == *to) {
            let nearest = around.pools.and_then(|pools| pools.nearest(to));
            let help = nearest.map(|nearest| format!("did you mean `{nearest}`?"));
            let help = help.unwrap_or_else(|| format!("give the pool the name `{to}` in `pools`, or correct `to`"));
            wrong(to_field, format!("is `{to}`, which is not a pool of the stack"), help);
        }
    }
    whole.then_some(())
}

/// Each source with the last name that it gets.
fn resolved(moves: &[Move], findings: &mut Findings) -> Option<BTreeMap<String, String>> {
    let next: BTreeMap<&str, &str> = moves.iter().map(|it| (it.from.0.as_str(), it.to.0.as_str())).collect();
    let mut found = BTreeMap::new();
    for Move { from: (from, field), .. } in moves {
        let mut path = vec![from.as_str()];
        while let Some(&to) = path.last().and_then(|last| next.get(last)) {
            if path.contains(&to) {
                path.push(to);
                let circle: Vec<String> = path.iter().map(|name| format!("`{name}`")).collect();
                let says = format!("begins a circle: {}", circle.join(" → "));
                findings.about(field, "stack::moved", says, "let the last `to` be a pool of the stack");
                return None;
            }
            path.push(to);
        }
        found.extend(path.last().map(|last| (from.clone(), (*last).to_owned())));
    }
    Some(found)
}
