//! What the virtual users do, from which a plan computes how many the pools hold.

use rust_decimal::Decimal;
use serde_json::json;

use super::{
    Around, Below, Described,
    decimals::Number,
    key::{Kind, optional, or, or_else},
    kinds::{Integer, Nested},
    section::{Section as _, section},
};
use crate::{diagnostic::Findings, field::Field, field::Map, model::Bytes, tree::Value};

section! {
    /// What the virtual users of all tests do that run at once. A plan computes from it how many the pools hold, and what the traffic
    /// costs.
    pub struct Workload {
        /// How many virtual users run at once. A plan whose pools hold fewer is refused.
        virtual_users: Option<u32> = optional(Integer(1..=1_000_000_000), "no number is compared, and traffic has no cost")
            .such_as(&["2000000"]),
        /// How many connections a virtual user holds at once.
        connections_per_user: u32 = or(Integer(1..=1_000), "1").such_as(&["2"]),
        /// How many requests a virtual user sends a second, on average. With 0, users hold their connections and send nothing.
        requests_per_second_per_user: Decimal = or(
            Number { least: Decimal::ZERO, most: Decimal::from_parts(100_000, 0, 0, false, 0), places: 6 },
            "1",
        ).such_as(&["0.2"]),
        /// The size of a request and its response, in bytes. Of one number, the worse case is taken each time, because it does not say
        /// which part is sent.
        bytes_per_request: Bytes = or(Size, "{ sent: 1000, received: 10000 }")
            .such_as(&["{ sent: 2000, received: 50000 }", "20000"]),
        /// The destinations of the load.
        targets: Targets = or(Nested::new(), "{}"),
        /// Memory of Gatling for each virtual user, in bytes, without the kernel's part. The default was measured with one plain
        /// connection for each user; with TLS, it was 31,000.
        memory_per_user: u32 = or(Integer(1..=1_073_741_824), "6100").such_as(&["31000"]),
        /// What scripts need beside that, for feeders, bodies and checks, in percent of it.
        memory_margin_percent: u32 = or(Integer(0..=10_000), "100").such_as(&["50"]),
        /// How many hours of a month the load runs. Traffic costs money in these hours.
        hours_per_month: u32 = or(Integer(0..=730), "730").such_as(&["60"]),
        /// Which part of the traffic to private targets goes to another availability zone, in percent.
        other_zone_percent: u32 = or(Integer(0..=100), "100").such_as(&["0"]),
    }
}

section! {
    /// The destinations of the load: how many different pairs of an address and a port. Users are spread evenly over them.
    pub struct Targets {
        /// Reached by private addresses, or without the internet.
        private: u32 = or_else(Integer(0..=1_000_000), "0 with `public`, else 1", |map, _| {
            u32::from(map.get("public").is_none())
        }).such_as(&["4"]),
        /// On the internet.
        public: u32 = or(Integer(0..=1_000_000), "0").such_as(&["2"]),
    }
    check(map, _around, findings) {
        has_a_target(map, private, public, findings)
    }
}

fn has_a_target(map: &Map, private: Option<u32>, public: Option<u32>, findings: &mut Findings) -> Option<()> {
    if (private, public) == (Some(0), Some(0)) {
        let field = map.get("private").or_else(|| map.get("public"))?;
        findings.about(
            &field,
            "stack::out_of_range",
            "leaves no target",
            "give `private` or `public` a number above 0",
        );
        return None;
    }
    Some(())
}

/// Sizes of a request and its response.
struct Size;

/// The largest size of a request or a response, in bytes.
const LARGEST: u32 = 1 << 30;

section! {
    /// Each size by itself, in bytes.
    pub struct Sizes {
        /// The request.
        sent: u32 = or(Integer(0..=LARGEST), "0").such_as(&["2000"]),
        /// The response.
        received: u32 = or(Integer(0..=LARGEST), "0").such_as(&["50000"]),
    }
}

impl Kind for Size {
    type Value = Bytes;

    fn read(&self, field: &Field, around: &Around, findings: &mut Findings) -> Option<Bytes> {
        if !matches!(field.node.value, Value::Map(_)) {
            return Integer(0..=LARGEST).read(field, around, findings).map(Bytes::Together);
        }
        let Sizes { sent, received } = Nested::<Sizes>::new().read(field, around, findings)?;
        Some(Bytes::Each { sent, received })
    }

    fn describe(&self) -> Described {
        Described {
            name: "whole number, or a map".to_owned(),
            bounds: vec![
                format!("request and response together: 0 to {LARGEST}"),
                "each: `sent` for the request, `received` for the response".to_owned(),
            ],
            forms: vec![json!({ "type": "integer", "minimum": 0, "maximum": LARGEST })],
            below: Below::Keys(Sizes::describe()),
            ..Described::default()
        }
    }
}
