use super::*;

const FIRST: Code = *b"aa";
const SECOND: Code = *b"ab";

/// One event and everything that is known of it; each test spoils one thing.
struct Case {
    sent: Sent,
    lives: Vec<Life>,
    untold: HashSet<Position>,
    stream: Vec<Copy>,
    source: Vec<Vec<u8>>,
    destination: Vec<Vec<u8>>,
}

fn id() -> Uuid {
    Uuid::from_u128(7)
}

fn line(code: Code) -> Vec<u8> {
    let country = String::from_utf8_lossy(&code).into_owned();
    format!(r#"{{"eventid":"{}","countrycode":"{country}"}}"#, id()).into_bytes()
}

fn attempt(code: Code, life: usize, told: Told) -> Attempt {
    Attempt { code, life, told }
}

impl Case {
    /// Attempts, and the copies that came of them, a second apart.
    fn new(attempts: &[Attempt], copies: &[Code]) -> Self {
        let stream = copies.iter().zip(1_u64..).map(|(code, number)| Copy {
            position: ("shard".to_owned(), number.to_string()),
            arrived_ms: number * 1_000,
            line: line(*code),
            event: Some(id()),
            code: Some(*code),
        });
        let lines: Vec<_> = copies.iter().map(|code| line(*code)).collect();
        Self {
            sent: Sent {
                kind: Kind::New,
                order: None,
                attempts: attempts.to_vec(),
            },
            lives: vec![Life::default(), Life::default()],
            untold: HashSet::new(),
            stream: stream.collect(),
            source: lines.clone(),
            destination: lines,
        }
    }

    fn balance(&self) -> Balance {
        let sent = HashMap::from([(id(), self.sent.clone())]);
        let books = Books {
            sent: &sent,
            lives: &self.lives,
            untold: &self.untold,
            stream: &self.stream,
            source: &self.source,
            destination: &self.destination,
        };
        books.balance()
    }

    fn permitted(&self) -> Option<Cause> {
        let balance = self.balance();
        assert_eq!(balance.lost + balance.otherwise_wrong, 0, "{balance:?}");
        assert_eq!(
            balance.permitted.len() as u64 + balance.duplicated,
            1,
            "{balance:?}"
        );
        balance.permitted.into_keys().next()
    }
}

#[test]
fn accepted_once_and_there_once_is_clean() {
    let balance = Case::new(&[attempt(FIRST, 0, Told::Published)], &[FIRST]).balance();
    assert!(balance.is_clean(), "{balance:?}");
    assert_eq!((balance.published, balance.in_stream), (1, 1));
    assert_eq!((balance.source_lines, balance.destination_lines), (1, 1));
}

#[test]
fn what_was_accepted_and_is_not_there_is_lost_wherever_it_went() {
    for told in [Told::Published, Told::Spooled, Told::Duplicate] {
        assert_eq!(Case::new(&[attempt(FIRST, 0, told)], &[]).balance().lost, 1);
    }
    let mut case = Case::new(&[attempt(FIRST, 0, Told::Published)], &[FIRST]);
    case.destination.clear();
    assert_eq!(case.balance().lost, 1, "on its way to Europe");
    case.source.clear();
    assert_eq!(case.balance().lost, 1, "on its way to China's bucket");
}

#[test]
fn a_line_more_on_either_side_is_a_duplicate() {
    let mut case = Case::new(&[attempt(FIRST, 0, Told::Published)], &[FIRST]);
    case.destination.push(line(FIRST));
    assert_eq!(case.balance().duplicated, 1, "in Europe");
    case.source.push(line(FIRST));
    assert_eq!(case.balance().duplicated, 1, "in China");
}

#[test]
fn a_second_copy_of_one_attempt_needs_a_lost_answer_or_the_death_or_pause_of_its_process() {
    let case = || Case::new(&[attempt(FIRST, 0, Told::Published)], &[FIRST, FIRST]);
    assert_eq!(case().permitted(), None);

    let mut lost = case();
    lost.untold.insert(lost.stream[0].position.clone());
    assert_eq!(lost.permitted(), Some(Cause::AnswerLost));
    let mut lost = case();
    lost.untold.insert(lost.stream[1].position.clone());
    assert_eq!(lost.permitted(), None, "the first one's answer arrived");

    let mut killed = case();
    killed.lives[0].end = Some((End::Killed, 1_500));
    assert_eq!(killed.permitted(), Some(Cause::Killed));
    killed.lives[0].end = Some((End::Killed, 2_500));
    assert_eq!(killed.permitted(), None, "killed after the second one");
    killed.lives[0].end = Some((End::Drained, 1_500));
    assert_eq!(killed.permitted(), None, "a drain loses nothing");

    let mut paused = case();
    paused.lives[0].pauses.push((900, 1_100));
    assert_eq!(paused.permitted(), Some(Cause::Paused));
    paused.lives[0].pauses = vec![(100, 200), (2_100, 2_200)];
    assert_eq!(paused.permitted(), None, "before and after");
}

#[test]
fn a_second_attempt_may_be_stored_by_another_process_only() {
    let case = |told, life| {
        let attempts = [attempt(FIRST, 0, told), attempt(SECOND, life, Told::Published)];
        Case::new(&attempts, &[FIRST, SECOND])
    };
    assert_eq!(case(Told::Nothing, 1).permitted(), Some(Cause::OtherProcess));
    assert_eq!(case(Told::Published, 1).permitted(), Some(Cause::OtherProcess));
    assert_eq!(case(Told::Nothing, 0).permitted(), None, "inside the window");
    let twice = case(Told::Published, 0).balance();
    assert_eq!(twice.duplicated, 2, "accepted twice, and there twice: {twice:?}");

    let mut killed = case(Told::Nothing, 1);
    killed.lives[0].end = Some((End::Killed, 1_500));
    assert_eq!(killed.permitted(), Some(Cause::Killed));
}

#[test]
fn what_is_invalid_unknown_or_never_taken_is_told() {
    let mut invalid = Case::new(&[attempt(FIRST, 0, Told::Published)], &[FIRST]);
    invalid.sent.kind = Kind::Invalid;
    assert_eq!(invalid.balance().otherwise_wrong, 1);
    let rejected = Case::new(&[attempt(FIRST, 0, Told::Rejected)], &[]);
    assert_eq!(
        rejected.balance().otherwise_wrong,
        2,
        "rejected, and never accepted"
    );
    let mut unknown = Case::new(&[attempt(FIRST, 0, Told::Published)], &[FIRST]);
    unknown.stream[0].event = Some(Uuid::from_u128(8));
    let balance = unknown.balance();
    assert_eq!((balance.otherwise_wrong, balance.lost), (1, 1), "{balance:?}");
}

#[test]
fn the_order_of_a_device_is_that_of_the_first_copies() {
    let ids = [1, 2].map(Uuid::from_u128);
    let sent = ids.iter().zip(0..).map(|(id, number)| {
        let order = Some(("speaker".to_owned(), number));
        let attempts = vec![attempt(FIRST, 0, Told::Published)];
        (
            *id,
            Sent {
                kind: Kind::New,
                order,
                attempts,
            },
        )
    });
    let sent: HashMap<_, _> = sent.collect();
    let out_of_order = |order: &[usize]| {
        let stream = order.iter().map(|index| Copy {
            position: ("shard".to_owned(), index.to_string()),
            arrived_ms: 0,
            line: Vec::new(),
            event: Some(ids[*index]),
            code: Some(FIRST),
        });
        let stream: Vec<_> = stream.collect();
        let books = Books {
            sent: &sent,
            lives: &[Life::default()],
            untold: &HashSet::new(),
            stream: &stream,
            source: &[],
            destination: &[],
        };
        let mut balance = Balance::default();
        books.order(&mut balance);
        balance.otherwise_wrong
    };
    assert_eq!(out_of_order(&[0, 1, 0]), 0);
    assert_eq!(out_of_order(&[1, 0]), 1);
}
