//! iSER over soft-iWARP: what a portal makes of first bytes, and initiators that break the rules of RFC 7145.

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::support::rdma_peer::{RdmaPeer, to_read, to_write};
use crate::support::*;
use bdev::Op;
use initiator::{Client, Options};
use iscsi::wire::{Bhs, LogoutRequest, NopOut, Opcode, ScsiResponse, TmfRequest};
use iser::wire::{Advertisement, HEADERS, Header};
use primitives::Serial;
use rdma::{Access, ReadDepth, Remote, Stag};
use target::portal::{Carrier, PortalSpec, Speaks};

const LINUX: [u8; 4] = [0x80, 0, 0, 0];

fn ping(itt: u32, cmd_sn: u32) -> Bhs {
    NopOut { itt, cmd_sn: Serial(cmd_sn), ..NopOut::default() }.encode()
}

#[test]
fn one_portal_serves_both_and_both_see_one_disk() {
    let world = World::on_two_cores();
    let (mut over_rdma, mut over_tcp) = (world.rdma_client(DISK), world.client(DISK));
    for (n, len) in [512, 4096, 8192, 8704, 65_536, 1 << 20, 4 << 20].into_iter().enumerate() {
        let (one, other) = (pattern(n as u64, len), pattern(n as u64 + 100, len));
        over_rdma.write(8, &one).unwrap();
        assert!(over_tcp.read(8, (len / 512) as u32).unwrap() == one, "{len} bytes over RDMA are not what was sent");
        over_tcp.write(8, &other).unwrap();
        assert!(over_rdma.read(8, (len / 512) as u32).unwrap() == other, "{len} bytes over TCP are not what was sent");
    }
    assert_eq!((over_rdma.log_out().unwrap(), over_tcp.log_out().unwrap()), (0, 0));
}

#[test]
fn data_moves_by_rdma_alone_and_responses_close_the_windows() {
    let world = World::on_one_core();
    let options = Options { immediate_data: false, initial_r2t: true, ..world.options() };
    let mut client = Client::connect(&world.rdma_url(DISK), &options).unwrap();
    let data = pattern(1, 64 << 10);
    // Before its first command the client asks for the size of a block.
    client.read(0, 1).unwrap();
    let before = world.service.stats()[0].rdma;
    for n in 0..10 {
        client.write(n * 128, &data).unwrap();
        assert!(client.read(n * 128, 128).unwrap() == data);
    }
    let after = world.service.stats()[0].rdma;
    assert_eq!(after.writes - before.writes, 10, "one RDMA Write for each read of 64 KiB");
    assert_eq!(after.reads - before.reads, 10, "one RDMA Read for each write that brings no data with it");
    assert_eq!(after.sends - before.sends, 20, "one response each");
    assert_eq!(after.send_invalidates - before.send_invalidates, 20);
    assert!(after.doorbells - before.doorbells <= 60);
    client.log_out().unwrap();
}

#[test]
fn a_logout_leaves_the_closing_to_the_initiator_for_a_moment() {
    let world = World::on_one_core();
    let mut peer = RdmaPeer::log_in(world.address);
    let logout = LogoutRequest { reason: 0, itt: 9, cmd_sn: Serial(1), ..LogoutRequest::default() };
    peer.send_pdu(Header::PLAIN, &logout.encode(), &[]);
    assert_eq!(peer.hear_pdu().expect("an answer").opcode(), Opcode::LOGOUT_RESPONSE);
    for _ in 0..200 {
        peer.turn();
        assert!(!peer.is_over(), "Linux would take it for a failure");
    }
    // Not for ever.
    peer.hears_the_end();
}

#[test]
fn l1_messages_shorter_than_their_headers_end_the_connection() {
    let world = World::on_one_core();
    for len in (0..HEADERS).step_by(5).chain([1, 27, 28, 29, 75]) {
        let mut peer = RdmaPeer::connect(world.address, &LINUX).expect("accepted");
        peer.send(&[0x10, 0, 0, 0].repeat(19)[..len]);
        peer.hears_the_end();
        let mut peer = RdmaPeer::log_in(world.address);
        peer.send(&[0x10, 0, 0, 0].repeat(19)[..len]);
        peer.hears_the_end();
    }
}

#[test]
fn l3_lengths_that_do_not_match_the_message_end_the_connection() {
    let world = World::on_one_core();
    for claim in [1, 2, 3, 4, 5, 8192, 8193, 0xFF_FFFF] {
        let mut peer = RdmaPeer::log_in(world.address);
        let mut message = Header::PLAIN.encode().to_vec();
        message.extend_from_slice(ping(5, 1).with_data_segment_length(claim).as_bytes());
        peer.send(&message);
        peer.hears_the_end();
    }
}

#[test]
fn k5_private_data_of_any_kind_lets_a_login_happen() {
    let world = World::on_one_core();
    for private in [&[][..], &[0x80], &[0; 4], &[0xC0, 0, 0, 0], &LINUX, &[0xFF; 64], &[0x80; 508]] {
        let mut peer = RdmaPeer::connect(world.address, private).expect("accepted");
        assert_eq!(peer.accepted_with().len(), 4);
        let response = peer.try_log_in(ROOMS[0], "RDMAExtensions=Yes\0").expect("an answer");
        assert_eq!((response.status_class, response.nsg), (0, 3), "{private:02x?}");
    }
}

#[test]
fn immediate_data_is_for_those_who_are_known_to_send_it() {
    let world = World::on_one_core();
    for (private, answer) in [(LINUX, "ImmediateData=Yes"), ([0xC0, 0, 0, 0], "ImmediateData=No")] {
        let mut peer = RdmaPeer::connect(world.address, &private).expect("accepted");
        let text = peer.login_text(ROOMS[0], "RDMAExtensions=Yes\0ImmediateData=Yes\0").expect("an answer");
        assert!(text.split('\0').any(|pair| pair == answer), "{text:?}");
    }
}

#[test]
fn k5_a_login_without_rdma_extensions_is_refused() {
    let world = World::on_one_core();
    for keys in ["", "RDMAExtensions=No\0"] {
        let mut peer = RdmaPeer::connect(world.address, &LINUX).expect("accepted");
        let response = peer.try_log_in(ROOMS[0], keys).expect("an answer");
        assert_eq!(response.status_class, 2);
        peer.hears_the_end();
    }
}

#[test]
fn k5_hello_is_answered_once_and_only_at_the_right_time() {
    let world = World::on_one_core();
    let hello = Header::Hello { max_version: 10, min_version: 10, ird: 4 }.encode();
    let mut peer = RdmaPeer::connect(world.address, &LINUX).expect("accepted");
    let keys = "RDMAExtensions=Yes\0iSERHelloRequired=Yes\0";
    assert_eq!(peer.try_log_in(ROOMS[0], keys).expect("an answer").status_class, 0);
    peer.send(&hello);
    let reply = Header::decode(&peer.hear().expect("a HelloReply")).unwrap();
    assert!(matches!(reply, Header::HelloReply { reject: false, version: 10, .. }), "{reply:?}");
    peer.send_pdu(Header::PLAIN, &ping(3, 1), &[]);
    assert_eq!(peer.hear_pdu().expect("an echo").opcode(), Opcode::NOP_IN);
    peer.send(&hello);
    peer.hears_the_end();
    let mut early = RdmaPeer::connect(world.address, &LINUX).expect("accepted");
    early.send(&hello);
    early.hears_the_end();
}

#[test]
fn m1_buffers_that_are_not_the_initiators_end_its_connection_and_nothing_else() {
    let world = World::on_one_core();
    let mut other = world.rdma_client(DISK);
    for wrong in 0..3 {
        let mut peer = RdmaPeer::log_in(world.address);
        let good = peer.window(&[], 4096, Access::RemoteWrite);
        let remote = match wrong {
            0 => Remote { stag: Stag(good.stag.0 ^ 1), ..good },
            1 => Remote { va: good.va + 1, ..good },
            _ => Remote { va: u64::MAX - 100, ..good },
        };
        peer.command(7, 1, DISK, read16(0, 8), 4096, to_read(remote));
        peer.hears_the_end();
        let mut peer = RdmaPeer::log_in(world.address);
        let not_for_reading = peer.window(&[], 4096, Access::RemoteWrite);
        peer.command(7, 1, DISK, write16(0, 8), 4096, to_write(not_for_reading));
        peer.hears_the_end();
    }
    other.write(0, &pattern(3, 4096)).unwrap();
    other.log_out().unwrap();
}

#[test]
fn m5_advertisements_that_do_not_fit_the_command_are_survived() {
    let world = World::on_one_core();
    let stag = Some(Advertisement { stag: 1, va: 2 });
    let kinds = [
        (read16(0, 8), Header::PLAIN),
        (write16(0, 8), Header::PLAIN),
        (read16(0, 8), Header::Control { write: stag, read: None }),
        (write16(0, 8), Header::Control { write: None, read: stag }),
        (read16(0, 8), Header::Control { write: stag, read: stag }),
        ([0; 16], Header::Control { write: stag, read: stag }),
    ];
    for (cdb, header) in kinds {
        let mut peer = RdmaPeer::log_in(world.address);
        peer.command(7, 1, DISK, cdb, 4096, header);
        // It is answered, or the connection ends: it may not hang.
        if let Some(bhs) = peer.hear_pdu() {
            assert_eq!(bhs.opcode(), Opcode::SCSI_RESPONSE, "{header:?}");
        }
    }
}

#[test]
fn m2_no_more_reads_at_once_than_the_initiator_serves() {
    let world = World::on_one_core();
    for ird in [1, 2, 4] {
        let mut peer = RdmaPeer::begin(world.address, &LINUX, ReadDepth { ird, ord: 1 });
        peer.until(RdmaPeer::is_established);
        assert_eq!(peer.try_log_in(ROOMS[0], "RDMAExtensions=Yes\0").expect("an answer").status_class, 0);
        let data = pattern(u64::from(ird), 65_536);
        for n in 0..16u32 {
            let window = peer.window(&data, 65_536, Access::RemoteRead);
            peer.command(10 + n, 1 + n, DISK, write16(u64::from(n) * 128, 128), 65_536, to_write(window));
        }
        for _ in 0..16 {
            let bhs = peer.hear_pdu().expect("no read too many, so no Terminate");
            assert_eq!((bhs.opcode(), ScsiResponse::decode(&bhs).status), (Opcode::SCSI_RESPONSE, 0));
        }
        assert_eq!(peer.invalidated.len(), 16, "every response closed its window");
    }
}

#[test]
fn m4_an_initiator_that_does_nothing_any_more_is_no_burden() {
    let world = World::on_one_core();
    let mut sleeper = RdmaPeer::log_in(world.address);
    for n in 0..24u32 {
        let window = sleeper.window(&pattern(1, 65_536), 65_536, Access::RemoteRead);
        sleeper.command(10 + n, 1 + n, DISK, write16(u64::from(n) * 128, 128), 65_536, to_write(window));
    }
    // It serves no RDMA Read and takes no response. Others are served as ever.
    let mut client = world.rdma_client(DISK);
    for n in 0..20 {
        client.write(n * 8, &pattern(n, 4096)).unwrap();
    }
    client.log_out().unwrap();
    drop(sleeper);
}

#[test]
fn t1_a_connection_may_end_at_any_step() {
    let world = World::on_two_cores();
    world.slow_down(std::time::Duration::from_millis(2));
    for turns in 0..40 {
        let mut peer = RdmaPeer::begin(world.address, &LINUX, ReadDepth { ird: 16, ord: 1 });
        for _ in 0..turns {
            peer.turn();
        }
        if turns % 3 == 0 {
            rdma::QueuePair::to_error(&mut peer.queue);
        }
    }
    for turns in 0..60 {
        let mut peer = RdmaPeer::log_in(world.address);
        let (lun, data) = (if turns % 2 == 0 { DISK } else { DELAYED }, pattern(turns, 65_536));
        for n in 0..8u32 {
            let cdb = [read16, write16][n as usize % 2](u64::from(n) * 128, 128);
            let access = [Access::RemoteWrite, Access::RemoteRead][n as usize % 2];
            let window = peer.window(&data, 65_536, access);
            peer.command(10 + n, 1 + n, lun, cdb, 65_536, [to_read, to_write][n as usize % 2](window));
        }
        for _ in 0..turns {
            peer.turn();
        }
        match turns % 3 {
            0 => rdma::QueuePair::to_error(&mut peer.queue),
            1 => peer.send(&[0; 40]),
            _ => {}
        }
    }
}

#[test]
fn t2_aborted_tasks_leave_the_initiators_memory_alone() {
    let world = World::on_one_core();
    let mut peer = RdmaPeer::log_in(world.address);
    world.hold(Op::Read, 4);
    for n in 0..4u32 {
        let window = peer.window(&[], 4096, Access::RemoteWrite);
        peer.command(10 + n, 1 + n, GATED, read16(u64::from(n) * 8, 8), 4096, to_read(window));
    }
    eventually("the device has the commands", || world.tasks() == 4);
    let lun = [0, GATED as u8, 0, 0, 0, 0, 0, 0];
    // 5: LOGICAL UNIT RESET.
    let reset = TmfRequest { function: 5, immediate: true, lun, itt: 99, cmd_sn: Serial(5), ..Default::default() };
    let before = world.service.stats()[0].rdma.writes;
    peer.send_pdu(Header::PLAIN, &reset.encode(), &[]);
    eventually("the reset aborts what the device holds", || world.tasks() == 0);
    let answer = peer.hear_pdu().expect("an answer");
    assert_eq!((answer.opcode(), answer.itt()), (Opcode::TMF_RESPONSE, 99));
    assert_eq!(world.service.stats()[0].rdma.writes, before, "nothing was written for tasks that were aborted");
    assert!(peer.invalidated.is_empty(), "only SCSI Responses close windows");
    peer.send_pdu(Header::PLAIN, &ping(100, 5), &[]);
    assert_eq!(peer.hear_pdu().expect("an echo").opcode(), Opcode::NOP_IN);
}

/// A read may be longer than any RDMA message, and longer than the memory it says it is for.
#[test]
fn long_reads_of_lent_memory_go_out_in_pieces() {
    let world = World::on_one_core();
    let mut peer = RdmaPeer::log_in(world.address);
    let window = peer.window(&[], 4096, Access::RemoteWrite);
    let before = world.service.stats()[0].rdma.writes;
    let bytes = target::limits::LENT_BYTES + 512;
    peer.command(10, 1, DISK, read16(0, bytes / 512), bytes, to_read(window));
    peer.hears_the_end();
    assert_eq!(world.service.stats()[0].rdma.writes - before, 2);
}

#[test]
fn t4_a_session_over_rdma_takes_the_place_of_another() {
    let world = World::on_two_cores();
    let mut first = RdmaPeer::log_in(world.address);
    world.hold(Op::Write, 1);
    let window = first.window(&pattern(1, 4096), 4096, Access::RemoteRead);
    first.command(7, 1, GATED, write16(0, 8), 4096, to_write(window));
    eventually("the device has the command", || {
        first.turn();
        world.tasks() == 1
    });
    // The same name and ISID.
    let over = std::thread::scope(|scope| {
        let second = scope.spawn(|| RdmaPeer::log_in(world.address).is_over());
        first.hears_the_end();
        world.gate.resume_pending();
        second.join().unwrap()
    });
    assert!(!over);
}

#[test]
fn random_messages_harm_nobody_else() {
    let world = World::on_two_cores();
    let mut dice = Dice::new(7);
    for _ in 0..150 {
        let mut peer = RdmaPeer::log_in(world.address);
        for n in 0..dice.below(6) {
            let len = HEADERS + dice.below(300) as usize;
            let mut message = pattern(dice.below(u64::MAX), len);
            // Mostly something that is looked at closely.
            if dice.below(4) > 0 {
                message[0] = 0x10 | dice.pick(&[0, 4, 8, 12]);
                message[28] = dice.pick(&[0, 1, 2, 4, 5, 6, 0x40, 0x41, 0x10, 3]);
                message[32] = 0;
                message[33..36].copy_from_slice(&((len - HEADERS) as u32).to_be_bytes()[1..]);
                message[28 + 24..28 + 28].copy_from_slice(&(n as u32 + 1).to_be_bytes());
            }
            peer.send(&message);
            peer.turn();
        }
        for _ in 0..dice.below(20) {
            peer.turn();
        }
    }
}

#[test]
fn first_bytes_of_any_kind_lead_somewhere_or_nowhere() {
    let world = World::build().house(|house| house.login_timeout = std::time::Duration::from_millis(300)).start();
    let request = *b"MPA ID Req Frame\x10\x02\x00\x04\x00\x01\x00\x01";
    let silent: Vec<_> = (0..20).map(|_| TcpStream::connect(world.address).unwrap()).collect();
    for cut in 0..request.len() {
        let mut stream = TcpStream::connect(world.address).unwrap();
        stream.write_all(&request[..cut]).unwrap();
        drop(stream);
    }
    let with = |at: usize, byte: u8| {
        let mut bytes = request;
        bytes[at] = byte;
        bytes
    };
    // A wrong key, markers, revision 9, too much private data, a set-up word that is not there.
    for bytes in [with(4, b'X'), with(16, 0x90), with(17, 9), with(18, 0xFF), with(19, 2), with(0, b'm')] {
        let mut stream = TcpStream::connect(world.address).unwrap();
        stream.write_all(&bytes).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut heard = Vec::new();
        // A rejection or nothing, and then the end.
        let _ = stream.read_to_end(&mut heard);
        assert!(heard.is_empty() || heard.starts_with(b"MPA ID Rep Frame"), "{heard:02x?}");
    }
    drop(silent);
}

#[test]
fn a_portal_speaks_only_what_it_is_told_to() {
    let world = World::on_one_core();
    let any = "127.0.0.1:0".parse().unwrap();
    let open = |group, speaks| {
        world
            .service
            .open_portals(group, &[PortalSpec { address: any, speaks, carrier: Carrier::Auto }], false)
            .unwrap();
        world.service.addresses(group)[0]
    };
    let (tcp, iser) = (open(2, Speaks::Tcp), open(3, Speaks::Iser));
    assert!(RdmaPeer::connect(tcp, &LINUX).is_none(), "MPA is no iSCSI login");
    assert!(RdmaPeer::connect(iser, &LINUX).is_some());
    let url = |at| format!("iscsi://{at}/{}/0", ROOMS[0]).parse().unwrap();
    assert!(Client::connect(&url(iser), &world.options()).is_err(), "an iSCSI login is no MPA");
    Client::connect(&url(tcp), &world.options()).unwrap().log_out().unwrap();
    let verbs = PortalSpec { address: any, speaks: Speaks::Iser, carrier: Carrier::Verbs };
    let error = world.service.open_portals(4, &[verbs], false).unwrap_err().to_string();
    assert!(error.contains("RDMA") && error.contains("siw"), "{error}");
    [2, 3].into_iter().for_each(|group| world.service.close_portals(group));
}

#[test]
fn twenty_sessions_over_rdma_at_once() {
    let world = World::build().cores(2).house(|house| house.settings.max_sessions = 200).start();
    let mut clients = Vec::new();
    // As many as the memory of the test's pools is for.
    for _ in 0..20 {
        clients.push(world.rdma_client(DISK));
    }
    for (n, client) in clients.iter_mut().enumerate() {
        client.write(n as u64 * 128, &pattern(n as u64, 65_536)).unwrap();
    }
    for (n, client) in clients.iter_mut().enumerate() {
        assert!(client.read(n as u64 * 128, 128).unwrap() == pattern(n as u64, 65_536));
    }
}

#[test]
fn connections_without_memory_are_refused_and_those_with_it_go_on() {
    let world = World::on_one_core();
    let mut client = world.rdma_client(DISK);
    world.starve(8, 0);
    let refused = RdmaPeer::connect(world.address, &LINUX);
    assert!(refused.is_none(), "there is no memory for its messages");
    client.write(0, &pattern(1, 4096)).unwrap();
    world.feed();
    assert!(RdmaPeer::connect(world.address, &LINUX).is_some());
    client.log_out().unwrap();
}
