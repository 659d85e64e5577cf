//! Regions exposed to every peer.

use super::support::Rig;
use rdma::{Ended, Memory, Provider, QueuePair, Refused};
use siw::Config;
use siw::wire::{Fault, Header, Opcode, Place, ReadRequest};

#[test]
fn every_connection_reaches_it_until_it_is_concealed() {
    let mut rig = Rig::new(Config::default());
    let buf = rig.buf(8192, 0x55);
    let memory = Memory { addr: buf.as_ptr().addr(), len: 4096 };
    let stag = rig.device.expose(memory, true, true).unwrap();
    assert_eq!(rig.device.remove_memory(rig.memory), Err(Refused::InUse));
    for n in 1..=2u8 {
        let (queue, mut raw) = rig.accepted();
        raw.rdma_write(stag.0, memory.addr as u64, &[n; 10]);
        let (source_stag, source_to) = (stag.0, memory.addr as u64);
        raw.read_request(1, ReadRequest { sink_stag: 3, sink_to: 0, len: 4096, source_stag, source_to });
        let (header, bytes) = raw.message(&mut rig);
        assert_eq!((header.opcode, bytes.len(), &bytes[..10]), (Opcode::ReadResponse, 4096, &[n; 10][..]));
        assert_eq!(bytes[10..], [0x55; 4086]);
        raw.rdma_write(stag.0, memory.addr as u64 + 4090, &[n; 7]);
        assert_eq!(raw.terminated(&mut rig), Fault::BOUNDS);
        rig.ended();
        drop(queue);
    }
    let (_queue, mut raw) = rig.accepted();
    rig.device.conceal(stag).unwrap();
    assert_eq!(rig.device.conceal(stag), Err(Refused::Gone));
    raw.rdma_write(stag.0, memory.addr as u64, &[9; 10]);
    assert_eq!(raw.terminated(&mut rig), Fault::STAG);
    assert_eq!(buf.filled()[4096..], [0x55; 4096]);
    rig.pools.give(buf);
    rig.device.remove_memory(rig.memory).unwrap();
}

#[test]
fn its_rights_are_kept() {
    let mut rig = Rig::new(Config::default());
    let memory = rig.memory;
    let readable = rig.device.expose(memory, true, false).unwrap();
    let writable = rig.device.expose(memory, false, true).unwrap();
    let (_queue, mut raw) = rig.accepted();
    raw.rdma_write(readable.0, memory.addr as u64, &[1]);
    assert_eq!(raw.terminated(&mut rig), Fault::RIGHTS);
    let (_queue, mut raw) = rig.accepted();
    let (source_stag, source_to) = (writable.0, memory.addr as u64);
    raw.read_request(1, ReadRequest { sink_stag: 3, sink_to: 0, len: 1, source_stag, source_to });
    assert_eq!(raw.terminated(&mut rig), Fault::RIGHTS);
}

#[test]
fn only_known_memory_is_exposed() {
    let mut rig = Rig::new(Config::default());
    let Memory { addr, len } = rig.memory;
    for wrong in [(addr - 1, 10), (addr, len + 1), (addr, 0), (addr + len, 1), (usize::MAX, 2)] {
        let memory = Memory { addr: wrong.0, len: wrong.1 };
        assert_eq!(rig.device.expose(memory, true, true), Err(Refused::Gone));
    }
}

#[test]
fn whoever_is_in_the_middle_of_it_when_it_is_concealed_is_cut_off() {
    let mut rig = Rig::new(Config::default());
    let buf = rig.buf(8192, 0x55);
    let memory = Memory { addr: buf.as_ptr().addr(), len: 8192 };
    let stag = rig.device.expose(memory, true, true).unwrap();
    let (queue, mut raw) = rig.accepted();
    let (bystander, mut quiet) = rig.accepted();
    let place = Place::Tagged { stag: stag.0, to: memory.addr as u64 };
    let bytes = raw.bytes_of(&Header { last: true, opcode: Opcode::Write, place }, &[1; 8192], Default::default());
    raw.write(&bytes[..100]);
    rig.turns(10);
    rig.device.conceal(stag).unwrap();
    assert_eq!(rig.ended(), Ended::Terminated);
    raw.write(&bytes[100..]);
    rig.turns(20);
    assert_eq!(buf.filled()[100..], [0x55; 8092], "nothing comes late");
    assert_eq!(queue.outstanding(), 0);
    assert!(quiet.is_silent(&mut rig) && bystander.room().receive > 0, "the others go on");
    rig.pools.give(buf);
}
