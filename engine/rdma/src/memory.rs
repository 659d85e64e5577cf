//! Memory as work requests name it, and what a peer may do with it.

use crate::limits::MAX_SGE;
use core::fmt;
use primitives::Buf;

/// A span of addresses: a region of the arena, to be registered once with each device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Memory {
    /// First byte.
    pub addr: usize,
    /// Bytes.
    pub len: usize,
}

impl Memory {
    /// Whether `len` bytes at `addr` lie in it.
    #[must_use]
    #[inline]
    pub const fn contains(&self, addr: usize, len: usize) -> bool {
        // Written without sums that could overflow.
        addr >= self.addr && addr - self.addr <= self.len && len <= self.len - (addr - self.addr)
    }

    /// Whether it shares a byte with `other`.
    #[must_use]
    pub const fn overlaps(&self, other: &Self) -> bool {
        self.len > 0
            && other.len > 0
            && if self.addr <= other.addr {
                other.addr - self.addr < self.len
            } else {
                self.addr - other.addr < other.len
            }
    }
}

/// A steering tag (RFC 5040), R_Key in InfiniBand's words: the peer's name for a [window](crate::QueuePair::bind).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Stag(pub u32);

impl fmt::Debug for Stag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Stag({:#010x})", self.0)
    }
}

/// A place in the peer's memory, as the peer advertised it. From the wire: nothing about it is checked here.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Remote {
    /// The window.
    pub stag: Stag,
    /// Absolute address within the window's bytes (zero-based addressing is not used).
    pub va: u64,
}

/// What a peer may do with a window.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// RDMA Read from it: the task writes to the device.
    RemoteRead,
    /// RDMA Write to it: the task reads from the device.
    RemoteWrite,
}

/// A scatter-gather element that owns its memory: bytes `start..start + len` of `buf`.
#[derive(Debug)]
#[must_use = "an Sge carries its buffer"]
pub struct Sge {
    /// The memory.
    pub buf: Buf,
    /// First byte.
    pub start: u32,
    /// Bytes.
    pub len: u32,
}

impl Sge {
    /// All meaningful bytes of `buf`.
    #[inline]
    pub fn filled(buf: Buf) -> Self {
        let len = buf.len() as u32;
        Self { buf, start: 0, len }
    }

    /// `len` bytes from byte `start` of `buf` on.
    pub const fn new(buf: Buf, start: u32, len: u32) -> Self {
        Self { buf, start, len }
    }

    /// Address of the first byte.
    #[must_use]
    #[inline]
    pub fn addr(&self) -> usize {
        self.buf.as_ptr().addr() + self.start as usize
    }

    /// The bytes lie among the first `bound` of the buffer.
    #[must_use]
    #[inline]
    pub fn within(&self, bound: usize) -> bool {
        (self.start as usize).checked_add(self.len as usize).is_some_and(|end| end <= bound)
    }

    /// The bytes are meaningful: they may be sent, or read by a peer.
    #[must_use]
    #[inline]
    pub fn is_source(&self) -> bool {
        self.within(self.buf.len())
    }

    /// There is room for the bytes: they may be received, or written by a peer.
    #[must_use]
    #[inline]
    pub fn is_sink(&self) -> bool {
        self.within(self.buf.capacity())
    }
}

/// Up to [`MAX_SGE`] elements, taken as one run of bytes.
#[derive(Default, Debug)]
#[must_use = "an Sgl carries its buffers"]
pub struct Sgl([Option<Sge>; MAX_SGE]);

impl Sgl {
    /// No memory: for requests that move none.
    pub const NONE: Self = Self([const { None }; MAX_SGE]);

    /// One element.
    pub const fn one(sge: Sge) -> Self {
        Self([Some(sge), None])
    }

    /// Two: `first` and then `second`.
    pub const fn two(first: Sge, second: Sge) -> Self {
        Self([Some(first), Some(second)])
    }

    /// The elements in order.
    #[inline]
    pub fn iter(&self) -> impl Iterator<Item = &Sge> {
        self.0.iter().filter_map(Option::as_ref)
    }

    /// The elements in order.
    #[inline]
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Sge> {
        self.0.iter_mut().filter_map(Option::as_mut)
    }

    /// Bytes in all; saturates, which no device takes.
    #[must_use]
    #[inline]
    pub fn len(&self) -> u32 {
        match &self.0 {
            [Some(only), None] => only.len,
            both => both.iter().flatten().fold(0, |sum: u32, sge| sum.saturating_add(sge.len)),
        }
    }

    /// It has no bytes (but may have a buffer).
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Elements.
    #[must_use]
    #[inline]
    pub fn count(&self) -> usize {
        self.iter().count()
    }

    /// Takes the first element that is left.
    #[inline]
    pub fn take(&mut self) -> Option<Sge> {
        let [first, second] = &mut self.0;
        if first.is_some() { first.take() } else { second.take() }
    }

    /// Takes the first element: of a list of [one](Sgl::one) all there is, for less than [`Sgl::take`].
    #[inline]
    pub const fn take_first(&mut self) -> Option<Sge> {
        self.0[0].take()
    }

    /// The element, if there is just one.
    #[must_use]
    #[inline]
    pub const fn single(&self) -> Option<&Sge> {
        match &self.0 {
            [Some(only), None] => Some(only),
            _ => None,
        }
    }

    /// Takes the buffer of the first element that is left.
    #[inline]
    pub fn take_buf(&mut self) -> Option<Buf> {
        self.take().map(|sge| sge.buf)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_never_wrap() {
        let memory = Memory { addr: 100, len: 10 };
        assert!(memory.contains(100, 10) && memory.contains(109, 1) && memory.contains(110, 0));
        assert!(!memory.contains(99, 1) && !memory.contains(109, 2) && !memory.contains(111, 0));
        assert!(!memory.contains(105, usize::MAX) && !memory.contains(usize::MAX, 2));
        let at = |addr, len| Memory { addr, len };
        assert!(memory.overlaps(&at(109, 1)) && memory.overlaps(&at(0, 101)) && memory.overlaps(&at(0, usize::MAX)));
        assert!(!memory.overlaps(&at(110, 5)) && !memory.overlaps(&at(0, 100)) && !memory.overlaps(&at(105, 0)));
        assert!(!memory.overlaps(&at(usize::MAX, 1)));
    }

    #[test]
    fn an_empty_list_is_empty() {
        let mut sgl = Sgl::default();
        assert!(sgl.is_empty() && sgl.count() == 0 && sgl.take().is_none() && sgl.take_buf().is_none());
    }
}
