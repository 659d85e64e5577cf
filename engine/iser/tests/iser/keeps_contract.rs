//! [`Iser`] under the contract of all datamovers.
use crate::contract::{self, Harness};
use crate::rig::{Options, Rig};
use iscsi::datamover::Advertised;
use iscsi::wire::{Bhs, ScsiCommand};
use iser::{Iser, Limits};
use primitives::Buf;
use rdma::{Access, QueuePair};

struct OverLoopback<const IWARP: bool, const SHARED: bool> {
    rig: Option<Rig>,
    lent: usize,
}

impl<const IWARP: bool, const SHARED: bool> OverLoopback<IWARP, SHARED> {
    fn rig(&mut self) -> &mut Rig {
        self.rig.as_mut().expect("until it is dropped")
    }
}

impl<const IWARP: bool, const SHARED: bool> Harness for OverLoopback<IWARP, SHARED> {
    type Mover = Iser<Box<dyn QueuePair>>;

    fn new() -> Self {
        // The contract's pings are a little longer than what Linux takes.
        let options = Options { iwarp: IWARP, shared: SHARED, ..Options::default() };
        let limits = Limits { control_segment: 180, ..options.limits };
        Self { rig: Some(Rig::enabled(Options { limits, ..options })), lent: 0 }
    }

    fn mover(&mut self) -> &mut Iser<Box<dyn QueuePair>> {
        &mut self.rig().mover
    }

    fn send(&mut self, bhs: &Bhs, data: &[u8]) {
        self.rig().peer.send(bhs, data, Advertised::default());
    }

    fn command_write(&mut self, itt: u32, bytes: &[u8]) {
        let peer = &mut self.rig().peer;
        let write = peer.open(itt, bytes, Access::RemoteRead);
        let edtl = bytes.len() as u32;
        let command = ScsiCommand { itt, write: true, final_bit: true, edtl, ..ScsiCommand::default() };
        peer.send(&command.encode(), &[], Advertised { write: Some(write), read: None });
    }

    fn command_read(&mut self, itt: u32, len: usize) {
        let peer = &mut self.rig().peer;
        let read = peer.open(itt, &vec![0; len], Access::RemoteWrite);
        let command = ScsiCommand { itt, read: true, final_bit: true, edtl: len as u32, ..ScsiCommand::default() };
        peer.send(&command.encode(), &[], Advertised { write: None, read: Some(read) });
    }

    fn deliver(&mut self) {
        self.rig().turns(20);
    }

    fn received(&mut self) -> Vec<(Bhs, Vec<u8>)> {
        self.rig()
            .peer
            .got
            .drain(..)
            .map(|got| (got.bhs, got.data))
            .map(|(b, d)| (b.with_data_segment_length(0), d))
            .collect()
    }

    fn read_buffer(&self, itt: u32) -> Vec<u8> {
        self.rig.as_ref().expect("until it is dropped").peer.peek(itt)
    }

    fn reads(&mut self, reads: bool) {
        let peer = &mut self.rig().peer;
        if reads { peer.resume() } else { peer.reads = false }
    }

    fn hang_up(&mut self) {
        self.rig().peer.queue.to_error();
    }

    fn buffer(&mut self, bytes: &[u8]) -> Buf {
        self.lent += 1;
        self.rig().buffers.filled(bytes)
    }

    fn empty_buffer(&mut self, capacity: usize) -> Buf {
        self.lent += 1;
        self.rig().buffers.take(capacity)
    }

    fn give(&mut self, buf: Buf) {
        self.lent -= 1;
        self.rig().buffers.give(buf);
    }

    fn outstanding(&self) -> usize {
        self.lent
    }
}

impl<const IWARP: bool, const SHARED: bool> Drop for OverLoopback<IWARP, SHARED> {
    fn drop(&mut self) {
        if !std::thread::panicking()
            && let Some(mut rig) = self.rig.take()
        {
            rig.ended = Some(iscsi::datamover::Ended::Local);
            rig.finished();
        }
    }
}

#[test]
fn iser_keeps_the_contract() {
    contract::run::<OverLoopback<false, false>>();
    contract::run::<OverLoopback<false, true>>();
    contract::run::<OverLoopback<true, false>>();
    contract::run::<OverLoopback<true, true>>();
}
