//! How an answer of the sandbox differs from AWS's to the same call.

use std::{cmp::Ordering, collections::BTreeSet, fmt};

use serde::Serialize;
use serde_json::{Map, Value};

use super::{
    client::Answer,
    ids::{Ids, is_date},
    tree,
};
use crate::transcript::{Body, Call};

/// What a transcript has in place of a value that must not be in it.
const REMOVED: &str = "removed";

/// Lists whose length depends on time alone.
const LOGS: [&str; 1] = ["events[]"];

/// Lists longer than this are paired by position, not by content.
const PAIRED: usize = 200;

/// States that follow each other. A state and a later one of the same row do not differ: only time is between them.
const PROGRESS: [&[&str]; 13] = [
    &["PRECREATED", "CREATED", "ATTACHING", "ATTACHED", "DETACHING", "DETACHED", "DELETED"],
    &["pending", "running"],
    &["shutting-down", "terminated"],
    &["stopping", "stopped"],
    &["pending", "applied"],
    &["pending", "available"],
    &["attaching", "attached"],
    &["initializing", "ok"],
    &["initializing", "passed"],
    &["PROVISIONING", "PENDING", "ACTIVATING", "RUNNING"],
    &["RUNNING", "DEACTIVATING", "STOPPING", "DEPROVISIONING", "STOPPED", "DELETED"],
    &["IN_PROGRESS", "COMPLETED"],
    &["ACTIVE", "DRAINING", "INACTIVE", "DELETE_IN_PROGRESS"],
];

/// What a difference is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    /// The HTTP status.
    Status,
    /// The error code.
    Error,
    /// A member that only one side has.
    Member,
    /// The number of items in a list.
    Items,
    /// The type of a value.
    Type,
    /// One of a closed set of values, such as a state.
    Value,
    /// A header.
    Header,
}

impl Kind {
    pub const ALL: [Self; 7] =
        [Self::Status, Self::Error, Self::Member, Self::Items, Self::Type, Self::Value, Self::Header];

    pub fn plural(self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::Error => "error codes",
            Self::Member => "members",
            Self::Items => "lists",
            Self::Type => "types",
            Self::Value => "values",
            Self::Header => "headers",
        }
    }
}

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Difference {
    pub kind: Kind,
    /// Where it is in the answer; empty for the whole answer. `[]` is any item of a list.
    pub path: String,
    pub aws: String,
    pub sandbox: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, path, aws, sandbox } = self;
        match kind {
            Kind::Status => write!(f, "status: AWS {aws}, sandbox {sandbox}"),
            Kind::Error => write!(f, "error code: AWS {aws}, sandbox {sandbox}"),
            Kind::Member => write!(f, "{path}: AWS {aws}, sandbox {sandbox}"),
            Kind::Items => write!(f, "{path}: AWS has {aws}, sandbox has {sandbox}"),
            Kind::Type => write!(f, "{path}: AWS sends {aws}, sandbox sends {sandbox}"),
            Kind::Value => write!(f, "{path}: AWS says `{aws}`, sandbox says `{sandbox}`"),
            Kind::Header => write!(f, "header {path}: AWS {aws}, sandbox {sandbox}"),
        }
    }
}

/// The error code of an answer in any protocol.
pub(super) fn error_code(tree: &Value) -> Option<String> {
    let code = tree
        .get("__type")
        .or_else(|| tree.get("Error").and_then(|error| error.get("Code")))
        .or_else(|| tree.get("Errors").and_then(|errors| errors.get("Error")).and_then(|error| error.get("Code")))
        .or_else(|| tree.get("Code"))?;
    // Some services name the namespace of the error, too.
    Some(code.as_str()?.rsplit('#').next().unwrap_or_default().to_owned())
}

/// The result of a comparison.
#[derive(Debug)]
pub(super) struct Compared {
    pub differences: Vec<Difference>,
    /// Whether something in the sandbox is in an earlier state than it was in AWS.
    pub is_behind: bool,
}

/// The differences. The ids in the answers belong together from now on.
pub(super) fn compare(call: &Call, answer: &Answer, ids: &mut Ids) -> Compared {
    let status = call.status.unwrap_or_default();
    let aws = call.answer.as_ref().map_or(Value::Null, tree::of_body);
    let mut found = Found { ids, list: Vec::new(), is_behind: false };
    if status != answer.status {
        found.add(Kind::Status, "", &status, &answer.status);
    }
    if status >= 300 || !answer.is_success() {
        let code = |tree: &Value| error_code(tree).unwrap_or_else(|| "none".to_owned());
        let (aws, sandbox) = (code(&aws), code(&answer.tree));
        if aws != sandbox {
            found.add(Kind::Error, "", &aws, &sandbox);
        }
        return Compared { differences: found.list, is_behind: false };
    }
    for name in call.answer_headers.keys().filter(|name| !answer.headers.contains_key(*name)) {
        found.add(Kind::Header, name, &"sends it", &"does not");
    }
    if call.service() == "s3" {
        let ours = answer.headers.keys().filter(|name| name.starts_with("x-amz-"));
        let known = ["x-amz-request-id", "x-amz-id-2"];
        for name in ours.filter(|name| !call.answer_headers.contains_key(*name) && !known.contains(&name.as_str())) {
            found.add(Kind::Header, name, &"does not send it", &"does");
        }
    }
    if !matches!(call.answer, Some(Body::Content { .. })) {
        found.values("", &aws, &answer.tree);
    }
    Compared { differences: found.list, is_behind: found.is_behind }
}

struct Found<'a> {
    ids: &'a mut Ids,
    list: Vec<Difference>,
    is_behind: bool,
}

impl Found<'_> {
    fn add(&mut self, kind: Kind, path: &str, aws: &dyn fmt::Display, sandbox: &dyn fmt::Display) {
        let difference = Difference { kind, path: path.to_owned(), aws: aws.to_string(), sandbox: sandbox.to_string() };
        if !self.list.contains(&difference) {
            self.list.push(difference);
        }
    }

    fn values(&mut self, path: &str, aws: &Value, sandbox: &Value) {
        match (aws, sandbox) {
            // XML has no empty lists and objects: an empty element can be both.
            _ if is_empty(aws) && is_empty(sandbox) => {}
            (Value::Object(ours), Value::Object(theirs)) => {
                let before = self.list.len();
                let steps = steps_between(ours, theirs);
                self.is_behind |= steps.is_gt();
                let names: BTreeSet<&String> = ours.keys().chain(theirs.keys()).collect();
                for name in names {
                    let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                    match (ours.get(name), theirs.get(name)) {
                        (Some(aws), Some(sandbox)) => self.values(&path, aws, sandbox),
                        (Some(_), None) => self.add(Kind::Member, &path, &"sends it", &"does not"),
                        _ => self.add(Kind::Member, &path, &"does not send it", &"does"),
                    }
                }
                // In another state, it may have other members.
                if steps.is_ne() {
                    self.list.truncate(before);
                }
            }
            (Value::Array(aws), Value::Array(sandbox)) => self.lists(path, aws, sandbox),
            // S3 sends one element for a list of one.
            (Value::Array(aws), Value::Object(_)) => self.lists(path, aws, std::slice::from_ref(sandbox)),
            (Value::Object(_), Value::Array(sandbox)) => self.lists(path, std::slice::from_ref(aws), sandbox),
            (Value::Array(list), other) if is_empty(other) => self.lists(path, list, &[]),
            (other, Value::Array(list)) if is_empty(other) => self.lists(path, &[], list),
            _ => self.scalars(path, aws, sandbox),
        }
    }

    fn lists(&mut self, path: &str, aws: &[Value], sandbox: &[Value]) {
        let path = format!("{path}[]");
        if aws.len() != sandbox.len() && !LOGS.iter().any(|log| path.ends_with(log)) {
            let items = |list: &[Value]| match list.len() {
                0 => "no item".to_owned(),
                1 => "1 item".to_owned(),
                more => format!("{more} items"),
            };
            self.add(Kind::Items, &path, &items(aws), &items(sandbox));
        }
        let mut free: Vec<&Value> = sandbox.iter().collect();
        let is_paired = aws.len().max(sandbox.len()) <= PAIRED;
        for item in aws {
            let best = |free: &[&Value]| {
                let scores = free.iter().enumerate().map(|(at, other)| (likeness(item, other, self.ids), at));
                scores.max_by_key(|(score, at)| (*score, std::cmp::Reverse(*at))).map(|(_, at)| at)
            };
            let at = if is_paired { best(&free) } else { (!free.is_empty()).then_some(0) };
            let Some(at) = at else { break };
            let other = free.remove(at);
            self.values(&path, item, other);
        }
    }

    fn scalars(&mut self, path: &str, aws: &Value, sandbox: &Value) {
        let (kind, other) = (kind_of(aws), kind_of(sandbox));
        // The value of a tag, a parameter or a setting can be anything.
        let last = path.trim_end_matches("[]").rsplit('.').next().unwrap_or_default().to_ascii_lowercase();
        if aws == REMOVED {
            return;
        }
        if last == "value" && is_text(aws) && is_text(sandbox) {
            self.learn(aws, sandbox);
            return;
        }
        if kind != other {
            self.add(Kind::Type, path, &kind, &other);
            return;
        }
        let (ours, theirs) = (shown(aws), shown(sandbox));
        let is_closed = kind == "a boolean" || is_closed(path, &last, &ours) || is_closed(path, &last, &theirs);
        if is_closed && ours != theirs && !is_progress(&ours, &theirs) && !is_code_of_progress(path, &ours, &theirs) {
            self.add(Kind::Value, path, &ours, &theirs);
        } else if !is_closed {
            self.learn(aws, sandbox);
        }
    }

    fn learn(&mut self, aws: &Value, sandbox: &Value) {
        if let (Some(aws), Some(sandbox)) = (aws.as_str(), sandbox.as_str()) {
            self.ids.learn(aws, sandbox);
        }
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.trim().is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        _ => false,
    }
}

fn is_text(value: &Value) -> bool {
    value.is_string()
}

fn shown(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// The type of a value, with those that XML has only as text.
fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
        Value::String(text) if matches!(text.as_str(), "true" | "false") => "a boolean",
        Value::String(text) if is_date(text) => "a date",
        Value::String(text) if text.trim().is_empty() => "an empty text",
        Value::String(text) if text.parse::<f64>().is_ok() => "a number in a text",
        Value::String(_) => "a text",
    }
}

/// Whether a member has one of a closed set of values.
fn is_closed(path: &str, last: &str, value: &str) -> bool {
    const NAMES: [&str; 17] = [
        "architecture",
        "deploymentcontroller",
        "desiredstatus",
        "effect",
        "engine",
        "httpendpoint",
        "httptokens",
        "hypervisor",
        "ipprotocol",
        "launchtype",
        "networkmode",
        "payer",
        "protocol",
        "ssealgorithm",
        "storageclass",
        "tenancy",
        "tier",
    ];
    // AWS writes constants such as `RUNNING`. Ids have digits.
    let is_constant = value.len() > 2 && value.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_');
    let is_state =
        path.to_ascii_lowercase().ends_with("state.name") || path.to_ascii_lowercase().ends_with("state.code");
    is_constant
        || is_state
        || NAMES.contains(&last)
        || ["state", "status", "type"].iter().any(|end| last.ends_with(end))
}

/// Whether one state becomes the other with time alone.
fn is_progress(one: &str, other: &str) -> bool {
    order(one, other).is_some()
}

/// Which of two states comes later.
fn order(one: &str, other: &str) -> Option<Ordering> {
    PROGRESS.iter().find_map(|row| {
        let at = |state: &str| row.iter().position(|known| *known == state);
        Some(at(one)?.cmp(&at(other)?))
    })
}

/// Which of two objects is in a later state, if they have states.
fn steps_between(aws: &Map<String, Value>, sandbox: &Map<String, Value>) -> Ordering {
    let state = |value: &Value| value.get("name").unwrap_or(value).as_str().map(str::to_owned);
    let is_state = |name: &str| {
        let name = name.to_ascii_lowercase();
        name.ends_with("state") || name.ends_with("status")
    };
    aws.iter()
        .filter(|(name, _)| is_state(name))
        .filter_map(|(name, value)| order(&state(value)?, &state(sandbox.get(name)?)?))
        .find(|order| order.is_ne())
        .unwrap_or(Ordering::Equal)
}

/// The same for EC2's numbers of states.
fn is_code_of_progress(path: &str, one: &str, other: &str) -> bool {
    let name = |code| match code {
        "0" => "pending",
        "16" => "running",
        "32" => "shutting-down",
        "48" => "terminated",
        "64" => "stopping",
        "80" => "stopped",
        _ => "",
    };
    path.to_ascii_lowercase().ends_with("state.code") && is_progress(name(one), name(other))
}

/// How many values two items have in common.
fn likeness(aws: &Value, sandbox: &Value, ids: &Ids) -> usize {
    match (aws, sandbox) {
        (Value::Object(ours), Value::Object(theirs)) => {
            ours.iter().filter_map(|(name, value)| Some(likeness(value, theirs.get(name)?, ids))).sum()
        }
        (Value::Array(ours), Value::Array(theirs)) => ours
            .iter()
            .take(PAIRED)
            .map(|item| theirs.iter().take(PAIRED).map(|other| likeness(item, other, ids)).max().unwrap_or(0))
            .sum(),
        (Value::String(ours), Value::String(theirs)) => usize::from(ids.text(ours) == *theirs) * 4,
        (ours, theirs) => usize::from(ours == theirs),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use serde_json::json;

    use super::*;

    fn differences(aws: &Value, sandbox: &Value) -> Vec<String> {
        let mut ids = Ids::default();
        let mut found = Found { ids: &mut ids, list: Vec::new(), is_behind: false };
        found.values("", aws, sandbox);
        found.list.iter().map(Difference::to_string).collect()
    }

    #[test]
    fn ids_dates_texts_and_progress_do_not_differ() {
        let aws = json!({"id": "i-1", "at": "2026-01-01T00:00:00Z", "state": "pending", "n": 1, "s": [], "d": "one"});
        let sandbox =
            json!({"id": "i-2", "at": "2026-01-02T00:00:00Z", "state": "running", "n": 2, "s": "", "d": "two"});
        assert_eq!(differences(&aws, &sandbox), Vec::<String>::new());
    }

    #[test]
    fn every_kind_of_difference_is_listed() {
        let cases = [
            (json!({"a": 1}), json!({}), "a: AWS sends it, sandbox does not"),
            (json!({}), json!({"a": 1}), "a: AWS does not send it, sandbox does"),
            (json!({"a": [{"b": "x"}]}), json!({"a": [{}, 1]}), "a[]: AWS has 1 item, sandbox has 2 items"),
            (json!({"a": "x"}), json!({"a": 1}), "a: AWS sends a text, sandbox sends a number"),
            (
                json!({"state": "running"}),
                json!({"state": "stopped"}),
                "state: AWS says `running`, sandbox says `stopped`",
            ),
            (json!({"a": true}), json!({"a": false}), "a: AWS says `true`, sandbox says `false`"),
            (json!({"a": "FARGATE"}), json!({"a": "EC2"}), "a: AWS says `FARGATE`, sandbox says `EC2`"),
        ];
        for (aws, sandbox, expected) in cases {
            assert_eq!(differences(&aws, &sandbox).first().unwrap(), expected);
        }
    }

    #[test]
    fn items_are_paired_by_their_content() {
        let aws = json!([{"zone": "a", "id": "subnet-1"}, {"zone": "b", "id": "subnet-2", "state": "available"}]);
        let sandbox = json!([{"zone": "b", "id": "subnet-4", "state": "available"}, {"zone": "a", "id": "subnet-3"}]);
        let mut ids = Ids::default();
        Found { ids: &mut ids, list: Vec::new(), is_behind: false }.values("", &aws, &sandbox);
        assert_eq!(ids.text("subnet-1 subnet-2"), "subnet-3 subnet-4");
    }

    #[test]
    fn xml_has_the_form_of_json() {
        let xml = "<?xml version=\"1.0\"?><R><set><item><a>1</a></item></set><V>x</V><V>y</V><e/><t>a&lt;&#65;</t></R>";
        let expected = json!({"set": [{"a": "1"}], "V": ["x", "y"], "e": "", "t": "a<A"});
        assert_eq!(tree::of_text(xml), expected);
        for broken in ["<a", "<a><b></a>", "text", "<a>&unknown;</a>", "</a>"] {
            assert_eq!(tree::of_text(broken), json!(broken));
        }
    }
}
