//! The bytes of objects, stored once per content under their SHA-256.
//!
//! A body is first received completely. Then it is stored under its name while the sandbox's data is locked; unused
//! bytes are deleted under the same lock. So no call can delete bytes that another call is about to use.

use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
    pin::Pin,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use futures::StreamExt;
use hyper::body::Bytes;
use s3s::{
    Body, S3Error, S3ErrorCode, S3Result,
    crypto::{Checksum as _, Md5, Sha256},
    dto::StreamingBlob,
};
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt};
use tokio_util::io::ReaderStream;

use super::{
    checksum::{Asked, Sums, sums},
    not_kept,
};
use crate::json::hex;

/// Prefix of file names while their content is not known.
const RECEIVED: &str = "received-";

/// The stored bytes, and those that may have become unused.
#[derive(Debug)]
pub(super) struct Blobs {
    store: Place,
    released: Mutex<Vec<String>>,
}

#[derive(Debug)]
enum Place {
    /// In memory, until the process ends.
    Memory(Mutex<HashMap<String, Bytes>>),
    /// One file per content.
    Directory { path: PathBuf, received: AtomicU64 },
}

/// A body that has been received but not stored.
#[derive(Debug)]
pub(super) struct Received {
    bytes: ReceivedBytes,
    /// SHA-256 of the bytes, in hexadecimal.
    pub sha256: String,
    /// MD5 of the bytes.
    pub md5: [u8; 16],
    pub size: u64,
    pub sums: Sums,
}

#[derive(Debug)]
enum ReceivedBytes {
    Memory(Bytes),
    File(Unnamed),
}

/// A file that is deleted when dropped, unless it was renamed.
#[derive(Debug)]
struct Unnamed(PathBuf);

impl Drop for Unnamed {
    fn drop(&mut self) {
        // The file was renamed already, or nobody needs it.
        let _ = fs::remove_file(&self.0);
    }
}

/// Bytes that are about to be read. They stay readable if they are deleted in the meantime.
pub(super) enum Opened {
    Memory(Bytes),
    File(fs::File),
}

impl Blobs {
    /// In this directory, or in memory.
    pub(super) fn open(data: Option<&Path>) -> Self {
        let released = Mutex::default();
        let Some(data) = data else { return Self { store: Place::Memory(Mutex::default()), released } };
        let path = data.join("objects");
        for entry in fs::read_dir(&path).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with(RECEIVED) {
                // A body that a killed process was receiving. If it cannot be deleted now, it is overwritten later.
                let _ = fs::remove_file(entry.path());
            }
        }
        Self { store: Place::Directory { path, received: AtomicU64::new(0) }, released }
    }

    /// Receives a whole body and computes the digests that S3 needs.
    pub(super) async fn receive(&self, body: Option<StreamingBlob>, asked: &Asked) -> S3Result<Received> {
        let mut body = body.unwrap_or_else(|| StreamingBlob::from(Body::empty()));
        let (mut md5, mut sha256, mut hasher) = (Md5::new(), Sha256::new(), asked.hasher());
        let (mut buffer, mut size) = (Vec::new(), 0_u64);
        let mut file = match &self.store {
            Place::Memory(_) => None,
            Place::Directory { path, received } => {
                let number = received.fetch_add(1, Ordering::Relaxed);
                let unnamed = Unnamed(path.join(format!("{RECEIVED}{number}")));
                tokio::fs::create_dir_all(path).await.map_err(|error| not_kept(&error))?;
                let file = tokio::fs::File::create(&unnamed.0).await.map_err(|error| not_kept(&error))?;
                Some((unnamed, file))
            }
        };
        while let Some(chunk) = body.next().await {
            let chunk = chunk.map_err(|error| refused(&*error))?;
            md5.update(&chunk);
            sha256.update(&chunk);
            hasher.update(&chunk);
            size += chunk.len() as u64;
            match &mut file {
                Some((_, file)) => file.write_all(&chunk).await.map_err(|error| not_kept(&error))?,
                None => buffer.extend_from_slice(&chunk),
            }
        }
        let bytes = match file {
            Some((unnamed, mut file)) => {
                file.flush().await.map_err(|error| not_kept(&error))?;
                ReceivedBytes::File(unnamed)
            }
            None => ReceivedBytes::Memory(buffer.into()),
        };
        let mut md5_bytes = [0; 16];
        md5_bytes.copy_from_slice(md5.finalize().as_ref());
        Ok(Received {
            bytes,
            sha256: hex(sha256.finalize().as_ref()),
            md5: md5_bytes,
            size,
            sums: sums(hasher.finalize()),
        })
    }

    /// Stores a body under its name. The caller holds the lock on the data.
    #[expect(clippy::disallowed_methods, reason = "an object's name is its content, so there is nothing to lose")]
    pub(super) fn keep(&self, received: &Received) -> S3Result<()> {
        match (&self.store, &received.bytes) {
            (Place::Memory(blobs), ReceivedBytes::Memory(bytes)) => {
                let mut blobs = blobs.lock().unwrap_or_else(PoisonError::into_inner);
                blobs.insert(received.sha256.clone(), bytes.clone());
                Ok(())
            }
            (Place::Directory { path, .. }, ReceivedBytes::File(unnamed)) => {
                fs::rename(&unnamed.0, path.join(&received.sha256)).map_err(|error| not_kept(&error))
            }
            _ => Err(S3Error::new(S3ErrorCode::InternalError)),
        }
    }

    /// Opens stored bytes. The caller holds the lock on the data.
    pub(super) fn open_kept(&self, sha256: &str) -> S3Result<Opened> {
        match &self.store {
            Place::Memory(blobs) => {
                let blobs = blobs.lock().unwrap_or_else(PoisonError::into_inner);
                let bytes = blobs.get(sha256).cloned();
                bytes.map(Opened::Memory).ok_or_else(|| S3Error::new(S3ErrorCode::InternalError))
            }
            Place::Directory { path, .. } => {
                fs::File::open(path.join(sha256)).map(Opened::File).map_err(S3Error::internal_error)
            }
        }
    }

    /// Marks bytes that a row no longer refers to. They are deleted only after the journal has been written, because a
    /// process killed in between still needs them.
    pub(super) fn release(&self, sha256: &str) {
        self.released.lock().unwrap_or_else(PoisonError::into_inner).push(sha256.to_owned());
    }

    /// The bytes marked since the last call.
    pub(super) fn take_released(&self) -> Vec<String> {
        std::mem::take(&mut self.released.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Deletes bytes. The caller holds the lock on the data, and no row refers to them.
    pub(super) fn remove(&self, sha256: &str) {
        match &self.store {
            Place::Memory(blobs) => {
                blobs.lock().unwrap_or_else(PoisonError::into_inner).remove(sha256);
            }
            Place::Directory { path, .. } => {
                // An unused file that cannot be deleted does no harm.
                let _ = fs::remove_file(path.join(sha256));
            }
        }
    }
}

impl Opened {
    /// A stream of `length` bytes from `start`.
    pub(super) async fn stream(self, start: u64, length: u64) -> S3Result<StreamingBlob> {
        match self {
            Self::Memory(bytes) => {
                let range = usize::try_from(start).ok().zip(usize::try_from(start + length).ok());
                let (start, end) = range.ok_or_else(|| S3Error::new(S3ErrorCode::InvalidRange))?;
                Ok(StreamingBlob::from(Body::from(bytes.slice(start..end.min(bytes.len())))))
            }
            Self::File(file) => {
                let mut file = tokio::fs::File::from_std(file);
                file.seek(io::SeekFrom::Start(start)).await.map_err(S3Error::internal_error)?;
                Ok(StreamingBlob::wrap(ReaderStream::with_capacity(file.take(length), 64 * 1024)))
            }
        }
    }
}

/// The bytes of several blobs, one after the other.
pub(super) async fn joined(parts: Vec<(Opened, u64)>) -> S3Result<StreamingBlob> {
    let mut streams = Vec::new();
    for (part, size) in parts {
        streams.push(part.stream(0, size).await?);
    }
    let stream = futures::stream::iter(streams).flatten().map(|chunk| chunk.map_err(io::Error::other));
    Ok(StreamingBlob::wrap(Pin::from(Box::new(stream))))
}

/// The error for a body that was cut short or does not match its signature.
fn refused(error: &(dyn std::error::Error + 'static)) -> S3Error {
    let text = error.to_string();
    if text.to_lowercase().contains("checksum") || text.to_lowercase().contains("mismatch") {
        return S3Error::with_message(
            S3ErrorCode::Custom("XAmzContentSHA256Mismatch".into()),
            "The provided 'x-amz-content-sha256' header does not match what was computed.",
        );
    }
    S3Error::with_message(S3ErrorCode::IncompleteBody, text)
}
