//! What the end-to-end tests share: two emulated sides, the real programs as processes, and a look
//! into the buckets.

mod archive;
mod fleet;
mod pipeline;
mod process;
mod stream;
mod tls;

use std::time::{Duration, Instant};

pub use archive::{Archive, Line};
pub use fleet::{Days, Fleet, OpenShard};
pub use pipeline::{Client, Pipeline, Sent};
pub use process::{Ended, Process};
pub use tls::Tls;

/// Asks again and again until `condition` gives something; the error names what never came.
pub async fn eventually<T>(
    what: &str,
    patience: Duration,
    mut condition: impl AsyncFnMut() -> Option<T>,
) -> Result<T, String> {
    let start = Instant::now();
    loop {
        if let Some(found) = condition().await {
            return Ok(found);
        }
        if start.elapsed() > patience {
            return Err(format!("waited {patience:?} in vain for {what}"));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
