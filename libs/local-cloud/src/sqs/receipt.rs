//! Receipt handles: which message, and which receipt of it.

use base64::prelude::{BASE64_STANDARD, Engine as _};
use md5::{Digest, Md5};

const BODY_BYTES: usize = 16 + 8 + 8;
const CHECK_BYTES: usize = 8;

/// What a receipt handle says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Receipt {
    /// Identity of the queue.
    pub(crate) queue: u128,
    /// The message's number in its queue.
    pub(crate) message: u64,
    /// Greater for each later receipt.
    pub(crate) serial: u64,
}

impl Receipt {
    /// The handle a client gets.
    pub(crate) fn encode(&self) -> String {
        let mut handle = Vec::with_capacity(BODY_BYTES + CHECK_BYTES);
        handle.extend_from_slice(&self.queue.to_be_bytes());
        handle.extend_from_slice(&self.message.to_be_bytes());
        handle.extend_from_slice(&self.serial.to_be_bytes());
        let check = check(&handle);
        handle.extend_from_slice(&check);
        BASE64_STANDARD.encode(handle)
    }

    /// Reads a handle; None unless every byte of it is as it was handed out.
    pub(crate) fn decode(handle: &str) -> Option<Self> {
        let handle = BASE64_STANDARD.decode(handle).ok()?;
        let (body, given) = handle.split_at_checked(BODY_BYTES)?;
        if given != check(body) {
            return None;
        }
        let (queue, body) = body.split_first_chunk()?;
        let (message, body) = body.split_first_chunk()?;
        let (serial, _) = body.split_first_chunk()?;
        Some(Self {
            queue: u128::from_be_bytes(*queue),
            message: u64::from_be_bytes(*message),
            serial: u64::from_be_bytes(*serial),
        })
    }
}

/// Finds handles that were damaged or made up by accident; it keeps no secret, there is none to keep.
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
        fn a_handle_reads_back_and_a_changed_one_is_refused(
            queue: u128, message: u64, serial: u64, at: prop::sample::Index, bit in 0..8_u8,
        ) {
            let receipt = Receipt { queue, message, serial };
            let handle = receipt.encode();
            prop_assert_eq!(Receipt::decode(&handle), Some(receipt));
            let mut bytes = BASE64_STANDARD.decode(&handle).expect("a handle is base64");
            let index = at.index(bytes.len());
            bytes[index] ^= 1 << bit;
            prop_assert_eq!(Receipt::decode(&BASE64_STANDARD.encode(bytes)), None);
        }
    }
}
