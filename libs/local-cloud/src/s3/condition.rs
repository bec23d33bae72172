//! `If-Match` and its relatives, decided against what is there.

use s3s::dto::{ETagCondition, Timestamp};
use s3s::{S3Result, s3_error};

/// Conditions on a write, decided under the lock that also commits it.
///
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html>
#[derive(Clone, Debug, Default)]
pub(super) struct WriteCondition {
    if_match: Option<ETagCondition>,
    if_none_match: bool,
}

impl WriteCondition {
    /// # Errors
    /// `NotImplemented` for an `If-None-Match` other than `*`, as S3 answers.
    pub(super) fn new(
        if_match: Option<ETagCondition>,
        if_none_match: Option<&ETagCondition>,
    ) -> S3Result<Self> {
        if if_none_match.is_some_and(|condition| !condition.is_any()) {
            return Err(s3_error!(
                NotImplemented,
                "A header you provided implies functionality that is not implemented: If-None-Match takes only *."
            ));
        }
        Ok(Self {
            if_match,
            if_none_match: if_none_match.is_some(),
        })
    }

    /// `current` is the ETag of the current version, `None` when there is none or it is a delete
    /// marker.
    pub(super) fn check_put(&self, current: Option<&str>) -> S3Result<()> {
        if self.if_none_match && current.is_some() {
            return Err(failed("If-None-Match"));
        }
        match (&self.if_match, current) {
            (Some(_), None) => Err(s3_error!(NoSuchKey, "The specified key does not exist.")),
            (Some(condition), Some(etag)) if !matches(condition, etag) => Err(failed("If-Match")),
            _ => Ok(()),
        }
    }

    /// A condition on an object that is not there has failed: there is nothing to delete.
    ///
    /// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-deletes.html>
    pub(super) fn check_delete(&self, current: Option<&str>) -> S3Result<()> {
        match &self.if_match {
            Some(condition) if !current.is_some_and(|etag| matches(condition, etag)) => {
                Err(failed("If-Match"))
            }
            _ => Ok(()),
        }
    }
}

/// Conditions on a read, or on the source of a copy.
#[derive(Clone, Debug, Default)]
pub(super) struct ReadCondition {
    pub(super) if_match: Option<ETagCondition>,
    pub(super) if_none_match: Option<ETagCondition>,
    pub(super) if_modified_since: Option<Timestamp>,
    pub(super) if_unmodified_since: Option<Timestamp>,
}

/// What a read condition comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Proceed,
    NotModified,
    Failed(&'static str),
}

impl ReadCondition {
    /// The order and the precedence of RFC 9110, section 13.2.2, which S3 follows.
    ///
    /// `modified` has whole seconds, as the header that clients repeat does.
    pub(super) fn evaluate(&self, etag: &str, modified: &Timestamp) -> Verdict {
        match (&self.if_match, &self.if_unmodified_since) {
            (Some(condition), _) if !matches(condition, etag) => return Verdict::Failed("If-Match"),
            (None, Some(since)) if modified > since => return Verdict::Failed("If-Unmodified-Since"),
            _ => {}
        }
        match (&self.if_none_match, &self.if_modified_since) {
            (Some(condition), _) if matches(condition, etag) => Verdict::NotModified,
            (None, Some(since)) if modified <= since => Verdict::NotModified,
            _ => Verdict::Proceed,
        }
    }

    /// For the source of a copy, where "not modified" is a failure too.
    pub(super) fn check_copy_source(&self, etag: &str, modified: &Timestamp) -> S3Result<()> {
        match self.evaluate(etag, modified) {
            Verdict::Proceed => Ok(()),
            Verdict::Failed(header) => Err(failed(header)),
            Verdict::NotModified => Err(failed("the copy source's")),
        }
    }
}

fn matches(condition: &ETagCondition, etag: &str) -> bool {
    condition
        .as_etag()
        .is_none_or(|expected| expected.value() == etag)
}

pub(super) fn failed(header: &str) -> s3s::S3Error {
    s3_error!(
        PreconditionFailed,
        "At least one of the pre-conditions you specified did not hold: {header}"
    )
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use s3s::dto::ETag;

    use super::*;

    fn etag(value: &str) -> ETagCondition {
        ETagCondition::ETag(ETag::Strong(value.to_owned()))
    }

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
    }

    fn code(result: S3Result<()>) -> Option<String> {
        result.err().map(|error| error.code().as_str().to_owned())
    }

    #[test]
    fn writes() {
        let none_match = WriteCondition::new(None, Some(&ETagCondition::Any)).expect("supported");
        assert_eq!(code(none_match.check_put(None)), None);
        assert_eq!(
            code(none_match.check_put(Some("a"))),
            Some("PreconditionFailed".to_owned())
        );
        let matching = WriteCondition::new(Some(etag("a")), None).expect("supported");
        assert_eq!(code(matching.check_put(Some("a"))), None);
        assert_eq!(
            code(matching.check_put(Some("b"))),
            Some("PreconditionFailed".to_owned())
        );
        assert_eq!(code(matching.check_put(None)), Some("NoSuchKey".to_owned()));
        assert_eq!(code(matching.check_delete(Some("a"))), None);
        assert_eq!(
            code(matching.check_delete(Some("b"))),
            Some("PreconditionFailed".to_owned())
        );
        assert_eq!(
            code(matching.check_delete(None)),
            Some("PreconditionFailed".to_owned())
        );
        assert!(WriteCondition::new(None, Some(&etag("a"))).is_err());
    }

    #[test]
    fn reads_give_etags_precedence_over_times() {
        let read = |if_match, if_none_match, if_modified_since, if_unmodified_since| {
            ReadCondition {
                if_match,
                if_none_match,
                if_modified_since,
                if_unmodified_since,
            }
            .evaluate("a", &at(100))
        };
        assert_eq!(read(None, None, None, None), Verdict::Proceed);
        assert_eq!(read(Some(etag("a")), None, None, Some(at(50))), Verdict::Proceed);
        assert_eq!(
            read(Some(etag("b")), None, None, Some(at(150))),
            Verdict::Failed("If-Match")
        );
        assert_eq!(
            read(None, None, None, Some(at(99))),
            Verdict::Failed("If-Unmodified-Since")
        );
        assert_eq!(read(None, None, None, Some(at(100))), Verdict::Proceed);
        assert_eq!(
            read(None, Some(etag("a")), Some(at(50)), None),
            Verdict::NotModified
        );
        assert_eq!(read(None, Some(etag("b")), Some(at(150)), None), Verdict::Proceed);
        assert_eq!(read(None, None, Some(at(100)), None), Verdict::NotModified);
        assert_eq!(read(None, None, Some(at(99)), None), Verdict::Proceed);
        assert_eq!(
            read(None, Some(ETagCondition::Any), None, None),
            Verdict::NotModified
        );
    }
}
