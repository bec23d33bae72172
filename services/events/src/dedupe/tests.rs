use prometheus::Registry;
use proptest::prelude::*;
use tokio::sync::oneshot::Receiver;

use super::*;
use crate::{credentials::tests::client, metrics::Metrics, submission::tests::tickets};

const WINDOW: Duration = Duration::from_secs(600);

fn window(events: usize) -> Arc<Window> {
    let metrics = Metrics::register(&Registry::new()).expect("a new registry");
    let settings = DedupeSettings {
        window: WINDOW,
        events,
    };
    Arc::new(Window::new(settings, metrics.dedupe))
}

fn id(number: usize) -> EventId {
    let text = format!("0192f0c1-7a3e-7c54-9f0e-{number:012}");
    text.parse().expect("a UUID")
}

/// One request of the client `name` with these ids, and what is to be sent of it.
fn enter(
    window: &Arc<Window>,
    name: &str,
    ids: &[Option<EventId>],
    now: Instant,
) -> (Vec<Option<Ticket>>, Receiver<Vec<Settled>>) {
    let (tickets, answer) = tickets(ids.len());
    let events = ids.iter().copied().zip(tickets);
    (window.enter(&client(name, None, None), events, now), answer)
}

/// One event that is sent and settled so.
fn sent(window: &Arc<Window>, number: usize, settled: Settled, now: Instant) {
    let (mut tickets, _) = enter(window, "one", &[Some(id(number))], now);
    let ticket = tickets.remove(0).expect("it is to be sent");
    ticket.settle(settled);
}

/// What an event is answered at once that is not sent; none if it is.
fn answered(window: &Arc<Window>, name: &str, number: usize, now: Instant) -> Option<Settled> {
    let (tickets, mut answer) = enter(window, name, &[Some(id(number))], now);
    let unsent = tickets[0].is_none();
    unsent.then(|| answer.try_recv().expect("answered at once")[0])
}

#[test]
fn what_was_accepted_is_a_duplicate_inside_the_window_and_for_its_client_alone() {
    let (window, now) = (window(100), Instant::now());
    sent(&window, 1, Settled::Published, now);
    sent(&window, 2, Settled::Spooled, now);
    sent(&window, 3, Settled::Retry, now);
    let duplicate = |durability| Some(Settled::Duplicate(durability));
    assert_eq!(answered(&window, "one", 1, now), duplicate(Durability::Published));
    assert_eq!(answered(&window, "one", 2, now), duplicate(Durability::Spooled));
    assert_eq!(answered(&window, "one", 3, now), None, "a retry is to be sent");
    assert_eq!(answered(&window, "other", 1, now), None, "another client's");
    let inside = now + WINDOW - Duration::from_secs(1);
    assert_eq!(
        answered(&window, "one", 1, inside),
        duplicate(Durability::Published)
    );
    let after = Instant::now() + WINDOW;
    assert_eq!(answered(&window, "one", 1, after), None, "the window is over");
}

#[test]
fn whoever_comes_while_it_is_in_progress_shares_its_end() {
    for (settled, expected) in [
        (Settled::Published, Settled::Duplicate(Durability::Published)),
        (Settled::Spooled, Settled::Duplicate(Durability::Spooled)),
        (Settled::Retry, Settled::Retry),
    ] {
        let (window, now) = (window(100), Instant::now());
        // In one request, and in another.
        let (mut first, mut answer) = enter(&window, "one", &[Some(id(1)), None, Some(id(1))], now);
        assert_eq!(
            first.iter().map(Option::is_some).collect::<Vec<_>>(),
            [true, true, false]
        );
        let (second, mut other_answer) = enter(&window, "one", &[Some(id(1))], now);
        assert!(second[0].is_none());
        other_answer.try_recv().expect_err("it waits");
        first.remove(1).expect("to be sent").settle(Settled::Published);
        first.remove(0).expect("to be sent").settle(settled);
        assert_eq!(other_answer.try_recv().expect("answered"), [expected]);
        assert_eq!(
            answer.try_recv().expect("answered"),
            [settled, Settled::Published, expected]
        );
    }
}

#[test]
fn one_that_gets_lost_lets_nobody_wait_and_is_sent_again() {
    let (window, now) = (window(100), Instant::now());
    let (lost, _) = enter(&window, "one", &[Some(id(1))], now);
    let (_, mut answer) = enter(&window, "one", &[Some(id(1))], now);
    drop(lost);
    assert_eq!(answer.try_recv().expect("answered"), [Settled::Retry]);
    assert_eq!(answered(&window, "one", 1, now), None);
}

#[test]
fn the_oldest_are_forgotten_when_there_are_too_many_and_it_shows() {
    let (window, now) = (window(100), Instant::now());
    for number in 0..250 {
        sent(&window, number, Settled::Published, now);
        let seen = window.lock();
        assert!(seen.accepted.len() <= 100 && seen.events.len() == seen.accepted.len());
    }
    assert_eq!(window.metrics.shown(), (100, 150));
    assert_eq!(answered(&window, "one", 149, now), None);
    assert!(answered(&window, "one", 150, now).is_some());
    answered(&window, "one", 0, Instant::now() + WINDOW);
    assert_eq!(window.metrics.shown(), (0, 150), "the rest had their time");
}

#[test]
fn after_a_quiet_hour_nobody_waits_for_all_to_be_forgotten() {
    let (window, now) = (window(10_000), Instant::now());
    for number in 0..3_000 {
        sent(&window, number, Settled::Published, now);
    }
    let later = Instant::now() + WINDOW;
    // The last of them is not forgotten yet, and is an event again all the same.
    let (mut tickets, _) = enter(&window, "one", &[Some(id(2_999))], later);
    assert_eq!(window.metrics.shown(), (2_000, 0));
    tickets.remove(0).expect("to be sent").settle(Settled::Retry);
    for left in [1_000, 0, 0] {
        assert_eq!(answered(&window, "one", 2_999, later), None);
        assert_eq!(window.metrics.shown(), (left, 0));
    }
    assert!(window.lock().events.is_empty(), "nor is anything left behind");
}

#[test]
fn what_the_spool_holds_comes_back() {
    let (window, now) = (window(100), Instant::now());
    for line in [
        format!(
            r#"{{"partnerid":"northwind","clientid":"one","a":1,"eventid":"{}"}}"#,
            id(1)
        ),
        format!(
            r#"{{"partnerid":"northwind","clientid":"one","event\u0069d":"{}"}}"#,
            id(2)
        )
        .replace("0192", "\\u00301\\u00392"),
        r#"{"partnerid":"northwind","clientid":"one"}"#.to_owned(),
        "not a line of ours".to_owned(),
    ] {
        window.restore(line.as_bytes(), now);
    }
    let spooled = Some(Settled::Duplicate(Durability::Spooled));
    assert_eq!(answered(&window, "one", 1, now), spooled);
    assert_eq!(answered(&window, "one", 2, now), spooled);
    assert_eq!(answered(&window, "other", 1, now), None);
}

proptest! {
    /// Whatever comes, in whatever order it ends: an id is sent once at a time, what is called a
    /// duplicate was accepted before, and everyone is answered.
    #[test]
    fn nothing_is_a_duplicate_that_is_not_durable(
        steps in prop::collection::vec((0usize..4, 0usize..4, any::<bool>()), 1..80),
    ) {
        let (window, now) = (window(3), Instant::now());
        let mut in_progress: Vec<(usize, Ticket)> = Vec::new();
        let mut accepted = std::collections::BTreeSet::new();
        let mut waiting = Vec::new();
        for (number, end, comes) in steps {
            if comes {
                let (mut tickets, answer) = enter(&window, "one", &[Some(id(number))], now);
                if let Some(ticket) = tickets.remove(0) {
                    prop_assert!(in_progress.iter().all(|(other, _)| *other != number));
                    in_progress.push((number, ticket));
                } else {
                    waiting.push((number, answer));
                }
            } else if !in_progress.is_empty() {
                let (number, ticket) = in_progress.remove(end % in_progress.len());
                match end {
                    0 => drop(ticket),
                    1 => ticket.settle(Settled::Retry),
                    2 => {
                        accepted.insert(number);
                        ticket.settle(Settled::Published);
                    }
                    _ => {
                        accepted.insert(number);
                        ticket.settle(Settled::Spooled);
                    }
                }
            }
            let mut still = Vec::new();
            for (number, mut answer) in waiting {
                match answer.try_recv() {
                    Ok(settled) => match settled[0] {
                        Settled::Duplicate(_) => prop_assert!(accepted.contains(&number)),
                        other => prop_assert_eq!(other, Settled::Retry),
                    },
                    Err(_) => {
                        prop_assert!(in_progress.iter().any(|(other, _)| *other == number));
                        still.push((number, answer));
                    }
                }
            }
            waiting = still;
            prop_assert!(window.lock().accepted.len() <= 3);
        }
    }
}
