//! NOP-Out and NOP-In (RFC 7143 §11.18, §11.19).

use iscsi::connection::{Admission, KeepaliveStep};
use iscsi::datamover::{Arrival, Control, Datamover};
use iscsi::wire::{Bhs, RESERVED_TAG, reject_reason};

use super::full::{Close, Full};
use crate::context::Context;
use crate::wire::Wire;

/// Target Transfer Tag of our pings. One ping is outstanding at a time, so one tag is enough.
const PING: u32 = 0x5049_4E47;

impl Full {
    pub(super) fn nop_out(&mut self, dm: &mut Wire, ctx: &mut Context<'_>, control: &Control) -> Result<(), Close> {
        let bhs = &control.bhs;
        if bhs.itt() == RESERVED_TAG {
            // The answer to our ping, already counted as a sign of life. It must be immediate (§11.18); a CmdSN it
            // should not have is not consumed. An answer to a ping never sent is dropped as harmless.
            return Ok(());
        }
        if !self.admit_request(bhs, "NOP-Out")? {
            return Ok(());
        }
        if control.arrival == Arrival::BadDigest {
            return self.reject(dm, ctx, control, reject_reason::DATA_DIGEST_ERROR);
        }
        let limit = dm.control_segment_limit();
        let mut echo = [0u8; ECHO_MAX];
        let segment = dm.segment();
        let len = segment.len().min(limit).min(ECHO_MAX);
        echo[..len].copy_from_slice(&segment[..len]);
        let answer = self.proto.nop_answer(bhs.itt(), bhs.lun(), len);
        dm.send_control(&answer, &echo[..len]).map_err(|_| Close::Now)
    }

    /// Pings a quiet peer and gives up a dead one.
    pub(crate) fn keep_alive(&mut self, dm: &mut Wire, ctx: &mut Context<'_>) -> Result<(), Close> {
        match self.proto.keepalive.step(ctx.now.get()) {
            KeepaliveStep::Quiet => Ok(()),
            KeepaliveStep::Ping => {
                let ping = self.proto.nop_ping(PING);
                if dm.send_control(&ping, &[]).is_ok() {
                    self.proto.keepalive.pinged(ctx.now.get());
                }
                Ok(())
            }
            KeepaliveStep::Dead => {
                tracing::warn!(session = %self.session, "no answer to NOP-In; closing the connection");
                Err(Close::Now)
            }
        }
    }

    /// Asks the initiator to log out (RFC 7143 §11.9.1, event 1).
    pub(crate) fn ask_for_logout(&mut self, dm: &mut Wire) -> Result<(), Close> {
        let bhs = self.proto.logout_request(LOGOUT_SECONDS);
        dm.send_control(&bhs, &[]).map_err(|_| Close::Now)
    }

    /// Judges the CmdSN of a request that is no SCSI command. `false`: drop it silently. Ahead of a gap in CmdSN the
    /// connection ends: with one connection to a session requests cannot overtake each other (RFC 7143 §4.2.2.1), so
    /// the initiator is broken.
    pub(super) fn admit_request(&mut self, bhs: &Bhs, what: &str) -> Result<bool, Close> {
        match self.proto.window.admit(bhs.cmd_sn(), bhs.immediate(), false) {
            Admission::Deliver => Ok(true),
            Admission::Drop | Admission::TooManyImmediate => Ok(false),
            Admission::Hold => {
                tracing::warn!(session = %self.session, "{what} ahead of a gap in CmdSN; closing the connection");
                Err(Close::Now)
            }
        }
    }
}

/// Ping data echoed at most: what the initiator's default MaxRecvDataSegmentLength takes (RFC 7143 §13.12).
const ECHO_MAX: usize = 8192;

/// Seconds an initiator is given to follow a request to log out.
const LOGOUT_SECONDS: u16 = 30;
