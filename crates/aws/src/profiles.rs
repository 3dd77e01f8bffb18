//! The profiles of `~/.aws`: which one is selected, how it configures the connection, and where its credentials come
//! from. The SDK parses the files; what it ignores silently is refused here with file and line.
//!
//! As with the AWS CLI, credentials in the environment have priority over a profile, but a named profile that does not
//! exist is an error even then. Stricter than the AWS CLI, a named profile without credentials or with incomplete
//! settings is an error: the machine's own identity is never used instead.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
};

use aws_config::profile::{self, Profile, ProfileSet};
use aws_runtime::env_config::property::PropertiesKey;
use aws_types::os_shim_internal::Fs;

use crate::{
    connect::ConnectError,
    credentials::{Origin, Source},
    endpoint,
    environment::Environment,
    files,
    http::host_of,
    proxy::is_place,
    trust::Bundle,
};

/// The files with profiles: the variable that names the file, and its default path.
const FILES: [(&str, &str); 2] =
    [("AWS_CONFIG_FILE", "~/.aws/config"), ("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials")];

/// The settings of the environment and its profile.
#[derive(Debug)]
pub(crate) struct Settings {
    /// The name of the selected profile.
    pub profile: String,
    /// The source of the credentials.
    pub source: Source,
    /// The certificate authorities to trust, if they are configured.
    pub bundle: Option<Bundle>,
    /// Endpoints other than AWS's own.
    pub endpoints: Endpoints,
}

impl Settings {
    /// Reads the settings of an environment.
    pub async fn read(environment: &Environment) -> Result<Self, ConnectError> {
        let named = ["AWS_PROFILE", "AWS_DEFAULT_PROFILE"]
            .into_iter()
            .find_map(|variable| environment.get(variable).map(|name| (variable, name.to_owned())));
        let profile = named.as_ref().map_or_else(|| "default".to_owned(), |(_, name)| name.clone());
        let set = load(environment, &profile).await?;
        if let Some((variable, name)) = &named
            && set.get_profile(name).is_none()
        {
            let mut known: Vec<String> = set.profiles().map(str::to_owned).collect();
            known.sort();
            return Err(ConnectError::UnknownProfile {
                name: name.clone(),
                variable,
                files: FILES.map(|file| shown(environment, file)).to_vec(),
                known,
            });
        }
        let source = source(environment, &set, named.is_some())?;
        let endpoints = Endpoints::read(environment, &set)?;
        let bundle = environment.get("AWS_CA_BUNDLE").map(|path| (path, "`AWS_CA_BUNDLE`".to_owned()));
        let bundle = bundle.or_else(|| {
            let path = set.get("ca_bundle").filter(|path| !path.is_empty())?;
            Some((path, format!("`ca_bundle` of the profile `{profile}`")))
        });
        Ok(Self {
            source,
            bundle: bundle.map(|(path, named_by)| Bundle { path: path.to_owned(), named_by }),
            endpoints,
            profile,
        })
    }
}

fn shown(environment: &Environment, (variable, usual): (&str, &str)) -> String {
    environment.get(variable).unwrap_or(usual).to_owned()
}

async fn load(environment: &Environment, profile: &str) -> Result<ProfileSet, ConnectError> {
    for file in FILES {
        let path: PathBuf = environment.path(&shown(environment, file));
        // The SDK treats a file that it cannot read or that is not UTF-8 as empty.
        let broken = match files::read(&path) {
            Ok(bytes) => String::from_utf8(bytes).err().map(|_| "it is not UTF-8 text".to_owned()),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => None,
            Err(error) => Some(error.to_string()),
        };
        if let Some(why) = broken {
            return Err(ConnectError::ConfigFile { place: format!("`{}`", path.display()), variable: file.0, why });
        }
    }
    #[expect(clippy::default_trait_access, reason = "the SDK's name of the type is deprecated")]
    let files = Default::default();
    let set = profile::load(&Fs::real(), &environment.for_the_sdk(), &files, Some(profile.to_owned().into())).await;
    set.map_err(|error| {
        // The message is "error parsing PATH on line N:", with the reason on the next line.
        let text = crate::unanswered::chain(&error);
        let text = text.split_once("error parsing ").map_or(text.as_str(), |(_, rest)| rest);
        let (place, why) = text.split_once(":\n").unwrap_or((text, "it cannot be parsed"));
        let place = match place.rsplit_once(" on line ") {
            Some((path, line)) => format!("line {line} of `{path}`"),
            None => format!("`{place}`"),
        };
        let [_, credentials] = FILES;
        let is_of = |file| place.ends_with(&format!("`{}`", environment.path(&shown(environment, file)).display()));
        let variable = if is_of(credentials) { credentials.0 } else { FILES[0].0 };
        ConnectError::ConfigFile { place, variable, why: why.trim().to_owned() }
    })
}

/// The source of the credentials, or why there are none.
///
/// A profile with any setting for credentials either has usable ones or is an error: the SDK treats some incomplete
/// profiles as empty and asks the machine instead.
fn source(environment: &Environment, set: &ProfileSet, is_named: bool) -> Result<Source, ConnectError> {
    let chosen = set.selected_profile();
    let of = |origin| Source { profile: chosen.to_owned(), base: chosen.to_owned(), origin, role: None };
    if has_keys(environment, is_named)? {
        return Ok(of(Origin::Environment));
    }
    let mut found = match set.get_profile(chosen) {
        Some(_) => of_profiles(set)?,
        None => of(Origin::Elsewhere),
    };
    let base = set.get_profile(&found.base);
    if found.origin == Origin::WebIdentity
        && let Some(path) = base.and_then(|base| base.get("web_identity_token_file"))
    {
        check_token(path, || format!("`web_identity_token_file` of the profile `{}`", found.base))?;
    }
    if let Some(named) =
        base.and_then(|base| base.get("credential_source")).filter(|_| found.origin == Origin::Elsewhere)
    {
        let missing = |what: &str| ConnectError::Incomplete {
            profile: found.base.clone(),
            why: format!("says `credential_source = {named}`, and {what} is not set"),
        };
        match named.to_ascii_lowercase().as_str() {
            "environment" => return Err(missing("`AWS_ACCESS_KEY_ID`")),
            "ecscontainer" => {
                let container = container(environment)?;
                let container = container.ok_or_else(|| missing("`AWS_CONTAINER_CREDENTIALS_RELATIVE_URI`"))?;
                found.origin = Origin::Container(container);
            }
            _ => {}
        }
    }
    match found.origin {
        Origin::Login => Err(ConnectError::LoginSession { profile: found.base }),
        Origin::Elsewhere if found.role.is_none() => of_this_machine(environment, is_named, found),
        _ => Ok(found),
    }
}

/// Whether the environment has keys. As with the AWS CLI, an access key without its secret is an error, and a secret
/// alone is ignored if a profile is named. Stricter than the AWS CLI, a secret alone is an error otherwise. The SDK
/// treats a blank value as unset.
fn has_keys(environment: &Environment, is_named: bool) -> Result<bool, ConnectError> {
    let [id, secret] = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"];
    let has = |name| environment.get(name).is_some_and(|value| !value.trim().is_empty());
    match (has(id), has(secret)) {
        (true, false) => Err(ConnectError::HalfSet { set: id, missing: secret }),
        (false, true) if !is_named => Err(ConnectError::HalfSet { set: secret, missing: id }),
        (has_id, has_secret) => Ok(has_id && has_secret),
    }
}

/// Follows the selected profile and its `source_profile`s.
fn of_profiles(set: &ProfileSet) -> Result<Source, ConnectError> {
    let chosen = set.selected_profile();
    let mut found =
        Source { profile: chosen.to_owned(), base: chosen.to_owned(), origin: Origin::Elsewhere, role: None };
    let mut visited: Vec<String> = Vec::new();
    let mut name = chosen.to_owned();
    while let Some(profile) = set.get_profile(&name) {
        let has = |key: &str| profile.get(key).is_some_and(|value| !value.is_empty());
        found.base.clone_from(&name);
        // If another profile assumes a role with this one, its keys have priority over its other settings.
        if !visited.is_empty() && has("aws_access_key_id") && has("aws_secret_access_key") {
            found.origin = Origin::Keys;
            return Ok(found);
        }
        let is_role = has("role_arn") && !has("web_identity_token_file");
        if is_role && has("mfa_serial") {
            return Err(ConnectError::Mfa { profile: chosen.to_owned(), asks: name });
        }
        if is_role && found.role.is_none() {
            found.role = profile.get("role_arn").map(str::to_owned);
        }
        let incomplete = |why: String| ConnectError::Incomplete { profile: name.clone(), why };
        let next = profile.get("source_profile").filter(|_| is_role);
        match next {
            Some(next) if next != name => {
                if set.get_profile(next).is_none() {
                    return Err(ConnectError::UnknownSource { profile: name, from: next.to_owned() });
                }
                if visited.iter().any(|earlier| earlier == next) {
                    return Err(incomplete(format!(
                        "has a cycle: its `source_profile` is `{next}`, which leads back to `{name}`"
                    )));
                }
                visited.push(name.clone());
                next.clone_into(&mut name);
            }
            _ => {
                found.origin = origin(set, profile)?;
                let is_empty = found.origin == Origin::Elsewhere && !has("credential_source");
                return match visited.last() {
                    _ if !is_empty => Ok(found),
                    _ if next.is_some() => {
                        Err(incomplete("has itself as `source_profile` and no keys of its own".to_owned()))
                    }
                    _ if is_role => Err(incomplete(
                        "has `role_arn`, but neither `source_profile` nor `credential_source` to assume the role with"
                            .to_owned(),
                    )),
                    Some(from) => {
                        Err(incomplete(format!("has no credentials, but is the `source_profile` of `{from}`")))
                    }
                    None if has("source_profile") => {
                        Err(incomplete("has `source_profile`, but no `role_arn`".to_owned()))
                    }
                    None => Ok(found),
                };
            }
        }
    }
    Ok(found)
}

/// The source of credentials that are in no profile.
fn of_this_machine(environment: &Environment, is_named: bool, found: Source) -> Result<Source, ConnectError> {
    let has = |name| environment.has(name);
    let of = |origin, role: Option<&str>| Source { origin, role: role.map(str::to_owned), ..found.clone() };
    let [token, role] = ["AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ROLE_ARN"];
    match () {
        () if has(token) && !has(role) => Err(ConnectError::HalfSet { set: token, missing: role }),
        () if is_named && !has(token) => Err(ConnectError::EmptyProfile {
            name: found.profile,
            files: FILES.map(|file| shown(environment, file)).to_vec(),
        }),
        () => match (environment.get(token), container(environment)?) {
            (Some(path), _) => {
                check_token(path, || format!("`{token}`"))?;
                Ok(of(Origin::EnvironmentToken, environment.get(role)))
            }
            (None, Some(variable)) => Ok(of(Origin::Container(variable), None)),
            (None, None) => Ok(found),
        },
    }
}

/// The variable with the address of a container's credentials, if one is set.
fn container(environment: &Environment) -> Result<Option<&'static str>, ConnectError> {
    let [relative, full, token] = CONTAINER;
    let variable = match (environment.get(relative), environment.get(full)) {
        (Some(path), _) if !path.starts_with('/') || path.parse::<http::Uri>().is_err() => {
            return Err(ConnectError::RelativeUri { variable: relative, value: path.to_owned() });
        }
        (Some(_), _) => relative,
        (None, Some(url)) => {
            check_url(url, || format!("`{full}`"))?;
            full
        }
        (None, None) => return Ok(None),
    };
    if let Some(path) = environment.get(token) {
        check_token(path, || format!("`{token}`"))?;
    }
    Ok(Some(variable))
}

/// The variables for a container's credentials: a path at the default address, a complete URL, and the file with the
/// token for that URL.
const CONTAINER: [&str; 3] = [
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
];

/// Refuses a token file without a token: the SDK's error would name neither the file nor the setting.
fn check_token(path: &str, named_by: impl FnOnce() -> String) -> Result<(), ConnectError> {
    let why = match files::read(Path::new(path)) {
        Ok(token) if token.trim_ascii().is_empty() => "it is empty".to_owned(),
        Ok(_) => return Ok(()),
        Err(error) => error.to_string(),
    };
    Err(ConnectError::TokenFile { named_by: named_by(), path: path.to_owned(), why })
}

/// The source of the credentials in a profile itself, in the SDK's order.
fn origin(set: &ProfileSet, profile: &Profile) -> Result<Origin, ConnectError> {
    let has = |key: &str| profile.get(key).is_some_and(|value| !value.is_empty());
    let says = |keys: &[&str]| keys.iter().any(|key| profile.get(key).is_some());
    match () {
        () if has("credential_source") => Ok(Origin::Elsewhere),
        () if has("web_identity_token_file") => Ok(Origin::WebIdentity),
        () if says(&["sso_session", "sso_account_id", "sso_role_name", "sso_start_url", "sso_region"]) => {
            check_session(set, profile)?;
            Ok(Origin::Sso)
        }
        () if has("login_session") => Ok(Origin::Login),
        () if has("credential_process") => Ok(Origin::Process),
        () if says(&["aws_access_key_id", "aws_secret_access_key", "aws_session_token"]) => {
            let missing = ["aws_access_key_id", "aws_secret_access_key"].into_iter().find(|key| !has(key));
            match missing {
                None => Ok(Origin::Keys),
                Some(missing) => Err(ConnectError::Incomplete {
                    profile: profile.name().to_owned(),
                    why: format!("has a part of an access key, but no `{missing}`"),
                }),
            }
        }
        () => Ok(Origin::Elsewhere),
    }
}

/// Refuses an incomplete session of IAM Identity Center.
fn check_session(set: &ProfileSet, profile: &Profile) -> Result<(), ConnectError> {
    let incomplete = |why: String| ConnectError::Incomplete { profile: profile.name().to_owned(), why };
    let is_set = |value: Option<&str>| value.is_some_and(|value| !value.is_empty());
    if let Some(missing) = ["sso_account_id", "sso_role_name"].into_iter().find(|key| !is_set(profile.get(key))) {
        return Err(incomplete(format!("has a session of IAM Identity Center, but no `{missing}`")));
    }
    let keys = ["sso_start_url", "sso_region"];
    let Some(name) = profile.get("sso_session") else {
        let missing = keys.into_iter().find(|key| !is_set(profile.get(key)));
        return missing.map_or(Ok(()), |missing| {
            Err(incomplete(format!("has a session of IAM Identity Center, but no `{missing}`")))
        });
    };
    let Some(session) = set.sso_session(name) else {
        return Err(incomplete(format!(
            "has the `sso_session` `{name}`, but there is no section `[sso-session {name}]`"
        )));
    };
    match keys.into_iter().find(|key| !is_set(session.get(key))) {
        Some(missing) => {
            Err(incomplete(format!("has the `sso_session` `{name}`, but `[sso-session {name}]` has no `{missing}`")))
        }
        None => Ok(()),
    }
}

/// Model ids of the services that are called, sorted.
pub(crate) const SERVICES: [&str; 8] = ["CloudWatch Logs", "EC2", "ECS", "IAM", "S3", "SSM", "STS", "Secrets Manager"];

/// Services that only credentials providers call.
const SERVICES_OF_PROVIDERS: [&str; 2] = ["SSO", "SSO OIDC"];

/// The configured endpoints.
///
/// The SDK reads them too, but it panics on some invalid ones. In `services` sections it expects `-` for a space in a
/// service's id, although `_` is documented (and read by the AWS CLI).
#[derive(Debug, Clone, Default)]
pub(crate) struct Endpoints {
    of_all: Option<String>,
    of_services: BTreeMap<&'static str, String>,
    /// What configures each endpoint, by the endpoint's scheme, host and port.
    pub named_by: BTreeMap<String, String>,
}

impl Endpoints {
    /// One endpoint for all services.
    pub fn all(url: &str) -> Self {
        Self { of_all: Some(url.to_owned()), ..Self::default() }
    }

    fn read(environment: &Environment, set: &ProfileSet) -> Result<Self, ConnectError> {
        let ignored = environment.get("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS");
        let ignored = ignored.or_else(|| set.get("ignore_configured_endpoint_urls"));
        if ignored.is_some_and(|value| value.eq_ignore_ascii_case("true")) {
            return Ok(Self::default());
        }
        let of_profile = || set.get("endpoint_url").filter(|url| !url.is_empty());
        let of_all = environment.get("AWS_ENDPOINT_URL");
        let mut found = Self {
            named_by: BTreeMap::new(),
            of_services: SERVICES
                .into_iter()
                .chain(SERVICES_OF_PROVIDERS)
                .filter_map(|service| {
                    let variable = format!("AWS_ENDPOINT_URL_{}", service.to_uppercase().replace(' ', "_"));
                    let url = environment.get(&variable).map(str::to_owned);
                    // A variable has priority over the profile, even a variable for all services.
                    let url = url.or_else(|| if of_all.is_some() { None } else { in_section(set, service) })?;
                    Some((service, url))
                })
                .collect(),
            of_all: of_all.or_else(of_profile).map(str::to_owned),
        };
        for url in found.of_services.values().chain(&found.of_all) {
            let named_by = configured_by(environment, set, url);
            check_url(url, || named_by.clone())?;
            if let Ok(uri) = url.parse() {
                found.named_by.insert(host_of(&uri), named_by);
            }
        }
        found.refuse_others_of_aws(environment, set)?;
        Ok(found)
    }

    /// AWS's own alternative endpoints (FIPS, dual-stack) and a configured endpoint exclude each other; the SDK would
    /// report that only with each call.
    fn refuse_others_of_aws(&self, environment: &Environment, set: &ProfileSet) -> Result<(), ConnectError> {
        for (variable, key) in
            [("AWS_USE_FIPS_ENDPOINT", "use_fips_endpoint"), ("AWS_USE_DUALSTACK_ENDPOINT", "use_dualstack_endpoint")]
        {
            let (value, named_by) = match (environment.get(variable), set.get(key)) {
                (Some(value), _) => (value, format!("`{variable}`")),
                (None, Some(value)) => (value, format!("`{key}` of the profile `{}`", set.selected_profile())),
                (None, None) => continue,
            };
            if value.trim().eq_ignore_ascii_case("true")
                && let Some(endpoint) = self.named_by.values().next()
            {
                return Err(ConnectError::TwoEndpoints { named_by, endpoint: endpoint.clone() });
            }
        }
        Ok(())
    }

    /// The endpoint of a service, by its model id.
    pub fn of(&self, service: &str) -> Option<&str> {
        self.of_services.get(service).or(self.of_all.as_ref()).map(String::as_str)
    }

    /// The endpoint of all services without one of their own.
    pub fn of_all(&self) -> Option<&str> {
        self.of_all.as_deref()
    }

    /// What answers instead of AWS, as text: one URL, or which services are where.
    pub fn shown(&self) -> Option<String> {
        endpoint::shown(&SERVICES.map(|service| (service, self.of(service))), self.of_all())
    }
}

/// The endpoint of a service in the `services` section of the selected profile.
fn in_section(set: &ProfileSet, service: &str) -> Option<String> {
    let section = set.get("services")?;
    ["_", "-"].into_iter().find_map(|space| {
        let key = PropertiesKey::builder()
            .section_key("services")
            .section_name(section)
            .property_name(service.to_lowercase().replace(' ', space))
            .sub_property_name("endpoint_url");
        set.other_sections().get(&key.build().ok()?).filter(|url| !url.is_empty()).cloned()
    })
}

fn configured_by(environment: &Environment, set: &ProfileSet, url: &str) -> String {
    let mut variables = environment.with_prefix("AWS_ENDPOINT_URL");
    match variables.find(|(_, value)| *value == url) {
        Some((name, _)) => format!("`{name}`"),
        None => match set.get("services") {
            Some(section) if set.get("endpoint_url") != Some(url) => {
                format!("`endpoint_url` in the section `[services {section}]`")
            }
            _ => format!("`endpoint_url` of the profile `{}`", set.selected_profile()),
        },
    }
}

/// Refuses text that is not a valid endpoint.
pub(crate) fn check_url(url: &str, named_by: impl FnOnce() -> String) -> Result<(), ConnectError> {
    let uri = url.parse::<http::Uri>().ok();
    let is_right = uri.is_some_and(|uri| matches!(uri.scheme_str(), Some("http" | "https")) && is_place(&uri));
    if is_right { Ok(()) } else { Err(ConnectError::Endpoint { url: url.to_owned(), named_by: named_by() }) }
}

#[cfg(test)]
mod tests;
