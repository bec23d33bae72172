//! S3: protocol and signatures by `s3s`, everything that they mean by us.

use std::path::Path;
use std::sync::Arc;

use http::{Request, Response, StatusCode};
use hyper::body::Incoming;

use crate::account::Account;
use crate::fault::Faults;
use crate::server::{Body, full};
use crate::sqs::Sqs;
use crate::state::{State, StateError};

/// The buckets of one account.
pub(crate) struct S3 {}

impl S3 {
    /// The service name in credential scopes and fault rules.
    pub(crate) const NAME: &'static str = "s3";

    pub(crate) fn open(
        _account: &Account,
        _state: &State,
        _faults: &Faults,
        _sqs: Arc<Sqs>,
        _data_folder: Option<&Path>,
    ) -> Result<Self, StateError> {
        Ok(Self {})
    }

    pub(crate) fn bucket_count(&self) -> usize {
        0
    }

    pub(crate) async fn answer(&self, _request: Request<Incoming>) -> Response<Body> {
        access_denied()
    }
}

pub(crate) fn access_denied() -> Response<Body> {
    let mut response = Response::new(full(
        "<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>",
    ));
    *response.status_mut() = StatusCode::FORBIDDEN;
    response
}
