//! What valgrind is told about: the turns that count, and where a stretch of them ends.
//!
//! `benches/icount/run` names these functions to callgrind, which collects inside [`counted_turns`] only and writes its
//! counts out before each [`window_ended`]. So nothing of the driving side is counted.

use std::hint::black_box;

use reactors::{Nanos, Progress, Reactor};

/// Turns that are counted.
#[inline(never)]
pub fn counted_turns(reactor: &mut Reactor, turns: u32, now: Nanos) -> Progress {
    // The black box keeps the compiler from jumping into the turns instead of calling them.
    black_box(reactor.turns(turns, || now))
}

/// The turns since the last call belong together.
#[inline(never)]
pub fn window_ended(number: u64) {
    black_box(number);
}
