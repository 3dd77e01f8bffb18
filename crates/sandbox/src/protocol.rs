//! The formats of requests and answers: query, JSON, CBOR and what is none of them.

use hyper::{Response, StatusCode, body::Bytes, http::request::Parts};
use s3s::Body;

use crate::{
    call::{Fault, Input, Reply},
    cbor,
    signature::Malformed,
    xml::Xml,
};

/// The protocol of a request, as far as it shows without a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Query,
    Json,
    /// `CloudWatch` is asked in this protocol, and not served.
    Cbor,
    /// A path with a method: S3, and services that are not served. Except for S3 and a few others, they speak JSON.
    Other,
}

impl Protocol {
    pub(crate) fn of(parts: &Parts) -> Self {
        let header = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        if !header("x-amz-target").is_empty() {
            Self::Json
        } else if header("smithy-protocol") == "rpc-v2-cbor" {
            Self::Cbor
        } else if header("content-type").starts_with("application/x-www-form-urlencoded")
            || parts.uri.query().is_some_and(|query| query.split('&').any(|pair| pair.starts_with("Action=")))
        {
            Self::Query
        } else {
            Self::Other
        }
    }
}

/// The services whose calls are paths and whose answers are XML (botocore's models, read November 2026); all others
/// with such calls answer JSON.
const XML_SERVICES: [&str; 3] = ["cloudfront", "route53", "s3-outposts"];

/// The action and the body of a request.
pub(crate) fn read(parts: &Parts, body: &Bytes, protocol: Protocol) -> Result<(String, Input), Fault> {
    if protocol == Protocol::Json {
        let target = parts.headers.get("x-amz-target").and_then(|target| target.to_str().ok()).unwrap_or_default();
        let document = if body.is_empty() { b"{}".as_slice() } else { body };
        let document = serde_json::from_slice(document)
            .map_err(|error| Fault::new("SerializationException", error.to_string()))?;
        return Ok((target.rsplit('.').next().unwrap_or_default().to_owned(), Input::Json(document)));
    }
    if matches!(protocol, Protocol::Cbor | Protocol::Other) {
        // No service with such calls is served; the path is recorded as the action.
        return Ok((format!("{} {}", parts.method, parts.uri.path()), Input::Query(Vec::new())));
    }
    let text = if body.is_empty() { parts.uri.query().unwrap_or_default().as_bytes() } else { body };
    let pairs: Vec<(String, String)> =
        serde_urlencoded::from_bytes(text).map_err(|error| Fault::new("MalformedQueryString", error.to_string()))?;
    let action = pairs.iter().find(|(name, _)| name == "Action").map(|(_, action)| action.clone());
    let action = action.ok_or_else(|| Fault::new("MissingAction", "The request must contain the parameter Action"))?;
    Ok((action, Input::query(pairs)))
}

/// The error if a signature cannot be read ("Common Error Types" of each service, read November 2026).
pub(crate) fn incomplete(malformed: Malformed, json: bool) -> Fault {
    let code = if json { "IncompleteSignatureException" } else { "IncompleteSignature" };
    let message = match malformed {
        Malformed::Twice => "Request must contain either the Authorization header or a signature in the query, not \
                             both."
            .to_owned(),
        Malformed::Algorithm => "Unsupported algorithm: the signature is not of AWS4-HMAC-SHA256.".to_owned(),
        Malformed::Header(reason) => reason,
    };
    Fault::new(code, message)
}

/// The same in S3 ("Error responses", S3 API reference, read November 2026).
pub(crate) fn malformed_in_s3(malformed: Malformed) -> Fault {
    match malformed {
        Malformed::Twice => Fault::new(
            "InvalidArgument",
            "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature query string parameter \
             or the Authorization header should be specified",
        ),
        Malformed::Algorithm => Fault::new(
            "InvalidRequest",
            "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256.",
        ),
        Malformed::Header(reason) => {
            let message = format!("The authorization header is malformed; {reason}");
            Fault::new("AuthorizationHeaderMalformed", message)
        }
    }
}

pub(crate) fn s3_fault(Fault { status, code, message }: Fault) -> Response<Body> {
    let mut xml = Xml::new();
    xml.element("Error", |xml| {
        xml.text("Code", &code).text("Message", &message);
    });
    respond(status, "application/xml", xml.into_string())
}

/// The format of a request's answer.
#[derive(Debug)]
pub(crate) struct Shape {
    pub(crate) protocol: Protocol,
    /// Empty if the request is not signed.
    pub(crate) service: String,
    pub(crate) request_id: String,
}

impl Shape {
    pub(crate) fn reply(&self, reply: Reply) -> Response<Body> {
        let (kind, text) = match reply {
            Reply::Xml(text) => ("text/xml;charset=UTF-8", text),
            Reply::Json(document) => ("application/x-amz-json-1.1", document.to_string()),
        };
        self.with_id(respond(200, kind, text))
    }

    /// An error in the protocol's format. An unsigned EC2 request is recognised only by its version.
    pub(crate) fn fault(&self, fault: &Fault, body: &[u8]) -> Response<Body> {
        if self.protocol == Protocol::Cbor {
            let mut response = respond(fault.status, "application/cbor", cbor::error(&fault.code, &fault.message));
            let protocol = hyper::header::HeaderValue::from_static("rpc-v2-cbor");
            response.headers_mut().insert("smithy-protocol", protocol);
            return self.with_id(response);
        }
        let is_xml = XML_SERVICES.contains(&self.service.as_str());
        if self.protocol == Protocol::Json || (self.protocol == Protocol::Other && !is_xml) {
            let document = serde_json::json!({ "__type": fault.code, "message": fault.message });
            let mut response = respond(fault.status, "application/x-amz-json-1.1", document.to_string());
            if let Ok(code) = fault.code.parse() {
                response.headers_mut().insert("x-amzn-errortype", code);
            }
            return self.with_id(response);
        }
        let version = b"Version=2016-11-15";
        let is_ec2 = self.service == "ec2"
            || (self.service.is_empty() && body.windows(version.len()).any(|window| window == version));
        let mut xml = Xml::new();
        let error = |xml: &mut Xml| {
            xml.element("Error", |xml| {
                if !is_ec2 {
                    xml.text("Type", if fault.status < 500 { "Sender" } else { "Receiver" });
                }
                xml.text("Code", &fault.code).text("Message", &fault.message);
            });
        };
        if is_ec2 {
            xml.element("Response", |xml| {
                xml.element("Errors", error).text("RequestID", &self.request_id);
            });
        } else {
            xml.element("ErrorResponse", |xml| {
                error(xml);
                xml.text("RequestId", &self.request_id);
            });
        }
        self.with_id(respond(fault.status, "text/xml;charset=UTF-8", xml.into_string()))
    }

    fn with_id(&self, mut response: Response<Body>) -> Response<Body> {
        if let Ok(id) = self.request_id.parse() {
            response.headers_mut().insert("x-amzn-requestid", id);
        }
        response
    }
}

pub(crate) fn respond(status: u16, kind: &'static str, body: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Body::from(body.into()));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert("content-type", hyper::header::HeaderValue::from_static(kind));
    response
}
