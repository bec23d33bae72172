use super::*;
use proptest::prelude::*;

fn id(name: &str) -> ShardId {
    ShardId::try_from(name.to_owned()).expect("valid")
}

fn shard(name: &str, parents: &[&str]) -> Shard {
    Shard {
        id: id(name),
        parents: parents.iter().map(|parent| id(parent)).collect(),
        takes: None,
    }
}

fn waiting_names(listed: &[Shard], done: &[&str], held: &[&str]) -> Vec<String> {
    let waiting = waiting(
        listed,
        |shard| done.contains(&shard.as_str()),
        |shard| held.contains(&shard.as_str()),
    );
    let mut names: Vec<String> = waiting.iter().map(ToString::to_string).collect();
    names.sort();
    names
}

#[test]
fn a_child_waits_for_every_parent() {
    let listed = [shard("a", &[]), shard("b", &[]), shard("merged", &["a", "b"])];
    assert_eq!(waiting_names(&listed, &[], &[]), ["merged"]);
    assert_eq!(waiting_names(&listed, &["a"], &[]), ["merged"]);
    assert!(waiting_names(&listed, &["a", "b"], &[]).is_empty());
}

#[test]
fn a_parent_that_is_gone_holds_nobody_up_unless_it_is_still_being_committed_here() {
    let listed = [shard("child", &["parent"])];
    assert!(waiting_names(&listed, &[], &[]).is_empty());
    assert_eq!(waiting_names(&listed, &[], &["parent"]), ["child"]);
}

#[test]
fn grandchildren_wait_for_children() {
    let listed = [shard("a", &[]), shard("b", &["a"]), shard("c", &["b"])];
    assert_eq!(waiting_names(&listed, &[], &[]), ["b", "c"]);
    assert_eq!(waiting_names(&listed, &["a"], &[]), ["c"]);
    assert!(waiting_names(&listed, &["a", "b"], &[]).is_empty());
}

/// First and last key of each.
type Ranges<'a> = &'a [(u128, u128)];

fn taking(ranges: Ranges<'_>) -> Vec<Shard> {
    let shard = |(n, (first, last)): (usize, &(u128, u128))| Shard {
        takes: Some(*first..=*last),
        ..shard(&format!("shard-{n}"), &[])
    };
    ranges.iter().enumerate().map(shard).collect()
}

#[test]
fn holes_and_overlaps_are_seen_wherever_they_are() {
    let max = u128::MAX;
    let cases: [(Ranges<'_>, usize, usize); 8] = [
        (&[(0, max)], 0, 0),
        (&[(10, max), (0, 9)], 0, 0),
        (&[], 1, 0),
        (&[(1, max)], 1, 0),
        (&[(0, max - 1)], 1, 0),
        (&[(0, 9), (11, max)], 1, 0),
        (&[(0, 10), (10, max)], 0, 1),
        (&[(0, max), (5, 9)], 0, 1),
    ];
    for (ranges, holes, overlaps) in cases {
        assert_eq!(audit(&taking(ranges)), Audit { holes, overlaps }, "{ranges:?}");
    }
    let closed = [shard("closed", &[]), taking(&[(0, max)]).remove(0)];
    assert_eq!(audit(&closed), Audit::default(), "closed shards take nothing");
}

proptest! {
    #[test]
    fn any_division_of_the_whole_range_is_sound_and_without_a_part_it_has_a_hole(
        mut bounds in prop::collection::btree_set(1_u128.., 1..20),
        missing in any::<prop::sample::Index>(),
    ) {
        bounds.insert(0);
        let starts: Vec<u128> = bounds.into_iter().collect();
        let end = |n: usize| starts.get(n + 1).map_or(u128::MAX, |next| next - 1);
        let mut ranges: Vec<(u128, u128)> = starts.iter().enumerate().map(|(n, start)| (*start, end(n))).collect();
        prop_assert_eq!(audit(&taking(&ranges)), Audit::default());
        ranges.remove(missing.index(ranges.len()));
        prop_assert_eq!(audit(&taking(&ranges)), Audit { holes: 1, overlaps: 0 });
    }
}
