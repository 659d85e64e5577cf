//! What the device tells of connections, for the program.

use super::channel::Event as Told;
use crate::world::World;
use rdma::{Ended, Event, PrivateData, ReadDepth, RejectReason};
use rdma_sys::{ibv_qp_state, rdma_cm_event_type as event};
use std::ffi::c_int;

/// How the connection manager tells that a connection did not come about.
const fn refusal(why: RejectReason) -> (event::Type, c_int) {
    match why {
        RejectReason::Consumer => (event::RDMA_CM_EVENT_REJECTED, -libc::ECONNRESET),
        RejectReason::NoListener => (event::RDMA_CM_EVENT_REJECTED, -libc::ECONNREFUSED),
        RejectReason::Unreachable => (event::RDMA_CM_EVENT_UNREACHABLE, -libc::ETIMEDOUT),
        RejectReason::Incompatible => (event::RDMA_CM_EVENT_CONNECT_ERROR, -libc::EPROTO),
    }
}

impl World {
    /// Hands an event to the program.
    pub fn event(&mut self, event: Event) {
        match event {
            Event::Request(request) => self.requested(&request),
            Event::Established { queue, depth, private } => self.established(queue.to_bits() as u32, depth, private),
            Event::Rejected { queue, why, private } => {
                let (kind, status) = refusal(why);
                if let Some((qp, id)) = self.party(queue.to_bits() as u32) {
                    self.fail_pair(qp);
                    self.tell_cm(Told { private, ..Told::plain(id.unwrap_or(0), kind, status) });
                }
            }
            Event::Disconnected { queue, how } => self.disconnected(queue.to_bits() as u32, how),
            Event::Removed => {}
        }
    }

    /// A queue pair and its identifier.
    fn party(&self, number: u32) -> Option<(usize, Option<usize>)> {
        let qp = *self.numbers.get(&number)?;
        Some((qp, self.pairs.get(&qp)?.id))
    }

    fn established(&mut self, number: u32, depth: ReadDepth, private: PrivateData) {
        let Some((qp, id)) = self.party(number) else { return };
        if let Some(pair) = self.pairs.get_mut(&qp) {
            pair.depth = depth;
        }
        self.set_state(qp, ibv_qp_state::IBV_QPS_RTS);
        // The peer's IRD, as far as this side may use it, where InfiniBand has it.
        let depth = ReadDepth { ird: depth.ord, ord: depth.ird };
        let told = Told::plain(id.unwrap_or(0), event::RDMA_CM_EVENT_ESTABLISHED, 0);
        self.tell_cm(Told { depth, private, ..told });
        self.push_and_ring(qp);
    }

    fn disconnected(&mut self, number: u32, how: Ended) {
        let Some((qp, id)) = self.party(number) else { return };
        if matches!(how, Ended::Terminated | Ended::Failed(_)) {
            self.tell_terminated(qp);
        }
        self.fail_pair(qp);
        let status = if how == Ended::Lost { -libc::ECONNRESET } else { 0 };
        self.tell_cm(Told::plain(id.unwrap_or(0), event::RDMA_CM_EVENT_DISCONNECTED, status));
    }
}
