//! A bucket can be in another region than the stack.

use aws_sdk_s3::{
    Client,
    config::{Config, Region},
};
use aws_smithy_runtime_api::{client::result::SdkError, http::Response};
use aws_smithy_types::error::metadata::ProvideErrorMetadata;

/// Makes a call about a bucket. If the answer is that the bucket is in another region, makes it there, and returns the
/// client for that region, too.
///
/// S3 names the region in the header `x-amz-bucket-region` or in the error. botocore (`S3RegionRedirectorv2` in `utils.py`
/// of 1.35.99, read November 2026) takes it from the same two places and after the same answers. An answer to `HEAD` has no
/// code, and can be 400.
pub(crate) async fn in_region_of_bucket<T, E, F>(
    client: Client,
    call: impl Fn(Client) -> F,
) -> (Result<T, SdkError<E, Response>>, Option<Client>)
where
    E: ProvideErrorMetadata,
    F: Future<Output = Result<T, SdkError<E, Response>>>,
{
    let answer = call(client.clone()).await;
    let named = answer.as_ref().err().and_then(named_region);
    match named.filter(|region| client.config().region() != Some(region)) {
        None => (answer, None),
        Some(region) => {
            let config: Config = client.config().to_builder().region(region).build();
            let client = Client::from_conf(config);
            (call(client.clone()).await, Some(client))
        }
    }
}

/// The region that a refusal names.
fn named_region<E: ProvideErrorMetadata>(error: &SdkError<E, Response>) -> Option<Region> {
    let refusal = error.as_service_error()?;
    let answer = error.raw_response()?;
    let is_elsewhere = [301, 302, 307, 400].contains(&answer.status().as_u16())
        || refusal.code().is_some_and(|code| {
            ["PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"].contains(&code)
        });
    let in_body = || {
        let body = std::str::from_utf8(answer.body().bytes()?).ok()?;
        Some(body.split_once("<Region>")?.1.split_once("</Region>")?.0)
    };
    let region = answer.headers().get("x-amz-bucket-region").or_else(in_body).filter(|_| is_elsewhere)?;
    // It becomes a part of a host name.
    let is_region =
        |text: &str| text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    (is_region(region) && !region.is_empty() && region.len() <= 32).then(|| Region::new(region.to_owned()))
}
