use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use super::*;
use crate::policy::{Partition, Route};
use crate::reconcile::listing::Listed;

const PAGE: usize = 1000;

/// How many objects each bucket holds; a million takes seconds without optimisation.
fn objects() -> usize {
    std::env::var("RECONCILE_OBJECTS").map_or(50_000, |number| number.parse().expect("a number"))
}

/// What the bucket of one side holds: of every thousand keys one is missing at the destination, one is
/// extra there, and one has another ETag.
fn listed(number: usize, at: At) -> Option<Listed> {
    let (is_source, kind) = (at == At::Source, number % PAGE);
    if (kind == 1 && is_source) || (kind == 2 && !is_source) {
        return None;
    }
    let etag = if kind == 3 && !is_source {
        "\"other\""
    } else {
        "\"e\""
    };
    Some(Listed {
        key: format!("{}/{number:012}", if is_source { "in" } else { "out/of" }),
        size: 450,
        etag: etag.to_owned(),
        modified: 0,
        denial: None,
    })
}

/// Lists a bucket that exists nowhere; `waiting` counts the entries that were listed and not yet compared.
async fn list(
    at: At,
    objects: usize,
    waiting: Arc<AtomicI64>,
    pages: mpsc::Sender<Result<Page, ListingFailure>>,
) {
    for begin in (0..objects).step_by(PAGE) {
        let end = (begin + PAGE).min(objects);
        let page = Page {
            objects: (begin..end).filter_map(|number| listed(number, at)).collect(),
            as_of: 1_000_000,
            is_last: end == objects,
        };
        waiting.fetch_add(page.objects.len() as i64, Ordering::SeqCst);
        if pages.send(Ok(page)).await.is_err() {
            return;
        }
    }
}

fn scope() -> Arc<Scope> {
    let route: Route = "in/=>out/of/:verbatim".parse().expect("a route");
    let routes = Routes::new(vec![route], Partition::AwsCn, Partition::Aws).expect("allowed");
    let mut scopes = Scope::of(&routes, None, "_syncomatic/uploads/", &[]);
    Arc::new(scopes.remove(0))
}

#[expect(clippy::print_stdout, reason = "how fast it was, for who asks")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn as_many_objects_as_there_are_take_as_much_memory_as_few() {
    let objects = objects();
    let mut listers = Tasks::new(Shutdown::new(Duration::from_secs(1)));
    let waiting: Arc<AtomicI64> = Arc::default();
    let mut pages = |at: At| {
        let (sender, pages) = mpsc::channel(PAGES_AHEAD);
        let waiting = waiting.clone();
        listers.spawn("listing", async move {
            list(at, objects, waiting, sender).await;
            Ok::<_, io::Error>(())
        });
        in_order(pages)
    };
    let merge = Merge::new((pages(At::Source), 3), (pages(At::Destination), 7));
    let rules = Rules {
        treatment: crate::policy::Treatment::Verbatim,
        is_deep: false,
        grace_seconds: 900,
    };
    let mode = Mode {
        is_deep: false,
        repairs: false,
    };
    let steps = steps(merge, scope(), rules, mode);
    tokio::pin!(steps);
    let (mut total, mut looks, mut most, mut ended) = (Tally::default(), 0, 0, false);
    let begun = std::time::Instant::now();
    while let Some(step) = steps.next().await {
        let step = step.expect("whole listings");
        most = most.max(waiting.load(Ordering::SeqCst));
        let both = step.tally.equal * 2 + u64::from(step.look.is_some()) * 2;
        let compared = both + step.tally.missing + step.tally.extra;
        waiting.fetch_sub(compared as i64, Ordering::SeqCst);
        assert!(step.findings.len() <= STEP_KEYS_MAX);
        looks += u64::from(step.look.is_some());
        total.add(&step.tally);
        ended |= step.is_end;
    }
    let rate = objects as f64 / begun.elapsed().as_secs_f64();
    println!("{objects} objects, {rate:.0}/s, {most} entries waited at most");
    assert!(ended);
    assert_eq!(waiting.load(Ordering::SeqCst), 0, "every entry was compared");
    let of_thousands = objects.div_ceil(PAGE) as u64;
    assert_eq!(
        (total.missing, total.extra, looks),
        (of_thousands, of_thousands, of_thousands)
    );
    assert_eq!(total.equal, objects as u64 - 3 * of_thousands);
    // On each side: waiting pages, one that waits to be sent, one that is being compared; and the step.
    let bound = (2 * (PAGES_AHEAD + 2) * PAGE + 2 * STEP_KEYS_MAX) as i64;
    assert!(most <= bound, "{most} entries, and {bound} are allowed");
}

#[test]
fn only_what_is_not_about_an_object_alone_ends_a_reconcile() {
    let finding = |state, repaired| Finding {
        source_key: "k".to_owned(),
        destination_key: "k".to_owned(),
        state,
        age_seconds: None,
        repaired,
    };
    assert!(is_of_a_side(&finding(State::Failed("denied"), None)));
    assert!(is_of_a_side(&finding(State::Missing, Some(Err("timeout")))));
    assert!(!is_of_a_side(&finding(State::Missing, Some(Err("archived")))));
    assert!(!is_of_a_side(&finding(State::Missing, Some(Ok(1)))));
    assert!(!is_of_a_side(&finding(State::Extra, None)));
}
