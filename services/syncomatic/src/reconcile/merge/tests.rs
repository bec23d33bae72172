use std::collections::BTreeSet;

use futures::FutureExt;
use futures::stream::{self, Iter};
use proptest::collection::{btree_set, vec};
use proptest::prelude::*;
use proptest::sample::Index;

use super::*;

type Pages = Iter<IntoIter<Result<Page, ListingFailure>>>;

fn listed(key: String, size: u64) -> Listed {
    Listed {
        key,
        size,
        etag: "\"e\"".to_owned(),
        modified: 0,
        denial: None,
    }
}

/// The names below a prefix as pages, each as long as the next of `sizes` says; a page is as old as its
/// number, and the last is whole or empty.
fn pages(prefix: &str, names: &BTreeSet<String>, sizes: &[usize], size: u64) -> Pages {
    let mut rest: Vec<_> = names
        .iter()
        .map(|name| listed(format!("{prefix}{name}"), size))
        .collect();
    let mut pages = Vec::new();
    for size in sizes.iter().cycle().take(names.len() + 1) {
        let next = rest.split_off((*size).min(rest.len()));
        pages.push(Ok(Page {
            objects: std::mem::replace(&mut rest, next),
            as_of: pages.len() as i64,
            is_last: false,
        }));
    }
    pages.push(Ok(Page {
        objects: rest,
        as_of: pages.len() as i64,
        is_last: true,
    }));
    stream::iter(pages)
}

fn merged(source: (Pages, usize), destination: (Pages, usize)) -> Result<Vec<Pair>, ListingFailure> {
    let mut merge = Merge::new(source, destination);
    let mut pairs = Vec::new();
    while let Some(pair) = merge.next().now_or_never().expect("the pages are there")? {
        pairs.push(pair);
    }
    Ok(pairs)
}

/// Characters whose order tells bytes from everything else: U+FFFF is below U+10000 in UTF-8, and above in
/// UTF-16.
const NAMES: &str = "[a-b/+% .\u{fc}\u{ffff}\u{10000}\u{1}]{0,4}";

proptest! {
    /// Any keys, any pages: each key once, in order, with each side that has it.
    #[test]
    fn it_is_the_union_whatever_the_pages_are(
        source in btree_set(NAMES, 0..24),
        destination in btree_set(NAMES, 0..24),
        source_sizes in vec(0..4_usize, 1..6),
        destination_sizes in vec(0..4_usize, 1..6),
    ) {
        let left = pages("in/", &source, &source_sizes, 1);
        let right = pages("out/of/", &destination, &destination_sizes, 2);
        let pairs = merged((left, 3), (right, 7)).expect("whole listings");
        let union: Vec<&String> = source.union(&destination).collect();
        prop_assert_eq!(pairs.len(), union.len());
        for (pair, name) in pairs.iter().zip(union) {
            let of = |has: bool, prefix: &str, size| has.then(|| listed(format!("{prefix}{name}"), size));
            prop_assert_eq!(&pair.source, &of(source.contains(name), "in/", 1));
            prop_assert_eq!(&pair.destination, &of(destination.contains(name), "out/of/", 2));
        }
    }

    /// A listing that ends without its last page is a failure, never an end.
    #[test]
    fn a_listing_that_breaks_off_is_no_end(
        names in btree_set(NAMES, 0..12),
        sizes in vec(0..4_usize, 1..4),
        kept in any::<Index>(),
        of_the_source in any::<bool>(),
    ) {
        let whole = pages("", &names, &sizes, 1);
        let broken: Vec<_> = pages("", &names, &sizes, 1).now_or_never_all();
        let kept = kept.index(broken.len());
        let broken = stream::iter(broken.into_iter().take(kept).collect::<Vec<_>>());
        let merged = if of_the_source {
            merged((broken, 0), (whole, 0))
        } else {
            merged((whole, 0), (broken, 0))
        };
        let broke_off = matches!(merged, Err(ListingFailure::BrokeOff(_)));
        prop_assert!(broke_off, "{merged:?}");
    }
}

trait NowOrNeverAll {
    fn now_or_never_all(self) -> Vec<Result<Page, ListingFailure>>;
}

impl NowOrNeverAll for Pages {
    fn now_or_never_all(self) -> Vec<Result<Page, ListingFailure>> {
        self.collect().now_or_never().expect("all are there")
    }
}

/// What shows that a key is not there is the page that goes on behind it.
#[test]
fn the_time_of_a_gap_is_that_of_the_page_behind_it() {
    let page = |keys: &[&str], as_of, is_last| {
        Ok(Page {
            objects: keys.iter().map(|key| listed((*key).to_owned(), 1)).collect(),
            as_of,
            is_last,
        })
    };
    let source = stream::iter(vec![page(&["a", "c", "e"], 100, true)]);
    let destination = stream::iter(vec![
        page(&["a"], 10, false),
        page(&["d"], 20, false),
        page(&[], 30, true),
    ]);
    let pairs = merged((source, 0), (destination, 0)).expect("whole listings");
    let times: Vec<_> = pairs.iter().map(|pair| pair.destination_as_of).collect();
    assert_eq!(times, [10, 20, 20, 30], "a, c, d, e");
}
