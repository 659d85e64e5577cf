//! Every STag, its bounds and its rights.

use super::{Harness, Link, Shape, Side};
use primitives::Tag;
use rdma::{Access, Op, QueuePair, Remote, Sge, Sgl, Stag, Status, Why};

const LEN: u32 = 1000;

/// The client writes or reads `len` bytes at `remote`.
fn access<H: Harness>(link: &mut Link<H>, n: usize, access: Access, remote: Remote, len: u32) -> Tag {
    let buf = link.plain(Side::Client, len.max(1) as usize, 0xEE);
    let op = match access {
        Access::RemoteWrite => Op::Write { to: remote },
        Access::RemoteRead => Op::Read { from: remote },
    };
    link.send(Side::Client, n, op, Sgl::one(Sge::new(buf, 0, len)))
}

/// A window of the server that the client knows of.
fn advertised<H: Harness>(link: &mut Link<H>, n: usize, byte: u8, access: Access) -> Remote {
    let window = link.window(Side::Server, n, LEN, byte, access);
    let receive = link.receive(Side::Client, n);
    let send = link.say(Side::Server, n, b"window");
    link.bytes(Side::Client, receive);
    link.succeeds(Side::Server, send);
    window
}

/// The client's access is refused, and nothing in the window's buffer has changed.
fn wrong<H: Harness>(how: Access, bad: impl Fn(Remote) -> Remote, len: u32, right: Access) {
    let mut link = Link::<H>::connected();
    let window = advertised(&mut link, 0, 0x11, right);
    let tag = access(&mut link, 0, how, bad(window), len);
    link.refused(0, tag, Status::RemoteAccess);
    link.drained(Side::Server, 0);
    let bytes = link.reclaim(Side::Server, 0, window.stag);
    assert!(bytes.iter().all(|b| *b == 0x11), "the window's memory is untouched");
    link.harness.forgive();
    link.finish();
}

pub fn exactly_its_bytes<H: Harness>() {
    let mut link = Link::<H>::connected();
    for (offset, len) in [(0, LEN), (0, 1), (999, 1), (500, 500)] {
        let window = advertised(&mut link, 0, 0x11, Access::RemoteWrite);
        let to = Remote { va: window.va + offset, ..window };
        let tag = access(&mut link, 0, Access::RemoteWrite, to, len);
        let receive = link.receive(Side::Server, 0);
        let send = link.say(Side::Client, 0, b"written");
        link.bytes(Side::Server, receive);
        link.succeeds(Side::Client, tag);
        link.succeeds(Side::Client, send);
        let bytes = link.close(Side::Server, 0, window.stag);
        let (start, end) = (1024 + offset as usize, 1024 + offset as usize + len as usize);
        assert!(bytes[start..end].iter().all(|b| *b == 0xEE));
        assert!(bytes[..start].iter().chain(&bytes[end..]).all(|b| *b == 0x11));
    }
    link.finish();
}

pub fn every_wrong_edge<H: Harness>() {
    for how in [Access::RemoteRead, Access::RemoteWrite] {
        wrong::<H>(how, |w| Remote { va: w.va - 1, ..w }, 1, how);
        wrong::<H>(how, |w| Remote { va: w.va - 1, ..w }, LEN, how);
        wrong::<H>(how, |w| Remote { va: w.va + u64::from(LEN), ..w }, 1, how);
        wrong::<H>(how, |w| Remote { va: w.va + 1, ..w }, LEN, how);
        wrong::<H>(how, |w| w, LEN + 1, how);
        wrong::<H>(how, |w| Remote { va: 0, ..w }, 1, how);
        wrong::<H>(how, |w| Remote { va: u64::MAX, ..w }, 1, how);
        wrong::<H>(how, |w| Remote { va: u64::MAX - 10, ..w }, LEN, how);
    }
}

pub fn wrong_rights<H: Harness>() {
    wrong::<H>(Access::RemoteRead, |w| w, LEN, Access::RemoteWrite);
    wrong::<H>(Access::RemoteWrite, |w| w, LEN, Access::RemoteRead);
}

pub fn guessed_stags<H: Harness>() {
    for guess in [0, 1, 0x100, 0xFFFF_FF00, u32::MAX] {
        wrong::<H>(Access::RemoteWrite, |w| Remote { stag: Stag(guess), ..w }, 8, Access::RemoteWrite);
    }
    for flip in [0x01, 0x80, 0x100, 0x0001_0000, 0x4000_0000] {
        for how in [Access::RemoteRead, Access::RemoteWrite] {
            wrong::<H>(how, |w| Remote { stag: Stag(w.stag.0 ^ flip), ..w }, LEN, how);
        }
    }
}

pub fn another_connections_stag<H: Harness>() {
    for how in [Access::RemoteRead, Access::RemoteWrite] {
        let mut link = Link::<H>::connected();
        let second = link.connect();
        let window = advertised(&mut link, 0, 0x11, how);
        let tag = access(&mut link, second, how, window, LEN);
        link.refused(second, tag, Status::RemoteAccess);
        // Its owner's connection is unharmed.
        let tag = access(&mut link, 0, how, window, LEN);
        link.succeeds(Side::Client, tag);
        link.close(Side::Server, 0, window.stag);
        link.harness.forgive();
        link.finish();
    }
}

pub fn stale_after_local_invalidate<H: Harness>() {
    for how in [Access::RemoteRead, Access::RemoteWrite] {
        let mut link = Link::<H>::connected();
        let window = advertised(&mut link, 0, 0x11, how);
        let bytes = link.close(Side::Server, 0, window.stag);
        assert!(bytes.iter().all(|b| *b == 0x11));
        let tag = access(&mut link, 0, how, window, 10);
        link.refused(0, tag, Status::RemoteAccess);
        link.harness.forgive();
        link.finish();
    }
}

/// The client closes the server's window with a Send, whose receive is told of.
fn invalidate_remotely<H: Harness>(link: &mut Link<H>, stag: Stag) -> Tag {
    let receive = link.receive(Side::Server, 0);
    let message = link.filled(Side::Client, b"bye");
    let op = Op::Send { solicited: true, invalidate: Some(stag) };
    let send = link.send(Side::Client, 0, op, Sgl::one(Sge::filled(message)));
    link.succeeds(Side::Client, send);
    receive
}

/// As that, and the server's provider knows.
fn close_remotely<H: Harness>(link: &mut Link<H>, stag: Stag) {
    let receive = invalidate_remotely(link, stag);
    link.closed_by_peer(Side::Server, 0, receive, stag);
}

pub fn stale_after_remote_invalidate<H: Harness>() {
    let mut link = Link::<H>::connected();
    let window = advertised(&mut link, 0, 0x11, Access::RemoteWrite);
    close_remotely(&mut link, window.stag);
    let bytes = link.reclaim(Side::Server, 0, window.stag);
    assert!(bytes.iter().all(|b| *b == 0x11));
    let tag = access(&mut link, 0, Access::RemoteWrite, window, 10);
    link.refused(0, tag, Status::RemoteAccess);
    link.harness.forgive();
    link.finish();
}

pub fn closed_but_not_reclaimed<H: Harness>() {
    for (how, remotely) in [(Access::RemoteRead, false), (Access::RemoteWrite, false), (Access::RemoteWrite, true)] {
        let mut link = Link::<H>::connected();
        let window = advertised(&mut link, 0, 0x11, how);
        if remotely {
            let receive = invalidate_remotely(&mut link, window.stag);
            link.told(Side::Server, receive, window.stag);
        } else {
            let tag = link.send(Side::Server, 0, Op::Invalidate(window.stag), Sgl::NONE);
            link.succeeds(Side::Server, tag);
        }
        let tag = access(&mut link, 0, how, window, LEN);
        link.refused(0, tag, Status::RemoteAccess);
        let bytes = link.reclaim(Side::Server, 0, window.stag);
        assert!(bytes.iter().all(|b| *b == 0x11));
        link.harness.forgive();
        link.finish();
    }
}

pub fn nothing_is_declared_meaningful<H: Harness>() {
    let mut link = Link::<H>::connected();
    let buf = link.end(Side::Server).pools.take(1).unwrap();
    let tag = link.tag(Side::Server);
    let window = link.queue(Side::Server, 0).bind(tag, Sge::new(buf, 0, LEN), Access::RemoteWrite).unwrap();
    link.taken(Side::Server, tag);
    let source = advertised(&mut link, 0, 0x11, Access::RemoteRead);
    let write = access(&mut link, 0, Access::RemoteWrite, window, LEN);
    link.succeeds(Side::Client, write);
    let sink = link.end(Side::Client).pools.take(1).unwrap();
    let read = link.send(Side::Client, 0, Op::Read { from: source }, Sgl::one(Sge::new(sink, 0, LEN)));
    let mut done = link.completion(Side::Client, read);
    let mut sink = done.sgl.take_buf().unwrap();
    assert_eq!((done.byte_len, sink.len()), (LEN, 0), "only the owner knows what the bytes mean");
    sink.set_len(LEN as usize);
    assert!(sink.filled().iter().all(|b| *b == 0x11));
    link.end(Side::Client).pools.give(sink);
    for (stag, len) in [(window.stag, 0), (source.stag, 8192)] {
        assert_eq!(link.close(Side::Server, 0, stag).len(), len);
    }
    link.finish();
}

pub fn wrong_remote_invalidate<H: Harness>() {
    let mut link = Link::<H>::connected();
    let window = advertised(&mut link, 0, 0x11, Access::RemoteWrite);
    let receive = link.receive(Side::Server, 0);
    let message = link.filled(Side::Client, b"bye");
    let op = Op::Send { solicited: false, invalidate: Some(Stag(window.stag.0 ^ 1)) };
    let send = link.send(Side::Client, 0, op, Sgl::one(Sge::filled(message)));
    if link.harness.leeway().acknowledged_invalidation {
        for side in Side::BOTH {
            link.disconnected(side, 0);
        }
        let done = link.completion(Side::Client, send);
        link.give(Side::Client, done);
    } else {
        link.refused(0, send, Status::RemoteAccess);
    }
    let got = link.completion(Side::Server, receive);
    assert_ne!(got.status, Status::Success);
    assert_eq!(got.invalidated, None);
    link.give(Side::Server, got);
    link.drained(Side::Server, 0);
    link.reclaim(Side::Server, 0, window.stag);
    link.harness.forgive();
    link.finish();
}

pub fn invalidating_what_is_none<H: Harness>() {
    let mut link = Link::<H>::connected();
    let tag = link.send(Side::Server, 0, Op::Invalidate(Stag(0x1234_5678)), Sgl::NONE);
    let done = link.completion(Side::Server, tag);
    assert!(matches!(done.status, Status::Window | Status::LocalOperation), "{done:?}");
    link.give(Side::Server, done);
    for side in Side::BOTH {
        link.disconnected(side, 0);
    }
    link.finish();
}

pub fn memory_stays_until_closed<H: Harness>() {
    let mut link = Link::<H>::connected();
    let window = advertised(&mut link, 0, 0x11, Access::RemoteWrite);
    assert!(link.queue(Side::Server, 0).reclaim(window.stag).is_none(), "it is open");
    assert!(link.queue(Side::Server, 0).reclaim(Stag(window.stag.0 ^ 1)).is_none());
    let tag = link.send(Side::Server, 0, Op::Invalidate(window.stag), Sgl::NONE);
    assert!(link.queue(Side::Server, 0).reclaim(window.stag).is_none(), "its invalidation is not done");
    link.succeeds(Side::Server, tag);
    link.reclaim(Side::Server, 0, window.stag);
    assert!(link.queue(Side::Server, 0).reclaim(window.stag).is_none(), "it was taken");
    link.finish();
}

pub fn windows_run_out_and_come_back<H: Harness>() {
    let mut link = Link::<H>::shaped(Shape { windows: 2, send: 64, ..Shape::default() });
    for _ in 0..5 {
        let open = [(); 2].map(|()| advertised(&mut link, 0, 0x11, Access::RemoteWrite));
        let (tag, buf) = (link.tag(Side::Server), link.plain(Side::Server, 10, 1));
        let refusal = link.queue(Side::Server, 0).bind(tag, Sge::filled(buf), Access::RemoteWrite).unwrap_err();
        assert_eq!(refusal.why, Why::Windows);
        link.end(Side::Server).pools.give(refusal.request.buf);
        for window in open {
            link.close(Side::Server, 0, window.stag);
        }
    }
    link.finish();
}

pub fn stags_change_with_every_use<H: Harness>() {
    let mut link = Link::<H>::shaped(Shape { windows: 1, ..Shape::default() });
    let mut seen = vec![];
    for _ in 0..20 {
        let window = advertised(&mut link, 0, 0x11, Access::RemoteWrite);
        assert_ne!(seen.last(), Some(&window.stag), "a stale STag must not fit the next task");
        seen.push(window.stag);
        close_remotely(&mut link, window.stag);
        link.reclaim(Side::Server, 0, window.stag);
    }
    link.finish();
}

pub fn empty_accesses_need_no_window<H: Harness>() {
    let mut link = Link::<H>::connected();
    for how in [Access::RemoteRead, Access::RemoteWrite] {
        let nowhere = Remote { stag: Stag(0xDEAD_BEEF), va: u64::MAX };
        let tag = access(&mut link, 0, how, nowhere, 0);
        link.succeeds(Side::Client, tag);
    }
    link.connect_again();
    link.finish();
}

pub fn a_window_to_read_holds_only_what_is_meaningful<H: Harness>() {
    let mut link = Link::<H>::connected();
    for (access, start, len) in [
        (Access::RemoteRead, 0, 101),
        (Access::RemoteRead, 100, 1),
        (Access::RemoteWrite, 0, 8193),
        (Access::RemoteWrite, u32::MAX, 2),
    ] {
        let (tag, buf) = (link.tag(Side::Server), link.plain(Side::Server, 100, 1));
        let refusal = link.queue(Side::Server, 0).bind(tag, Sge::new(buf, start, len), access).unwrap_err();
        assert_eq!(refusal.why, Why::Range);
        link.end(Side::Server).pools.give(refusal.request.buf);
    }
    link.finish();
}
