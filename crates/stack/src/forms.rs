//! The formats of single values: names, IDs, regions. The reader, the schema and the reference use the same pattern.

use std::sync::LazyLock;

use regex_lite::Regex;
use trunnion_catalog::limits::BUCKET_NAME;

/// The format of a text.
#[derive(Debug)]
pub(crate) struct Form {
    pattern: String,
    words: String,
    regex: Regex,
}

impl Form {
    /// A pattern that is also valid in JSON Schema (ECMA-262), and its description.
    #[expect(clippy::expect_used, reason = "every pattern is a constant of this crate, and a test compiles each")]
    pub(crate) fn new(pattern: impl Into<String>, words: impl Into<String>) -> Self {
        let pattern = pattern.into();
        let regex = Regex::new(&pattern).expect("a pattern of this crate is a regular expression");
        Form { pattern, words: words.into(), regex }
    }

    /// The form of stack, environment and pool names.
    fn name(shortest: usize, longest: usize) -> Self {
        let words = format!("{shortest} to {longest} lower-case letters, digits and hyphens, starting with a letter");
        Form::new(format!("^[a-z][a-z0-9-]{{{},{}}}$", shortest - 1, longest - 1), words)
    }

    /// The form of ids such as `subnet-0123456789abcdef0` or, older, `subnet-01234567`.
    fn id(prefix: &str) -> Self {
        Form::new(
            format!("^{prefix}-([0-9a-f]{{8}}|[0-9a-f]{{17}})$"),
            format!("`{prefix}-` and 8 or 17 hexadecimal digits"),
        )
    }

    /// The form of names that scripts, templates and Java accept for variables or properties, with these further
    /// characters.
    fn identifier(inside: &str) -> Self {
        let longest = 128;
        let signs: Vec<String> = ["digits".to_owned(), "`_`".to_owned()]
            .into_iter()
            .chain(inside.chars().map(|sign| format!("`{sign}`")))
            .collect();
        let (last, first) =
            signs.split_last().map(|(last, first)| (last.as_str(), first.join(", "))).unwrap_or_default();
        let words = format!("1 to {longest} letters, {first} and {last}, not starting with a digit");
        Form::new(format!("^[A-Za-z_][A-Za-z0-9_{inside}]{{0,{}}}$", longest - 1), words)
    }

    pub(crate) fn fits(&self, text: &str) -> bool {
        self.regex.is_match(text)
    }

    /// The pattern, for JSON Schema.
    pub(crate) fn pattern(&self) -> &str {
        &self.pattern
    }

    /// The description, such as `12 digits`.
    pub(crate) fn words(&self) -> &str {
        &self.words
    }
}

macro_rules! forms {
    ($($(#[doc = $doc:literal])* $name:ident = $form:expr;)*) => {
        $($(#[doc = $doc])* pub(crate) static $name: LazyLock<Form> = LazyLock::new(|| $form);)*

        #[cfg(test)]
        fn all() -> Vec<&'static Form> {
            vec![$(&*$name),*]
        }
    };
}

/// The longest name of a stack without an environment, or joined to one by a single hyphen.
pub(crate) const LONGEST_STACK_NAME: usize = 31;

forms! {
    STACK_NAME = Form::name(2, LONGEST_STACK_NAME);
    /// Two hyphens in a row are also refused, because they join the names of a stack and its environment.
    ENVIRONMENT_NAME = Form::name(1, 28);
    POOL_NAME = Form::name(1, 20);
    LOCATION_ID = Form::new("^prl_[0-9a-z_]{1,26}$", "`prl_` followed by 1 to 26 lower-case letters, digits and `_`");
    /// A region such as `eu-west-3`, `us-gov-east-1` or `eusc-de-east-1`.
    REGION = Form::new("^([a-z]{2}|eusc)(-[a-z]+){1,2}-[0-9]{1,2}$", "a region's name, such as `eu-west-3`");
    ACCOUNT = Form::new("^[0-9]{12}$", "12 digits");
    VPC = Form::id("vpc");
    SUBNET = Form::id("subnet");
    MACHINE_IMAGE = Form::id("ami");
    /// The name of an SSM parameter, as a path.
    PARAMETER = Form::new(
        "^(/[A-Za-z0-9_.-]+)+$",
        "letters, digits and `_ . -` between single slashes, starting with a slash",
    );
    BUCKET = {
        let (shortest, longest) = BUCKET_NAME;
        Form::new(
            format!("^[a-z0-9][a-z0-9.-]{{{},{}}}[a-z0-9]$", shortest - 2, longest - 2),
            format!("{shortest} to {longest} lower-case letters, digits, `.` and `-`"),
        )
    };
    /// The name of a Linux user.
    USER = Form::new(
        "^[a-z_][a-z0-9_-]{0,31}$",
        "1 to 32 lower-case letters, digits, `_` and `-`, not starting with a digit",
    );
    VARIABLE = Form::identifier("");
    PROPERTY = Form::identifier(".-");
    /// Only a value or a path can hold a space, and no further option after it: several options are several items.
    JVM_OPTION = Form::new(
        "^-([^ ]*|([^ =]+=|(javaagent|agentpath):)([^ ]| +[^ -]| +-[^ XD-]| +--[^ a])* *)$",
        "begins with `-`; holds a space only in its value, and no second option",
    );
    DIGEST = Form::new("^[0-9a-f]{64}$", "64 lower-case hexadecimal digits");
    /// A container image with a version or a digest.
    CONTAINER_IMAGE = Form::new(
        "^([A-Za-z0-9._:/-]+@sha256:[0-9a-fA-F]{64}|([A-Za-z0-9._:-]*/)*[A-Za-z0-9._-]+:[A-Za-z0-9._:-]+)$",
        "`repository:tag` or `repository@sha256:…`",
    );
    /// A tag that can refer to another image later.
    LATEST = Form::new(":latest(-[A-Za-z0-9._:-]*)?$", "`latest`");
}

/// Whether a text is the name of a bucket.
pub(crate) fn is_bucket(text: &str) -> bool {
    BUCKET.fits(text) && !text.contains("..")
}

/// Whether a zone (`eu-west-3a`, `us-west-2-lax-1a`) has the form of a zone of this region.
pub(crate) fn is_zone_of(zone: &str, region: &str) -> bool {
    let Some(rest) = zone.strip_prefix(region) else { return false };
    let is_plain = rest.len() == 1;
    // Local and Wavelength zones carry their place between the region and the letter.
    let is_local =
        rest.starts_with('-') && rest.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    (is_plain || is_local)
        && rest.ends_with(|last: char| last.is_ascii_lowercase() || (is_local && last.is_ascii_digit()))
}

/// A pattern that matches a word in upper and lower case. JSON Schema has no flag for that.
pub(crate) fn in_any_case(word: &str) -> String {
    let either = |letter: char| ['[', letter.to_ascii_lowercase(), letter.to_ascii_uppercase(), ']'];
    word.chars().flat_map(either).collect()
}

/// A pattern that matches the numbers from one to another.
pub(crate) fn one_of_numbers(numbers: std::ops::RangeInclusive<u8>) -> String {
    numbers.map(|number| number.to_string()).collect::<Vec<_>>().join("|")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn regions_and_zones() {
        for region in ["eu-west-3", "us-gov-east-1", "ap-southeast-12", "cn-north-1", "eusc-de-east-1"] {
            assert!(REGION.fits(region), "{region}");
        }
        for wrong in ["", "eu-west-3a", "eu-west", "europe-west-3", "EU-WEST-3", "eu--3", "eu-west-3-", "eu-west-3\n"] {
            assert!(!REGION.fits(wrong), "{wrong}");
        }
        assert!(is_zone_of("eu-west-3a", "eu-west-3"));
        assert!(is_zone_of("us-west-2-lax-1a", "us-west-2"));
        for wrong in ["eu-west-3", "eu-west-1a", "eu-west-3ab", "eu-west-3A", "eu-west-31", "a"] {
            assert!(!is_zone_of(wrong, "eu-west-3"), "{wrong}");
        }
    }

    #[test]
    fn ids_have_eight_or_seventeen_digits() {
        assert!(VPC.fits("vpc-0123456789abcdef0") && MACHINE_IMAGE.fits("ami-01234567"));
        for wrong in ["vpc-", "vpc-0123", "vpc-0123456G", "subnet-01234567", "vpc01234567"] {
            assert!(!VPC.fits(wrong), "{wrong}");
        }
    }

    #[test]
    fn names_users_and_paths() {
        for name in ["loadtest-dr", "ab"] {
            assert!(STACK_NAME.fits(name), "{name}");
        }
        for wrong in ["Loadtest", "1st", "", "a", "abcdefghijabcdefghijabcdefghijab"] {
            assert!(!STACK_NAME.fits(wrong), "{wrong}");
        }
        assert!(LOCATION_ID.fits("prl_heavy_paris") && !LOCATION_ID.fits("prl_") && !LOCATION_ID.fits("heavy"));
        assert!(USER.fits("gatling") && USER.fits("ec2-user") && !USER.fits("1st") && !USER.fits("Gatling"));
        assert!(is_bucket("acme-trunnion") && !is_bucket("Acme") && !is_bucket("a..b") && !is_bucket("-ab"));
        assert!(PARAMETER.fits("/aws/service/ami") && !PARAMETER.fits("aws") && !PARAMETER.fits("/a//b"));
        assert!(PROPERTY.fits("load.profile-x") && !VARIABLE.fits("load.profile") && !VARIABLE.fits("1st"));
    }

    #[test]
    fn every_form_has_a_valid_pattern_and_a_description() {
        for form in all() {
            assert!(form.pattern().ends_with('$') && !form.words().is_empty(), "{form:?}");
        }
    }

    proptest! {
        #[test]
        fn a_pattern_of_any_case_knows_no_case(word in "[a-z]{1,8}", upper in any::<bool>()) {
            let written = if upper { word.to_uppercase() } else { word.clone() };
            let pattern = format!("^{}$", in_any_case(&word));
            let form = Form::new(pattern, "");
            let longer = format!("{written}x");
            prop_assert!(form.fits(&written) && !form.fits(&longer), "{}", form.pattern());
        }
    }
}
