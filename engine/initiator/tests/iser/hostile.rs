//! Targets that break the rules: the command comes back as lost with its buffer, and the session says why.

use crate::support::*;
use initiator::session::{Event, Outcome};
use initiator::{Error, Violation};
use iscsi::wire::{Bhs, DataIn, LoginResponse, NopIn, Opcode, R2t, RESERVED_TAG, ScsiResponse};
use iser::wire::{Advertisement, HEADERS, Header};
use rdma::Provider;

type Iwarp = Loopback<true>;
type InfiniBand = Loopback<false>;

/// What a target knows of the one command outstanding: a read of 4096 bytes.
struct Known {
    itt: u32,
    read: Advertisement,
}

/// Runs `script` against one outstanding read and returns why the session ended.
fn failure<F: Fabric>(prepare: impl FnOnce(&mut Target<F::P>), script: impl FnOnce(&mut Rig<F>, Known)) -> Error {
    let mut rig = Rig::<F>::logged_in_with(&options(), prepare);
    let mut arena = rig.arena(1, 4096);
    rig.submit(read_of(&mut arena, 4096));
    let (command, message) = rig.command();
    script(&mut rig, Known { itt: command.itt, read: message.read.unwrap() });
    let Event::Completed(lost) = rig.event() else { panic!("the command is not reported") };
    assert_eq!(lost.outcome, Outcome::Lost);
    arena.give(lost.buf.expect("the buffer comes back"));
    assert_eq!(arena.outstanding(), 0);
    let Event::Failed(error) = rig.event() else { panic!("no failure") };
    assert!(rig.session().has_ended() && rig.session().next_event().is_none());
    rig.finish();
    error
}

/// What a hostile target does, whatever its provider.
trait Hostile {
    fn send_bytes(&mut self, bytes: &[u8]);
    fn send(&mut self, bhs: Bhs, data: &[u8], status: bool, invalidate: Option<u32>);
    fn good(&mut self, itt: u32, invalidate: Option<u32>);
    fn skip_stat_sn(&mut self);
}

impl<P: Provider> Hostile for Target<P> {
    fn send_bytes(&mut self, bytes: &[u8]) {
        self.send_bytes(bytes, None);
    }

    fn send(&mut self, bhs: Bhs, data: &[u8], status: bool, invalidate: Option<u32>) {
        self.send(bhs, data, status, invalidate);
    }

    fn good(&mut self, itt: u32, invalidate: Option<u32>) {
        self.good(itt, invalidate);
    }

    fn skip_stat_sn(&mut self) {
        self.stat_sn = self.stat_sn.wrapping_add(1);
    }
}

/// The violation that `script` comes to, the same in simulated time and on real sockets.
fn violation(mut script: impl FnMut(&mut dyn Hostile, Known)) -> Violation {
    let outcomes = [
        failure::<Iwarp>(|_| {}, |rig, known| script(&mut rig.target, known)),
        failure::<SoftIwarp>(|_| {}, |rig, known| script(&mut rig.target, known)),
    ];
    let [first, second] = outcomes.map(|error| match error {
        Error::Protocol { violation, .. } => violation,
        other => panic!("{other}"),
    });
    // STags differ, kinds do not.
    assert_eq!(std::mem::discriminant(&first), std::mem::discriminant(&second));
    second
}

fn raw(header: [u8; 28], bhs: &Bhs, data: usize) -> Vec<u8> {
    [&header[..], bhs.as_bytes(), &vec![0; data]].concat()
}

#[test]
fn short_messages() {
    for len in [0, 1, 27, 28, 75] {
        let got = violation(|target, _| target.send_bytes(&vec![0x10; len]));
        assert_eq!(got, Violation::ShortMessage(len as u32));
    }
}

#[test]
fn lengths_that_lie() {
    let response = |known: &Known| ScsiResponse { itt: known.itt, ..ScsiResponse::default() }.encode();
    let missing = violation(|target, known| {
        let bhs = response(&known).with_data_segment_length(5);
        target.send_bytes(&raw(Header::PLAIN.encode(), &bhs, 4));
    });
    assert_eq!(missing, Violation::MessageLength(HEADERS as u32 + 4, 5));
    let hidden = violation(|target, known| {
        target.send_bytes(&raw(Header::PLAIN.encode(), &response(&known), 4));
    });
    assert_eq!(hidden, Violation::MessageLength(HEADERS as u32 + 4, 0));
    let long = violation(|target, known| {
        let bhs = response(&known).with_data_segment_length(513);
        target.send_bytes(&raw(Header::PLAIN.encode(), &bhs, 513));
    });
    assert_eq!(long, Violation::SegmentLength(513));
}

#[test]
fn headers_that_are_none() {
    let hello = violation(|target, _| {
        let hello = Header::HelloReply { reject: false, max_version: 10, version: 10, ord: 1 };
        target.send_bytes(&raw(hello.encode(), &Bhs::new(Opcode::NOP_IN), 0));
    });
    assert!(matches!(hello, Violation::Field(_)));
    let opcode = violation(|target, _| target.send_bytes(&raw([0xff; 28], &Bhs::new(Opcode::NOP_IN), 0)));
    assert!(matches!(opcode, Violation::Field(_)));
    let ahs = violation(|target, known| {
        let bhs = ScsiResponse { itt: known.itt, ..ScsiResponse::default() }.encode().with_total_ahs_length(1);
        target.send_bytes(&raw(Header::PLAIN.encode(), &bhs, 4));
    });
    assert!(matches!(ahs, Violation::Field(_)));
}

#[test]
fn data_pdus_do_not_exist() {
    let data_in = violation(|target, known| {
        target.send(DataIn { itt: known.itt, final_bit: true, ..DataIn::default() }.encode(), &[0; 4], false, None);
    });
    assert_eq!(data_in, Violation::Opcode(Opcode::DATA_IN.0));
    let r2t = violation(|target, known| {
        target.send(R2t { itt: known.itt, desired_length: 4, ..R2t::default() }.encode(), &[], false, None);
    });
    assert_eq!(r2t, Violation::Opcode(Opcode::R2T.0));
}

#[test]
fn unknown_tasks_and_wrong_numbers() {
    let unknown = violation(|target, known| target.good(known.itt ^ 0x1_0000, None));
    assert!(matches!(unknown, Violation::TaskTag(_)));
    let nowhere = violation(|target, _| target.good(0xdead_beef, None));
    assert_eq!(nowhere, Violation::TaskTag(0xdead_beef));
    let reserved = violation(|target, _| target.good(RESERVED_TAG, None));
    assert_eq!(reserved, Violation::TaskTag(RESERVED_TAG));
    let numbers = violation(|target, known| {
        target.skip_stat_sn();
        target.good(known.itt, None);
    });
    assert!(matches!(numbers, Violation::StatSn(..)));
    let login = violation(|target, _| target.send(LoginResponse::default().encode(), &[], true, None));
    assert_eq!(login, Violation::Opcode(Opcode::LOGIN_RESPONSE.0));
}

/// A response that invalidates a window, but not its task's.
#[test]
fn the_wrong_invalidation() {
    let mut rig = Rig::<Iwarp>::logged_in();
    let mut arena = rig.arena(2, 4096);
    rig.submit(read_of(&mut arena, 4096));
    rig.submit(read_of(&mut arena, 4096));
    let (first, _) = rig.command();
    let (_, other) = rig.command();
    let stag = other.read.unwrap().stag;
    rig.target.good(first.itt, Some(stag));
    for _ in 0..2 {
        let Event::Completed(lost) = rig.event() else { panic!() };
        assert_eq!(lost.outcome, Outcome::Lost);
        arena.give(lost.buf.unwrap());
    }
    let Event::Failed(Error::Protocol { violation, .. }) = rig.event() else { panic!() };
    assert_eq!(violation, Violation::Invalidated(stag));
    rig.finish();
}

#[test]
fn invalidation_on_something_else_than_a_response() {
    let mut stag = 0;
    let got = violation(|target, known| {
        stag = known.read.stag;
        target.send(NopIn { itt: RESERVED_TAG, ttt: 7, ..NopIn::default() }.encode(), &[], false, Some(stag));
    });
    assert_eq!(got, Violation::Invalidated(stag));
    let unknown = violation(|target, known| {
        stag = known.read.stag;
        target.good(known.itt ^ 0x1_0000, Some(stag));
    });
    assert_eq!(unknown, Violation::Invalidated(stag));
}

/// A target that said it would not invalidate, or said nothing at all.
#[test]
fn invalidation_that_was_not_agreed_on() {
    for private in [&[0xC0, 0, 0, 0][..], &[0; 4], &[]] {
        let error = failure::<Iwarp>(
            |target| target.private = rdma::PrivateData::new(private).unwrap(),
            |rig, known| rig.target.good(known.itt, Some(known.read.stag)),
        );
        assert!(matches!(error, Error::Protocol { violation: Violation::Invalidated(_), .. }), "{error}");
    }
}

/// An STag that is none: the device itself refuses it.
#[test]
fn invalidation_of_nothing() {
    let error = failure::<InfiniBand>(
        |_| {},
        |rig, known| {
            rig.target.good(known.itt, Some(known.read.stag ^ 0xff));
            rig.until(|rig| (!rig.fabric.world.take_violations().is_empty()).then_some(()));
        },
    );
    assert!(matches!(error, Error::Protocol { .. }), "{error}");
}

/// Writes out of bounds, with the wrong STag, and into memory for reading.
#[test]
fn accesses_it_may_not_make() {
    let write = |offset: u64, stag: u32, len: usize| {
        let script = move |rig: &mut Rig<InfiniBand>, known: Known| {
            let to = Advertisement { stag: known.read.stag ^ stag, va: known.read.va };
            rig.target.write(to, offset, &vec![0xEE; len]);
            rig.until(|rig| (!rig.fabric.world.take_violations().is_empty()).then_some(()));
        };
        failure::<InfiniBand>(|_| {}, script)
    };
    for error in [write(4096, 0, 1), write(0, 0, 4097), write(0, 1, 4096)] {
        assert!(matches!(error, Error::Protocol { violation: Violation::Terminated, .. }), "{error}");
    }
    let read = failure::<InfiniBand>(
        |_| {},
        |rig, known| {
            rig.target.fetch(known.read, 0, 16);
            rig.until(|rig| (!rig.fabric.world.take_violations().is_empty()).then_some(()));
        },
    );
    assert!(matches!(read, Error::Protocol { violation: Violation::Terminated, .. }), "{read}");
}

/// A message longer than any receive.
#[test]
fn a_message_that_fits_nowhere() {
    let error = failure::<InfiniBand>(|_| {}, |rig, _| rig.target.send_bytes(&[0x10; 20_000], None));
    assert!(matches!(error, Error::Protocol { violation: Violation::Terminated | Violation::Rdma(_), .. }), "{error}");
}

/// More unasked PDUs than anybody needs: iWARP ends the connection, and nothing grows.
#[test]
fn a_flood_of_pings() {
    let script = |rig: &mut Rig<Iwarp>, _: Known| {
        let ping = NopIn { itt: RESERVED_TAG, ttt: 7, ..NopIn::default() }.encode();
        // The session does not get a turn in between.
        for _ in 0..60 {
            rig.target.send(ping, &[], false, None);
            rig.rest();
        }
        (0..20).for_each(|_| rig.rest());
    };
    let error = failure::<Iwarp>(|_| {}, script);
    assert!(matches!(error, Error::Protocol { .. }), "{error}");
}

#[test]
fn a_hang_up_with_a_command_outstanding() {
    let error = failure::<Iwarp>(|_| {}, |rig, _| rig.target.hang_up());
    assert!(matches!(error, Error::Closed { during: "in full-feature phase", .. }), "{error}");
}

/// What came before the end of the connection is still delivered.
#[test]
fn an_answer_before_the_hang_up_counts() {
    let mut rig = Rig::<Iwarp>::logged_in();
    rig.submit(command(initiator::transport::Data::None));
    let (done, _) = rig.command();
    rig.target.good(done.itt, None);
    // The session does not get a turn in between.
    (0..20).for_each(|_| rig.rest());
    rig.target.hang_up();
    (0..20).for_each(|_| rig.rest());
    assert!(matches!(rig.event(), Event::Completed(c) if c.outcome == Outcome::GOOD));
    assert!(matches!(rig.event(), Event::Failed(Error::Closed { .. })));
    rig.finish();
}
