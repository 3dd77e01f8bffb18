//! What answers the calls: AWS, or something else that speaks its protocols.

/// How the names of AWS's own endpoints end, those of VPC endpoints included
/// (<https://docs.aws.amazon.com/general/latest/gr/rande.html>, read in 2026).
const OF_AWS: &[&str] =
    &[".amazonaws.com", ".amazonaws.com.cn", ".amazonaws.eu", ".api.aws", ".api.amazonwebservices.com.cn"];

/// A configured URL that names something else than AWS, without a password in it; nothing for AWS.
pub(crate) fn custom(url: &str) -> Option<String> {
    (!is_of_aws(url)).then(|| without_password(url))
}

fn is_of_aws(url: &str) -> bool {
    let authority = url.split_once("://").map_or(url, |(_, rest)| rest).split(['/', '?']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default().split(':').next().unwrap_or_default();
    OF_AWS.iter().any(|end| host.to_ascii_lowercase().ends_with(end))
}

fn without_password(url: &str) -> String {
    match url.split_once("://") {
        Some((scheme, rest)) => {
            let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            let host = authority.rsplit('@').next().unwrap_or_default();
            format!("{scheme}://{host}{path}")
        }
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vpc_endpoint_is_aws_and_a_look_alike_is_not() {
        assert!(is_of_aws("https://vpce-0a1b-c2.ec2.eu-west-3.vpce.amazonaws.com"));
        assert!(is_of_aws("https://ec2.cn-north-1.amazonaws.com.cn:443/"));
        assert!(!is_of_aws("http://127.0.0.1:4600"));
        assert!(!is_of_aws("https://amazonaws.com.example.org/.amazonaws.com"));
        assert!(!is_of_aws("https://ec2.amazonaws.com@example.org"));
    }

    #[test]
    fn a_password_is_not_shown() {
        assert_eq!(without_password("https://me:secret@example.org:1/path@x"), "https://example.org:1/path@x");
        assert_eq!(without_password("http://127.0.0.1:4600"), "http://127.0.0.1:4600");
    }
}
