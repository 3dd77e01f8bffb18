//! The certificate authorities to trust: those of a configured file, or those of this machine.

use std::{io, path::Path};

use aws_smithy_http_client::tls::{TlsContext, TrustStore};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, pem::PemObject as _},
};

use crate::{connect::ConnectError, environment::Environment, files};

/// Where operating systems keep their certificate authorities (the list of Go's `crypto/x509`).
const SYSTEM_BUNDLES: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/cacert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// A file with certificates, and the setting that configures it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bundle {
    /// Path of the file.
    pub path: String,
    /// `AWS_CA_BUNDLE`, or `ca_bundle` of a profile, in backticks.
    pub named_by: String,
}

/// The trusted authorities: only those of the bundle, as with the AWS CLI, or else those of this machine.
pub(crate) fn context(bundle: Option<&Bundle>, environment: &Environment) -> Result<TlsContext, ConnectError> {
    let store = match bundle {
        Some(bundle) => of_bundle(bundle, environment)?,
        None => of_this_machine(environment)?,
    };
    TlsContext::builder().with_trust_store(store).build().map_err(|error| ConnectError::Tls(error.to_string()))
}

fn of_bundle(bundle: &Bundle, environment: &Environment) -> Result<TrustStore, ConnectError> {
    let refused = |why: String| ConnectError::CaBundle { bundle: bundle.clone(), why };
    let bytes = files::read(&environment.path(&bundle.path)).map_err(|error| refused(error.to_string()))?;
    let pem = usable(&bytes);
    if pem.is_empty() {
        return Err(refused("it has no certificate in PEM form".to_owned()));
    }
    Ok(TrustStore::empty().with_pem_certificate(pem))
}

/// The SDK reads `SSL_CERT_FILE` and `SSL_CERT_DIR` itself, but treats an empty value as a path.
fn of_this_machine(environment: &Environment) -> Result<TrustStore, ConnectError> {
    if let Some(path) = environment.get("SSL_CERT_FILE")
        && let Err(error) = files::read(Path::new(path))
        && error.kind() == io::ErrorKind::InvalidInput
    {
        let bundle = Bundle { path: path.to_owned(), named_by: "`SSL_CERT_FILE`".to_owned() };
        return Err(ConnectError::CaBundle { bundle, why: error.to_string() });
    }
    if environment.is_emptied("SSL_CERT_FILE") && !environment.has("SSL_CERT_DIR") {
        for path in SYSTEM_BUNDLES {
            let pem = std::fs::read(path).map(|bytes| usable(&bytes)).unwrap_or_default();
            if !pem.is_empty() {
                return Ok(TrustStore::empty().with_pem_certificate(pem));
            }
        }
    }
    Ok(TrustStore::default())
}

/// The usable certificates of a file, as PEM; the SDK panics on others.
fn usable(bytes: &[u8]) -> String {
    let mut roots = RootCertStore::empty();
    let mut pem = String::new();
    for certificate in CertificateDer::pem_slice_iter(bytes).filter_map(Result::ok) {
        let encoded = STANDARD.encode(&certificate);
        if roots.add(certificate).is_ok() {
            pem.push_str("-----BEGIN CERTIFICATE-----\n");
            pem.push_str(&encoded);
            pem.push_str("\n-----END CERTIFICATE-----\n");
        }
    }
    pem
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unreadable_or_empty_bundle_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let named_by = "AWS_CA_BUNDLE".to_owned();
        let missing = Bundle { path: folder.path().join("none.pem").display().to_string(), named_by: named_by.clone() };
        let environment = Environment::default();
        assert!(matches!(of_bundle(&missing, &environment), Err(ConnectError::CaBundle { .. })));
        let folder = Bundle { path: folder.path().display().to_string(), named_by: named_by.clone() };
        assert!(matches!(of_bundle(&folder, &environment), Err(ConnectError::CaBundle { .. })));
        let zero = Bundle { path: "/dev/zero".to_owned(), named_by: named_by.clone() };
        assert!(of_bundle(&zero, &environment).is_err_and(|error| error.to_string().contains("not a regular file")));
        let environment_with = crate::environment::of(&[("SSL_CERT_FILE", "/dev/zero")]);
        let error = context(None, &environment_with).unwrap_err().to_string();
        assert!(error.contains("`SSL_CERT_FILE` names `/dev/zero`"), "{error}");
        let empty = Bundle { path: "/dev/null".to_owned(), named_by };
        assert!(of_bundle(&empty, &environment).is_err_and(|error| error.to_string().contains("no certificate")));
    }
}
