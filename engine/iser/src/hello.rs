//! The iSER Hello exchange (RFC 7145 §5.1.3).

use crate::frame::Hello;
use crate::wire::{Header, VERSION};
use iscsi::datamover::Violation;

/// Whether a Hello may come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum HelloState {
    /// Not before full-feature phase.
    Login,
    /// It must be the next message: iSERHelloRequired=Yes.
    Required,
    /// It may be the next message: an old initiator sends one without having negotiated it (§5.1.3), and is answered.
    Possible,
    /// Not any more.
    Over,
}

impl HelloState {
    /// Full-feature phase begins.
    pub fn enable(&mut self, required: bool) {
        *self = if required { Self::Required } else { Self::Possible };
    }

    /// A PDU changes nothing any more.
    #[inline]
    pub fn is_over(self) -> bool {
        matches!(self, Self::Over)
    }

    /// A PDU that is no Hello has come.
    #[inline]
    pub fn pdu(&mut self) -> Result<(), Violation> {
        match self {
            Self::Required => return Err(Violation::Header),
            Self::Possible => *self = Self::Over,
            Self::Login | Self::Over => {}
        }
        Ok(())
    }

    /// A Hello has come; the answer to it, with the ORD that holds from now on.
    pub fn hello(&mut self, hello: Hello, ord: u16) -> Result<Answer, Violation> {
        if matches!(self, Self::Login | Self::Over) {
            return Err(Violation::Header);
        }
        *self = Self::Over;
        let reject = !hello.version_fits || hello.ird > 0 && ord == 0;
        Ok(Answer { reject, ord: ord.min(hello.ird) })
    }
}

/// What is answered to a Hello (§9.4, §10.1.3.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Answer {
    /// The connection ends behind it.
    pub reject: bool,
    /// iSER-ORD.
    pub ord: u16,
}

impl Answer {
    pub fn header(self) -> Header {
        Header::HelloReply { reject: self.reject, max_version: VERSION, version: VERSION, ord: self.ord }
    }
}
