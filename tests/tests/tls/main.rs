//! The pipeline with TLS between the programs and AWS, as in production.

mod journey;
mod trust;

use pipeline_tests::{Pipeline, Tls};
use tls_front::Authority;

const PIPELINE: &str = env!("CARGO_BIN_EXE_pipeline");
/// What the endpoint URLs of the fronts name.
const ADDRESS: &str = "127.0.0.1";

fn authority() -> Authority {
    Authority::new().expect("random bytes")
}

/// Both sides behind certificates for `name` of one authority, for programs that trust another or the same.
async fn pipeline(signed_by: &Authority, name: &str, trusted: &Authority) -> Pipeline {
    let pipeline = Pipeline::start(PIPELINE).await;
    let tls = Tls::start(&pipeline.aws, signed_by, name, trusted).await;
    pipeline.over(tls)
}
