//! The calendar that files records: which day, or hour, of which time zone one belongs to.
//!
//! Invariant: the period of a record is a pure function of its arrival and of the settings, so that
//! whoever reads it again files it alike. Our own clock has no part in it. A day of a zone with
//! daylight saving time can have 23 or 25 hours, and where clocks go back over midnight a day can be
//! left and entered again: then a cut ends at each change.
//!
//! The rules of all zones are compiled in: containers seldom have `/usr/share/zoneinfo`.

use std::fmt::{Display, Formatter};
use std::str::FromStr;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use crate::record::Arrival;

/// How long a period is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unit {
    /// A calendar day.
    Day,
    /// An hour of the clock on the wall.
    Hour,
}

/// A day, or an hour of it, by the clock of the archive's zone. What a cut never spans two of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Period {
    date: Date,
    hour: Option<i8>,
}

/// A time zone by its IANA name.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Zone {
    name: String,
    rules: TimeZone,
}

/// No zone of that name is known.
#[derive(Debug, thiserror::Error)]
#[error("there is no time zone {0:?}: write an IANA name such as Europe/Berlin or Asia/Shanghai")]
pub struct UnknownZone(String);

/// Not a period as this program writes it.
#[derive(Debug, thiserror::Error)]
#[error("not a day such as 2026-01-31 nor an hour such as 2026-01-31T05")]
pub struct InvalidPeriod;

impl Period {
    /// The day as `YYYY-MM-DD`.
    pub fn date(self) -> Date {
        self.date
    }

    /// The hour, 0 to 23; 0 for a whole day.
    pub fn hour(self) -> i8 {
        self.hour.unwrap_or(0)
    }
}

impl From<Date> for Period {
    fn from(date: Date) -> Self {
        Self { date, hour: None }
    }
}

impl Display for Period {
    /// `YYYY-MM-DD` or `YYYY-MM-DDTHH`.
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.date)?;
        match self.hour {
            Some(hour) => write!(f, "T{hour:02}"),
            None => Ok(()),
        }
    }
}

impl FromStr for Period {
    type Err = InvalidPeriod;

    fn from_str(text: &str) -> Result<Self, InvalidPeriod> {
        let (date, hour) = match text.split_once('T') {
            Some((date, hour)) => (date, Some(hour.parse().map_err(|_| InvalidPeriod)?)),
            None => (text, None),
        };
        let date = date.parse().map_err(|_| InvalidPeriod)?;
        let is_hour = hour.is_none_or(|hour| (0..24).contains(&hour));
        is_hour.then_some(Self { date, hour }).ok_or(InvalidPeriod)
    }
}

impl TryFrom<String> for Period {
    type Error = InvalidPeriod;

    fn try_from(text: String) -> Result<Self, InvalidPeriod> {
        text.parse()
    }
}

impl From<Period> for String {
    fn from(period: Period) -> Self {
        period.to_string()
    }
}

impl Zone {
    /// Coordinated universal time.
    pub fn utc() -> Self {
        Self {
            name: "UTC".to_owned(),
            rules: TimeZone::UTC,
        }
    }

    /// The period in which a record arrived.
    pub fn period(&self, arrival: Arrival, unit: Unit) -> Period {
        let clock = self.rules.to_datetime(arrival.timestamp());
        Period {
            date: clock.date(),
            hour: (unit == Unit::Hour).then(|| clock.hour()),
        }
    }

    /// Its IANA name.
    pub fn as_str(&self) -> &str {
        &self.name
    }
}

impl PartialEq for Zone {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Zone {}

impl FromStr for Zone {
    type Err = UnknownZone;

    fn from_str(name: &str) -> Result<Self, UnknownZone> {
        match TimeZone::get(name) {
            Ok(rules) => Ok(Self {
                name: name.to_owned(),
                rules,
            }),
            Err(_) => Err(UnknownZone(name.to_owned())),
        }
    }
}

impl TryFrom<String> for Zone {
    type Error = UnknownZone;

    fn try_from(name: String) -> Result<Self, UnknownZone> {
        name.parse()
    }
}

impl From<Zone> for String {
    fn from(zone: Zone) -> Self {
        zone.name
    }
}

#[cfg(test)]
mod tests;
