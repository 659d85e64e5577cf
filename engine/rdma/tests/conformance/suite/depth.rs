//! IRD and ORD.

use super::{Harness, Link, Options, Shape, Side};
use primitives::Tag;
use rdma::{Access, Op, QueuePair, ReadDepth, Remote, Sge, Sgl, Status, Why, WorkRequest};

fn shape(server_ord: u16, client_ird: u16) -> Shape {
    let depth = [ReadDepth { ird: 0, ord: server_ord }, ReadDepth { ird: client_ird, ord: 1 }];
    Shape { depth, ..Shape::default() }
}

/// A window to read, which the server knows of.
fn readable<H: Harness>(link: &mut Link<H>) -> Remote {
    let window = link.window(Side::Client, 0, 512, 3, Access::RemoteRead);
    let receive = link.receive(Side::Server, 0);
    let send = link.say(Side::Client, 0, b"r");
    link.bytes(Side::Server, receive);
    link.succeeds(Side::Client, send);
    window
}

fn read<H: Harness>(link: &mut Link<H>, side: Side, from: Remote) -> Result<Tag, Why> {
    let sink = link.plain(side, 512, 0);
    let tag = link.tag(side);
    let request = WorkRequest { tag, op: Op::Read { from }, sgl: Sgl::one(Sge::filled(sink)), signalled: true };
    match link.queue(side, 0).post_send(request) {
        Ok(()) => {
            link.taken(side, tag);
            Ok(tag)
        }
        Err(mut refusal) => {
            let buf = refusal.request.sgl.take_buf().unwrap();
            link.end(side).pools.give(buf);
            Err(refusal.why)
        }
    }
}

pub fn read_depth_is_back_pressure<H: Harness>() {
    let mut link = Link::<H>::shaped(shape(8, 2));
    let window = readable(&mut link);
    for _ in 0..10 {
        assert_eq!(link.queue(Side::Server, 0).room().reads, 2);
        let reads = [read(&mut link, Side::Server, window).unwrap(), read(&mut link, Side::Server, window).unwrap()];
        assert_eq!(read(&mut link, Side::Server, window), Err(Why::ReadDepth));
        link.queue(Side::Server, 0).ring();
        assert_eq!(read(&mut link, Side::Server, window), Err(Why::ReadDepth));
        for tag in reads {
            assert_eq!(link.bytes(Side::Server, tag), [3; 512]);
        }
    }
    link.close(Side::Client, 0, window.stag);
    link.finish();
}

pub fn depth_zero_reads_nothing<H: Harness>() {
    let mut link = Link::<H>::shaped(shape(8, 2));
    if link.harness.leeway().generous_depth {
        return link.finish();
    }
    // The server's IRD is 0, as LIO's.
    assert_eq!(read(&mut link, Side::Client, Remote::default()), Err(Why::ReadDepth));
    assert_eq!(link.queue(Side::Client, 0).room().reads, 0);
    assert!(link.queue(Side::Client, 0).room().send > 0);
    link.connect_again();
    link.finish();
}

pub fn overrun_is_refused<H: Harness>() {
    if !H::new(Options::default()).overruns_depth() {
        return;
    }
    for seed in 0..5 {
        let options = Options { seed, overruns_depth: true, ..Options::default() };
        let mut link = Link::<H>::connected_with(options, shape(8, 8));
        let tag = read(&mut link, Side::Client, Remote::default()).expect("this provider overruns");
        link.queue(Side::Client, 0).ring();
        link.refused(0, tag, Status::RemoteInvalidRequest);
        link.finish();
    }
}
