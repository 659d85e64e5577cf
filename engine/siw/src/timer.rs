//! Time that runs from the next turn on: between two turns nobody tells what time it is.

/// Something that is due a while after the turn that follows its making.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timer {
    after: u64,
    due: Option<u64>,
}

impl Timer {
    pub fn after(nanos: u64) -> Self {
        Self { after: nanos, due: None }
    }

    /// Something that is due at a time, told by somebody who knows what time it is.
    pub fn at(due: u64) -> Self {
        Self { after: 0, due: Some(due) }
    }

    /// Whether it is due; begins to run when it is asked for the first time.
    pub fn is_due(&mut self, now: u64) -> bool {
        now >= *self.due.get_or_insert(now.saturating_add(self.after))
    }

    /// When it is due; zero if it has not begun to run.
    pub fn due(&self) -> u64 {
        self.due.unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::Timer;

    #[test]
    fn it_runs_from_the_first_look_on() {
        let mut timer = Timer::after(10);
        assert_eq!(timer.due(), 0);
        assert!(!timer.is_due(1_000_000) && !timer.is_due(1_000_009));
        assert_eq!(timer.due(), 1_000_010);
        assert!(timer.is_due(1_000_010));
        assert!(!Timer::after(u64::MAX).is_due(5));
        assert!(!Timer::at(7).is_due(6) && Timer::at(7).is_due(7));
    }
}
