//! S3: protocol and signatures by `s3s`, everything that they mean by us.
//!
//! `access` lets a request in and asks the fault rules; `operations` names what is emulated and
//! leads to one file for each group of operations (`bucket`, `write`, `read`, `list`, `multipart`, `complete`,
//! `remove`, `tagging`). Bodies are received outside any lock (`body`); what becomes visible is
//! decided in `commit`, under one lock.

mod access;
mod body;
mod bucket;
mod catalogue;
mod change;
mod checksum;
mod commit;
mod complete;
mod condition;
mod deposit;
mod error;
mod layout;
mod list;
mod multipart;
mod notification;
mod operations;
mod read;
mod record;
mod remove;
mod request_body;
mod tagging;
mod write;

#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::header::{CONTENT_LENGTH, HeaderValue};
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use s3s::config::{S3Config, StaticConfigProvider};
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s::{S3Error, s3_error};

use crate::account::Account;
use crate::clock::Clock;
use crate::fault::{Faults, OutcomeSlot};
use crate::sqs::Sqs;
use crate::state::{State, StateError};
use crate::wire::answer::{Body, full};

use access::{Access, Credentials};
use body::Bodies;
use catalogue::Catalogue;
use layout::Layout;
use request_body::RequestBody;

pub(crate) use deposit::Depositor;

/// The buckets of one account.
pub(crate) struct S3 {
    service: S3Service,
    backend: Arc<Backend>,
}

/// What all operations share.
struct Backend {
    account: Account,
    state: State,
    clock: Clock,
    sqs: Arc<Sqs>,
    bodies: Bodies,
    catalogue: Mutex<Catalogue>,
}

impl Backend {
    /// S3's one lock; never held while a body is read or written.
    fn lock(&self) -> MutexGuard<'_, Catalogue> {
        // A panic under the lock would leave a half-made change only in memory; a development
        // cloud goes on with it.
        self.catalogue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl S3 {
    /// The service name in credential scopes and fault rules.
    pub(crate) const NAME: &'static str = "s3";

    /// Reads back what the state holds. With a data folder, bodies are files in it.
    pub(crate) fn open(
        account: &Account,
        state: &State,
        faults: &Faults,
        clock: &Clock,
        sqs: Arc<Sqs>,
        data_folder: Option<&Path>,
    ) -> Result<Self, StateError> {
        let bodies = data_folder.map_or(Bodies::Memory, |folder| Bodies::Folder(Layout::new(folder)));
        let catalogue = Mutex::new(Catalogue::load(state, &bodies)?);
        let backend = Backend {
            account: account.clone(),
            state: state.clone(),
            clock: clock.clone(),
            sqs,
            bodies,
            catalogue,
        };
        backend.deliver_outbox()?;
        let backend = Arc::new(backend);
        let mut service = S3ServiceBuilder::new(operations::Operations(Arc::clone(&backend)));
        service.set_auth(Credentials::of(account));
        service.set_config(Arc::new(StaticConfigProvider::new(Arc::new(any_time()))));
        service.set_access(Access::new(account, faults));
        Ok(Self {
            service: service.build(),
            backend,
        })
    }

    pub(crate) fn bucket_count(&self) -> usize {
        self.backend.lock().buckets.len()
    }

    /// For services that leave objects in buckets.
    pub(crate) fn depositor(&self) -> Depositor {
        Depositor(Arc::clone(&self.backend))
    }

    /// Answers one request; errors are answers too. `outcome` is what the rules have in store for it, once
    /// they were asked.
    pub(crate) async fn answer(&self, request: Request<Incoming>, outcome: OutcomeSlot) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let body = RequestBody::new(body, outcome);
        let request = Request::from_parts(parts, s3s::Body::http_body(body.clone()));
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let mut response = match self.service.call(request).await {
            Ok(response) => response.map(|body| body.boxed_unsync()),
            Err(error) => {
                tracing::error!(?error, "an S3 answer could not be written");
                error_response(s3_error!(InternalError, "The answer could not be written."))
            }
        };
        if !response.status().is_success() {
            body.drain().await;
        }
        match response.status() {
            StatusCode::NOT_IMPLEMENTED => {
                tracing::warn!(%method, path, "an S3 operation or option that is not emulated was called");
            }
            // These have no body by definition, and the error that they come from has one.
            StatusCode::NOT_MODIFIED | StatusCode::NO_CONTENT => {
                *response.body_mut() = full("");
                response.headers_mut().remove(CONTENT_LENGTH);
            }
            _ => {}
        }
        let request_id = uuid::Uuid::new_v4().simple().to_string()[..16].to_ascii_uppercase();
        if let Ok(value) = HeaderValue::try_from(request_id) {
            response.headers_mut().insert("x-amz-request-id", value);
        }
        response
    }
}

/// For a request without a credential.
pub(crate) fn access_denied() -> Response<Body> {
    error_response(s3_error!(AccessDenied, "Access Denied"))
}

/// For a request that was signed for another region, as S3 says it.
pub(crate) fn wrong_region(account: &Account, region: &str) -> Response<Body> {
    error_response(error::bad_request(
        "AuthorizationHeaderMalformed",
        format!(
            "The authorization header is malformed; the region '{region}' is wrong; expecting '{}'",
            account.region
        ),
    ))
}

fn error_response(error: S3Error) -> Response<Body> {
    match error.to_http_response() {
        Ok(response) => response.map(|body| body.boxed_unsync()),
        Err(error) => {
            tracing::error!(?error, "an S3 error could not be written");
            let mut response = Response::new(full(""));
            *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            response
        }
    }
}

/// Takes signatures of any time: clients correct theirs by the date of the answers, which is the emulated
/// clock's, and s3s compares with the machine's.
fn any_time() -> S3Config {
    let mut config = S3Config::default();
    config.presigned_url_max_skew_time_secs = u32::MAX;
    config
}
