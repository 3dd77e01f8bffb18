//! Which service answers the calls: AWS, or another one that speaks its protocols.

/// Host name suffixes of AWS's own endpoints, VPC endpoints included
/// (<https://docs.aws.amazon.com/general/latest/gr/rande.html>, read in 2026).
const OF_AWS: &[&str] =
    &[".amazonaws.com", ".amazonaws.com.cn", ".amazonaws.eu", ".api.aws", ".api.amazonwebservices.com.cn"];

/// Describes what answers instead of AWS: one URL if all services share it, otherwise which services are at which URL;
/// `None` if AWS answers all calls. `services` are those with an endpoint of their own, `of_all` is the endpoint of the
/// others.
pub(crate) fn shown(services: &[(&str, Option<&str>)], of_all: Option<&str>) -> Option<String> {
    let places: Vec<Option<String>> = services.iter().map(|(_, url)| url.and_then(custom)).collect();
    let first = places.first()?;
    if places.iter().all(|place| place == first) {
        return first.clone();
    }
    let rest = of_all.and_then(custom);
    let mut groups: Vec<(&Option<String>, Vec<&str>)> = Vec::new();
    for ((name, _), place) in services.iter().zip(&places).filter(|(_, place)| **place != rest) {
        match groups.iter_mut().find(|(of, _)| *of == place) {
            Some((_, names)) => names.push(name),
            None => groups.push((place, vec![name])),
        }
    }
    let is_all = groups.iter().map(|(_, names)| names.len()).sum::<usize>() == services.len();
    let named = |place: &Option<String>| place.as_ref().map_or_else(|| "AWS".to_owned(), |url| format!("at {url}"));
    let mut said: Vec<String> =
        groups.iter().map(|(place, names)| format!("{} {}", listed(names), named(place))).collect();
    if !is_all {
        said.push(format!("the rest {}", named(&rest)));
    }
    Some(said.join(", "))
}

fn listed(names: &[&str]) -> String {
    match names.split_last() {
        Some((last, [])) => (*last).to_owned(),
        Some((last, others)) => format!("{} and {last}", others.join(", ")),
        None => String::new(),
    }
}

/// A configured URL outside AWS, without its password; `None` for a URL of AWS.
fn custom(url: &str) -> Option<String> {
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
    fn a_vpc_endpoint_belongs_to_aws_and_a_look_alike_does_not() {
        assert!(is_of_aws("https://vpce-0a1b-c2.ec2.eu-west-3.vpce.amazonaws.com"));
        assert!(is_of_aws("https://ec2.cn-north-1.amazonaws.com.cn:443/"));
        assert!(!is_of_aws("http://127.0.0.1:4600"));
        assert!(!is_of_aws("https://amazonaws.com.example.org/.amazonaws.com"));
        assert!(!is_of_aws("https://ec2.amazonaws.com@example.org"));
    }

    #[test]
    fn custom_endpoints_are_shown_as_one_url_or_by_service() {
        let (local, other) = (Some("http://127.0.0.1:4600"), Some("http://me:hush@other.test"));
        let vpc = Some("https://vpce-0a1b-c2.ec2.eu-west-3.vpce.amazonaws.com");
        for (ec2, s3, sts, of_all, expected) in [
            (None, None, None, None, None),
            (vpc, None, None, None, None),
            (local, local, local, local, local),
            (local, local, local, None, local),
            (local, None, None, None, Some("EC2 at http://127.0.0.1:4600, the rest AWS")),
            (local, vpc, local, None, Some("EC2 and STS at http://127.0.0.1:4600, the rest AWS")),
            (other, local, None, None, Some("EC2 at http://other.test, S3 at http://127.0.0.1:4600, the rest AWS")),
            (other, local, local, local, Some("EC2 at http://other.test, the rest at http://127.0.0.1:4600")),
            (vpc, local, local, local, Some("EC2 AWS, the rest at http://127.0.0.1:4600")),
            (other, local, local, None, Some("EC2 at http://other.test, S3 and STS at http://127.0.0.1:4600")),
        ] {
            let services = [("EC2", ec2), ("S3", s3), ("STS", sts)];
            assert_eq!(shown(&services, of_all).as_deref(), expected, "{services:?} {of_all:?}");
        }
    }

    #[test]
    fn a_password_is_not_shown() {
        assert_eq!(without_password("https://me:secret@example.org:1/path@x"), "https://example.org:1/path@x");
        assert_eq!(without_password("http://127.0.0.1:4600"), "http://127.0.0.1:4600");
    }
}
