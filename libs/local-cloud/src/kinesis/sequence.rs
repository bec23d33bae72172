//! Sequence numbers: where a record lies in its shard, as Kinesis writes it.
//!
//! A sequence number is a decimal number of 56 digits: a fixed head, the shard's birth, the shard's number
//! and the record's place in the shard, each of a fixed width. Comparing two of them as numbers or as text
//! is therefore the same, and:
//!
//! - within a shard they increase strictly with the record's place;
//! - a child is born strictly later than its parents, so that all of its numbers are greater than theirs.
//!
//! Records are [`STEP`] apart: Kinesis does not promise consecutive numbers, and a client that adds one to
//! get the next record must not work here either.

use std::fmt;

/// Distance between the numbers of neighbouring records of a shard.
const STEP: u128 = 16;
const HEAD: &str = "49";
const BIRTH_DIGITS: usize = 14;
const SHARD_DIGITS: usize = 18;
const PLACE_DIGITS: usize = 22;
const DIGITS: usize = HEAD.len() + BIRTH_DIGITS + SHARD_DIGITS + PLACE_DIGITS;

/// A sequence number; displays as its decimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SequenceNumber {
    /// Milliseconds since the epoch at which the shard was created.
    pub(crate) birth_ms: u64,
    /// The number in the shard's id.
    pub(crate) shard: u32,
    place: u128,
}

impl SequenceNumber {
    /// The shard's starting sequence number: less than that of its first record.
    pub(crate) fn start(birth_ms: u64, shard: u32) -> Self {
        Self::at(birth_ms, shard, 0)
    }

    /// The number of the record with this offset (0 is the shard's first).
    pub(crate) fn of_record(birth_ms: u64, shard: u32, offset: u64) -> Self {
        Self::at(birth_ms, shard, (u128::from(offset) + 1) * STEP)
    }

    /// The ending sequence number of a closed shard that took `records` records: greater than all of theirs.
    pub(crate) fn end(birth_ms: u64, shard: u32, records: u64) -> Self {
        Self::at(birth_ms, shard, (u128::from(records) + 1) * STEP - 1)
    }

    fn at(birth_ms: u64, shard: u32, place: u128) -> Self {
        Self {
            birth_ms,
            shard,
            place,
        }
    }

    /// Reads what [`fmt::Display`] wrote; None for anything else.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if text.len() != DIGITS || !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let rest = text.strip_prefix(HEAD)?;
        let (birth, rest) = rest.split_at(BIRTH_DIGITS);
        let (shard, place) = rest.split_at(SHARD_DIGITS);
        Some(Self {
            birth_ms: birth.parse().ok()?,
            shard: shard.parse().ok()?,
            place: place.parse().ok()?,
        })
    }

    /// The offset of the first record whose number is not less than this one.
    pub(crate) fn offset_at(&self) -> u64 {
        clamp(self.place.div_ceil(STEP).saturating_sub(1))
    }

    /// The offset of the first record whose number is greater than this one.
    pub(crate) fn offset_after(&self) -> u64 {
        clamp(self.place / STEP)
    }
}

/// A place has at most 22 digits, which is more than an offset can hold; such an offset is past every record.
fn clamp(offset: u128) -> u64 {
    u64::try_from(offset).unwrap_or(u64::MAX)
}

impl fmt::Display for SequenceNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            birth_ms,
            shard,
            place,
        } = self;
        write!(
            f,
            "{HEAD}{birth_ms:0BIRTH_DIGITS$}{shard:0SHARD_DIGITS$}{place:0PLACE_DIGITS$}"
        )
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn looks_like_one_of_aws() {
        let text = SequenceNumber::of_record(1_700_000_000_000, 3, 41).to_string();
        assert_eq!(text.len(), 56);
        assert!(text.starts_with("4901700000000000"), "{text}");
    }

    #[test]
    fn what_is_not_a_sequence_number_is_refused() {
        let good = SequenceNumber::start(1, 2).to_string();
        for bad in [
            "",
            "0",
            "49",
            &good[1..],
            &format!("{good}0"),
            &good.replace("49", "48"),
            &good.replacen('0', "x", 1),
            &format!("49{:014}{:018}{:022}", 1, u64::from(u32::MAX) + 1, 0),
        ] {
            assert_eq!(SequenceNumber::parse(bad), None, "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn reads_back_and_orders_as_text(
            births in (0..99_999_999_999_999_u64, 0..99_999_999_999_999_u64),
            shards: (u32, u32),
            offsets: (u64, u64),
        ) {
            let left = SequenceNumber::of_record(births.0, shards.0, offsets.0);
            let right = SequenceNumber::of_record(births.1, shards.1, offsets.1);
            prop_assert_eq!(SequenceNumber::parse(&left.to_string()), Some(left));
            prop_assert_eq!(left.cmp(&right), left.to_string().cmp(&right.to_string()));
        }

        #[test]
        fn strictly_increases_within_a_shard_and_into_its_child(
            birth in 0..99_999_999_999_998_u64, shard in 0..u32::MAX - 1, offset in 0..u64::MAX - 1, records: u64,
        ) {
            let record = SequenceNumber::of_record(birth, shard, offset);
            prop_assert!(SequenceNumber::start(birth, shard) < record);
            prop_assert!(record < SequenceNumber::of_record(birth, shard, offset + 1));
            prop_assert!(record < SequenceNumber::end(birth, shard, offset + 1));
            prop_assert!(SequenceNumber::end(birth, shard, records) < SequenceNumber::start(birth + 1, shard + 1));
        }

        #[test]
        fn at_and_after_are_exact(offset in 0..u64::MAX - 1) {
            let record = SequenceNumber::of_record(7, 1, offset);
            prop_assert_eq!(record.offset_at(), offset);
            prop_assert_eq!(record.offset_after(), offset + 1);
            let end = SequenceNumber::end(7, 1, offset);
            prop_assert_eq!((end.offset_at(), end.offset_after()), (offset, offset));
            let start = SequenceNumber::start(7, 1);
            prop_assert_eq!((start.offset_at(), start.offset_after()), (0, 0));
        }
    }
}
