//! PDUs the initiator does not expect (RFC 7145 §8.1.2): it has receives for a few.

use crate::limits::UNEXPECTED;
use iscsi::wire::{Bhs, Opcode, RESERVED_TAG};
use primitives::Serial;

/// One that is outstanding.
#[derive(Clone, Copy, Debug)]
struct Outstanding {
    stat_sn: Serial,
    /// A ping's Target Transfer Tag: the answer retires it too.
    ttt: u32,
}

/// The unexpected PDUs outstanding.
#[derive(Debug)]
pub(crate) struct Unexpected {
    outstanding: [Option<Outstanding>; UNEXPECTED],
    /// How many of them are.
    count: usize,
    limit: usize,
    /// In full-feature phase, before the first message of the initiator: it may not have posted its receives yet
    /// (§5.1.3).
    quiet: bool,
}

/// Whether `bhs`, with this data segment, is a PDU the initiator does not expect.
pub(crate) fn is_unexpected(bhs: &Bhs, data: &[u8]) -> bool {
    match bhs.opcode() {
        Opcode::ASYNC_MESSAGE => true,
        Opcode::NOP_IN => bhs.itt() == RESERVED_TAG,
        // A rejected request has a receive for its response; of these two PDUs none is expected.
        Opcode::REJECT => Bhs::from_slice(data)
            .is_some_and(|rejected| matches!(rejected.opcode(), Opcode::DATA_OUT | Opcode::SNACK_REQUEST)),
        _ => false,
    }
}

impl Unexpected {
    pub fn new() -> Self {
        Self { outstanding: [None; UNEXPECTED], count: 0, limit: UNEXPECTED, quiet: false }
    }

    /// Full-feature phase begins. `declared` is MaxOutstandingUnexpectedPDUs, zero for no limit.
    pub fn enable(&mut self, declared: u32) {
        if declared > 0 {
            self.limit = usize::try_from(declared).map_or(UNEXPECTED, |n| n.min(UNEXPECTED));
        }
        self.quiet = true;
    }

    /// The initiator's receives are posted.
    pub fn end_quiet(&mut self) {
        self.quiet = false;
    }

    /// This one may be sent now. The last place is for a ping, whose answer acknowledges the others.
    pub fn allows(&self, bhs: &Bhs) -> bool {
        let limit = if is_ping(bhs) { self.limit } else { self.limit - 1 };
        !self.quiet && self.count < limit
    }

    /// It is sent.
    pub fn sent(&mut self, bhs: &Bhs) {
        let ttt = if is_ping(bhs) { bhs.ttt() } else { RESERVED_TAG };
        if let Some(free) = self.outstanding.iter_mut().find(|place| place.is_none()) {
            *free = Some(Outstanding { stat_sn: bhs.stat_sn(), ttt });
            self.count += 1;
        }
    }

    /// Some are outstanding.
    #[inline]
    pub fn is_any(&self) -> bool {
        self.count > 0
    }

    /// A request can change nothing.
    #[inline]
    pub fn is_settled(&self) -> bool {
        !self.quiet && self.count == 0
    }

    /// A request has come, which may acknowledge some.
    pub fn acknowledge(&mut self, bhs: &Bhs) {
        let exp_stat_sn = bhs.exp_stat_sn();
        let answered = match bhs.opcode() {
            Opcode::NOP_OUT if bhs.itt() == RESERVED_TAG => bhs.ttt(),
            _ => RESERVED_TAG,
        };
        for place in &mut self.outstanding {
            let retires =
                |o: &Outstanding| o.stat_sn.precedes(exp_stat_sn) || o.ttt != RESERVED_TAG && o.ttt == answered;
            if place.as_ref().is_some_and(retires) {
                *place = None;
                self.count -= 1;
            }
        }
    }
}

fn is_ping(bhs: &Bhs) -> bool {
    bhs.opcode() == Opcode::NOP_IN && bhs.ttt() != RESERVED_TAG
}
