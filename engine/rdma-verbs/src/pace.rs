//! When to look at the connection manager: a look is a system call.

use crate::limits::{BUSY_NANOS, BUSY_TURNS, IDLE_NANOS};

/// How long ago the last look was, and what happened since.
#[derive(Debug, Default)]
pub struct Pace {
    last: u64,
    turns: u32,
    busy: bool,
    urgent: bool,
}

impl Pace {
    /// Completions came.
    pub const fn busy(&mut self) {
        self.busy = true;
    }

    /// There is a reason to look soon.
    pub const fn urgent(&mut self) {
        self.urgent = true;
    }

    /// Whether to look in this turn. `waiting`: connections are being made or ended.
    pub const fn is_due(&mut self, now: u64, waiting: bool) -> bool {
        self.turns = self.turns.saturating_add(1);
        let since = now.saturating_sub(self.last);
        let interval = if self.busy && !waiting { BUSY_NANOS } else { IDLE_NANOS };
        let due = self.urgent || since >= interval || (self.turns >= BUSY_TURNS && self.busy);
        if due {
            (self.last, self.turns, self.busy, self.urgent) = (now, 0, false, false);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_are_rare_while_completions_come_and_soon_when_there_is_a_reason() {
        let mut pace = Pace::default();
        assert!(pace.is_due(BUSY_NANOS, false));
        let mut now = BUSY_NANOS;
        for _ in 1..BUSY_TURNS {
            pace.busy();
            now += 10;
            assert!(!pace.is_due(now, false));
        }
        pace.busy();
        assert!(pace.is_due(now, false), "so many turns");
        pace.busy();
        assert!(!pace.is_due(now + IDLE_NANOS, false));
        assert!(pace.is_due(now + IDLE_NANOS, true), "somebody waits");
        now += IDLE_NANOS;
        assert!(!pace.is_due(now + IDLE_NANOS - 1, false) && pace.is_due(now + IDLE_NANOS, false), "idle");
        pace.urgent();
        assert!(pace.is_due(now, false) && !pace.is_due(now, false), "and the reason is over");
    }
}
