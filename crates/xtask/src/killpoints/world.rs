//! All that exists in a sandbox, in a form in which two of them can be compared.
//!
//! Ids, addresses and dates differ between two runs that did the same. So a value that AWS gave out counts only by what
//! refers to it: every row gets a number from its content and from the numbers of the values in it, and every value gets
//! one from the rows that it is in. After some rounds, the numbers of two equal accounts are equal.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hash as _, Hasher as _},
    net::Ipv4Addr,
};

use serde_json::{Map, Value};

use super::{hosts::spell_addresses, scenario::BUCKET};
use crate::Failure;

/// Tables that are no resources: how the sandbox works, and what AWS keeps of the past.
const IGNORED: [&str; 14] = [
    "world.counters",
    "world.regions",
    "ec2.tokens",
    "ec2.user_data",
    "ecs.attachments",
    "ecs.leaving",
    "ecs.runs",
    "iam.changed",
    "iam.deleted",
    "iam.removed",
    "logs.events",
    "logs.streams",
    "s3.freed",
    "iam.sessions",
];

/// Fields of a row that say when or how something was made, or that count what was made before.
const INCIDENTAL: [&str; 28] = [
    "before",
    "client_token",
    "console",
    "created",
    "deregistered",
    "earlier",
    "first",
    "first_event",
    "gone",
    "id",
    "is_new",
    "last_event",
    "latest_version",
    "launch_index",
    "modified",
    "number",
    "previous",
    "registered",
    "registered_by",
    "request",
    "reservation",
    "revision",
    "running_before",
    "scaled",
    "sequence",
    "since",
    "started",
    "used_versions",
];

/// The tag that says who applied last, and when.
const LAST_APPLY: &str = "trunnion:applied";

/// Rounds after which further ones change nothing: the longest way between two resources of a stack is shorter.
const ROUNDS: usize = 8;

/// Whether it counts what updates leave behind: versions of templates that are not the default one, and the tags of
/// running tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Past {
    Counted,
    Ignored,
}

/// How many resources are named whose content is right, but not what it refers to.
const MOST_REFERENCES: usize = 5;

/// The rows of a sandbox.
#[derive(Debug, Clone)]
pub(super) struct World {
    rows: Vec<Row>,
    pub past: Past,
}

#[derive(Debug, Clone)]
struct Row {
    /// The table, and the name or address of the resource.
    label: String,
    /// The content with the kinds of ids instead of the ids.
    text: String,
    /// Depends on the content, and on what it refers to.
    colour: u64,
}

/// A part of a row's content.
enum Piece {
    Text(String),
    Token(usize),
}

type Tables = BTreeMap<String, BTreeMap<String, Value>>;

impl World {
    /// Reads what the sandbox's `/_sandbox/rows` answers.
    pub fn of(text: &str, past: Past) -> Result<Self, Failure> {
        let mut tables: Tables = serde_json::from_str(text)?;
        spell_addresses(&mut tables);
        let addresses = addresses(&tables);
        let versions = tables.get("ec2.versions").cloned().unwrap_or_default();
        let mut tokens = Tokens::default();
        let mut labels = Vec::new();
        let mut pieces = Vec::new();
        tables.retain(|table, _| !IGNORED.contains(&table.as_str()));
        if past == Past::Ignored {
            tables.remove("ec2.versions");
        }
        for (table, rows) in tables {
            for (id, mut row) in rows {
                if is_past(&table, &row) {
                    continue;
                }
                if table == "ec2.templates" {
                    default_version(&id, &mut row, &versions);
                }
                if past == Past::Ignored
                    && let Some(deployment) = row.get_mut("primary").and_then(Value::as_object_mut)
                {
                    // The tags that the service had when its tasks started.
                    deployment.remove("tags");
                }
                let label = format!("{table} {}", name(&row).unwrap_or_else(|| id.clone()));
                prune(&mut row);
                let mut parts = Vec::new();
                if !["ec2.versions", "s3.versions"].contains(&table.as_str()) {
                    cut(&id, &addresses, &mut tokens, &mut parts);
                }
                linear(&row, &addresses, &mut tokens, &mut parts);
                labels.push(label);
                pieces.push(parts);
            }
        }
        let colours = colours(&pieces, &tokens);
        let rows = labels.into_iter().zip(&pieces).zip(colours);
        Ok(Self {
            past,
            rows: rows.map(|((label, pieces), colour)| Row { label, text: tokens.text(pieces), colour }).collect(),
        })
    }

    /// How another world differs from this one; nothing if they are equal.
    pub fn differences(&self, found: &Self) -> Vec<String> {
        let mut missing = count(self.rows.iter().map(|row| (&row.text, &row.label)));
        let mut surplus = Vec::new();
        for row in &found.rows {
            match missing.get_mut(&row.text) {
                Some((number, _)) if *number > 0 => *number -= 1,
                _ => surplus.push(row),
            }
        }
        let missing: Vec<(&String, &String)> =
            missing.iter().flat_map(|(text, (number, label))| std::iter::repeat_n((*text, *label), *number)).collect();
        let mut lines = Vec::new();
        let mut explained = BTreeSet::new();
        for (text, label) in missing {
            let other = surplus.iter().enumerate().find(|(at, row)| &row.label == label && !explained.contains(at));
            match other {
                Some((at, row)) => {
                    explained.insert(at);
                    lines.push(format!("{label} differs: {}", difference(text, &row.text)));
                }
                None => lines.push(format!("{label} is missing")),
            }
        }
        let unexplained = surplus.iter().enumerate().filter(|(at, _)| !explained.contains(at));
        lines.extend(unexplained.map(|(_, row)| format!("{} is left over: {}", row.label, shortened(&row.text))));
        if lines.is_empty() {
            let mut colours = count(self.rows.iter().map(|row| (&row.colour, &row.label)));
            for row in &found.rows {
                match colours.get_mut(&row.colour) {
                    Some((number, _)) if *number > 0 => *number -= 1,
                    _ => lines.push(format!("{} refers to other resources", row.label)),
                }
            }
            // One difference spreads to everything around it.
            lines.truncate(MOST_REFERENCES);
        }
        lines
    }
}

fn count<'r, K: Ord>(of: impl Iterator<Item = (K, &'r String)>) -> BTreeMap<K, (usize, &'r String)> {
    let mut counted = BTreeMap::new();
    for (key, label) in of {
        counted.entry(key).or_insert((0, label)).0 += 1;
    }
    counted
}

/// The two texts from where they begin to differ.
fn difference(one: &str, other: &str) -> String {
    let same = one.bytes().zip(other.bytes()).take_while(|(one, other)| one == other).count();
    let from = |text: &str| {
        let start = (0..=same.saturating_sub(40)).rev().find(|at| text.is_char_boundary(*at)).unwrap_or_default();
        shortened(text.get(start..).unwrap_or_default())
    };
    format!("`{}` is now `{}`", from(one), from(other))
}

fn shortened(text: &str) -> String {
    text.chars().take(240).collect()
}

/// Whether a row is only the memory of something that was deleted or replaced.
pub(super) fn is_past(table: &str, row: &Value) -> bool {
    let text = |name: &str| row.get(name).and_then(Value::as_str).unwrap_or_default();
    match table {
        "ec2.instances" => ["Terminated", "ShuttingDown"].contains(&text("state")),
        "ecs.clusters" => row.get("active") == Some(&Value::Bool(false)),
        "ecs.definitions" => text("status") == "DELETE_IN_PROGRESS",
        // Every apply writes the state again.
        "s3.versions" => text("bucket") == BUCKET,
        "ecs.services" => row.get("deleted").is_some_and(|deleted| !deleted.is_null()),
        _ => false,
    }
}

/// Puts the content of a template's default version in the place of its number.
fn default_version(id: &str, row: &mut Value, versions: &BTreeMap<String, Value>) {
    let number = row.get("default_version").and_then(Value::as_u64).unwrap_or_default();
    let version = versions.get(&format!("{id}/{number:06}"));
    let content = version.and_then(|version| version.get("data")).cloned().unwrap_or_default();
    if let Some(row) = row.as_object_mut() {
        row.insert("default_version".to_owned(), content);
    }
}

/// What a person calls the resource.
fn name(row: &Value) -> Option<String> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let tags = row.get("tags");
    let tag = |name: &str| match tags {
        Some(Value::Object(tags)) => tags.get(name).and_then(text),
        Some(Value::Array(tags)) => {
            let of = |tag: &Value, lower: &str, upper: &str| tag.get(lower).or(tag.get(upper)).and_then(text);
            tags.iter()
                .find(|tag| of(tag, "key", "Key").as_deref() == Some(name))
                .and_then(|tag| of(tag, "value", "Value"))
        }
        _ => None,
    };
    tag("trunnion:address")
        .or_else(|| row.get("key").and_then(text))
        .or_else(|| row.get("name").and_then(text))
        .or_else(|| {
            row.get("description").and_then(text).filter(|text| !text.is_empty() && !text.contains("attachment/"))
        })
}

/// Removes what differs between two runs that did the same.
fn prune(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|name, _| {
                !INCIDENTAL.contains(&name.as_str()) && ![LAST_APPLY, "token"].contains(&name.as_str())
            });
            members.values_mut().for_each(prune);
        }
        Value::Array(items) => {
            items.iter_mut().for_each(prune);
            // Tags are a list in the order of the calls that gave them.
            let key = |item: &Value| item.get("key").or(item.get("Key")).and_then(Value::as_str).map(str::to_owned);
            items.retain(|item| key(item).as_deref() != Some(LAST_APPLY));
            if items.iter().all(|item| key(item).is_some()) {
                items.sort_by_key(key);
            }
        }
        _ => {}
    }
}

/// The addresses that AWS gave out.
fn addresses(tables: &Tables) -> BTreeSet<String> {
    let rows = ["ec2.interfaces", "ec2.elastic_ips"].into_iter().filter_map(|table| tables.get(table));
    let mut found = BTreeSet::new();
    for row in rows.flat_map(BTreeMap::values) {
        collect(row, &mut found);
    }
    found
}

fn collect(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::String(text) => {
            let words = text.split(|character: char| !(character.is_ascii_digit() || character == '.'));
            found.extend(words.filter(|word| word.parse::<Ipv4Addr>().is_ok()).map(str::to_owned));
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, found)),
        Value::Object(members) => members.values().for_each(|member| collect(member, found)),
        _ => {}
    }
}

/// The values that AWS gave out, each with its kind.
#[derive(Default)]
struct Tokens {
    numbers: BTreeMap<String, usize>,
    kinds: Vec<String>,
}

impl Tokens {
    fn number(&mut self, value: &str, kind: &str) -> usize {
        let next = self.kinds.len();
        let number = *self.numbers.entry(value.to_owned()).or_insert(next);
        if number == next {
            self.kinds.push(kind.to_owned());
        }
        number
    }

    fn kind(&self, number: usize) -> &str {
        self.kinds.get(number).map_or("", String::as_str)
    }

    fn text(&self, pieces: &[Piece]) -> String {
        let text = |piece: &Piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::Token(number) => format!("<{}>", self.kind(*number)),
        };
        pieces.iter().map(text).collect()
    }
}

/// Writes a value as pieces.
fn linear(value: &Value, addresses: &BTreeSet<String>, tokens: &mut Tokens, pieces: &mut Vec<Piece>) {
    let text = |text: &str, pieces: &mut Vec<Piece>| pieces.push(Piece::Text(text.to_owned()));
    match value {
        Value::String(string) => {
            text("\"", pieces);
            cut(string, addresses, tokens, pieces);
            text("\"", pieces);
        }
        Value::Array(items) => {
            text("[", pieces);
            for item in items {
                linear(item, addresses, tokens, pieces);
                text(", ", pieces);
            }
            text("]", pieces);
        }
        Value::Object(members) => {
            text("{", pieces);
            object(members, addresses, tokens, pieces);
            text("}", pieces);
        }
        other => text(&other.to_string(), pieces),
    }
}

fn object(members: &Map<String, Value>, addresses: &BTreeSet<String>, tokens: &mut Tokens, pieces: &mut Vec<Piece>) {
    let sorted: BTreeMap<&String, &Value> = members.iter().collect();
    for (name, value) in sorted {
        cut(name, addresses, tokens, pieces);
        pieces.push(Piece::Text(": ".to_owned()));
        match value {
            // A digest of a content that has ids in it.
            Value::String(digest) if name == "trunnion:template" => {
                let number = tokens.number(digest, "template");
                pieces.push(Piece::Token(number));
            }
            value => linear(value, addresses, tokens, pieces),
        }
        pieces.push(Piece::Text(", ".to_owned()));
    }
}

/// Cuts a text where values begin and end that AWS gave out.
fn cut(text: &str, addresses: &BTreeSet<String>, tokens: &mut Tokens, pieces: &mut Vec<Piece>) {
    if let Some((before, _)) = text.rsplit_once(':').filter(|_| text.contains(":task-definition/")) {
        let number = tokens.number(text, before);
        pieces.push(Piece::Token(number));
        return;
    }
    let is_part = |character: char| character.is_ascii_alphanumeric() || matches!(character, '-' | '.');
    let mut plain = String::new();
    for word in text.split_inclusive(|character: char| !is_part(character)) {
        let end = word.find(|character: char| !is_part(character)).unwrap_or(word.len());
        let (value, separator) = word.split_at(end);
        match kind(value, addresses) {
            Some(kind) => {
                pieces.push(Piece::Text(std::mem::take(&mut plain)));
                let number = tokens.number(value, &kind);
                pieces.push(Piece::Token(number));
            }
            None => plain.push_str(value),
        }
        plain.push_str(separator);
    }
    pieces.push(Piece::Text(plain));
}

/// The kind of a value that AWS gave out; `None` for any other.
fn kind(value: &str, addresses: &BTreeSet<String>) -> Option<String> {
    let is_hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    if addresses.contains(value) {
        return Some("ip".to_owned());
    }
    // `i-` and the like, with 17 digits; a UUID; the 32 digits of a task or a version; `AROA` and 17 characters.
    if let Some((prefix, digits)) = value.rsplit_once('-') {
        if digits.len() == 17 && is_hex(digits) {
            return Some(prefix.to_owned());
        }
        let is_uuid = value.len() == 36 && value.split('-').all(is_hex);
        return is_uuid.then(|| "uuid".to_owned());
    }
    if value.len() == 32 && is_hex(value) {
        return Some("hex".to_owned());
    }
    let is_unique_id = value.len() == 21
        && value.starts_with('A')
        && value.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit());
    is_unique_id.then(|| value.get(..4).unwrap_or_default().to_owned())
}

/// The number of each row.
fn colours(rows: &[Vec<Piece>], tokens: &Tokens) -> Vec<u64> {
    let hash = |of: &dyn Fn(&mut DefaultHasher)| {
        let mut hasher = DefaultHasher::new();
        of(&mut hasher);
        hasher.finish()
    };
    let mut values: Vec<u64> = tokens.kinds.iter().map(|kind| hash(&|hasher| kind.hash(hasher))).collect();
    let mut colours = Vec::new();
    for _ in 0..ROUNDS {
        colours = rows
            .iter()
            .map(|row| {
                hash(&|hasher| {
                    for piece in row {
                        match piece {
                            Piece::Text(text) => text.hash(hasher),
                            Piece::Token(number) => values.get(*number).hash(hasher),
                        }
                    }
                })
            })
            .collect();
        let mut seen: Vec<Vec<(u64, usize)>> = vec![Vec::new(); values.len()];
        for (row, colour) in rows.iter().zip(&colours) {
            for (at, piece) in row.iter().enumerate() {
                if let Piece::Token(number) = piece
                    && let Some(seen) = seen.get_mut(*number)
                {
                    seen.push((*colour, at));
                }
            }
        }
        for (value, mut seen) in values.iter_mut().zip(seen) {
            seen.sort_unstable();
            *value = hash(&|hasher| (*value, &seen).hash(hasher));
        }
    }
    colours
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use serde_json::json;

    use super::*;

    /// Two hosts with an interface each, and a definition that names their addresses.
    fn world(ids: [&str; 4], more: &Value) -> World {
        let [one, other, first, second] = ids.map(|digit| format!("0{}", digit.repeat(16)));
        let host = |at: u32, interface: &str| {
            json!({"created": ids[0], "state": "Running", "tags": {"trunnion:address": format!("instance.a[{at}]")},
                "interfaces": [format!("eni-{interface}")]})
        };
        let interface = |address: &str| json!({"primary": address});
        let mut tables = json!({
            "ec2.instances": {format!("i-{one}"): host(0, &first), format!("i-{other}"): host(1, &second)},
            "ec2.interfaces": {format!("eni-{first}"): interface("10.0.0.1"), format!("eni-{second}"): interface("10.0.0.2")},
        });
        tables.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        World::of(&tables.to_string(), Past::Counted).unwrap()
    }

    #[test]
    fn ids_and_dates_make_no_difference_and_references_do() {
        let conf = |addresses: &str| json!({"ecs.definitions": {"arn": {"status": "ACTIVE", "body": addresses}}});
        let expected = world(["1", "2", "3", "4"], &conf("10.0.0.1"));
        assert_eq!(expected.differences(&world(["a", "b", "c", "d"], &conf("10.0.0.1"))), Vec::<String>::new());
        // The definition names the other host.
        let other = world(["1", "2", "3", "4"], &conf("10.0.0.2"));
        assert!(!expected.differences(&other).is_empty());
        // The definition names a host that is gone.
        let gone = expected.differences(&world(["1", "2", "3", "4"], &conf("10.0.0.9")));
        assert!(gone.iter().any(|line| line.starts_with("ecs.definitions arn differs")), "{gone:?}");
    }

    #[test]
    fn what_is_left_over_or_missing_is_named() {
        let group = json!({"ec2.groups": {"sg-1": {"name": "spare"}}, "ec2.volumes": {}});
        let (without, with) = (world(["1", "2", "3", "4"], &json!({})), world(["5", "6", "7", "8"], &group));
        let surplus = without.differences(&with);
        assert!(surplus.len() == 1 && surplus[0].starts_with("ec2.groups spare is left over"), "{surplus:?}");
        assert_eq!(with.differences(&without), ["ec2.groups spare is missing"]);
        let tagged = |keys: &[&str]| {
            let tags: Vec<Value> = keys.iter().map(|key| json!({"Key": key})).collect();
            json!({"iam.roles": {"a": {"tags": tags}}})
        };
        let (one, other) = (tagged(&["a", "b"]), tagged(&["b", LAST_APPLY, "a"]));
        let ids = ["1", "2", "3", "4"];
        assert_eq!(world(ids, &one).differences(&world(ids, &other)), Vec::<String>::new());
        let ended = json!({"ec2.instances": {"i-9": {"state": "Terminated"}}});
        // The two interfaces stay.
        assert_eq!(world(ids, &ended).rows.len(), 2);
    }
}
