//! A bare axum handler: what the same body over the same connection costs when nothing is done with it.
//!
//! It reads the body and answers with a few bytes. It is a program of its own, on the same runtime and
//! the same HTTP library as `events`.

use std::net::SocketAddr;

use axum::{Router, body::Bytes, http::header, routing::post};
use tokio::net::TcpListener;

use crate::Failure;

/// What the handler prints before its address.
pub const LISTENING: &str = "listening on ";

/// Serves until the process is ended.
///
/// # Errors
/// When it cannot listen.
#[expect(clippy::print_stdout, reason = "how it says where it listens")]
pub async fn serve(listen: SocketAddr) -> Result<(), Failure> {
    let listener = TcpListener::bind(listen)
        .await
        .map_err(Failure::system(format!("cannot listen on {listen}")))?;
    let address = listener.local_addr().map_err(Failure::system("no address"))?;
    println!("{LISTENING}{address}");
    let router = Router::new().route("/v1/events", post(answer));
    axum::serve(listener, router)
        .await
        .map_err(Failure::system("the server ended"))
}

async fn answer(body: Bytes) -> ([(header::HeaderName, &'static str); 1], &'static str) {
    let answer = if body.is_empty() {
        r#"{"accepted":0,"rejected":1,"retry":0}"#
    } else {
        r#"{"accepted":1,"rejected":0,"retry":0}"#
    };
    ([(header::CONTENT_TYPE, "application/json")], answer)
}
