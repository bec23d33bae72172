//! The admin port: `/livez`, `/readyz`, `/metrics`, and what a program adds to them ([`AdminPort`]). It
//! outlives the drain, so that an operator can watch one; by itself it takes no input and holds no secret.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntGauge, Opts, Registry, TextEncoder};
use tokio::net::TcpListener;
use tower::ServiceExt;

use crate::{Readiness, Runtime};

/// A program's admin port as the program sees it: where it is, and what else it serves. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct AdminPort {
    address: Option<SocketAddr>,
    more: Arc<OnceLock<Router>>,
}

/// Something is served beside the standard routes already.
#[derive(Debug, thiserror::Error)]
#[error("the admin port serves something beside its own routes already")]
pub struct AlreadyServed;

impl AdminPort {
    /// The port that is bound there.
    pub(crate) fn at(address: SocketAddr) -> Self {
        Self {
            address: Some(address),
            more: Arc::default(),
        }
    }

    /// Where it is bound; `None` where nobody said so.
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// Serves `router` from now on wherever the standard routes do not answer.
    ///
    /// # Errors
    /// Something is served there already.
    pub fn serve_also(&self, router: Router) -> Result<(), AlreadyServed> {
        self.more.set(router).map_err(|_| AlreadyServed)
    }
}

/// Serves the admin port until dropped.
pub async fn serve(listener: TcpListener, runtime: Runtime) -> std::io::Result<()> {
    axum::serve(listener, router(runtime)).await
}

fn router(runtime: Runtime) -> Router {
    Router::new()
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .fallback(more)
        .with_state(runtime)
}

async fn more(State(runtime): State<Runtime>, request: Request) -> Response {
    match runtime.admin.more.get() {
        Some(router) => router.clone().oneshot(request).await.into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

async fn readyz(State(runtime): State<Runtime>) -> impl IntoResponse {
    let reasons = runtime.readiness.reasons();
    if reasons.is_empty() {
        (StatusCode::OK, "ready\n".to_owned())
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, reasons.join("\n") + "\n")
    }
}

async fn metrics(State(runtime): State<Runtime>) -> impl IntoResponse {
    match TextEncoder::new().encode_to_string(&runtime.registry.gather()) {
        Ok(text) => (
            StatusCode::OK,
            [(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)],
            text,
        ),
        Err(error) => {
            tracing::error!(%error, "cannot encode the metrics");
            let text = "cannot encode the metrics; the log says why\n".to_owned();
            (
                StatusCode::INTERNAL_SERVER_ERROR,
                [(header::CONTENT_TYPE, "text/plain")],
                text,
            )
        }
    }
}

/// `<name>_ready`: 1 when `/readyz` answers 200. Asked of the latches at each scrape.
struct ReadyGauge {
    gauge: IntGauge,
    readiness: Readiness,
}

impl Collector for ReadyGauge {
    fn desc(&self) -> Vec<&Desc> {
        self.gauge.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.gauge.set(i64::from(self.readiness.is_ready()));
        self.gauge.collect()
    }
}

/// Metrics that every service has.
pub(crate) fn register_standard_metrics(name: &str, registry: &Registry, readiness: &Readiness) {
    let opts = Opts::new(
        format!("{name}_ready"),
        "1 when the service is ready, as /readyz says.",
    );
    let gauge = IntGauge::with_opts(opts).expect("a service's name is a valid metric prefix");
    let collector = ReadyGauge {
        gauge,
        readiness: readiness.clone(),
    };
    registry
        .register(Box::new(collector))
        .expect("a new registry has no metric yet");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::BoxError;
    use crate::tasks::Tasks;

    #[tokio::test]
    async fn readyz_names_the_closed_latch_and_metrics_agree() -> Result<(), BoxError> {
        let runtime = Runtime::new("sample");
        let latch = runtime.readiness.latch("stream");
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let base = format!("http://{}", listener.local_addr()?);
        let mut tasks = Tasks::new(runtime.shutdown.clone());
        tasks.spawn("admin", serve(listener, runtime.clone()));

        let answer = reqwest::get(format!("{base}/readyz")).await?;
        assert_eq!(answer.status(), 503);
        assert_eq!(answer.text().await?, "stream: starting\n");
        let metrics = reqwest::get(format!("{base}/metrics")).await?.text().await?;
        assert!(metrics.contains("sample_ready 0"), "{metrics}");

        latch.open();
        assert_eq!(reqwest::get(format!("{base}/readyz")).await?.status(), 200);
        let metrics = reqwest::get(format!("{base}/metrics")).await?.text().await?;
        assert!(metrics.contains("sample_ready 1"), "{metrics}");
        assert_eq!(reqwest::get(format!("{base}/livez")).await?.status(), 200);
        Ok(())
    }

    #[tokio::test]
    async fn what_a_program_adds_is_served_beside_the_standard_routes() -> Result<(), BoxError> {
        let runtime = Runtime::new("sample");
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let base = format!("http://{}", listener.local_addr()?);
        let mut tasks = Tasks::new(runtime.shutdown.clone());
        tasks.spawn("admin", serve(listener, runtime.clone()));
        assert_eq!(reqwest::get(&base).await?.status(), 404);

        let page = Router::new()
            .route("/", get(async || "a page"))
            .route("/livez", get(async || "not this one"));
        runtime.admin.serve_also(page.clone())?;
        assert_eq!(reqwest::get(&base).await?.text().await?, "a page");
        assert_eq!(reqwest::get(format!("{base}/livez")).await?.text().await?, "ok\n");
        assert_eq!(reqwest::get(format!("{base}/other")).await?.status(), 404);
        assert!(runtime.admin.serve_also(page).is_err());
        Ok(())
    }
}
