//! What the services say over HTTP, apart from what they mean by it.

pub(crate) mod answer;
pub(crate) mod credential;
pub(crate) mod json;
