//! Control PDUs to the initiator: their form, their sizes, and what they invalidate (RFC 7145 §7.3.2).
use crate::rig::{Options, Rig, bytes, parameters};
use iscsi::datamover::{Advertised, Datamover};
use iscsi::negotiate::Parameters;
use iscsi::wire::{Bhs, LoginResponse, NopIn, Opcode, Reject, ScsiResponse, TextResponse, TmfResponse};
use iser::wire::HEADERS;
use rdma::Access;

fn response(itt: u32) -> Bhs {
    ScsiResponse { itt, ..ScsiResponse::default() }.encode()
}

/// A task with buffers in these directions.
fn advertised(rig: &mut Rig, itt: u32, write: bool, read: bool) -> Advertised {
    Advertised {
        write: write.then(|| rig.peer.open(itt, &bytes(512), Access::RemoteRead)),
        read: read.then(|| rig.peer.open(itt, &bytes(512), Access::RemoteWrite)),
    }
}

#[test]
fn responses_invalidate_the_read_buffer_or_else_the_write_buffer() {
    for options in Options::kinds() {
        for (write, read) in [(false, false), (true, false), (false, true), (true, true)] {
            let mut rig = Rig::enabled(options);
            let buffers = advertised(&mut rig, 3, write, read);
            rig.settle();
            rig.mover.send_response(&response(3), b"", &buffers).unwrap();
            rig.settle();
            let expected = buffers.read.or(buffers.write).map(|buffer| buffer.stag);
            assert_eq!(rig.peer.got[0].invalidated, expected);
            assert_eq!(rig.mover.stats().invalidations, u64::from(expected.is_some()));
            rig.finish();
        }
    }
}

#[test]
fn nothing_is_invalidated_unless_both_sides_said_so() {
    let mut rig = Rig::enabled(Options { invalidates: false, ..Options::default() });
    let buffers = advertised(&mut rig, 3, true, true);
    rig.settle();
    rig.mover.send_response(&response(3), b"", &buffers).unwrap();
    rig.settle();
    assert_eq!((rig.peer.got[0].invalidated, rig.counters().send_invalidates), (None, 0));
    rig.finish();
}

#[test]
fn no_other_pdu_invalidates() {
    let mut rig = Rig::enabled(Options::default());
    let buffers = advertised(&mut rig, 3, true, true);
    rig.settle();
    for opcode in 0x20..0x3F {
        if matches!(Opcode(opcode), Opcode::SCSI_RESPONSE | Opcode::R2T | Opcode::DATA_IN | Opcode::ASYNC_MESSAGE) {
            continue;
        }
        rig.mover.send_response(&Bhs::new(Opcode(opcode)), b"", &buffers).unwrap();
        rig.settle();
    }
    rig.mover.send_control(&response(99), b"").unwrap();
    rig.settle();
    assert!(rig.peer.got.len() > 20 && rig.peer.got.iter().all(|got| got.invalidated.is_none()));
    rig.finish();
}

#[test]
fn sense_data_rides_the_response_within_what_linux_takes() {
    let mut rig = Rig::enabled(Options::default());
    assert_eq!(rig.mover.control_segment_limit(), 128, "whatever was negotiated");
    for len in [0, 1, 2, 3, 20, 126, 127, 128] {
        rig.mover.send_response(&response(1), &bytes(len), &Advertised::default()).unwrap();
        rig.settle();
        let got = rig.peer.got.pop().unwrap();
        assert_eq!((&got.data, got.bhs.opcode()), (&bytes(len), Opcode::SCSI_RESPONSE));
        assert!(got.len <= HEADERS + 128);
    }
    rig.finish();
}

#[test]
#[should_panic(expected = "longer than the initiator takes")]
fn longer_data_is_a_bug_of_the_caller() {
    let mut rig = Rig::enabled(Options::default());
    let _ = rig.mover.send_response(&response(1), &bytes(129), &Advertised::default());
}

#[test]
fn an_initiator_that_takes_less_gets_less() {
    let mut rig = Rig::new(Options::default());
    rig.mover.enable(&Parameters { initiator_max_recv: 64, ..parameters() });
    assert_eq!(rig.mover.control_segment_limit(), 64);
    rig.finish();
}

#[test]
fn login_and_discovery_have_long_segments() {
    let mut rig = Rig::new(Options::default());
    assert_eq!(rig.mover.control_segment_limit(), 8192);
    rig.mover.send_control(&LoginResponse::default().encode(), &bytes(8192)).unwrap();
    rig.settle();
    // RDMAExtensions is not negotiated in a discovery session.
    rig.mover.enable(&Parameters { rdma_extensions: false, ..parameters() });
    assert_eq!(rig.mover.control_segment_limit(), 8192);
    rig.mover.send_control(&TextResponse::default().encode(), &bytes(8191)).unwrap();
    rig.settle();
    let sizes: Vec<_> = rig.peer.got.iter().map(|got| got.data.len()).collect();
    assert_eq!(sizes, [8192, 8191]);
    rig.finish();
}

#[test]
fn everything_that_is_sent_was_written() {
    // The initiator of these tests looks for the bytes that buffers are filled with when they come back.
    let mut rig = Rig::enabled(Options { control: 5, ..Options::default() });
    for round in 0..20 {
        rig.mover.send_control(&TmfResponse { itt: round, ..TmfResponse::default() }.encode(), &[]).unwrap();
        rig.mover.send_control(&NopIn { itt: round, ..NopIn::default() }.encode(), &bytes(1 + round as usize)).unwrap();
        rig.mover.send_control(&Reject::default().encode(), response(round).as_bytes()).unwrap();
        rig.settle();
    }
    assert_eq!(rig.peer.got.len(), 60);
    rig.finish();
}
