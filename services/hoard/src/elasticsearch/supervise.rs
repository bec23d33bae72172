//! One delivery for each shard that this replica looks after, as they come and go.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use service_runtime::Shutdown;
use service_runtime::tasks::{TaskFailure, Tasks};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::elasticsearch::deliver::{Delivery, deliver_shard};
use crate::sequence::ShardId;

/// Between tries of a shard whose delivery failed.
const TRY_AGAIN: Duration = Duration::from_secs(30);
/// How long positions may take to be written at the end; what is not is sent again.
const LAST_WRITES: Duration = Duration::from_secs(3);

/// Whose deliveries are this replica's: closed shards too, which may hold undelivered records for as
/// long as the stream has them.
pub type Assigned = watch::Receiver<HashSet<ShardId>>;

/// Does `work`, and beside it delivers what is assigned. However the delivery fares, `work` does not
/// notice; when a drain is asked for or `work` is done, it stops.
pub async fn beside<T>(
    work: impl Future<Output = T>,
    delivery: Option<(Arc<Delivery>, Assigned)>,
    shutdown: &Shutdown,
) -> T {
    let Some((delivery, assigned)) = delivery else {
        return work.await;
    };
    let stop = shutdown.token().child_token();
    let delivering = supervise(delivery, assigned, stop.clone());
    let mut delivering = std::pin::pin!(delivering);
    let mut work = std::pin::pin!(work);
    let done = tokio::select! {
        done = &mut work => done,
        () = &mut delivering => return work.await,
    };
    stop.cancel();
    if tokio::time::timeout(LAST_WRITES, delivering).await.is_err() {
        tracing::warn!("elasticsearch: not every position was written; what follows them is sent again");
    }
    done
}

/// Delivers what is assigned until it is to stop.
async fn supervise(delivery: Arc<Delivery>, mut assigned: Assigned, stop: CancellationToken) {
    let mut running = Running {
        // Whether a task ends is asked here; nothing but `stop` ends them together.
        tasks: Tasks::new(Shutdown::new(LAST_WRITES)),
        shards: HashMap::new(),
        started: 0,
        delivery,
    };
    let mut look_again = tokio::time::interval(TRY_AGAIN);
    loop {
        let wanted = assigned.borrow_and_update().clone();
        running.settle(&wanted);
        tokio::select! {
            () = stop.cancelled() => break,
            changed = assigned.changed() => if changed.is_err() { break },
            Some((name, outcome)) = running.tasks.join_next() => running.ended(&name, &outcome),
            _ = look_again.tick() => running.forget_failed(),
        }
    }
    running.settle(&HashSet::new());
    while let Some((name, outcome)) = running.tasks.join_next().await {
        running.ended(&name, &outcome);
    }
}

struct Running {
    delivery: Arc<Delivery>,
    tasks: Tasks,
    /// Every shard that was started and is still wanted.
    shards: HashMap<ShardId, Started>,
    /// Numbers the tasks: a shard that comes back may have its former task still ending.
    started: u64,
}

struct Started {
    task: String,
    stop: CancellationToken,
    failed: bool,
}

impl Running {
    /// Starts and stops what differs.
    fn settle(&mut self, wanted: &HashSet<ShardId>) {
        self.shards.retain(|shard, started| {
            let is_wanted = wanted.contains(shard);
            if !is_wanted {
                started.stop.cancel();
                self.delivery.metrics.forget_shard(shard);
            }
            is_wanted
        });
        for shard in wanted {
            if self.shards.contains_key(shard) {
                continue;
            }
            self.started += 1;
            let started = Started {
                task: format!("{shard} #{}", self.started),
                stop: CancellationToken::new(),
                failed: false,
            };
            let work = deliver_shard(Arc::clone(&self.delivery), shard.clone(), started.stop.clone());
            self.tasks.spawn(&started.task, work);
            self.shards.insert(shard.clone(), started);
        }
    }

    /// A shard that is delivered to its end is not started again. One that failed, or panicked, is, later:
    /// this delivery must not take the archive with it.
    fn ended(&mut self, name: &str, outcome: &Result<(), TaskFailure>) {
        if let Err(failure) = outcome {
            let error = failure as &dyn std::error::Error;
            tracing::error!(
                shard = name,
                error,
                "elasticsearch: stopped, and tried again later"
            );
        }
        let started = self.shards.iter_mut().find(|(_, started)| started.task == name);
        if let Some((shard, started)) = started {
            started.failed = outcome.is_err();
            self.delivery.metrics.forget_shard(shard);
        }
    }

    fn forget_failed(&mut self) {
        self.shards.retain(|_, started| !started.failed);
    }
}
