//! What single values look like: names, ids, zones, ARNs. Pure checks, no messages.

/// Whether it begins with a lower-case letter, goes on with lower-case letters, digits and `-`, and has at most so many
/// characters: the form of stack, environment and pool names.
pub(crate) fn is_name(text: &str, longest: usize) -> bool {
    text.len() <= longest
        && text.starts_with(|first: char| first.is_ascii_lowercase())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

/// `^prl_[0-9a-z_]{1,26}$`.
pub(crate) fn is_location_id(text: &str) -> bool {
    text.strip_prefix("prl_").is_some_and(|rest| {
        (1..=26).contains(&rest.len())
            && rest.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
    })
}

/// A region such as `eu-west-3`, `us-gov-east-1` or `eusc-de-east-1`.
pub(crate) fn is_region(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let [area, middle @ .., number] = parts.as_slice() else { return false };
    let is_word = |word: &&str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase());
    (area.len() == 2 || *area == "eusc")
        && is_word(area)
        && (1..=2).contains(&middle.len())
        && middle.iter().all(is_word)
        && (1..=2).contains(&number.len())
        && number.bytes().all(|byte| byte.is_ascii_digit())
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

/// An account: twelve digits.
pub(crate) fn is_account(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// An id such as `subnet-0123456789abcdef0` or, older, `subnet-01234567`.
pub(crate) fn is_id(text: &str, prefix: &str) -> bool {
    text.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('-')).is_some_and(|digits| {
        matches!(digits.len(), 8 | 17)
            && digits.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
    })
}

/// The name of an SSM parameter, as a path.
pub(crate) fn is_parameter(text: &str) -> bool {
    text.len() > 1
        && text.len() <= 1011
        && text.starts_with('/')
        && !text.ends_with('/')
        && !text.contains("//")
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-/".contains(&byte))
}

/// A bucket's name.
pub(crate) fn is_bucket(text: &str) -> bool {
    let is_inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    (3..=63).contains(&text.len())
        && text.bytes().all(|byte| is_inner(byte) || byte == b'-' || byte == b'.')
        && text.bytes().next().is_some_and(is_inner)
        && text.bytes().next_back().is_some_and(is_inner)
        && !text.contains("..")
}

/// Users and groups that Amazon Linux 2023 has before anybody logs in (its `/etc/passwd` and `/etc/group`, and those of
/// its usual services), beside `systemd-…`.
pub(crate) const SYSTEM_USERS: &[&str] = &[
    "adm",
    "apache",
    "audio",
    "bin",
    "cdrom",
    "chrony",
    "cwagent",
    "daemon",
    "dbus",
    "dialout",
    "disk",
    "ec2-instance-connect",
    "floppy",
    "ftp",
    "games",
    "halt",
    "input",
    "kmem",
    "kvm",
    "libstoragemgmt",
    "lock",
    "lp",
    "mail",
    "man",
    "mem",
    "nginx",
    "nobody",
    "operator",
    "polkitd",
    "render",
    "root",
    "rpc",
    "rpcuser",
    "screen",
    "sgx",
    "shutdown",
    "ssh_keys",
    "sshd",
    "stapdev",
    "stapsys",
    "stapusr",
    "sync",
    "sys",
    "tape",
    "tcpdump",
    "tss",
    "tty",
    "unbound",
    "users",
    "utempter",
    "utmp",
    "video",
    "wheel",
];

/// Whether a user or group of this name is the system's own.
pub(crate) fn is_of_system(text: &str) -> bool {
    SYSTEM_USERS.contains(&text) || text.starts_with("systemd-")
}

/// The name of a Linux user: `^[a-z_][a-z0-9_-]{0,31}$`.
pub(crate) fn is_user(text: &str) -> bool {
    (1..=32).contains(&text.len())
        && text.starts_with(|first: char| first.is_ascii_lowercase() || first == '_')
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_' || byte == b'-')
}

/// A name that scripts, templates and Java take for a variable or a property; properties may have `.` and `-` inside.
pub(crate) fn is_identifier(text: &str, inside: &str) -> bool {
    (1..=128).contains(&text.len())
        && text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && text.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_' || inside.contains(letter))
}

/// The parts of an ARN that a stack cares about.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Arn<'t> {
    pub(crate) partition: &'t str,
    pub(crate) service: &'t str,
    pub(crate) region: &'t str,
    pub(crate) account: &'t str,
    pub(crate) resource: &'t str,
}

impl<'t> Arn<'t> {
    /// The parts of a text that has the form of an ARN.
    pub(crate) fn parse(text: &'t str) -> Option<Self> {
        let mut parts = text.splitn(6, ':');
        let mut next = || parts.next();
        (next()? == "arn").then_some(())?;
        let (partition, service, region, account, resource) = (next()?, next()?, next()?, next()?, next()?);
        Some(Arn { partition, service, region, account, resource })
    }

    /// Which secret of Secrets Manager it names.
    pub(crate) fn secret(&self) -> SecretName<'t> {
        let Some(rest) = self.resource.strip_prefix("secret:").filter(|_| self.service == "secretsmanager") else {
            return SecretName::OtherService;
        };
        let (name, part) = rest.split_once(':').map_or((rest, None), |(name, part)| (name, Some(part)));
        let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"/_+=.@-".contains(&byte);
        if !(1..=519).contains(&name.len()) || !name.bytes().all(is_part) {
            return SecretName::Malformed;
        }
        let Some(part) = part else { return SecretName::Whole };
        let fields: Vec<&str> = part.split(':').collect();
        let &[key, stage, version] = fields.as_slice() else {
            return SecretName::MalformedPart("has something behind the secret's name that is not three fields");
        };
        if key.is_empty() && stage.is_empty() && version.is_empty() {
            return SecretName::MalformedPart("ends in three empty fields");
        }
        if !stage.is_empty() && !version.is_empty() {
            return SecretName::MalformedPart("names both a stage and an id of the secret's version");
        }
        // `ClientRequestTokenType` and `SecretVersionStageType` of the API model of Secrets Manager.
        if stage.chars().count() > 256 || !(version.is_empty() || (32..=64).contains(&version.len())) {
            return SecretName::MalformedPart("names a version that no secret has");
        }
        SecretName::Part(part)
    }
}

/// What an ARN says of a secret.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum SecretName<'t> {
    /// All of its current version.
    Whole,
    /// `<json key>:<version stage>:<version id>` of it.
    Part(&'t str),
    /// It is no ARN of a secret.
    OtherService,
    /// No secret has such a name.
    Malformed,
    /// What stands behind the name is not right: this is why.
    MalformedPart(&'static str),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_and_zones() {
        for region in ["eu-west-3", "us-gov-east-1", "ap-southeast-12", "cn-north-1", "eusc-de-east-1"] {
            assert!(is_region(region), "{region}");
        }
        for wrong in ["", "eu-west-3a", "eu-west", "europe-west-3", "EU-WEST-3", "eu--3", "eu-west-3-"] {
            assert!(!is_region(wrong), "{wrong}");
        }
        assert!(is_zone_of("eu-west-3a", "eu-west-3"));
        assert!(is_zone_of("us-west-2-lax-1a", "us-west-2"));
        for wrong in ["eu-west-3", "eu-west-1a", "eu-west-3ab", "eu-west-3A", "eu-west-31", "a"] {
            assert!(!is_zone_of(wrong, "eu-west-3"), "{wrong}");
        }
    }

    #[test]
    fn ids_have_eight_or_seventeen_digits() {
        assert!(is_id("vpc-0123456789abcdef0", "vpc") && is_id("ami-01234567", "ami"));
        for wrong in ["vpc-", "vpc-0123", "vpc-0123456G", "subnet-01234567", "vpc01234567"] {
            assert!(!is_id(wrong, "vpc"), "{wrong}");
        }
    }

    #[test]
    fn arns_have_six_parts() {
        let arn = Arn::parse("arn:aws:secretsmanager:eu-west-3:123456789012:secret:gatling/token-AbCdEf").unwrap();
        assert_eq!((arn.region, arn.account), ("eu-west-3", "123456789012"));
        assert_eq!(arn.secret(), SecretName::Whole);
        let other = Arn::parse("arn:aws:ssm:eu-west-3:123456789012:parameter/x").unwrap();
        assert_eq!(other.secret(), SecretName::OtherService);
        assert_eq!(Arn::parse("arn:aws:s3"), None);
        assert_eq!(Arn::parse("cpt_0123456789"), None);
    }

    #[test]
    fn keys_and_versions_stand_behind_a_secret() {
        let of = |rest: &'static str| Arn {
            partition: "aws",
            service: "secretsmanager",
            region: "",
            account: "",
            resource: rest,
        };
        for part in ["cp_token::", ":AWSPREVIOUS:", "key:stage:", "::9d4cb84b-ad69-40c0-a0ab-cead36b967e8"] {
            let resource: &'static str = format!("secret:x-AbCdEf:{part}").leak();
            assert_eq!(of(resource).secret(), SecretName::Part(part));
        }
        for wrong in [
            "secret:x:key",
            "secret:x:::",
            "secret:x:a:b:c:d",
            "secret:x::s:9d4cb84b-ad69-40c0-a0ab-cead36b967e8",
            "secret:x:::v1",
        ] {
            assert!(matches!(of(wrong).secret(), SecretName::MalformedPart(_)), "{wrong}");
        }
        assert_eq!(of("secret:x y").secret(), SecretName::Malformed);
        assert_eq!(of("secret:").secret(), SecretName::Malformed);
    }

    #[test]
    fn names_and_users() {
        assert!(is_name("loadtest-dr", 31) && !is_name("Loadtest", 31) && !is_name("1st", 31) && !is_name("", 31));
        assert!(is_location_id("prl_heavy_paris") && !is_location_id("prl_") && !is_location_id("heavy"));
        assert!(is_user("gatling") && is_user("ec2-user") && !is_user("1st") && !is_user("Gatling") && !is_user(""));
        for theirs in ["root", "wheel", "nobody", "systemd-resolve"] {
            assert!(is_of_system(theirs), "{theirs}");
        }
        assert!(!is_of_system("gatling") && !is_of_system("ec2-user"));
        assert!(is_bucket("acme-trunnion") && !is_bucket("Acme") && !is_bucket("a..b") && !is_bucket("-ab"));
        assert!(is_parameter("/aws/service/ami") && !is_parameter("aws") && !is_parameter("/a//b"));
    }
}
