//! The blocking client, discovery and the benchmark over soft-iWARP, by URL, as a user has them.

use crate::support::*;
use initiator::perf::{self, Pattern, Rw};
use initiator::transport::Transport;
use initiator::url::Portal;
use initiator::{Client, Error, Options, Transfer, discover, raw};
use std::time::Duration;

const DISK: usize = 4 << 20;

fn pattern(len: usize, salt: u32) -> Vec<u8> {
    (0..len as u32).map(|i| (i.wrapping_mul(2_654_435_761).wrapping_add(salt) >> 24) as u8).collect()
}

#[test]
fn a_client_reads_what_it_wrote() {
    for (salt, (invalidate, prepare)) in
        [(true, (|_| {}) as fn(&mut Target<siw::Siw>)), (false, |t| t.policy.initial_r2t = false)]
            .into_iter()
            .enumerate()
    {
        let server = Server::start(DISK, invalidate, prepare);
        let mut client = Client::connect(&server.url("?provider=siw"), &Options::default()).unwrap();
        assert_eq!(client.session().transport().name(), "iser/siw");
        assert_eq!(client.inquiry().unwrap().product, "TEST DISK");
        assert_eq!(client.read_capacity().unwrap().blocks, (DISK / 512) as u64);
        for blocks in [1usize, 8, 33, 700, 2049] {
            let data = pattern(blocks * 512, salt as u32);
            client.write(7, &data).unwrap();
            assert!(client.read(7, blocks as u32).unwrap() == data, "{blocks} blocks");
        }
        let reply = client.command(&initiator::cdb::inquiry(None, 36), Transfer::Read(4096)).unwrap();
        assert_eq!(reply.data.len(), 36);
        assert_eq!(client.ping(b"are you there").unwrap(), b"are you there");
        assert_eq!(client.log_out().unwrap(), 0);
    }
}

#[test]
fn discovery_goes_over_rdma_too() {
    let server = Server::start(4096, true, |_| {});
    let (portal, carrier) = Portal::with_carrier(&format!("iser://{}", server.at)).unwrap();
    let found = discover(&portal, &Options { carrier, ..Options::default() }).unwrap();
    assert_eq!((found.len(), found[0].name.as_str()), (1, NAME));
}

#[test]
fn benchmarks_run_and_verify() {
    let server = Server::start(DISK, true, |_| {});
    for (pattern, block_bytes) in [(Pattern::Random, 4096), (Pattern::Sequential, 65_536)] {
        let options = perf::Options {
            rw: Rw::Mixed { read_percent: 60 },
            pattern,
            block_bytes,
            verify: true,
            connections: 2,
            queue_depth: 8,
            warmup: Duration::ZERO,
            duration: Duration::from_millis(200),
            ..perf::Options::new(server.url(""))
        };
        let report = perf::run(&options, |_| {}).unwrap();
        assert_eq!(report.errors, 0, "{report}");
        assert!(report.reads.ios > 0 && report.writes.ios > 0 && report.verified_blocks > 0, "{report}");
        assert_eq!(report.transport, "iser/siw");
        assert!(!report.busy.is_zero() && report.to_json()["busy_ns"].as_u64() > Some(0), "{report}");
        let rdma = report.rdma.unwrap();
        assert!(rdma.counters.sends >= rdma.commands && rdma.counters.doorbells > 0 && rdma.commands > 0);
        assert!(report.to_json()["rdma"]["doorbells"].as_u64().unwrap() > 0);
        assert!(report.to_string().contains("over iser/siw") && report.to_string().contains("doorbells"));
    }
}

#[test]
fn what_is_for_tcp_alone_says_so() {
    let server = Server::start(4096, true, |_| {});
    let refused = raw::Connection::log_in(&server.url(""), &Options::default()).unwrap_err();
    assert!(matches!(refused, Error::NoIser { .. }) && refused.to_string().contains("iscsi://"), "{refused}");
    let options = Options { data_digest: initiator::Digest::Require, ..Options::default() };
    let refused = Client::connect(&server.url(""), &options).unwrap_err();
    assert!(matches!(refused, Error::Option { option: "data_digest", .. }), "{refused}");
}

/// Nobody listens, or somebody who does not speak MPA.
#[test]
fn a_portal_without_rdma_is_an_error() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    let url = format!("iser://{at}/{NAME}/0").parse().unwrap();
    let thread = std::thread::spawn(move || drop(listener.accept()));
    let refused = Client::connect(&url, &Options::default()).unwrap_err();
    assert!(matches!(refused, Error::Connect { .. } | Error::Closed { .. }), "{refused:?}");
    thread.join().unwrap();
    let refused = Client::connect(&url, &Options::default()).unwrap_err();
    assert!(matches!(refused, Error::Connect { .. }), "{refused:?}");
}
