//! The whole pipeline on one machine: the real services, over an emulated AWS with two partitions.
//!
//! ```text
//! events ──▶ Kinesis ──▶ hoard ──▶ S3 ──▶ SQS ──▶ syncomatic ──▶ S3
//!            └────────── China ──────────────┘                   Europe
//! ```
//!
//! For developers: nothing here is installed anywhere. [`serve`] is the whole story: AWS, the demo
//! credentials, the services, the page, the sample, the journey told as it happens, the drain.

pub mod aws;
pub mod command;
pub mod demo;

mod console;
mod host;
mod journey;
mod landed;
mod page;
mod resources;
mod sample;
mod services;
mod settings;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use service_runtime::admin::AlreadyServed;
use service_runtime::tasks::TaskFailure;
use service_runtime::{Runtime, Shutdown};

use aws::{Aws, AwsError};
use demo::{DemoClients, DemoError};
use host::Host;
use journey::Journey;
use landed::Landed;
use page::Page;
pub use services::StartError;

pub use settings::{Config, Settings};

/// Far longer than the services take; what is not ready by then is not going to be.
const READY_DEADLINE: Duration = Duration::from_secs(20);

/// Why the pipeline did not start or did not end well.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The emulated AWS.
    #[error(transparent)]
    Aws(#[from] AwsError),
    /// The demo credentials.
    #[error(transparent)]
    Demo(#[from] DemoError),
    /// A service's port or settings.
    #[error(transparent)]
    Start(#[from] StartError),
    /// A service that did not get ready.
    #[error("not ready after {READY_DEADLINE:?}: {0}")]
    NotReady(String),
    /// The page's metrics.
    #[error("cannot show the page: {0}")]
    Metrics(#[from] prometheus::Error),
    /// The page.
    #[error(transparent)]
    Page(#[from] AlreadyServed),
    /// A service that failed.
    #[error(transparent)]
    Service(#[from] TaskFailure),
}

/// Runs the pipeline until a drain is requested.
pub async fn serve(config: Config, runtime: Runtime) -> Result<(), Error> {
    let started = Instant::now();
    let aws = Aws::start(&config).await?;
    let clients = DemoClients::open(&config.data_folder)?;
    let mut host = Host::new(runtime.shutdown.clone());
    let addresses = services::start(&mut host, &config, &aws, &clients).await?;
    wait_until_ready(&host, &runtime).await?;
    let landed = Landed::default();
    let page = Page::new(&addresses, &aws, clients.clone(), landed.clone());
    let admin = runtime.admin.address();
    runtime.admin.serve_also(page.router(admin, &runtime.registry)?)?;
    welcome(&config, &addresses, admin, &aws, &clients, started.elapsed());

    let journey = Journey::start(&aws, landed).await;
    let sample = async {
        if config.sample {
            // It has said how that went; the pipeline goes on, for a person to look.
            let _said = sample::send(&format!("http://{}", addresses.events), &clients).await;
        }
    };
    // The journey is told to its end: the last objects land while the services drain.
    let drained = Shutdown::new(runtime.shutdown.drain_deadline());
    let services = async {
        let ended = host.run().await;
        drained.request();
        ended
    };
    let telling = journey.tell(drained.clone());
    let looking = page.look(drained.clone());
    let (ended, (), (), ()) = tokio::join!(services, telling, looking, sample);
    aws.stop().await;
    console::say(
        "stopped",
        &format!("everything is kept in {}", config.data_folder.display()),
    );
    Ok(ended?)
}

async fn wait_until_ready(host: &Host, runtime: &Runtime) -> Result<(), Error> {
    let latch = runtime.readiness.latch("services");
    tokio::time::timeout(READY_DEADLINE, host.ready())
        .await
        .map_err(|_| Error::NotReady(host.unready_because().join(", ")))?;
    latch.open();
    Ok(())
}

/// What a person needs to know to try it.
fn welcome(
    config: &Config,
    at: &services::Addresses,
    admin: Option<SocketAddr>,
    aws: &Aws,
    clients: &DemoClients,
    took: Duration,
) {
    let (source, destination) = (&aws.source.cloud, &aws.destination.cloud);
    let folder = config.data_folder.display();
    console::say(
        "ready",
        &format!("in {:.1} s; ctrl-c drains and stops", took.as_secs_f64()),
    );
    if let Some(admin) = admin {
        console::say("page", &format!("http://{admin}/"));
    }
    console::say("api", &format!("http://{}/v1/events", at.events));
    for (name, admin) in [
        ("events", at.events_admin),
        ("hoard", at.hoard_admin),
        ("syncomatic", at.syncomatic_admin),
    ] {
        console::say("metrics", &format!("http://{admin}/metrics  {name}"));
    }
    let (china, europe) = (source.endpoint_url(), destination.endpoint_url());
    console::say("aws", &format!("{china}  China  ({})", source.account().region));
    console::say(
        "aws",
        &format!("{europe}  Europe ({})", destination.account().region),
    );
    console::say(
        "files",
        &format!(
            "{folder}/china/s3/{}  {folder}/europe/s3/{}",
            aws::SOURCE_BUCKET,
            aws::DESTINATION_BUCKET
        ),
    );
    console::say("logs", &format!("{folder}/local.log"));
    console::say("try", &clients.curl(at.events));
}
