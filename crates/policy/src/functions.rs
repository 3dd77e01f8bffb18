//! Functions of OPA that the evaluator lacks without its own access to the machine, or does not limit.

use std::net::IpAddr;

use ipnet::IpNet;
use regorus::{Engine, Value};

/// The length of the longest list that `numbers.range` gives.
const LONGEST: u64 = 100_000;

/// The names of these functions.
pub(crate) const NAMES: &[&str] = &["net.cidr_contains", "net.cidr_is_valid", "numbers.range"];

/// Functions that are never found, because what they need is not limited.
pub(crate) const REFUSED: &[&str] = &["numbers.range_step"];

#[derive(Debug, thiserror::Error)]
enum FunctionError {
    #[error("`{0}` is not a network such as 10.0.0.0/8")]
    Network(String),
    #[error("numbers.range takes two integers that are less than {LONGEST} apart")]
    Range,
}

/// Adds them to an engine.
pub(crate) fn add(engine: &mut Engine) {
    let functions = [
        engine.add_extension(
            "net.cidr_contains".into(),
            2,
            Box::new(|arguments| {
                let [one, other] = arguments.as_slice() else { return Ok(Value::Undefined) };
                let (one, other) = (network(one.as_string()?)?, network(other.as_string()?)?);
                Ok(Value::Bool(one.contains(&other)))
            }),
        ),
        engine.add_extension(
            "net.cidr_is_valid".into(),
            1,
            Box::new(|arguments| {
                let [text] = arguments.as_slice() else { return Ok(Value::Undefined) };
                Ok(Value::Bool(text.as_string().is_ok_and(|text| text.parse::<IpNet>().is_ok())))
            }),
        ),
        engine.add_extension(
            "numbers.range".into(),
            2,
            Box::new(|arguments| {
                let [one, other] = arguments.as_slice() else { return Ok(Value::Undefined) };
                let (Ok(one), Ok(other)) = (one.as_i64(), other.as_i64()) else {
                    return Err(FunctionError::Range.into());
                };
                if one.abs_diff(other) >= LONGEST {
                    return Err(FunctionError::Range.into());
                }
                let numbers: Vec<Value> = if one <= other {
                    (one..=other).map(Value::from).collect()
                } else {
                    (other..=one).rev().map(Value::from).collect()
                };
                Ok(Value::from(numbers))
            }),
        ),
    ];
    // Only a second function of the same name is an error.
    debug_assert!(functions.iter().all(Result::is_ok));
}

/// A network, or the network of one address.
fn network(text: &str) -> Result<IpNet, FunctionError> {
    text.parse()
        .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
        .map_err(|_| FunctionError::Network(text.to_owned()))
}
