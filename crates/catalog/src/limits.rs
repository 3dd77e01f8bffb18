//! What AWS's services take at most, and which names they keep for themselves: one table for who asks and who is asked.

use icu_properties::{CodePointMapData, props::GeneralCategory};

/// Tags of one resource, in every service but for S3's objects.
pub const MOST_TAGS: usize = 50;
/// Characters of a tag's key.
pub const LONGEST_TAG_KEY: usize = 128;
/// Characters of a tag's value.
pub const LONGEST_TAG_VALUE: usize = 256;
/// How keys and values of tags may not begin, in whatever case: AWS sets those itself.
pub const TAG_OF_AWS: &str = "aws:";

/// Bytes of a task definition as it is registered (Amazon ECS service quotas, read August 2026).
pub const TASK_DEFINITION_BYTES: usize = 65_536;
/// Subnets of an ECS service with `awsvpc` (`AwsVpcConfiguration` of the ECS API reference).
pub const SERVICE_SUBNETS: usize = 16;
/// Rules of a security group in one direction, for each family of addresses (AWS's default quota).
pub const SECURITY_GROUP_RULES: usize = 60;
/// Bytes of user data before they are encoded.
pub const USER_DATA_BYTES: usize = 16_384;

/// How no general purpose bucket may begin (S3 User Guide, "General purpose bucket naming rules", read November 2026).
pub const RESERVED_BUCKET_PREFIXES: [&str; 3] = ["xn--", "sthree-", "amzn-s3-demo-"];
/// How none may end.
pub const RESERVED_BUCKET_SUFFIXES: [&str; 5] = ["-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3"];
/// How no security group may begin: it would look like an id.
pub const RESERVED_GROUP_PREFIX: &str = "sg-";

/// What S3 keeps for itself in a bucket's name, if something is.
pub fn reserved_in_bucket(name: &str) -> Option<&'static str> {
    let prefix = RESERVED_BUCKET_PREFIXES.into_iter().find(|prefix| name.starts_with(prefix));
    prefix.or_else(|| RESERVED_BUCKET_SUFFIXES.into_iter().find(|suffix| name.ends_with(suffix)))
}

/// Whether IAM, ECS and CloudWatch Logs take a text as a tag's key or value: `[\p{L}\p{Z}\p{N}_.:/=+\-@]*` (their API models).
pub fn is_tag_text(text: &str) -> bool {
    let categories = CodePointMapData::<GeneralCategory>::new();
    text.chars().all(|letter| match letter {
        '_' | '.' | ':' | '/' | '=' | '+' | '-' | '@' => true,
        _ => is_letter_number_or_separator(categories.get(letter)),
    })
}

fn is_letter_number_or_separator(category: GeneralCategory) -> bool {
    use GeneralCategory as C;
    matches!(
        category,
        C::UppercaseLetter
            | C::LowercaseLetter
            | C::TitlecaseLetter
            | C::ModifierLetter
            | C::OtherLetter
            | C::DecimalNumber
            | C::LetterNumber
            | C::OtherNumber
            | C::SpaceSeparator
            | C::LineSeparator
            | C::ParagraphSeparator
    )
}

/// Whether a text begins as only AWS's own tags do.
pub fn is_tag_of_aws(text: &str) -> bool {
    text.get(..TAG_OF_AWS.len()).is_some_and(|start| start.eq_ignore_ascii_case(TAG_OF_AWS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_hold_letters_numbers_separators_and_a_few_signs() {
        for text in ["cost-center", "a b", "Überlast", "日本", "x:/=+@._-1", "½", "Ⅷ", "", "no\u{a0}break"] {
            assert!(is_tag_text(text), "{text}");
        }
        // A combining mark and a circled letter count as alphanumeric in Rust, but are neither letters nor numbers.
        for text in ["e\u{301}", "Ⓐ", "a,b", "a#b", "\u{200b}", "🚀", "a\tb", "a*"] {
            assert!(!is_tag_text(text), "{text:?}");
        }
    }

    #[test]
    fn tags_of_aws_are_known_in_every_case() {
        assert!(is_tag_of_aws("aws:x") && is_tag_of_aws("AwS:x"));
        assert!(!is_tag_of_aws("aws") && !is_tag_of_aws("laws:x") && !is_tag_of_aws("äws:"));
    }

    #[test]
    fn buckets_have_reserved_beginnings_and_ends() {
        assert_eq!(reserved_in_bucket("sthree-123456789012-eu-west-3"), Some("sthree-"));
        assert_eq!(reserved_in_bucket("xn--1"), Some("xn--"));
        assert_eq!(reserved_in_bucket("a--table-s3"), Some("--table-s3"));
        assert_eq!(reserved_in_bucket("loadtest-123456789012-eu-west-3"), None);
    }
}
