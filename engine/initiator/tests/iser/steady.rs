//! The data path: nothing is allocated, doorbells are few, requests are as few as they can be.

use crate::support::*;
use initiator::session::Event;
use initiator::transport::Transport;
use initiator::{Arena, Options};
use rdma::Counters;
use reactors::guard::count;

type Iwarp = Loopback<true>;
type InfiniBand = Loopback<false>;

const DEPTH: usize = 16;

/// A session that keeps [`DEPTH`] commands outstanding.
struct Load<F: Fabric> {
    rig: Rig<F>,
    disk: Disk,
    arena: Arena,
    bytes: u32,
    allocations: u64,
}

impl<F: Fabric> Load<F> {
    fn new(invalidate: bool, bytes: u32) -> Self {
        let options = Options { queue_depth: DEPTH, ..options() };
        let mut rig = Rig::logged_in_with(&options, |_| {});
        let arena = rig.arena(DEPTH, 16 << 10);
        Self { rig, disk: Disk::new(1 << 20, invalidate), arena, bytes, allocations: 0 }
    }

    /// Completes `ios` commands in full turns; counts only what the session allocates.
    fn run(&mut self, writes: bool, ios: usize) {
        let (mut begun, mut ended) = (0, 0);
        while ended < ios {
            let Self { rig, arena, bytes, .. } = self;
            let (session, now) = (rig.session.as_mut().unwrap(), rig.now);
            let (_, counts) = count(|| {
                while begun < ios
                    && session.can_submit()
                    && let Some(mut buf) = arena.take()
                {
                    let mut cdb = [0; 16];
                    cdb[0] = if writes { 0x2A } else { 0x28 };
                    let data = if writes {
                        buf.set_len(*bytes as usize);
                        initiator::transport::Data::Write { buf }
                    } else {
                        initiator::transport::Data::Read { buf, len: *bytes }
                    };
                    let command = initiator::session::Command { cdb, data, ..Default::default() };
                    session.submit(command, now).unwrap();
                    begun += 1;
                }
                session.poll(now);
                while let Some(event) = session.next_event() {
                    let Event::Completed(done) = event else { panic!() };
                    assert!(done.outcome.is_good());
                    arena.give(done.buf.unwrap());
                    ended += 1;
                }
            });
            self.allocations += counts.allocations + counts.deallocations;
            self.disk.serve(&mut self.rig.target);
            self.rig.rest();
        }
    }

    fn counters(&mut self) -> Counters {
        self.rig.session().transport().rdma_counters().unwrap()
    }
}

#[test]
fn no_command_allocates() {
    allocates_nothing::<InfiniBand>();
    allocates_nothing::<SoftIwarp>();
}

fn allocates_nothing<F: Fabric>() {
    for (invalidate, bytes) in [(true, 4096), (false, 4096), (true, 16_384), (false, 16_384)] {
        let mut load = Load::<F>::new(invalidate, bytes);
        for writes in [false, true] {
            load.run(writes, 200);
            load.allocations = 0;
            load.run(writes, 500);
            assert_eq!(load.allocations, 0, "invalidate {invalidate}, {bytes} bytes, writes {writes}");
        }
        load.rig.finish();
    }
}

/// Of a read: a Bind, a Send and the receive for its response. Of a small write: a Send and a receive.
#[test]
fn requests_and_doorbells_are_few() {
    let mut load = Load::<Iwarp>::new(true, 4096);
    load.run(false, 64);
    let before = load.counters();
    load.run(false, 640);
    let reads = load.counters();
    let of = |field: fn(&Counters) -> u64| field(&reads) - field(&before);
    assert_eq!((of(|c| c.binds), of(|c| c.sends), of(|c| c.invalidates)), (640, 640, 0));
    assert!(of(|c| c.receives).abs_diff(640) <= DEPTH as u64);
    assert!(of(|c| c.signalled) <= 640 / 4, "{reads:?}");
    assert!(of(|c| c.doorbells) < 640, "{reads:?}");
    assert_eq!(of(|c| c.refused), 0);
    load.run(true, 640);
    let writes = load.counters();
    assert_eq!((writes.binds - reads.binds, writes.sends - reads.sends), (0, 640));
    load.rig.finish();
}
