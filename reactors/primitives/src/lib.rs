//! The words every layer of isere shares: tags, fixed slabs, index queues, serial numbers, checked reads of
//! wire bytes, and the affine DMA buffer handle.
//!
//! No clock, no socket, no thread, no device: this crate builds without std, and the protocol crates above it
//! inherit that.
#![no_std]
#![deny(unsafe_code)]

extern crate alloc;

mod buf;
mod cache;
pub mod queue;
pub mod ring;
pub mod serial;
pub mod slab;
pub mod span;
pub mod tag;

pub use buf::{Buf, Home};
pub use cache::{copy_past_cache, prefetch, settle_copies};
pub use queue::IndexQueue;
pub use ring::Ring;
pub use serial::Serial;
pub use slab::{Key, Slab};
pub use tag::Tag;
