//! The combined name of a stack and its environment. It is the prefix of every name in AWS, and the name of the state
//! file.
//!
//! If neither contains a hyphen, one hyphen joins them. Otherwise two hyphens join them: with one, `a` with `b-c` and `a-b`
//! with `c` would be the same stack. An environment's name has no two hyphens in a row, so the last double hyphen separates
//! the two.

use std::fs;

use crate::{
    forms::LONGEST_STACK_NAME,
    model::{Stack, StateLocation},
};

/// The most characters of the names of a stack and its environment, including one hyphen between them.
pub(crate) const LONGEST_PAIR: usize = LONGEST_STACK_NAME - 1;

/// Joins a stack and its environment if one of them contains a hyphen.
pub(crate) const JOINT: &str = "--";

/// The name of a stack in an environment, and its name in earlier versions, if that differs.
pub(crate) fn joined(stack: &str, environment: &str) -> (String, Option<String>) {
    let simple = format!("{stack}-{environment}");
    if stack.contains('-') || environment.contains('-') {
        (format!("{stack}{JOINT}{environment}"), Some(simple))
    } else {
        (simple, None)
    }
}

/// Whether a joined name is short enough. The second hyphen does not count.
pub(crate) fn fits(name: &str) -> bool {
    name.len() <= LONGEST_STACK_NAME + usize::from(name.contains(JOINT))
}

impl Stack {
    /// The same stack with its name in earlier versions, if that differs. A caller that finds resources with that name
    /// continues with it, because resources keep their names.
    pub fn under_former_name(&self) -> Option<Self> {
        let name = self.former_name.clone()?;
        let file = StateLocation::document(&name);
        let state = match &self.state {
            StateLocation::File(path) => StateLocation::File(path.with_file_name(file)),
            StateLocation::S3 { bucket, key } => {
                let key = key.rsplit_once('/').map_or(file.clone(), |(prefix, _)| format!("{prefix}/{file}"));
                StateLocation::S3 { bucket: bucket.clone(), key }
            }
        };
        Some(Self { name, former_name: None, state, ..self.clone() })
    }

    /// The stack with its former name, if a state file of that name records resources.
    pub(crate) fn settled(self) -> Self {
        match self.under_former_name() {
            Some(former) if former.has_recorded_resources() => former,
            _ => self,
        }
    }

    /// Whether the state file may record resources. A file that cannot be read counts as if it does.
    fn has_recorded_resources(&self) -> bool {
        let StateLocation::File(path) = &self.state else { return false };
        if !fs::metadata(path).is_ok_and(|found| found.is_file()) {
            return false;
        }
        let document = fs::read(path).ok().and_then(|bytes| serde_json::from_slice::<serde_json::Value>(&bytes).ok());
        document.is_none_or(|document| document["resources"].as_object().is_none_or(|found| !found.is_empty()))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_names_with_hyphens_are_joined_differently_than_before() {
        assert_eq!(joined("loadtest", "staging"), ("loadtest-staging".to_owned(), None));
        assert_eq!(joined("a", "b-c"), ("a--b-c".to_owned(), Some("a-b-c".to_owned())));
        assert_eq!(joined("a-b", "c"), ("a-b--c".to_owned(), Some("a-b-c".to_owned())));
    }

    #[test]
    fn names_that_fitted_in_earlier_versions_still_fit() {
        let (stack, environment) = ("abcdefghijklmno", "abcdefghijklmno");
        assert!(fits(&joined(stack, environment).0) && !fits(&joined(stack, "abcdefghijklmnop").0));
        let (stack, environment) = ("abcdefg-ijklmno", "abcdefghijklmno");
        assert!(fits(&joined(stack, environment).0) && !fits(&joined(stack, "abcdefghijklmnop").0));
    }

    proptest! {
        #[test]
        fn different_pairs_never_join_to_the_same_name(
            pairs in prop::collection::vec(("[a-b](-{0,3}[a-b]?){0,2}", "[a-b](-?[a-b]){0,2}-?"), 2..40)
        ) {
            let mut seen = BTreeMap::new();
            for pair in pairs {
                let earlier = seen.insert(joined(&pair.0, &pair.1).0, pair.clone());
                prop_assert!(earlier.as_ref().is_none_or(|earlier| *earlier == pair), "{:?} and {:?}", earlier, pair);
            }
        }
    }
}
