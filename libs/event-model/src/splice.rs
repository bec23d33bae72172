//! Makes the stored line: the client's own bytes, the server's fields in front.
//!
//! What the client wrote is never written anew, so nothing can be lost in writing it: not the
//! digits of a number, not the escapes of a text, not the order of names. The one change is that
//! line breaks become spaces. Valid JSON holds raw line breaks only between tokens, where they mean
//! nothing, and a line of JSON-lines must not hold one.

use std::io::Write;

use jiff::Timestamp;

use crate::{EventId, EventType, RawEvent, SchemaVersion, field};

/// What the server adds to an event. A field that is `None` is not written: the client sent it, or
/// it is not known.
#[derive(Clone, Copy, Debug)]
pub struct ServerFields<'a> {
    /// `eventid`, where the client gave none.
    pub event_id: Option<EventId>,
    /// `eventtype`, where only the request path gave it.
    pub event_type: Option<&'a EventType>,
    /// `schemaversion`, where the client gave none: the one the event was validated against.
    pub schema_version: Option<SchemaVersion>,
    /// `partnerid`, from the credential.
    pub partner_id: &'a str,
    /// `clientid`, from the credential.
    pub client_id: &'a str,
    /// `countrycode`, from the trusted edge.
    pub country_code: Option<&'a str>,
    /// `receivedtime`; written in UTC with milliseconds.
    pub received_time: Timestamp,
    /// `correctedtime`; written as `receivedtime` is.
    pub corrected_time: Option<Timestamp>,
}

impl ServerFields<'_> {
    /// The line to store, without its line break.
    ///
    /// The event must not bring a name that is added here. [`RawEvent::parse`] has refused those
    /// that only the server sets; the caller leaves `None` what the client sent.
    #[must_use]
    pub fn splice(&self, event: &RawEvent<'_>) -> Vec<u8> {
        let mut line = Vec::with_capacity(event.bytes().len() + 320);
        let mut names = Names {
            line: &mut line,
            first: true,
        };
        if let Some(event_id) = self.event_id {
            names.put_plain(field::EVENTID, event_id.encode(&mut EventId::buffer()));
        }
        if let Some(event_type) = self.event_type {
            names.put_plain(field::EVENTTYPE, event_type.as_str());
        }
        if let Some(version) = self.schema_version {
            names.put_shown(field::SCHEMAVERSION, version);
        }
        names.put_text(field::PARTNERID, self.partner_id);
        names.put_text(field::CLIENTID, self.client_id);
        if let Some(country) = self.country_code {
            names.put_text(field::COUNTRYCODE, country);
        }
        names.put_shown(field::RECEIVEDTIME, format_args!("{:.3}", self.received_time));
        if let Some(corrected) = self.corrected_time {
            names.put_shown(field::CORRECTEDTIME, format_args!("{corrected:.3}"));
        }
        if !event.is_empty() {
            line.push(b',');
        }
        let own = line.len();
        line.extend_from_slice(event.bytes().get(1..).unwrap_or_default());
        for byte in &mut line[own..] {
            // Without a branch, so that it is done for many bytes at a time.
            *byte = if matches!(*byte, b'\n' | b'\r') {
                b' '
            } else {
                *byte
            };
        }
        line
    }
}

/// Writes names and values behind an opening brace.
struct Names<'l> {
    line: &'l mut Vec<u8>,
    first: bool,
}

impl Names<'_> {
    fn name(&mut self, name: &str) {
        self.line
            .extend_from_slice(if self.first { b"{\"" } else { b",\"" });
        self.first = false;
        self.line.extend_from_slice(name.as_bytes());
        self.line.extend_from_slice(b"\":");
    }

    /// A text with nothing to escape.
    fn put_plain(&mut self, name: &str, value: &str) {
        self.name(name);
        self.line.push(b'"');
        self.line.extend_from_slice(value.as_bytes());
        self.line.push(b'"');
    }

    /// A value whose form has nothing to escape.
    fn put_shown(&mut self, name: &str, value: impl std::fmt::Display) {
        self.name(name);
        write!(self.line, "\"{value}\"").expect("a vector takes every byte");
    }

    /// A value that may hold anything.
    fn put_text(&mut self, name: &str, value: &str) {
        self.name(name);
        serde_json::to_writer(&mut *self.line, value).expect("a text into a vector");
    }
}

#[cfg(test)]
#[path = "splice/tests.rs"]
mod tests;
