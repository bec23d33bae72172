//! Fourth stage: the verdict on one event.
//!
//! Cheap questions first: size, form, shared fields, then whether its type is known and allowed, and
//! last the schema.

use std::sync::Arc;

use event_model::{Catalogue, Envelope, EventId, EventType, RawEvent, Schema, SchemaVersion};

use crate::{
    config::Limits,
    credentials::Client,
    refusal::{Rejected, Rejection},
};

/// What one request's events are judged by.
pub(crate) struct Rules<'r> {
    pub(crate) catalogue: &'r Catalogue,
    pub(crate) client: &'r Client,
    pub(crate) limits: &'r Limits,
    /// The type in the request's path.
    pub(crate) path_type: Option<&'r EventType>,
}

/// An event that may be stored.
pub(crate) struct Valid<'r, 'b> {
    pub(crate) event: RawEvent<'b>,
    pub(crate) schema: &'r Schema,
    pub(crate) event_id: Option<EventId>,
    /// It becomes the partition key.
    pub(crate) device_id: Option<Arc<str>>,
    pub(crate) names_type: bool,
    pub(crate) names_version: bool,
}

impl<'r> Rules<'r> {
    /// Judges one event.
    pub(crate) fn verdict<'b>(&self, text: &'b str) -> Result<Valid<'r, 'b>, Rejected> {
        let limit = self.limits.event_bytes;
        if text.len() > limit {
            return Err(unread(Rejection::TooLarge { limit }));
        }
        let event = RawEvent::parse_text(text, self.limits.depth)
            .map_err(|fault| unread(Rejection::Malformed(fault)))?;
        let envelope = Envelope::read(&event).map_err(|fault| unread(Rejection::Envelope(fault)))?;
        let (event_id, schema_version) = (envelope.event_id, envelope.schema_version);
        let rejected = |schema: Option<&Schema>, schema_version, reason| Rejected {
            event_id,
            event_type: schema.map(|schema| schema.event_type().clone()),
            schema_version,
            reason,
        };

        let schema = self
            .schema(&envelope)
            .map_err(|(schema, reason)| rejected(schema, schema_version, reason))?;
        if !self.client.may_send(schema) {
            return Err(rejected(Some(schema), schema_version, Rejection::Forbidden));
        }
        if let Err(errors) = schema.verdict(&event) {
            let version = Some(schema.version());
            return Err(rejected(Some(schema), version, Rejection::Invalid(errors)));
        }
        Ok(Valid {
            schema,
            event_id,
            device_id: envelope.device_id.map(Arc::from),
            names_type: envelope.event_type.is_some(),
            names_version: schema_version.is_some(),
            event,
        })
    }

    /// The schema to judge by; or why there is none, and whatever schema there is of the type.
    fn schema(&self, envelope: &Envelope<'_>) -> Result<&'r Schema, (Option<&'r Schema>, Rejection)> {
        let event_type = match (self.path_type, &envelope.event_type) {
            (Some(path), Some(own)) if path != own => return Err((None, Rejection::TypeMismatch)),
            (Some(event_type), _) | (None, Some(event_type)) => event_type.as_str(),
            (None, None) => return Err((None, Rejection::MissingType)),
        };
        let latest = self.catalogue.latest(event_type);
        let latest = latest.ok_or((None, Rejection::UnknownType))?;
        let version: Option<SchemaVersion> = envelope.schema_version;
        version.map_or(Ok(latest), |version| {
            self.catalogue
                .get(event_type, version)
                .ok_or((Some(latest), Rejection::UnknownVersion))
        })
    }
}

/// A rejection of an event of which nothing could be read.
fn unread(reason: Rejection) -> Rejected {
    Rejected {
        event_id: None,
        event_type: None,
        schema_version: None,
        reason,
    }
}

#[cfg(test)]
#[path = "validate/tests.rs"]
mod tests;
