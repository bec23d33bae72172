//! Errors that the protocol crate has no name for.

use s3s::{S3Error, S3ErrorCode};

/// An error with status 400 whose code the protocol crate has no name for.
pub(super) fn bad_request(code: &'static str, message: impl Into<std::borrow::Cow<'static, str>>) -> S3Error {
    let mut error = S3Error::with_message(S3ErrorCode::Custom(code.into()), message);
    error.set_status_code(http::StatusCode::BAD_REQUEST);
    error
}
