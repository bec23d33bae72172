//! The time of Kinesis' own clock, as its answers show it (`Date`, whole seconds). It tells how far an
//! answer without records reaches; this machine's clock has no say in that.

use std::sync::{Arc, Mutex, PoisonError};

use aws_sdk_kinesis::config::interceptors::BeforeDeserializationInterceptorContextRef;
use aws_sdk_kinesis::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_kinesis::error::BoxError;
use jiff::fmt::rfc2822::DateTimeParser;

use crate::record::Arrival;

/// Reads the time off one call's answer. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct ServedAt {
    time: Arc<Mutex<Option<Arrival>>>,
}

impl ServedAt {
    /// When the answer was given; `None` without an answer, or one that does not say.
    pub fn time(&self) -> Option<Arrival> {
        *self.time.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Intercept for ServedAt {
    fn name(&self) -> &'static str {
        "ServedAt"
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let time = context.response().headers().get("date").and_then(parse);
        *self.time.lock().unwrap_or_else(PoisonError::into_inner) = time;
        Ok(())
    }
}

/// RFC 9110, section 5.6.7.
fn parse(date: &str) -> Option<Arrival> {
    let time = DateTimeParser::new().parse_timestamp(date).ok()?;
    Arrival::from_millis(time.as_millisecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_of_http_are_read() {
        let time = parse("Thu, 01 Jan 2026 00:00:05 GMT").expect("a date");
        assert_eq!(time.to_string(), "2026-01-01T00:00:05.000Z");
        assert_eq!(parse("yesterday"), None);
    }
}
