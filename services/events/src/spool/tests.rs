use std::{
    fs::{self, OpenOptions},
    io::{Seek, SeekFrom, Write},
};

use super::*;
use crate::submission::tests::tickets;

const LIMIT: u64 = 1 << 20;

/// Records of a client, one a pair of key and line.
pub(crate) fn records(pairs: &[(&str, &str)]) -> Vec<Record> {
    let (tickets, _) = tickets(pairs.len());
    pairs
        .iter()
        .zip(tickets)
        .map(|((key, line), ticket)| Record {
            line: line.as_bytes().to_vec(),
            partition_key: Arc::from(*key),
            owner: Owner::Client(ticket),
        })
        .collect()
}

/// As it is when its disk has failed.
pub(crate) fn lose_store(spool: Spool) -> Spool {
    Spool { store: None, ..spool }
}

fn open(folder: &Path, limit: u64) -> Spool {
    Spool::open(folder, limit, |_| ()).expect("it opens")
}

fn lines(records: &[Record]) -> Vec<&str> {
    let line = |record| str::from_utf8(record).expect("text");
    records.iter().map(|record: &Record| line(&record.line)).collect()
}

#[test]
fn records_come_back_in_order_after_a_restart_and_once_removed_do_not() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut spool = open(folder.path(), LIMIT);
    // More than 256, so that an order by text or by the lowest byte would show.
    let texts: Vec<_> = (0..600).map(|number| number.to_string()).collect();
    for group in texts.chunks(7) {
        let pairs: Vec<_> = group.iter().map(|text| ("k", text.as_str())).collect();
        let kept = spool.append(&records(&pairs)).expect("written");
        assert!(kept.iter().all(|kept| *kept));
    }
    let first = spool.read(100, usize::MAX).expect("read");
    assert_eq!(lines(&first), texts[..100]);
    spool.remove(&first).expect("removed");
    let bytes = spool.bytes();
    drop(spool);

    let mut spool = open(folder.path(), LIMIT);
    assert_eq!((spool.records(), spool.bytes()), (500, bytes));
    let all = spool.read(usize::MAX, usize::MAX).expect("read");
    assert_eq!(lines(&all), texts[100..]);
    assert!(spool.read(9, 9).expect("read").is_empty(), "each is read once");
    spool.remove(&all).expect("removed");
    assert_eq!((spool.records(), spool.bytes()), (0, 0));
    assert_eq!(spool.oldest().expect("read"), None);
    spool.append(&records(&[("k", "new")])).expect("written");
    assert!(spool.oldest().expect("read").is_some());
    assert_eq!(lines(&spool.read(9, 9).expect("read")), ["new"]);
}

#[test]
fn a_full_spool_keeps_nothing_more_and_lets_no_record_overtake() {
    let folder = tempfile::tempdir().expect("a folder");
    let room_for_two = 2 * (OVERHEAD + 11);
    let mut spool = open(folder.path(), room_for_two);
    let (long, short) = ("0123456789", "0");
    let all = records(&[
        ("a", long),
        ("b", &long.repeat(20)),
        ("b", short),
        ("a", long),
        ("c", long),
    ]);
    let kept = spool.append(&all).expect("written");
    assert_eq!(kept, [true, false, false, true, false]);
    assert_eq!((spool.records(), spool.bytes()), (2, room_for_two));
    let read = spool.read(1, usize::MAX).expect("read");
    spool.remove(&read).expect("removed");
    assert_eq!(spool.append(&records(&[("c", short)])).expect("written"), [true]);
}

#[test]
fn a_folder_in_use_or_unusable_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let _first = open(folder.path(), LIMIT);
    let second = Spool::open(folder.path(), LIMIT, |_| ());
    assert!(matches!(second.err(), Some(SpoolError::Locked { .. })));
    let file = folder.path().join("file");
    fs::write(&file, "").expect("written");
    let below = Spool::open(&file.join("below"), LIMIT, |_| ());
    assert!(matches!(below.err(), Some(SpoolError::Folder { .. })));
}

#[test]
fn opening_again_removes_what_was_not_acknowledged() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut spool = open(folder.path(), LIMIT);
    spool.append(&records(&[("a", "1")])).expect("written");
    // As if the second write had reached the disk and its fsync had failed.
    let (next, bytes) = (spool.next, spool.bytes);
    spool.append(&records(&[("a", "2")])).expect("written");
    (spool.next, spool.bytes, spool.records) = (next, bytes, 1);
    spool.recover().expect("opened again");
    spool.append(&records(&[("a", "3")])).expect("written");
    assert_eq!(lines(&spool.read(9, usize::MAX).expect("read")), ["1", "3"]);
}

const BLOCK: usize = 4096;
const ZEROS: [u8; BLOCK] = [0; BLOCK];

/// The journal, and where what was written to it ends: the rest of the file is zeros.
fn journal(folder: &Path) -> (PathBuf, u64) {
    let mut files: Vec<_> = fs::read_dir(folder)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "jnl"))
        .collect();
    files.sort();
    let path = files.pop().expect("a journal");
    let content = fs::read(&path).expect("readable");
    // Block by block: byte by byte takes a second for a journal's 64 MiB without optimisation.
    let written = |block: &[u8]| *block != ZEROS[..block.len()];
    let block = content.chunks(BLOCK).rposition(written).expect("written") * BLOCK;
    let mut last = content[block..].iter().take(BLOCK);
    let end = block + last.rposition(|byte| *byte != 0).expect("written") + 1;
    (path, end as u64)
}

#[test]
fn a_torn_tail_takes_only_itself_along() {
    for torn in [Torn::CutOff, Torn::Zeroed] {
        let whole = last_group(torn, 0).1;
        assert!(whole > 100, "the last group has {whole} bytes");
        for length in [1, 2, 3, 8, 9, 13, 40, whole / 2, whole - 1, whole] {
            let (lines, _) = last_group(torn, length);
            assert_eq!(lines, ["first", "second", "after"], "{torn:?}, {length} bytes");
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Torn {
    CutOff,
    Zeroed,
}

/// Writes two groups and then a third, of which the last `length` bytes do not get to the disk; goes
/// on with a fourth. What is there in the end, and how long the third group was.
fn last_group(torn: Torn, length: u64) -> (Vec<String>, u64) {
    let folder = tempfile::tempdir().expect("a folder");
    let mut spool = open(folder.path(), LIMIT);
    spool.append(&records(&[("a", "first")])).expect("written");
    spool.append(&records(&[("b", "second")])).expect("written");
    let (_, before) = journal(folder.path());
    let last = "x".repeat(40);
    let third = records(&[("a", &last), ("b", &last), ("c", &last)]);
    spool.append(&third).expect("written");
    drop(spool);
    let (path, end) = journal(folder.path());
    let mut file = OpenOptions::new().write(true).open(&path).expect("writable");
    if length > 0 {
        match torn {
            Torn::CutOff => file.set_len(end - length).expect("cut off"),
            Torn::Zeroed => {
                file.seek(SeekFrom::Start(end - length)).expect("there");
                let zeros = vec![0; usize::try_from(length).expect("short")];
                file.write_all(&zeros).expect("written");
            }
        }
    }
    drop(file);

    let mut spool = open(folder.path(), LIMIT);
    spool.append(&records(&[("a", "after")])).expect("written");
    drop(spool);
    let mut spool = open(folder.path(), LIMIT);
    let read = spool.read(usize::MAX, usize::MAX).expect("read");
    let lines = lines(&read).into_iter().map(str::to_owned).collect();
    (lines, end - before)
}

#[test]
fn dead_records_are_put_aside_and_sent_again_or_discarded_when_a_person_says_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut spool = open(folder.path(), LIMIT);
    spool
        .append(&records(&[("a", "1"), ("b", "2"), ("a", "3")]))
        .expect("written");
    let bytes = spool.bytes();
    let mut read = spool.read(9, usize::MAX).expect("read");
    let third = read.pop().expect("three");
    spool.bury(&read).expect("moved");
    spool.bury(&read[..0]).expect("nothing");
    assert_eq!((spool.records(), spool.dead(), spool.bytes()), (1, 2, bytes));
    spool.remove(&[third]).expect("removed");
    drop(spool);

    let mut spool = open(folder.path(), LIMIT);
    assert_eq!((spool.records(), spool.dead()), (0, 2));
    let dead: Vec<_> = spool
        .dead_records()
        .expect("read")
        .map(|dead| dead.expect("an entry"))
        .collect();
    assert_eq!(dead.iter().map(|dead| dead.sequence).collect::<Vec<_>>(), [0, 1]);
    spool.append(&records(&[("a", "4")])).expect("written");
    assert_eq!(spool.revive().expect("moved"), 2);
    assert_eq!((spool.records(), spool.dead()), (3, 0));
    assert_eq!(lines(&spool.read(9, usize::MAX).expect("read")), ["4", "1", "2"]);
    drop(spool);

    let mut spool = open(folder.path(), LIMIT);
    let read = spool.read(9, usize::MAX).expect("read");
    spool.bury(&read[1..]).expect("moved");
    assert_eq!(spool.discard().expect("deleted"), 2);
    spool.remove(&read[..1]).expect("removed");
    assert_eq!((spool.records(), spool.dead(), spool.bytes()), (0, 0, 0));
}

#[test]
fn a_burial_that_is_tried_again_loses_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut spool = open(folder.path(), LIMIT);
    spool.append(&records(&[("a", "1")])).expect("written");
    let read = spool.read(9, usize::MAX).expect("read");
    spool.bury(&read).expect("moved");
    // As if the first try had reached the disk and failed all the same.
    (spool.records, spool.dead) = (1, 0);
    spool.bury(&read).expect("moved");
    assert_eq!((spool.records(), spool.dead()), (0, 1));
    drop(spool);
    assert_eq!(open(folder.path(), LIMIT).dead(), 1);
}

#[test]
fn damage_before_the_end_is_said_and_changes_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut spool = open(folder.path(), LIMIT);
    for line in ["first", "second", "third"] {
        spool.append(&records(&[("a", line)])).expect("written");
    }
    drop(spool);
    let (path, _) = journal(folder.path());
    let mut content = fs::read(&path).expect("readable");
    let at = content
        .windows(5)
        .position(|bytes| bytes == b"first")
        .expect("it is there");
    content[at] ^= 1;
    fs::write(&path, &content).expect("written");

    let error = Spool::open(folder.path(), LIMIT, |_| ()).err().expect("damaged");
    assert!(matches!(error, SpoolError::Damaged { .. }), "{error:?}");
    let text = error.to_string();
    let named = folder.path().to_str().expect("UTF-8");
    assert!(
        text.contains(named) && text.contains("move the folder aside"),
        "{text}"
    );
    assert_eq!(fs::read(&path).expect("readable"), content);
}
