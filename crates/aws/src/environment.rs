//! The environment variables that configure the access to AWS. Nothing else in this crate reads the environment. A
//! variable that is set but empty counts as unset everywhere.
//!
//! | variable | what it decides |
//! |---|---|
//! | `AWS_PROFILE`, else `AWS_DEFAULT_PROFILE` | the profile; the order is that of the AWS CLI, version 2 |
//! | `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN` | the credentials; they win over a profile |
//! | `AWS_WEB_IDENTITY_TOKEN_FILE`, `AWS_ROLE_ARN`, `AWS_ROLE_SESSION_NAME` | credentials by web identity |
//! | `AWS_CONTAINER_CREDENTIALS_*`, `AWS_EC2_METADATA_*` | credentials of a container or of an EC2 instance |
//! | `AWS_CONFIG_FILE`, `AWS_SHARED_CREDENTIALS_FILE`, `HOME` | where the profiles are |
//! | `AWS_ENDPOINT_URL`, `AWS_ENDPOINT_URL_<SERVICE>` | other endpoints than AWS's own |
//! | `AWS_IGNORE_CONFIGURED_ENDPOINT_URLS` | `true`: no endpoint of the environment or of a profile counts |
//! | `AWS_CA_BUNDLE` | the file with the certificate authorities that are trusted; a profile can say `ca_bundle` |
//! | `SSL_CERT_FILE`, `SSL_CERT_DIR` | the same, for every program on this machine |
//! | `HTTPS_PROXY`, `HTTP_PROXY`, `NO_PROXY` | the proxies, in upper or lower case; lower case wins |
//! | `AWS_USE_FIPS_ENDPOINT`, `AWS_USE_DUALSTACK_ENDPOINT` | which of AWS's endpoints |
//!
//! `AWS_REGION` is not used: the region is in the stack file.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
    path::PathBuf,
    sync::Arc,
};

use aws_types::os_shim_internal::Env;

/// Environment variables, without the empty ones.
#[derive(Clone, Default)]
pub struct Environment {
    variables: Arc<BTreeMap<String, String>>,
    emptied: Arc<BTreeSet<String>>,
}

impl Environment {
    /// The variables of this process. Values that are not UTF-8 are left out.
    pub fn of_this_process() -> Self {
        std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect()
    }

    /// A variable that is set and not empty.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str)
    }

    /// Whether a variable is set and not empty.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.variables.contains_key(name)
    }

    /// Whether a variable is set but empty. Libraries that read the environment themselves may not treat it as unset.
    pub(crate) fn is_emptied(&self, name: &str) -> bool {
        self.emptied.contains(name)
    }

    /// The names and values with this prefix.
    pub(crate) fn with_prefix(&self, start: &str) -> impl Iterator<Item = (&str, &str)> {
        self.variables.iter().filter(move |(name, _)| name.starts_with(start)).map(|(name, value)| (&**name, &**value))
    }

    /// A copy with this variable set.
    #[must_use]
    pub(crate) fn with(&self, name: &str, value: &str) -> Self {
        let mut variables = (*self.variables).clone();
        variables.insert(name.to_owned(), value.to_owned());
        Self { variables: Arc::new(variables), emptied: Arc::clone(&self.emptied) }
    }

    /// A path with a leading `~` replaced by the home directory.
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        match (path.strip_prefix("~/"), self.get("HOME")) {
            (Some(rest), Some(home)) => PathBuf::from(home).join(rest),
            _ => PathBuf::from(path),
        }
    }

    /// In the SDK's own type.
    pub(crate) fn for_the_sdk(&self) -> Env {
        Env::from((*self.variables).clone().into_iter().collect::<HashMap<_, _>>())
    }
}

impl FromIterator<(String, String)> for Environment {
    fn from_iter<T: IntoIterator<Item = (String, String)>>(variables: T) -> Self {
        let (emptied, variables): (Vec<_>, Vec<_>) = variables.into_iter().partition(|(_, value)| value.is_empty());
        Self {
            variables: Arc::new(variables.into_iter().collect()),
            emptied: Arc::new(emptied.into_iter().map(|(name, _)| name).collect()),
        }
    }
}

/// Prints only the names, because many values are secrets.
impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.variables.keys()).finish()
    }
}

#[cfg(test)]
pub(crate) fn of(variables: &[(&str, &str)]) -> Environment {
    variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_variable_counts_as_unset_and_no_value_is_shown() {
        let environment = of(&[("AWS_PROFILE", ""), ("AWS_SECRET_ACCESS_KEY", "hush")]);
        assert_eq!(environment.get("AWS_PROFILE"), None);
        assert!(environment.for_the_sdk().get("AWS_PROFILE").is_err());
        assert_eq!(format!("{environment:?}"), "{\"AWS_SECRET_ACCESS_KEY\"}");
    }
}
