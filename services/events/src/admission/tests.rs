use proptest::prelude::*;

use super::*;

/// A budget that is the platform's alone.
pub(crate) fn admission(bytes: usize, in_flight: &IntGauge) -> Admission {
    let budget = Budget {
        bytes,
        devices_percent: 100,
        apps_percent: 100,
        client_percent: 100,
    };
    Admission::new(budget, in_flight.clone())
}

pub(crate) fn admit(admission: &Admission, bytes: usize) -> Result<Admitted, Refusal> {
    admission.admit(&"platform".into(), Producer::Platform, bytes)
}

pub(crate) fn gauge() -> IntGauge {
    IntGauge::new("bytes", "bytes").expect("a gauge")
}

const FAIR: Budget = Budget {
    bytes: 100_000,
    devices_percent: 80,
    apps_percent: 90,
    client_percent: 50,
};

#[test]
fn the_budget_is_never_exceeded_and_always_given_back() {
    let in_flight = gauge();
    let admission = admission(10_000, &in_flight);
    let first = admit(&admission, 6_000).expect("there is room");
    assert_eq!(admit(&admission, 6_000).expect_err("full"), Refusal::Overloaded);
    assert_eq!(in_flight.get(), 6_000);
    drop(first);
    assert_eq!(in_flight.get(), 0);
    admit(&admission, 10_000).expect("all of it is back");
}

#[test]
fn a_share_grows_and_shrinks() {
    let in_flight = gauge();
    let admission = admission(10_000, &in_flight);
    let mut share = admit(&admission, 4_000).expect("there is room");
    share.resize(9_000).expect("there is room");
    assert_eq!(in_flight.get(), 9_000);
    assert_eq!(share.resize(10_001), Err(Refusal::Overloaded));
    assert_eq!(in_flight.get(), 9_000);
    share.resize(2_000).expect("less");
    assert_eq!(in_flight.get(), 2_000);
    let other = admit(&admission, 8_000).expect("the rest");
    drop((share, other));
    assert_eq!(in_flight.get(), 0);
}

#[test]
fn an_empty_request_costs_something() {
    let admission = admission(MIN_COST, &gauge());
    let _share = admit(&admission, 0).expect("there is room");
    admit(&admission, 0).expect_err("full");
}

#[test]
fn devices_are_shed_first_and_the_platform_last() {
    let admission = Admission::new(FAIR, gauge());
    let (device, app, platform) = ("device".into(), "app".into(), "platform".into());
    let _held = admission.admit(&"other".into(), Producer::Platform, 50_000);
    let _device = admission
        .admit(&device, Producer::Device, 30_000)
        .expect("to 80 %");
    let one_more = admission.admit(&device, Producer::Device, 1_024);
    assert_eq!(one_more.expect_err("above"), Refusal::Overloaded);
    let _app = admission.admit(&app, Producer::App, 10_000).expect("to 90 %");
    let one_more = admission.admit(&app, Producer::App, 1_024);
    assert_eq!(one_more.expect_err("above"), Refusal::Overloaded);
    let _platform = admission
        .admit(&platform, Producer::Platform, 10_000)
        .expect("to the last byte");
    admission
        .admit(&platform, Producer::Platform, 1_024)
        .expect_err("full");
}

#[test]
fn one_client_leaves_room_for_others() {
    let admission = Admission::new(FAIR, gauge());
    let (greedy, other) = ("greedy".into(), "other".into());
    let mut held = admission
        .admit(&greedy, Producer::Platform, 49_000)
        .expect("half");
    let more = admission.admit(&greedy, Producer::Platform, 1_024);
    assert_eq!(more.expect_err("its share is full"), Refusal::TooMuchInFlight);
    assert_eq!(held.resize(50_001), Err(Refusal::TooMuchInFlight));
    admission
        .admit(&other, Producer::Platform, 50_000)
        .expect("the other half");
    drop(held);
    admission
        .admit(&greedy, Producer::Platform, 50_000)
        .expect("given back");
    assert!(admission.0.lock().clients.is_empty(), "nobody is remembered");
}

#[test]
fn parts_are_exact_for_budgets_of_any_size() {
    let budget = |bytes| Budget { bytes, ..FAIR };
    assert_eq!(budget(150).for_client(), 75);
    assert_eq!(budget(usize::MAX).for_kind(Producer::Platform), usize::MAX);
    assert!(budget(usize::MAX).for_client() < usize::MAX / 2 + 100);
    assert_eq!(FAIR.for_anyone(), 50_000);
}

proptest! {
    /// Whatever comes and goes, the sums are those of what is held, within every limit.
    #[test]
    fn what_is_held_is_what_was_admitted(
        steps in prop::collection::vec((0usize..4, 0usize..3, 0usize..40_000, any::<bool>()), 1..60),
    ) {
        const KINDS: [Producer; 3] = [Producer::Device, Producer::App, Producer::Platform];
        let in_flight = gauge();
        let admission = Admission::new(FAIR, in_flight.clone());
        let mut shares: Vec<Admitted> = Vec::new();
        for (client, kind, bytes, grows) in steps {
            if grows && !shares.is_empty() {
                let last = shares.len() - 1;
                if shares[client % (last + 1)].resize(bytes).is_err() {
                    shares.remove(0);
                }
            } else if let Ok(share) = admission.admit(&format!("{client}").into(), KINDS[kind], bytes) {
                shares.push(share);
            }
            let sum: usize = shares.iter().map(|share| share.bytes).sum();
            prop_assert_eq!(in_flight.get(), to_gauge(sum));
            prop_assert!(sum <= FAIR.bytes);
            let held = admission.0.lock();
            prop_assert_eq!(held.bytes, sum);
            prop_assert!(held.clients.values().all(|own| *own <= FAIR.for_client() && *own > 0));
        }
        shares.clear();
        prop_assert!(admission.0.lock().clients.is_empty());
    }
}
