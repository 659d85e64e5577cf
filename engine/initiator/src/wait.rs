//! How blocking calls wait for a polled session: spinning at first, then in naps.

use std::time::Duration;

/// Turns without anything before it naps.
const SPIN: u32 = 200;
const NAP: Duration = Duration::from_micros(50);

#[derive(Debug, Default)]
pub(crate) struct Patience {
    idle: u32,
}

impl Patience {
    /// Something happened, or nothing did: then this waits a little.
    pub fn after(&mut self, progress: bool) {
        if progress {
            self.idle = 0;
        } else {
            self.idle = self.idle.saturating_add(1);
            if self.idle > SPIN { std::thread::sleep(NAP) } else { std::hint::spin_loop() }
        }
    }
}
