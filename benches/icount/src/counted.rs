//! What valgrind is told about: the turns that count, and where a stretch of them ends.
//!
//! `benches/icount/run` names these functions to callgrind, which collects inside [`counted_turn`] only and writes its
//! counts out before each [`window_ended`]. So nothing of the driving side is counted.

use std::hint::black_box;

use reactors::{Nanos, Progress, Reactor};

/// A turn that is counted.
#[inline(never)]
pub fn counted_turn(reactor: &mut Reactor, now: Nanos) -> Progress {
    // The black box keeps the compiler from jumping into the turn instead of calling it.
    black_box(reactor.turn(now))
}

/// The turns since the last call belong together.
#[inline(never)]
pub fn window_ended(number: u64) {
    black_box(number);
}
