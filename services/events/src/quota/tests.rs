use super::*;
use crate::credentials::tests::client;

fn quota(text: &str) -> Option<Quota> {
    Some(text.parse().expect("a quota"))
}

fn wait(result: Result<(), Refusal>) -> (Scope, Duration) {
    match result {
        Err(Refusal::OverQuota { scope, wait }) => (scope, wait),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_quota_has_one_spelling() {
    for (text, shown) in [("5", "5:5"), ("10:500", "10:500"), ("100000000:1", "100000000:1")] {
        assert_eq!(text.parse::<Quota>().expect("a quota").to_string(), shown);
    }
    for text in [
        "",
        "0",
        "1:0",
        ":5",
        "5:",
        "+5",
        "-1",
        "1.5",
        "5:5:5",
        "100000001",
        "5/s",
        " 5",
    ] {
        text.parse::<Quota>().expect_err(text);
    }
}

#[test]
fn a_client_has_its_burst_and_then_its_rate() {
    let quotas = Quotas::new(QuotaSettings {
        client: quota("10:20"),
        partner: None,
    });
    let (start, second) = (Instant::now(), Duration::from_secs(1));
    let (one, other) = (client("one", None, None), client("other", None, None));
    quotas.charge(&one, 20, start).expect("the burst");
    let refused = wait(quotas.charge(&one, 5, start));
    assert_eq!(refused, (Scope::Client, second / 2));
    quotas.charge(&other, 20, start).expect("each has its own");
    quotas.charge(&one, 5, start + second / 2).expect("as told");
    wait(quotas.charge(&one, 1, start + second / 2));
    quotas.charge(&one, 20, start + second * 60).expect("full again");
    wait(quotas.charge(&one, 1, start + second * 60));
}

#[test]
fn a_request_larger_than_the_burst_gets_through_and_owes() {
    let quotas = Quotas::new(QuotaSettings {
        client: quota("100:10"),
        partner: None,
    });
    let (start, client) = (Instant::now(), client("one", None, None));
    quotas.charge(&client, 1, start).expect("one");
    let (_, until_full) = wait(quotas.charge(&client, 500, start));
    assert_eq!(until_full, Duration::from_millis(10));
    let full = start + until_full;
    quotas.charge(&client, 500, full).expect("as told");
    let (_, owed) = wait(quotas.charge(&client, 1, full));
    assert_eq!(owed, Duration::from_millis(4_910), "490 owed and one to come");
    quotas.charge(&client, 1, full + owed).expect("paid back");
}

#[test]
fn clients_of_a_partner_share_its_quota_and_a_refusal_charges_neither() {
    let quotas = Quotas::new(QuotaSettings {
        client: quota("10"),
        partner: quota("15"),
    });
    let start = Instant::now();
    let (one, other) = (client("one", None, None), client("other", None, None));
    quotas.charge(&one, 10, start).expect("within both");
    let refused = wait(quotas.charge(&other, 10, start));
    assert_eq!(refused, (Scope::Partner, Duration::from_nanos(333_333_333)));
    quotas.charge(&other, 5, start).expect("nothing was charged");
    assert_eq!(
        wait(quotas.charge(&one, 10, start)).0,
        Scope::Client,
        "the longer wait"
    );
}

#[test]
fn the_credentials_file_says_otherwise_and_its_reload_forgets_no_debt() {
    let quotas = Quotas::new(QuotaSettings {
        client: quota("1"),
        partner: None,
    });
    let start = Instant::now();
    quotas
        .charge(&client("one", quota("50"), None), 50, start)
        .expect("its own");
    let reloaded = client("one", quota("50"), None);
    let (_, owed) = wait(quotas.charge(&reloaded, 10, start));
    assert_eq!(owed, Duration::from_millis(200));
    let other = client("other", quota("100"), quota("5:50"));
    quotas.charge(&other, 50, start).expect("its partner's own");
    let refused = wait(quotas.charge(&other, 1, start));
    assert_eq!(refused, (Scope::Partner, Duration::from_millis(200)));
}

#[test]
fn without_a_quota_nothing_is_kept() {
    let quotas = Quotas::new(QuotaSettings::default());
    let client = client("one", None, None);
    for _ in 0..100 {
        quotas.charge(&client, 10_000, Instant::now()).expect("no quota");
    }
    assert!(quotas.buckets.lock().expect("no panic").clients.is_empty());
}
