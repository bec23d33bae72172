//! A body of any bytes: it holds events that lie within it, or is refused at a byte of it.
//!
//! The decoder is taken in as a file, so that it needs neither a public name nor the whole service
//! to be built.

#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::value::RawValue;

#[allow(dead_code)]
#[path = "../../services/events/src/decode.rs"]
mod decode;
#[allow(dead_code)]
#[path = "../../services/events/src/refusal.rs"]
mod refusal;

use crate::{
    decode::{Decoded, Format, decode},
    refusal::Refusal,
};

const MAX_EVENTS: usize = 16;

fuzz_target!(|body: &[u8]| {
    for format in [Format::Json, Format::Ndjson] {
        match decode(body, format, MAX_EVENTS) {
            Ok(Decoded { events, .. }) => {
                assert!(!events.is_empty() && events.len() <= MAX_EVENTS);
                let within = body.as_ptr_range();
                for event in events {
                    let at = event.as_bytes().as_ptr_range();
                    assert!(within.start <= at.start && at.end <= within.end && !event.is_empty());
                    if format == Format::Json {
                        serde_json::from_str::<&RawValue>(event).expect("events of a JSON body are JSON");
                    }
                }
            }
            Err(Refusal::NotJson { offset, .. }) => assert!(offset <= body.len()),
            Err(Refusal::WrongShape(_) | Refusal::TooManyEvents { .. }) => {}
            Err(other) => panic!("not a decoder's refusal: {other:?}"),
        }
    }
});
