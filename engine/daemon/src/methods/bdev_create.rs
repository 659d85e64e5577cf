//! Creating and deleting block devices.

use super::notify::{BDEV_REGISTER, BDEV_UNREGISTER};
use super::params::ByName;
use crate::context::Control;
use crate::engine::Engine;
use crate::limits::MAX_BDEVS;
use crate::model::bdev::{Aio, BdevSpec, Delay, ErrorLayer, Malloc, Null, Uring, Uuid};
use crate::model::{Model, ModelError};
use rpc::{MethodTable, Phase, RpcError};
use serde_json::Value;
use std::io::Read;

pub fn register(table: &mut MethodTable<Control>) {
    table.add("bdev_malloc_create", Phase::Runtime, |ctx, p: Malloc| create(ctx, BdevSpec::Malloc(p)));
    table.add("bdev_null_create", Phase::Runtime, |ctx, p: Null| create(ctx, BdevSpec::Null(p)));
    table.add("bdev_uring_create", Phase::Runtime, |ctx, p: Uring| create(ctx, BdevSpec::Uring(p)));
    table.add("bdev_aio_create", Phase::Runtime, |ctx, p: Aio| create(ctx, BdevSpec::Aio(p)));
    table.add("bdev_delay_create", Phase::Runtime, |ctx, p: Delay| create(ctx, BdevSpec::Delay(p)));
    // Unlike the others, SPDK answers this one with true.
    table.add("bdev_error_create", Phase::Runtime, |ctx, p: ErrorLayer| {
        create(ctx, BdevSpec::Error(p)).map(|_| true.into())
    });
    for (name, created_by) in [
        ("bdev_malloc_delete", "bdev_malloc_create"),
        ("bdev_null_delete", "bdev_null_create"),
        ("bdev_uring_delete", "bdev_uring_create"),
        ("bdev_aio_delete", "bdev_aio_create"),
        ("bdev_delay_delete", "bdev_delay_create"),
        ("bdev_error_delete", "bdev_error_create"),
    ] {
        table.add(name, Phase::Runtime, move |ctx, p: ByName| delete(ctx, &p.name, created_by));
    }
}

fn create(ctx: &Control, mut spec: BdevSpec) -> Result<Value, RpcError> {
    let chosen = random_uuid()?;
    let name = ctx.change_undoably(|model, engine| {
        complete(&mut spec, model, chosen);
        check_new(&spec, model)?;
        engine.create_bdev(&spec)?;
        let name = spec.name().to_owned();
        model.bdevs.push(spec);
        let undo_name = name.clone();
        let undo = move |engine: &dyn Engine| {
            if let Err(error) = engine.delete_bdev(&undo_name) {
                tracing::error!(%error, "cannot undo the creation of a block device");
            }
        };
        Ok::<_, RpcError>((name, undo))
    })?;
    ctx.notify(BDEV_REGISTER, &name);
    Ok(name.into())
}

/// Fills in what the caller left to us, and writes the base's name in full.
fn complete(spec: &mut BdevSpec, model: &Model, chosen: Uuid) {
    let base_name = |name: &str| model.bdev(name).map_or(name, BdevSpec::name).to_owned();
    let uuid = match spec {
        BdevSpec::Malloc(malloc) => {
            malloc.name.get_or_insert_with(|| free_name(model, "Malloc"));
            &mut malloc.uuid
        }
        BdevSpec::Null(null) => &mut null.uuid,
        BdevSpec::Uring(uring) => &mut uring.uuid,
        BdevSpec::Aio(aio) => &mut aio.uuid,
        BdevSpec::Delay(delay) => {
            delay.base_bdev_name = base_name(&delay.base_bdev_name);
            &mut delay.uuid
        }
        BdevSpec::Error(layer) => {
            layer.base_name = base_name(&layer.base_name);
            layer.name = format!("EE_{}", layer.base_name);
            &mut layer.uuid
        }
    };
    if uuid.is_none_or(Uuid::is_nil) {
        *uuid = Some(chosen);
    }
}

fn free_name(model: &Model, prefix: &str) -> String {
    // At most MAX_BDEVS names are taken, so one of the first MAX_BDEVS + 1 is free.
    let mut candidates = (0..=MAX_BDEVS).map(|number| format!("{prefix}{number}"));
    candidates.find(|name| model.bdev(name).is_none()).unwrap_or_else(|| prefix.to_owned())
}

fn check_new(spec: &BdevSpec, model: &Model) -> Result<(), ModelError> {
    spec.check()?;
    if model.bdevs.len() >= MAX_BDEVS {
        return Err(ModelError::errno(libc::ENOSPC, format!("there are {MAX_BDEVS} bdevs, the most there may be")));
    }
    if let Some(other) = model.bdev(spec.name()).or_else(|| model.bdev(&spec.uuid().to_string())) {
        return Err(ModelError::errno(libc::EEXIST, format!("bdev {} (uuid {})", other.name(), other.uuid())));
    }
    let Some(base) = spec.base() else { return Ok(()) };
    if model.bdev(base).is_none() {
        return Err(ModelError::errno(libc::ENODEV, format!("base bdev {base}")));
    }
    match model.bdevs.iter().find(|other| other.base() == Some(base)) {
        Some(layer) => Err(ModelError::errno(libc::EPERM, format!("bdev {base} is claimed by {}", layer.name()))),
        None => Ok(()),
    }
}

/// Deletes a device. Logical units on it are removed first, as SPDK does; a layer on it is in the way.
fn delete(ctx: &Control, name: &str, created_by: &str) -> Result<Value, RpcError> {
    // Two steps: cores must have let go of the logical units before the device can go.
    let name = ctx.change(|model, _| {
        let name = deletable(model, name, created_by)?;
        for target in &mut model.targets {
            target.luns.retain(|lun| lun.bdev_name != name);
        }
        Ok::<_, ModelError>(name)
    })?;
    ctx.change(|model, engine| {
        deletable(model, &name, created_by)?;
        if let Some(target) = model.targets.iter().find(|target| target.luns.iter().any(|lun| lun.bdev_name == name)) {
            return Err(RpcError::errno(libc::EBUSY, format!("bdev {name} has just been given to {}", target.name)));
        }
        engine.delete_bdev(&name)?;
        model.bdevs.retain(|bdev| bdev.name() != name);
        model.rate_limits.remove(&name);
        Ok(())
    })?;
    ctx.notify(BDEV_UNREGISTER, &name);
    Ok(true.into())
}

fn deletable(model: &Model, name: &str, created_by: &str) -> Result<String, ModelError> {
    let found = model.bdev(name).filter(|bdev| bdev.create_method() == created_by);
    let Some(bdev) = found else {
        return Err(ModelError::errno(libc::ENODEV, format!("{name} (none that {created_by} made)")));
    };
    match model.bdevs.iter().find(|other| other.base() == Some(bdev.name())) {
        Some(layer) => Err(ModelError::errno(libc::EBUSY, format!("bdev {name} is used by {}", layer.name()))),
        None => Ok(bdev.name().to_owned()),
    }
}

fn random_uuid() -> Result<Uuid, RpcError> {
    let mut bytes = [0; 16];
    let read = std::fs::File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes));
    read.map_err(|error| RpcError::internal(format!("/dev/urandom: {error}")))?;
    Ok(Uuid::from_random(bytes))
}
