//! `bdev_get_iostat`, `bdev_reset_iostat`.

use super::framework::TICK_RATE;
use crate::context::Control;
use crate::engine::{BdevStats, OpStats, ResetStats, Throttled};
use rpc::{MethodTable, Phase, RpcError};
use serde::Deserialize;
use serde_json::{Map, Value, json};

pub fn register(table: &mut MethodTable<Control>) {
    table.add("bdev_get_iostat", Phase::Runtime, get_iostat);
    table.add("bdev_reset_iostat", Phase::Runtime, reset_iostat);
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GetIostat {
    /// All devices if absent.
    #[serde(default)]
    names: Option<Vec<String>>,
    #[serde(default)]
    per_channel: bool,
    /// What to set to zero afterwards.
    #[serde(default = "nothing")]
    reset_mode: ResetStats,
}

fn nothing() -> ResetStats {
    ResetStats::None
}

fn get_iostat(ctx: &Control, params: GetIostat) -> Result<Value, RpcError> {
    let names = match &params.names {
        Some(names) => names.iter().map(|name| full_name(ctx, name)).collect::<Result<_, _>>()?,
        None => all_names(ctx),
    };
    let mut reply = json!({"tick_rate": TICK_RATE, "ticks": ticks()});
    if params.per_channel {
        let [name] = names.as_slice() else {
            return Err(RpcError::errno(libc::EINVAL, "names: expected exactly one with per_channel"));
        };
        reply["name"] = json!(name);
        reply["channels"] = channels(ctx, name);
    } else {
        reply["bdevs"] = names.iter().map(|name| totals(ctx, name)).collect();
    }
    for name in &names {
        ctx.engine().reset_bdev_stats(name, params.reset_mode);
    }
    Ok(reply)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ResetIostat {
    /// All devices if absent.
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    mode: ResetStats,
}

fn reset_iostat(ctx: &Control, params: ResetIostat) -> Result<Value, RpcError> {
    let names = match &params.name {
        Some(name) => vec![full_name(ctx, name)?],
        None => all_names(ctx),
    };
    for name in &names {
        ctx.engine().reset_bdev_stats(name, params.mode);
    }
    Ok(true.into())
}

fn full_name(ctx: &Control, name: &str) -> Result<String, RpcError> {
    let model = ctx.model();
    let bdev = model.bdev(name).ok_or_else(|| RpcError::errno(libc::ENODEV, name))?;
    Ok(bdev.name().to_owned())
}

fn all_names(ctx: &Control) -> Vec<String> {
    ctx.model().bdevs.iter().map(|bdev| bdev.name().to_owned()).collect()
}

fn totals(ctx: &Control, name: &str) -> Value {
    let mut value = json!({"name": name});
    let counts = ctx.engine().bdev_stats(name);
    extend(&mut value, describe(&counts.total));
    // Ours.
    let Throttled { ops, wait, waiting } = counts.throttled;
    value["num_throttled_ops"] = json!(ops);
    value["throttled_ticks"] = json!(wait);
    value["throttled_queue_depth"] = json!(waiting);
    value
}

fn channels(ctx: &Control, name: &str) -> Value {
    let describe_one = |(at, stats): (usize, &BdevStats)| {
        let mut value = json!({"thread_id": at + 1});
        extend(&mut value, describe(stats));
        value
    };
    ctx.engine().bdev_stats(name).channels.iter().enumerate().map(describe_one).collect()
}

fn extend(value: &mut Value, more: Map<String, Value>) {
    if let Value::Object(object) = value {
        object.extend(more);
    }
}

/// SPDK's figures, in its order. There is no copy operation here.
fn describe(stats: &BdevStats) -> Map<String, Value> {
    let copy = OpStats::default();
    let kinds = [
        ("read", "read", &stats.read),
        ("written", "write", &stats.write),
        ("unmapped", "unmap", &stats.unmap),
        ("copied", "copy", &copy),
    ];
    let mut object = Map::new();
    for (past, kind, op) in kinds {
        object.insert(format!("bytes_{past}"), op.bytes.into());
        object.insert(format!("num_{kind}_ops"), op.ops.into());
    }
    for (_, kind, op) in kinds {
        object.insert(format!("{kind}_latency_ticks"), op.latency.into());
        object.insert(format!("max_{kind}_latency_ticks"), op.max_latency.into());
        object.insert(format!("min_{kind}_latency_ticks"), op.min_latency.into());
    }
    let failed: u64 = [&stats.read, &stats.write, &stats.unmap, &stats.flush].iter().map(|op| op.errors).sum();
    object.insert("io_error".into(), if failed == 0 { json!({}) } else { json!({"failed": failed}) });
    object
}

/// The monotonic clock, in nanoseconds.
fn ticks() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is a valid place to write to; CLOCK_MONOTONIC always exists.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    now.tv_sec as u64 * TICK_RATE + now.tv_nsec as u64
}
