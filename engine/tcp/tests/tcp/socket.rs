//! Over real sockets.
use crate::support::*;
use iscsi::datamover::{DataStatus, Datamover, Ended, Upcall};
use iscsi::wire::{Bhs, Opcode};
use iscsi_tcp::listen::{Accepted, Listener};
use iscsi_tcp::{Limits, Tcp};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::fd::AsRawFd;

fn connected() -> (TcpStream, Tcp) {
    let mut listener = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let Accepted::Connection(stream, peer) = listener.accept() else { panic!("a connection waits") };
    assert_eq!(peer, client.local_addr().unwrap());
    let tcp = Tcp::new(stream, Limits::default()).unwrap();
    assert_eq!(tcp.socket().local_addr().unwrap(), client.peer_addr().unwrap());
    assert!(tcp.as_raw_fd() >= 0);
    (client, tcp)
}

/// Turns until there is an upcall. The loopback interface delivers before the sender's call returns, or soon after.
fn next(tcp: &mut Tcp) -> Upcall {
    loop {
        if let Some(upcall) = tcp.poll() {
            return upcall;
        }
        tcp.flush();
        if !tcp.receive() {
            std::thread::yield_now();
        }
    }
}

/// A connection is accepted on one core and may be served on another.
const _: fn() = || {
    fn moves_between_threads<T: Send>() {}
    moves_between_threads::<Tcp>();
};

#[test]
fn a_write_and_a_read_over_loopback() {
    let (mut client, mut tcp) = connected();
    let mut rig = Rig::new();
    tcp.enable(&parameters());
    client.write_all(&rig.peer.frame(&write_command(1, true), &[], &[])).unwrap();
    assert!(matches!(next(&mut tcp), Upcall::Control(_)));
    let all = bytes(200_000);
    let get = rig.get(tag(1), 1, 0, all.len() as u32);
    tcp.get_data(get).unwrap();
    tcp.flush();
    let mut r2t = [0; 48];
    client.read_exact(&mut r2t).unwrap();
    let wire = rig.peer.frame(&data_out(1, Bhs(r2t).ttt(), 0, 0, true), &[], &all);
    let writer = std::thread::spawn(move || {
        client.write_all(&wire).unwrap();
        client
    });
    let Upcall::DataDone { buf, status, .. } = next(&mut tcp) else { panic!("the get is done") };
    assert_eq!((buf.filled(), status), (&all[..], DataStatus::Ok));
    rig.pool.give(buf);
    let mut client = writer.join().unwrap();

    let put = rig.put(tag(2), 2, &all);
    tcp.put_data(put).unwrap();
    let reader = std::thread::spawn(move || {
        let mut got = Vec::new();
        client.read_to_end(&mut got).unwrap();
        (client, got)
    });
    let Upcall::DataDone { buf, .. } = next(&mut tcp) else { panic!("the put is done") };
    rig.pool.give(buf);
    tcp.terminate(true);
    let (client, got) = reader.join().unwrap();
    let sent: Vec<u8> = rig.peer.parse(&got).into_iter().flat_map(|pdu| pdu.data).collect();
    assert_eq!(sent, all);
    drop(client);
    assert!(matches!(next(&mut tcp), Upcall::Terminated(Ended::Local)));
    assert_eq!(rig.pool.outstanding(), 0);
}

#[test]
fn r2_a_peer_that_never_reads_fills_the_socket_and_then_waits() {
    let (mut client, mut tcp) = connected();
    let mut rig = Rig::new();
    let mut puts = 0u16;
    while !tcp.wants_write() {
        let put = rig.put(tag(puts), 1, &bytes(100_000));
        tcp.put_data(put).expect("the socket fills before the queue");
        puts += 1;
        tcp.flush();
        while let Some(Upcall::DataDone { buf, .. }) = tcp.poll() {
            rig.pool.give(buf);
        }
    }
    assert!(rig.pool.outstanding() > 0, "the kernel does not have it all");
    let reader = std::thread::spawn(move || {
        let mut got = Vec::new();
        client.read_to_end(&mut got).unwrap();
        got
    });
    while rig.pool.outstanding() > 0 {
        let Upcall::DataDone { buf, status, .. } = next(&mut tcp) else { panic!("puts end") };
        assert_eq!(status, DataStatus::Ok);
        rig.pool.give(buf);
    }
    tcp.terminate(false);
    assert!(matches!(next(&mut tcp), Upcall::Terminated(Ended::Local)));
    drop(tcp);
    let got = reader.join().unwrap();
    let sent: usize = rig.peer.parse(&got).iter().map(|pdu| pdu.data.len()).sum();
    assert_eq!(sent, usize::from(puts) * 100_000);
}

#[test]
fn t1_a_client_that_goes_away_ends_the_connection() {
    let (client, mut tcp) = connected();
    drop(client);
    assert!(matches!(next(&mut tcp), Upcall::Terminated(Ended::Peer)));
    assert!(tcp.poll().is_none());

    // Closing with data unread makes the kernel send a reset.
    let (client, mut tcp) = connected();
    tcp.send_control(&Bhs::new(Opcode::NOP_IN), b"unread").unwrap();
    tcp.flush();
    client.peek(&mut [0; 1]).unwrap();
    drop(client);
    assert!(matches!(next(&mut tcp), Upcall::Terminated(Ended::Failed(libc::ECONNRESET) | Ended::Peer)));
}
