//! The command window (RFC 7143 §4.2.2.1).

use primitives::Serial;

/// CmdSN and what the target lets through.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    /// The CmdSN of the next non-immediate command.
    pub cmd_sn: Serial,
    exp: Serial,
    max: Serial,
}

impl Window {
    /// The window after a login.
    pub fn new(cmd_sn: Serial, exp: Serial, max: Serial) -> Self {
        Self { cmd_sn, exp, max }
    }

    /// Takes over the numbers of a PDU. Old ones, and a MaxCmdSN below ExpCmdSN − 1, are ignored.
    pub fn update(&mut self, exp: Serial, max: Serial) {
        if max.precedes(exp.minus(1)) {
            return;
        }
        if self.exp.precedes(exp) {
            self.exp = exp;
        }
        if self.max.precedes(max) {
            self.max = max;
        }
    }

    /// The next command may be sent.
    pub fn is_open(&self) -> bool {
        !self.max.precedes(self.cmd_sn)
    }

    /// The numbers say that the target has seen a command that was never sent.
    pub fn is_absurd(&self) -> bool {
        self.cmd_sn.precedes(self.exp)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_pass_up_to_max_cmd_sn_across_the_wrap() {
        let mut window = Window::new(Serial(u32::MAX), Serial(u32::MAX), Serial(0));
        assert!(window.is_open());
        assert_eq!(window.cmd_sn.take(), Serial(u32::MAX));
        assert!(window.is_open());
        window.cmd_sn.take();
        assert!(!window.is_open());
        window.update(Serial(1), Serial(1));
        assert!(window.is_open());
    }

    #[test]
    fn old_and_contradictory_numbers_change_nothing() {
        let mut window = Window::new(Serial(10), Serial(10), Serial(20));
        window.update(Serial(9), Serial(15));
        window.update(Serial(30), Serial(28));
        window.cmd_sn = Serial(20);
        assert!(window.is_open() && !window.is_absurd());
        window.cmd_sn = Serial(21);
        assert!(!window.is_open());
    }

    #[test]
    fn a_closed_window_is_max_one_below_exp() {
        let mut window = Window::new(Serial(10), Serial(10), Serial(9));
        assert!(!window.is_open());
        window.update(Serial(10), Serial(10));
        assert!(window.is_open());
    }

    #[test]
    fn acknowledging_the_future_is_noticed() {
        let mut window = Window::new(Serial(10), Serial(10), Serial(20));
        window.update(Serial(11), Serial(20));
        assert!(window.is_absurd());
    }
}
