//! The profiles of `~/.aws`: which one is chosen, what it says about the connection, and where its credentials come
//! from. Files are parsed by the SDK; what it takes in silence is refused here with its file and line.
//!
//! As with the AWS CLI, credentials in the environment win over a profile, and a profile that is named and does not
//! exist is an error even then. Stricter than the AWS CLI, a named profile without credentials is an error too, and so is
//! one that says a part of what it takes: the identity of the machine never stands in for it.

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

/// The files that profiles stand in: variable and usual place.
const FILES: [(&str, &str); 2] =
    [("AWS_CONFIG_FILE", "~/.aws/config"), ("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials")];

/// What the environment and its profile say.
#[derive(Debug)]
pub(crate) struct Settings {
    /// The name of the profile.
    pub profile: String,
    /// Where the credentials come from.
    pub source: Source,
    /// The authorities that are trusted.
    pub bundle: Option<Bundle>,
    /// Other endpoints than AWS's own.
    pub endpoints: Endpoints,
}

impl Settings {
    /// Those of an environment.
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
        // The SDK takes a file that it cannot read, or that is no UTF-8, for an empty one.
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
        // "error parsing PATH on line N:", and what is wrong on a line of its own.
        let told = crate::unanswered::chain(&error);
        let told = told.split_once("error parsing ").map_or(told.as_str(), |(_, rest)| rest);
        let (place, why) = told.split_once(":\n").unwrap_or((told, "it cannot be parsed"));
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

/// Where the credentials come from, or why there can be none.
///
/// A profile that says anything about credentials gives them, or is an error: the SDK takes some that are incomplete for
/// empty, and asks the machine.
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

/// Whether the environment has keys. As with the AWS CLI, an access key without its secret is an error, and a secret alone
/// makes way for a profile that is named; stricter than there, it makes way for nothing else. Blank is unset to the SDK.
fn has_keys(environment: &Environment, is_named: bool) -> Result<bool, ConnectError> {
    let [id, secret] = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"];
    let has = |name| environment.get(name).is_some_and(|value| !value.trim().is_empty());
    match (has(id), has(secret)) {
        (true, false) => Err(ConnectError::HalfSet { set: id, missing: secret }),
        (false, true) if !is_named => Err(ConnectError::HalfSet { set: secret, missing: id }),
        (has_id, has_secret) => Ok(has_id && has_secret),
    }
}

/// What the chosen profile and those that it takes its credentials from say.
fn of_profiles(set: &ProfileSet) -> Result<Source, ConnectError> {
    let chosen = set.selected_profile();
    let mut found =
        Source { profile: chosen.to_owned(), base: chosen.to_owned(), origin: Origin::Elsewhere, role: None };
    let mut visited: Vec<String> = Vec::new();
    let mut name = chosen.to_owned();
    while let Some(profile) = set.get_profile(&name) {
        let has = |key: &str| profile.get(key).is_some_and(|value| !value.is_empty());
        found.base.clone_from(&name);
        // Keys of a profile that another one takes a role with come before everything else that it says.
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
                        "takes its credentials from `{next}`, which takes its own from `{name}` in the end"
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
                        Err(incomplete("takes its credentials from itself and has none of its own".to_owned()))
                    }
                    _ if is_role => Err(incomplete(
                        "says `role_arn`, and neither `source_profile` nor `credential_source` to take the role with"
                            .to_owned(),
                    )),
                    Some(from) => {
                        Err(incomplete(format!("has no credentials, and the profile `{from}` takes its own from it")))
                    }
                    None if has("source_profile") => {
                        Err(incomplete("says `source_profile` and no `role_arn`".to_owned()))
                    }
                    None => Ok(found),
                };
            }
        }
    }
    Ok(found)
}

/// Where they come from that are in no profile.
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

/// The variable by which a container learns its credentials, if it says where.
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

/// How a container learns where its credentials are: a path at the usual address, an address of its own, and the file
/// with the token that is shown there.
const CONTAINER: [&str; 3] = [
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
];

/// Refuses a file that holds no token: the SDK names neither the file nor who names it.
fn check_token(path: &str, named_by: impl FnOnce() -> String) -> Result<(), ConnectError> {
    let why = match files::read(Path::new(path)) {
        Ok(token) if token.trim_ascii().is_empty() => "it is empty".to_owned(),
        Ok(_) => return Ok(()),
        Err(error) => error.to_string(),
    };
    Err(ConnectError::TokenFile { named_by: named_by(), path: path.to_owned(), why })
}

/// Where the credentials come from that a profile has itself, in the order of the SDK.
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
                    why: format!("has a part of an access key, and no `{missing}`"),
                }),
            }
        }
        () => Ok(Origin::Elsewhere),
    }
}

/// Refuses a session of IAM Identity Center that is not whole.
fn check_session(set: &ProfileSet, profile: &Profile) -> Result<(), ConnectError> {
    let incomplete = |why: String| ConnectError::Incomplete { profile: profile.name().to_owned(), why };
    let is_set = |value: Option<&str>| value.is_some_and(|value| !value.is_empty());
    if let Some(missing) = ["sso_account_id", "sso_role_name"].into_iter().find(|key| !is_set(profile.get(key))) {
        return Err(incomplete(format!("has a session of IAM Identity Center, and no `{missing}`")));
    }
    let keys = ["sso_start_url", "sso_region"];
    let Some(name) = profile.get("sso_session") else {
        let missing = keys.into_iter().find(|key| !is_set(profile.get(key)));
        return missing.map_or(Ok(()), |missing| {
            Err(incomplete(format!("has a session of IAM Identity Center, and no `{missing}`")))
        });
    };
    let Some(session) = set.sso_session(name) else {
        return Err(incomplete(format!(
            "names the `sso_session` `{name}`, and there is no section `[sso-session {name}]`"
        )));
    };
    match keys.into_iter().find(|key| !is_set(session.get(key))) {
        Some(missing) => {
            Err(incomplete(format!("names the `sso_session` `{name}`, and `[sso-session {name}]` has no `{missing}`")))
        }
        None => Ok(()),
    }
}

/// The services that are called, by the ids of their models, in their order.
pub(crate) const SERVICES: [&str; 8] = ["CloudWatch Logs", "EC2", "ECS", "IAM", "S3", "SSM", "STS", "Secrets Manager"];

/// Those that only providers of credentials call.
const SERVICES_OF_PROVIDERS: [&str; 2] = ["SSO", "SSO OIDC"];

/// The endpoints that are configured.
///
/// The SDK reads them as well, but panics at some that are none, and looks for a service whose id has a space under a
/// name with `-` in `services` sections, where it is documented (and read by the AWS CLI) with `_`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Endpoints {
    of_all: Option<String>,
    of_services: BTreeMap<&'static str, String>,
    /// Who names the endpoints, by scheme, name and port.
    pub named_by: BTreeMap<String, String>,
}

impl Endpoints {
    /// One and the same for all services.
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
                    // A variable wins over the profile, also one for all services.
                    let url = url.or_else(|| if of_all.is_some() { None } else { in_section(set, service) })?;
                    Some((service, url))
                })
                .collect(),
            of_all: of_all.or_else(of_profile).map(str::to_owned),
        };
        for url in found.of_services.values().chain(&found.of_all) {
            let named_by = who_names(environment, set, url);
            check_url(url, || named_by.clone())?;
            if let Ok(uri) = url.parse() {
                found.named_by.insert(host_of(&uri), named_by);
            }
        }
        found.refuse_others_of_aws(environment, set)?;
        Ok(found)
    }

    /// The SDK finds out with each call that AWS's own other endpoints and one that is configured exclude each other.
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

    /// The endpoint of a service, by the id of its model.
    pub fn of(&self, service: &str) -> Option<&str> {
        self.of_services.get(service).or(self.of_all.as_ref()).map(String::as_str)
    }

    /// The endpoint of all services that have none of their own.
    pub fn of_all(&self) -> Option<&str> {
        self.of_all.as_deref()
    }

    /// What answers instead of AWS, as a person reads it: one URL, or which services are where.
    pub fn shown(&self) -> Option<String> {
        endpoint::shown(&SERVICES.map(|service| (service, self.of(service))), self.of_all())
    }
}

/// The endpoint of a service in the `services` section of the chosen profile.
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

fn who_names(environment: &Environment, set: &ProfileSet, url: &str) -> String {
    let mut variables = environment.beginning_with("AWS_ENDPOINT_URL");
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

/// Refuses what can be no endpoint.
pub(crate) fn check_url(url: &str, named_by: impl FnOnce() -> String) -> Result<(), ConnectError> {
    let uri = url.parse::<http::Uri>().ok();
    let is_right = uri.is_some_and(|uri| matches!(uri.scheme_str(), Some("http" | "https")) && is_place(&uri));
    if is_right { Ok(()) } else { Err(ConnectError::Endpoint { url: url.to_owned(), named_by: named_by() }) }
}

#[cfg(test)]
mod tests;
