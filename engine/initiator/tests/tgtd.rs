//! Against `tgtd`, a target of foreign make. Skipped, with the reason printed, where it is not installed.

mod support;

use std::time::Duration;

use initiator::perf::{self, Pattern, PerfError, Rw};
use initiator::raw::{Connection, Received};
use initiator::session::{Outcome, Residual};
use initiator::{Chap, Client, Digest, Error, Options, Transfer, discover};
use iscsi::chap::Algorithm;
use iscsi::wire::{NopOut, Opcode, RESERVED_TAG, ScsiResponse, function};
use support::{DISK_BYTES, TARGET};

fn pattern(len: usize, salt: u32) -> Vec<u8> {
    (0..len as u32).map(|i| (i.wrapping_mul(2_654_435_761).wrapping_add(salt) >> 24) as u8).collect()
}

#[test]
fn discovers_and_identifies() {
    let tgtd = tgtd_or_skip!();
    let portal = tgtd.portal.to_string().parse().unwrap();
    let found = discover(&portal, &Options::default()).unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].name, TARGET);
    assert!(found[0].addresses[0].starts_with(&tgtd.portal.to_string()), "{found:?}");

    let mut client = Client::connect(&tgtd.url(), &Options::default()).unwrap();
    let inquiry = client.inquiry().unwrap();
    assert_eq!((inquiry.vendor.as_str(), inquiry.device_type, inquiry.qualifier), ("IET", 0, 0));
    let capacity = client.read_capacity().unwrap();
    assert_eq!(capacity.blocks * u64::from(capacity.block_bytes), DISK_BYTES);
    assert_eq!(client.report_luns().unwrap(), [[0; 8], [0, 1, 0, 0, 0, 0, 0, 0]]);
    assert_eq!(client.vital_product_data(0x83).unwrap()[1], 0x83);
    assert_eq!(client.ping(b"are you there").unwrap(), b"are you there");
    assert_eq!(client.log_out().unwrap(), 0);
}

/// What is written comes back, through every way data can take.
#[test]
fn data_survives_every_way() {
    let tgtd = tgtd_or_skip!();
    let base = Options::default();
    let ways = [
        base.clone(),
        Options { header_digest: Digest::Require, data_digest: Digest::Require, ..base.clone() },
        Options { immediate_data: false, initial_r2t: true, ..base.clone() },
        Options { immediate_data: false, first_burst_length: 4096, ..base.clone() },
        Options { first_burst_length: 512, max_burst_length: 1024, max_outstanding_r2t: 4, ..base.clone() },
        Options { max_recv_data_segment_length: 512, data_digest: Digest::Require, ..base },
    ];
    for (salt, options) in ways.into_iter().enumerate() {
        let mut client = Client::connect(&tgtd.url(), &options).unwrap();
        for blocks in [1usize, 8, 33, 700, 2049] {
            let data = pattern(blocks * 512, salt as u32);
            client.write(7, &data).unwrap();
            assert!(client.read(7, blocks as u32).unwrap() == data, "{blocks} blocks with {options:?}");
        }
        client.log_out().unwrap();
    }
}

#[test]
fn failures_come_with_sense_and_residual() {
    let tgtd = tgtd_or_skip!();
    let mut client = Client::connect(&tgtd.url(), &Options::default()).unwrap();
    client.await_ready().unwrap();
    let reply = client.command(&[0xff], Transfer::None).unwrap();
    let Outcome::Status { status: 2, sense: Some(sense), .. } = reply.outcome else { panic!("{reply:?}") };
    assert_eq!((sense.key, sense.asc), (5, 0x20));
    let reply = client.command(&initiator::cdb::inquiry(None, 36), Transfer::Read(4096)).unwrap();
    let Outcome::Status { status: 0, residual: Residual::Underflow(left), .. } = reply.outcome else {
        panic!("{reply:?}")
    };
    assert_eq!((left, reply.data.len()), (4096 - 36, 36));
    assert!(matches!(client.read(DISK_BYTES / 512, 1), Err(Error::Scsi { .. })));
}

#[test]
fn task_management_is_answered() {
    let tgtd = tgtd_or_skip!();
    let mut client = Client::connect(&tgtd.url(), &Options::default()).unwrap();
    assert_eq!(client.manage(function::LOGICAL_UNIT_RESET, None).unwrap(), 0);
    client.await_ready().unwrap();
}

#[test]
fn authenticates_both_ways_and_not_at_all() {
    let tgtd = tgtd_or_skip!();
    tgtd.admin("--op new --mode account --user jack --password twelve-bytes").unwrap();
    tgtd.admin("--op bind --mode account --tid 1 --user jack").unwrap();
    tgtd.admin("--op new --mode account --user jill --password bytes-twelve").unwrap();
    tgtd.admin("--op bind --mode account --tid 1 --user jill --outgoing").unwrap();
    // tgtd takes 7 for SHA-1.
    let options = Options { chap_algorithms: vec![Algorithm::Md5], ..Options::default() };
    let refused = Client::connect(&tgtd.url(), &options).unwrap_err().to_string();
    assert!(refused.contains(TARGET) && refused.contains("authentication"), "{refused}");
    assert!(Client::connect(&tgtd.url_with("jack%wrong-secret-@"), &options).is_err());
    Client::connect(&tgtd.url_with("jack%twelve-bytes@"), &options).unwrap().inquiry().unwrap();
    let jill = |secret: &str| Some(Chap { user: "jill".into(), secret: secret.into() });
    let mutual = Options { mutual_chap: jill("bytes-twelve"), ..options.clone() };
    Client::connect(&tgtd.url_with("jack%twelve-bytes@"), &mutual).unwrap();
    let impostor = Options { mutual_chap: jill("other-secret"), ..options };
    let refused = Client::connect(&tgtd.url_with("jack%twelve-bytes@"), &impostor).unwrap_err().to_string();
    assert!(refused.contains("failed to prove its identity"), "{refused}");
}

#[test]
fn refusals_say_what_to_do() {
    let tgtd = tgtd_or_skip!();
    let url = format!("iscsi://{}/iqn.2001-04.com.example:none/1", tgtd.portal).parse().unwrap();
    let message = Client::connect(&url, &Options::default()).unwrap_err().to_string();
    assert!(message.contains("no such target (0203)") && message.contains("discover"), "{message}");
}

#[test]
fn raw_pdus_reach_the_target() {
    let tgtd = tgtd_or_skip!();
    let second = Duration::from_secs(5);
    let mut raw =
        Connection::log_in(&tgtd.url(), &Options { header_digest: Digest::Require, ..Options::default() }).unwrap();
    let itt = raw.new_itt();
    let ping = NopOut {
        immediate: true,
        itt,
        ttt: RESERVED_TAG,
        cmd_sn: raw.cmd_sn,
        exp_stat_sn: raw.exp_stat_sn,
        ..NopOut::default()
    };
    raw.send(&ping.encode(), b"echo").unwrap();
    let pong = raw.expect(Opcode::NOP_IN, second).unwrap();
    assert_eq!((pong.bhs.itt(), pong.data.as_slice()), (itt, &b"echo"[..]));
    let tur = raw.command(&[0]);
    raw.send(&tur.encode(), &[]).unwrap();
    let answer = raw.expect(Opcode::SCSI_RESPONSE, second).unwrap();
    assert_eq!(ScsiResponse::decode(&answer.bhs).itt, tur.itt);
    assert_eq!(raw.receive(Duration::from_millis(20)).unwrap(), Received::Silence);

    let mut raw = Connection::open(tgtd.portal).unwrap();
    let early = raw.command(&[0]);
    raw.send(&early.encode(), &[]).unwrap();
    assert!(raw.expect_closed(second).unwrap());
}

#[test]
fn benchmarks_run_and_verify() {
    let tgtd = tgtd_or_skip!();
    for (pattern, rate) in [(Pattern::Random, None), (Pattern::Sequential, None), (Pattern::Random, Some(500.0))] {
        let options = perf::Options {
            rw: Rw::Mixed { read_percent: 60 },
            pattern,
            rate,
            verify: true,
            connections: 2,
            queue_depth: 8,
            size: Some(1 << 20),
            offset: 1 << 20,
            warmup: Duration::ZERO,
            duration: Duration::from_millis(300),
            ..perf::Options::new(tgtd.url())
        };
        let report = perf::run(&options, |_| {}).unwrap();
        assert_eq!(report.errors, 0, "{report}");
        assert!(report.reads.ios > 0 && report.writes.ios > 0 && report.verified_blocks > 0, "{report}");
        assert!(report.to_json()["read"]["latency_ns"]["p99.9"].as_u64().unwrap() > 0);
        println!("{report}");
    }
}

/// Somebody else writes to the region: the benchmark must notice, and say where.
#[test]
fn verification_notices_foreign_writes() {
    let tgtd = tgtd_or_skip!();
    let options = perf::Options {
        rw: Rw::Mixed { read_percent: 50 },
        verify: true,
        size: Some(256 << 10),
        warmup: Duration::ZERO,
        duration: Duration::from_secs(20),
        ..perf::Options::new(tgtd.url())
    };
    let done = std::sync::atomic::AtomicBool::new(false);
    let outcome = std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut vandal = Client::connect(&tgtd.url(), &Options::default()).unwrap();
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                vandal.write(0, &[0xAA; 256 << 10]).unwrap();
            }
        });
        let outcome = perf::run(&options, |_| {});
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        outcome
    });
    let Err(PerfError::Miscompare(found)) = outcome else { panic!("not noticed: {outcome:?}") };
    assert!(found.found_bytes.iter().all(|b| *b == 0xAA), "{found}");
    assert_eq!(found.expected.lba, found.lba);
}
