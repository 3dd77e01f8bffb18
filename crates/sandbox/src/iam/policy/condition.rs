//! Conditions: every operator of IAM ("IAM JSON policy elements: Condition operators" and "Set operators for multivalued
//! context keys", IAM user guide, read November 2026).

use std::net::IpAddr;

use base64::{Engine, engine::general_purpose::STANDARD};
use ipnet::IpNet;
use jiff::{Timestamp, civil};
use serde_json::Value;

use super::{
    Unknown, Version,
    context::{Context, Looked, Values},
    pattern::Pattern,
};

/// One operator with one key.
#[derive(Debug, Clone)]
pub(super) struct Condition {
    operator: Operator,
    key: String,
    values: Vec<Pattern>,
}

#[derive(Debug, Clone, Copy)]
struct Operator {
    test: Test,
    negated: bool,
    if_exists: bool,
    set: Option<Set>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Set {
    All,
    Any,
}

/// How one value of the request is compared with one of the policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Test {
    Equal,
    EqualIgnoringCase,
    Like,
    Number(Order),
    Date(Order),
    Bool,
    Binary,
    Ip,
    Arn,
    Null,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Order {
    fn holds<T: PartialOrd>(self, value: &T, wanted: &T) -> bool {
        match self {
            Self::Equal => value == wanted,
            Self::Less => value < wanted,
            Self::LessOrEqual => value <= wanted,
            Self::Greater => value > wanted,
            Self::GreaterOrEqual => value >= wanted,
        }
    }
}

impl Operator {
    fn read(name: &str) -> Option<Self> {
        let (set, bare) = match name.split_once(':') {
            None => (None, name),
            Some(("ForAllValues", bare)) => (Some(Set::All), bare),
            Some(("ForAnyValue", bare)) => (Some(Set::Any), bare),
            Some(_) => return None,
        };
        let (if_exists, bare) = bare.strip_suffix("IfExists").map_or((false, bare), |bare| (true, bare));
        let (test, negated) = test(bare)?;
        // `Null` asks for the existence itself.
        let is_odd = test == Test::Null && (if_exists || set.is_some());
        (!is_odd).then_some(Self { test, negated, if_exists, set })
    }
}

fn test(name: &str) -> Option<(Test, bool)> {
    Some(match name {
        "StringEquals" => (Test::Equal, false),
        "StringNotEquals" => (Test::Equal, true),
        "StringEqualsIgnoreCase" => (Test::EqualIgnoringCase, false),
        "StringNotEqualsIgnoreCase" => (Test::EqualIgnoringCase, true),
        "StringLike" => (Test::Like, false),
        "StringNotLike" => (Test::Like, true),
        "NumericEquals" => (Test::Number(Order::Equal), false),
        "NumericNotEquals" => (Test::Number(Order::Equal), true),
        "NumericLessThan" => (Test::Number(Order::Less), false),
        "NumericLessThanEquals" => (Test::Number(Order::LessOrEqual), false),
        "NumericGreaterThan" => (Test::Number(Order::Greater), false),
        "NumericGreaterThanEquals" => (Test::Number(Order::GreaterOrEqual), false),
        "DateEquals" => (Test::Date(Order::Equal), false),
        "DateNotEquals" => (Test::Date(Order::Equal), true),
        "DateLessThan" => (Test::Date(Order::Less), false),
        "DateLessThanEquals" => (Test::Date(Order::LessOrEqual), false),
        "DateGreaterThan" => (Test::Date(Order::Greater), false),
        "DateGreaterThanEquals" => (Test::Date(Order::GreaterOrEqual), false),
        "Bool" => (Test::Bool, false),
        "BinaryEquals" => (Test::Binary, false),
        "IpAddress" => (Test::Ip, false),
        "NotIpAddress" => (Test::Ip, true),
        "ArnEquals" | "ArnLike" => (Test::Arn, false),
        "ArnNotEquals" | "ArnNotLike" => (Test::Arn, true),
        "Null" => (Test::Null, false),
        _ => return None,
    })
}

impl Condition {
    /// The key, and those of variables in the values.
    pub(super) fn keys(&self) -> impl Iterator<Item = String> {
        std::iter::once(self.key.clone()).chain(self.values.iter().flat_map(Pattern::variables))
    }

    /// Reads the `Condition` of a statement.
    pub(super) fn read_block(block: &Value, version: Version) -> Result<Vec<Self>, String> {
        let Value::Object(operators) = block else { return Err("`Condition` is not a JSON object".to_owned()) };
        let mut all = Vec::new();
        for (name, keys) in operators {
            let operator =
                Operator::read(name).ok_or_else(|| format!("the condition operator `{name}` is not known"))?;
            let Value::Object(keys) = keys else { return Err(format!("`{name}` is not a JSON object")) };
            for (key, values) in keys {
                if !key.split_once(':').is_some_and(|(prefix, name)| !prefix.is_empty() && !name.is_empty()) {
                    return Err(format!("`{key}` is not a condition key"));
                }
                let values: Vec<Pattern> = texts(values)
                    .ok_or_else(|| format!("the values of `{key}` are neither texts nor numbers nor booleans"))?
                    .iter()
                    .map(|text| Pattern::read(text, version))
                    .collect::<Result<_, _>>()?;
                if values.is_empty() {
                    return Err(format!("`{key}` has no value to compare with"));
                }
                if let Some(wrong) =
                    values.iter().find(|value| value.is_constant() && !is_value(operator.test, value.text()))
                {
                    return Err(format!("`{}` is not a value for `{name}`", wrong.text()));
                }
                all.push(Self { operator, key: key.clone(), values });
            }
        }
        Ok(all)
    }

    /// Whether it holds for a request.
    pub(super) fn holds(&self, context: &Context) -> Result<bool, Unknown> {
        let Operator { test, negated, if_exists, set } = self.operator;
        let values: &[String] = match context.look(&self.key) {
            Looked::Unknown => return Err(Unknown::Key(self.key.clone())),
            Looked::Set(Values::One(value)) => std::slice::from_ref(value),
            Looked::Set(Values::Many(values)) => values,
            Looked::Absent => &[],
        };
        if test == Test::Null {
            let is_absent = values.is_empty().to_string();
            return self.any(|wanted| Ok(wanted.value(context)?.is_some_and(|it| it.eq_ignore_ascii_case(&is_absent))));
        }
        if values.is_empty() {
            return Ok(match set {
                Some(Set::All) => true,
                Some(Set::Any) => if_exists,
                None => negated || if_exists,
            });
        }
        let matches = |value: &String| Ok(self.any(|wanted| compare(test, value, wanted, context))? != negated);
        match (set, values) {
            (Some(Set::All), values) => every(values, matches),
            (Some(Set::Any), values) => Ok(!every(values, |value| Ok(!matches(value)?))?),
            (None, [value]) if matches!(context.look(&self.key), Looked::Set(Values::One(_))) => matches(value),
            (None, _) => Err(Unknown::Several(self.key.clone())),
        }
    }

    fn any(&self, test: impl Fn(&Pattern) -> Result<bool, Unknown>) -> Result<bool, Unknown> {
        Ok(!every(&self.values, |wanted| Ok(!test(wanted)?))?)
    }
}

/// Whether all items pass. Each is looked at, so that nothing unknown is passed over.
fn every<T>(items: &[T], passes: impl Fn(&T) -> Result<bool, Unknown>) -> Result<bool, Unknown> {
    items.iter().try_fold(true, |all, item| Ok(passes(item)? && all))
}

/// A text, number or boolean, or a list of those.
fn texts(value: &Value) -> Option<Vec<String>> {
    let text = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
        _ => None,
    };
    match value {
        Value::Array(values) => values.iter().map(text).collect(),
        value => text(value).map(|text| vec![text]),
    }
}

/// Whether a policy's value can be compared at all.
fn is_value(test: Test, wanted: &str) -> bool {
    match test {
        Test::Equal | Test::EqualIgnoringCase | Test::Like => true,
        Test::Number(_) => number(wanted).is_some(),
        Test::Date(_) => date(wanted).is_some(),
        Test::Bool | Test::Null => truth(wanted).is_some(),
        Test::Binary => STANDARD.decode(wanted).is_ok(),
        Test::Ip => network(wanted).is_some(),
        // `*` alone is common in policies, and matches every ARN.
        Test::Arn => wanted == "*" || wanted.splitn(6, ':').count() == 6,
    }
}

fn compare(test: Test, value: &str, wanted: &Pattern, context: &Context) -> Result<bool, Unknown> {
    match test {
        Test::Like => return wanted.matches(value, context, false),
        Test::Arn if wanted.is_everything() => return Ok(true),
        Test::Arn => return wanted.matches_arn(value, context),
        _ => {}
    }
    let Some(wanted) = wanted.value(context)? else { return Ok(false) };
    let both = |holds: Option<bool>| Ok(holds.unwrap_or(false));
    match test {
        Test::Equal => Ok(value == wanted),
        Test::EqualIgnoringCase => Ok(value.to_lowercase() == wanted.to_lowercase()),
        Test::Number(order) => both(number(value).zip(number(&wanted)).map(|(one, other)| order.holds(&one, &other))),
        Test::Date(order) => both(date(value).zip(date(&wanted)).map(|(one, other)| order.holds(&one, &other))),
        Test::Bool => both(truth(value).zip(truth(&wanted)).map(|(one, other)| one == other)),
        Test::Binary => {
            both(STANDARD.decode(value).ok().zip(STANDARD.decode(&wanted).ok()).map(|(one, other)| one == other))
        }
        Test::Ip => both(network(&wanted).zip(value.parse::<IpAddr>().ok()).map(|(net, one)| net.contains(&one))),
        Test::Like | Test::Arn | Test::Null => Ok(false),
    }
}

fn number(text: &str) -> Option<f64> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte));
    text.parse().ok().filter(|_| is_plain)
}

fn truth(text: &str) -> Option<bool> {
    ["true", "false"].into_iter().find(|word| text.eq_ignore_ascii_case(word)).map(|word| word == "true")
}

/// ISO 8601, to the day or to the second, or seconds since 1970. A number that can be a year or a day without hyphens is
/// none of these: nobody means a day of 1970 with it.
fn date(text: &str) -> Option<Timestamp> {
    if matches!(text.len(), 4 | 8) && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    if let Ok(seconds) = text.parse() {
        return Timestamp::from_second(seconds).ok();
    }
    let day = || text.parse::<civil::Date>().ok()?.to_zoned(jiff::tz::TimeZone::UTC).ok();
    text.parse().ok().or_else(|| Some(day()?.timestamp()))
}

fn network(text: &str) -> Option<IpNet> {
    text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}
