//! Target nodes and their logical units.

use super::params::ByName;
use crate::config::describe_target;
use crate::context::Control;
use crate::limits::MAX_TARGETS;
use crate::model::{AuthPolicy, Map, Model, ModelError, TargetNode, name};
use rpc::{MethodTable, Phase, RpcError};
use serde::Deserialize;
use serde_json::Value;

pub fn register(table: &mut MethodTable<Control>) {
    table.add("iscsi_create_target_node", Phase::Runtime, create);
    table.add("iscsi_delete_target_node", Phase::Runtime, delete);
    table.add("iscsi_target_node_add_lun", Phase::Runtime, add_lun);
    // Ours.
    table.add("iscsi_target_node_remove_lun", Phase::Runtime, remove_lun);
    table.add("iscsi_target_node_set_auth", Phase::Runtime, set_auth);
    table.add_bare("iscsi_get_target_nodes", Phase::Runtime, |ctx| {
        Ok(ctx.model().targets.iter().map(describe_target).collect())
    });
}

/// The target of this name: −32602 if there is none, as in SPDK.
pub(super) fn find<'a>(model: &'a mut Model, name: &str) -> Result<&'a mut TargetNode, ModelError> {
    let found = model.targets.iter_mut().find(|target| target.name.eq_ignore_ascii_case(name));
    found.ok_or_else(|| ModelError::invalid("name", format!("there is no target {name:?}")))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Create {
    name: String,
    #[serde(default)]
    alias_name: String,
    pg_ig_maps: Vec<Map>,
    luns: Vec<NewLun>,
    queue_depth: i32,
    #[serde(default)]
    disable_chap: bool,
    #[serde(default)]
    require_chap: bool,
    #[serde(default)]
    mutual_chap: bool,
    #[serde(default)]
    chap_group: i32,
    #[serde(default)]
    header_digest: bool,
    #[serde(default)]
    data_digest: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewLun {
    bdev_name: String,
    #[serde(default)]
    lun_id: Option<i32>,
}

fn create(ctx: &Control, params: Create) -> Result<Value, RpcError> {
    ctx.change(|model, _| {
        let target = build(model, params)?;
        if model.target(&target.name).is_some() {
            return Err(ModelError::invalid("name", format!("target {} exists already", target.name)));
        }
        if model.targets.len() >= MAX_TARGETS {
            return Err(ModelError::invalid("name", format!("expected at most {MAX_TARGETS} targets")));
        }
        model.targets.push(target);
        Ok(true.into())
    })
}

fn build(model: &Model, params: Create) -> Result<TargetNode, ModelError> {
    TargetNode::check_alias(&params.alias_name)?;
    let auth = AuthPolicy {
        disable_chap: params.disable_chap,
        require_chap: params.require_chap,
        mutual_chap: params.mutual_chap,
        chap_group: params.chap_group,
    };
    auth.check()?;
    if auth.chap_group != 0 && model.auth_group(auth.chap_group).is_none() {
        // Not refused: SPDK saves target nodes before authentication groups.
        tracing::warn!(target = params.name, group = auth.chap_group, "the target's auth group does not exist (yet)");
    }
    let most = model.options.max_queue_depth;
    let queue_depth = u32::try_from(params.queue_depth).ok().filter(|depth| (1..=most).contains(depth));
    let mut target = TargetNode {
        name: name::target_name(&model.options.node_base, &params.name)?,
        alias: params.alias_name,
        maps: vec![],
        luns: vec![],
        // As in SPDK, a value out of range stands for the most there may be.
        queue_depth: queue_depth.unwrap_or(most),
        auth,
        header_digest: params.header_digest,
        data_digest: params.data_digest,
        redirects: vec![],
    };
    for map in params.pg_ig_maps {
        super::iscsi_target_maps::check(model, map)?;
        target.add_map(map)?;
    }
    for lun in params.luns {
        let bdev = bdev_name(model, &lun.bdev_name)?;
        target.add_lun(&bdev, lun.lun_id)?;
    }
    Ok(target)
}

fn bdev_name(model: &Model, name: &str) -> Result<String, ModelError> {
    match model.bdev(name) {
        Some(bdev) => Ok(bdev.name().to_owned()),
        None => Err(ModelError::invalid("bdev_name", format!("there is no bdev {name:?}"))),
    }
}

fn delete(ctx: &Control, params: ByName) -> Result<Value, RpcError> {
    ctx.change(|model, _| {
        let Some(target) = model.target(&params.name) else {
            return Err(ModelError::errno(libc::ENOENT, format!("target {:?}", params.name)));
        };
        let name = target.name.clone();
        model.targets.retain(|target| target.name != name);
        Ok(true.into())
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AddLun {
    name: String,
    bdev_name: String,
    #[serde(default)]
    lun_id: Option<i32>,
}

/// Unlike SPDK, also while there are sessions: they are told by a unit attention.
fn add_lun(ctx: &Control, params: AddLun) -> Result<Value, RpcError> {
    ctx.change(|model, _| {
        let bdev = bdev_name(model, &params.bdev_name)?;
        find(model, &params.name)?.add_lun(&bdev, params.lun_id)?;
        Ok::<_, ModelError>(true.into())
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RemoveLun {
    name: String,
    lun_id: i32,
}

fn remove_lun(ctx: &Control, params: RemoveLun) -> Result<Value, RpcError> {
    ctx.change(|model, _| {
        let target = find(model, &params.name)?;
        let before = target.luns.len();
        target.luns.retain(|lun| lun.lun_id != params.lun_id);
        if target.luns.len() == before {
            return Err(ModelError::invalid("lun_id", format!("the target has no LUN {}", params.lun_id)));
        }
        Ok(true.into())
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SetAuth {
    name: String,
    #[serde(default)]
    disable_chap: bool,
    #[serde(default)]
    require_chap: bool,
    #[serde(default)]
    mutual_chap: bool,
    #[serde(default)]
    chap_group: i32,
}

fn set_auth(ctx: &Control, params: SetAuth) -> Result<Value, RpcError> {
    let SetAuth { name, disable_chap, require_chap, mutual_chap, chap_group } = params;
    let auth = AuthPolicy { disable_chap, require_chap, mutual_chap, chap_group };
    auth.check()?;
    ctx.change(|model, _| {
        find(model, &name)?.auth = auth;
        Ok::<_, ModelError>(true.into())
    })
}
