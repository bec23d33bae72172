//! Why a whole request is refused, or one event of it. No HTTP here: [`crate::http`] gives each its
//! status code, in one place.

use std::time::Duration;

use event_model::{EnvelopeError, EventId, EventType, MalformedEvent, SchemaError, SchemaVersion};

/// Why a request as a whole is refused. None of its events was looked at, or none was published.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    /// No credentials, or wrong ones. Which it is, is not said.
    #[error("send a valid key and secret as Basic credentials")]
    Unauthenticated,
    /// Too many attempts from this address have failed.
    #[error("too many attempts from this address have failed: wait")]
    TooManyFailures {
        /// Until the next attempt is looked at.
        wait: Duration,
    },
    /// The client or its partner has used up its quota.
    #[error("the quota of this {} is used up: wait", scope.as_str())]
    OverQuota {
        /// Whose quota.
        scope: Scope,
        /// Until so many events are let through.
        wait: Duration,
    },
    /// The type in the path is not in the catalogue.
    #[error("there is no event type of this name: see /v1/schemas")]
    UnknownType,
    /// The credential may not send the type in the path.
    #[error("this credential may not send events of this type")]
    Forbidden,
    /// The body is not JSON.
    #[error("the body is not valid JSON: {problem} (at byte {offset})")]
    NotJson {
        /// Where reading stopped, in bytes from the start of the body.
        offset: usize,
        /// The parser's words, which do not hold what was found.
        problem: String,
    },
    /// The body is JSON, but none of the shapes that hold events.
    #[error("{0}")]
    WrongShape(&'static str),
    /// More events than one request may bring.
    #[error("more than {limit} events: split the request")]
    TooManyEvents {
        /// How many are allowed.
        limit: usize,
    },
    /// A body larger than is read, or than it may become.
    #[error("the body is larger than {limit} bytes: split the request")]
    BodyTooLarge {
        /// How many bytes are allowed.
        limit: usize,
    },
    /// A media type that is not understood.
    #[error("send application/json or application/x-ndjson, in UTF-8")]
    MediaType,
    /// An encoding that is not understood.
    #[error("send the body in one content encoding at most, gzip or zstd")]
    ContentEncoding,
    /// The body is not what its content encoding says.
    #[error("the body is not valid {encoding}: {problem} (at byte {offset} of what was sent)")]
    BadEncoding {
        /// As in the header.
        encoding: &'static str,
        /// Where reading stopped, in bytes from the start of the body as it was sent.
        offset: usize,
        /// What is wrong there.
        problem: &'static str,
    },
    /// The body did not arrive in time.
    #[error("the body did not arrive in time")]
    BodyTooSlow,
    /// The connection ended inside the body.
    #[error("the body ended before its length")]
    BodyCutOff,
    /// What is in flight fills the budget.
    #[error("too much is in flight: try again later")]
    Overloaded,
    /// What this client alone has in flight fills its share of the budget.
    #[error("this client has too much in flight: try again later")]
    TooMuchInFlight,
}

/// Whose quota it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    Client,
    Partner,
}

impl Scope {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Partner => "partner",
        }
    }
}

impl Refusal {
    /// Every code.
    pub(crate) const CODES: [&'static str; 17] = [
        "unauthenticated",
        "too_many_failures",
        "unknown_type",
        "forbidden",
        "not_json",
        "wrong_shape",
        "too_many_events",
        "body_too_large",
        "media_type",
        "content_encoding",
        "bad_encoding",
        "body_too_slow",
        "body_cut_off",
        "overloaded",
        "too_much_in_flight",
        "client_quota",
        "partner_quota",
    ];

    /// A stable name for answers and metrics.
    pub(crate) fn code(&self) -> &'static str {
        let index = match self {
            Self::Unauthenticated => 0,
            Self::TooManyFailures { .. } => 1,
            Self::UnknownType => 2,
            Self::Forbidden => 3,
            Self::NotJson { .. } => 4,
            Self::WrongShape(_) => 5,
            Self::TooManyEvents { .. } => 6,
            Self::BodyTooLarge { .. } => 7,
            Self::MediaType => 8,
            Self::ContentEncoding => 9,
            Self::BadEncoding { .. } => 10,
            Self::BodyTooSlow => 11,
            Self::BodyCutOff => 12,
            Self::Overloaded => 13,
            Self::TooMuchInFlight => 14,
            Self::OverQuota {
                scope: Scope::Client, ..
            } => 15,
            Self::OverQuota {
                scope: Scope::Partner,
                ..
            } => 16,
        };
        Self::CODES[index]
    }
}

/// Why one event is rejected, and whatever could be read of its id and version by then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rejected {
    pub(crate) event_id: Option<EventId>,
    /// Its type, where that is one of the catalogue's.
    pub(crate) event_type: Option<EventType>,
    pub(crate) schema_version: Option<SchemaVersion>,
    pub(crate) reason: Rejection,
}

/// Why one event is rejected. It never holds a value of the event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Rejection {
    TooLarge { limit: usize },
    Malformed(MalformedEvent),
    Envelope(EnvelopeError),
    MissingType,
    TypeMismatch,
    UnknownType,
    UnknownVersion,
    Forbidden,
    Invalid(Vec<SchemaError>),
}

impl Rejection {
    /// Every code, so that each metric is there from the start.
    pub(crate) const CODES: [&'static str; 9] = [
        "too_large",
        "malformed",
        "invalid_envelope",
        "missing_type",
        "type_mismatch",
        "unknown_type",
        "unknown_version",
        "forbidden",
        "invalid",
    ];

    /// A stable name for answers and metrics.
    pub(crate) fn code(&self) -> &'static str {
        Self::CODES[self.index()]
    }

    /// Its place in [`Self::CODES`].
    pub(crate) fn index(&self) -> usize {
        match self {
            Self::TooLarge { .. } => 0,
            Self::Malformed(_) => 1,
            Self::Envelope(_) => 2,
            Self::MissingType => 3,
            Self::TypeMismatch => 4,
            Self::UnknownType => 5,
            Self::UnknownVersion => 6,
            Self::Forbidden => 7,
            Self::Invalid(_) => 8,
        }
    }
}
