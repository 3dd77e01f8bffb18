//! Decides as the AWS CLI does which requests go through a proxy.
//!
//! The AWS CLI uses Python's `urllib` (`getproxies_environment`, `proxy_bypass_environment`): `https_proxy` or
//! `HTTPS_PROXY` for `https` requests, `http_proxy` or `HTTP_PROXY` for `http` requests, lower case first; `ALL_PROXY`
//! is ignored. `NO_PROXY` is `*`, or a list of names with or without a port. A name matches itself and everything under
//! it; address ranges and patterns are treated like names. In addition, loopback and the addresses of a machine's or
//! container's own credentials never use a proxy, because they are local.

use std::{fmt, net::IpAddr};

use http::Uri;

use crate::{connect::ConnectError, environment::Environment};

/// Addresses of the credentials of instances and containers: EC2's metadata, ECS, EKS Pod Identity.
const METADATA: &[&str] = &["169.254.169.254", "fd00:ec2::254", "169.254.170.2", "169.254.170.23", "fd00:ec2::23"];

/// A proxy.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Proxy {
    /// Its URL, with user and password if it has them.
    pub url: String,
    /// Its URL without user and password.
    pub shown: String,
    /// The variable that configures it.
    pub variable: &'static str,
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Proxy").field(&self.shown).finish()
    }
}

/// The proxies of an environment.
#[derive(Debug, Clone, Default)]
pub(crate) struct Proxies {
    http: Option<Proxy>,
    https: Option<Proxy>,
    except: String,
}

impl Proxies {
    /// Reads the proxies of an environment.
    pub fn of(environment: &Environment) -> Result<Self, ConnectError> {
        let except = ["no_proxy", "NO_PROXY"].into_iter().find_map(|name| environment.get(name));
        Ok(Self {
            http: Proxy::of(environment, ["http_proxy", "HTTP_PROXY"])?,
            https: Proxy::of(environment, ["https_proxy", "HTTPS_PROXY"])?,
            except: except.unwrap_or_default().to_ascii_lowercase(),
        })
    }

    /// The proxies for requests to `http` and to `https` URLs.
    pub fn both(&self) -> [Option<&Proxy>; 2] {
        [self.http.as_ref(), self.https.as_ref()]
    }

    /// The proxy for a request, if it needs one.
    pub fn route(&self, uri: &Uri) -> Option<&Proxy> {
        let proxy = if uri.scheme_str() == Some("http") { self.http.as_ref() } else { self.https.as_ref() }?;
        let host = uri.host().unwrap_or_default();
        let host = host.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        (!is_local(&host) && !self.excepts(&host, uri.port_u16())).then_some(proxy)
    }

    fn excepts(&self, host: &str, port: Option<u16>) -> bool {
        if self.except.trim() == "*" {
            return true;
        }
        let with_port = port.map(|port| format!("{host}:{port}"));
        let stands_for = |name: &str, host: &str| {
            host == name || host.strip_suffix(name).is_some_and(|before| before.ends_with('.'))
        };
        let names =
            self.except.split(',').map(|name| name.trim().trim_start_matches('.')).filter(|name| !name.is_empty());
        names
            .into_iter()
            .any(|name| stands_for(name, host) || with_port.as_deref().is_some_and(|host| stands_for(name, host)))
    }
}

/// Whether a URL has a host and, if it has a port, a numeric one.
pub(crate) fn is_place(uri: &Uri) -> bool {
    let authority = uri.authority().map(http::uri::Authority::as_str).unwrap_or_default();
    let place = authority.rsplit_once('@').map_or(authority, |(_, place)| place);
    // The colons of an IPv6 address are inside brackets.
    match place.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => !host.is_empty() && port.parse::<u16>().is_ok(),
        _ => !place.is_empty(),
    }
}

fn is_local(host: &str) -> bool {
    host == "localhost"
        || METADATA.contains(&host)
        || host.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}

impl Proxy {
    fn of(environment: &Environment, names: [&'static str; 2]) -> Result<Option<Self>, ConnectError> {
        let set = names.into_iter().find_map(|name| environment.get(name).map(|value| (name, value.trim())));
        let Some((variable, value)) = set else { return Ok(None) };
        let url = match value {
            _ if value.contains("://") => value.to_owned(),
            _ if value.starts_with("//") => format!("http:{value}"),
            _ => format!("http://{value}"),
        };
        let refused = || ConnectError::Proxy { variable };
        let uri: Uri = url.parse().map_err(|_| refused())?;
        let authority = uri.authority().ok_or_else(refused)?.as_str();
        let place = authority.rsplit_once('@').map_or(authority, |(_, place)| place);
        match uri.scheme_str() {
            Some(scheme @ ("http" | "https")) if is_place(&uri) => Ok(Some(Self {
                shown: format!("{scheme}://{place}"),
                url: format!("{scheme}://{authority}"),
                variable,
            })),
            _ => Err(refused()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environment;

    fn route(variables: &[(&str, &str)], url: &str) -> Option<String> {
        let proxies = Proxies::of(&environment::of(variables)).unwrap();
        proxies.route(&url.parse().unwrap()).map(|proxy| proxy.shown.clone())
    }

    #[test]
    fn a_proxy_is_chosen_by_scheme_and_lower_case_wins() {
        let ec2 = "https://ec2.eu-west-3.amazonaws.com/";
        for (variables, url, expected) in [
            (vec![], ec2, None),
            (vec![("HTTPS_PROXY", "http://p:1")], ec2, Some("http://p:1")),
            (vec![("https_proxy", "http://p:1"), ("HTTPS_PROXY", "http://q:2")], ec2, Some("http://p:1")),
            (vec![("https_proxy", ""), ("HTTPS_PROXY", "http://q:2")], ec2, Some("http://q:2")),
            (vec![("HTTP_PROXY", "http://p:1")], ec2, None),
            (vec![("HTTP_PROXY", "http://p:1")], "http://ec2.internal/", Some("http://p:1")),
            (vec![("ALL_PROXY", "http://p:1")], ec2, None),
            (vec![("HTTPS_PROXY", "p:1")], ec2, Some("http://p:1")),
            (vec![("HTTPS_PROXY", "//p:1")], ec2, Some("http://p:1")),
            (vec![("HTTPS_PROXY", "https://p:1/")], ec2, Some("https://p:1")),
            (vec![("HTTPS_PROXY", "http://me:p%40ss@p:1")], ec2, Some("http://p:1")),
        ] {
            assert_eq!(route(&variables, url).as_deref(), expected, "{variables:?} {url}");
        }
    }

    #[test]
    fn no_proxy_has_the_same_meaning_as_for_the_aws_cli() {
        for (except, url, is_direct) in [
            ("*", "https://sts.amazonaws.com", true),
            ("sts.amazonaws.com", "https://sts.amazonaws.com", true),
            ("amazonaws.com", "https://sts.amazonaws.com", true),
            (".amazonaws.com", "https://STS.amazonaws.com", true),
            ("a.example, amazonaws.com", "https://sts.amazonaws.com", true),
            ("aws.com", "https://sts.amazonaws.com", false),
            ("*.amazonaws.com", "https://sts.amazonaws.com", false),
            ("10.0.0.0/8", "https://10.1.2.3", false),
            ("10.1.2.3", "https://10.1.2.3", true),
            ("endpoint.internal:8443", "https://endpoint.internal:8443", true),
            ("endpoint.internal:8443", "https://endpoint.internal", false),
            ("endpoint.internal", "https://endpoint.internal:8443", true),
            ("", "https://sts.amazonaws.com", false),
        ] {
            let found = route(&[("HTTPS_PROXY", "http://p:1"), ("NO_PROXY", except)], url);
            assert_eq!(found.is_none(), is_direct, "{except:?} {url}");
        }
    }

    #[test]
    fn loopback_and_local_credentials_never_use_a_proxy() {
        for url in [
            "http://127.0.0.1:4566",
            "http://127.8.9.1",
            "http://localhost:4566",
            "http://[::1]:4566",
            "http://169.254.169.254/latest",
            "http://[fd00:ec2::254]/latest",
            "http://169.254.170.2/v2",
            "http://169.254.170.23/v1",
        ] {
            assert_eq!(route(&[("HTTP_PROXY", "http://p:1")], url), None, "{url}");
        }
    }

    #[test]
    fn an_invalid_proxy_is_refused_without_showing_its_password() {
        for value in ["socks5://me:hush@p:1", "http://me:hush@", "http://me:hush@p:port"] {
            let error = Proxies::of(&environment::of(&[("HTTPS_PROXY", value)])).unwrap_err();
            let said = format!("{error} {error:?}");
            assert!(said.contains("HTTPS_PROXY") && !said.contains("hush"), "{said}");
        }
        let proxies = Proxies::of(&environment::of(&[("HTTPS_PROXY", "http://me:hush@p:1")])).unwrap();
        assert!(!format!("{proxies:?}").contains("hush"));
    }
}
