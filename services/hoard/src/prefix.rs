//! Prefixes with expressions, as Firehose has them
//! (<https://docs.aws.amazon.com/firehose/latest/dev/s3-prefixes.html>), so that a stream can move here
//! and keep its folders:
//!
//! | expression | becomes |
//! |---|---|
//! | `!{timestamp:yyyy/MM/dd}` | the period of the records: `yyyy`, `MM`, `dd`, `HH`, separators and `'quoted text'` |
//! | `!{partitionKey:partnerid}` | the field of that name at the top of each line |
//! | `!{firehose:error-output-type}` | `processing-failed`; in the error prefix only |
//!
//! A prefix without `timestamp` is followed by `YYYY/MM/DD/`. What would not be a function of the
//! records (`random-string`) is refused: writing a cut again must find the same keys.
//!
//! Invariant: two different partitions never have a prefix in common. A value is 1 to
//! [`VALUE_BYTES_MAX`] letters, digits and `- _ .`, never begins with `_` or `.`, and the expression
//! is followed by `/`: so no record can name a place outside the folder that its value stands for.

use std::fmt::Write;
use std::str::FromStr;

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use crate::period::{Period, Unit};

/// The longest value of a partition, in bytes.
pub const VALUE_BYTES_MAX: usize = 128;
/// The longest prefix, in bytes, as it is written and with every value at its longest. A key has at
/// most 1,024; stream, shard, sequence number and extension take up to 400 of them.
const PREFIX_BYTES_MAX: usize = 600;
/// The only error type that there is here: the record could not be filed as a line.
const ERROR_OUTPUT_TYPE: &str = "processing-failed";
/// What follows a prefix that has no date of its own.
const DATE: &str = "!{timestamp:yyyy/MM/dd}/";
/// Separates the values of a partition, none of which holds it.
const SEPARATOR: char = '/';

/// A prefix, read and checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Prefix {
    text: String,
    parts: Vec<Part>,
    fields: Vec<String>,
}

/// The values of a line's partition fields, in the order of [`Prefix::fields`]; empty without fields.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Partition(String);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Literal(String),
    Year,
    Month,
    Day,
    Hour,
    /// The value of the field of this index.
    Field(usize),
    ErrorType,
}

/// What is wrong with a prefix.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidPrefix(String);

impl Prefix {
    /// Whether it is empty, so that keys begin with the date.
    pub fn is_unset(&self) -> bool {
        self.text.is_empty()
    }

    /// The fields whose values divide lines among objects, each once.
    pub fn fields(&self) -> &[String] {
        &self.fields
    }

    /// Whether the error type is named.
    pub fn names_error_type(&self) -> bool {
        self.parts.contains(&Part::ErrorType)
    }

    /// The shortest period that is told apart.
    pub fn unit(&self) -> Unit {
        if self.parts.contains(&Part::Hour) {
            Unit::Hour
        } else {
            Unit::Day
        }
    }

    /// Whether different days have different prefixes.
    pub fn names_the_day(&self) -> bool {
        [Part::Year, Part::Month, Part::Day]
            .iter()
            .all(|part| self.parts.contains(part))
    }

    /// What stands before the first expression.
    pub fn head(&self) -> &str {
        match self.parts.first() {
            Some(Part::Literal(head)) => head,
            _ => "",
        }
    }

    /// The prefix of the objects of one period and partition.
    pub fn render(&self, period: Period, partition: &Partition) -> String {
        let values: Vec<&str> = partition.0.split(SEPARATOR).collect();
        let mut rendered = String::with_capacity(self.text.len() + partition.0.len());
        for part in &self.parts {
            part.render(&mut rendered, period, &values);
        }
        rendered
    }

    /// What the keys of a day begin with, as far as it does not depend on the lines.
    pub fn folder(&self, date: Date) -> String {
        let period = Period::from(date);
        let depends = |part: &Part| matches!(part, Part::Field(_) | Part::Hour);
        let known = self.parts.iter().position(depends).unwrap_or(self.parts.len());
        let mut folder = String::new();
        for part in &self.parts[..known] {
            part.render(&mut folder, period, &[]);
        }
        folder
    }

    /// Whether `key` is this prefix of that day, of any partition and hour, and a name behind it.
    pub fn is_of(&self, key: &str, date: Date) -> bool {
        let period = Period::from(date);
        let mut rest = Some(key);
        for part in &self.parts {
            rest = rest.and_then(|rest| match part {
                Part::Field(_) => {
                    let end = rest.find(SEPARATOR)?;
                    is_valid_value(&rest[..end]).then(|| &rest[end..])
                }
                Part::Hour => {
                    let is_hour = rest.get(..2)?.bytes().all(|byte| byte.is_ascii_digit());
                    is_hour.then(|| &rest[2..])
                }
                part => {
                    let mut rendered = String::new();
                    part.render(&mut rendered, period, &[]);
                    rest.strip_prefix(&rendered)
                }
            });
        }
        rest.is_some_and(|name| !name.contains(SEPARATOR))
    }

    /// A rendering to check others against, with one value for every field.
    pub fn sample(&self) -> String {
        let values = vec!["v".to_owned(); self.fields.len()];
        self.render(
            Period::from(jiff::civil::date(2026, 1, 31)),
            &Partition::of(&values),
        )
    }

    fn bytes_max(&self) -> usize {
        let bytes = self.parts.iter().map(|part| match part {
            Part::Literal(text) => text.len(),
            Part::Year => 4,
            Part::Month | Part::Day | Part::Hour => 2,
            Part::Field(_) => VALUE_BYTES_MAX,
            Part::ErrorType => ERROR_OUTPUT_TYPE.len(),
        });
        bytes.sum()
    }
}

impl Partition {
    /// The partition of lines with these values, one for each field.
    pub fn of(values: &[String]) -> Self {
        Self(values.join("/"))
    }

    /// Whether there are no values because there are no fields.
    pub fn is_none(&self) -> bool {
        self.0.is_empty()
    }

    /// Memory that it takes, in bytes.
    pub fn bytes(&self) -> usize {
        self.0.len()
    }
}

/// Whether `value` may stand in a key.
pub fn is_valid_value(value: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    (1..=VALUE_BYTES_MAX).contains(&value.len())
        && value.bytes().all(allowed)
        && !value.starts_with(['_', '.'])
}

impl FromStr for Prefix {
    type Err = InvalidPrefix;

    fn from_str(text: &str) -> Result<Self, InvalidPrefix> {
        let mut prefix = parse(text)?;
        if !prefix.parts.iter().any(Part::is_date) {
            prefix.parts.extend(parse(DATE)?.parts);
        }
        check(&prefix)?;
        Ok(prefix)
    }
}

impl TryFrom<String> for Prefix {
    type Error = InvalidPrefix;

    fn try_from(text: String) -> Result<Self, InvalidPrefix> {
        text.parse()
    }
}

impl From<Prefix> for String {
    fn from(prefix: Prefix) -> Self {
        prefix.text
    }
}

impl Part {
    fn render(&self, rendered: &mut String, period: Period, values: &[&str]) {
        let date = period.date();
        // Writing to a string does not fail.
        let _written = match self {
            Self::Literal(text) => rendered.write_str(text),
            Self::Year => write!(rendered, "{:04}", date.year()),
            Self::Month => write!(rendered, "{:02}", date.month()),
            Self::Day => write!(rendered, "{:02}", date.day()),
            Self::Hour => write!(rendered, "{:02}", period.hour()),
            Self::Field(index) => rendered.write_str(values.get(*index).copied().unwrap_or_default()),
            Self::ErrorType => rendered.write_str(ERROR_OUTPUT_TYPE),
        };
    }

    fn is_date(&self) -> bool {
        matches!(self, Self::Year | Self::Month | Self::Day | Self::Hour)
    }
}

fn invalid<T>(problem: impl Into<String>) -> Result<T, InvalidPrefix> {
    Err(InvalidPrefix(problem.into()))
}

fn parse(text: &str) -> Result<Prefix, InvalidPrefix> {
    let mut prefix = Prefix {
        text: text.to_owned(),
        parts: Vec::new(),
        fields: Vec::new(),
    };
    let mut rest = text;
    while let Some((literal, expression)) = rest.split_once("!{") {
        push_literal(&mut prefix.parts, literal)?;
        let Some((expression, after)) = expression.split_once('}') else {
            return invalid("an expression that begins with !{ must end with }");
        };
        push_expression(&mut prefix, expression)?;
        rest = after;
    }
    push_literal(&mut prefix.parts, rest)?;
    Ok(prefix)
}

fn push_literal(parts: &mut Vec<Part>, text: &str) -> Result<(), InvalidPrefix> {
    let is_safe = |c: char| c.is_ascii_alphanumeric() || "/!-_.*'()=".contains(c);
    if let Some(unsafe_character) = text.chars().find(|&c| !is_safe(c)) {
        return invalid(format!(
            "must not contain {unsafe_character:?}: letters, digits and / ! - _ . * ' ( ) = are safe in keys"
        ));
    }
    match parts.last_mut() {
        _ if text.is_empty() => {}
        Some(Part::Literal(last)) => last.push_str(text),
        _ => parts.push(Part::Literal(text.to_owned())),
    }
    Ok(())
}

fn push_expression(prefix: &mut Prefix, expression: &str) -> Result<(), InvalidPrefix> {
    match expression.split_once(':') {
        Some(("timestamp", pattern)) => push_pattern(&mut prefix.parts, pattern),
        Some(("partitionKey", name)) => push_field(prefix, name),
        Some(("firehose", "error-output-type")) => {
            prefix.parts.push(Part::ErrorType);
            Ok(())
        }
        Some(("firehose", "random-string")) => invalid(
            "!{firehose:random-string} is not supported: the same records must have the same key again",
        ),
        Some(("partitionKeyFromQuery" | "partitionKeyFromLambda", _)) => invalid(
            "partition keys come from the line itself: write !{partitionKey:name} with a field's name",
        ),
        _ => invalid(format!(
            "!{{{expression}}} is unknown: there are !{{timestamp:…}}, !{{partitionKey:…}} and !{{firehose:error-output-type}}"
        )),
    }
}

/// A useful part of Java's date patterns.
fn push_pattern(parts: &mut Vec<Part>, pattern: &str) -> Result<(), InvalidPrefix> {
    let mut rest = pattern;
    while let Some(first) = rest.chars().next() {
        let length = rest.len() - rest.trim_start_matches(first).len();
        match &rest[..length] {
            "yyyy" => parts.push(Part::Year),
            "MM" => parts.push(Part::Month),
            "dd" => parts.push(Part::Day),
            "HH" => parts.push(Part::Hour),
            "''" => push_literal(parts, "'")?,
            "'" => {
                let Some((quoted, after)) = rest[1..].split_once('\'') else {
                    return invalid(format!("the quoted text in {pattern:?} does not end"));
                };
                push_literal(parts, quoted)?;
                rest = after;
                continue;
            }
            run if "mmssSSSnAN".contains(run) => {
                return invalid(format!(
                    "{run:?} in {pattern:?} is finer than an hour: cuts would be tiny objects"
                ));
            }
            run if run.starts_with(char::is_alphabetic) => {
                return invalid(format!(
                    "{run:?} in {pattern:?} is not supported: there are yyyy, MM, dd, HH and 'quoted text'"
                ));
            }
            separators => push_literal(parts, separators)?,
        }
        rest = &rest[length..];
    }
    Ok(())
}

fn push_field(prefix: &mut Prefix, name: &str) -> Result<(), InvalidPrefix> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if name.is_empty() || !name.chars().all(allowed) {
        return invalid(format!(
            "partitionKey:{name} must name a field at the top of the line: letters, digits, _ and -"
        ));
    }
    let known = prefix.fields.iter().position(|field| field == name);
    let index = known.unwrap_or_else(|| {
        prefix.fields.push(name.to_owned());
        prefix.fields.len() - 1
    });
    prefix.parts.push(Part::Field(index));
    Ok(())
}

fn check(prefix: &Prefix) -> Result<(), InvalidPrefix> {
    let followed_by_slash =
        |next: Option<&Part>| matches!(next, Some(Part::Literal(text)) if text.starts_with('/'));
    for (index, part) in prefix.parts.iter().enumerate() {
        if matches!(part, Part::Field(_)) && !followed_by_slash(prefix.parts.get(index + 1)) {
            return invalid(
                "!{partitionKey:…} must be followed by /, so that no value can reach into another's folder",
            );
        }
    }
    if prefix.text.len().max(prefix.bytes_max()) > PREFIX_BYTES_MAX {
        return invalid(format!(
            "must be at most {PREFIX_BYTES_MAX} bytes, {VALUE_BYTES_MAX} counted for each partition key"
        ));
    }
    let sample = prefix.sample();
    if sample.starts_with('/') || sample.contains("//") {
        return invalid("must not begin with / nor contain //: engines see folders without a name");
    }
    Ok(())
}

#[cfg(test)]
mod tests;
