//! Exact decimal numbers: rates, prices and percentages.

use rust_decimal::Decimal;
use serde_json::json;

use super::{Around, Described, key::Kind};
use crate::{diagnostic::Findings, field::Field, sources::shown_text, tree::ScalarKind};

/// A decimal number within these bounds.
pub(super) struct Number {
    pub(super) least: Decimal,
    pub(super) most: Decimal,
    /// The most decimal places.
    pub(super) places: u32,
}

impl Number {
    /// An amount of money for one unit, or for an hour or a month.
    pub(super) const fn money() -> Self {
        Number { least: Decimal::ZERO, most: Decimal::from_parts(1_000_000_000, 0, 0, false, 0), places: 8 }
    }
}

impl Kind for Number {
    type Value = Decimal;

    fn read(&self, field: &Field, _: &Around, findings: &mut Findings) -> Option<Decimal> {
        let Number { least, most, places } = self;
        let wanted = format!("a number from {least} to {most}");
        let spelled = field.spelled().unwrap_or_default();
        if !matches!(field.kind(), Some(ScalarKind::Integer(_) | ScalarKind::Number)) {
            let is_quoted = !spelled.contains('_') && Decimal::from_str_exact(spelled).is_ok();
            let help =
                if is_quoted { "remove the quotes".to_owned() } else { format!("write {wanted}, such as `0.5`") };
            findings.wrong_type(field, &wanted, help);
            return None;
        }
        let says = match Decimal::from_str_exact(spelled) {
            Ok(number) if number.normalize().scale() > *places => format!(
                "is {}, which has {} decimal places, but at most {places} are allowed",
                shown_text(spelled),
                number.normalize().scale()
            ),
            Ok(number) if (*least..=*most).contains(&number) => return Some(number.normalize()),
            Ok(_) => format!("is {}, but must be {wanted}", shown_text(spelled)),
            Err(_) => {
                format!("is `{}`, but must be {wanted}, written with digits and at most one point", shown_text(spelled))
            }
        };
        findings.about(
            field,
            "stack::out_of_range",
            says,
            format!("use {wanted}, with at most {places} decimal places"),
        );
        None
    }

    fn describe(&self) -> Described {
        let bound = |number: &Decimal| json!(number.to_string().parse::<f64>().unwrap_or_default());
        Described {
            name: "number".to_owned(),
            bounds: vec![format!("{} to {}, with at most {} decimal places", self.least, self.most, self.places)],
            forms: vec![json!({ "type": "number", "minimum": bound(&self.least), "maximum": bound(&self.most) })],
            ..Described::default()
        }
    }
}

/// Numbers by the name of an instance type.
pub(super) struct ByInstanceType(pub(super) Number);

impl Kind for ByInstanceType {
    type Value = std::collections::BTreeMap<String, Decimal>;

    fn read(&self, field: &Field, around: &Around, findings: &mut Findings) -> Option<Self::Value> {
        let map = findings.map(field)?;
        let mut read = Some(Self::Value::new());
        for (name, below) in map.fields() {
            let is_known = trunnion_catalog::instance_type(name).is_some();
            if !is_known {
                let help = match trunnion_catalog::nearest(name) {
                    Some(nearest) => format!("did you mean `{nearest}`?"),
                    None => "use an EC2 type that runs Linux, such as `c6in.32xlarge`".to_owned(),
                };
                findings.about_name(&below, "stack::unknown_instance_type", "is not a known instance type", &help);
            }
            let number = self.0.read(&below, around, findings).filter(|_| is_known);
            match (number, &mut read) {
                (Some(number), Some(read)) => drop(read.insert(name.to_owned(), number)),
                _ => read = None,
            }
        }
        read
    }

    fn describe(&self) -> Described {
        let each = self.0.describe();
        Described {
            name: "map of instance types to numbers".to_owned(),
            bounds: each.bounds.iter().map(|bounds| format!("each number: {bounds}")).collect(),
            forms: vec![json!({ "type": "object", "additionalProperties": super::kinds::one_of(each.forms) })],
            may_be_empty: true,
            ..Described::default()
        }
    }
}
