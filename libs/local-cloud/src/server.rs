//! The listener and its connections.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::dispatch::{self, CutOff, Services};
use crate::wire::answer::Body;

/// Further clients wait in the listener's backlog.
const CONNECTIONS_MAX: usize = 4096;
/// A client that opens a connection and sends nothing is let go.
const HEADER_READ_TIMEOUT: Duration = Duration::from_secs(30);
/// How long calls in execution may still take when the cloud is stopped.
const STOP_GRACE: Duration = Duration::from_secs(1);

/// A running listener.
#[derive(Debug)]
pub(crate) struct Server {
    address: SocketAddr,
    /// Cancelled: no new connections, no further request on an open one.
    drain: CancellationToken,
    /// Cancelled: every connection is dropped as it is.
    abort: CancellationToken,
    tasks: TaskTracker,
    _abort_on_drop: DropGuard,
}

impl Server {
    pub(crate) fn start(listener: TcpListener, address: SocketAddr, services: Services) -> Self {
        let abort = CancellationToken::new();
        let drain = abort.child_token();
        let tasks = TaskTracker::new();
        let accept = Accept {
            listener,
            services: Arc::new(services),
            drain: drain.clone(),
            abort: abort.clone(),
            tasks: tasks.clone(),
        };
        tasks.spawn(accept.run());
        Self {
            address,
            drain,
            tasks,
            _abort_on_drop: abort.clone().drop_guard(),
            abort,
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) async fn stop(self) {
        self.drain.cancel();
        self.tasks.close();
        if tokio::time::timeout(STOP_GRACE, self.tasks.wait()).await.is_err() {
            tracing::debug!(connections = self.tasks.len(), "connections are dropped");
            self.abort.cancel();
            self.tasks.wait().await;
        }
    }
}

struct Accept {
    listener: TcpListener,
    services: Arc<Services>,
    drain: CancellationToken,
    abort: CancellationToken,
    tasks: TaskTracker,
}

impl Accept {
    async fn run(self) {
        let free = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let accepted = async {
                let permit = Arc::clone(&free).acquire_owned().await;
                (self.listener.accept().await, permit)
            };
            let (accepted, permit) = tokio::select! {
                () = self.drain.cancelled() => return,
                accepted = accepted => accepted,
            };
            match accepted {
                Ok((stream, _)) => {
                    let connection = connection(stream, Arc::clone(&self.services), self.drain.clone());
                    let abort = self.abort.clone();
                    self.tasks.spawn(async move {
                        let _permit = permit;
                        abort.run_until_cancelled(connection).await;
                    });
                }
                Err(error) => {
                    // Out of file descriptors, most likely: existing connections have to end first.
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }
}

async fn connection(stream: TcpStream, services: Arc<Services>, drain: CancellationToken) {
    // Without it, small frames wait for the peer's delayed acknowledgement.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY could not be set");
    }
    let service = service_fn(|request| serve(&services, request));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_READ_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = drain.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, "a connection ended early");
    }
}

/// An error makes the connection end without an answer.
async fn serve(services: &Services, request: Request<Incoming>) -> Result<Response<Body>, CutOff> {
    dispatch::answer(services, request).await
}
