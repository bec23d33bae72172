//! Fifth stage: the line that is stored, and the key that decides its shard.

use std::sync::Arc;

use event_model::{EventId, ServerFields};
use jiff::Timestamp;

use crate::{credentials::Client, validate::Valid};

/// What the server knows of a request and adds to each of its events.
pub(crate) struct Origin<'r> {
    pub(crate) client: &'r Client,
    /// Two lower-case letters, from the trusted edge.
    pub(crate) country: Option<String>,
    pub(crate) received: Timestamp,
}

/// An event as it will be stored.
pub(crate) struct Enriched {
    pub(crate) event_id: EventId,
    pub(crate) line: Vec<u8>,
    pub(crate) partition_key: Arc<str>,
}

impl Origin<'_> {
    /// Adds what only the server knows. Events of one device share a partition key and so keep their
    /// order; others are spread by their id.
    pub(crate) fn enrich(&self, valid: &Valid<'_, '_>) -> Enriched {
        let event_id = valid.event_id.unwrap_or_else(EventId::generate);
        let fields = ServerFields {
            event_id: valid.event_id.is_none().then_some(event_id),
            event_type: (!valid.names_type).then(|| valid.schema.event_type()),
            schema_version: (!valid.names_version).then(|| valid.schema.version()),
            partner_id: self.client.partner_id(),
            client_id: self.client.client_id(),
            country_code: self.country.as_deref(),
            received_time: self.received,
        };
        let partition_key = match &valid.device_id {
            Some(device_id) => device_id.as_str().into(),
            None => event_id.to_string().into(),
        };
        Enriched {
            event_id,
            line: fields.splice(&valid.event),
            partition_key,
        }
    }
}
