//! Buffers of one registered piece of memory, counted, and poisoned when they come back.
use primitives::{Buf, Home};
use rdma::Memory;
use std::cell::UnsafeCell;
use std::collections::HashSet;
use std::ptr::NonNull;

pub const POISON: u8 = 0xDB;
const CLASSES: [usize; 4] = [256, 8320, 65_536, 131_072];

/// A region that is cut into buffers as they are asked for.
#[derive(Debug)]
pub struct Buffers {
    region: Box<[UnsafeCell<u8>]>,
    next: usize,
    free: [Vec<usize>; CLASSES.len()],
    out: HashSet<u32>,
}

impl Buffers {
    pub fn new(bytes: usize) -> Self {
        let region = (0..bytes).map(|_| UnsafeCell::new(POISON)).collect();
        Self { region, next: 0, free: Default::default(), out: HashSet::with_capacity(1024) }
    }

    pub fn memory(&self) -> Memory {
        Memory { addr: self.region.as_ptr().addr(), len: self.region.len() }
    }

    /// A buffer of at least `len` bytes, if there are any left.
    pub fn try_take(&mut self, len: usize) -> Option<Buf> {
        let class = CLASSES.iter().position(|size| len <= *size).expect("a size the tests use");
        let size = CLASSES[class];
        let at = match self.free[class].pop() {
            Some(at) => at,
            None if self.next + size <= self.region.len() => {
                self.next += size;
                self.next - size
            }
            None => return None,
        };
        self.out.insert(at as u32);
        let ptr = NonNull::new(self.region[at].get()).expect("not null");
        // SAFETY: the bytes lie in the region, which outlives the test's use of them; the place was free, so no other
        // handle covers them.
        Some(unsafe { Buf::from_raw(ptr, size as u32, Home::Pool { pool: 9, index: at as u32 }) })
    }

    pub fn take(&mut self, len: usize) -> Buf {
        self.try_take(len).expect("the region is large enough")
    }

    pub fn filled(&mut self, bytes: &[u8]) -> Buf {
        let mut buf = self.take(bytes.len());
        buf.copy_in(0, bytes);
        buf
    }

    pub fn give(&mut self, mut buf: Buf) {
        let Home::Pool { pool: 9, index } = buf.home() else { panic!("a foreign buffer") };
        assert!(self.out.remove(&index), "a buffer that comes back twice");
        let class = CLASSES.iter().position(|size| *size == buf.capacity()).expect("one of ours");
        buf.storage().fill(POISON);
        self.free[class].push(index as usize);
    }

    /// What is in `len` bytes at an address, as a device sees it.
    pub fn peek(&self, addr: usize, len: usize) -> Vec<u8> {
        let at = addr - self.region.as_ptr().addr();
        // SAFETY: tests have one thread, and nobody holds a reference to a buffer meanwhile.
        self.region[at..at + len].iter().map(|byte| unsafe { *byte.get() }).collect()
    }

    pub fn outstanding(&self) -> usize {
        self.out.len()
    }
}
