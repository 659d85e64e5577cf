//! Sockets whose connection is over for this side, and whose last bytes are still on their way.

use super::Core;
use crate::limits::LINGERING;
use crate::stream::epoll::{Kind, Ready};
use crate::stream::socket::AGAIN;
use crate::stream::{Interest, Socket};
use crate::timer::Timer;

/// How much is read and thrown away at a time.
const SCRAP: usize = 16 * 1024;

/// One of them. What the peer still sends is read and thrown away until it closes: a socket closed with input unread
/// resets the connection, and may take the last bytes with it.
#[derive(Debug)]
pub(crate) struct Linger {
    socket: Socket,
    tail: Vec<u8>,
    at: usize,
    timer: Timer,
    age: u64,
}

impl Core {
    /// Takes a socket of the set, and what is left to be sent.
    pub fn linger(&mut self, socket: Socket, tail: Vec<u8>) {
        if self.lingering.len() == LINGERING {
            self.close_oldest();
        }
        let (timer, age) = (Timer::after(self.config.linger), self.age());
        let mut linger = Linger { socket, tail, at: 0, timer, age };
        let Some(done) = linger.send() else { return self.close(linger.socket) };
        match self.lingering.insert(linger) {
            Ok(key) => {
                self.wake = 0;
                if let Some(linger) = self.lingering.get(key) {
                    let interest = Interest { read: true, write: !done };
                    self.epoll.change(&linger.socket, Kind::Lingering, key, interest);
                }
            }
            Err(linger) => self.close(linger.socket),
        }
    }

    /// The one that has been here longest makes room.
    fn close_oldest(&mut self) {
        let oldest = self.lingering.iter().min_by_key(|(_, l)| l.age).map(|(key, _)| key);
        if let Some(linger) = oldest.and_then(|key| self.lingering.remove(key)) {
            self.close(linger.socket);
        }
    }

    pub fn linger_ready(&mut self, ready: Ready) {
        let Some((key, linger)) = self.lingering.at(ready.index()).filter(|(key, _)| ready.is(*key)) else { return };
        let mut over = ready.readable && linger.is_over();
        if ready.writable && !over {
            match linger.send() {
                Some(true) => self.epoll.change(&linger.socket, Kind::Lingering, key, Interest::READ),
                Some(false) => {}
                None => over = true,
            }
        }
        if over && let Some(linger) = self.lingering.remove(key) {
            self.close(linger.socket);
        }
    }

    pub fn check_lingering(&mut self) {
        let mut next = u64::MAX;
        for index in 0..self.lingering.capacity() as u32 {
            let now = self.now;
            let Some((key, linger)) = self.lingering.at(index) else { continue };
            if linger.timer.is_due(now) {
                if let Some(linger) = self.lingering.remove(key) {
                    self.close(linger.socket);
                }
            } else {
                next = next.min(linger.timer.due());
            }
        }
        self.note_due(next);
    }
}

impl Linger {
    /// Sends what fits. Whether that was all; `None` if there is nobody any more.
    fn send(&mut self) -> Option<bool> {
        if self.at < self.tail.len() {
            match self.socket.write(&self.tail[self.at..]) {
                Ok(n) => self.at += n,
                Err(AGAIN) => {}
                Err(_) => return None,
            }
            if self.at < self.tail.len() {
                return Some(false);
            }
        }
        self.tail = Vec::new();
        self.at = 0;
        self.socket.finish();
        Some(true)
    }

    /// Reads what there is; whether the peer has closed too, or is gone. One that has closed and takes nothing any more
    /// is told so by an error, or by time.
    fn is_over(&mut self) -> bool {
        let mut scrap = [0; SCRAP];
        match self.socket.read(&mut scrap) {
            Ok(0) => true,
            Ok(_) | Err(AGAIN) => false,
            Err(_) => true,
        }
    }
}
