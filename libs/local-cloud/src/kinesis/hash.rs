//! The hash key space: which hash keys belong to a shard, and which hash key a partition key has.
//!
//! A hash key is a 128-bit number. Kinesis takes the MD5 of the partition key as one big-endian number:
//! <https://docs.aws.amazon.com/streams/latest/dev/key-concepts.html#partition-key>.

use md5::{Digest, Md5};

/// The hash key of a partition key.
pub(super) fn hash_key(partition_key: &str) -> u128 {
    let digest: [u8; 16] = Md5::digest(partition_key.as_bytes()).into();
    u128::from_be_bytes(digest)
}

/// A range of hash keys, both ends inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct HashKeyRange {
    pub(super) start: u128,
    pub(super) end: u128,
}

impl HashKeyRange {
    /// Every hash key there is.
    pub(super) const ALL: Self = Self {
        start: 0,
        end: u128::MAX,
    };

    pub(super) fn contains(&self, hash_key: u128) -> bool {
        self.start <= hash_key && hash_key <= self.end
    }

    /// Cuts the range so that the second part starts at `start`.
    ///
    /// None when the lower part would hold fewer than two hash keys or the upper part fewer than two:
    /// Kinesis wants `start` greater than one plus the range's start and less than its end.
    pub(super) fn split_at(&self, start: u128) -> Option<(Self, Self)> {
        let inside = start > self.start.checked_add(1)? && start < self.end;
        inside.then(|| {
            (
                Self {
                    start: self.start,
                    end: start - 1,
                },
                Self {
                    start,
                    end: self.end,
                },
            )
        })
    }

    /// The union of this range and the one that starts right after it; None when `next` does not.
    pub(super) fn merge_with(&self, next: &Self) -> Option<Self> {
        (self.end.checked_add(1) == Some(next.start)).then_some(Self {
            start: self.start,
            end: next.end,
        })
    }
}

/// `count` ranges of equal size that cover every hash key; the last one takes the remainder.
pub(super) fn even_ranges(count: u32) -> Vec<HashKeyRange> {
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
    fn a_split_needs_room_on_both_sides() {
        let range = HashKeyRange { start: 10, end: 20 };
        assert_eq!(range.split_at(11), None);
        assert_eq!(range.split_at(20), None);
        assert_eq!(range.split_at(21), None);
        assert_eq!(range.split_at(0), None);
        let (low, high) = range.split_at(12).expect("12 lies inside");
        assert_eq!((low.start, low.end, high.start, high.end), (10, 11, 12, 20));
        assert_eq!(low.merge_with(&high), Some(range));
        assert_eq!(high.merge_with(&low), None);
    }
}
