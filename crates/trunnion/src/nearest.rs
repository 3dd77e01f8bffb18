//! Finds names that are similar to a mistyped one.

/// The most names that are suggested.
const NAMED: usize = 3;

/// The most similar names, best first. Names without similarity are left out.
pub(crate) fn nearest(name: &str, known: impl Iterator<Item = String>) -> Vec<String> {
    let mut near: Vec<(usize, String)> = known
        .map(|other| (strsim::damerau_levenshtein(name, &other), other))
        .filter(|(distance, other)| *distance <= other.chars().count().max(name.chars().count()) / 2)
        .collect();
    near.sort();
    near.dedup();
    near.into_iter().take(NAMED).map(|(_, other)| other).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn similar_names_come_first_and_others_are_left_out() {
        let known = ["instance.heavy[0]", "instance.heavy[1]", "iam_role.generator", "instance.probe[0]"];
        let known = || known.iter().map(|&name| name.to_owned());
        assert_eq!(
            nearest("instance.heavy[11]", known()),
            ["instance.heavy[1]", "instance.heavy[0]", "instance.probe[0]"]
        );
        assert_eq!(nearest("zzz", known()), Vec::<String>::new());
    }
}
