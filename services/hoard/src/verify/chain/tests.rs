use super::*;
use proptest::prelude::*;

const DAY: Date = jiff::civil::date(2026, 1, 2);
const DAY_BEFORE: Date = jiff::civil::date(2026, 1, 1);
const DAY_AFTER: Date = jiff::civil::date(2026, 1, 3);

fn number(n: u64) -> SequenceNumber {
    SequenceNumber::try_from(n.to_string()).expect("digits")
}

/// The object `index` of `objects` of the cut `(after, last]`; 0 is the start of the shard.
fn entry(after: u64, last: u64, objects: u32, index: u32) -> Entry {
    Entry {
        key: format!("{after:06}-{index}"),
        date: DAY,
        role: Role::Asked,
        after: (after > 0).then(|| number(after)),
        // Not dense: the first record of a cut is not the one after the last record before it.
        first: number(after + 5),
        last: number(last),
        cut_objects: objects,
    }
}

fn neighbour(after: u64, last: u64, role: Role) -> Entry {
    let date = if role == Role::Before {
        DAY_BEFORE
    } else {
        DAY_AFTER
    };
    Entry {
        date,
        role,
        ..entry(after, last, 1, 0)
    }
}

fn known(checkpoint: u64) -> Known {
    Known {
        checkpoint: Some(number(checkpoint)),
        is_ended: false,
    }
}

fn gap(after: u64, last: u64) -> Broken {
    Broken::Gap {
        after: Some(number(after)),
        last: number(last),
        from: Some(DAY),
        to: Some(DAY),
    }
}

#[test]
fn cuts_that_touch_are_one_run_from_start_to_checkpoint() {
    let mut entries = [
        entry(20, 30, 2, 1),
        entry(0, 10, 1, 0),
        entry(20, 30, 2, 0),
        entry(10, 20, 1, 0),
    ];
    let proof = prove(&mut entries, Some(&known(30)), true);
    assert_eq!(proof.broken, []);
    assert_eq!(
        (proof.begin, proof.end),
        (Some(Edge::Start), Some(Edge::Checkpoint))
    );
    assert_eq!(proof.runs.len(), 1);
    assert_eq!((proof.runs[0].cuts, &proof.runs[0].last), (3, &number(30)));
}

#[test]
fn a_missing_cut_is_a_gap_between_its_neighbours() {
    let mut entries = [entry(0, 10, 1, 0), entry(20, 30, 1, 0)];
    let proof = prove(&mut entries, Some(&known(30)), true);
    assert_eq!(proof.broken, [gap(10, 20)]);
    assert_eq!(proof.runs.len(), 2);
}

#[test]
fn a_missing_object_of_a_cut_is_seen() {
    let mut entries = [entry(0, 10, 1, 0), entry(10, 20, 2, 0)];
    let proof = prove(&mut entries, Some(&known(20)), true);
    assert!(
        matches!(
            &proof.broken[..],
            [Broken::Incomplete {
                found: 1,
                expected: 2,
                ..
            }]
        ),
        "{:?}",
        proof.broken
    );
}

#[test]
fn the_same_records_twice_overlap_however_they_are_cut() {
    for other in [entry(0, 20, 1, 1), entry(3, 10, 1, 0), entry(4, 30, 1, 0)] {
        let mut entries = [entry(0, 10, 1, 0), other, entry(30, 40, 1, 0)];
        let proof = prove(&mut entries, Some(&known(40)), true);
        assert!(
            proof
                .broken
                .iter()
                .any(|broken| matches!(broken, Broken::Overlap { .. })),
            "{:?}",
            proof.broken
        );
    }
}

#[test]
fn a_second_start_is_not_taken_on_trust() {
    let mut restarted = entry(10, 20, 1, 0);
    restarted.after = None;
    let proof = prove(&mut [entry(0, 10, 1, 0), restarted], Some(&known(20)), true);
    assert!(
        matches!(&proof.broken[..], [Broken::Restart { .. }]),
        "{:?}",
        proof.broken
    );
}

#[test]
fn neighbours_tell_where_a_day_continues() {
    let mut entries = [
        neighbour(10, 20, Role::Before),
        entry(20, 30, 1, 0),
        neighbour(30, 40, Role::After),
    ];
    let proof = prove(&mut entries, Some(&known(90)), true);
    assert_eq!(proof.broken, []);
    assert_eq!(proof.begin, Some(Edge::Continues { day: DAY_BEFORE }));
    assert_eq!(proof.end, Some(Edge::Continues { day: DAY_AFTER }));
    assert_eq!(proof.runs[0].cuts, 1, "neighbours are not counted");
}

#[test]
fn what_is_missing_at_an_edge_is_a_gap() {
    let mut first = [neighbour(10, 20, Role::Before), entry(25, 30, 1, 0)];
    let proof = prove(&mut first, Some(&known(30)), true);
    assert!(matches!(
        &proof.broken[..],
        [Broken::Gap {
            from: Some(DAY_BEFORE),
            to: Some(DAY),
            ..
        }]
    ));
    assert_eq!(proof.begin, Some(Edge::Open));

    let mut last = [entry(0, 10, 1, 0), neighbour(20, 30, Role::After)];
    let proof = prove(&mut last, Some(&known(30)), true);
    assert!(matches!(
        &proof.broken[..],
        [Broken::Gap {
            from: Some(DAY),
            to: Some(DAY_AFTER),
            ..
        }]
    ));

    let mut tail = [entry(0, 10, 1, 0)];
    let proof = prove(&mut tail, Some(&known(30)), true);
    assert!(matches!(
        &proof.broken[..],
        [Broken::Gap {
            from: Some(DAY),
            to: None,
            ..
        }]
    ));

    let mut everything = [neighbour(10, 20, Role::Before), neighbour(30, 40, Role::After)];
    let proof = prove(&mut everything, Some(&known(50)), true);
    assert!(
        matches!(&proof.broken[..], [Broken::Gap { .. }]),
        "a day whose objects are all gone"
    );
}

#[test]
fn an_edge_that_cannot_be_seen_is_open_and_no_error() {
    let mut entries = [entry(20, 30, 1, 0)];
    assert_eq!(open_ends(&entries, Some(&known(90))), (true, true));
    let proof = prove(&mut entries, Some(&known(90)), false);
    assert_eq!(proof.broken, []);
    assert_eq!((proof.begin, proof.end), (Some(Edge::Open), Some(Edge::Open)));
    assert_eq!(open_ends(&entries, Some(&known(30))), (true, false));
    assert_eq!(open_ends(&[entry(0, 10, 1, 0)], None), (false, false));
}

#[test]
fn a_cut_of_the_next_day_between_two_of_this_one_links_them() {
    let mut entries = [
        entry(0, 10, 1, 0),
        neighbour(10, 20, Role::Within),
        entry(20, 30, 1, 0),
    ];
    let proof = prove(&mut entries, Some(&known(30)), true);
    assert_eq!((proof.runs.len(), proof.broken.len()), (1, 0));
    let mut entries = [
        entry(0, 10, 1, 0),
        neighbour(12, 20, Role::Within),
        entry(20, 30, 1, 0),
    ];
    let proof = prove(&mut entries, Some(&known(30)), true);
    assert_eq!((proof.runs.len(), proof.broken.len()), (2, 1));
}

#[test]
fn what_is_being_written_is_not_claimed() {
    let mut entries = [entry(0, 10, 1, 0), entry(10, 20, 2, 0), entry(30, 40, 1, 0)];
    let proof = prove(&mut entries, Some(&known(10)), true);
    assert_eq!((proof.broken.len(), proof.in_progress), (0, 2));
    let nothing_yet = Known::default();
    let proof = prove(&mut entries, Some(&nothing_yet), true);
    assert_eq!((proof.runs.len(), proof.in_progress), (0, 3));
}

#[test]
fn a_closed_shard_ends() {
    let ended = Known {
        is_ended: true,
        ..known(10)
    };
    let proof = prove(&mut [entry(0, 10, 1, 0)], Some(&ended), true);
    assert_eq!(proof.end, Some(Edge::ShardEnd));
}

proptest! {
    /// Whatever single object is lost, of whatever archive, it shows; and nothing shows when none is.
    #[test]
    fn no_object_is_lost_unseen(sizes in proptest::collection::vec((1_u64..50, 1_u32..4), 1..12), lost in any::<prop::sample::Index>()) {
        let mut entries = Vec::new();
        let mut after = 0;
        for (size, objects) in sizes {
            let last = after + 5 + size;
            entries.extend((0..objects).map(|index| entry(after, last, objects, index)));
            after = last;
        }
        let known = known(after);
        prop_assert_eq!(prove(&mut entries.clone(), Some(&known), true).broken, []);
        entries.remove(lost.index(entries.len()));
        let all_lost = entries.is_empty();
        // The first cut of a shard is missed by nothing but its successor's link.
        let proof = prove(&mut entries, Some(&known), true);
        let headless = proof.begin == Some(Edge::Open);
        prop_assert!(all_lost || headless || !proof.broken.is_empty(), "{:?}", proof);
    }
}
