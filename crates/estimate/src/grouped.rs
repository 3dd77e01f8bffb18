//! Large numbers for people.

/// A number with commas between thousands.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (at, digit) in digits.char_indices() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    #[test]
    fn thousands_have_commas() {
        let shown = [0, 999, 1_000, 12_345, 2_000_000].map(super::grouped);
        assert_eq!(shown, ["0", "999", "1,000", "12,345", "2,000,000"]);
    }
}
