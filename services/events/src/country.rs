//! Which country an address is in, by a file in MaxMind's format
//! (<https://maxmind.github.io/MaxMind-DB/>), such as GeoLite2 Country, or one of those who write the
//! same: `country.iso_code` is read.
//!
//! The file is read into memory and checked as a whole before it is used, so that a look-up cannot
//! fail on it. It is read again when it changes.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
};

use maxminddb::{MaxMindDbError, PathElement, Reader};

use crate::reload::Source;

/// Where the country is in a record.
const PLACE: [PathElement<'static>; 2] = [PathElement::Key("country"), PathElement::Key("iso_code")];

/// Two lower-case letters (ISO 3166-1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CountryCode([u8; 2]);

impl CountryCode {
    /// Takes two letters in either case. `XX`, by which edges say that they do not know, is none.
    pub(crate) fn new(text: &str) -> Option<Self> {
        let letters: [u8; 2] = text.as_bytes().try_into().ok()?;
        let letters = letters.map(|letter| letter.to_ascii_lowercase());
        let known = letters.iter().all(u8::is_ascii_lowercase) && letters != *b"xx";
        known.then_some(Self(letters))
    }

    pub(crate) fn as_str(&self) -> &str {
        str::from_utf8(&self.0).expect("two letters of ASCII")
    }
}

/// The file.
#[derive(Clone, Debug)]
pub struct CountryDatabase {
    path: PathBuf,
}

impl CountryDatabase {
    /// The file at this path.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        let path = path.to_owned();
        Self { path }
    }
}

/// What is in the file.
#[derive(Debug)]
pub struct Countries(Reader<Vec<u8>>);

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot use {path}: {source}")]
pub struct CountryDatabaseError {
    path: String,
    source: MaxMindDbError,
}

impl Source for CountryDatabase {
    const WHAT: &'static str = "country database";
    type Value = Countries;
    type Error = CountryDatabaseError;

    fn files(&self) -> Vec<PathBuf> {
        vec![self.path.clone()]
    }

    fn read(&self) -> Result<Countries, CountryDatabaseError> {
        let read = || {
            let reader = Reader::open_readfile(&self.path)?;
            reader.verify()?;
            Ok(Countries(reader))
        };
        read().map_err(|source| CountryDatabaseError {
            path: self.path.display().to_string(),
            source,
        })
    }
}

impl Countries {
    /// The country of an address; none where the database has none, or holds no IPv6 addresses.
    pub(crate) fn country_of(&self, address: IpAddr) -> Option<CountryCode> {
        let found = self.0.lookup(address).ok()?;
        CountryCode::new(found.decode_path(&PLACE).ok()??)
    }
}

#[cfg(test)]
#[path = "country/tests.rs"]
pub(crate) mod tests;
