//! The network of the hosts: it is looked up and never changed.

use std::net::IpAddr;

use serde_json::json;
use trunnion_catalog::limits::{DNS_SERVERS, LONGEST_TAG_KEY, LONGEST_TAG_VALUE};

use super::{
    Around, Described,
    key::{Kind, or, or_empty},
    kinds::{Limit, List},
    ranges::Address,
    section::section,
};
use crate::{diagnostic::Findings, field::Field, forms, model::Vpc, sources::shown_text, tree::Value};

section! {
    /// The network that the hosts are in. It is looked up and never changed.
    pub struct Network {
        /// The VPC of the hosts and of the control plane: the region's default one, the one with this id, or the only one with this
        /// tag.
        vpc: Vpc = or(VpcName, "default").such_as(&["vpc-0123456789abcdef0", "{ Name: loadtest }"]),
        /// DNS servers that the VPC's DHCP options name instead of Amazon's own. The control plane's security group lets it ask
        /// them.
        dns_servers: Vec<IpAddr> = or_empty(
            List { item: Address, limit: Some(Limit::of_items(DNS_SERVERS)), is_distinct: true },
            "read from the VPC's DHCP options, except in a region's default VPC",
        ).such_as(&["[10.0.0.2]"]),
    }
}

struct VpcName;

impl Kind for VpcName {
    type Value = Vpc;

    fn read(&self, field: &Field, _: &Around, findings: &mut Findings) -> Option<Vpc> {
        if let Value::Map(_) = &field.node.value {
            return by_tag(field, findings);
        }
        match findings.text(field)? {
            "default" => Some(Vpc::Default),
            id if forms::VPC.fits(id) => Some(Vpc::Id(id.to_owned())),
            other => {
                let says = format!("is `{}`, which is not a valid VPC", shown_text(other));
                let help = "write `default`, an id such as `vpc-0123456789abcdef0`, or a tag: `{ Name: loadtest }`";
                findings.about(field, "stack::malformed", says, help);
                None
            }
        }
    }

    fn describe(&self) -> Described {
        Described {
            name: "text, or a map with one tag".to_owned(),
            bounds: vec![
                "`default`".to_owned(),
                format!("an id: {}", forms::VPC.words()),
                "the one tag that only this VPC has: its key and its value".to_owned(),
            ],
            forms: vec![
                json!({ "const": "default" }),
                json!({ "type": "string", "pattern": forms::VPC.pattern() }),
                json!({
                    "type": "object",
                    "minProperties": 1,
                    "maxProperties": 1,
                    "propertyNames": { "minLength": 1, "maxLength": LONGEST_TAG_KEY },
                    "additionalProperties": { "type": "string", "minLength": 1, "maxLength": LONGEST_TAG_VALUE },
                }),
            ],
            is_replaced: true,
            ..Described::default()
        }
    }
}

fn by_tag(field: &Field, findings: &mut Findings) -> Option<Vpc> {
    let map = findings.map(field)?;
    let mut tags = map.fields();
    let (Some((key, tag)), None) = (tags.next(), tags.next()) else {
        let says = format!("has {} tags, but must have one", map.entries.len());
        let help = "write the one tag that only this VPC has: `{ Name: loadtest }`";
        findings.about(field, "stack::wrong_type", says, help);
        return None;
    };
    let value = findings.text(&tag)?;
    let (longest_key, longest_value) = (LONGEST_TAG_KEY, LONGEST_TAG_VALUE);
    if !(1..=longest_key).contains(&key.chars().count()) || value.chars().count() > longest_value {
        let help = format!("keys have 1 to {longest_key} characters, values {longest_value} at most");
        findings.about(&tag, "stack::tag", "is not a tag that AWS allows", help);
        return None;
    }
    Some(Vpc::Tag { key: key.to_owned(), value: value.to_owned() })
}
