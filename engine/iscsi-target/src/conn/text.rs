//! Text requests and logout in full-feature phase (RFC 7143 §11.10, §11.14).

use iscsi::datamover::{Arrival, Control, Datamover};
use iscsi::discovery::{Portal, TargetRecord, TextStep};
use iscsi::wire::{LogoutRequest, logout_reason, logout_response, reject_reason};

use super::full::{Close, Full};
use crate::context::Context;
use crate::target::Visible;
use crate::wire::Wire;

impl Full {
    pub(super) fn text_request(
        &mut self,
        dm: &mut Wire,
        ctx: &mut Context<'_>,
        control: &Control,
    ) -> Result<(), Close> {
        let bhs = &control.bhs;
        if !self.admit_request(bhs, "text request")? {
            return Ok(());
        }
        match control.arrival {
            Arrival::Here => {}
            Arrival::BadDigest => return self.reject(dm, ctx, control, reject_reason::DATA_DIGEST_ERROR),
            // Longer than any text that is taken.
            Arrival::Coming => return self.reject(dm, ctx, control, reject_reason::PROTOCOL_ERROR),
        }
        let most = dm.control_segment_limit();
        let mut step = self.text.receive(bhs, dm.segment(), &mut self.proto.parameters, most);
        if let TextStep::List(which) = &step {
            let own = self.session.target.as_ref().map(|t| t.name.as_str());
            let visible = ctx.published.directory.visible(&self.entrance, &self.session.initiator, which, own);
            let local = self.entrance.local.ip();
            let portals: Vec<Vec<Portal>> = visible.iter().map(|t| seen_from(t, local)).collect();
            let records = visible.iter().zip(&portals).map(|(t, portals)| TargetRecord { name: &t.name, portals });
            step = self.text.listed(records, &mut self.proto.parameters, most);
        }
        match step {
            TextStep::Reply { mut bhs, text } => {
                let numbers = self.proto.take_numbers();
                bhs.stamp(numbers.stat_sn, numbers.exp_cmd_sn, numbers.max_cmd_sn);
                dm.send_control(&bhs, &text).map_err(|_| Close::Now)
            }
            TextStep::Reject(reason) => self.reject(dm, ctx, control, reason),
            TextStep::List(_) => Err(Close::Now),
        }
    }

    pub(super) fn logout_request(
        &mut self,
        dm: &mut Wire,
        ctx: &mut Context<'_>,
        control: &Control,
    ) -> Result<(), Close> {
        let request = LogoutRequest::decode(&control.bhs);
        if !self.admit_request(&control.bhs, "logout request")? {
            return Ok(());
        }
        let response = match request.reason {
            logout_reason::CLOSE_SESSION => logout_response::CLOSED,
            logout_reason::CLOSE_CONNECTION if request.cid == self.session.cid => logout_response::CLOSED,
            logout_reason::CLOSE_CONNECTION => logout_response::CID_NOT_FOUND,
            // At ERL 0 a connection is never removed for recovery (RFC 7143 §11.14).
            logout_reason::REMOVE_FOR_RECOVERY => logout_response::RECOVERY_NOT_SUPPORTED,
            _ => return self.reject(dm, ctx, control, reject_reason::INVALID_PDU_FIELD),
        };
        let bhs = self.proto.logout_response(request.itt, response);
        dm.send_control(&bhs, &[]).map_err(|_| Close::Now)?;
        if response == logout_response::CLOSED {
            tracing::info!(session = %self.session, "logged out");
            return Err(Close::LoggedOut);
        }
        Ok(())
    }
}

/// A target's portals as a peer should be told that reached us at `local`.
fn seen_from(target: &Visible, local: std::net::IpAddr) -> Vec<Portal> {
    let portals = target.portals.iter();
    portals.map(|(address, group_tag)| Portal { address: *address, group_tag: *group_tag }.seen_from(local)).collect()
}
