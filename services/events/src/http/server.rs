//! Connections of the public port: how many, how long they may idle, and how they end.
//!
//! axum's own server has no time-out for a request's head or for an answer, and no bound on connections, so the accept
//! loop is ours; the protocol is hyper's.

use std::{convert::Infallible, io, time::Duration};

use axum::{Router, response::Response};
use hyper::{Request, body::Incoming, server::conn::http1};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use prometheus::IntGauge;
use service_runtime::Shutdown;
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tower::{Service, util::MapRequest};

use super::patience::Patient;
use crate::edge::Peer;

/// How long to wait after a connection could not be accepted: usually there are no file descriptors
/// left, and trying again at once would only burn the processor.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The public port.
pub(crate) struct Server {
    pub(crate) listener: TcpListener,
    pub(crate) router: Router,
    /// Beyond this many, connections wait in the operating system's queue.
    pub(crate) max_connections: usize,
    /// How long a connection may take to bring the head of its first or next request.
    pub(crate) idle_timeout: Duration,
    /// How long a client may take nothing of its answer.
    pub(crate) answer_timeout: Duration,
    pub(crate) connections: IntGauge,
}

impl Server {
    /// Serves until shutdown is requested; then takes no connection any more and returns when the
    /// last request is answered.
    pub(crate) async fn serve(self, shutdown: Shutdown) -> io::Result<()> {
        let Self {
            listener,
            router,
            max_connections,
            idle_timeout,
            answer_timeout,
            connections,
        } = self;
        let mut protocol = http1::Builder::new();
        protocol
            .timer(TokioTimer::new())
            .header_read_timeout(idle_timeout);
        let mut open = JoinSet::new();
        loop {
            tokio::select! {
                accepted = listener.accept(), if open.len() < max_connections => match accepted {
                    Ok((stream, address)) => {
                        let with_peer = move |mut request: Request<Incoming>| {
                            request.extensions_mut().insert(Peer(address));
                            request
                        };
                        let service = TowerToHyperService::new(MapRequest::new(router.clone(), with_peer));
                        open.spawn(connection(
                            stream,
                            answer_timeout,
                            protocol.clone(),
                            service,
                            shutdown.clone(),
                        ));
                    }
                    Err(error) => {
                        tracing::warn!(%error, "cannot accept a connection");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
                Some(ended) = open.join_next() => report(ended),
                () = shutdown.requested() => break,
            }
            connections.set(i64::try_from(open.len()).unwrap_or(i64::MAX));
        }
        drop(listener);
        // The router holds the way to the publisher, which ends when the last connection has.
        drop(router);
        while let Some(ended) = open.join_next().await {
            report(ended);
            connections.set(i64::try_from(open.len()).unwrap_or(i64::MAX));
        }
        Ok(())
    }
}

async fn connection<S>(
    stream: TcpStream,
    answer_timeout: Duration,
    protocol: http1::Builder,
    service: TowerToHyperService<S>,
    shutdown: Shutdown,
) where
    S: Service<Request<Incoming>, Response = Response, Error = Infallible> + Clone,
{
    // Answers are small and written at once: waiting to fill a segment would only add latency.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "cannot set TCP_NODELAY");
    }
    let stream = TokioIo::new(Patient::new(stream, answer_timeout));
    let serving = protocol.serve_connection(stream, service);
    tokio::pin!(serving);
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        () = shutdown.requested() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    // Clients that go away, never send a head or never read an answer are everyday matters.
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}

/// A handler that panicked takes its connection with it and nothing else; its events have settled
/// themselves as `retry`. The panic's text may hold data and is not logged.
fn report(ended: Result<(), tokio::task::JoinError>) {
    if ended.is_err_and(|error| error.is_panic()) {
        tracing::error!("a request handler panicked");
    }
}
