//! Who reaches a target and where: maps, redirection, logout.

use super::iscsi_target::find;
use crate::context::Control;
use crate::model::target::Redirect;
use crate::model::{Map, Model, ModelError, Portal};
use rpc::{MethodTable, Phase, RpcError};
use serde::Deserialize;
use serde_json::Value;

pub fn register(table: &mut MethodTable<Control>) {
    table.add("iscsi_target_node_add_pg_ig_maps", Phase::Runtime, add_maps);
    table.add("iscsi_target_node_remove_pg_ig_maps", Phase::Runtime, remove_maps);
    table.add("iscsi_target_node_set_redirect", Phase::Runtime, set_redirect);
    table.add("iscsi_target_node_request_logout", Phase::Runtime, request_logout);
}

/// Checks that both groups of a map exist.
pub(super) fn check(model: &Model, map: Map) -> Result<(), ModelError> {
    if model.portal_group(map.pg_tag).is_none() {
        return Err(ModelError::invalid("pg_tag", format!("there is no portal group {}", map.pg_tag)));
    }
    if model.initiator_group(map.ig_tag).is_none() {
        return Err(ModelError::invalid("ig_tag", format!("there is no initiator group {}", map.ig_tag)));
    }
    Ok(())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Maps {
    name: String,
    pg_ig_maps: Vec<Map>,
}

fn add_maps(ctx: &Control, params: Maps) -> Result<Value, RpcError> {
    ctx.change(|model, _| {
        for map in params.pg_ig_maps {
            check(model, map)?;
            find(model, &params.name)?.add_map(map)?;
        }
        // Also checks the name if no maps were given.
        find(model, &params.name)?;
        Ok::<_, ModelError>(true.into())
    })
}

fn remove_maps(ctx: &Control, params: Maps) -> Result<Value, RpcError> {
    ctx.change(|model, _| {
        let target = find(model, &params.name)?;
        for map in params.pg_ig_maps {
            target.remove_map(map)?;
        }
        Ok::<_, ModelError>(true.into())
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SetRedirect {
    name: String,
    pg_tag: i32,
    #[serde(default)]
    redirect_host: Option<String>,
    #[serde(default)]
    redirect_port: Option<String>,
}

/// Sends sessions that come in through a public portal group elsewhere; without host and port, no longer.
fn set_redirect(ctx: &Control, params: SetRedirect) -> Result<Value, RpcError> {
    let SetRedirect { name, pg_tag, redirect_host, redirect_port } = params;
    let to = match (redirect_host, redirect_port) {
        (None, None) => None,
        (Some(host), Some(port)) => {
            Some(Portal { host, port, transport: Default::default(), provider: Default::default() }.address()?)
        }
        _ => return Err(ModelError::invalid("redirect_host", "expected together with redirect_port").into()),
    };
    ctx.change(|model, _| {
        check_redirect(model, pg_tag, to)?;
        let target = find(model, &name)?;
        if !target.maps.iter().any(|map| map.pg_tag == pg_tag) {
            return Err(ModelError::invalid("pg_tag", format!("portal group {pg_tag} is not mapped to {name}")));
        }
        target.redirects.retain(|redirect| redirect.pg_tag != pg_tag);
        target.redirects.extend(to.map(|to| Redirect { pg_tag, to }));
        Ok(true.into())
    })
}

fn check_redirect(model: &Model, pg_tag: i32, to: Option<std::net::SocketAddr>) -> Result<(), ModelError> {
    let Some(group) = model.portal_group(pg_tag) else {
        return Err(ModelError::invalid("pg_tag", format!("there is no portal group {pg_tag}")));
    };
    if group.private {
        return Err(ModelError::invalid("pg_tag", format!("portal group {pg_tag} is private")));
    }
    let own = |to| group.portals.iter().any(|portal| portal.address() == Ok(to));
    if to.is_some_and(own) {
        return Err(ModelError::invalid("redirect_host", "expected a portal of another portal group"));
    }
    Ok(())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RequestLogout {
    name: String,
    /// All portal groups if absent or −1.
    #[serde(default)]
    pg_tag: Option<i32>,
}

fn request_logout(ctx: &Control, params: RequestLogout) -> Result<Value, RpcError> {
    let model = ctx.model();
    let Some(target) = model.target(&params.name) else {
        return Err(ModelError::invalid("name", format!("there is no target {:?}", params.name)).into());
    };
    ctx.engine().request_logout(&target.name, params.pg_tag.filter(|tag| *tag != -1));
    Ok(true.into())
}
