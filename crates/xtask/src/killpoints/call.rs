//! What a request asks AWS for, and the errors of AWS in its format.

use bytes::Bytes;
use hyper::{HeaderMap, Method, Request, StatusCode, http::request::Parts};

/// A request, as far as its signature and its body say what it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Call {
    /// `service:Operation`, such as `ec2:RunInstances`.
    pub operation: String,
    /// Whether it can change anything.
    pub is_mutating: bool,
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Ec2,
    Query,
    Json,
    S3,
}

/// An error that AWS can answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    Throttled,
    Unavailable,
    Internal,
    Denied,
    Expired,
    NoCapacity,
    NoAddresses,
}

/// How the names of operations begin that change nothing.
const READS: [&str; 5] = ["Describe", "Get", "List", "Head", "Simulate"];

impl Call {
    /// Reads a signed request.
    pub fn of(parts: &Parts, body: &[u8]) -> Self {
        let header = |name: &str| header(&parts.headers, name);
        // Credential=KEY/DATE/REGION/SERVICE/aws4_request
        let scope = header("authorization").split("Credential=").nth(1).unwrap_or_default();
        let service = scope.split('/').nth(3).unwrap_or_default();
        let (format, name) = match service {
            "s3" => (Format::S3, of_s3(parts).to_owned()),
            _ if !header("x-amz-target").is_empty() => {
                (Format::Json, header("x-amz-target").rsplit('.').next().unwrap_or_default().to_owned())
            }
            _ => {
                let format = if service == "ec2" { Format::Ec2 } else { Format::Query };
                (format, pair(body, "Action").unwrap_or_default())
            }
        };
        let is_dry = service == "ec2" && pair(body, "DryRun").as_deref() == Some("true");
        let is_read = READS.iter().any(|verb| name.starts_with(verb));
        Self { operation: format!("{service}:{name}"), is_mutating: !is_read && !is_dry, format }
    }

    /// The status, the content type and the body of an error. The codes are those of each service ("Error codes for the
    /// Amazon EC2 API", "Common Error Types" of the other API references, read November 2026).
    pub fn refusal(&self, refusal: Refusal) -> (StatusCode, &'static str, Bytes) {
        let (status, code) = self.code(refusal);
        let message = "This call was refused on purpose.";
        let (kind, text) = match self.format {
            Format::Ec2 => (
                "text/xml;charset=UTF-8",
                format!(
                    "<Response><Errors><Error><Code>{code}</Code><Message>{message}</Message></Error></Errors>\
                     <RequestID>refused</RequestID></Response>"
                ),
            ),
            Format::Query => (
                "text/xml",
                format!(
                    "<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error>\
                     <RequestId>refused</RequestId></ErrorResponse>"
                ),
            ),
            Format::Json => ("application/x-amz-json-1.1", format!(r#"{{"__type":"{code}","message":"{message}"}}"#)),
            Format::S3 => {
                ("application/xml", format!("<Error><Code>{code}</Code><Message>{message}</Message></Error>"))
            }
        };
        (StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), kind, Bytes::from(text))
    }

    fn code(&self, refusal: Refusal) -> (u16, &'static str) {
        match (refusal, self.format) {
            (Refusal::Throttled, Format::Ec2) => (503, "RequestLimitExceeded"),
            (Refusal::Throttled, Format::Query) => (400, "Throttling"),
            (Refusal::Throttled, Format::Json) => (400, "ThrottlingException"),
            (Refusal::Throttled, Format::S3) => (503, "SlowDown"),
            (Refusal::Unavailable, Format::Ec2) => (503, "Unavailable"),
            (Refusal::Unavailable, Format::Json) => (503, "ServiceUnavailableException"),
            (Refusal::Unavailable, _) => (503, "ServiceUnavailable"),
            (Refusal::Internal, Format::Query) => (500, "InternalFailure"),
            (Refusal::Internal, Format::Json) => (500, "ServerException"),
            (Refusal::Internal, _) => (500, "InternalError"),
            (Refusal::Denied, Format::Ec2) => (403, "UnauthorizedOperation"),
            (Refusal::Denied, Format::Json) => (400, "AccessDeniedException"),
            (Refusal::Denied, _) => (403, "AccessDenied"),
            (Refusal::Expired, Format::Ec2) => (400, "RequestExpired"),
            (Refusal::Expired, Format::Query) => (403, "ExpiredToken"),
            (Refusal::Expired, Format::Json) => (400, "ExpiredTokenException"),
            (Refusal::Expired, Format::S3) => (400, "ExpiredToken"),
            (Refusal::NoCapacity, _) => (500, "InsufficientInstanceCapacity"),
            (Refusal::NoAddresses, _) if self.operation == "ec2:AllocateAddress" => (400, "AddressLimitExceeded"),
            (Refusal::NoAddresses, _) => (400, "InsufficientFreeAddressesInSubnet"),
        }
    }
}

fn header<'h>(headers: &'h HeaderMap, name: &str) -> &'h str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// A parameter of a form.
fn pair(body: &[u8], name: &str) -> Option<String> {
    let pairs: Vec<(String, String)> = serde_urlencoded::from_bytes(body).ok()?;
    pairs.into_iter().find(|(key, _)| key == name).map(|(_, value)| value)
}

/// The name of an operation of S3, whose requests are a method, a path and a query.
fn of_s3(parts: &Parts) -> &'static str {
    let path = parts.uri.path().trim_start_matches('/');
    let has_key = path.split_once('/').is_some_and(|(_, key)| !key.is_empty());
    let query = parts.uri.query().unwrap_or_default();
    let asks = |name: &str| query.split('&').any(|pair| pair.split('=').next() == Some(name));
    let method = &parts.method;
    if [Method::GET, Method::HEAD].contains(method) {
        return "Get";
    }
    if has_key {
        return match *method {
            Method::PUT if asks("uploadId") => "UploadPart",
            Method::PUT => "PutObject",
            Method::POST if asks("uploads") => "CreateMultipartUpload",
            Method::POST => "CompleteMultipartUpload",
            _ if asks("uploadId") => "AbortMultipartUpload",
            _ => "DeleteObject",
        };
    }
    if *method == Method::PUT {
        let settings = [
            ("encryption", "PutBucketEncryption"),
            ("ownershipControls", "PutBucketOwnershipControls"),
            ("policy", "PutBucketPolicy"),
            ("publicAccessBlock", "PutPublicAccessBlock"),
            ("tagging", "PutBucketTagging"),
            ("versioning", "PutBucketVersioning"),
        ];
        return settings.into_iter().find(|(name, _)| asks(name)).map_or("CreateBucket", |(_, operation)| operation);
    }
    if *method == Method::POST && asks("delete") { "DeleteObjects" } else { "DeleteBucket" }
}

/// The request for the sandbox: a proxy is asked with the whole URL, a server with the path.
pub(super) fn forwarded(parts: &Parts) -> Option<Request<()>> {
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    let mut request = Request::builder().method(&parts.method).uri(path);
    // The body is sent whole. `Proxy-Connection` is for this proxy only.
    let framing = ["transfer-encoding", "proxy-connection", "connection", "expect"];
    for (name, value) in parts.headers.iter().filter(|(name, _)| !framing.contains(&name.as_str())) {
        request = request.header(name, value);
    }
    request.body(()).ok()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    fn call(method: &str, uri: &str, service: &str, target: &str, body: &str) -> (String, bool) {
        let scope = format!("AWS4-HMAC-SHA256 Credential=key/20261126/eu-west-3/{service}/aws4_request, Signature=0");
        let request = Request::builder().method(method).uri(uri).header("authorization", scope);
        let (parts, ()) = request.header("x-amz-target", target).body(()).unwrap().into_parts();
        let call = Call::of(&parts, body.as_bytes());
        (call.operation, call.is_mutating)
    }

    #[test]
    fn a_request_says_which_call_it_is() {
        let of = |name: &str, is_mutating| (name.to_owned(), is_mutating);
        assert_eq!(call("POST", "/", "ec2", "", "Action=RunInstances&X=1"), of("ec2:RunInstances", true));
        assert_eq!(call("POST", "/", "ec2", "", "Action=RunInstances&DryRun=true"), of("ec2:RunInstances", false));
        assert_eq!(call("POST", "/", "iam", "", "Action=GetRole"), of("iam:GetRole", false));
        assert_eq!(call("POST", "/", "ecs", "Amazon.CreateCluster", "{}"), of("ecs:CreateCluster", true));
        assert_eq!(call("PUT", "/bucket/?policy", "s3", "", ""), of("s3:PutBucketPolicy", true));
        assert_eq!(call("PUT", "http://aws.test/bucket", "s3", "", ""), of("s3:CreateBucket", true));
        assert_eq!(call("PUT", "/bucket/key?x-id=PutObject", "s3", "", ""), of("s3:PutObject", true));
        assert_eq!(call("POST", "/bucket?delete", "s3", "", ""), of("s3:DeleteObjects", true));
        assert_eq!(call("HEAD", "/bucket/key", "s3", "", ""), of("s3:Get", false));
    }
}
