//! The checksums of objects: which ones a request needs, whether they match, and how answers return them.

use std::collections::BTreeMap;

use hyper::HeaderMap;
use s3s::{
    S3ErrorCode, S3Result,
    checksum::ChecksumHasher,
    crypto::{Checksum as _, Crc32, Crc32c, Crc64Nvme, Sha1, Sha256},
    dto,
};

use super::error;

/// Checksums in base64, by S3's name of the algorithm.
pub(super) type Sums = BTreeMap<String, String>;

/// The names of the algorithms in `x-amz-checksum-algorithm`.
const NAMES: [&str; 5] = ["CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"];

/// The checksums in a request's headers.
#[derive(Debug, Default)]
pub(super) struct Asked {
    algorithms: Vec<&'static str>,
    /// Values from the headers; those of a trailer arrive at the end of the body.
    values: Sums,
}

impl Asked {
    /// Reads the headers. Like S3, computes CRC-64/NVME if a request has no checksum.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
        let mut asked = Self { algorithms: Vec::new(), values: values_in(headers) };
        let trailer = text("x-amz-trailer").to_lowercase();
        let named = text("x-amz-sdk-checksum-algorithm") + &text("x-amz-checksum-algorithm");
        for name in NAMES {
            if asked.values.contains_key(name) || trailer == header_of(name) || named.eq_ignore_ascii_case(name) {
                asked.algorithms.push(name);
            }
        }
        if asked.algorithms.is_empty() {
            asked.algorithms.push("CRC64NVME");
        }
        asked
    }

    /// A request for this algorithm without a value.
    pub(super) fn for_algorithm(name: &str) -> Self {
        let algorithms = NAMES.into_iter().filter(|known| *known == name).collect();
        Self { algorithms, values: Sums::new() }
    }

    /// A hasher for the requested algorithms.
    pub(super) fn hasher(&self) -> ChecksumHasher {
        let wants = |name: &str| self.algorithms.contains(&name);
        ChecksumHasher {
            crc32: wants("CRC32").then(Crc32::new),
            crc32c: wants("CRC32C").then(Crc32c::new),
            crc64nvme: wants("CRC64NVME").then(Crc64Nvme::new),
            sha1: wants("SHA1").then(Sha1::new),
            sha256: wants("SHA256").then(Sha256::new),
        }
    }

    /// Compares computed checksums with those in the headers and in the trailer.
    pub(super) fn check(&self, computed: &Sums, trailer: Option<&HeaderMap>) -> S3Result<()> {
        let mut sent = self.values.clone();
        sent.extend(trailer.map(values_in).unwrap_or_default());
        for (name, value) in sent {
            if computed.get(&name).is_some_and(|computed| *computed != value) {
                let text = format!("The {name} you specified did not match the calculated checksum.");
                return Err(error(S3ErrorCode::BadDigest, text));
            }
        }
        Ok(())
    }
}

/// The checksums that a hasher has computed.
pub(super) fn sums(of: dto::Checksum) -> Sums {
    [
        ("CRC32", of.checksum_crc32),
        ("CRC32C", of.checksum_crc32c),
        ("CRC64NVME", of.checksum_crc64nvme),
        ("SHA1", of.checksum_sha1),
        ("SHA256", of.checksum_sha256),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name.to_owned(), value?)))
    .collect()
}

/// The digest of bytes with this algorithm.
pub(super) fn digest(name: &str, bytes: &[u8]) -> Option<String> {
    let mut hasher = Asked::for_algorithm(name).hasher();
    hasher.update(bytes);
    sums(hasher.finalize()).remove(name)
}

fn header_of(name: &str) -> String {
    format!("x-amz-checksum-{}", name.to_lowercase())
}

fn values_in(headers: &HeaderMap) -> Sums {
    NAMES
        .into_iter()
        .filter_map(|name| {
            let value = headers.get(header_of(name))?.to_str().ok()?;
            Some((name.to_owned(), value.to_owned()))
        })
        .collect()
}

/// Writes checksums into the five members that `s3s`'s output types have for them.
macro_rules! put_sums {
    ($output:expr, $sums:expr) => {{
        let sums: &$crate::s3::checksum::Sums = $sums;
        $output.checksum_crc32 = sums.get("CRC32").cloned();
        $output.checksum_crc32c = sums.get("CRC32C").cloned();
        $output.checksum_crc64nvme = sums.get("CRC64NVME").cloned();
        $output.checksum_sha1 = sums.get("SHA1").cloned();
        $output.checksum_sha256 = sums.get("SHA256").cloned();
    }};
}
pub(super) use put_sums;
