//! Fifth stage: the line that is stored, and the key that decides its shard.

use std::sync::Arc;

use event_model::{EventId, EventType, ServerFields, field};
use jiff::Timestamp;

use crate::{clock, country::CountryCode, credentials::Client, validate::Valid};

/// What the server knows of a request and adds to each of its events.
pub(crate) struct Origin<'r> {
    pub(crate) client: &'r Client,
    /// From the trusted edge, or by the client's address.
    pub(crate) country: Option<CountryCode>,
    pub(crate) received: Timestamp,
    /// When the client says that it sent them.
    pub(crate) sent: Option<Timestamp>,
}

/// An event as it will be stored.
pub(crate) struct Enriched {
    pub(crate) event_id: EventId,
    /// Whether the client gave the id.
    pub(crate) has_own_id: bool,
    pub(crate) event_type: EventType,
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
            country_code: self.country.as_ref().map(CountryCode::as_str),
            received_time: self.received,
            corrected_time: self.corrected(valid),
        };
        let partition_key = match &valid.device_id {
            Some(device_id) => Arc::clone(device_id),
            None => event_id.encode(&mut EventId::buffer()).into(),
        };
        Enriched {
            event_id,
            has_own_id: valid.event_id.is_some(),
            event_type: valid.schema.event_type().clone(),
            line: fields.splice(&valid.event),
            partition_key,
        }
    }

    fn corrected(&self, valid: &Valid<'_, '_>) -> Option<Timestamp> {
        let sent = self.sent?;
        let event = valid.event.field(field::EVENTTIME)?.as_str()?;
        clock::corrected(event.parse().ok()?, sent, self.received)
    }
}
