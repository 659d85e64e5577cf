//! Portal groups.

use super::params::ByTag;
use crate::context::Control;
use crate::engine::Engine;
use crate::limits::MAX_PORTAL_GROUPS;
use crate::model::{AuthPolicy, Model, ModelError, PortalGroup};
use rpc::{MethodTable, Phase, RpcError};
use serde::Deserialize;
use serde_json::{Value, json};

pub fn register(table: &mut MethodTable<Control>) {
    table.add("iscsi_create_portal_group", Phase::Runtime, create);
    table.add("iscsi_delete_portal_group", Phase::Runtime, delete);
    table.add("iscsi_start_portal_group", Phase::Runtime, start);
    table.add("iscsi_portal_group_set_auth", Phase::Runtime, set_auth);
    table.add_bare("iscsi_get_portal_groups", Phase::Runtime, |ctx| {
        Ok(ctx.model().portal_groups.iter().map(describe).collect())
    });
}

fn create(ctx: &Control, params: PortalGroup) -> Result<Value, RpcError> {
    let mut group = params.normalise()?;
    ctx.change_undoably(|model, engine| {
        check_new(model, &group)?;
        group.auth = model.options.discovery();
        // An address that cannot be had is a wrong parameter to SPDK's clients.
        engine.open_portals(&group).map_err(|error| RpcError::invalid_params(format!("portals: {}", error.what)))?;
        let tag = group.tag;
        model.portal_groups.push(group);
        Ok::<_, RpcError>((true.into(), move |engine: &dyn Engine| engine.close_portals(tag)))
    })
}

fn check_new(model: &Model, group: &PortalGroup) -> Result<(), ModelError> {
    if model.portal_group(group.tag).is_some() {
        return Err(ModelError::invalid("tag", format!("portal group {} exists already", group.tag)));
    }
    if model.portal_groups.len() >= MAX_PORTAL_GROUPS {
        return Err(ModelError::invalid("tag", format!("expected at most {MAX_PORTAL_GROUPS} portal groups")));
    }
    for other in &model.portal_groups {
        let taken = |portal| other.portals.iter().any(|theirs| theirs.address() == portal);
        if let Some(portal) = group.portals.iter().find(|portal| taken(portal.address())) {
            return Err(ModelError::invalid("portals", format!("{portal} belongs to portal group {}", other.tag)));
        }
    }
    Ok(())
}

fn find(model: &mut Model, tag: i32) -> Result<&mut PortalGroup, ModelError> {
    let found = model.portal_groups.iter_mut().find(|group| group.tag == tag);
    found.ok_or_else(|| ModelError::invalid("tag", format!("there is no portal group {tag}")))
}

fn delete(ctx: &Control, params: ByTag) -> Result<Value, RpcError> {
    let tag = params.tag;
    ctx.change_undoably(|model, engine| {
        let group = find(model, tag)?.clone();
        model.portal_groups.retain(|group| group.tag != tag);
        for target in &mut model.targets {
            target.retain_maps(|map| map.pg_tag != tag);
        }
        engine.close_portals(tag);
        let undo = move |engine: &dyn Engine| {
            if let Err(error) = engine.open_portals(&group) {
                tracing::error!(tag, %error, "cannot undo the deletion of a portal group");
            }
        };
        Ok::<_, ModelError>((true.into(), undo))
    })
}

fn start(ctx: &Control, params: ByTag) -> Result<Value, RpcError> {
    ctx.change(|model, engine| {
        let group = find(model, params.tag)?;
        if std::mem::take(&mut group.wait) {
            engine.start_portals(params.tag)?;
        }
        Ok::<_, RpcError>(true.into())
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SetAuth {
    tag: i32,
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
    let SetAuth { tag, disable_chap, require_chap, mutual_chap, chap_group } = params;
    let auth = AuthPolicy { disable_chap, require_chap, mutual_chap, chap_group };
    auth.check()?;
    ctx.change(|model, _| {
        find(model, tag)?.auth = auth;
        Ok::<_, ModelError>(true.into())
    })
}

fn describe(group: &PortalGroup) -> Value {
    json!({"tag": group.tag, "portals": group.portals, "private": group.private})
}
