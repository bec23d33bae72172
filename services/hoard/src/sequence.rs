//! Names that Kinesis gives: sequence numbers and shard ids, checked once where they enter.
//!
//! A sequence number has up to 129 decimal digits, so it is kept as text and compared as a number
//! (<https://docs.aws.amazon.com/kinesis/latest/APIReference/API_Record.html>). Both names become
//! parts of object keys, which is why neither may hold anything but their documented alphabets.

use std::cmp::Ordering;
use std::fmt::{Display, Formatter};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The longest sequence number that the service documents, in digits.
const SEQUENCE_DIGITS_MAX: usize = 129;
/// The longest shard id that the service documents, in characters.
const SHARD_ID_LENGTH_MAX: usize = 128;

/// A record's place in its shard; within a shard strictly increasing.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SequenceNumber(Arc<str>);

/// A shard's name, `shardId-000000000000`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ShardId(Arc<str>);

/// A name that Kinesis cannot have given.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidName {
    /// Not `0` or up to 129 digits without a leading zero.
    #[error("not a sequence number: up to 129 digits without a leading zero are expected")]
    SequenceNumber,
    /// Not 1 to 128 of `a-z A-Z 0-9 _ . -`.
    #[error("not a shard id: 1 to 128 letters, digits, underscores, points and hyphens are expected")]
    ShardId,
}

impl TryFrom<String> for SequenceNumber {
    type Error = InvalidName;

    fn try_from(text: String) -> Result<Self, InvalidName> {
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        let canonical = text == "0" || !text.starts_with('0');
        if text.is_empty() || text.len() > SEQUENCE_DIGITS_MAX || !digits || !canonical {
            return Err(InvalidName::SequenceNumber);
        }
        Ok(Self(text.into()))
    }
}

impl TryFrom<String> for ShardId {
    type Error = InvalidName;

    fn try_from(text: String) -> Result<Self, InvalidName> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
        if text.is_empty() || text.len() > SHARD_ID_LENGTH_MAX || !text.bytes().all(allowed) {
            return Err(InvalidName::ShardId);
        }
        Ok(Self(text.into()))
    }
}

impl Ord for SequenceNumber {
    /// Without leading zeros the longer number is the larger one.
    fn cmp(&self, other: &Self) -> Ordering {
        (self.0.len(), &self.0).cmp(&(other.0.len(), &other.0))
    }
}

impl PartialOrd for SequenceNumber {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

macro_rules! text_of {
    ($name:ident) => {
        impl $name {
            /// The name as Kinesis wrote it.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl Display for $name {
            fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0.as_ref().to_owned()
            }
        }
    };
}

text_of!(SequenceNumber);
text_of!(ShardId);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sequence(text: &str) -> SequenceNumber {
        SequenceNumber::try_from(text.to_owned()).expect("a valid sequence number")
    }

    #[test]
    fn numbers_compare_as_numbers_not_as_text() {
        assert!(sequence("9") < sequence("10"));
        assert!(
            sequence("49590338271490256608559692538361571095921575989136588898")
                < sequence("49590338271490256608559692538361571095921575989136588899")
        );
    }

    #[test]
    fn what_kinesis_cannot_have_given_is_refused() {
        for text in ["", "01", "-1", "1 ", "12a", &"9".repeat(130)] {
            assert_eq!(
                SequenceNumber::try_from(text.to_owned()),
                Err(InvalidName::SequenceNumber)
            );
        }
        for text in ["", "shard/0", "../x", "sh ard", &"s".repeat(129)] {
            assert_eq!(ShardId::try_from(text.to_owned()), Err(InvalidName::ShardId));
        }
        assert!(ShardId::try_from("shardId-000000000000".to_owned()).is_ok());
    }

    proptest! {
        #[test]
        fn order_agrees_with_integers(a in any::<u128>(), b in any::<u128>()) {
            prop_assert_eq!(sequence(&a.to_string()).cmp(&sequence(&b.to_string())), a.cmp(&b));
        }
    }
}
