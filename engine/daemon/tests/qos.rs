//! Rate limits end to end: set, changed and taken away through the RPC while an initiator is at work.

mod support;

use serde_json::Value;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use support::{ISERE, Serving, TARGET, export, free_port};

/// Longer than anything here takes; a test that meets it fails.
const PATIENCE: Duration = Duration::from_secs(60);
const DEPTH: u64 = 32;

/// An initiator that reads as fast as it may, until it is dropped.
struct Load(Child);

impl Load {
    fn start(port: u16) -> Self {
        let mut command = Command::new(ISERE);
        command.args(["perf", &format!("iscsi://127.0.0.1:{port}/{TARGET}/0"), "--rw", "randread"]);
        command.args(["--time", "600", "--warmup", "0", "--qd", &DEPTH.to_string()]);
        Self(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What the device has counted.
#[derive(Clone, Copy, Debug)]
struct Sample {
    nanos: u64,
    reads: u64,
    throttled: u64,
    waiting: u64,
}

fn sample(serving: &Serving) -> Sample {
    let reply: Value = serde_json::from_str(&serving.ok(&["bdev_get_iostat"])).unwrap();
    let of = |value: &Value| value.as_u64().unwrap();
    let bdev = &reply["bdevs"][0];
    Sample {
        nanos: of(&reply["ticks"]),
        reads: of(&bdev["num_read_ops"]),
        throttled: of(&bdev["num_throttled_ops"]),
        waiting: of(&bdev["throttled_queue_depth"]),
    }
}

/// The first sample of which `holds` is true.
fn wait_for(serving: &Serving, what: &str, holds: impl Fn(&Sample) -> bool) -> Sample {
    let begun = Instant::now();
    loop {
        let sample = sample(serving);
        if holds(&sample) {
            return sample;
        }
        assert!(begun.elapsed() < PATIENCE, "{what}: {sample:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn limit(serving: &Serving, ios: u64) {
    serving.ok(&["bdev_set_qos_limit", &format!(r#"{{"name":"N","rw_ios_per_sec":{ios}}}"#)]);
}

#[test]
fn limits_hold_change_and_go_under_load() {
    let serving = Serving::start(&[]);
    serving.ok(&["bdev_null_create", r#"{"name":"N","num_blocks":131072,"block_size":512}"#]);
    limit(&serving, 2_000);
    let port = free_port();
    export(&serving, "N", port);
    let load = Load::start(port);

    for rate in [2_000, 500] {
        limit(&serving, rate);
        let from = wait_for(&serving, "the load begins", |sample| sample.waiting > 0);
        let to = wait_for(&serving, "the load goes on", |sample| sample.reads >= from.reads + rate);
        let (reads, nanos) = (to.reads - from.reads, to.nanos - from.nanos);
        // The counts are a moment younger than the first time, and up to a burst (5 ms) may have been saved up.
        let most = rate * (nanos + 5_000_000) / 1_000_000_000 * 101 / 100 + rate / 50 + 2;
        assert!(reads <= most, "{reads} reads in {nanos} ns at a limit of {rate}");
    }

    limit(&serving, 0);
    let from = wait_for(&serving, "what waited goes on", |sample| sample.waiting == 0);
    let to = wait_for(&serving, "the load goes on", |sample| sample.reads >= from.reads + 5_000);
    assert_eq!(from.throttled, to.throttled, "nothing waits without a limit");

    // Thirty-two operations that would take half a minute do not hold up the end of their device.
    limit(&serving, 1);
    wait_for(&serving, "everything waits", |sample| sample.waiting >= DEPTH - 1);
    serving.ok(&["bdev_null_delete", r#"{"name":"N"}"#]);
    drop(load);
    serving.ok(&["spdk_kill_instance", r#"{"sig_name":"SIGTERM"}"#]);
    assert_eq!(serving.end(), Some(0));
}
