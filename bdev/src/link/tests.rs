use super::*;
use crate::channel::DoneBatch;
use crate::io::Op;

fn io(i: u16) -> Io {
    Io { tag: Tag::new(1, 2, i, 3), op: Op::Flush, fua: false, lba: 0, blocks: 0, data: None }
}

fn ends() -> (Client, Server) {
    link(Arc::new(Bell::new().unwrap())).unwrap()
}

fn reap(client: &mut Client) -> Vec<(u16, Status)> {
    let mut batch = DoneBatch::default();
    client.reap(&mut batch);
    batch.drain().map(|done| (done.tag.index(), done.status)).collect()
}

#[test]
fn two_messages_an_operation() {
    let (mut client, mut server) = ends();
    let mut backlog = Fifo::new(limits::CHANNEL_DEPTH);
    (0..3).for_each(|i| client.submit(io(i)).unwrap());
    client.kick();
    assert_eq!(client.shared.requests.len(), 3);
    server.pull(&mut backlog, |_| unreachable!("no abort was sent"));
    while let Some(io) = backlog.pop() {
        server.reply(io.done(Status::Ok, 512));
    }
    assert_eq!(client.shared.replies.len(), 3);
    assert_eq!(reap(&mut client), [(0, Status::Ok), (1, Status::Ok), (2, Status::Ok)]);
    assert_eq!(client.outstanding(), 0);
}

#[test]
fn aborts_reach_the_backlog_or_the_device() {
    let (mut client, mut server) = ends();
    let mut backlog = Fifo::new(limits::CHANNEL_DEPTH);
    (0..2).for_each(|i| client.submit(io(i)).unwrap());
    server.pull(&mut backlog, |_| ());
    let at_device = backlog.pop().unwrap();
    for i in [0, 1, 0] {
        assert_eq!(client.abort(io(i).tag), AbortOutcome::WillComplete);
    }
    assert_eq!(client.abort(io(9).tag), AbortOutcome::Unknown);
    let mut asked = Vec::new();
    server.pull(&mut backlog, |tag| asked.push(tag));
    assert_eq!(asked, [at_device.tag], "each abort crosses once");
    assert_eq!(reap(&mut client), [(1, Status::Aborted)]);
    server.reply(at_device.done(Status::Ok, 512));
    assert_eq!(reap(&mut client), [(0, Status::Ok)]);
}

#[test]
fn a_server_that_leaves_answers_everything() {
    let (mut client, mut server) = ends();
    let mut backlog = Fifo::new(limits::CHANNEL_DEPTH);
    client.submit(io(0)).unwrap();
    server.pull(&mut backlog, |_| ());
    (1..3).for_each(|i| client.submit(io(i)).unwrap());
    drop(server);
    client.submit(io(3)).unwrap();
    assert!(!client.arm(), "nobody will ring any more");
    let mut seen = reap(&mut client);
    seen.sort_unstable_by_key(|(i, _)| *i);
    // In the ring, taken along by the server, and submitted too late.
    assert_eq!(seen, [0, 1, 2, 3].map(|i| (i, Status::Removed)));
    assert_eq!(client.outstanding(), 0);
}

#[test]
fn a_client_that_leaves_is_noticed() {
    let (mut client, mut server) = ends();
    let mut backlog = Fifo::new(limits::CHANNEL_DEPTH);
    client.submit(io(0)).unwrap();
    drop(client);
    assert!(server.client_gone());
    server.pull(&mut backlog, |_| ());
    server.reply(backlog.pop().unwrap().done(Status::Ok, 512));
    server.announce();
}

#[test]
fn a_full_link_gives_the_operation_back() {
    let (mut client, _server) = ends();
    assert!((0..limits::CHANNEL_DEPTH).all(|i| client.submit(io(i as u16)).is_ok()));
    let refused = client.submit(io(7)).unwrap_err();
    assert_eq!(refused.tag, io(7).tag);
}
