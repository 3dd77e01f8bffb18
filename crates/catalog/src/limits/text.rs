//! Texts that AWS does not accept: reserved names, and characters of tags.

use icu_properties::{CodePointMapData, props::GeneralCategory};

use super::{RESERVED_BUCKET_PREFIXES, RESERVED_BUCKET_SUFFIXES, TAG_OF_AWS};

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

/// Whether S3 accepts a text as a tag's key or value. Of the separators of [`is_tag_text`], only the space counts: S3's
/// documents say "white space" without more.
pub fn is_s3_tag_text(text: &str) -> bool {
    let categories = CodePointMapData::<GeneralCategory>::new();
    let is_separator = |letter: char| {
        use GeneralCategory as C;
        matches!(categories.get(letter), C::SpaceSeparator | C::LineSeparator | C::ParagraphSeparator)
    };
    is_tag_text(text) && text.chars().all(|letter| letter == ' ' || !is_separator(letter))
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
    fn s3_takes_no_separator_but_the_space() {
        assert!(is_s3_tag_text("a b") && is_s3_tag_text("Überlast ½"));
        for text in ["no\u{a0}break", "a\u{2003}b", "a\u{2028}b", "a#b"] {
            assert!(!is_s3_tag_text(text), "{text:?}");
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
