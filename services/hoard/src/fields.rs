//! The partition of a line: the values of a few fields at its top, taken by the same scan that proves
//! that it is one JSON object. No tree is built; what is not asked for is skipped.

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::line::BadRecord;
use crate::prefix::{Partition, is_valid_value};

/// Checks that `text` is one JSON object and reads the values of `fields`. Escapes are decoded before
/// names are compared, and a name given twice is refused: readers disagree about which one counts.
pub fn partition(text: &str, fields: &[String]) -> Result<Partition, BadRecord> {
    let mut json = serde_json::Deserializer::from_str(text);
    let found = json.deserialize_map(TopLevel(fields));
    let found = found.and_then(|found| json.end().map(|()| found));
    let mut values = Vec::with_capacity(fields.len());
    for value in found.map_err(|_| BadRecord::NotJson)? {
        match value {
            None => return Err(BadRecord::NoPartition),
            Some(Found::Unusable) => return Err(BadRecord::BadPartition),
            Some(Found::Value(value)) => values.push(value),
        }
    }
    Ok(Partition::of(&values))
}

/// What stands under the name of a field.
enum Found {
    Value(String),
    /// No text nor whole number, or one that may not stand in a key, or the name stands twice.
    Unusable,
}

/// An object, of which the named fields are kept.
struct TopLevel<'a>(&'a [String]);

impl<'de> Visitor<'de> for TopLevel<'_> {
    type Value = Vec<Option<Found>>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found: Self::Value = self.0.iter().map(|_| None).collect();
        while let Some(index) = map.next_key_seed(Name(self.0))? {
            match index.and_then(|index| found.get_mut(index)) {
                Some(slot) => {
                    let value = map.next_value_seed(Value)?;
                    *slot = Some(if slot.is_none() { value } else { Found::Unusable });
                }
                None => {
                    let IgnoredAny = map.next_value()?;
                }
            }
        }
        Ok(found)
    }
}

/// A name, as the index of the field that it is.
struct Name<'a>(&'a [String]);

impl<'de> DeserializeSeed<'de> for Name<'_> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, name: D) -> Result<Self::Value, D::Error> {
        name.deserialize_str(self)
    }
}

impl Visitor<'_> for Name<'_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.0.iter().position(|field| field == name))
    }
}

/// A value that may become part of a key.
struct Value;

impl<'de> DeserializeSeed<'de> for Value {
    type Value = Found;

    fn deserialize<D: Deserializer<'de>>(self, value: D) -> Result<Found, D::Error> {
        value.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Value {
    type Value = Found;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("any value")
    }

    fn visit_str<E>(self, value: &str) -> Result<Found, E> {
        Ok(if is_valid_value(value) {
            Found::Value(value.to_owned())
        } else {
            Found::Unusable
        })
    }

    fn visit_u64<E>(self, value: u64) -> Result<Found, E> {
        Ok(Found::Value(value.to_string()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Found, E> {
        Ok(Found::Value(value.to_string()))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Found, E> {
        Ok(Found::Unusable)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Found, E> {
        Ok(Found::Unusable)
    }

    fn visit_unit<E>(self) -> Result<Found, E> {
        Ok(Found::Unusable)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Found, A::Error> {
        while let Some(IgnoredAny) = items.next_element()? {}
        Ok(Found::Unusable)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Found, A::Error> {
        while let Some((IgnoredAny, IgnoredAny)) = map.next_entry()? {}
        Ok(Found::Unusable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(text: &str) -> Result<Partition, BadRecord> {
        partition(text, &["p".to_owned(), "c".to_owned()])
    }

    fn values(values: &[&str]) -> Partition {
        Partition::of(&values.iter().map(|&value| value.to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn values_are_found_wherever_they_stand_at_the_top() {
        let cases = [
            (r#"{"p":"acme","c":"CN"}"#, ["acme", "CN"]),
            (
                r#"{"a":{"p":"x"},"c":7,"b":[1,{"c":2}],"p":"acme"}"#,
                ["acme", "7"],
            ),
            (r#"{"\u0070":"ac\u006de","c":-7}"#, ["acme", "-7"]),
        ];
        for (text, expected) in cases {
            assert_eq!(of(text), Ok(values(&expected)), "{text}");
        }
    }

    #[test]
    fn what_has_no_value_or_an_unsafe_one_is_named() {
        let cases = [
            (r#"{"p":"acme"}"#, BadRecord::NoPartition),
            (r#"{"a":{"p":"acme"},"c":"CN"}"#, BadRecord::NoPartition),
            (r#"{"p":"../other","c":"CN"}"#, BadRecord::BadPartition),
            (r#"{"p":"a/b","c":"CN"}"#, BadRecord::BadPartition),
            (r#"{"p":"a\u002fb","c":"CN"}"#, BadRecord::BadPartition),
            (r#"{"p":"","c":"CN"}"#, BadRecord::BadPartition),
            (r#"{"p":null,"c":"CN"}"#, BadRecord::BadPartition),
            (r#"{"p":true,"c":"CN"}"#, BadRecord::BadPartition),
            (r#"{"p":1.5,"c":"CN"}"#, BadRecord::BadPartition),
            (r#"{"p":["acme",[[]]],"c":"CN"}"#, BadRecord::BadPartition),
            (r#"{"p":{"p":"acme"},"c":"CN"}"#, BadRecord::BadPartition),
            (r#"{"p":"acme","c":"CN","p":"acme"}"#, BadRecord::BadPartition),
            (
                r#"{"p":"acme","c":"CN","\u0070":"other"}"#,
                BadRecord::BadPartition,
            ),
            (r#"{"p":"acme","c":"CN"} {}"#, BadRecord::NotJson),
            (r#"{"p":"acme","c":"CN",}"#, BadRecord::NotJson),
        ];
        for (text, reason) in cases {
            assert_eq!(of(text), Err(reason), "{text}");
        }
    }

    #[test]
    fn nesting_however_deep_ends_neither_the_program_nor_the_record() {
        let deep = format!("{}1{}", "{\"p\":".repeat(100_000), "}".repeat(100_000));
        assert_eq!(of(&deep), Err(BadRecord::BadPartition));
        let beside = format!(
            "{{\"x\":{}{},\"p\":\"acme\",\"c\":\"CN\"}}",
            "[".repeat(100_000),
            "]".repeat(100_000)
        );
        assert_eq!(of(&beside), Ok(values(&["acme", "CN"])));
    }

    proptest! {
        /// The values are those that a full parser finds.
        #[test]
        fn a_full_parser_agrees(p in "[a-z0-9]{1,8}", c in any::<i32>(), noise in "[ -~]{0,20}") {
            let value = serde_json::json!({"noise": noise, "p": p, "more": [noise], "c": c});
            prop_assert_eq!(of(&value.to_string()), Ok(values(&[&p, &c.to_string()])));
        }
    }
}
