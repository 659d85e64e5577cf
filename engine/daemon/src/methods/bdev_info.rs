//! `bdev_get_bdevs`.

use crate::context::Control;
use crate::engine::BdevInfo;
use crate::limits::{BDEV_WAIT_STEP, MAX_BDEV_WAIT};
use crate::model::Model;
use crate::model::bdev::BdevSpec;
use rpc::{MethodTable, Phase, RpcError};
use serde::Deserialize;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

pub fn register(table: &mut MethodTable<Control>) {
    table.add("bdev_get_bdevs", Phase::Runtime, get_bdevs);
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GetBdevs {
    /// Name or UUID; all devices if absent.
    #[serde(default)]
    name: Option<String>,
    /// How long to wait for the device to appear, in milliseconds.
    #[serde(default)]
    timeout: u64,
}

fn get_bdevs(ctx: &Control, params: GetBdevs) -> Result<Value, RpcError> {
    let Some(name) = params.name else {
        let model = ctx.model();
        return Ok(model.bdevs.iter().filter_map(|spec| describe(ctx, &model, spec)).collect());
    };
    let wait = Duration::from_millis(params.timeout);
    if wait > MAX_BDEV_WAIT {
        let most = MAX_BDEV_WAIT.as_millis();
        return Err(RpcError::invalid_params(format!("timeout: expected at most {most}, got {}", params.timeout)));
    }
    let deadline = Instant::now() + wait;
    loop {
        let model = ctx.model();
        if let Some(found) = model.bdev(&name).and_then(|spec| describe(ctx, &model, spec)) {
            return Ok(json!([found]));
        }
        if Instant::now() >= deadline {
            return Err(RpcError::errno(libc::ENODEV, name));
        }
        std::thread::sleep(BDEV_WAIT_STEP);
    }
}

/// SPDK's description. A device that is just being deleted has none.
fn describe(ctx: &Control, model: &Model, spec: &BdevSpec) -> Option<Value> {
    let info = ctx.engine().bdev(spec.name())?;
    let layer = model.bdevs.iter().find(|other| other.base() == Some(spec.name()));
    let mut value = json!({
        "name": spec.name(),
        "aliases": [spec.uuid()],
        "product_name": info.product,
        "block_size": info.block_size,
        "num_blocks": info.blocks,
        "preferred_write_alignment": 0,
        "preferred_write_granularity": 0,
        "optimal_write_size": info.optimal_io_blocks,
        "preferred_unmap_alignment": 0,
        "preferred_unmap_granularity": info.unmap_granularity,
        "uuid": spec.uuid(),
        "assigned_rate_limits": model.limits_of(spec.name()),
        "claimed": layer.is_some(),
    });
    if layer.is_some() {
        value["claim_type"] = json!("exclusive_write");
    }
    value["zoned"] = json!(false);
    value["supported_io_types"] = io_types(&info);
    value["driver_specific"] = driver_specific(spec);
    Some(value)
}

fn io_types(info: &BdevInfo) -> Value {
    json!({
        "read": true,
        "write": info.write && !info.read_only,
        "unmap": info.unmap,
        "flush": info.flush,
        "reset": true,
        "nvme_admin": false,
        "nvme_io": false,
        "nvme_io_md": false,
        "write_zeroes": info.write_zeroes,
        "zcopy": false,
        "get_zone_info": false,
        "zone_management": false,
        "zone_append": false,
        "compare": false,
        "compare_and_write": false,
        "abort": true,
        "seek_hole": false,
        "seek_data": false,
        "copy": false,
        "nvme_iov_md": false,
        "nvme_nssr": false,
        "write_uncorrectable": false,
    })
}

fn driver_specific(spec: &BdevSpec) -> Value {
    match spec {
        BdevSpec::Malloc(_) | BdevSpec::Null(_) => json!({}),
        BdevSpec::Uring(uring) => json!({"uring": {"filename": uring.filename}}),
        BdevSpec::Aio(aio) => json!({"aio": {
            "filename": aio.filename,
            "block_size_override": aio.block_size != 0,
            "readonly": aio.readonly,
            "fallocate": aio.fallocate,
            "nowait": aio.nowait,
        }}),
        BdevSpec::Delay(delay) => json!({"delay": delay}),
        BdevSpec::Error(layer) => json!({"error_disk": {"base_bdev": layer.base_name}}),
    }
}
