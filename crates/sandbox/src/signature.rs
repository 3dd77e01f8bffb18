//! Verifies signature version 4 in the `Authorization` header against the secret of its access key.
//!
//! The rules are from "Authenticating requests" in the IAM user guide.

use std::fmt::Write;

use hmac::{Hmac, KeyInit, Mac};
use hyper::{HeaderMap, http::request::Parts};
use jiff::{Timestamp, civil::DateTime, tz::TimeZone};
use sha2::{Digest, Sha256};

use crate::{call::Fault, iam::Credentials, json::hex};

/// The largest accepted difference between the clocks of client and sandbox.
const SKEW_SECONDS: i64 = 300;

/// The parts of the `Authorization` header.
#[derive(Debug)]
pub(crate) struct Authorization<'r> {
    /// The id of the access key.
    pub(crate) access_key: &'r str,
    date: &'r str,
    /// The region of the credential scope.
    pub(crate) region: &'r str,
    /// The service of the credential scope.
    pub(crate) service: &'r str,
    signed_headers: &'r str,
    signature: &'r str,
}

/// Why a signature is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Denied {
    /// The account has no such access key.
    UnknownKey,
    /// The signature does not match the secret key.
    WrongSignature,
    /// The signature's time is too far in the past or in the future.
    Expired,
    /// Temporary credentials have ended.
    ExpiredToken,
    /// The session token is not the one of the access key.
    WrongToken,
}

impl Denied {
    /// The error of a service whose calls are query requests or JSON documents. EC2 has codes of its own ("Error codes for
    /// the Amazon EC2 API", EC2 developer guide, read November 2026).
    pub(crate) fn fault(self, service: &str, json: bool) -> Fault {
        if service == "ec2" {
            return match self {
                Self::UnknownKey | Self::WrongToken | Self::WrongSignature => {
                    Fault::new("AuthFailure", "AWS was not able to validate the provided access credentials")
                        .with_status(401)
                }
                Self::Expired | Self::ExpiredToken => Fault::new("RequestExpired", "Request has expired."),
            };
        }
        let status = if json { 400 } else { 403 };
        let signature = if json { "InvalidSignatureException" } else { "SignatureDoesNotMatch" };
        let (code, text) = match self {
            Self::UnknownKey | Self::WrongToken => (
                if json { "UnrecognizedClientException" } else { "InvalidClientTokenId" },
                "The security token included in the request is invalid.",
            ),
            Self::ExpiredToken => (
                if json { "ExpiredTokenException" } else { "ExpiredToken" },
                "The security token included in the request is expired",
            ),
            Self::WrongSignature => (
                signature,
                "The request signature we calculated does not match the signature you provided. Check your AWS Secret \
                 Access Key and signing method. Consult the service documentation for details.",
            ),
            Self::Expired => (
                signature,
                "Signature expired: the request was signed more than five minutes ago, or for a time to come.",
            ),
        };
        Fault::new(code, text).with_status(status)
    }
}

impl Credentials {
    /// Refuses a token of others, and credentials that have ended.
    pub(crate) fn check(&self, token: Option<&str>, now: Timestamp) -> Result<(), Denied> {
        if self.token.as_deref() != token {
            return Err(Denied::WrongToken);
        }
        if self.expires.is_some_and(|end| now >= end) { Err(Denied::ExpiredToken) } else { Ok(()) }
    }
}

/// Why the signature of a request cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Malformed {
    /// The header and the query both hold a signature, so that it is not clear who signed.
    Twice,
    /// It is of another kind than version 4.
    Algorithm,
    /// The header has another form; the text says which part.
    Header(String),
}

/// The query parameters that only a signature has: of version 4, and of version 2.
const IN_QUERY: [&str; 3] = ["X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Signature"];
const OLD_IN_QUERY: [&str; 2] = ["AWSAccessKeyId", "Signature"];

impl<'r> Authorization<'r> {
    /// Reads the header; `None` if there is none. Every field of it stands there once, and no other.
    pub(crate) fn of(parts: &'r Parts) -> Result<Option<Self>, Malformed> {
        let pairs: Vec<(String, String)> =
            serde_urlencoded::from_str(parts.uri.query().unwrap_or_default()).unwrap_or_default();
        let has = |names: &[&str]| pairs.iter().any(|(name, _)| names.contains(&name.as_str()));
        let mut headers = parts.headers.get_all("authorization").iter();
        let Some(header) = headers.next() else {
            return if has(&OLD_IN_QUERY) { Err(Malformed::Algorithm) } else { Ok(None) };
        };
        if headers.next().is_some() || has(&IN_QUERY) || has(&OLD_IN_QUERY) {
            return Err(Malformed::Twice);
        }
        let header = header.to_str().map_err(|_| Malformed::Header("the header is not ASCII".to_owned()))?;
        Self::read(header).map(Some)
    }

    fn read(header: &'r str) -> Result<Self, Malformed> {
        let wrong = |reason: String| Malformed::Header(format!("{reason} Authorization={header}"));
        let (algorithm, fields) = header.split_once(' ').unwrap_or((header, ""));
        if algorithm != "AWS4-HMAC-SHA256" {
            return Err(Malformed::Algorithm);
        }
        let (mut credential, mut signed_headers, mut signature) = (None, None, None);
        for field in fields.split(',') {
            let Some((name, value)) = field.trim().split_once('=') else {
                return Err(wrong(format!(
                    "'{field}' not a valid key=value pair (missing equal-sign) in Authorization header."
                )));
            };
            let known = match name {
                "Credential" => &mut credential,
                "SignedHeaders" => &mut signed_headers,
                "Signature" => &mut signature,
                _ => return Err(wrong(format!("Authorization header has the unknown parameter '{name}'."))),
            };
            if known.replace(value).is_some() {
                return Err(wrong(format!("Authorization header has the parameter '{name}' twice.")));
            }
        }
        let required = |value: Option<&'r str>, name: &str| {
            value.ok_or_else(|| wrong(format!("Authorization header requires '{name}' parameter.")))
        };
        let credential = required(credential, "Credential")?;
        let scope: Vec<&str> = credential.split('/').collect();
        let [access_key, date, region, service, "aws4_request"] = scope[..] else {
            return Err(wrong(format!(
                "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, got \
                 '{credential}'."
            )));
        };
        let (signed_headers, signature) =
            (required(signed_headers, "SignedHeaders")?, required(signature, "Signature")?);
        Ok(Self { access_key, date, region, service, signed_headers, signature })
    }

    /// Checks that this secret key signed this request at about this time.
    pub(crate) fn verify(&self, parts: &Parts, body: &[u8], key: &Credentials, now: Timestamp) -> Result<(), Denied> {
        let header = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok());
        let time = header("x-amz-date").ok_or(Denied::WrongSignature)?;
        let signed_at = signed_at(&parts.headers).ok_or(Denied::WrongSignature)?;
        if now.duration_since(signed_at).as_secs().abs() > SKEW_SECONDS {
            return Err(Denied::Expired);
        }
        if time.get(..8) != Some(self.date) || !self.covers(parts) {
            return Err(Denied::WrongSignature);
        }
        if self.expected(parts, body, time, &key.secret).as_deref() != Some(self.signature) {
            return Err(Denied::WrongSignature);
        }
        key.check(header("x-amz-security-token"), now)
    }

    /// Whether the signature covers all headers that it must: `host` and each `x-amz-` header that was sent ("Create a
    /// signed AWS API request", IAM user guide, read November 2026).
    fn covers(&self, parts: &Parts) -> bool {
        let is_signed = |name: &str| self.signed_headers.split(';').any(|signed| signed == name);
        let must =
            parts.headers.keys().map(hyper::header::HeaderName::as_str).filter(|name| name.starts_with("x-amz-"));
        is_signed("host") && must.into_iter().all(is_signed)
    }

    /// The correct signature for this request at this time.
    fn expected(&self, parts: &Parts, body: &[u8], time: &str, secret: &str) -> Option<String> {
        let content = match parts.headers.get("x-amz-content-sha256") {
            Some(value) if value == "UNSIGNED-PAYLOAD" => "UNSIGNED-PAYLOAD".to_owned(),
            _ => hex(&Sha256::digest(body)),
        };
        let canonical = self.canonical_request(parts, &content)?;
        let (date, region, service) = (self.date, self.region, self.service);
        let to_sign = format!(
            "AWS4-HMAC-SHA256\n{time}\n{date}/{region}/{service}/aws4_request\n{}",
            hex(&Sha256::digest(canonical))
        );
        let mut key = format!("AWS4{secret}").into_bytes();
        for part in [date, region, service, "aws4_request", &to_sign] {
            key = sign(&key, part)?;
        }
        Some(hex(&key))
    }

    fn canonical_request(&self, parts: &Parts, content: &str) -> Option<String> {
        let mut query: Vec<String> = parts
            .uri
            .query()
            .unwrap_or_default()
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| if pair.contains('=') { pair.to_owned() } else { format!("{pair}=") })
            .collect();
        query.sort_unstable();
        let mut headers = String::new();
        for name in self.signed_headers.split(';') {
            let mut values = Vec::new();
            for value in parts.headers.get_all(name) {
                values.push(value.to_str().ok()?.split_whitespace().collect::<Vec<_>>().join(" "));
            }
            if values.is_empty() {
                return None;
            }
            // Writing to a string cannot fail.
            let _ = writeln!(headers, "{name}:{}", values.join(","));
        }
        let (method, path, query) = (&parts.method, parts.uri.path(), query.join("&"));
        Some(format!("{method}\n{path}\n{query}\n{headers}\n{}\n{content}", self.signed_headers))
    }
}

/// When a request was signed, as its header says.
pub(crate) fn signed_at(headers: &HeaderMap) -> Option<Timestamp> {
    let time = headers.get("x-amz-date")?.to_str().ok()?;
    let time = DateTime::strptime("%Y%m%dT%H%M%SZ", time).ok()?;
    Some(time.to_zoned(TimeZone::UTC).ok()?.timestamp())
}

fn sign(key: &[u8], text: &str) -> Option<Vec<u8>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).ok()?;
    mac.update(text.as_bytes());
    Some(mac.finalize().into_bytes().to_vec())
}

/// The `Authorization` header of a client with the sandbox's credentials. The request already has its date.
#[cfg(test)]
pub(crate) fn authorize(parts: &Parts, body: &[u8], service: &str) -> Option<String> {
    let date = parts.headers.get("x-amz-date")?.to_str().ok()?.get(..8)?;
    signed(parts, body, service, date, "host;x-amz-date")
}

/// The same with another date in the scope, or for other headers.
#[cfg(test)]
pub(crate) fn signed(parts: &Parts, body: &[u8], service: &str, date: &str, signed_headers: &str) -> Option<String> {
    let time = parts.headers.get("x-amz-date")?.to_str().ok()?;
    let access_key = crate::ACCESS_KEY_ID;
    let signed = Authorization { access_key, date, region: "eu-west-3", service, signed_headers, signature: "" };
    let signature = signed.expected(parts, body, time, crate::SECRET_ACCESS_KEY)?;
    Some(format!(
        "AWS4-HMAC-SHA256 Credential={access_key}/{date}/eu-west-3/{service}/aws4_request, \
         SignedHeaders={signed_headers}, Signature={signature}"
    ))
}

#[cfg(test)]
mod tests {
    use hyper::Request;
    use jiff::Timestamp;

    use super::{Authorization, Denied, Malformed, signed};
    use crate::{SECRET_ACCESS_KEY, iam::Credentials};

    const HEADER: &str = "AWS4-HMAC-SHA256 Credential=key/20261126/eu-west-3/ec2/aws4_request, SignedHeaders=host, \
                          Signature=00";

    fn read(uri: &str, headers: &[&str]) -> Result<Option<String>, Malformed> {
        let mut request = Request::get(uri);
        for header in headers {
            request = request.header("authorization", *header);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        Authorization::of(&parts).map(|found| found.map(|found| found.access_key.to_owned()))
    }

    #[test]
    fn a_request_has_one_signature() {
        assert_eq!(read("/", &[HEADER]), Ok(Some("key".to_owned())));
        assert_eq!(read("/?X-Amz-Signature=0", &[]), Ok(None));
        for name in ["X-Amz-Credential", "X-Amz-Signature", "X-Amz-Algorithm", "X-Amz-Signatur%65", "AWSAccessKeyId"] {
            assert_eq!(read(&format!("/?a=b&{name}=sandbox"), &[HEADER]), Err(Malformed::Twice), "{name}");
        }
        assert_eq!(read("/", &[HEADER, HEADER]), Err(Malformed::Twice));
        assert_eq!(read("/", &["AWS key:signature"]), Err(Malformed::Algorithm));
        assert_eq!(read("/?AWSAccessKeyId=key&Signature=0", &[]), Err(Malformed::Algorithm));
    }

    #[test]
    fn each_field_of_the_header_stands_there_once_and_no_other() {
        let refused = |header: &str| matches!(read("/", &[header]), Err(Malformed::Header(_)));
        assert!(refused(&HEADER.replace("Credential=", "Other=Credential=sandbox/x, Credential=")));
        assert!(refused(&format!("{HEADER}, Credential=sandbox/20261126/eu-west-3/ec2/aws4_request")));
        assert!(refused(&HEADER.replace("Signature=00", "Signature")));
        assert!(refused(&HEADER.replace(", Signature=00", "")));
        assert!(refused(&HEADER.replace("/ec2/", "/")));
    }

    #[test]
    fn a_signature_is_of_its_day_and_covers_the_host_and_all_headers_of_aws() {
        let key = Credentials { secret: SECRET_ACCESS_KEY.to_owned(), token: None, expires: None };
        let now: Timestamp = "2026-11-26T12:00:00Z".parse().unwrap();
        let verified = |date: &str, signed_headers: &str| {
            let request = Request::post("/").header("host", "x").header("x-amz-date", "20261126T120000Z");
            let (mut parts, ()) = request.header("x-amz-target", "y").body(()).unwrap().into_parts();
            let header = signed(&parts, b"", "ecs", date, signed_headers).unwrap();
            parts.headers.insert("authorization", header.parse().unwrap());
            Authorization::of(&parts).unwrap().unwrap().verify(&parts, b"", &key, now)
        };
        assert_eq!(verified("20261126", "host;x-amz-date;x-amz-target"), Ok(()));
        for (date, headers) in [
            ("20261125", "host;x-amz-date;x-amz-target"),
            ("20261126", "x-amz-date;x-amz-target"),
            ("20261126", "host;x-amz-target"),
            ("20261126", "host;x-amz-date"),
        ] {
            assert_eq!(verified(date, headers), Err(Denied::WrongSignature), "{date} {headers}");
        }
    }

    #[test]
    fn ec2_has_codes_of_its_own() {
        let code = |denied: Denied, service, json| denied.fault(service, json).code;
        assert_eq!(code(Denied::UnknownKey, "ec2", false), "AuthFailure");
        assert_eq!(code(Denied::WrongSignature, "ec2", false), "AuthFailure");
        assert_eq!(code(Denied::ExpiredToken, "ec2", false), "RequestExpired");
        assert_eq!(code(Denied::UnknownKey, "iam", false), "InvalidClientTokenId");
        assert_eq!(code(Denied::UnknownKey, "ecs", true), "UnrecognizedClientException");
    }
}
