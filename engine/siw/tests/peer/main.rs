//! A device against a peer that speaks in bytes: one that keeps the rules, and one that breaks each of them.

mod counting;
mod ending;
mod exposed;
mod framing;
mod moving;
mod reads;
mod sends;
mod setup;
mod stags;
mod support;
