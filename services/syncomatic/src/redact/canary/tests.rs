use proptest::prelude::*;

use super::*;

fn found(text: &str) -> Vec<Pattern> {
    Canary::shared().scan(text, Content::Text).patterns().collect()
}

#[test]
fn what_is_shaped_like_personal_data_is_found() {
    use Pattern::{Card, ChineseId, Email, Ipv4, Ipv6, Mac, Phone};
    for (text, pattern) in [
        ("jane.doe+x@example.org", Email),
        ("mail to <o'neil@mail.example.co.uk>.", Email),
        ("jane%40example.org", Email),
        ("jane＠example.org", Email),
        ("用户@例子.公司", Email),
        ("+4917012345678", Phone),
        ("call +1 (555) 123-4567 now", Phone),
        ("+86 138 1234 5678", Phone),
        ("13812345678", Phone),
        ("tel.138-1234-5678.", Phone),
        ("008613812345678", Phone),
        ("１３８１２３４５６７８", Phone),
        ("203.0.113.7", Ipv4),
        ("from 10.1.2.3:8080", Ipv4),
        ("::ffff:203.0.113.7", Ipv4),
        ("1.2.3.4", Ipv4),
        ("2001:db8::1", Ipv6),
        ("[2001:db8:0:0:0:0:2:1]:443", Ipv6),
        ("fe80::1%eth0", Ipv6),
        ("00:1A:2b:3c:4d:5e", Mac),
        ("00-1A-2b-3c-4d-5e", Mac),
        ("11010519491231002X", ChineseId),
        ("id 440524188001010014.", ChineseId),
        ("4111 1111 1111 1111", Card),
        ("4111111111111111", Card),
        ("378282246310005", Card),
        ("6212345678901232", Card),
        ("x 1234567890123 4111111111111111", Card),
    ] {
        assert_eq!(found(text), [pattern], "{text}");
    }
}

#[test]
fn what_only_resembles_it_is_not() {
    for text in [
        "",
        "Northern Lights",
        "2026-03-02T19:02:11.408Z",
        "2026-03-02T19:02:11.408+08:00",
        "2026-03-02 19:02:11 +10:00",
        "19:02:11",
        "0192f0c1-7a3e-7c54-9f0e-3b6d5a2c0001",
        "11111111-1111-1111-1111-111111111111",
        "1767225600",
        "1767225600000",
        "1767225600000000",
        "20260302190211408",
        "49664512345678901234567890123456789012345678901234567890",
        "2026/11/23/events-shardId-000000000000-49664512345678901234567890123456789012345678901234567890.jsonl.gz",
        "v1.2.3.4",
        "1.2.3",
        "1.2.3.4-rc1",
        "1.2.3.4.5",
        "256.1.1.1",
        "127.0.0.1",
        "1.2.3+20260302",
        "std::net::a",
        "a::b",
        "::1",
        "0.13812345678",
        "138123456789",
        "a13812345678",
        "187.4",
        "4111111111111112",
        "1111111111111117",
        "110105194912310021",
        "@handle",
        "a@b",
        "spk-4f21a9",
        "100% cotton + 50% linen",
    ] {
        assert_eq!(found(text), [], "{text}");
    }
}

#[test]
fn four_numbers_are_a_version_where_versions_stand() {
    let canary = Canary::shared();
    assert_eq!(Content::of_field("firmware"), Content::Version);
    assert_eq!(Content::of_field("appversion"), Content::Version);
    assert_eq!(Content::of_field("track"), Content::Text);
    assert!(canary.scan("10.4.0.11", Content::Version).is_empty());
    assert!(!canary.scan("jane@example.org", Content::Version).is_empty());
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in any::<String>()) {
        let _ = Canary::shared().scan(&text, Content::Text);
    }

    #[test]
    fn an_address_is_found_wherever_it_stands(before in "[a-z ]{0,20}", user in "[a-z]{1,8}", behind in "[ ,;>)]{1}[a-z ]{0,20}") {
        let text = format!("{before} {user}@example.org{behind}");
        prop_assert!(found(&text).contains(&Pattern::Email));
    }

    #[test]
    fn a_random_number_is_no_identity_number_or_card(seed in any::<u64>()) {
        // 19 digits that begin with 1 are neither.
        let number = format!("1{:018}", seed % 1_000_000_000_000_000_000);
        prop_assert_eq!(found(&number), vec![]);
    }
}
