//! The command window (RFC 7143 §4.2.2.1): which CmdSN may be delivered now.

use primitives::Serial;

use crate::limits::IMMEDIATE_COMMANDS;

/// What to do with a request, judged by its CmdSN.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Admission {
    /// Deliver it: immediate, or the one expected next. The expected number has advanced past it.
    Deliver,
    /// It is ahead of a gap but inside the window: hold it until [`CommandWindow::deliver_held`] takes it.
    Hold,
    /// Outside the window, or a duplicate: drop it silently.
    Drop,
    /// One immediate command too many: reject it (reason 06h).
    TooManyImmediate,
}

/// ExpCmdSN and MaxCmdSN of a session.
///
/// MaxCmdSN is ExpCmdSN − 1 + `depth` − outstanding ordered tasks. It moves forward by one when an ordered task ends
/// and otherwise not at all, so it never retreats, and a conforming initiator never has more than `depth` ordered
/// tasks outstanding.
#[derive(Clone, Debug)]
pub struct CommandWindow {
    expected: Serial,
    depth: u16,
    ordered: u16,
    immediate: u16,
}

impl CommandWindow {
    /// A window that starts at `expected` and is `depth` wide.
    #[must_use]
    pub const fn new(expected: Serial, depth: u16) -> Self {
        Self { expected, depth, ordered: 0, immediate: 0 }
    }

    /// ExpCmdSN.
    #[must_use]
    pub const fn expected(&self) -> Serial {
        self.expected
    }

    /// MaxCmdSN; ExpCmdSN − 1 when the window is closed.
    #[must_use]
    pub fn maximum(&self) -> Serial {
        self.expected.plus(u32::from(self.depth.saturating_sub(self.ordered))).minus(1)
    }

    /// Judges a request. `starts_task` is true for what stays outstanding (SCSI commands); for it,
    /// [`CommandWindow::finished`] must be called once in the end if it was delivered.
    pub fn admit(&mut self, cmd_sn: Serial, immediate: bool, starts_task: bool) -> Admission {
        if immediate {
            if starts_task {
                if self.immediate >= IMMEDIATE_COMMANDS {
                    return Admission::TooManyImmediate;
                }
                self.immediate += 1;
            }
            return Admission::Deliver;
        }
        if !cmd_sn.within(self.expected, self.maximum()) {
            return Admission::Drop;
        }
        if cmd_sn != self.expected {
            return Admission::Hold;
        }
        self.advance(starts_task);
        Admission::Deliver
    }

    /// A held task's turn has come if its number is expected now; then it counts as delivered.
    pub fn deliver_held(&mut self, cmd_sn: Serial) -> bool {
        let now = cmd_sn == self.expected;
        if now {
            self.advance(true);
        }
        now
    }

    /// Counts the next CmdSN as received without a task: a rejected command, or one aborted before it arrived
    /// (RFC 7143 §11.5.1 case b).
    pub fn skip(&mut self) {
        self.advance(false);
    }

    /// A delivered task is over: its place in the window is free.
    pub fn finished(&mut self, immediate: bool) {
        let count = if immediate { &mut self.immediate } else { &mut self.ordered };
        debug_assert!(*count > 0, "more tasks finished than delivered");
        *count = count.saturating_sub(1);
    }

    /// Undoes [`CommandWindow::finished`] while nothing was said about it yet: the response could not be queued.
    pub fn resumed(&mut self, immediate: bool) {
        let count = if immediate { &mut self.immediate } else { &mut self.ordered };
        *count += 1;
    }

    fn advance(&mut self, starts_task: bool) {
        self.expected = self.expected.plus(1);
        self.ordered += u16::from(starts_task);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_order_commands_are_delivered_until_the_window_closes() {
        let mut w = CommandWindow::new(Serial(u32::MAX), 2);
        assert_eq!(w.maximum(), Serial(0));
        assert_eq!(w.admit(Serial(u32::MAX), false, true), Admission::Deliver);
        assert_eq!(w.admit(Serial(0), false, true), Admission::Deliver);
        assert_eq!(w.maximum(), w.expected().minus(1), "closed");
        assert_eq!(w.admit(Serial(1), false, true), Admission::Drop);
        w.finished(false);
        assert_eq!(w.maximum(), Serial(1));
        assert_eq!(w.admit(Serial(1), false, true), Admission::Deliver);
    }

    #[test]
    fn maximum_never_retreats() {
        let mut w = CommandWindow::new(Serial(5), 4);
        let mut last = w.maximum();
        for step in 0..40u32 {
            match step % 3 {
                0 => assert_eq!(w.admit(w.expected(), false, step % 2 == 0), Admission::Deliver),
                1 => w.skip(),
                _ => {
                    if w.ordered > 0 {
                        w.finished(false);
                    }
                }
            }
            assert!(!w.maximum().precedes(last), "step {step}");
            last = w.maximum();
        }
    }

    #[test]
    fn duplicates_and_strangers_are_dropped_and_gaps_held() {
        let mut w = CommandWindow::new(Serial(10), 8);
        assert_eq!(w.admit(Serial(9), false, true), Admission::Drop);
        assert_eq!(w.admit(Serial(18), false, true), Admission::Drop);
        assert_eq!(w.admit(Serial(12), false, true), Admission::Hold);
        assert!(!w.deliver_held(Serial(12)));
        assert_eq!(w.admit(Serial(10), false, true), Admission::Deliver);
        assert_eq!(w.admit(Serial(11), false, false), Admission::Deliver);
        assert!(w.deliver_held(Serial(12)));
        assert_eq!(w.expected(), Serial(13));
    }

    #[test]
    fn immediate_commands_stay_outside_the_order_but_are_counted() {
        let mut w = CommandWindow::new(Serial(10), 1);
        for _ in 0..IMMEDIATE_COMMANDS {
            assert_eq!(w.admit(Serial(77), true, true), Admission::Deliver);
        }
        assert_eq!(w.admit(Serial(77), true, true), Admission::TooManyImmediate);
        assert_eq!(w.admit(Serial(77), true, false), Admission::Deliver, "a NOP-Out is no task");
        assert_eq!(w.expected(), Serial(10));
        w.finished(true);
        assert_eq!(w.admit(Serial(0), true, true), Admission::Deliver);
    }
}
