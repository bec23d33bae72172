//! The three services in this process, each with its own admin port, metrics and readiness, ended in
//! the order of the flow: what one hands over while it drains, the next can still take. What is left
//! in the stream or the queue by then waits there for the next run.

use std::error::Error;
use std::time::Duration;

use service_runtime::tasks::{TaskFailure, Tasks};
use service_runtime::{BoxError, Readiness, Runtime, Shutdown, admin};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// The services that run, in the order of the flow.
#[derive(Debug)]
pub(crate) struct Host {
    group: Shutdown,
    tasks: Tasks,
    services: Vec<Hosted>,
}

#[derive(Debug)]
struct Hosted {
    name: &'static str,
    shutdown: Shutdown,
    readiness: Readiness,
    ended: CancellationToken,
}

impl Host {
    /// Hosts nothing yet; drains when `group` is requested.
    pub(crate) fn new(group: Shutdown) -> Self {
        Self {
            tasks: Tasks::new(group.clone()),
            services: Vec::new(),
            group,
        }
    }

    /// Starts a service with its admin port. Services are started in the order of the flow.
    pub(crate) fn start<F, E>(
        &mut self,
        name: &'static str,
        admin: TcpListener,
        service: impl FnOnce(Runtime) -> F,
    ) where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Error + Send + Sync + 'static,
    {
        let runtime = Runtime::with_drain_deadline(name, self.group.drain_deadline());
        let ended = CancellationToken::new();
        self.services.push(Hosted {
            name,
            shutdown: runtime.shutdown.clone(),
            readiness: runtime.readiness.clone(),
            ended: ended.clone(),
        });
        let service = service(runtime.clone());
        self.tasks.spawn(name, async move {
            // Dropped at the end, however the service ends.
            let _ended = ended.drop_guard();
            tokio::select! {
                result = service => result.map_err(BoxError::from),
                result = admin::serve(admin, runtime) => result.map_err(BoxError::from),
            }
        });
    }

    /// Waits until every service is ready. What is not ready is for the caller's time-out to report.
    pub(crate) async fn ready(&self) {
        while !self.services.iter().all(|service| service.readiness.is_ready()) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Why the services are not ready, one sentence a cause.
    pub(crate) fn unready_because(&self) -> Vec<String> {
        let reasons = |service: &Hosted| {
            let name = service.name;
            let reasons = service.readiness.reasons().into_iter();
            reasons
                .map(move |reason| format!("{name}: {reason}"))
                .collect::<Vec<_>>()
        };
        self.services.iter().flat_map(reasons).collect()
    }

    /// Runs until the group's shutdown was requested and every service has drained, one after the
    /// other, or one has failed and the others have drained.
    pub(crate) async fn run(mut self) -> Result<(), TaskFailure> {
        let (group, services) = (self.group, self.services);
        self.tasks.spawn("drain", async move {
            group.requested().await;
            for service in services {
                service.shutdown.request();
                service.ended.cancelled().await;
            }
            Ok::<_, BoxError>(())
        });
        self.tasks.join().await
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::{Arc, Mutex};

    use super::*;

    async fn free_port() -> TcpListener {
        TcpListener::bind("127.0.0.1:0").await.expect("a free port")
    }

    #[tokio::test]
    async fn services_drain_one_after_the_other_in_the_order_of_the_flow() {
        let group = Shutdown::new(Duration::from_secs(5));
        let drained = Arc::new(Mutex::new(Vec::new()));
        let mut host = Host::new(group.clone());
        // The first takes longest to drain: side by side it would end last.
        for (name, drain_ms) in [("first", 60), ("second", 30), ("third", 0)] {
            let drained = Arc::clone(&drained);
            host.start(name, free_port().await, |runtime| async move {
                runtime.readiness.latch("part").open();
                runtime.shutdown.requested().await;
                tokio::time::sleep(Duration::from_millis(drain_ms)).await;
                drained.lock().expect("not poisoned").push(name);
                Ok::<_, Infallible>(())
            });
        }
        host.ready().await;
        group.request();
        host.run().await.expect("all drain");
        assert_eq!(
            *drained.lock().expect("not poisoned"),
            ["first", "second", "third"]
        );
    }

    #[tokio::test]
    async fn when_one_fails_the_others_drain_and_the_failure_is_named() {
        let group = Shutdown::new(Duration::from_secs(5));
        let mut host = Host::new(group.clone());
        host.start("patient", free_port().await, |runtime| async move {
            runtime.shutdown.requested().await;
            Ok::<_, Infallible>(())
        });
        host.start("broken", free_port().await, |_| async {
            Err(std::io::Error::other("no such stream"))
        });
        let failure = host.run().await.expect_err("one failed");
        assert_eq!(failure.to_string(), "broken failed");
    }
}
