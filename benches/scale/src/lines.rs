//! One or two cores at work for valgrind, which tells what each of them reads and writes.

use std::io;

use icount::pdu::Direction;
use icount::{counted, iser};

use crate::refill;
use crate::rig::{Device, Plan, Rig};

/// Commands before anything is counted: every slot and buffer has been used by then.
const WARM_UP: u64 = 128;
/// Memory of each core's pools.
const POOL: usize = 32 << 20;

/// Two windows of reads or writes, the second twice as long. Two cores; the first `serving` of them have a connection.
///
/// # Errors
/// What the system lacks.
pub fn run(direction: Direction, device: Device, serving: usize, depth: usize, count: u64) -> io::Result<()> {
    let mut rig = Rig::new(&Plan { cores: 2, device, rdma: 2, pool: POOL, watched: true })?;
    let mut loads = Vec::new();
    for core in 0..serving {
        rig.select(core);
        loads.push(iser::Initiator::log_in(&mut rig, core as u16, direction, depth));
    }
    assert!(rig.connections().iter().all(|count| *count <= 1), "one connection a core");
    let mut drive = |rig: &mut Rig, count| {
        let (mut ended, mut turns) = (0, 0);
        while ended < count {
            for (core, load) in loads.iter_mut().enumerate() {
                rig.select(core);
                ended += refill(load, rig).commands;
            }
            rig.turn_once();
            turns += 1;
        }
        (ended, turns)
    };
    drive(&mut rig, WARM_UP);
    counted::window_ended(0);
    let mut told = Vec::new();
    for length in [count, 2 * count] {
        rig.counting = true;
        let before = rig.spent;
        let (ended, turns) = drive(&mut rig, length);
        rig.counting = false;
        counted::window_ended(ended);
        told.push(format!("window ended={ended} turns={turns} nanos={}", (rig.spent - before).as_nanos()));
    }
    // Last, so that writing it is in no window.
    println!("{}", told.join("\n"));
    rig.payload().iter().for_each(|range| println!("payload={:#x}-{:#x}", range.start, range.end));
    Ok(())
}
