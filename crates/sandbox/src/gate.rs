//! Counts, faults and the check for credentials for S3. Only `s3s` can recognise S3's operations.
//!
//! `s3s` calls the gate before it reads an operation's input. The gate stores its verdict in the request's [`Slot`],
//! where the server finds it after `s3s` has returned.

use std::sync::{Arc, OnceLock};

use hyper::StatusCode;
use s3s::{
    S3Error, S3ErrorCode, S3Result,
    access::{S3Access, S3AccessContext},
};

use crate::{
    control::{Control, Verdict},
    query::Params,
};

/// The place of the verdict for a request to `s3s`, passed along in the request's extensions.
pub(crate) type Slot = Arc<OnceLock<Verdict>>;

/// The gate that `s3s` calls for every S3 operation after it has verified the signature.
#[derive(Debug, Clone)]
pub struct Gate {
    control: Arc<Control>,
}

impl Gate {
    pub(crate) fn new(control: Arc<Control>) -> Self {
        Self { control }
    }
}

#[async_trait::async_trait]
impl S3Access for Gate {
    async fn check(&self, context: &mut S3AccessContext<'_>) -> S3Result<()> {
        if context.credentials().is_none() {
            let code = S3ErrorCode::from_bytes(b"MissingAuthenticationToken").unwrap_or(S3ErrorCode::AccessDenied);
            let mut error = S3Error::with_message(code, "Request is missing Authentication Token");
            error.set_status_code(StatusCode::FORBIDDEN);
            return Err(error);
        }
        let verdict = self.control.admit("s3", "", context.s3_op().name(), &Params::new(&[]));
        if let Some(slot) = context.extensions_mut().get::<Slot>() {
            // A request passes the gate once, so the slot is empty.
            let _ = slot.set(verdict.clone());
        }
        match verdict {
            Verdict::Execute | Verdict::ExecuteAndDrop => Ok(()),
            Verdict::Drop => Err(S3Error::new(S3ErrorCode::InternalError)),
            Verdict::Refuse(fault) => {
                let code = S3ErrorCode::from_bytes(fault.code.as_bytes()).unwrap_or(S3ErrorCode::InternalError);
                let mut error = S3Error::with_message(code, fault.message);
                error.set_status_code(StatusCode::from_u16(fault.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR));
                Err(error)
            }
        }
    }
}
