//! A ring of bytes for small copies that leave in the order they came.

/// A piece of the ring.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece {
    /// Where it begins.
    pub start: usize,
    /// Bytes to give back: the piece and what was skipped to keep it in one run.
    pub taken: usize,
}

/// A fixed ring of bytes, handed out in contiguous pieces and given back in the same order.
#[derive(Debug)]
pub(super) struct Arena {
    bytes: Box<[u8]>,
    tail: usize,
    used: usize,
}

impl Arena {
    pub fn new(capacity: usize) -> Self {
        Self { bytes: vec![0; capacity].into_boxed_slice(), tail: 0, used: 0 }
    }

    /// Takes `len` contiguous bytes; `None` when there is no such run now.
    pub fn take(&mut self, len: usize) -> Option<Piece> {
        let (capacity, free) = (self.bytes.len(), self.bytes.len() - self.used);
        let to_end = capacity - self.tail;
        let skip = if len <= to_end { 0 } else { to_end };
        // An empty ring begins anew rather than waste its end.
        let (start, taken) = match skip {
            _ if self.used == 0 => (0, len),
            0 => (self.tail, len),
            _ => (0, skip.checked_add(len)?),
        };
        if taken > free {
            return None;
        }
        self.tail = (start + len) % capacity.max(1);
        self.used += taken;
        Some(Piece { start, taken })
    }

    /// Whether [`Arena::take`] of `len` bytes would succeed; an empty ring has all the room there will ever be.
    pub fn has_room(&self, len: usize) -> bool {
        let (to_end, free) = (self.bytes.len() - self.tail, self.bytes.len() - self.used);
        let skip = if len <= to_end { 0 } else { to_end };
        self.used == 0 || len.saturating_add(skip) <= free
    }

    /// Gives back the `taken` bytes of the oldest piece.
    pub fn release(&mut self, taken: usize) {
        debug_assert!(taken <= self.used, "more released than taken");
        self.used -= taken;
    }

    /// Takes every piece back.
    pub fn reset(&mut self) {
        self.used = 0;
    }

    /// Where byte `start` is, for an iovec.
    pub fn address(&self, start: usize) -> *const u8 {
        self.bytes[start..].as_ptr()
    }

    /// The bytes of a piece, to be written.
    pub fn bytes(&mut self, start: usize, len: usize) -> &mut [u8] {
        &mut self.bytes[start..start + len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;

    #[test]
    fn pieces_never_overlap_and_all_comes_back() {
        let mut arena = Arena::new(64);
        let mut live: VecDeque<(Piece, usize)> = VecDeque::new();
        let mut granted = 0;
        for i in 0..1000usize {
            let len = i * 7 % 33;
            while arena.take(len).is_none_or(|piece| {
                for (other, n) in &live {
                    assert!(piece.start + len <= other.start || other.start + n <= piece.start || len == 0 || *n == 0);
                }
                live.push_back((piece, len));
                granted += 1;
                false
            }) {
                let (oldest, _) = live.pop_front().expect("an empty ring has room");
                arena.release(oldest.taken);
            }
        }
        assert_eq!(granted, 1000);
        live.iter().for_each(|(piece, _)| arena.release(piece.taken));
        assert_eq!(arena.used, 0);
        assert!(arena.take(64).is_some() && arena.take(1).is_none() && arena.take(0).is_some());
    }

    #[test]
    fn more_than_all_is_refused() {
        assert!(Arena::new(8).take(9).is_none());
        assert!(Arena::new(8).take(usize::MAX).is_none());
    }
}
