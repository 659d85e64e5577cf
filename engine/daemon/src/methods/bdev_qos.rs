//! `bdev_set_qos_limit`.

use crate::context::Control;
use crate::engine::{BdevChange, Engine};
use crate::model::ModelError;
use crate::model::bdev::{BdevSpec, RateLimits};
use rpc::{MethodTable, Phase, RpcError};
use serde::Deserialize;
use serde_json::Value;

pub fn register(table: &mut MethodTable<Control>) {
    table.add("bdev_set_qos_limit", Phase::Runtime, set_qos_limit);
}

/// What is absent stays as it is; 0 takes a limit away.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SetQosLimit {
    name: String,
    rw_ios_per_sec: Option<u64>,
    rw_mbytes_per_sec: Option<u64>,
    r_mbytes_per_sec: Option<u64>,
    w_mbytes_per_sec: Option<u64>,
}

impl SetQosLimit {
    /// The limits there will be, or nothing if none was given.
    fn applied_to(&self, before: RateLimits) -> Option<RateLimits> {
        let given = [self.rw_ios_per_sec, self.rw_mbytes_per_sec, self.r_mbytes_per_sec, self.w_mbytes_per_sec];
        given.iter().any(Option::is_some).then(|| RateLimits {
            rw_ios_per_sec: self.rw_ios_per_sec.unwrap_or(before.rw_ios_per_sec),
            rw_mbytes_per_sec: self.rw_mbytes_per_sec.unwrap_or(before.rw_mbytes_per_sec),
            r_mbytes_per_sec: self.r_mbytes_per_sec.unwrap_or(before.r_mbytes_per_sec),
            w_mbytes_per_sec: self.w_mbytes_per_sec.unwrap_or(before.w_mbytes_per_sec),
        })
    }
}

fn set_qos_limit(ctx: &Control, params: SetQosLimit) -> Result<Value, RpcError> {
    ctx.change_undoably(|model, engine| {
        let found = model.bdev(&params.name).map(BdevSpec::name);
        let name = found.ok_or_else(|| ModelError::errno(libc::ENODEV, params.name.as_str()))?.to_owned();
        let before = model.limits_of(&name);
        let after = params.applied_to(before);
        let after = after.ok_or_else(|| ModelError::errno(libc::EINVAL, "no rate limits specified"))?;
        after.check()?;
        engine.alter_bdev(&name, &BdevChange::Limit(after))?;
        if after.is_none() {
            model.rate_limits.remove(&name);
        } else {
            model.rate_limits.insert(name.clone(), after);
        }
        let undo = move |engine: &dyn Engine| {
            if let Err(error) = engine.alter_bdev(&name, &BdevChange::Limit(before)) {
                tracing::error!(%error, "cannot take back the rate limits of a block device");
            }
        };
        Ok::<_, RpcError>((true.into(), undo))
    })
}
