//! Form parameters of the query protocols, accessed by their dotted names.
//!
//! `Filter.1.Value.2=x` is the second value of the first filter: `params.items("Filter")` returns one [`Params`] per
//! filter, and its `.list("Value")` the values. IAM adds `member`: `params.items("Tags.member")`.

use std::{collections::BTreeMap, ops::Bound, rc::Rc, str::FromStr};

use crate::call::Fault;

/// The parameters of a request, or those under a prefix.
#[derive(Debug, Clone)]
pub struct Params<'a> {
    pairs: Rc<BTreeMap<&'a str, &'a str>>,
    prefix: String,
}

impl<'a> Params<'a> {
    /// All parameters of a request; if a name occurs twice, the last value counts.
    pub fn new(pairs: &'a [(String, String)]) -> Self {
        let pairs = pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        Self { pairs: Rc::new(pairs), prefix: String::new() }
    }

    /// The value of this parameter.
    pub fn get(&self, name: &str) -> Option<&'a str> {
        if self.prefix.is_empty() {
            return self.pairs.get(name).copied();
        }
        self.pairs.get(format!("{}{name}", self.prefix).as_str()).copied()
    }

    /// The value of this parameter; an error if it is missing or empty.
    pub fn require(&self, name: &str) -> Result<&'a str, Fault> {
        self.get(name).filter(|value| !value.is_empty()).ok_or_else(|| {
            Fault::new("MissingParameter", format!("The request must contain the parameter {}{name}", self.prefix))
        })
    }

    /// The value of a parameter that must be `true` or `false`.
    pub fn bool(&self, name: &str) -> Result<Option<bool>, Fault> {
        match self.get(name) {
            None => Ok(None),
            Some(value) if value.eq_ignore_ascii_case("true") => Ok(Some(true)),
            Some(value) if value.eq_ignore_ascii_case("false") => Ok(Some(false)),
            Some(value) => Err(self.invalid(name, value, "boolean")),
        }
    }

    /// The value of a parameter that must be a number.
    pub fn number<N: FromStr>(&self, name: &str) -> Result<Option<N>, Fault> {
        self.get(name).map(|value| value.parse().map_err(|_| self.invalid(name, value, "integer"))).transpose()
    }

    fn invalid(&self, name: &str, value: &str, kind: &str) -> Fault {
        Fault::new(
            "InvalidParameterValue",
            format!("Value ({value}) for parameter {}{name} is invalid. Expected a {kind}", self.prefix),
        )
    }

    /// The items of a list of plain values, sorted by their numbers.
    pub fn list(&self, name: &str) -> Vec<&'a str> {
        let numbers = self.numbers(name);
        numbers.into_iter().filter_map(|number| self.get(&format!("{name}.{number}"))).collect()
    }

    /// The items of a list of structures, sorted by their numbers.
    pub fn items(&self, name: &str) -> Vec<Params<'a>> {
        self.numbers(name).into_iter().map(|number| self.under(&format!("{name}.{number}"))).collect()
    }

    /// The members of a structure.
    #[must_use]
    pub fn under(&self, name: &str) -> Params<'a> {
        Self { pairs: Rc::clone(&self.pairs), prefix: format!("{}{name}.", self.prefix) }
    }

    /// Whether a parameter with this name, or a member or item of it, exists.
    pub fn has(&self, name: &str) -> bool {
        let full = format!("{}{name}", self.prefix);
        self.below(&full).next().is_some() || self.get(name).is_some()
    }

    /// All parameters under the prefix with their full names, sorted by name.
    pub fn pairs(&self) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.pairs
            .range::<str, _>((Bound::Included(self.prefix.as_str()), Bound::Unbounded))
            .take_while(|(name, _)| name.starts_with(&self.prefix))
            .map(|(name, value)| (*name, *value))
    }

    fn numbers(&self, name: &str) -> Vec<u32> {
        let full = format!("{}{name}", self.prefix);
        let mut numbers: Vec<u32> = self
            .below(&full)
            .filter_map(|rest| rest.split('.').next().and_then(|number| number.parse().ok()))
            .collect();
        numbers.sort_unstable();
        numbers.dedup();
        numbers
    }

    /// The rest of the names that start with `full.`.
    fn below(&self, full: &str) -> impl Iterator<Item = &'a str> {
        let from = format!("{full}.");
        let rest: Vec<&'a str> = self
            .pairs
            .range::<str, _>((Bound::Included(from.as_str()), Bound::Unbounded))
            .map_while(|(name, _)| name.strip_prefix(from.as_str()))
            .collect();
        rest.into_iter()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::Params;

    /// The parameters of a form.
    pub(crate) fn pairs(text: &str) -> Vec<(String, String)> {
        text.split('&')
            .filter_map(|pair| pair.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    }

    #[test]
    fn lists_are_sorted_by_their_numbers() {
        let pairs = pairs("Id.10=j&Id.2=b&Id.1=a&Identity.1=x");
        assert_eq!(Params::new(&pairs).list("Id"), ["a", "b", "j"]);
    }

    #[test]
    fn structures_can_be_nested() {
        let pairs = pairs("Filter.1.Name=n&Filter.1.Value.1=v&Filter.1.Value.2=w&Filter.2.Name=m");
        let filters = Params::new(&pairs).items("Filter");
        assert_eq!(filters.len(), 2);
        assert_eq!(filters.first().map(|filter| filter.list("Value")), Some(vec!["v", "w"]));
    }

    #[test]
    fn an_invalid_number_is_refused_with_its_full_name() {
        let pairs = pairs("A.1.B=x");
        let error = Params::new(&pairs).under("A.1").number::<u32>("B").unwrap_err();
        assert!(error.message.contains("A.1.B"), "{}", error.message);
    }
}
