//! The key that stands between a person and the value that goes in their id's place.
//!
//! A value is replaced by `{key name}:{22 characters}`: HMAC-SHA256 under the key, its first 128 bits in
//! base64url (RFC 2104, section 5, allows half). The same text gives the same value in every object and
//! in every field, so that joins go on to work, also of a device's `owner` with a `userid`. Another key
//! gives other values. The key is read on the side that runs this program and is written nowhere.

use std::fmt;
use std::path::Path;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// The shortest key, in bytes: as long as what SHA-256 gives (RFC 2104, section 3).
const KEY_BYTES_MIN: usize = 32;
/// What is kept of a hash, in bytes.
const KEPT_BYTES: usize = 16;
/// The longest name of a key, in bytes: it stands in every value.
const NAME_BYTES_MAX: usize = 32;

/// What a hash is for. No hash of one purpose is ever one of another.
#[derive(Clone, Copy, Debug)]
#[repr(u8)]
enum Purpose {
    Value = b'v',
    Identity = b'i',
    Fingerprint = b'f',
}

/// A named key.
#[derive(Clone)]
pub struct HashKey {
    name: String,
    mac: Hmac<Sha256>,
}

/// Why a key cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKey {
    /// The name would not read well in a value.
    #[error("a key's name must be 1 to {NAME_BYTES_MAX} lower-case letters, digits, dots and hyphens")]
    Name,
    /// The file cannot be read.
    #[error("cannot read {0}")]
    Unreadable(String),
    /// The text is not a key.
    #[error("must hold at least {KEY_BYTES_MIN} bytes as hexadecimal digits and nothing else")]
    Digits,
}

impl HashKey {
    /// The key in `file`, in hexadecimal digits, under this name.
    ///
    /// # Errors
    /// The name or the file is not fit.
    pub fn read(name: &str, file: &Path) -> Result<Self, InvalidKey> {
        let text = std::fs::read_to_string(file)
            .map_err(|error| InvalidKey::Unreadable(format!("{}: {error}", file.display())))?;
        Self::from_hex(name, &text)
    }

    /// A key from hexadecimal digits.
    ///
    /// # Errors
    /// The name or the digits are not fit.
    pub fn from_hex(name: &str, digits: &str) -> Result<Self, InvalidKey> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-".contains(&byte);
        if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.bytes().all(plain) {
            return Err(InvalidKey::Name);
        }
        let key = bytes(digits.trim()).ok_or(InvalidKey::Digits)?;
        if key.len() < KEY_BYTES_MIN {
            return Err(InvalidKey::Digits);
        }
        let mac = Hmac::new_from_slice(&key).map_err(|_| InvalidKey::Digits)?;
        Ok(Self {
            name: name.to_owned(),
            mac,
        })
    }

    /// The key's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Writes what goes in the place of a value.
    pub(crate) fn write_value(&self, text: &str, into: &mut Vec<u8>) {
        let hash = self.hash(Purpose::Value, text.as_bytes());
        let mut digits = [0; 22];
        // 16 bytes are 22 characters without padding.
        let written = BASE64_URL_SAFE_NO_PAD.encode_slice(hash, &mut digits);
        debug_assert_eq!(written, Ok(digits.len()));
        into.extend_from_slice(self.name.as_bytes());
        into.push(b':');
        into.extend_from_slice(&digits);
    }

    /// Stands for what identifies an object: its ETag can be the MD5 of one person's data, which whoever
    /// guesses that data could tell.
    pub(crate) fn identity(&self, text: &str) -> String {
        hex(&self.hash(Purpose::Identity, text.as_bytes()))
    }

    /// Tells one key from another of the same name, and says nothing of either.
    pub(crate) fn fingerprint(&self) -> String {
        hex(&self.hash(Purpose::Fingerprint, b""))
    }

    fn hash(&self, purpose: Purpose, text: &[u8]) -> [u8; KEPT_BYTES] {
        let mut mac = self.mac.clone();
        mac.update(&[purpose as u8]);
        mac.update(text);
        let hash = mac.finalize().into_bytes();
        std::array::from_fn(|index| hash[index])
    }
}

impl fmt::Debug for HashKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HashKey({})", self.name)
    }
}

fn bytes(digits: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let pairs = digits.as_bytes().chunks(2);
    pairs
        .map(|pair| match *pair {
            [high, low] => u8::try_from(digit(high)? * 16 + digit(low)?).ok(),
            _ => None,
        })
        .collect()
}

/// Bytes in hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(key: &HashKey, text: &str) -> String {
        let mut value = Vec::new();
        key.write_value(text, &mut value);
        String::from_utf8(value).expect("ASCII")
    }

    #[test]
    fn a_value_is_an_hmac_that_others_can_compute() {
        let key = HashKey::from_hex("cn-2026", &"0b".repeat(32)).expect("a key");
        // printf vu-5d1c07a2 | openssl dgst -sha256 -mac HMAC -macopt hexkey:0b0b… -binary | head -c 16 | base64
        assert_eq!(value(&key, "u-5d1c07a2"), "cn-2026:jYP6R7f95RDhDVSEt0rL4A");
        assert_eq!(key.name(), "cn-2026");
    }

    #[test]
    fn another_key_gives_other_values_and_another_fingerprint() {
        let one = HashKey::from_hex("k", &"0b".repeat(32)).expect("a key");
        let two = HashKey::from_hex("k", &"0c".repeat(32)).expect("a key");
        assert_ne!(value(&one, "a"), value(&two, "a"));
        assert_ne!(one.fingerprint(), two.fingerprint());
        assert_ne!(value(&one, "a"), value(&one, "b"));
        assert_ne!(
            one.identity(""),
            one.fingerprint(),
            "each purpose has its own hashes"
        );
    }

    #[test]
    fn what_is_no_key_is_refused_and_never_shown() {
        let digits = "0b".repeat(32);
        for name in ["", "Upper", "a:b", "a b", &"x".repeat(33)] {
            assert_eq!(
                HashKey::from_hex(name, &digits).err(),
                Some(InvalidKey::Name),
                "{name:?}"
            );
        }
        for digits in [
            "",
            "0b",
            &"0b".repeat(31),
            &"zz".repeat(32),
            &format!("{digits}0"),
        ] {
            assert_eq!(
                HashKey::from_hex("k", digits).err(),
                Some(InvalidKey::Digits),
                "{digits:?}"
            );
        }
        let key = HashKey::from_hex("k", &format!("{digits}\n")).expect("a line end is no digit");
        assert_eq!(format!("{key:?}"), "HashKey(k)");
    }
}
