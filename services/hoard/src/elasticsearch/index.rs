//! The index of a day, from a pattern.

use jiff::tz::TimeZone;

use crate::record::Arrival;

/// The longest name of an index, in bytes
/// (<https://www.elastic.co/docs/api/doc/elasticsearch/operation/operation-indices-create>).
const NAME_BYTES_MAX: usize = 255;

/// A pattern such as `events-%Y.%m.%d`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexPattern(String);

impl IndexPattern {
    /// Checks the pattern: every day must have an index of its own, by a name that is allowed.
    pub fn parse(pattern: &str) -> Result<Self, String> {
        let plain = ["%Y", "%m", "%d"]
            .iter()
            .fold(pattern.to_owned(), |rest, part| rest.replace(part, "0"));
        let missing = ["%Y", "%m", "%d"]
            .into_iter()
            .find(|part| !pattern.contains(part));
        if let Some(part) = missing {
            return Err(format!("must contain {part}: every day has an index of its own"));
        }
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c);
        if let Some(other) = plain.chars().find(|&c| !allowed(c)) {
            return Err(format!(
                "must not contain {other:?}: small letters, digits, - _ . and %Y %m %d"
            ));
        }
        if pattern.starts_with(['-', '_', '.']) || pattern.len() > NAME_BYTES_MAX - 8 {
            return Err("must begin with a letter or digit and be at most 247 bytes".to_owned());
        }
        Ok(Self(pattern.to_owned()))
    }

    /// The index of the day on which a record arrived, UTC.
    pub fn index(&self, arrival: Arrival) -> String {
        let date = arrival.timestamp().to_zoned_datetime(TimeZone::UTC).date();
        let parts = [
            ("%Y", format!("{:04}", date.year())),
            ("%m", format!("{:02}", date.month())),
            ("%d", format!("{:02}", date.day())),
        ];
        parts
            .iter()
            .fold(self.0.clone(), |name, (part, value)| name.replace(part, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_day_has_its_index() {
        let pattern = IndexPattern::parse("events-%Y.%m.%d").expect("valid");
        let index = |millis| pattern.index(Arrival::from_millis(millis).expect("in range"));
        assert_eq!(index(1_767_225_599_999), "events-2025.12.31");
        assert_eq!(index(1_767_225_600_000), "events-2026.01.01");
    }

    #[test]
    fn names_that_a_cluster_refuses_are_refused_here() {
        for wrong in [
            "",
            "events",
            "Events-%Y.%m.%d",
            "_e-%Y.%m.%d",
            "e,%Y%m%d",
            "e-%Y-%m",
            "e-%Y%m%d-%H",
        ] {
            assert!(IndexPattern::parse(wrong).is_err(), "{wrong}");
        }
    }
}
