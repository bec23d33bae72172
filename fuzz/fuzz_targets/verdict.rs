//! An event of any bytes against every schema: an answer in bounds, and only flat events of known
//! fields get through.

#![no_main]

use std::sync::LazyLock;

use event_model::{Catalogue, Envelope, MAX_ERRORS, RawEvent, Tree};
use libfuzzer_sys::fuzz_target;

static CATALOGUE: LazyLock<Catalogue> =
    LazyLock::new(|| Catalogue::bundled().expect("the bundled catalogue"));

fuzz_target!(|bytes: &[u8]| {
    let Ok(event) = RawEvent::parse(bytes, 32) else {
        return;
    };
    if let Err(fault) = Envelope::read(&event) {
        assert!(!fault.field().is_empty() && !fault.to_string().is_empty());
    }
    for name in CATALOGUE.event_types() {
        let schema = CATALOGUE.latest(name.as_str()).expect("a type has a version");
        match schema.verdict(&event) {
            Ok(()) => {
                let Tree::Object(fields) = event.tree() else {
                    panic!("an event is an object")
                };
                for (name, value) in fields {
                    assert!(schema.pii(name).is_some(), "an unknown field got through");
                    assert!(
                        !matches!(value, Tree::Object(_) | Tree::Array(_)),
                        "events are flat"
                    );
                }
            }
            Err(errors) => {
                assert!(!errors.is_empty() && errors.len() <= MAX_ERRORS);
                for error in errors {
                    assert!(error.pointer.len() <= 256 && error.message.len() <= 256);
                }
            }
        }
    }
});
