//! Third stage: finds the events in a body, without judging any of them.
//!
//! | body | events |
//! |---|---|
//! | `{…}` | itself |
//! | `[{…}, {…}]` | its items |
//! | `{"sentat": "…", "events": [{…}, {…}]}` | the items of `events` |
//! | `application/x-ndjson` | one a line; blank lines count for nothing |
//!
//! A body that is not JSON says nothing about where its events are, and is refused as a whole. In
//! NDJSON each line stands for itself.

use std::fmt;

use axum::http::{HeaderMap, header};
use event_model::syntax_fault;
use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use jiff::Timestamp;

use crate::refusal::Refusal;

const SHAPES: &str = "send one event, an array of events, or {\"sentat\": …, \"events\": […]}";
const NO_EVENTS: &str = "there is no event in the body";
const SENTAT: &str = "\"sentat\" must be an RFC 3339 time";

/// How events lie in a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// One JSON value.
    Json,
    /// One JSON value a line.
    Ndjson,
}

impl Format {
    /// What the headers say. A body without a media type is taken for JSON (RFC 9110, section 8.3,
    /// leaves that to the reader).
    pub(crate) fn of(headers: &HeaderMap) -> Result<Self, Refusal> {
        let media_type = match single(headers, header::CONTENT_TYPE) {
            None => return Ok(Self::Json),
            Some(value) => value.ok_or(Refusal::MediaType)?,
        };
        let mut parts = media_type.split(';').map(str::trim);
        let format = match parts.next().unwrap_or_default().to_ascii_lowercase().as_str() {
            "application/json" => Self::Json,
            "application/x-ndjson" => Self::Ndjson,
            _ => return Err(Refusal::MediaType),
        };
        let utf8 = |parameter: &str| match parameter.to_ascii_lowercase().strip_prefix("charset=") {
            Some(charset) => matches!(charset.trim_matches('"'), "utf-8" | "utf8"),
            None => true,
        };
        if parts.all(utf8) {
            Ok(format)
        } else {
            Err(Refusal::MediaType)
        }
    }
}

/// `None` where the header is absent, `Some(None)` where it is there twice or not text.
pub(crate) fn single(headers: &HeaderMap, name: header::HeaderName) -> Option<Option<&str>> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    Some(value.to_str().ok().filter(|_| values.next().is_none()))
}

/// What a body holds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Decoded<'b> {
    /// The text of each event, in order.
    pub(crate) events: Vec<&'b str>,
    /// When the client sent them, by its own clock.
    pub(crate) sent_at: Option<Timestamp>,
}

impl<'b> From<Vec<&'b str>> for Decoded<'b> {
    fn from(events: Vec<&'b str>) -> Self {
        let sent_at = None;
        Self { events, sent_at }
    }
}

/// The events in a body.
pub(crate) fn decode(body: &[u8], format: Format, max_events: usize) -> Result<Decoded<'_>, Refusal> {
    let body = std::str::from_utf8(body).map_err(|error| Refusal::NotJson {
        offset: error.valid_up_to(),
        problem: "not UTF-8".to_owned(),
    })?;
    let decoded = match format {
        Format::Json => json(body, max_events)?,
        Format::Ndjson => lines(body, max_events)?.into(),
    };
    if decoded.events.is_empty() {
        Err(Refusal::WrongShape(NO_EVENTS))
    } else {
        Ok(decoded)
    }
}

fn lines(body: &str, max_events: usize) -> Result<Vec<&str>, Refusal> {
    let lines = body.split('\n').map(str::trim_ascii);
    let events: Vec<&str> = lines
        .filter(|line| !line.is_empty())
        .take(max_events.saturating_add(1))
        .collect();
    if events.len() > max_events {
        return Err(Refusal::TooManyEvents { limit: max_events });
    }
    Ok(events)
}

fn json(body: &str, max_events: usize) -> Result<Decoded<'_>, Refusal> {
    let mut refusal = None;
    let mut deserializer = serde_json::Deserializer::from_str(body);
    let shape = Body {
        max_events,
        refusal: &mut refusal,
    }
    .deserialize(&mut deserializer)
    .and_then(|shape| deserializer.end().map(|()| shape));
    match shape {
        Ok(Shape::Single) => Ok(vec![body.trim_ascii()].into()),
        Ok(Shape::Several(events, sent_at)) => Ok(Decoded {
            events: events.into_iter().map(RawValue::get).collect(),
            sent_at,
        }),
        Err(error) => Err(refusal.unwrap_or_else(|| {
            let (offset, problem) = syntax_fault(body.as_bytes(), &error);
            Refusal::NotJson { offset, problem }
        })),
    }
}

enum Shape<'b> {
    /// The body is one event.
    Single,
    Several(Vec<&'b RawValue>, Option<Timestamp>),
}

/// Reads a body's outermost level; whatever lies within is only skipped over.
struct Body<'r> {
    max_events: usize,
    refusal: &'r mut Option<Refusal>,
}

impl Body<'_> {
    fn refuse<E: de::Error>(self, refusal: Refusal) -> E {
        let error = E::custom(&refusal);
        *self.refusal = Some(refusal);
        error
    }
}

impl<'de> DeserializeSeed<'de> for Body<'_> {
    type Value = Shape<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Shape<'de>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Body<'_> {
    type Value = Shape<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("events")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Shape<'de>, A::Error> {
        let (mut events, mut sentat, mut others) = (None, None, false);
        while let Some(name) = access.next_key::<String>()? {
            match name.as_str() {
                "events" if events.is_none() => events = Some(access.next_value::<&RawValue>()?),
                "sentat" if sentat.is_none() => sentat = Some(access.next_value::<&RawValue>()?),
                _ => {
                    access.next_value::<IgnoredAny>()?;
                    others = true;
                }
            }
        }
        // No event type has a field `events`, so an object with one is a batch, or a mistake.
        let Some(events) = events else {
            return Ok(Shape::Single);
        };
        if others {
            return Err(self.refuse(Refusal::WrongShape(SHAPES)));
        }
        let sent_at = sentat.map(time);
        if sent_at == Some(None) {
            return Err(self.refuse(Refusal::WrongShape(SENTAT)));
        }
        let mut inner = serde_json::Deserializer::from_str(events.get());
        match inner.deserialize_any(Items {
            max_events: self.max_events,
        }) {
            Ok(Some(events)) => Ok(Shape::Several(events, sent_at.flatten())),
            Ok(None) => {
                let limit = self.max_events;
                Err(self.refuse(Refusal::TooManyEvents { limit }))
            }
            Err(_) => Err(self.refuse(Refusal::WrongShape(SHAPES))),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, access: A) -> Result<Shape<'de>, A::Error> {
        let limit = self.max_events;
        match (Items { max_events: limit }).visit_seq(access)? {
            Some(events) => Ok(Shape::Several(events, None)),
            None => Err(self.refuse(Refusal::TooManyEvents { limit })),
        }
    }

    fn visit_str<E: de::Error>(self, _: &str) -> Result<Shape<'de>, E> {
        Err(self.refuse(Refusal::WrongShape(SHAPES)))
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<Shape<'de>, E> {
        Err(self.refuse(Refusal::WrongShape(SHAPES)))
    }

    fn visit_unit<E: de::Error>(self) -> Result<Shape<'de>, E> {
        Err(self.refuse(Refusal::WrongShape(SHAPES)))
    }

    fn visit_u64<E: de::Error>(self, _: u64) -> Result<Shape<'de>, E> {
        Err(self.refuse(Refusal::WrongShape(SHAPES)))
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<Shape<'de>, E> {
        Err(self.refuse(Refusal::WrongShape(SHAPES)))
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<Shape<'de>, E> {
        Err(self.refuse(Refusal::WrongShape(SHAPES)))
    }
}

/// The items of an array, or `None` as soon as there are too many.
struct Items {
    max_events: usize,
}

impl<'de> Visitor<'de> for Items {
    type Value = Option<Vec<&'de RawValue>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of events")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
        let mut events = Vec::new();
        while let Some(event) = access.next_element::<&RawValue>()? {
            if events.len() == self.max_events {
                return Ok(None);
            }
            events.push(event);
        }
        Ok(Some(events))
    }
}

fn time(value: &RawValue) -> Option<Timestamp> {
    serde_json::from_str::<String>(value.get()).ok()?.parse().ok()
}

#[cfg(test)]
#[path = "decode/tests.rs"]
mod tests;
