//! Changing running block devices.

use super::notify::BDEV_RESIZE;
use super::params::ByName;
use crate::context::Control;
use crate::engine::{BdevChange, InjectOn, InjectWhat, Injection, LatencyKind};
use crate::model::ModelError;
use crate::model::bdev::BdevSpec;
use rpc::error::{INVALID_PARAMS, INVALID_REQUEST};
use rpc::{MethodTable, Phase, RpcError};
use serde::Deserialize;
use serde_json::Value;
use std::time::Duration;

pub fn register(table: &mut MethodTable<Control>) {
    table.add("bdev_null_resize", Phase::Runtime, null_resize);
    table.add("bdev_uring_rescan", Phase::Runtime, |ctx, p: ByName| rescan(ctx, &p.name, "bdev_uring_create"));
    table.add("bdev_aio_rescan", Phase::Runtime, |ctx, p: ByName| rescan(ctx, &p.name, "bdev_aio_create"));
    table.add("bdev_delay_update_latency", Phase::Runtime, update_latency);
    table.add("bdev_error_inject_error", Phase::Runtime, inject_error);
    table.add("bdev_error_resume_pending", Phase::Runtime, resume_pending);
}

fn no_device(name: &str) -> ModelError {
    ModelError::errno(libc::ENODEV, name)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NullResize {
    name: String,
    /// In MiB.
    new_size: u64,
}

fn null_resize(ctx: &Control, params: NullResize) -> Result<Value, RpcError> {
    let name = ctx.change(|model, engine| {
        let found = model.bdevs.iter_mut().find(|bdev| bdev.is_called(&params.name));
        let Some(BdevSpec::Null(null)) = found else { return Err(no_device(&params.name).into()) };
        let blocks = params.new_size.checked_mul(1 << 20).map(|bytes| bytes / u64::from(null.block_size));
        null.num_blocks = blocks.unwrap_or(0);
        let name = null.name.clone();
        BdevSpec::Null(null.clone()).check().map_err(|_| {
            RpcError::errno(
                libc::EINVAL,
                format!("new_size: not a length a bdev may have, got {} MiB", params.new_size),
            )
        })?;
        engine.alter_bdev(&name, &BdevChange::Resize(null.num_blocks))?;
        Ok::<_, RpcError>(name)
    })?;
    ctx.notify(BDEV_RESIZE, &name);
    Ok(true.into())
}

fn rescan(ctx: &Control, name: &str, created_by: &str) -> Result<Value, RpcError> {
    let name = ctx.change(|model, engine| {
        let found = model.bdev(name).filter(|bdev| bdev.create_method() == created_by);
        let name = found.ok_or_else(|| no_device(name))?.name().to_owned();
        engine.alter_bdev(&name, &BdevChange::Rescan)?;
        Ok::<_, RpcError>(name)
    })?;
    ctx.notify(BDEV_RESIZE, &name);
    Ok(true.into())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UpdateLatency {
    delay_bdev_name: String,
    latency_type: LatencyKind,
    latency_us: u64,
}

fn update_latency(ctx: &Control, params: UpdateLatency) -> Result<Value, RpcError> {
    ctx.change(|model, engine| {
        let found = model.bdevs.iter_mut().find(|bdev| bdev.is_called(&params.delay_bdev_name));
        let delay = match found {
            None => return Err(RpcError::new(INVALID_PARAMS, "The requested bdev does not exist.")),
            Some(BdevSpec::Delay(delay)) => delay,
            Some(_) => return Err(RpcError::new(INVALID_REQUEST, "The requested bdev is not a delay bdev.")),
        };
        let value = match params.latency_type {
            LatencyKind::AvgRead => &mut delay.avg_read_latency,
            LatencyKind::P99Read => &mut delay.p99_read_latency,
            LatencyKind::AvgWrite => &mut delay.avg_write_latency,
            LatencyKind::P99Write => &mut delay.p99_write_latency,
        };
        *value = params.latency_us;
        let change = BdevChange::Latency(params.latency_type, Duration::from_micros(params.latency_us));
        engine.alter_bdev(&delay.name, &change)?;
        Ok(true.into())
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct InjectError {
    name: String,
    io_type: InjectOn,
    error_type: InjectWhat,
    #[serde(default)]
    nvme_sct: u32,
    #[serde(default)]
    nvme_sc: u32,
    #[serde(default = "one")]
    num: u32,
    #[serde(default)]
    queue_depth: u64,
    #[serde(default)]
    corrupt_offset: u64,
    #[serde(default)]
    corrupt_value: u8,
    /// Ours: the first block that an operation must touch; without it the whole device is meant.
    lba: Option<u64>,
    /// Ours: how many blocks from there on.
    num_blocks: Option<u64>,
}

impl InjectError {
    /// First and last block of the range, if there is one.
    fn range(&self) -> Result<Option<(u64, u64)>, RpcError> {
        let invalid = |what| Err(RpcError::errno(libc::EINVAL, what));
        match (self.lba, self.num_blocks) {
            (None, None) => Ok(None),
            (None, Some(_)) => invalid("num_blocks: expected together with lba"),
            (Some(_), Some(0)) => invalid("num_blocks: expected 1 or more, got 0"),
            (Some(first), blocks) => Ok(Some((first, first.saturating_add(blocks.unwrap_or(1) - 1)))),
        }
    }
}

fn one() -> u32 {
    1
}

fn inject_error(ctx: &Control, params: InjectError) -> Result<Value, RpcError> {
    if params.error_type == InjectWhat::NvmeFailure || params.nvme_sct != 0 || params.nvme_sc != 0 {
        return Err(RpcError::errno(libc::EINVAL, "error_type: NVMe status codes are not supported"));
    }
    let injection = Injection {
        on: params.io_type,
        what: params.error_type,
        count: params.num,
        queue_depth: params.queue_depth,
        corrupt_offset: params.corrupt_offset,
        corrupt_value: params.corrupt_value,
        range: params.range()?,
    };
    alter_error_layer(ctx, &params.name, &BdevChange::Inject(injection))
}

fn resume_pending(ctx: &Control, params: ByName) -> Result<Value, RpcError> {
    alter_error_layer(ctx, &params.name, &BdevChange::ResumePending)
}

fn alter_error_layer(ctx: &Control, name: &str, change: &BdevChange) -> Result<Value, RpcError> {
    ctx.change(|model, engine| {
        let found = model.bdev(name).filter(|bdev| matches!(bdev, BdevSpec::Error(_)));
        let name = found.ok_or_else(|| no_device(name))?.name();
        engine.alter_bdev(name, change)?;
        Ok::<_, RpcError>(true.into())
    })
}
