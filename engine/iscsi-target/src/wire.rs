//! What carries a connection: a byte stream or verbs.

use iscsi::datamover::{Advertised, Datamover, GetData, Later, PutData, Upcall};
use iscsi::negotiate::Parameters;
use iscsi::wire::Bhs;
use iscsi_tcp::Tcp;
use primitives::{Buf, Tag};
use rdma::QueuePair;

use crate::limits::{UPCALLS_PER_TCP_TURN, UPCALLS_PER_TURN};

/// iSER over whatever provider its device has.
pub type Iser = iser::Iser<Box<dyn QueuePair>>;

/// The datamover of a connection.
pub enum Wire {
    /// iSCSI over TCP.
    Tcp(Box<Tcp>),
    /// iSER.
    Iser(Box<Iser>),
}

/// Calls the same method of whichever it is.
macro_rules! either {
    ($self:expr, $mover:ident => $call:expr) => {
        match $self {
            Wire::Tcp($mover) => $call,
            Wire::Iser($mover) => $call,
        }
    };
}

impl Wire {
    /// How many events of it are handled in one turn.
    pub const fn upcalls_per_turn(&self) -> usize {
        match self {
            Self::Tcp(_) => UPCALLS_PER_TCP_TURN,
            Self::Iser(_) => UPCALLS_PER_TURN,
        }
    }

    /// A second has passed since the final login response: what the initiator does not expect may be sent
    /// (RFC 7145 §5.1.3).
    pub fn end_quiet(&mut self) {
        if let Self::Iser(iser) = self {
            iser.end_quiet();
        }
    }
}

impl Datamover for Wire {
    fn phase_collapse(&self) -> bool {
        either!(self, mover => mover.phase_collapse())
    }

    fn control_segment_limit(&self) -> usize {
        either!(self, mover => mover.control_segment_limit())
    }

    fn receive(&mut self) -> bool {
        either!(self, mover => mover.receive())
    }

    fn poll(&mut self) -> Option<Upcall> {
        either!(self, mover => mover.poll())
    }

    fn segment(&self) -> &[u8] {
        either!(self, mover => mover.segment())
    }

    fn ahs(&self) -> &[u8] {
        either!(self, mover => mover.ahs())
    }

    fn has_more(&self) -> bool {
        either!(self, mover => mover.has_more())
    }

    fn accept_immediate(&mut self, tag: Tag, sink: Buf, start: u32) {
        either!(self, mover => mover.accept_immediate(tag, sink, start));
    }

    fn enable(&mut self, parameters: &Parameters) {
        either!(self, mover => mover.enable(parameters));
    }

    fn send_control(&mut self, bhs: &Bhs, data: &[u8]) -> Result<(), Later> {
        either!(self, mover => mover.send_control(bhs, data))
    }

    fn send_response(&mut self, bhs: &Bhs, data: &[u8], buffers: &Advertised) -> Result<(), Later> {
        either!(self, mover => mover.send_response(bhs, data, buffers))
    }

    fn put_data(&mut self, put: PutData) -> Result<u32, PutData> {
        either!(self, mover => mover.put_data(put))
    }

    fn get_data(&mut self, get: GetData) -> Result<(), GetData> {
        either!(self, mover => mover.get_data(get))
    }

    fn release_task(&mut self, tag: Tag) {
        either!(self, mover => mover.release_task(tag));
    }

    fn refuse_unsolicited(&mut self, itt: u32) {
        either!(self, mover => mover.refuse_unsolicited(itt));
    }

    fn flush(&mut self) {
        either!(self, mover => mover.flush());
    }

    fn is_flushed(&self) -> bool {
        either!(self, mover => mover.is_flushed())
    }

    fn terminate(&mut self, graceful: bool) {
        either!(self, mover => mover.terminate(graceful));
    }
}
