//! From the cores' counters to the `metrics` facade.

use crate::context::Control;
use crate::engine::{ConnectionState, CoreInfo, DeviceCounts, LatencyStats, OpStats, ProtocolStats, Throttled};
use metrics::{Label, counter, gauge};

/// Brings every metric up to date.
pub fn harvest(ctx: &Control) {
    ctx.engine().cores().iter().for_each(core);
    for bdev in &ctx.model().bdevs {
        let DeviceCounts { total: sum, throttled, .. } = ctx.engine().bdev_stats(bdev.name());
        for (kind, op) in [("read", sum.read), ("write", sum.write), ("unmap", sum.unmap), ("flush", sum.flush)] {
            bdev_op(bdev.name(), kind, &op);
        }
        bdev_throttled(bdev.name(), &throttled);
    }
    ctx.engine().protocol_stats().iter().for_each(protocol);
    connections(ctx);
}

fn labels(pairs: &[(&'static str, &str)]) -> Vec<Label> {
    pairs.iter().map(|(key, value)| Label::new(*key, (*value).to_owned())).collect()
}

fn core(core: &CoreInfo) {
    let id = core.core.to_string();
    let of_core = || labels(&[("core", &id)]);
    counter!("isere_core_busy_nanoseconds_total", of_core()).absolute(core.busy);
    counter!("isere_core_idle_nanoseconds_total", of_core()).absolute(core.idle);
    counter!("isere_core_turns_total", of_core()).absolute(core.turns);
    for poller in &core.pollers {
        let poller_id = poller.id.to_string();
        let of_poller = || labels(&[("core", &id), ("poller", &poller.name), ("id", &poller_id)]);
        counter!("isere_poller_polls_total", of_poller()).absolute(poller.polls);
        counter!("isere_poller_busy_polls_total", of_poller()).absolute(poller.busy_polls);
    }
    for pool in &core.pools {
        let bytes = pool.buffer_bytes.to_string();
        let of_pool = || labels(&[("core", &id), ("buffer_bytes", &bytes)]);
        gauge!("isere_pool_buffers", of_pool()).set(pool.total as f64);
        gauge!("isere_pool_buffers_free", of_pool()).set(pool.free as f64);
        counter!("isere_pool_exhausted_total", of_pool()).absolute(pool.exhausted);
    }
}

fn bdev_op(name: &str, kind: &str, op: &OpStats) {
    let of_op = || labels(&[("bdev", name), ("op", kind)]);
    counter!("isere_bdev_ops_total", of_op()).absolute(op.ops);
    counter!("isere_bdev_bytes_total", of_op()).absolute(op.bytes);
    counter!("isere_bdev_errors_total", of_op()).absolute(op.errors);
    counter!("isere_bdev_latency_nanoseconds_total", of_op()).absolute(op.latency);
    gauge!("isere_bdev_latency_max_nanoseconds", of_op()).set(op.max_latency as f64);
    gauge!("isere_bdev_latency_min_nanoseconds", of_op()).set(op.min_latency as f64);
}

/// What rate limits held up.
fn bdev_throttled(name: &str, throttled: &Throttled) {
    let of_bdev = || labels(&[("bdev", name)]);
    counter!("isere_bdev_throttled_ops_total", of_bdev()).absolute(throttled.ops);
    counter!("isere_bdev_throttled_nanoseconds_total", of_bdev()).absolute(throttled.wait);
    gauge!("isere_bdev_throttled_ops_waiting", of_bdev()).set(throttled.waiting as f64);
}

fn protocol(stats: &ProtocolStats) {
    let core = stats.core.to_string();
    for (name, count) in &stats.counters {
        counter!(format!("isere_iscsi_{name}_total"), labels(&[("core", &core)])).absolute(*count);
    }
    for latency in &stats.latencies {
        histogram(&core, latency);
    }
}

/// A histogram in Prometheus's form: cumulative buckets. The facade's own histograms take single values only.
fn histogram(core: &str, latency: &LatencyStats) {
    let of_kind = || labels(&[("core", core), ("op", latency.of)]);
    let mut count = 0;
    for (bound, values) in &latency.buckets {
        count += values;
        let bound = bound.to_string();
        let of_bucket = labels(&[("core", core), ("op", latency.of), ("le", &bound)]);
        counter!("isere_iscsi_latency_nanoseconds_bucket", of_bucket).absolute(count);
    }
    let of_all = labels(&[("core", core), ("op", latency.of), ("le", "+Inf")]);
    counter!("isere_iscsi_latency_nanoseconds_bucket", of_all).absolute(count);
    counter!("isere_iscsi_latency_nanoseconds_count", of_kind()).absolute(count);
    counter!("isere_iscsi_latency_nanoseconds_sum", of_kind()).absolute(latency.sum);
}

/// Sessions have one connection each, so connections are counted per target.
fn connections(ctx: &Control) {
    let connections = ctx.engine().connections();
    for (name, state) in [("running", ConnectionState::Running), ("exiting", ConnectionState::Exiting)] {
        let count = connections.iter().filter(|connection| connection.state == state).count();
        gauge!("isere_connections", labels(&[("state", name)])).set(count as f64);
    }
    for target in &ctx.model().targets {
        let count = connections.iter().filter(|connection| connection.target == target.name).count();
        gauge!("isere_target_sessions", labels(&[("target", &target.name)])).set(count as f64);
    }
}
