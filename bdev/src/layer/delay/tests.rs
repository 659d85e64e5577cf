use super::*;
use crate::io::Status;
use crate::null::{Null, NullParams};
use crate::testing::Rig;

fn delay(latency_us: [u64; 4]) -> Arc<Delay> {
    let null = NullParams { name: "n".into(), block_size: 512, num_blocks: 1024, ..NullParams::default() };
    let params = DelayParams { name: "d".into(), uuid: None, latency_us };
    Delay::create(&params, Null::create(&null).unwrap()).unwrap()
}

/// Microseconds from submission to completion.
fn time(rig: &mut Rig, channel: &mut dyn Channel, op: Op) -> u64 {
    let io = rig.io(0, op, 0, 1);
    channel.submit(io).unwrap();
    channel.kick();
    let mut batch = DoneBatch::default();
    channel.reap(&mut batch);
    let mut turns = 0;
    while batch.is_empty() {
        rig.turn();
        turns += 1;
        channel.reap(&mut batch);
    }
    for done in batch.drain() {
        if let Some(buf) = done.data {
            rig.cores[0].core().pools.give(buf);
        }
    }
    turns
}

#[test]
fn one_in_a_hundred_takes_longer() {
    let (mut rig, delay) = (Rig::new(), delay([10, 50, 20, 70]));
    let mut channel = delay.open(&mut rig.cores[0].core()).unwrap();
    for (op, usual, rare) in [(Op::Read, 10, 50), (Op::Write, 20, 70)] {
        let times: Vec<_> = (0..200).map(|_| time(&mut rig, &mut *channel, op)).collect();
        assert_eq!(times.iter().filter(|t| **t == usual).count(), 198, "{times:?}");
        assert_eq!(times.iter().filter(|t| **t == rare).count(), 2);
    }
}

#[test]
fn latencies_change_at_run_time() {
    let (mut rig, delay) = (Rig::new(), delay([0; 4]));
    let mut channel = delay.open(&mut rig.cores[0].core()).unwrap();
    assert_eq!(time(&mut rig, &mut *channel, Op::Read), 0);
    delay.set_latency(LatencyType::AvgRead, 9).unwrap();
    assert_eq!(time(&mut rig, &mut *channel, Op::Read), 9);
    assert_eq!(delay.latency_us(LatencyType::AvgRead), 9);
    assert_eq!(time(&mut rig, &mut *channel, Op::Flush), 0, "as writes");
    let error = delay.set_latency(LatencyType::P99Write, u64::MAX).unwrap_err();
    assert!(error.to_string().starts_with("p99_write_latency: got 18446744073709551615"), "{error}");
}

#[test]
fn an_abort_ends_the_wait() {
    let (mut rig, delay) = (Rig::new(), delay([1_000_000; 4]));
    let mut channel = delay.open(&mut rig.cores[0].core()).unwrap();
    for i in 0..3 {
        let io = rig.io(i, Op::Write, 0, 1);
        channel.submit(io).unwrap();
    }
    channel.kick();
    assert!(rig.reap(&mut *channel).is_empty());
    assert!(!channel.arm(), "nobody would wake the core when the time has come");
    assert_eq!(channel.abort(Tag::new(1, 0, 1, 0)), AbortOutcome::WillComplete);
    let done = rig.reap(&mut *channel);
    assert_eq!(done.len(), 1);
    assert_eq!((done[0].tag.index(), done[0].status), (1, Status::Ok));
    assert_eq!(channel.outstanding(), 2);
}
