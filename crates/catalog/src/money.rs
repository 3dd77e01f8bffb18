//! Prices per hour in whole millionths of a dollar, so that sums are exact.

use std::{fmt, iter::Sum, ops};

use serde::{Deserialize, Serialize};

/// US dollars per hour, exact to a millionth of a dollar. Serialises as the number of millionths.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UsdPerHour(u64);

impl UsdPerHour {
    /// From millionths of a dollar.
    pub const fn from_micros(micros: u64) -> Self {
        UsdPerHour(micros)
    }

    /// In millionths of a dollar.
    pub const fn micros(self) -> u64 {
        self.0
    }

    /// Reads a decimal such as `7.2576`, with at most six decimal places.
    pub fn parse(text: &str) -> Option<Self> {
        let (whole, places) = text.split_once('.').unwrap_or((text, ""));
        if places.len() > 6 || !places.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let whole: u64 = whole.parse().ok()?;
        let places: u64 = format!("{places:0<6}").parse().ok()?;
        whole.checked_mul(1_000_000)?.checked_add(places).map(UsdPerHour)
    }
}

impl fmt::Display for UsdPerHour {
    /// Prints four decimal places as AWS does, rounded to the nearest; `{:.2}` prints two.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let places = u32::try_from(f.precision().unwrap_or(4).min(6)).unwrap_or(6);
        let unit = 10_u64.pow(6 - places);
        let rounded = self.0.saturating_add(unit / 2) / unit;
        let one = 10_u64.pow(places);
        if places == 0 {
            return write!(f, "{rounded}");
        }
        write!(f, "{}.{:0width$}", rounded / one, rounded % one, width = places as usize)
    }
}

impl ops::Add for UsdPerHour {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        UsdPerHour(self.0.saturating_add(other.0))
    }
}

impl ops::Mul<u32> for UsdPerHour {
    type Output = Self;

    fn mul(self, times: u32) -> Self {
        UsdPerHour(self.0.saturating_mul(u64::from(times)))
    }
}

impl Sum for UsdPerHour {
    fn sum<I: Iterator<Item = Self>>(prices: I) -> Self {
        prices.fold(UsdPerHour::default(), ops::Add::add)
    }
}
