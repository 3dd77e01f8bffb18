//! Handles a call before and beside its execution: counts it, throttles it, or makes it fail.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use hyper::HeaderMap;
use jiff::Timestamp;
use serde::Serialize;

use crate::{
    Effect, FaultRule,
    call::Fault,
    query::Params,
    signature::signed_at,
    throttle::{self, Buckets, Spent},
};

/// How often an operation was called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct CallCount {
    /// Calls so far, including failed ones.
    pub count: u64,
    /// How many of them were throttled.
    pub refused: u64,
    /// Whether the operation changes anything.
    pub mutating: bool,
    /// The latest time at which one of them was signed, in whole seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signed: Option<Timestamp>,
}

/// The calls so far by `service:Action`.
pub type Calls = BTreeMap<String, CallCount>;

/// What happens to a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Execute and answer it.
    Execute,
    /// Execute it, then close the connection without an answer.
    ExecuteAndDrop,
    /// Close the connection without an execution or an answer.
    Drop,
    /// Answer this error.
    Refuse(Fault),
}

/// The counters, token buckets and fault rules.
#[derive(Debug)]
pub(crate) struct Control {
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    calls: Calls,
    /// The length of the longest chain of answered calls in which each call began after the answer to the one before.
    in_a_row: u64,
    faults: Vec<Armed>,
    buckets: Option<Buckets>,
}

/// A rule, and how many calls it has seen.
#[derive(Debug)]
struct Armed {
    rule: FaultRule,
    seen: u64,
}

impl Control {
    pub(crate) fn new(faults: Vec<FaultRule>, throttle: Option<f64>) -> Self {
        let inner =
            Inner { calls: Calls::new(), in_a_row: 0, faults: arm(faults), buckets: throttle.map(Buckets::new) };
        Self { inner: Mutex::new(inner) }
    }

    /// The calls so far.
    pub(crate) fn calls(&self) -> Calls {
        self.lock().calls.clone()
    }

    /// What was taken from each bucket so far; nothing without throttling.
    pub(crate) fn spent(&self) -> BTreeMap<String, Spent> {
        self.lock().buckets.as_ref().map(|buckets| buckets.spent().clone()).unwrap_or_default()
    }

    /// A call begins. Returns its position in the longest chain of consecutive calls.
    pub(crate) fn begin(&self) -> u64 {
        self.lock().in_a_row + 1
    }

    /// The call with this position has been answered.
    pub(crate) fn end(&self, place: u64) {
        let mut inner = self.lock();
        inner.in_a_row = inner.in_a_row.max(place);
    }

    /// The length of the longest chain of consecutive calls.
    pub(crate) fn calls_in_a_row(&self) -> u64 {
        self.lock().in_a_row
    }

    /// Replaces the fault rules.
    pub(crate) fn set_faults(&self, faults: Vec<FaultRule>) {
        self.lock().faults = arm(faults);
    }

    /// Counts a call and decides what happens to it.
    pub(crate) fn admit(
        &self,
        headers: &HeaderMap,
        service: &str,
        region: &str,
        action: &str,
        params: &Params<'_>,
    ) -> Verdict {
        let operation = format!("{service}:{action}");
        let mut inner = self.lock();
        let Inner { calls, buckets, .. } = &mut *inner;
        // A dry run changes nothing, so it is counted apart from the calls that do.
        let is_dry = service == "ec2" && params.bool("DryRun") == Ok(Some(true));
        let counted = if is_dry { format!("{operation} (dry run)") } else { operation.clone() };
        let first = CallCount { count: 0, refused: 0, mutating: !is_dry && is_mutating(action), signed: None };
        let call = calls.entry(counted).or_insert(first);
        call.count += 1;
        call.signed = call.signed.max(signed_at(headers));
        if let Some(buckets) = buckets
            && !buckets.take(service, region, action, params, Instant::now())
        {
            call.refused += 1;
            return Verdict::Refuse(throttle::refusal(service));
        }
        let mut verdict = Verdict::Execute;
        for armed in inner.faults.iter_mut().filter(|armed| armed.rule.concerns(&operation)) {
            armed.seen += 1;
            let since = armed.seen.checked_sub(armed.rule.nth);
            if verdict == Verdict::Execute && since.is_some_and(|since| since < armed.rule.times) {
                verdict = Verdict::from(&armed.rule.effect);
            }
        }
        verdict
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl From<&Effect> for Verdict {
    fn from(effect: &Effect) -> Self {
        match effect {
            Effect::Error { code, status, message } => {
                Self::Refuse(Fault::new(code, message.clone()).with_status(*status))
            }
            Effect::DropBefore => Self::Drop,
            Effect::DropAfter => Self::ExecuteAndDrop,
        }
    }
}

impl FaultRule {
    fn concerns(&self, operation: &str) -> bool {
        match self.operation.strip_suffix('*') {
            Some(start) => operation.starts_with(start),
            None => self.operation == operation,
        }
    }
}

fn arm(faults: Vec<FaultRule>) -> Vec<Armed> {
    faults.into_iter().map(|rule| Armed { rule, seen: 0 }).collect()
}

/// Whether an operation can change anything but what follows from the time. `GetSessionToken` opens a session.
pub(crate) fn is_mutating(action: &str) -> bool {
    action == "GetSessionToken"
        || !["Describe", "Get", "List", "Head", "Filter", "Simulate", "GET "]
            .iter()
            .any(|verb| action.starts_with(verb))
}

#[cfg(test)]
mod tests {
    use hyper::HeaderMap;

    use super::{Control, Verdict, is_mutating};
    use crate::{Effect, FaultRule, authorize, call::Call, json::testing, query::Params, server::handle};

    /// What most reads need to find something.
    const PARAMETERS: [(&str, &str); 8] = [
        ("ActionNames.member.1", "s3:GetObject"),
        ("InstanceProfileName", "one"),
        ("PolicyArn", "arn:aws:iam::123456789012:policy/one"),
        ("PolicyName", "one"),
        ("PolicySourceArn", "arn:aws:iam::123456789012:user/one"),
        ("RoleName", "one"),
        ("UserName", "one"),
        ("VersionId", "v1"),
    ];

    fn call(service: &str, action: &str, more: &[(&str, &str)]) -> Call {
        let is_query = matches!(service, "ec2" | "iam" | "sts");
        let call = if is_query {
            testing::query_call(action, &[&PARAMETERS, more].concat())
        } else {
            testing::json_call(action, 0, serde_json::json!({}))
        };
        Call { service: service.to_owned(), ..call }
    }

    #[test]
    fn a_call_that_counts_as_a_read_changes_no_row() {
        let mut cloud = testing::cloud();
        let trust = r#"{"Statement":[{"Effect":"Allow","Principal":{"Service":"ec2.amazonaws.com"},"Action":"sts:AssumeRole"}]}"#;
        let document = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*"}]}"#;
        let documents = [("AssumeRolePolicyDocument", trust), ("PolicyDocument", document)];
        for action in
            ["CreateRole", "CreateUser", "CreateInstanceProfile", "CreatePolicy", "PutRolePolicy", "PutUserPolicy"]
        {
            handle(&mut cloud, &call("iam", action, &documents)).unwrap();
        }
        let mut answered = std::collections::BTreeMap::new();
        for service in ["ec2", "ecs", "iam", "sts", "ssm", "logs", "secretsmanager", "servicequotas", "tagging"] {
            for (action, _) in authorize::rows(service).iter().filter(|(action, _)| !is_mutating(action)) {
                let call = call(service, action, &[]);
                cloud.enter(&call.region, call.now);
                cloud.commit().unwrap();
                let answer = cloud.attempt(|cloud| handle(cloud, &call));
                *answered.entry(service).or_insert(0) += usize::from(answer.is_ok());
                assert_eq!(cloud.changed(), [""; 0], "{service}:{action}");
            }
        }
        // A call that fails changes nothing in any case.
        assert!(answered["ec2"] >= 40 && answered["iam"] >= 25 && answered["ecs"] >= 5, "{answered:?}");
        assert!(is_mutating("GetSessionToken"));
    }

    #[test]
    fn a_fault_affects_only_the_calls_it_names() {
        let rule = FaultRule { operation: "ec2:RunInstances".into(), nth: 2, times: 1, effect: Effect::DropAfter };
        let control = Control::new(vec![rule], None);
        let call = |action| control.admit(&HeaderMap::new(), "ec2", "eu-west-3", action, &Params::new(&[]));
        assert_eq!(call("RunInstances"), Verdict::Execute);
        assert_eq!(call("DescribeVpcs"), Verdict::Execute);
        assert_eq!(call("RunInstances"), Verdict::ExecuteAndDrop);
        assert_eq!(call("RunInstances"), Verdict::Execute);
        let calls = control.calls();
        assert_eq!(calls.get("ec2:RunInstances").map(|call| (call.count, call.mutating)), Some((3, true)));
        assert_eq!(calls.get("ec2:DescribeVpcs").map(|call| (call.count, call.mutating)), Some((1, false)));
    }

    #[test]
    fn a_dry_run_counts_as_a_read() {
        let control = Control::new(Vec::new(), None);
        let pairs = [("DryRun".to_owned(), "true".to_owned())];
        control.admit(&HeaderMap::new(), "ec2", "eu-west-3", "RunInstances", &Params::new(&pairs));
        let calls = control.calls();
        assert_eq!(calls.get("ec2:RunInstances (dry run)").map(|call| (call.count, call.mutating)), Some((1, false)));
        assert_eq!(calls.get("ec2:RunInstances").map(|call| call.count), None);
    }
}
