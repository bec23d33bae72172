//! The time of S3's own clock, as its answers show it (`Date`, whole seconds). How old an object is follows
//! from it and from the object's `LastModified`; this machine's clock has no say in that.

use std::sync::{Arc, Mutex, PoisonError};

use aws_sdk_s3::config::interceptors::BeforeDeserializationInterceptorContextRef;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;
use jiff::fmt::rfc2822::DateTimeParser;

/// Reads the time off one call's answer. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct ServedAt(Arc<Mutex<Option<i64>>>);

impl ServedAt {
    /// When the answer was given, in seconds since the epoch; `None` for one that does not say.
    pub(super) fn seconds(&self) -> Option<i64> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
        let seconds = context.response().headers().get("date").and_then(parse);
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = seconds;
        Ok(())
    }
}

/// RFC 9110, section 5.6.7.
fn parse(date: &str) -> Option<i64> {
    let time = DateTimeParser::new().parse_timestamp(date).ok()?;
    Some(time.as_second())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_of_http_are_read() {
        assert_eq!(parse("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777));
        assert_eq!(parse("yesterday"), None);
    }
}
