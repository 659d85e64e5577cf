//! The model as logins and discovery see it.

use crate::model::portal::Transport;
use crate::model::{AuthPolicy, Model, TargetNode};
use iscsi::chap::{Mutual, Secret};
use iscsi::discovery::Which;
use iscsi::login::{self, ChapPolicy, DiscoveryAccess, Refusal, TargetAccess};
use iscsi::negotiate::{DigestPolicy, Policy};
use iscsi::wire::LoginStatus;
use reactors::limits::LARGE_BUFFER;
use std::collections::BTreeMap;
use std::sync::Arc;
use target::target::{Directory, Entrance, Settings, Visible};

/// MaxRecvDataSegmentLength of the target: a Data-Out of this size goes straight into its buffer.
const MAX_RECV_DATA_SEGMENT: u32 = 256 * 1024;
/// MaxBurstLength offered.
const MAX_BURST: u32 = 1 << 20;

/// A published model with the handles of its targets.
#[derive(Debug)]
pub struct ModelDirectory {
    model: Arc<Model>,
    /// By target name.
    handles: BTreeMap<String, u32>,
}

impl ModelDirectory {
    /// A directory over `model`; `handles` has every target of it.
    pub fn new(model: Arc<Model>, handles: BTreeMap<String, u32>) -> Self {
        Self { model, handles }
    }

    fn policy(&self, entrance: &Entrance, target: Option<&TargetNode>) -> Policy {
        let options = &self.model.options;
        let digest = |required: bool| if required { DigestPolicy::Required } else { DigestPolicy::Allowed };
        let depth = target.map_or(options.max_queue_depth, |t| t.queue_depth.min(options.max_queue_depth));
        Policy {
            header_digest: digest(target.is_some_and(|t| t.header_digest)),
            data_digest: digest(target.is_some_and(|t| t.data_digest)),
            // Over iSER, asking for data costs no PDU, and it then goes straight to where it belongs.
            initial_r2t: entrance.transport == login::Transport::Iser,
            immediate_data: options.immediate_data,
            max_recv_data_segment_length: MAX_RECV_DATA_SEGMENT,
            max_burst: MAX_BURST,
            // What comes unasked has to fit one buffer.
            first_burst: options.first_burst_length.min(LARGE_BUFFER as u32),
            time2wait: options.default_time2wait as u16,
            time2retain: options.default_time2retain as u16,
            max_outstanding_r2t: options.max_r2t_per_connection.min(64) as u16,
            command_window: depth as u16,
            ..Policy::default()
        }
    }
}

/// Whether and how an initiator authenticates itself.
fn auth(policy: AuthPolicy) -> login::AuthPolicy {
    let chap =
        ChapPolicy { group: policy.chap_group as u32, mutual_required: policy.mutual_chap, ..ChapPolicy::default() };
    match policy {
        AuthPolicy { require_chap: true, .. } => login::AuthPolicy::Required(chap),
        AuthPolicy { disable_chap: true, .. } | AuthPolicy { chap_group: 0, .. } => login::AuthPolicy::None,
        _ => login::AuthPolicy::Optional(chap),
    }
}

impl Directory for ModelDirectory {
    fn target(&self, entrance: &Entrance, initiator: &str, name: &str) -> Result<TargetAccess, Refusal> {
        let found = self.model.target(name).and_then(|t| Some((t, *self.handles.get(&t.name)?)));
        let (target, handle) = found.ok_or(LoginStatus::NOT_FOUND)?;
        if !target.maps.iter().any(|map| map.pg_tag == entrance.portal_group) {
            return Err(LoginStatus::NOT_FOUND.into());
        }
        if !self.model.allows(target, entrance.portal_group, initiator, entrance.peer.ip()) {
            return Err(LoginStatus::AUTHORIZATION_FAILURE.into());
        }
        if let Some(to) = target.redirect(entrance.portal_group) {
            return Err(Refusal::moved(false, to.to_string()));
        }
        Ok(TargetAccess {
            handle,
            portal_group_tag: entrance.portal_group as u16,
            alias: Some(target.alias.clone()).filter(|alias| !alias.is_empty()),
            auth: auth(target.auth),
            policy: self.policy(entrance, Some(target)),
        })
    }

    fn discovery(&self, entrance: &Entrance, _: &str) -> Result<DiscoveryAccess, Refusal> {
        let policy = self.model.portal_group(entrance.portal_group).map(|group| group.auth);
        Ok(DiscoveryAccess {
            auth: auth(policy.unwrap_or_else(|| self.model.options.discovery())),
            policy: self.policy(entrance, None),
            portal_group_tag: Some(entrance.portal_group as u16),
        })
    }

    fn secret(&self, group: u32, user: &str) -> Option<Secret> {
        let credential = self.model.auth_group(i32::try_from(group).ok()?)?.find(user)?;
        let mutual = credential.muser.as_ref().zip(credential.msecret.as_ref());
        Some(Secret {
            secret: credential.secret.expose().as_bytes().to_vec(),
            mutual: mutual
                .map(|(user, secret)| Mutual { user: user.clone(), secret: secret.expose().as_bytes().to_vec() }),
        })
    }

    fn visible(&self, entrance: &Entrance, initiator: &str, which: &Which, own: Option<&str>) -> Vec<Visible> {
        let wanted = |target: &&TargetNode| match (which, own) {
            (Which::All, None) => true,
            (Which::Named(name), None) => target.name.eq_ignore_ascii_case(name.as_str()),
            // A normal session learns of its own target only (RFC 7143 appendix C).
            (Which::Named(name), Some(own)) => target.name == own && target.name.eq_ignore_ascii_case(name.as_str()),
            (_, Some(own)) => target.name == own,
            (Which::Own, None) => false,
        };
        let targets = self.model.targets.iter().filter(wanted);
        targets.filter_map(|target| self.portals_for(target, entrance, initiator)).collect()
    }

    fn settings(&self) -> Settings {
        let options = &self.model.options;
        Settings {
            max_sessions: options.max_sessions as usize,
            nop_in_interval: u64::try_from(options.nop_in_interval).unwrap_or(0),
            nop_timeout: u64::try_from(options.nop_timeout).unwrap_or(0),
        }
    }
}

impl ModelDirectory {
    /// The portals through which this initiator may use a target; `None` if it may not at all.
    fn portals_for(&self, target: &TargetNode, entrance: &Entrance, initiator: &str) -> Option<Visible> {
        let mut tags: Vec<i32> = target.maps.iter().map(|map| map.pg_tag).collect();
        tags.dedup();
        let allowed = tags.into_iter().filter(|tag| self.model.allows(target, *tag, initiator, entrance.peer.ip()));
        let groups = allowed.filter_map(|tag| self.model.portal_group(tag)).filter(|group| !group.private);
        let transport = match entrance.transport {
            login::Transport::Tcp => Transport::Tcp,
            login::Transport::Iser => Transport::Iser,
        };
        let portals: Vec<_> = groups
            .flat_map(|group| group.portals.iter().map(|portal| (portal, group.tag as u16)))
            // Initiators log in with what they discovered with.
            .filter(|(portal, _)| portal.serves(transport))
            .filter_map(|(portal, tag)| Some((portal.address().ok()?, tag)))
            // An initiator that came over one family may not have the other.
            .filter(|(address, _)| address.is_ipv4() == entrance.local.is_ipv4())
            .collect();
        (!portals.is_empty()).then(|| Visible { name: target.name.clone(), portals })
    }
}
