//! A list of places that bytes come from or go to, moved by one call, and what is left of it afterwards.

use std::io;
use std::net::TcpStream;
use std::os::fd::AsRawFd;

/// Pieces of memory in the order their bytes travel.
pub struct Gather {
    pieces: Vec<libc::iovec>,
    /// Pieces that are done.
    head: usize,
}

impl Gather {
    pub fn new(capacity: usize) -> Self {
        Self { pieces: Vec::with_capacity(2 * capacity), head: 0 }
    }

    /// Appends a piece.
    ///
    /// # Safety
    /// The memory must be valid, for writes if it is received into, until the gather is dropped.
    pub unsafe fn push(&mut self, memory: *const u8, bytes: usize) {
        if self.pieces.len() == self.pieces.capacity() {
            self.pieces.drain(..self.head);
            self.head = 0;
        }
        self.pieces.push(libc::iovec { iov_base: memory.cast_mut().cast(), iov_len: bytes });
    }

    /// Pieces not done.
    pub fn len(&self) -> usize {
        self.pieces.len() - self.head
    }

    /// Sends what it can. `None` when the socket takes nothing now.
    pub fn send(&mut self, stream: &TcpStream) -> io::Result<Option<usize>> {
        let pieces = &self.pieces[self.head..];
        // SAFETY: the pieces are valid, see `push`; at most IOV_MAX of them, see `MAX_DEPTH`.
        let sent = unsafe { libc::writev(stream.as_raw_fd(), pieces.as_ptr(), pieces.len() as libc::c_int) };
        self.moved(sent)
    }

    /// Receives what is there. `None` when nothing is, an error when the peer is gone.
    pub fn receive(&mut self, stream: &TcpStream) -> io::Result<Option<usize>> {
        let pieces = &self.pieces[self.head..];
        // SAFETY: as in `send`; the memory may be written to.
        let got = unsafe { libc::readv(stream.as_raw_fd(), pieces.as_ptr(), pieces.len() as libc::c_int) };
        if got == 0 { Err(io::ErrorKind::UnexpectedEof.into()) } else { self.moved(got) }
    }

    fn moved(&mut self, result: isize) -> io::Result<Option<usize>> {
        let Ok(moved) = usize::try_from(result) else {
            let error = io::Error::last_os_error();
            return if error.kind() == io::ErrorKind::WouldBlock { Ok(None) } else { Err(error) };
        };
        self.advance(moved);
        Ok(Some(moved))
    }

    fn advance(&mut self, mut bytes: usize) {
        while bytes > 0 {
            let piece = &mut self.pieces[self.head];
            if bytes < piece.iov_len {
                piece.iov_base = piece.iov_base.wrapping_byte_add(bytes);
                piece.iov_len -= bytes;
                return;
            }
            bytes -= piece.iov_len;
            self.head += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_did_not_go_stays_in_order() {
        let memory = [0u8; 64];
        let mut gather = Gather::new(2);
        for _ in 0..20 {
            // SAFETY: the array outlives the gather.
            unsafe {
                gather.push(memory.as_ptr(), 10);
                gather.push(memory.as_ptr().wrapping_add(10), 20);
            }
            gather.advance(15);
            assert_eq!((gather.len(), gather.pieces[gather.head].iov_len), (1, 15));
            assert_eq!(gather.pieces[gather.head].iov_base.cast_const(), memory.as_ptr().wrapping_add(15).cast());
            gather.advance(15);
            assert_eq!(gather.len(), 0);
        }
        assert!(gather.pieces.capacity() <= 8, "places that are done are used again");
    }
}
