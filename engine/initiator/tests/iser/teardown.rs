//! Ends of all kinds, at every moment: commands and buffers are accounted for, and nothing is left in a window.

use crate::support::*;
use initiator::session::{Event, Outcome};
use initiator::{Error, Options};
use iscsi::wire::function;
use primitives::Tag;
use rdma::Status;
use rdma::loopback::{Fault, What, When};

type Iwarp = Loopback<true>;
type InfiniBand = Loopback<false>;

#[test]
fn a_refused_connection_is_an_error() {
    let mut rig = Rig::<InfiniBand>::with_target(&options(), Some(NAME), |target| target.refuse = true);
    let Event::Failed(error) = rig.event() else { panic!() };
    assert!(matches!(error, Error::Connect { .. }) && error.to_string().contains("reject"), "{error}");
    rig.finish();
}

/// A target that never answers runs into the timeouts of the login, and of a command and its abort.
#[test]
fn silence_ends_in_a_timeout() {
    let mut rig = Rig::<Iwarp>::new(&options());
    rig.request();
    rig.now += options().login_timeout * 2;
    assert!(matches!(rig.event(), Event::Failed(Error::Timeout { what: "the login", .. })));
    rig.finish();

    let mut rig = Rig::<Iwarp>::logged_in();
    let mut arena = rig.arena(1, 4096);
    rig.submit(read_of(&mut arena, 4096));
    rig.command();
    rig.now += options().command_timeout;
    let abort = iscsi::wire::TmfRequest::decode(&rig.request().bhs);
    assert_eq!(abort.function, function::ABORT_TASK);
    rig.now += options().command_timeout;
    let Event::Completed(lost) = rig.event() else { panic!() };
    assert_eq!(lost.outcome, Outcome::Lost);
    arena.give(lost.buf.unwrap());
    assert!(matches!(rig.event(), Event::Failed(Error::Timeout { .. })));
    rig.finish();
}

/// How a connection is cut.
#[derive(Clone, Copy, Debug)]
enum Cut {
    Target,
    LogOut,
    Drop,
    Lost,
    Removed,
    Send,
    Invalidate,
}

/// A session reads and writes against a disk and is cut after so many turns.
fn cut(how: Cut, turns: usize, invalidate: bool) {
    let mut rig = Rig::<InfiniBand>::logged_in();
    let mut disk = Disk::new(1 << 20, invalidate);
    let mut arena = rig.arena(4, 32 << 10);
    let (mut out, mut ended) = (0usize, None);
    let world = rig.fabric.world.clone();
    let ours = Tag::new(0, 0, 0, 0);
    let fail = |opcode| Fault {
        when: When::Request { queue: ours, opcode: Some(opcode), n: 1 },
        what: What::Fail(Status::RetryExceeded),
    };
    let now_happens = |what| Fault { when: When::At(0), what };
    for turn in 0..400 {
        if turn == turns {
            let now = rig.now;
            match how {
                Cut::Target => rig.target.hang_up(),
                Cut::LogOut => drop(rig.session().log_out(now)),
                Cut::Drop => break,
                Cut::Lost => world.inject(now_happens(What::Lose(ours))).unwrap(),
                Cut::Removed => world.inject(now_happens(What::Remove([10, 0, 0, 1].into()))).unwrap(),
                Cut::Send => world.inject(fail(rdma::Opcode::Send)).unwrap(),
                Cut::Invalidate => world.inject(fail(rdma::Opcode::Invalidate)).unwrap(),
            }
        }
        while rig.session().can_submit() && arena.outstanding() < 4 {
            let mut command = if out.is_multiple_of(2) {
                read_of(&mut arena, 16_384)
            } else {
                write_of(&mut arena, &[out as u8; 16_384])
            };
            command.cdb[0] = if out.is_multiple_of(2) { 0x28 } else { 0x2A };
            rig.submit(command);
            out += 1;
        }
        disk.serve(&mut rig.target);
        rig.turn();
        while let Some(event) = rig.session().next_event() {
            match event {
                Event::Completed(done) => {
                    arena.give(done.buf.unwrap());
                    out -= 1;
                }
                other => ended = Some(other),
            }
        }
        if ended.is_some() {
            break;
        }
    }
    match how {
        Cut::Drop => drop(rig.session.take()),
        _ => {
            let expected = match ended {
                Some(Event::LoggedOut { .. }) => matches!(how, Cut::LogOut),
                Some(Event::Failed(_)) => !matches!(how, Cut::LogOut),
                _ => matches!(how, Cut::Invalidate) && invalidate,
            };
            assert!(expected, "{how:?} after {turns}: {ended:?}");
            rig.finish();
            assert!(ended.is_none() || arena.outstanding() == 0, "{how:?} after {turns}");
        }
    }
}

#[test]
fn every_cut_at_every_turn_gives_everything_back() {
    for how in [Cut::Target, Cut::LogOut, Cut::Lost, Cut::Removed, Cut::Send, Cut::Invalidate] {
        for turns in 0..24 {
            for invalidate in [true, false] {
                cut(how, turns, invalidate);
            }
        }
    }
}

/// Memory that is in a window when a session is simply dropped is leaked, never reused.
#[test]
fn a_session_that_is_dropped_leaks_rather_than_reuses() {
    for turns in [0, 3, 9] {
        cut(Cut::Drop, turns, true);
    }
}

#[test]
fn an_idle_session_logs_out() {
    let mut rig = Rig::<Iwarp>::logged_in_with(&Options { queue_depth: 1, ..options() }, |_| {});
    let mut disk = Disk::new(4096, true);
    let now = rig.now;
    rig.session().log_out(now).unwrap();
    rig.until(|rig| {
        disk.serve(&mut rig.target);
        disk.logged_out.then_some(())
    });
    assert!(matches!(rig.event(), Event::LoggedOut { response: 0 }));
    rig.finish();
}

/// A device that never lets go of a window: the session ends all the same, without the buffer.
#[test]
fn a_device_that_does_not_drain_keeps_nobody_waiting() {
    let mut rig = Rig::<InfiniBand>::logged_in();
    let mut arena = rig.arena(1, 4096);
    rig.submit(read_of(&mut arena, 4096));
    rig.command();
    rig.target.hang_up();
    // Simulated time stops as soon as the session has heard of it.
    let start = rig.now;
    while !rig.session().poll(start) {
        rig.rest();
    }
    assert!(rig.session().next_event().is_none());
    rig.session().poll(start);
    assert!(rig.session().next_event().is_none() && !rig.session().has_ended());
    rig.session().poll(start + initiator::limits::DRAIN_TIMEOUT);
    let Some(Event::Completed(lost)) = rig.session().next_event() else { panic!("the command is not reported") };
    assert!(lost.outcome == Outcome::Lost && lost.buf.is_none());
    assert!(matches!(rig.session().next_event(), Some(Event::Failed(_))));
    assert_eq!(arena.outstanding(), 1, "its memory is leaked, not freed");
}
