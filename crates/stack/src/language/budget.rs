//! The highest cost that an apply may lead to.

use rust_decimal::Decimal;

use super::{decimals::Number, key::optional, section::section};

section! {
    /// The highest cost of the stack, in the currency of `prices`. An apply that leads above it is refused. So is one whose cost cannot
    /// be known, because something has no price.
    pub struct Budget {
        /// For an hour in which the load runs.
        hourly: Option<Decimal> = optional(Number::money(), "no limit").such_as(&["40"]),
        /// For a month of 730 hours.
        monthly: Option<Decimal> = optional(Number::money(), "no limit").such_as(&["25000"]),
    }
}
