//! The service as its users meet it: real HTTP in front, the real SDK behind, an emulated Kinesis
//! with faults injected on the wire.

mod aggregate;
mod answers;
mod attempts;
mod collector;
mod contract;
mod cors;
mod delivery;
mod duplicates;
mod edge;
mod encodings;
mod gate;
mod hostile;
mod lifecycle;
mod network;
mod numbers;
mod overload;
mod privacy;
mod quotas;
mod reload;
mod schemas;
mod spool;
mod stored;
mod traces;
