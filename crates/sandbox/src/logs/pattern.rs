//! Filter patterns: terms that a message must have, may have, or must not have.

use super::invalid;
use crate::call::Fault;

/// A pattern of terms (Amazon CloudWatch Logs user guide, "Filter pattern syntax", read November 2026).
#[derive(Debug, Default)]
pub(super) struct Pattern {
    all: Vec<String>,
    any: Vec<String>,
    none: Vec<String>,
}

impl Pattern {
    /// Patterns for JSON, for fields between spaces and for regular expressions are not served.
    pub(super) fn read(text: &str) -> Result<Self, Fault> {
        let text = text.trim();
        if text.starts_with(['{', '[', '%']) {
            return Err(invalid(format!("The filter pattern {text} is not served here: only patterns of terms are.")));
        }
        let mut pattern = Self::default();
        let mut rest = text;
        while !rest.is_empty() {
            let (list, term) = match (rest.strip_prefix('?'), rest.strip_prefix('-')) {
                (Some(term), _) => (&mut pattern.any, term),
                (None, Some(term)) => (&mut pattern.none, term),
                (None, None) => (&mut pattern.all, rest),
            };
            let (term, after) = term_of(term).ok_or_else(|| invalid("Invalid filter pattern"))?;
            list.push(term.to_owned());
            rest = after.trim_start();
        }
        Ok(pattern)
    }

    pub(super) fn accepts(&self, message: &str) -> bool {
        let has = |term: &String| message.contains(term.as_str());
        self.all.iter().all(has) && (self.any.is_empty() || self.any.iter().any(has)) && !self.none.iter().any(has)
    }
}

/// The first term, quoted or of letters, digits and underscores, and what follows it.
fn term_of(text: &str) -> Option<(&str, &str)> {
    if let Some(quoted) = text.strip_prefix('"') {
        return quoted.split_once('"');
    }
    let end = text.find(char::is_whitespace).unwrap_or(text.len());
    let (term, rest) = text.split_at(end);
    let is_plain = !term.is_empty() && term.chars().all(|c| c.is_alphanumeric() || c == '_');
    is_plain.then_some((term, rest))
}

#[cfg(test)]
mod tests {
    use super::Pattern;

    #[test]
    fn terms_are_required_alternative_or_excluded() {
        for (pattern, message, expected) in [
            ("", "anything", true),
            ("ERROR", "ERROR: no", true),
            ("ERROR", "error: no", false),
            ("ERROR no", "no ERROR", true),
            ("?ERROR ?WARN", "WARN", true),
            ("ERROR -no", "ERROR: no", false),
            ("\"a b\"", "x a b y", true),
            ("\"a b\"", "b a", false),
        ] {
            assert_eq!(Pattern::read(pattern).unwrap().accepts(message), expected, "{pattern} {message}");
        }
    }

    #[test]
    fn other_patterns_are_refused_by_name() {
        for pattern in ["{ $.level = \"error\" }", "[ip, user]", "%[0-9]%", "a:b", "\"open"] {
            assert_eq!(Pattern::read(pattern).unwrap_err().code, "InvalidParameterException", "{pattern}");
        }
    }
}
