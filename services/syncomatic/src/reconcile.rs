//! Holds what both sides store against each other, object by object, and puts right what differs.
//!
//! ```text
//! list the source ──────┐
//!                       ├─▶ merge by key ─▶ judge by the listings ─▶ look at both sides ─▶ repair ─▶ report
//! list the destination ─┘   one page each    equal, missing, extra    what they cannot tell
//! ```
//!
//! One route after another. Memory does not grow with the number of objects: a bounded number of pages
//! waits, a bounded number of objects is looked at or repaired at a time, and of what was found only numbers
//! are kept. What is found comes out in the order of the keys, so that a reconcile that was stopped can go on
//! behind the last one.
//!
//! It needs no notification and no empty queue, deletes nothing, and infers nothing from a listing that
//! failed or broke off.

mod judge;
mod listing;
mod merge;
mod repair;
mod report;
mod schedule;
mod scope;
mod served_at;

use std::io;
use std::sync::Arc;

use futures::{FutureExt, Stream, StreamExt, stream};
use serde::{Deserialize, Serialize};
use service_runtime::Shutdown;
use service_runtime::tasks::Tasks;
use tokio::sync::mpsc;

pub(crate) use self::judge::State;
use self::judge::{ByListing, Rules, age_seconds};
use self::listing::{Lister, ListingFailure, PAGES_AHEAD, Page};
use self::merge::{Merge, Pair};
use self::repair::Repaired;
pub(crate) use self::report::{End, Report, Tally};
pub(crate) use self::schedule::Schedule;
use self::scope::Scope;
use crate::config::ReconcileLimits;
use crate::converge::{Looks, observe};
use crate::copy::{Copier, RedactedRoutes};
use crate::failure::At;
use crate::ledger::Ledger;
use crate::policy::Routes;
use crate::retries::with_retries;
use crate::sync::traceable;
use crate::verify::{Difference, Marker, Proof, compare, compare_redacted, redacted_marker};

/// Keys whose findings wait to be reported together, at most.
const STEP_KEYS_MAX: usize = 1000;
/// Objects in a row that could not be looked at or repaired before a side is taken to be away.
const FAILURES_MAX: usize = 50;
/// What of the drain deadline is kept for reporting.
const DRAIN_SHARE: u32 = 5;

/// Compares two buckets along their routes, in a lane of its own.
pub(crate) struct Reconcile {
    pub(crate) routes: Routes,
    pub(crate) redacted: Option<RedactedRoutes>,
    pub(crate) copier: Arc<Copier>,
    pub(crate) ledger: Option<Ledger>,
    /// Prefixes of the destination bucket that hold no copies, beside the journal's.
    pub(crate) own_prefixes: Vec<String>,
    pub(crate) limits: ReconcileLimits,
    pub(crate) shutdown: Shutdown,
}

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mode {
    /// Every object is looked at on both sides, whatever the listings show.
    pub(crate) is_deep: bool,
    /// What is missing or different is copied.
    pub(crate) repairs: bool,
}

/// Where a reconcile goes on: behind the key with this name, on this route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Position {
    pub(crate) route: String,
    /// What follows the route's prefix in the key.
    pub(crate) after: String,
}

/// What was found of one key that is not simply in place.
#[derive(Clone, Debug)]
pub(crate) struct Finding {
    pub(crate) source_key: String,
    pub(crate) destination_key: String,
    pub(crate) state: State,
    /// How long ago the source object was written, where there is one.
    pub(crate) age_seconds: Option<u64>,
    /// Bytes that a repair copied, or why it failed; `None` where none was tried.
    pub(crate) repaired: Option<Result<u64, &'static str>>,
}

impl Finding {
    /// Whether a source object that may travel is not in place.
    fn is_uncopied(&self) -> bool {
        let waits = matches!(
            self.state,
            State::Missing | State::Different(_) | State::Pending | State::Failed(_)
        );
        waits && !matches!(self.repaired, Some(Ok(_)))
    }
}

/// Who is told how it goes.
pub(crate) trait Watch: Send {
    /// A key of this route is not simply in place.
    fn found(&mut self, route: &str, finding: &Finding) -> io::Result<()>;

    /// Everything up to here is in the report.
    fn reached(&mut self, report: &Report, position: &Position) -> io::Result<()>;
}

/// What is known of some keys that follow each other.
#[derive(Debug, Default)]
struct Step {
    tally: Tally,
    findings: Vec<Finding>,
    /// The last key of the step, which has to be looked at.
    look: Option<Pair>,
    /// The name of the last key.
    after: String,
    is_end: bool,
}

impl Reconcile {
    /// Compares everything, or what is left behind `from`. `report` holds what was found before that.
    pub(crate) async fn run(
        &self,
        mode: Mode,
        mut report: Report,
        from: Option<Position>,
        watch: &mut dyn Watch,
    ) -> (Report, End) {
        let redacted = self.redacted.as_ref();
        let journal = &self.copier.journal_prefix;
        let scopes = Scope::of(&self.routes, redacted, journal, &self.own_prefixes);
        let begin = from.as_ref().map(|position| position.route.as_str());
        let scopes = scopes
            .into_iter()
            .skip_while(|scope| begin.is_some_and(|route| route != scope.label));
        for (index, scope) in scopes.enumerate() {
            let after = from.as_ref().filter(|_| index == 0);
            let after = after.map(|position| position.after.clone());
            let ended = self.route(Arc::new(scope), mode, after, &mut report, watch).await;
            if ended != End::Complete {
                return (report, ended);
            }
        }
        (report, End::Complete)
    }

    async fn route(
        &self,
        scope: Arc<Scope>,
        mode: Mode,
        after: Option<String>,
        report: &mut Report,
        watch: &mut dyn Watch,
    ) -> End {
        let rules = Rules {
            treatment: scope.treatment,
            is_deep: mode.is_deep,
            grace_seconds: i64::try_from(self.limits.grace.as_secs()).unwrap_or(i64::MAX),
        };
        let mut listers = Tasks::new(self.shutdown.clone());
        let source = self.list_source(&mut listers, &scope, after.as_deref());
        let destination = self.list_destination(&mut listers, &scope, after.as_deref());
        let merge = Merge::new(
            (source, scope.source_prefix.len()),
            (destination, scope.destination_prefix.len()),
        );
        report.of(&scope.label);
        let steps = steps(merge, scope.clone(), rules, mode);
        let settled = steps
            .take_until(self.shutdown.requested())
            .map(|step| self.settle(&scope, rules, mode, step).boxed())
            .buffered(self.limits.concurrency);
        let patience = async {
            self.shutdown.requested().await;
            let deadline = self.shutdown.drain_deadline();
            tokio::time::sleep(deadline - deadline / DRAIN_SHARE).await;
        };
        tokio::pin!(settled, patience);
        let mut failures = 0;
        loop {
            let step = tokio::select! {
                step = settled.next() => step,
                () = &mut patience => None,
            };
            let step = match step {
                Some(Ok(step)) => step,
                Some(Err(failure)) => return End::Failed(failure.to_string()),
                None => return End::Stopped,
            };
            match self.take_in(&scope, step, &mut failures, report, watch) {
                Ok(false) => {}
                Ok(true) => return End::Complete,
                Err(problem) => return End::Failed(problem),
            }
            if failures >= FAILURES_MAX {
                return End::Failed(format!("gave up after {failures} objects in a row that failed"));
            }
        }
    }

    /// Adds a step to the report; `true` after the last of the route.
    fn take_in(
        &self,
        scope: &Scope,
        step: Step,
        failures: &mut usize,
        report: &mut Report,
        watch: &mut dyn Watch,
    ) -> Result<bool, String> {
        let unwritten = |error: io::Error| format!("cannot write the result: {error}");
        for finding in &step.findings {
            *failures = if is_of_a_side(finding) { *failures + 1 } else { 0 };
            watch.found(&scope.label, finding).map_err(unwritten)?;
        }
        if step.tally.equal > 0 {
            *failures = 0;
        }
        self.copier.metrics.reconciles.compared(step.tally.objects());
        report.of(&scope.label).add(&step.tally);
        let position = Position {
            route: scope.label.clone(),
            after: step.after,
        };
        watch.reached(report, &position).map_err(unwritten)?;
        Ok(step.is_end)
    }

    fn list_source(&self, tasks: &mut Tasks, scope: &Arc<Scope>, after: Option<&str>) -> Pages {
        let select = scope.clone();
        let lister = Lister {
            copier: self.copier.clone(),
            at: At::Source,
            prefix: scope.source_prefix.clone(),
            after: after.map(|name| scope.source_key(name)),
            page_objects: self.limits.page_objects,
            select: move |object| select.select_source(object),
            shutdown: self.shutdown.clone(),
        };
        let (sender, pages) = mpsc::channel(PAGES_AHEAD);
        tasks.spawn("source listing", async move {
            lister.run(sender).await;
            Ok::<_, io::Error>(())
        });
        in_order(pages)
    }

    fn list_destination(&self, tasks: &mut Tasks, scope: &Arc<Scope>, after: Option<&str>) -> Pages {
        let select = scope.clone();
        let lister = Lister {
            copier: self.copier.clone(),
            at: At::Destination,
            prefix: scope.destination_prefix.clone(),
            after: after.map(|name| scope.destination_key(name)),
            page_objects: self.limits.page_objects,
            select: move |object| select.select_destination(object),
            shutdown: self.shutdown.clone(),
        };
        let (sender, pages) = mpsc::channel(PAGES_AHEAD);
        tasks.spawn("destination listing", async move {
            lister.run(sender).await;
            Ok::<_, io::Error>(())
        });
        in_order(pages)
    }

    /// Looks at what the listings could not tell, and repairs it if need be.
    async fn settle(
        &self,
        scope: &Scope,
        rules: Rules,
        mode: Mode,
        step: Result<Step, ListingFailure>,
    ) -> Result<Step, ListingFailure> {
        let mut step = step?;
        if let Some(pair) = step.look.take() {
            let mut finding = finding(scope, &pair, State::Missing);
            // A listing that shows nothing is enough to look again while repairing.
            let is_known =
                mode.repairs && by_listing(rules, scope, &pair) == ByListing::Known(State::Missing);
            if !is_known {
                finding.state = self.look(scope, rules, &pair, &finding).await;
            }
            if mode.repairs && matches!(finding.state, State::Missing | State::Different(_)) {
                self.repair_found(scope, &mut finding).await;
            }
            step.tally.count(&finding);
            if !matches!(finding.state, State::Equal(_)) {
                step.findings.push(finding);
            }
        }
        Ok(step)
    }

    async fn repair_found(&self, scope: &Scope, finding: &mut Finding) {
        let repaired = self
            .repair(scope, &finding.source_key, &finding.destination_key)
            .await;
        match repaired {
            Ok(Repaired::Copied(bytes)) => finding.repaired = Some(Ok(bytes)),
            Ok(Repaired::AlreadyThere) => finding.state = State::Equal(Proof::Checksum),
            Ok(Repaired::Vanished) => finding.state = State::Vanished,
            Err(cause) => finding.repaired = Some(Err(cause)),
        }
    }

    async fn look(&self, scope: &Scope, rules: Rules, pair: &Pair, finding: &Finding) -> State {
        let (copier, label) = (&*self.copier, traceable(&finding.source_key));
        let looking = with_retries(copier, &self.shutdown, &label, || {
            observe(copier, &finding.source_key, &finding.destination_key)
        });
        match looking.await {
            Ok(looks) => {
                let (compared, marker) = self.compare(scope, &looks);
                rules.by_look(pair, &looks, compared, &marker)
            }
            Err(failure) => {
                tracing::warn!(object = label, error = %failure, "cannot look at an object");
                State::Failed(failure.cause())
            }
        }
    }

    /// What the rules of proof say, and the marker that they look for.
    fn compare(&self, scope: &Scope, looks: &Looks) -> (Result<Proof, Difference>, String) {
        let (destination, source) = looks;
        let Some(source) = source else {
            return (Err(Difference::Missing), String::new());
        };
        let bucket = self.copier.source.bucket.as_str();
        match scope.redacted() {
            None => {
                let marker = Marker { bucket, source }.to_string();
                (compare(bucket, source, destination.as_ref()), marker)
            }
            Some(routes) => {
                let marker = redacted_marker(bucket, source, &routes.redaction);
                let compared = compare_redacted(&marker, None, destination.as_ref());
                (compared, marker)
            }
        }
    }
}

/// Whether something failed that is not about the object alone.
fn is_of_a_side(finding: &Finding) -> bool {
    let cause = match (finding.state, finding.repaired) {
        (State::Failed(cause), _) | (_, Some(Err(cause))) => cause,
        _ => return false,
    };
    let of_a_side = [
        "denied",
        "ledger",
        "not_found",
        "stalled",
        "throttled",
        "timeout",
        "transient",
    ];
    of_a_side.contains(&cause)
}

type Pages = stream::BoxStream<'static, Result<Page, ListingFailure>>;

/// Pages as they were listed.
fn in_order(pages: mpsc::Receiver<Result<Page, ListingFailure>>) -> Pages {
    let next = |mut pages: mpsc::Receiver<_>| async { pages.recv().await.map(|page| (page, pages)) };
    stream::unfold(pages, next).boxed()
}

/// Judges by the listings. A step ends with a key that has to be looked at, or when it is long enough.
fn steps<S>(
    merge: Merge<S>,
    scope: Arc<Scope>,
    rules: Rules,
    mode: Mode,
) -> impl Stream<Item = Result<Step, ListingFailure>>
where
    S: Stream<Item = Result<Page, ListingFailure>> + Unpin,
{
    let begin = Some((merge, scope, String::new()));
    stream::unfold(begin, move |state| async move {
        let (mut merge, scope, after) = state?;
        match step(&mut merge, &scope, rules, mode, after).await {
            Ok(step) => {
                let next = (!step.is_end).then(|| (merge, scope, step.after.clone()));
                Some((Ok(step), next))
            }
            Err(failure) => Some((Err(failure), None)),
        }
    })
}

async fn step<S>(
    merge: &mut Merge<S>,
    scope: &Scope,
    rules: Rules,
    mode: Mode,
    after: String,
) -> Result<Step, ListingFailure>
where
    S: Stream<Item = Result<Page, ListingFailure>> + Unpin,
{
    let mut step = Step {
        after,
        ..Step::default()
    };
    for _ in 0..STEP_KEYS_MAX {
        let Some(pair) = merge.next().await? else {
            step.is_end = true;
            break;
        };
        let state = match by_listing(rules, scope, &pair) {
            ByListing::Known(State::Missing) if mode.repairs => None,
            ByListing::Known(state) => Some(state),
            ByListing::Look => None,
        };
        step.after.clear();
        step.after.push_str(name(scope, &pair));
        match state {
            Some(State::Equal(_)) => step.tally.equal += 1,
            Some(state) => {
                let finding = finding(scope, &pair, state);
                step.tally.count(&finding);
                step.findings.push(finding);
            }
            None => {
                step.look = Some(pair);
                break;
            }
        }
    }
    // Others have their turn, however fast the pages come.
    tokio::task::yield_now().await;
    Ok(step)
}

/// What lies at the destination alone, and could not have come by this route, is extra whatever the source
/// holds under its key.
fn by_listing(rules: Rules, scope: &Scope, pair: &Pair) -> ByListing {
    match rules.by_listing(pair) {
        ByListing::Look if pair.source.is_none() && !scope.travels(&scope.source_key(name(scope, pair))) => {
            ByListing::Known(State::Extra)
        }
        told => told,
    }
}

fn name<'p>(scope: &Scope, pair: &'p Pair) -> &'p str {
    match (&pair.source, &pair.destination) {
        (Some(source), _) => scope.name(&source.key),
        (None, Some(destination)) => &destination.key[scope.destination_prefix.len()..],
        (None, None) => "",
    }
}

fn finding(scope: &Scope, pair: &Pair, state: State) -> Finding {
    let name = name(scope, pair);
    let age = pair.source.as_ref().map(|source| age_seconds(source, pair));
    Finding {
        source_key: scope.source_key(name),
        destination_key: scope.destination_key(name),
        state,
        age_seconds: age.map(|age| u64::try_from(age).unwrap_or_default()),
        repaired: None,
    }
}

#[cfg(test)]
mod tests;
