//! The service as its users meet it: real HTTP in front, the real SDK behind, an emulated Kinesis
//! with faults injected on the wire.

mod answers;
mod attempts;
mod collector;
mod contract;
mod cors;
mod delivery;
mod encodings;
mod hostile;
mod lifecycle;
mod privacy;
mod reload;
mod spool;
