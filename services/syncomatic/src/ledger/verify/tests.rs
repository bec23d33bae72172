use proptest::prelude::*;

use super::super::Entry;
use super::super::chain::Chain;
use super::*;

/// A chain of objects with these many lines each, genesis and end included.
fn objects(instance: &str, sizes: &[usize], previous: Option<&Link>, closes: bool) -> Vec<(String, Vec<u8>)> {
    let mut chain = Chain::new(instance.to_owned());
    let mut objects = Vec::new();
    let last = sizes.len() - 1;
    for (index, size) in sizes.iter().enumerate() {
        let key = format!("_ledger/2026/03/01/{instance}-{:012}.jsonl", chain.next());
        let mut lines = Vec::new();
        for _ in 0..*size {
            if chain.next() == 0 {
                chain.genesis("0123456789abcdef", previous, &mut lines);
            } else {
                chain.entry(&Entry::default(), &mut lines);
            }
        }
        if closes && index == last {
            chain.close(&mut lines);
        }
        objects.push((key, lines));
    }
    objects
}

fn walk(objects: &[(String, Vec<u8>)]) -> Report {
    let mut walk = Walk::default();
    for (key, bytes) in objects {
        walk.object(key, bytes);
    }
    walk.finish()
}

fn kinds(objects: &[(String, Vec<u8>)]) -> Vec<Kind> {
    walk(objects)
        .problems
        .iter()
        .map(|problem| problem.kind)
        .collect()
}

/// The last line of the last object.
fn end_of(objects: &[(String, Vec<u8>)], instance: &str) -> Link {
    let (_, bytes) = objects.last().expect("an object");
    let line = bytes
        .trim_ascii_end()
        .rsplit(|byte| *byte == b'\n')
        .next()
        .expect("a line");
    let held: Held = serde_json::from_slice(line).expect("a line");
    Link {
        instance: instance.to_owned(),
        seq: held.seq,
        sha256: hash(line),
    }
}

fn line_starts(bytes: &[u8]) -> Vec<usize> {
    let ends = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
    std::iter::once(0)
        .chain(ends.map(|(index, _)| index + 1))
        .collect()
}

#[test]
fn a_whole_chain_holds_and_says_how_it_ends() {
    let closed = walk(&objects("a-1", &[3, 1, 4], None, true));
    assert_eq!(closed.problems, []);
    let chain = &closed.chains[0];
    assert_eq!((chain.objects, chain.lines, chain.end), (3, 9, End::Closed));
    assert_eq!(walk(&objects("a-1", &[3], None, false)).chains[0].end, End::Open);
}

#[test]
fn a_chain_that_another_names_cannot_lose_its_end() {
    let first = objects("a-1", &[3, 2], None, false);
    let second = objects("a-2", &[2], Some(&end_of(&first, "a-1")), true);
    let both = [first.clone(), second.clone()].concat();
    let report = walk(&both);
    assert_eq!(report.problems, []);
    assert_eq!(report.chains[0].end, End::Followed);

    assert_eq!(
        kinds(&[first[..1].to_vec(), second.clone()].concat()),
        [Kind::Truncated]
    );
    assert_eq!(kinds(&second), [Kind::Truncated], "the whole chain is gone");
    let later = objects("a-1", &[3, 2, 2], None, false);
    assert_eq!(
        kinds(&[later[..2].to_vec(), second].concat()).len(),
        1,
        "other lines of the same numbers are not the same chain"
    );
}

#[test]
fn each_kind_of_damage_is_told() {
    let whole = objects("a-1", &[3, 3, 3], None, true);
    let without = |index: usize| {
        let mut rest = whole.clone();
        rest.remove(index);
        rest
    };
    assert_eq!(kinds(&without(1)), [Kind::Gap]);
    assert_eq!(kinds(&without(0)), [Kind::Gap], "the beginning is gone");

    let mut swapped = whole.clone();
    let bytes = swapped[1].1.clone();
    swapped[1].1 = std::mem::replace(&mut swapped[2].1, bytes);
    assert!(kinds(&swapped).contains(&Kind::Misplaced) && kinds(&swapped).contains(&Kind::Reordered));

    let mut renamed = whole.clone();
    renamed[1].0 = "_ledger/2026/03/01/a-1-000000000009.jsonl".to_owned();
    assert_eq!(kinds(&renamed), [Kind::Misplaced]);
    assert_eq!(
        kinds(&[("_ledger/readme".to_owned(), Vec::new())]),
        [Kind::Misplaced]
    );

    let mut cut = whole.clone();
    let length = cut[1].1.len();
    cut[1].1.truncate(length - 10);
    assert!(kinds(&cut).contains(&Kind::Malformed));

    let mut behind = objects("a-1", &[2], None, true);
    let extra = objects("a-1", &[3, 2], None, false).remove(1);
    behind.push(extra);
    assert!(!kinds(&behind).is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Any one byte but those of the very last line can be changed only to be noticed.
    #[test]
    fn no_byte_inside_a_chain_can_be_changed_unseen(
        sizes in prop::collection::vec(1..4_usize, 2..5),
        place in any::<prop::sample::Index>(),
        bit in 0..8_u32,
    ) {
        let mut chain = objects("a-1", &sizes, None, true);
        let (last, rest) = chain.split_last_mut().expect("objects");
        let inside: usize = rest.iter().map(|(_, bytes)| bytes.len()).sum();
        let before_last_line = line_starts(&last.1).into_iter().rev().nth(1).expect("two lines at least");
        let mut place = place.index(inside + before_last_line);
        for (_, bytes) in rest.iter_mut().chain([last]) {
            if place < bytes.len() {
                bytes[place] ^= 1 << bit;
                break;
            }
            place -= bytes.len();
        }
        prop_assert!(!walk(&chain).problems.is_empty());
    }

    /// Any line but the last can be taken away or moved only to be noticed.
    #[test]
    fn no_line_inside_a_chain_can_be_taken_away_or_moved_unseen(
        size in 3..8_usize,
        one in any::<prop::sample::Index>(),
        two in any::<prop::sample::Index>(),
    ) {
        let mut chain = objects("a-1", &[size], None, true);
        let mut lines: Vec<Vec<u8>> = chain[0].1.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
        let (one, two) = (one.index(lines.len() - 1), two.index(lines.len()));
        if one == two {
            lines.remove(one);
        } else {
            lines.swap(one, two);
        }
        chain[0].1 = lines.concat();
        prop_assert!(!walk(&chain).problems.is_empty());
    }

    #[test]
    fn no_bytes_make_it_panic(key in ".{0,40}", bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut walk = Walk::default();
        walk.object(&key, &bytes);
        walk.object("_ledger/a-000000000000.jsonl", &bytes);
        let _ = walk.finish();
    }
}
