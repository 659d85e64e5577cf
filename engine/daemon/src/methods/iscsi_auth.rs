//! Authentication groups.

use super::params::ByTag;
use crate::context::Control;
use crate::limits::MAX_AUTH_GROUPS;
use crate::model::{AuthGroup, Credential, Model, ModelError, Secret};
use rpc::{MethodTable, Phase, RpcError};
use serde::Deserialize;
use serde_json::{Value, json};

pub fn register(table: &mut MethodTable<Control>) {
    table.add("iscsi_create_auth_group", Phase::Runtime, create);
    table.add("iscsi_delete_auth_group", Phase::Runtime, delete);
    table.add("iscsi_auth_group_add_secret", Phase::Runtime, add_secret);
    table.add("iscsi_auth_group_remove_secret", Phase::Runtime, remove_secret);
    // As in SPDK, secrets are shown: the socket is readable by its owner alone.
    table.add_bare("iscsi_get_auth_groups", Phase::Runtime, |ctx| Ok(json!(ctx.model().auth_groups)));
}

fn warn_if_weak(tag: i32, credential: &Credential) {
    if credential.is_weak() {
        tracing::warn!(group = tag, user = credential.user, "CHAP secret shorter than 12 bytes (RFC 7143 §12.1.3)");
    }
}

fn create(ctx: &Control, params: AuthGroup) -> Result<Value, RpcError> {
    params.check()?;
    params.secrets.iter().for_each(|credential| warn_if_weak(params.tag, credential));
    ctx.change(|model, _| {
        if model.auth_group(params.tag).is_some() {
            return Err(ModelError::invalid("tag", format!("auth group {} exists already", params.tag)));
        }
        if model.auth_groups.len() >= MAX_AUTH_GROUPS {
            return Err(ModelError::invalid("tag", format!("expected at most {MAX_AUTH_GROUPS} auth groups")));
        }
        model.auth_groups.push(params);
        Ok(true.into())
    })
}

fn find(model: &mut Model, tag: i32) -> Result<&mut AuthGroup, ModelError> {
    let found = model.auth_groups.iter_mut().find(|group| group.tag == tag);
    found.ok_or_else(|| ModelError::invalid("tag", format!("there is no auth group {tag}")))
}

fn delete(ctx: &Control, params: ByTag) -> Result<Value, RpcError> {
    ctx.change(|model, _| {
        // Policies that still name the group let nobody in.
        find(model, params.tag)?;
        model.auth_groups.retain(|group| group.tag != params.tag);
        Ok::<_, ModelError>(true.into())
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AddSecret {
    tag: i32,
    user: String,
    secret: Secret,
    #[serde(default)]
    muser: Option<String>,
    #[serde(default)]
    msecret: Option<Secret>,
}

fn add_secret(ctx: &Control, params: AddSecret) -> Result<Value, RpcError> {
    let AddSecret { tag, user, secret, muser, msecret } = params;
    let credential = Credential { user, secret, muser, msecret };
    warn_if_weak(tag, &credential);
    ctx.change(|model, _| {
        let group = find(model, tag)?;
        group.secrets.push(credential);
        group.check()?;
        Ok::<_, ModelError>(true.into())
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RemoveSecret {
    tag: i32,
    user: String,
}

fn remove_secret(ctx: &Control, params: RemoveSecret) -> Result<Value, RpcError> {
    ctx.change(|model, _| {
        let group = find(model, params.tag)?;
        if group.find(&params.user).is_none() {
            let expected = format!("no secret of {:?} in auth group {}", params.user, params.tag);
            return Err(ModelError::invalid("user", expected));
        }
        group.secrets.retain(|credential| credential.user != params.user);
        Ok(true.into())
    })
}
