//! Signs calls as AWS's SDKs do, and sends them to the sandbox.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use aws_credential_types::Credentials;
use aws_sigv4::{
    http_request::{
        PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings,
        UriPathNormalizationMode, sign,
    },
    sign::v4,
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, client::conn::http1::handshake};
use hyper_util::rt::TokioIo;
use md5::Digest as _;
use serde_json::Value;
use tokio::{net::TcpStream, runtime::Runtime};

use super::{ids::Ids, tree};
use crate::{
    Failure,
    transcript::{Body, Call},
};

/// The longest wait for an answer.
const WAIT: Duration = Duration::from_mins(1);

/// The length of the content in place of one that is not in the transcript, in bytes.
const MOST_CONTENT: u64 = 1024;

/// Headers that depend on a content which is not in the transcript, or on its framing.
const OF_CONTENT: [&str; 5] = [
    "content-md5",
    "x-amz-content-sha256",
    "x-amz-decoded-content-length",
    "x-amz-sdk-checksum-algorithm",
    "x-amz-trailer",
];

/// An answer of the sandbox.
#[derive(Debug)]
pub(crate) struct Answer {
    pub status: u16,
    pub headers: BTreeMap<String, String>,
    pub tree: Value,
    pub body: Bytes,
}

impl Answer {
    pub fn is_success(&self) -> bool {
        self.status < 300
    }
}

/// A client with the sandbox's public credentials.
pub(crate) struct Client {
    runtime: Runtime,
    address: String,
    credentials: aws_credential_types::Credentials,
}

impl Client {
    pub fn new(address: &str) -> Result<Self, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let credentials = Credentials::new("sandbox", "sandbox", None, None, "sandbox");
        Ok(Self { runtime, address: address.to_owned(), credentials })
    }

    /// Sends a call of a transcript with the sandbox's ids.
    pub(super) fn send(&self, call: &Call, ids: &Ids) -> Result<Answer, Failure> {
        let body = match &call.request {
            Body::Empty => Vec::new(),
            Body::Form(pairs) => serde_urlencoded::to_string(ids.pairs(pairs))?.into_bytes(),
            Body::Json(document) => serde_json::to_vec(&ids.document(document))?,
            Body::Text(text) => ids.text(text).into_bytes(),
            Body::Content { length } => vec![0; usize::try_from((*length).min(MOST_CONTENT))?],
        };
        let mut headers: BTreeMap<String, String> = call
            .headers
            .iter()
            .filter(|(name, _)| !OF_CONTENT.contains(&name.as_str()))
            .filter(|(name, _)| !name.starts_with("x-amz-checksum-") || name.as_str() == "x-amz-checksum-mode")
            .map(|(name, value)| (name.clone(), ids.text(value)))
            .collect();
        if call.service() == "s3" && !body.is_empty() {
            headers.insert("content-md5".to_owned(), BASE64_STANDARD.encode(md5::Md5::digest(&body)));
            if call.headers.contains_key("x-amz-checksum-sha256") {
                let digest = BASE64_STANDARD.encode(sha2::Sha256::digest(&body));
                headers.insert("x-amz-checksum-sha256".to_owned(), digest);
            }
        }
        let mut path = ids.text(&call.path);
        if !call.query.is_empty() {
            path = format!("{path}?{}", serde_urlencoded::to_string(ids.pairs(&call.query))?.replace('+', "%20"));
        }
        self.request(call.service(), &call.region, &call.method, &path, &headers, body)
    }

    /// Sends a query request of EC2.
    pub fn ec2(&self, region: &str, pairs: &[(&str, &str)]) -> Result<Answer, Failure> {
        self.query("ec2", region, &[&[("Version", "2016-11-15")], pairs].concat())
    }

    /// Sends a query request.
    pub fn query(&self, service: &str, region: &str, pairs: &[(&str, &str)]) -> Result<Answer, Failure> {
        let body = serde_urlencoded::to_string(pairs)?;
        let kind = ("content-type".to_owned(), "application/x-www-form-urlencoded".to_owned());
        self.request(service, region, "POST", "/", &BTreeMap::from([kind]), body.into_bytes())
    }

    /// Sends a JSON request.
    pub fn json(&self, service: &str, region: &str, target: &str, document: &Value) -> Result<Answer, Failure> {
        let headers = [("content-type", "application/x-amz-json-1.1"), ("x-amz-target", target)];
        let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned()));
        self.request(service, region, "POST", "/", &BTreeMap::from(headers), document.to_string().into_bytes())
    }

    /// Sends a request of S3.
    pub fn s3(&self, region: &str, method: &str, path: &str, body: Vec<u8>) -> Result<Answer, Failure> {
        self.request("s3", region, method, path, &BTreeMap::new(), body)
    }

    fn request(
        &self,
        service: &str,
        region: &str,
        method: &str,
        path: &str,
        headers: &BTreeMap<String, String>,
        body: Vec<u8>,
    ) -> Result<Answer, Failure> {
        let mut request = Request::builder().method(method).uri(path).header("host", &self.address);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let uri = format!("http://{}{path}", self.address);
        for (name, value) in self.signature(service, region, method, &uri, headers, &body)? {
            request = request.header(name, value);
        }
        let request = request.body(Full::new(Bytes::from(body)))?;
        self.runtime.block_on(async {
            let answered = tokio::time::timeout(WAIT, answer(&self.address, request)).await;
            answered.map_err(|_| Failure::from(format!("the sandbox did not answer {method} {path} of {service}")))?
        })
    }

    fn signature(
        &self,
        service: &str,
        region: &str,
        method: &str,
        uri: &str,
        headers: &BTreeMap<String, String>,
        body: &[u8],
    ) -> Result<Vec<(String, String)>, Failure> {
        let mut settings = SigningSettings::default();
        if service == "s3" {
            settings.percent_encoding_mode = PercentEncodingMode::Single;
            settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
            settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
        }
        let identity = self.credentials.clone().into();
        let parameters = v4::SigningParams::builder()
            .identity(&identity)
            .region(region)
            .name(service)
            .time(SystemTime::now())
            .settings(settings)
            .build()?
            .into();
        let headers = headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let host = std::iter::once(("host", self.address.as_str()));
        let signable = SignableRequest::new(method, uri, headers.chain(host), SignableBody::Bytes(body))?;
        let (instructions, _) = sign(signable, &parameters)?.into_parts();
        let (headers, _) = instructions.into_parts();
        Ok(headers.into_iter().map(|header| (header.name().to_owned(), header.value().to_owned())).collect())
    }
}

/// Sends a request on a connection of its own.
async fn answer(address: &str, request: Request<Full<Bytes>>) -> Result<Answer, Failure> {
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) = handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let answer = sender.send_request(request).await?;
    let status = answer.status().as_u16();
    let text = |value: &hyper::header::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let headers = answer.headers().iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect();
    let body = answer.into_body().collect().await?.to_bytes();
    drop(sender);
    connection.abort();
    Ok(Answer { status, headers, tree: tree::of_text(&String::from_utf8_lossy(&body)), body })
}
