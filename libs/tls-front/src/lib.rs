//! TLS in front of a plain port, for tests and measurements: the emulated AWS and the stubs speak plain
//! HTTP, production does not.
//!
//! An [`Authority`] is made anew each time and is trusted by nobody until its certificate is put where a
//! client looks for it. A [`Front`] ends TLS with a certificate of that authority and passes the bytes on,
//! both ways and as they are. What a client asks for through it can be heard: see [`Heads`].

mod authority;
mod front;
mod heads;

pub use authority::{Authority, AuthorityError};
pub use front::Front;
pub use heads::{Head, Heads};
