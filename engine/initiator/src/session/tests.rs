//! Sessions against scripted peers on loopback: each script is what a hostile or peculiar target would do.
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use iscsi::wire::{
    BHS_LEN, Bhs, DataIn, LoginRequest, LoginResponse, NopIn, NopOut, Opcode, RESERVED_TAG, ScsiCommand, ScsiResponse,
    TmfResponse,
};
use primitives::Serial;

use super::{Command, Event, Outcome, Session, Why, status};
use crate::arena::Arena;
use crate::error::{Error, Violation};
use crate::options::Options;
use crate::transport::Data;

/// The far end of a session.
struct Peer {
    stream: TcpStream,
    stat_sn: u32,
    exp_cmd_sn: u32,
    max_cmd_sn: u32,
}

impl Peer {
    fn read(&mut self) -> (Bhs, Vec<u8>) {
        let mut header = [0; BHS_LEN];
        self.stream.read_exact(&mut header).unwrap();
        let bhs = Bhs(header);
        let len = bhs.data_segment_length() as usize;
        let mut data = vec![0; len.next_multiple_of(4)];
        self.stream.read_exact(&mut data).unwrap();
        data.truncate(len);
        (bhs, data)
    }

    fn command(&mut self) -> ScsiCommand {
        let (bhs, _) = self.read();
        assert_eq!(bhs.opcode(), Opcode::SCSI_COMMAND);
        self.exp_cmd_sn += 1;
        ScsiCommand::decode(&bhs)
    }

    /// Sends with the next numbers; `status`: it takes a StatSN.
    fn send(&mut self, mut bhs: Bhs, data: &[u8], status: bool) {
        bhs.stamp(Serial(self.stat_sn), Serial(self.exp_cmd_sn), Serial(self.max_cmd_sn));
        self.stat_sn = self.stat_sn.wrapping_add(u32::from(status));
        let mut bytes = bhs.with_data_segment_length(data.len() as u32).0.to_vec();
        bytes.extend_from_slice(data);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        // A session that has seen enough closes while its peer still writes.
        let _ = self.stream.write_all(&bytes);
    }

    fn good(&mut self, itt: u32) {
        self.send(ScsiResponse { itt, ..ScsiResponse::default() }.encode(), &[], true);
    }

    /// Answers the login the way most targets do, declaring `window` commands.
    fn log_in(&mut self, window: u32) {
        for (csg, nsg, keys) in [(0, 1, "AuthMethod=None\0TargetPortalGroupTag=1\0"), (1, 3, OPERATIONAL)] {
            let request = LoginRequest::decode(&self.read().0);
            (self.exp_cmd_sn, self.max_cmd_sn) =
                (request.cmd_sn.0, request.cmd_sn.0.wrapping_add(window).wrapping_sub(1));
            let base = LoginResponse { isid: request.isid, itt: request.itt, ..LoginResponse::default() };
            let response = LoginResponse { transit: true, csg, nsg, tsih: 1, ..base };
            self.send(response.encode(), keys.as_bytes(), true);
        }
    }
}

const OPERATIONAL: &str = "HeaderDigest=None\0DataDigest=None\0DefaultTime2Wait=2\0DefaultTime2Retain=0\0\
    ErrorRecoveryLevel=0\0InitialR2T=No\0ImmediateData=Yes\0MaxBurstLength=65536\0FirstBurstLength=8192\0\
    MaxOutstandingR2T=1\0MaxConnections=1\0DataPDUInOrder=Yes\0DataSequenceInOrder=Yes\0\
    MaxRecvDataSegmentLength=8192\0";

fn options() -> Options {
    Options { queue_depth: 4, ..Options::default() }
}

/// A session whose peer runs `script`, once it is connected.
fn against(options: &Options, script: impl FnOnce(Peer) + Send + 'static) -> (Session, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let thread = std::thread::spawn(move || {
        let stream = listener.accept().unwrap().0;
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        script(Peer { stream, stat_sn: 0xffff_fffe, exp_cmd_sn: 0, max_cmd_sn: 0 });
    });
    (Session::connect(address, Some("iqn.2025-01.io.isere:t"), options, Instant::now()).unwrap(), thread)
}

fn next(session: &mut Session) -> Event {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        if let Some(event) = session.next_event() {
            return event;
        }
        assert!(Instant::now() < deadline, "nothing happens");
        session.poll(Instant::now());
        std::thread::yield_now();
    }
}

fn logged_in(script: impl FnOnce(Peer) + Send + 'static) -> (Session, JoinHandle<()>) {
    let (mut session, thread) = against(&options(), move |mut peer| {
        peer.log_in(2);
        script(peer);
    });
    assert!(matches!(next(&mut session), Event::LoggedIn(_)));
    (session, thread)
}

fn read_of(arena: &mut Arena, len: u32) -> Command {
    let data = Data::Read { buf: arena.take().unwrap(), len };
    Command { data, ..Command::default() }
}

/// Runs `script` against one outstanding 4 KiB read: the command comes back as lost with its buffer, then the
/// violation.
fn violation(script: impl FnOnce(&mut Peer, ScsiCommand) + Send + 'static) -> Violation {
    let (mut session, thread) = logged_in(|mut peer| {
        let command = peer.command();
        script(&mut peer, command);
        let _ = peer.stream.read(&mut [0; 1]);
    });
    let mut arena = Arena::new(1, 4096);
    session.submit(read_of(&mut arena, 4096), Instant::now()).unwrap();
    let Event::Completed(lost) = next(&mut session) else { panic!("the command is not reported") };
    assert_eq!(lost.outcome, Outcome::Lost);
    arena.give(lost.buf.unwrap());
    let Event::Failed(Error::Protocol { violation, .. }) = next(&mut session) else { panic!("no violation") };
    assert!(session.has_ended() && session.next_event().is_none());
    thread.join().unwrap();
    violation
}

fn data_in(itt: u32, offset: u32) -> DataIn {
    DataIn { final_bit: true, itt, ttt: RESERVED_TAG, buffer_offset: offset, ..DataIn::default() }
}

#[test]
fn hostile_data_in_ends_the_session_and_nothing_else() {
    let wrap = violation(|peer, c| peer.send(data_in(c.itt, u32::MAX - 1).encode(), &[1; 4], false));
    assert_eq!(wrap, Violation::DataBounds(u32::MAX - 1, 4));
    let long = violation(|peer, c| peer.send(data_in(c.itt, 0).encode(), &[1; 4097], false));
    assert_eq!(long, Violation::DataBounds(0, 4097));
    let foreign = violation(|peer, c| peer.send(data_in(c.itt ^ 1, 0).encode(), &[1; 4], false));
    assert!(matches!(foreign, Violation::TaskTag(_)));
    let large_and_long = violation(|peer, c| peer.send(data_in(c.itt, 0).encode(), &[1; 100_000], false));
    assert_eq!(large_and_long, Violation::DataBounds(0, 100_000));
}

#[test]
fn hostile_headers_end_the_session_and_nothing_else() {
    let huge = violation(|peer, c| {
        let bhs = data_in(c.itt, 0).encode().with_data_segment_length(0xff_ffff);
        peer.stream.write_all(&bhs.0).unwrap();
    });
    assert_eq!(huge, Violation::SegmentLength(0xff_ffff));
    let ahs = violation(|peer, c| {
        let bhs = ScsiResponse { itt: c.itt, ..ScsiResponse::default() }.encode().with_total_ahs_length(255);
        peer.stream.write_all(&bhs.0).unwrap();
    });
    assert!(matches!(ahs, Violation::Field(_)));
    let opcode = violation(|peer, _| peer.send(Bhs::new(Opcode(0x2a)), &[], true));
    assert_eq!(opcode, Violation::Opcode(0x2a));
    let echo = violation(|peer, _| peer.send(Bhs::new(Opcode::SCSI_COMMAND), &[], true));
    assert_eq!(echo, Violation::Opcode(1));
    let late_login = violation(|peer, _| peer.send(LoginResponse::default().encode(), &[], true));
    assert_eq!(late_login, Violation::Opcode(0x23));
}

#[test]
fn wrong_numbers_and_tags_end_the_session_and_nothing_else() {
    let gap = violation(|peer, c| {
        peer.stat_sn = peer.stat_sn.wrapping_add(1);
        peer.good(c.itt);
    });
    assert!(matches!(gap, Violation::StatSn(..)));
    let foreign = violation(|peer, _| peer.good(0xdead_beef));
    assert_eq!(foreign, Violation::TaskTag(0xdead_beef));
    let reserved = violation(|peer, _| peer.good(RESERVED_TAG));
    assert_eq!(reserved, Violation::TaskTag(RESERVED_TAG));
    let wrong_kind =
        violation(|peer, c| peer.send(TmfResponse { itt: c.itt, ..TmfResponse::default() }.encode(), &[], true));
    assert!(matches!(wrong_kind, Violation::TaskTag(_)));
    let future = violation(|peer, c| {
        peer.exp_cmd_sn += 100;
        peer.max_cmd_sn += 100;
        peer.good(c.itt);
    });
    assert!(matches!(future, Violation::Field(_)));
}

/// A late second answer names a slot that has been given to another command meanwhile.
#[test]
fn an_answer_to_an_earlier_use_of_the_slot_is_noticed() {
    let (mut session, thread) = logged_in(|mut peer| {
        let first = peer.command();
        peer.max_cmd_sn += 4;
        peer.good(first.itt);
        let second = peer.command();
        assert_eq!(first.itt & 0xffff, second.itt & 0xffff);
        peer.good(first.itt);
    });
    session.submit(Command::default(), Instant::now()).unwrap();
    assert!(matches!(next(&mut session), Event::Completed(c) if c.outcome == Outcome::GOOD));
    session.submit(Command::default(), Instant::now()).unwrap();
    assert!(matches!(next(&mut session), Event::Completed(c) if c.outcome == Outcome::Lost));
    assert!(matches!(next(&mut session), Event::Failed(Error::Protocol { violation: Violation::TaskTag(_), .. })));
    thread.join().unwrap();
}

#[test]
fn the_window_holds_commands_back_and_lets_them_go() {
    let (mut session, thread) = logged_in(|mut peer| {
        let (first, second) = (peer.command(), peer.command());
        assert_eq!(second.cmd_sn, first.cmd_sn.plus(1));
        peer.max_cmd_sn += 1;
        peer.good(first.itt);
        assert_eq!(peer.command().cmd_sn, first.cmd_sn.plus(2));
    });
    let now = Instant::now();
    session.submit(Command::default(), now).unwrap();
    session.submit(Command::default(), now).unwrap();
    assert_eq!(session.submit(Command::default(), now).unwrap_err().why, Why::WindowClosed);
    assert!(matches!(next(&mut session), Event::Completed(_)));
    session.submit(Command::default(), now).unwrap();
    assert!(matches!(next(&mut session), Event::Completed(c) if c.outcome == Outcome::Lost));
    thread.join().unwrap();
}

/// Large Data-In goes straight to the buffer in any number of pieces, with status in its last PDU.
#[test]
fn large_and_small_data_land_where_they_belong() {
    let (mut session, thread) = logged_in(|mut peer| {
        let c = peer.command();
        let bytes: Vec<u8> = (0..100_001u32).map(|i| ((i * 7) >> 3) as u8).collect();
        let mut offset = 0;
        for (sn, len) in [60_000, 100, 39_901].into_iter().enumerate() {
            let last = sn == 2;
            let pdu = DataIn { has_status: last, data_sn: Serial(sn as u32), ..data_in(c.itt, offset as u32) };
            peer.send(pdu.encode(), &bytes[offset..offset + len], last);
            offset += len;
        }
    });
    let mut arena = Arena::new(1, 100_001);
    session.submit(read_of(&mut arena, 100_001), Instant::now()).unwrap();
    let Event::Completed(done) = next(&mut session) else { panic!() };
    assert_eq!(done.outcome, Outcome::GOOD);
    let buf = done.buf.unwrap();
    assert_eq!(buf.len(), 100_001);
    assert!(buf.filled().iter().enumerate().all(|(i, b)| *b == ((i as u32 * 7) >> 3) as u8));
    arena.give(buf);
    thread.join().unwrap();
}

#[test]
fn a_ping_is_answered_and_sense_of_any_length_is_borne() {
    let (mut session, thread) = logged_in(|mut peer| {
        let c = peer.command();
        peer.send(NopIn { itt: RESERVED_TAG, ttt: 77, ..NopIn::default() }.encode(), &[], false);
        let pong = NopOut::decode(&peer.read().0);
        assert_eq!((pong.itt, pong.ttt, pong.immediate), (RESERVED_TAG, 77, true));
        // A sense length that lies, and no sense at all.
        let check = ScsiResponse { itt: c.itt, status: status::CHECK_CONDITION, ..ScsiResponse::default() };
        peer.send(check.encode(), &[0xff, 0xff, 0x70, 0, 5], true);
        let c = peer.command();
        peer.send(ScsiResponse { itt: c.itt, ..check }.encode(), &[0], true);
    });
    for key in [Some(5), None] {
        session.submit(Command::default(), Instant::now()).unwrap();
        let Event::Completed(done) = next(&mut session) else { panic!() };
        let Outcome::Status { status: status::CHECK_CONDITION, sense, .. } = done.outcome else { panic!() };
        assert_eq!(sense.map(|s| s.key), key);
    }
    thread.join().unwrap();
}

/// A command that takes too long is aborted by itself; its buffer comes back. The clock is the test's.
#[test]
fn a_late_command_is_aborted_and_comes_back() {
    let (mut session, thread) = logged_in(|mut peer| {
        let c = peer.command();
        let (bhs, _) = peer.read();
        let abort = iscsi::wire::TmfRequest::decode(&bhs);
        assert_eq!((abort.function, abort.referenced_task_tag, abort.ref_cmd_sn), (1, c.itt, c.cmd_sn));
        peer.send(TmfResponse { itt: abort.itt, ..TmfResponse::default() }.encode(), &[], true);
    });
    let mut arena = Arena::new(1, 512);
    let start = Instant::now();
    session.submit(read_of(&mut arena, 512), start).unwrap();
    session.poll(start);
    session.poll(start + options().command_timeout);
    let Event::Completed(done) = next(&mut session) else { panic!() };
    assert_eq!(done.outcome, Outcome::TimedOut);
    arena.give(done.buf.unwrap());
    thread.join().unwrap();
}

#[test]
fn a_silent_target_runs_into_the_login_timeout() {
    let (mut session, thread) = against(&options(), |mut peer| {
        let _ = peer.stream.read_to_end(&mut Vec::new());
    });
    let start = Instant::now();
    while !session.poll(start + options().login_timeout * 2) {}
    assert!(matches!(next(&mut session), Event::Failed(Error::Timeout { .. })));
    thread.join().unwrap();
}
