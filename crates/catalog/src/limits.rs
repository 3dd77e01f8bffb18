//! Limits of AWS's services and the names they reserve. The checks of a stack and the sandbox use the same table.

use icu_properties::{CodePointMapData, props::GeneralCategory};

/// How many tags one resource can have, in every service; S3 objects have a lower limit.
pub const MOST_TAGS: usize = 50;
/// Characters.
pub const LONGEST_TAG_KEY: usize = 128;
/// Characters.
pub const LONGEST_TAG_VALUE: usize = 256;
/// Keys and values of tags cannot start with this prefix, in upper or lower case: AWS reserves it for its own tags.
pub const TAG_OF_AWS: &str = "aws:";

/// Bytes of a task definition when it is registered (Amazon ECS service quotas, read August 2026).
pub const TASK_DEFINITION_BYTES: usize = 65_536;
/// How many subnets an ECS service with `awsvpc` can have (`AwsVpcConfiguration` of the ECS API reference).
pub const SERVICE_SUBNETS: usize = 16;
/// How many rules a security group can have in one direction, for each of IPv4 and IPv6 (AWS's default quota).
pub const SECURITY_GROUP_RULES: usize = 60;
/// Bytes of user data before base64 encoding.
pub const USER_DATA_BYTES: usize = 16_384;

/// Prefixes that names of general purpose buckets cannot have (S3 User Guide, "General purpose bucket naming rules",
/// read November 2026).
pub const RESERVED_BUCKET_PREFIXES: [&str; 3] = ["xn--", "sthree-", "amzn-s3-demo-"];
/// Suffixes that names of general purpose buckets cannot have (the same source).
pub const RESERVED_BUCKET_SUFFIXES: [&str; 5] = ["-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3"];
/// Prefix that names of security groups cannot have, because it is the prefix of their ids.
pub const RESERVED_GROUP_PREFIX: &str = "sg-";

/// The reserved prefix or suffix in a bucket's name, if it has one.
pub fn reserved_in_bucket(name: &str) -> Option<&'static str> {
    let prefix = RESERVED_BUCKET_PREFIXES.into_iter().find(|prefix| name.starts_with(prefix));
    prefix.or_else(|| RESERVED_BUCKET_SUFFIXES.into_iter().find(|suffix| name.ends_with(suffix)))
}

/// Whether IAM, ECS and CloudWatch Logs accept a text as a tag's key or value: `[\p{L}\p{Z}\p{N}_.:/=+\-@]*` (their API
/// models).
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

/// Whether a text starts with the prefix that is reserved for AWS's own tags.
pub fn is_tag_of_aws(text: &str) -> bool {
    text.get(..TAG_OF_AWS.len()).is_some_and(|start| start.eq_ignore_ascii_case(TAG_OF_AWS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_may_contain_letters_numbers_separators_and_a_few_signs() {
        for text in ["cost-center", "a b", "Überlast", "日本", "x:/=+@._-1", "½", "Ⅷ", "", "no\u{a0}break"] {
            assert!(is_tag_text(text), "{text}");
        }
        // A combining mark and a circled letter count as alphanumeric in Rust, but are neither letters nor numbers.
        for text in ["e\u{301}", "Ⓐ", "a,b", "a#b", "\u{200b}", "🚀", "a\tb", "a*"] {
            assert!(!is_tag_text(text), "{text:?}");
        }
    }

    #[test]
    fn tags_of_aws_are_recognised_in_upper_and_lower_case() {
        assert!(is_tag_of_aws("aws:x") && is_tag_of_aws("AwS:x"));
        assert!(!is_tag_of_aws("aws") && !is_tag_of_aws("laws:x") && !is_tag_of_aws("äws:"));
    }

    #[test]
    fn reserved_prefixes_and_suffixes_of_buckets_are_found() {
        assert_eq!(reserved_in_bucket("sthree-123456789012-eu-west-3"), Some("sthree-"));
        assert_eq!(reserved_in_bucket("xn--1"), Some("xn--"));
        assert_eq!(reserved_in_bucket("a--table-s3"), Some("--table-s3"));
        assert_eq!(reserved_in_bucket("loadtest-123456789012-eu-west-3"), None);
    }
}
