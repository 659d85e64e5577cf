//! Connections that come from elsewhere or go elsewhere, and devices that do.

use super::support::{Raw, Rig, siw_request};
use rdma::{Peer, Provider, QueuePair, Refused, RequestId};
use siw::{Config, Siw, Use};
use std::net::{Ipv4Addr, TcpListener};

#[test]
fn a_connection_somebody_else_accepted() {
    let mut rig = Rig::new(Config::default());
    let portal = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let at = portal.local_addr().unwrap();
    for whole in [false, true] {
        let mut raw = Raw::connect(at);
        if whole {
            raw.frame(&siw_request());
        }
        let (stream, _) = portal.accept().unwrap();
        rig.device.adopt(stream, at).unwrap();
        if !whole {
            rig.turns(5);
            raw.frame(&siw_request());
        }
        let request = rig.request();
        assert_eq!((request.to, request.from), (at, raw.socket.local_addr().unwrap()));
        let mut queue = rig.prepare(Peer::Of(request.id), None);
        let receive = rig.receive(&mut queue);
        rig.start(&mut queue);
        assert!(!raw.reply(&mut rig).reject);
        raw.send(1, b"login");
        assert_eq!(rig.bytes(receive), b"login");
    }
}

#[test]
fn a_request_goes_to_another_core() {
    let mut one = Rig::new(Config::default());
    let mut raw = Raw::connect(one.at);
    raw.frame(&siw_request());
    let request = one.request();
    assert!(one.device.detach(RequestId(request.id.0 ^ 1 << 40)).is_none());
    let parcel = one.device.detach(request.id).unwrap();
    assert!(one.device.detach(request.id).is_none());
    assert_eq!((parcel.to(), parcel.from()), (one.at, request.from));
    let there = std::thread::spawn(move || {
        let mut two = Rig::new(Config::default());
        two.device.attach(parcel).unwrap();
        let again = two.request();
        assert_eq!((again.to, again.from, again.depth), (request.to, request.from, request.depth));
        assert_eq!(again.private, request.private);
        let mut queue = two.prepare(Peer::Of(again.id), None);
        let receive = two.receive(&mut queue);
        two.start(&mut queue);
        assert!(!raw.reply(&mut two).reject);
        raw.send(1, b"login");
        assert_eq!(two.bytes(receive), b"login");
    });
    there.join().unwrap();
    assert_eq!(one.device.reject(request.id, rdma::PrivateData::EMPTY), Err(Refused::Gone));
}

#[test]
fn a_request_somebody_answers_does_not_move() {
    let mut rig = Rig::new(Config::default());
    let mut raw = Raw::connect(rig.at);
    raw.frame(&siw_request());
    let request = rig.request();
    let queue = rig.prepare(Peer::Of(request.id), None);
    assert!(rig.device.detach(request.id).is_none());
    drop(queue);
    assert!(raw.reply(&mut rig).reject, "it is never answered, which is said");
}

#[test]
fn only_so_many_requests_wait() {
    let mut rig = Rig::new(Config { requests: 2, ..Config::default() });
    let mut peers: Vec<Raw> = (0..3).map(|_| Raw::connect(rig.at)).collect();
    for raw in &mut peers {
        raw.frame(&siw_request());
    }
    let requests = [rig.request(), rig.request()];
    rig.turns(20);
    assert!(rig.events.is_empty());
    assert_eq!(rig.device.stats().requests_dropped, 1);
    let mut other = Rig::new(Config { requests: 1, ..Config::default() });
    let parcels = requests.map(|r| rig.device.detach(r.id).unwrap());
    let taken = parcels.map(|parcel| other.device.attach(parcel));
    assert!(matches!(taken, [Ok(()), Err(Refused::Limit { .. })]));
}

#[test]
fn a_device_goes_where_it_is_used_first() {
    let device = Siw::new(Config::default()).unwrap();
    let mut device = std::thread::spawn(move || {
        let mut device = device;
        device.progress(1);
        device
    })
    .join()
    .unwrap();
    let elsewhere = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| device.progress(2)));
    assert!(elsewhere.is_err(), "it stays with that thread");
}

#[test]
fn a_device_under_a_lock_goes_anywhere() {
    let mut rig = Rig::new(Config { used_by: Use::Locked, ..Config::default() });
    let (mut queue, mut raw) = rig.accepted();
    let receive = rig.receive(&mut queue);
    raw.send(1, b"here");
    let (device, end, now) = (&mut rig.device, &mut queue, rig.now);
    // Nobody else uses it meanwhile, which a lock would see to.
    std::thread::scope(|s| {
        s.spawn(|| {
            (1..50).for_each(|i| device.progress(now + i));
            assert_eq!(end.room().receive, 31);
            end.to_error();
        });
    });
    assert_eq!(rig.bytes(receive), b"here");
    assert_eq!(rig.ended(), rdma::Ended::Local);
    drop(queue);
}

#[test]
fn everything_of_a_device_can_be_sent() {
    fn is_send<T: Send>() {}
    is_send::<Siw>();
    is_send::<siw::SiwQueue>();
    is_send::<siw::SiwCompletions>();
    is_send::<siw::SiwReceives>();
    is_send::<siw::Parcel>();
}
