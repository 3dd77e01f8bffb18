//! `cargo xtask replay`: sends the calls of a transcript to a sandbox, in the same order, and lists how its answers
//! differ from those that the transcript has.
//!
//! The sandbox is a process of its own, so that this program needs neither the sandbox nor the AWS SDKs. Values that AWS
//! gave out (ids, addresses, tokens) are replaced with those of the sandbox as they appear in its answers. They are never
//! compared, and neither are dates and texts.

mod client;
mod compare;
mod ids;
mod prepare;
mod tree;

use std::{
    collections::BTreeMap,
    path::PathBuf,
    time::{Duration, Instant},
};

use serde::Serialize;
use serde_json::Value;

use self::{
    client::Answer,
    compare::{Compared, Difference, Kind},
    ids::Ids,
};
use crate::{
    Failure, build,
    sandbox::Sandbox,
    transcript::{self, Call},
};

/// The account in every transcript.
pub(crate) const ACCOUNT: &str = "111122223333";

/// The pause before the sandbox is asked again.
const PAUSE: Duration = Duration::from_millis(100);

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The transcript, as `cargo xtask live` or `trunnion apply --transcript FILE` wrote it
    transcript: PathBuf,
    /// Print the differences as JSON
    #[arg(long)]
    json: bool,
    /// An existing build of `trunnion`; without it, one is built
    #[arg(long, value_name = "PROGRAM")]
    program: Option<PathBuf>,
    /// How long a call is repeated while the sandbox answers an error where AWS did not, or is in an earlier state, in
    /// milliseconds
    #[arg(long, value_name = "MS", default_value_t = 10_000)]
    patience: u64,
    /// Further options for `trunnion sandbox`
    #[arg(last = true, value_name = "OPTION")]
    sandbox: Vec<String>,
}

/// A client for the sandbox, for the steps of other tasks.
pub(crate) use self::client::Client;
/// The tree of a body, for the checks of a live run.
pub(crate) use self::tree::of_body as tree_of;

/// What was found.
#[derive(Debug, Default, Serialize)]
struct Report {
    /// The calls in the transcript.
    calls: usize,
    /// How many were sent and compared.
    compared: usize,
    /// How many were not compared, by the reason.
    left_out: BTreeMap<&'static str, usize>,
    differences: Vec<Found>,
}

/// A difference in one or more calls of an operation.
#[derive(Debug, Serialize)]
struct Found {
    operation: String,
    #[serde(flatten)]
    difference: Difference,
    /// The line of the first call.
    line: usize,
    /// In how many calls.
    times: usize,
}

/// Replays; `false` if there are differences.
#[expect(clippy::print_stdout, reason = "a chore talks to the person who runs it")]
pub(crate) fn replay(arguments: &Arguments) -> Result<bool, Failure> {
    let calls = transcript::read(&arguments.transcript)?;
    let program = match &arguments.program {
        Some(program) => program.clone(),
        None => build("dev")?.join("trunnion"),
    };
    let account = ["--account".to_owned(), ACCOUNT.to_owned()];
    let sandbox = Sandbox::start(&program, &[&account, arguments.sandbox.as_slice()].concat())?;
    let client = Client::new(&sandbox.address)?;
    let mut run = Run {
        client,
        ids: Ids::default(),
        early: BTreeMap::new(),
        report: Report { calls: calls.len(), ..Report::default() },
        patience: Duration::from_millis(arguments.patience),
    };
    prepare::prepare(&calls, &run.client, &mut run.ids)?;
    for (index, call) in calls.iter().enumerate() {
        let (earlier, later) = (calls.get(..index).unwrap_or_default(), calls.get(index + 1..).unwrap_or_default());
        run.one(call, earlier, later)
            .map_err(|failure| format!("line {} of `{}`: {failure}", call.line, arguments.transcript.display()))?;
    }
    let report = run.report;
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print!("{}", report.text());
    }
    Ok(report.differences.is_empty())
}

/// A replay in progress.
struct Run {
    client: Client,
    ids: Ids,
    /// Answers to calls that AWS first refused, by the line of the call that AWS accepted.
    early: BTreeMap<usize, Answer>,
    report: Report,
    patience: Duration,
}

impl Run {
    fn one(&mut self, call: &Call, earlier: &[Call], later: &[Call]) -> Result<(), Failure> {
        let repeated = later.iter().find(|later| later.is_same_request(call) && later.is_success());
        if call.failure.is_some() || call.status.is_none() {
            // AWS may have done what the call asked for.
            if repeated.is_none() && !call.is_read() {
                self.client.send(call, &self.ids)?;
            }
            self.leave_out("AWS's answer is not complete");
            return Ok(());
        }
        if is_throttled(call) {
            self.leave_out("AWS refused it because of a rate limit");
            return Ok(());
        }
        let mut answer = match self.early.remove(&call.line) {
            Some(answer) => answer,
            None => self.client.send(call, &self.ids)?,
        };
        let begin = Instant::now();
        while call.is_success() && !answer.is_success() && begin.elapsed() < self.patience {
            std::thread::sleep(PAUSE);
            answer = self.client.send(call, &self.ids)?;
        }
        if let (Some(repeated), false) = (repeated, call.is_success())
            && (answer.is_success() || !call.is_read())
        {
            if !call.is_read() && answer.is_success() {
                self.early.insert(repeated.line, answer);
            }
            self.leave_out("AWS answered an error at first, and accepted the same call later");
            return Ok(());
        }
        self.report.compared += 1;
        let mut compared = compare::compare(call, &answer, &mut self.ids);
        while compared.is_behind && call.is_read() && begin.elapsed() < self.patience {
            std::thread::sleep(PAUSE);
            answer = self.client.send(call, &self.ids)?;
            compared = compare::compare(call, &answer, &mut self.ids);
        }
        if call.is_read() && self.is_ahead(&compared, &answer, call, later) {
            self.report.compared -= 1;
            self.leave_out("AWS gave the sandbox's answer a moment later");
            return Ok(());
        }
        if call.is_read() && is_past(&compared, &answer, call, earlier) {
            self.report.compared -= 1;
            self.leave_out("AWS still showed what it showed before");
            return Ok(());
        }
        for difference in compared.differences {
            self.report.add(call, difference);
        }
        Ok(())
    }

    /// Whether lists or a status differ only because AWS was later: it answers the same call as the sandbox further on.
    fn is_ahead(&self, compared: &Compared, answer: &Answer, call: &Call, later: &[Call]) -> bool {
        let is_gone = call.is_success() && !answer.is_success();
        let is_late = |difference: &Difference| is_gone || difference.kind == Kind::Items;
        if compared.differences.is_empty() || !compared.differences.iter().all(is_late) {
            return false;
        }
        let again = later.iter().filter(|next| next.is_same_request(call) && next.status.is_some());
        again.into_iter().any(|next| compare::compare(next, answer, &mut self.ids.clone()).differences.is_empty())
    }

    fn leave_out(&mut self, why: &'static str) {
        *self.report.left_out.entry(why).or_default() += 1;
    }
}

/// Whether the answers differ only because AWS still shows what it showed before a deletion: items of lists that the sandbox
/// has no more, or the answer to a call that the sandbox refuses now.
fn is_past(compared: &Compared, answer: &Answer, call: &Call, earlier: &[Call]) -> bool {
    let deletes = |other: &Call| other.is_deletion() && other.is_success() && other.service() == call.service();
    let before_deletion = earlier.get(..earlier.iter().rposition(deletes).unwrap_or_default()).unwrap_or_default();
    let shown = |call: &Call| call.answer.as_ref().map_or(Value::Null, tree::of_body);
    let now = shown(call);
    let before = before_deletion.iter().filter(|before| before.is_same_request(call) && before.is_success());
    let mut before = before.map(shown);
    if call.is_success() && !answer.is_success() {
        return before.any(|before| before == now);
    }
    if compared.differences.is_empty() || compared.differences.iter().any(|difference| difference.kind != Kind::Items) {
        return false;
    }
    let (now, before) = (tree::items(&now), before.flat_map(|before| tree::items(&before)).collect::<Vec<Value>>());
    now.len() > tree::items(&answer.tree).len() && now.iter().all(|item| before.contains(item))
}

fn is_throttled(call: &Call) -> bool {
    let code = call.answer.as_ref().and_then(|answer| compare::error_code(&tree::of_body(answer))).unwrap_or_default();
    ["Throttl", "RequestLimitExceeded", "SlowDown", "TooManyRequests"].iter().any(|part| code.contains(part))
}

impl Report {
    fn add(&mut self, call: &Call, difference: Difference) {
        let same = |found: &&mut Found| found.operation == call.operation && found.difference == difference;
        match self.differences.iter_mut().find(same) {
            Some(found) => found.times += 1,
            None => self.differences.push(Found {
                operation: call.operation.clone(),
                difference,
                line: call.line,
                times: 1,
            }),
        }
    }

    fn text(&self) -> String {
        use std::fmt::Write as _;
        let mut text = String::new();
        let mut by_operation: BTreeMap<&str, Vec<&Found>> = BTreeMap::new();
        for found in &self.differences {
            by_operation.entry(&found.operation).or_default().push(found);
        }
        for (operation, list) in &by_operation {
            let _ = writeln!(text, "{operation}");
            for Found { difference, line, times, .. } in list {
                let more = if *times > 1 { format!(", in {times} calls") } else { String::new() };
                let _ = writeln!(text, "  {difference} (line {line}{more})");
            }
        }
        for (why, count) in &self.left_out {
            let _ = writeln!(text, "not compared: {count}, because {why}");
        }
        let count = |kind| self.differences.iter().filter(|found| found.difference.kind == kind).count();
        let kinds: Vec<String> = Kind::ALL
            .into_iter()
            .filter(|kind| count(*kind) > 0)
            .map(|kind| format!("{} {}", count(kind), kind.plural()))
            .collect();
        let kinds = if kinds.is_empty() { String::new() } else { format!(": {}", kinds.join(", ")) };
        let found = match self.differences.len() {
            0 => "no difference".to_owned(),
            1 => "1 difference".to_owned(),
            many => format!("{many} differences"),
        };
        let _ = writeln!(text, "{} of {} calls compared, {found}{kinds}", self.compared, self.calls);
        text
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use serde_json::json;

    use super::*;

    fn call(operation: &str, answer: &Value) -> Call {
        serde_json::from_value(json!({
            "operation": operation, "region": "eu-west-3", "method": "POST", "path": "/", "query": [], "headers": {},
            "request": "empty", "status": 200, "answer": { "json": answer }, "latency_ms": 1.0,
        }))
        .unwrap()
    }

    #[test]
    fn only_a_deletion_makes_an_answer_an_earlier_one() {
        let roles = json!({ "Roles": [{ "RoleName": "a" }, { "RoleName": "b" }] });
        let late = json!({ "Roles": [{ "RoleName": "b" }] });
        let read = |answer: &Value| call("iam:ListRoles", answer);
        let is_past = |earlier: &[Call], status, aws: &Value, sandbox: Value| {
            let answer = Answer { status, headers: BTreeMap::new(), tree: sandbox, body: bytes::Bytes::new() };
            let compared = compare::compare(&read(aws), &answer, &mut Ids::default());
            super::is_past(&compared, &answer, &read(aws), earlier)
        };
        let none = || json!({ "Roles": [] });
        let refused = || json!({ "Error": { "Code": "NoSuchEntity" } });
        let deleted = [read(&roles), call("iam:DeleteRole", &json!({}))];
        assert!(is_past(&deleted, 200, &late, none()) && is_past(&deleted, 404, &roles, refused()));
        let other = json!({ "Roles": [{ "RoleName": "c" }] });
        assert!(!is_past(&deleted, 200, &other, none()), "it was never shown");
        for earlier in
            [[read(&roles), call("s3:DeleteObject", &json!({}))], [call("iam:DeleteRole", &json!({})), read(&roles)]]
        {
            assert!(!is_past(&earlier, 200, &late, none()) && !is_past(&earlier, 404, &roles, refused()));
        }
    }
}
