//! Shard iterators: an opaque token for a place in a shard, good for five minutes.
//!
//! <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_GetShardIterator.html>

use base64::prelude::{BASE64_STANDARD, Engine as _};
use md5::{Digest, Md5};

/// How long an iterator may be used after it was handed out.
pub(crate) const LIFETIME_MS: u64 = 300_000;

const VERSION: u8 = 1;
const BODY_BYTES: usize = 1 + 16 + 4 + 8 + 8;
const CHECK_BYTES: usize = 8;

/// What the token says: the next record to read of a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ShardIterator {
    /// Identity of the stream; one that is deleted and created again has another.
    pub(crate) stream: u128,
    pub(crate) shard: u32,
    /// Offset of the next record.
    pub(crate) offset: u64,
    /// When the token was handed out, in milliseconds since the epoch.
    pub(crate) created_ms: u64,
}

impl ShardIterator {
    /// The token a client gets.
    pub(crate) fn encode(&self) -> String {
        let mut token = Vec::with_capacity(BODY_BYTES + CHECK_BYTES);
        token.push(VERSION);
        token.extend_from_slice(&self.stream.to_be_bytes());
        token.extend_from_slice(&self.shard.to_be_bytes());
        token.extend_from_slice(&self.offset.to_be_bytes());
        token.extend_from_slice(&self.created_ms.to_be_bytes());
        let check = check(&token);
        token.extend_from_slice(&check);
        BASE64_STANDARD.encode(token)
    }

    /// Reads a token; None unless every byte of it is as it was handed out.
    pub(crate) fn decode(token: &str) -> Option<Self> {
        let token = BASE64_STANDARD.decode(token).ok()?;
        let (body, given) = token.split_at_checked(BODY_BYTES)?;
        if given != check(body) {
            return None;
        }
        let (version, body) = body.split_first()?;
        let (stream, body) = body.split_first_chunk()?;
        let (shard, body) = body.split_first_chunk()?;
        let (offset, body) = body.split_first_chunk()?;
        let (created_ms, _) = body.split_first_chunk()?;
        (*version == VERSION).then_some(Self {
            stream: u128::from_be_bytes(*stream),
            shard: u32::from_be_bytes(*shard),
            offset: u64::from_be_bytes(*offset),
            created_ms: u64::from_be_bytes(*created_ms),
        })
    }

    /// Whether the token is too old to be used.
    pub(crate) fn is_expired(&self, now_ms: u64) -> bool {
        now_ms.saturating_sub(self.created_ms) > LIFETIME_MS
    }
}

/// Finds tokens that were damaged or made up by accident; it keeps no secret, there is none to keep.
fn check(body: &[u8]) -> [u8; CHECK_BYTES] {
    let digest: [u8; 16] = Md5::digest(body).into();
    let mut check = [0; CHECK_BYTES];
    check.copy_from_slice(&digest[..CHECK_BYTES]);
    check
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_token_reads_back_and_a_changed_one_is_refused(
            stream: u128, shard: u32, offset: u64, created_ms: u64, at: prop::sample::Index, bit in 0..8_u8,
        ) {
            let iterator = ShardIterator { stream, shard, offset, created_ms };
            let token = iterator.encode();
            prop_assert_eq!(ShardIterator::decode(&token), Some(iterator));

            let mut bytes = BASE64_STANDARD.decode(&token).expect("a token is base64");
            let index = at.index(bytes.len());
            bytes[index] ^= 1 << bit;
            prop_assert_eq!(ShardIterator::decode(&BASE64_STANDARD.encode(bytes)), None);
        }

        #[test]
        fn any_text_is_read_or_refused(text in ".{0,120}") {
            prop_assert_eq!(ShardIterator::decode(&text), None);
        }
    }

    #[test]
    fn expires_after_five_minutes() {
        let iterator = ShardIterator {
            stream: 1,
            shard: 0,
            offset: 0,
            created_ms: 1_000,
        };
        assert!(!iterator.is_expired(1_000 + 300_000));
        assert!(iterator.is_expired(1_000 + 300_001));
        assert!(!iterator.is_expired(0), "a clock set back expires nothing");
    }
}
