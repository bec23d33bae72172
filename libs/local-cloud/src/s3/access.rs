//! Who may come in, and what the fault rules have in store for the call.

use s3s::access::{S3Access, S3AccessContext};
use s3s::auth::{S3Auth, SecretKey};
use s3s::path::S3Path;
use s3s::{S3Error, S3ErrorCode, S3Result, s3_error};

use super::S3;
use crate::account::Account;
use crate::fault::{Faults, Outcome, OutcomeSlot};

/// The account's one credential; `s3s` checks signatures with it.
pub(super) struct Credentials {
    access_key_id: String,
    secret: SecretKey,
}

impl Credentials {
    pub(super) fn of(account: &Account) -> Self {
        let secret = SecretKey::from(account.secret_access_key.as_str());
        Self {
            access_key_id: account.access_key_id.clone(),
            secret,
        }
    }
}

#[async_trait::async_trait]
impl S3Auth for Credentials {
    async fn get_secret_key(&self, access_key: &str) -> S3Result<SecretKey> {
        if access_key == self.access_key_id {
            return Ok(self.secret.clone());
        }
        Err(s3_error!(
            InvalidAccessKeyId,
            "The AWS Access Key Id you provided does not exist in our records."
        ))
    }
}

/// Runs after the signature was checked and before the operation.
pub(super) struct Access {
    account: Account,
    faults: Faults,
}

impl Access {
    pub(super) fn new(account: &Account, faults: &Faults) -> Self {
        Self {
            account: account.clone(),
            faults: faults.clone(),
        }
    }

    fn admit(&self, context: &S3AccessContext<'_>) -> S3Result<()> {
        if context.credentials().is_none() {
            return Err(s3_error!(AccessDenied, "Access Denied"));
        }
        let owner = context.headers().get("x-amz-expected-bucket-owner");
        if owner.is_some_and(|owner| owner.as_bytes() != self.account.id.as_bytes()) {
            return Err(s3_error!(
                AccessDenied,
                "Access Denied: the bucket has another owner"
            ));
        }
        Ok(())
    }
}

#[async_trait::async_trait]
impl S3Access for Access {
    async fn check(&self, context: &mut S3AccessContext<'_>) -> S3Result<()> {
        self.admit(context)?;
        let operation = format!("{}:{}", S3::NAME, context.s3_op().name());
        let decision = self.faults.decide(&operation, || resource(context.s3_path()));
        decision.wait().await;
        match decision.outcome {
            None => Ok(()),
            Some(Outcome::Fail { status, code }) => Err(injected(status, &code)),
            Some(Outcome::Throttle) => Err(s3_error!(SlowDown, "Please reduce your request rate.")),
            Some(outcome) => {
                let execute = outcome != Outcome::CutOff;
                if let Some(slot) = context.extensions_mut().get::<OutcomeSlot>() {
                    slot.set(outcome);
                }
                // This error never reaches the client: its connection is dropped.
                if execute {
                    Ok(())
                } else {
                    Err(s3_error!(InternalError, "cut off by a fault rule"))
                }
            }
        }
    }
}

fn injected(status: u16, code: &str) -> S3Error {
    let code = S3ErrorCode::from_bytes(code.as_bytes()).unwrap_or(S3ErrorCode::InternalError);
    let mut error = S3Error::with_message(code, "injected by a fault rule");
    if let Ok(status) = http::StatusCode::from_u16(status) {
        error.set_status_code(status);
    }
    error
}

fn resource(path: &S3Path) -> String {
    match path {
        S3Path::Root => String::new(),
        S3Path::Bucket { bucket } => bucket.to_string(),
        S3Path::Object { bucket, key } => format!("{bucket}/{key}"),
    }
}
