//! The hash key space: which hash keys belong to a shard, and which hash key a partition key has.
//!
//! A hash key is a 128-bit number. Kinesis takes the MD5 of the partition key as one big-endian number:
//! <https://docs.aws.amazon.com/streams/latest/dev/key-concepts.html#partition-key>.

use md5::{Digest, Md5};

/// The hash key of a partition key.
pub(crate) fn hash_key(partition_key: &str) -> u128 {
    let digest: [u8; 16] = Md5::digest(partition_key.as_bytes()).into();
    u128::from_be_bytes(digest)
}

/// A range of hash keys, both ends inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HashKeyRange {
    pub(crate) start: u128,
    pub(crate) end: u128,
}

impl HashKeyRange {
    /// Every hash key there is.
    pub(crate) const ALL: Self = Self {
        start: 0,
        end: u128::MAX,
    };

    /// Cuts the range so that the second part starts at `start`; None when a part would be empty.
    pub(crate) fn split_at(&self, start: u128) -> Option<(Self, Self)> {
        let inside = self.start < start && start <= self.end;
        inside.then(|| {
            let (low, high) = (self.start, self.end);
            (
                Self {
                    start: low,
                    end: start - 1,
                },
                Self { start, end: high },
            )
        })
    }

    /// The union of this range and the one that starts right after it; None when `next` does not.
    pub(crate) fn merge_with(&self, next: &Self) -> Option<Self> {
        (self.end.checked_add(1) == Some(next.start)).then_some(Self {
            start: self.start,
            end: next.end,
        })
    }
}

/// `count` ranges of equal size that cover every hash key; the last one takes the remainder.
pub(crate) fn even_ranges(count: u32) -> Vec<HashKeyRange> {
    if count <= 1 {
        return vec![HashKeyRange::ALL];
    }
    let parts = u128::from(count);
    // floor(2^128 / parts) without a 129-bit number.
    let size = u128::MAX / parts + u128::from(u128::MAX % parts == parts - 1);
    (0..parts)
        .map(|index| HashKeyRange {
            start: index * size,
            end: if index + 1 == parts {
                u128::MAX
            } else {
                (index + 1) * size - 1
            },
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The MD5 test suite of RFC 1321, appendix A.5, as numbers.
    #[test]
    fn the_hash_key_is_the_md5_as_a_big_endian_number() {
        for (key, md5) in [
            ("", 0xd41d_8cd9_8f00_b204_e980_0998_ecf8_427e_u128),
            ("a", 0x0cc1_75b9_c0f1_b6a8_31c3_99e2_6977_2661),
            ("abc", 0x9001_5098_3cd2_4fb0_d696_3f7d_28e1_7f72),
            ("message digest", 0xf96b_697d_7cb7_938d_525a_2f31_aaf1_61d0),
        ] {
            assert_eq!(hash_key(key), md5, "{key:?}");
        }
    }

    #[test]
    fn even_ranges_cover_the_space_once_and_differ_by_the_remainder_only() {
        for count in [1, 2, 3, 4, 5, 7, 64, 1000, 10_000] {
            let ranges = even_ranges(count);
            assert_eq!(ranges.len(), count as usize);
            assert_eq!(ranges[0].start, 0);
            assert_eq!(ranges[ranges.len() - 1].end, u128::MAX);
            let size = ranges[0].end;
            for pair in ranges.windows(2) {
                assert_eq!(pair[0].end + 1, pair[1].start);
                assert_eq!(pair[0].end - pair[0].start, size);
            }
        }
        // What AWS shows for two shards.
        assert_eq!(
            even_ranges(2)[0].end,
            170_141_183_460_469_231_731_687_303_715_884_105_727
        );
    }

    #[test]
    fn two_parts_of_a_range_merge_into_it() {
        let range = HashKeyRange { start: 10, end: 20 };
        assert_eq!(range.split_at(10), None);
        assert_eq!(range.split_at(21), None);
        for start in 11..=20 {
            let (low, high) = range.split_at(start).expect("both parts hold a key");
            assert_eq!(
                (low.start, low.end + 1, high.start, high.end),
                (10, start, start, 20)
            );
            assert_eq!(low.merge_with(&high), Some(range));
            assert_eq!(high.merge_with(&low), None);
        }
    }
}
