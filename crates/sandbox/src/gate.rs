//! Counts, faults, credentials and permissions for S3. Only `s3s` can recognise S3's operations.
//!
//! `s3s` calls the gate before it reads an operation's input. The gate stores its verdict in the request's [`Slot`],
//! where the server finds it after `s3s` has returned.

use std::sync::{Arc, OnceLock};

use hyper::StatusCode;
use jiff::Timestamp;
use s3s::{
    S3Error, S3ErrorCode, S3Result,
    access::{S3Access, S3AccessContext},
    path::S3Path,
};

use crate::{
    authorize::Origin,
    call::Fault,
    cloud::{SharedCloud, lock},
    control::{Control, Verdict},
    iam,
    query::Params,
    s3::permissions,
    signature::Denied,
};

/// The place of the verdict for a request to `s3s`, passed along in the request's extensions.
pub(crate) type Slot = Arc<OnceLock<Verdict>>;

/// The gate that `s3s` calls for every S3 operation after it has verified the signature.
#[derive(Debug, Clone)]
pub struct Gate {
    pub(crate) control: Arc<Control>,
    cloud: SharedCloud,
}

impl Gate {
    pub(crate) fn new(control: Arc<Control>, cloud: SharedCloud) -> Self {
        Self { control, cloud }
    }

    /// Refuses credentials that have ended, tokens of others, and what the caller may not do.
    fn authorize(&self, context: &mut S3AccessContext<'_>) -> Result<(), Fault> {
        let now = Timestamp::now();
        // The access key is the one whose signature is verified, and no other that the request names.
        let access_key = context.credentials().map(|credentials| credentials.access_key.clone());
        let (Some(access_key), Some(origin)) = (access_key, context.extensions_mut().get_mut::<Origin>()) else {
            return Err(Fault::new("AccessDenied", "Access Denied").with_status(403));
        };
        origin.access_key = access_key;
        let origin = origin.clone();
        let signed = permissions::Signed::of(context.uri(), context.headers())?;
        let create_tags = permissions::create_tags(context.extensions_mut());
        let mut cloud = lock(&self.cloud);
        cloud.begin("s3");
        let credentials = iam::credentials(&cloud, &origin.access_key, now);
        let token = signed.token.as_deref();
        let checked = credentials.map_or(Err(Denied::UnknownKey), |credentials| credentials.check(token, now));
        checked.map_err(|denied| match denied {
            Denied::ExpiredToken => Fault::new("ExpiredToken", "The provided token has expired."),
            Denied::WrongToken => Fault::new("InvalidToken", "The provided token is malformed or otherwise invalid."),
            _ => Fault::new("InvalidAccessKeyId", "The AWS Access Key Id you provided does not exist in our records.")
                .with_status(403),
        })?;
        let (bucket, key) = match context.s3_path() {
            S3Path::Root => (None, None),
            S3Path::Bucket { bucket } => (Some(&**bucket), None),
            S3Path::Object { bucket, key } => (Some(&**bucket), Some(&**key)),
        };
        let asked = permissions::Asked {
            cloud: &cloud,
            operation: context.s3_op().name(),
            bucket,
            key,
            uri: context.uri(),
            headers: context.headers(),
            region: &signed.region,
            auth_type: signed.auth_type,
            create_tags,
        };
        permissions::check(&asked, &origin, now)
    }
}

#[async_trait::async_trait]
impl S3Access for Gate {
    async fn check(&self, context: &mut S3AccessContext<'_>) -> S3Result<()> {
        if context.credentials().is_none() {
            let fault = Fault::new("MissingAuthenticationToken", "Request is missing Authentication Token");
            return Err(refused(fault.with_status(403)));
        }
        let verdict = self.control.admit(context.headers(), "s3", "", context.s3_op().name(), &Params::new(&[]));
        if let Some(slot) = context.extensions_mut().get::<Slot>() {
            // A request passes the gate once, so the slot is empty.
            let _ = slot.set(verdict.clone());
        }
        match verdict {
            Verdict::Execute | Verdict::ExecuteAndDrop => self.authorize(context).map_err(refused),
            Verdict::Drop => Err(S3Error::new(S3ErrorCode::InternalError)),
            Verdict::Refuse(fault) => Err(refused(fault)),
        }
    }
}

fn refused(fault: Fault) -> S3Error {
    let code = S3ErrorCode::from_bytes(fault.code.as_bytes()).unwrap_or(S3ErrorCode::InternalError);
    let mut error = S3Error::with_message(code, fault.message);
    error.set_status_code(StatusCode::from_u16(fault.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR));
    error
}
