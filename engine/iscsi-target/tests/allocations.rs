//! In the steady state a reactor allocates nothing: not for reads, not for writes, at any depth.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::Instant;

use initiator::session::{Command, Event, Outcome};
use initiator::transport::Data;
use initiator::{Arena, Client, Options, Session};
use iscsi::wire::Opcode;
use reactors::{Core, CoreId};
use support::*;

#[allow(dead_code, unused_imports, reason = "shared with the tests in engine/, which use all of it")]
#[path = "engine/support/mod.rs"]
mod support;

/// The system's allocator, counting what each thread asks of it.
struct Counting;

thread_local! {
    // Constant and without a destructor, so that touching it never allocates.
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
        // SAFETY: the caller keeps the contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
        // SAFETY: the caller keeps the contract.
        unsafe { System.realloc(ptr, layout, new_size) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract.
        unsafe { System.dealloc(ptr, layout) }
    }
}

/// What the reactor has asked for so far.
fn so_far(world: &World) -> u64 {
    world.fleet.call(CoreId(0), |_: &mut Core| ALLOCATIONS.get()).unwrap()
}

/// What the reactor allocates while `work` runs, beyond what asking it twice costs by itself.
fn allocated(world: &World, work: impl FnOnce()) -> u64 {
    so_far(world);
    let (first, second) = (so_far(world), so_far(world));
    work();
    (so_far(world) - second).saturating_sub(second - first)
}

/// `count` commands of 4 KiB, 32 at a time.
fn run(peer: &mut Peer, writes: bool, count: usize) {
    let data = pattern(1, 4096);
    let begin = |peer: &mut Peer, n: usize| {
        let lba = (n % 500) as u64 * 8;
        if writes {
            let command = peer.write_command(&write16(lba, 8), 4096);
            peer.issue(&command, &data);
        } else {
            peer.begin_read(&read16(lba, 8), 4096);
        }
    };
    (0..32).for_each(|n| begin(peer, n));
    let (mut begun, mut ended) = (32, 0);
    while ended < begun {
        let pdu = peer.hear();
        ended += usize::from(match pdu.bhs.opcode() {
            Opcode::DATA_IN => pdu.bhs.0[1] & 1 != 0,
            _ => pdu.bhs.opcode() == Opcode::SCSI_RESPONSE,
        });
        if begun < count {
            begin(peer, begun);
            begun += 1;
        }
    }
}

/// The same over iSER on soft-iWARP.
fn run_over_rdma(load: &mut RdmaLoad, lun: u16, writes: bool, count: usize) {
    let RdmaLoad { session, arena } = load;
    let (mut begun, mut ended) = (0, 0);
    while ended < count {
        while begun < count && session.can_submit() {
            let Some(mut buf) = arena.take() else { break };
            let lba = (begun % 500) as u64 * 8;
            let (cdb, data) = if writes {
                buf.set_len(4096);
                (write16(lba, 8), Data::Write { buf })
            } else {
                (read16(lba, 8), Data::Read { buf, len: 4096 })
            };
            let command = Command { lun: [0, lun as u8, 0, 0, 0, 0, 0, 0], cdb, data, user: 0 };
            assert!(session.submit(command, Instant::now()).is_ok());
            begun += 1;
        }
        session.poll(Instant::now());
        while let Some(event) = session.next_event() {
            let Event::Completed(completion) = event else { panic!("{event:?}") };
            assert!(matches!(completion.outcome, Outcome::Status { status: 0, .. }));
            arena.give(completion.buf.unwrap());
            ended += 1;
        }
    }
}

struct RdmaLoad {
    session: Session,
    arena: Arena,
}

#[test]
fn no_read_or_write_over_rdma_allocates() {
    let world = World::on_one_core();
    for (lun, immediate_data) in [(DISK, true), (DISK, false), (GATED, false), (BIG, false)] {
        let options = Options { immediate_data, queue_depth: 32, ..world.options() };
        let arena = Arena::new(32, 4096);
        let mut session = Client::connect(&world.rdma_url(lun), &options).unwrap().into_session();
        session.register(&arena).unwrap();
        let mut load = RdmaLoad { session, arena };
        for writes in [false, true] {
            run_over_rdma(&mut load, lun, writes, 500);
            let count = allocated(&world, || run_over_rdma(&mut load, lun, writes, 3000));
            assert_eq!(count, 0, "LUN {lun}, immediate data {immediate_data}, writes {writes}");
        }
    }
}

#[test]
fn the_counter_counts() {
    let world = World::on_one_core();
    let boxed = || {
        for _ in 0..10 {
            world.fleet.call(CoreId(0), |_: &mut Core| drop(std::hint::black_box(Box::new(1u8)))).unwrap();
        }
    };
    assert!(allocated(&world, boxed) >= 10);
}

#[test]
fn no_read_or_write_allocates() {
    let world = World::on_one_core();
    // Memory the device lends, memory of the pools, and a device that keeps nothing.
    for (lun, digest) in [(DISK, false), (DISK, true), (GATED, false), (BIG, false)] {
        let mut peer = world.log_in_with(lun, |options| {
            options.data_digest = if digest { initiator::Digest::Require } else { initiator::Digest::Off };
        });
        for writes in [false, true] {
            run(&mut peer, writes, 500);
            let count = allocated(&world, || run(&mut peer, writes, 3000));
            assert_eq!(count, 0, "LUN {lun}, digest {digest}, writes {writes}");
        }
    }
}
