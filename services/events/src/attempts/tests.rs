use proptest::prelude::*;

use super::*;

const REFILL: Duration = Duration::from_secs(1);

fn attempts(burst: u32) -> FailedAttempts {
    let settings = AttemptSettings {
        burst,
        refill: REFILL,
    };
    let metrics = Metrics::register(&prometheus::Registry::new()).expect("a new registry");
    FailedAttempts::new(&settings, Arc::new(metrics))
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

#[test]
fn a_burst_may_fail_and_then_one_each_refill() {
    let attempts = attempts(3);
    let (address, start) = (ip("192.0.2.1"), Instant::now());
    for _ in 0..3 {
        attempts.check(address, start).expect("a token is left");
        attempts.failed(address, start);
    }
    let wait = REFILL;
    assert_eq!(
        attempts.check(address, start),
        Err(Refusal::TooManyFailures { wait })
    );
    attempts
        .check(ip("192.0.2.2"), start)
        .expect("another address has its own");
    let later = start + REFILL;
    attempts.check(address, later).expect("one is back");
    attempts.failed(address, later);
    attempts.check(address, later).expect_err("and gone again");
    let full = start + REFILL * 10;
    for _ in 0..3 {
        attempts.check(address, full).expect("no more than the burst");
        attempts.failed(address, full);
    }
    attempts
        .check(address, full)
        .expect_err("the burst is all there is");
}

#[test]
fn attempts_that_fail_at_the_same_time_do_not_lock_out_for_longer() {
    let attempts = attempts(3);
    let (address, start) = (ip("192.0.2.1"), Instant::now());
    for _ in 0..1_000 {
        attempts.failed(address, start);
    }
    attempts.check(address, start).expect_err("empty");
    attempts.check(address, start + REFILL).expect("one is back");
}

#[test]
fn memory_is_bounded_and_the_quietest_address_is_forgotten() {
    let attempts = attempts(1);
    let now = Instant::now();
    let address = |number: u32| IpAddr::V4(number.into());
    let most = u32::try_from(ADDRESSES.get()).expect("few");
    for number in 0..=most {
        attempts.failed(address(number), now);
    }
    assert_eq!(attempts.lock().len(), ADDRESSES.get());
    attempts.check(address(0), now).expect("forgotten");
    attempts.check(address(1), now).expect_err("remembered");
}

#[test]
fn an_ipv6_address_stands_for_its_network() {
    let attempts = attempts(1);
    let now = Instant::now();
    attempts.failed(ip("2001:db8:1:2::1"), now);
    attempts
        .check(ip("2001:db8:1:2:3:4:5:6"), now)
        .expect_err("the same customer");
    attempts.check(ip("2001:db8:1:3::1"), now).expect("another one");
    attempts.failed(ip("::ffff:192.0.2.1"), now);
    attempts
        .check(ip("192.0.2.1"), now)
        .expect_err("an IPv4 address in another dress");
}

proptest! {
    /// Whatever the times, no more attempts are let in and fail than the burst and the refills allow.
    #[test]
    fn the_rate_is_never_exceeded(burst in 1u32..6, pauses in prop::collection::vec(0u64..2_500, 1..80)) {
        let attempts = attempts(burst);
        let (address, start) = (ip("192.0.2.1"), Instant::now());
        let mut elapsed = Duration::ZERO;
        let mut failed = 0;
        for pause in pauses {
            elapsed += Duration::from_millis(pause);
            if attempts.check(address, start + elapsed).is_ok() {
                attempts.failed(address, start + elapsed);
                failed += 1;
            }
            prop_assert!(failed <= u64::from(burst) + elapsed.as_secs());
        }
    }
}
