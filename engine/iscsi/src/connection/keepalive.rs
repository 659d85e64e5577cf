//! NOP-In pings (RFC 7143 §11.19): a peer that is gone is noticed.

/// When to ping and when to give up. Times are whatever monotonic unit the caller counts in.
#[derive(Clone, Debug)]
pub struct Keepalive {
    interval: u64,
    timeout: u64,
    heard: u64,
    pinged: Option<u64>,
}

/// What is due.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KeepaliveStep {
    /// Nothing.
    Quiet,
    /// Send a NOP-In with a Target Transfer Tag, then call [`Keepalive::pinged`].
    Ping,
    /// The peer did not answer in time: close the connection.
    Dead,
}

impl Keepalive {
    /// Pings after `interval` without a sign of life; gives up `timeout` after a ping. An interval of 0 never pings.
    #[must_use]
    pub const fn new(interval: u64, timeout: u64, now: u64) -> Self {
        Self { interval, timeout, heard: now, pinged: None }
    }

    /// A PDU came in: that is a sign of life, whatever it was.
    pub fn heard(&mut self, now: u64) {
        self.heard = now;
        self.pinged = None;
    }

    /// A ping was queued.
    pub fn pinged(&mut self, now: u64) {
        self.pinged = Some(now);
    }

    /// What is due at `now`.
    #[must_use]
    pub fn step(&self, now: u64) -> KeepaliveStep {
        if self.interval == 0 {
            return KeepaliveStep::Quiet;
        }
        match self.pinged {
            Some(at) if now.saturating_sub(at) >= self.timeout => KeepaliveStep::Dead,
            Some(_) => KeepaliveStep::Quiet,
            None if now.saturating_sub(self.heard) >= self.interval => KeepaliveStep::Ping,
            None => KeepaliveStep::Quiet,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pings_once_then_gives_up() {
        let mut k = Keepalive::new(30, 10, 100);
        assert_eq!(k.step(129), KeepaliveStep::Quiet);
        assert_eq!(k.step(130), KeepaliveStep::Ping);
        k.pinged(130);
        assert_eq!(k.step(139), KeepaliveStep::Quiet);
        assert_eq!(k.step(140), KeepaliveStep::Dead);
        k.heard(139);
        assert_eq!(k.step(140), KeepaliveStep::Quiet);
        assert_eq!(k.step(169), KeepaliveStep::Ping);
    }

    #[test]
    fn zero_switches_it_off() {
        assert_eq!(Keepalive::new(0, 1, 0).step(u64::MAX), KeepaliveStep::Quiet);
    }
}
