//! The login phase as the target sees it (RFC 7143 §6.3, §11.12, §11.13).
//!
//! [`Login`] consumes Login Requests and yields [`Step`]s. Each stage of the phase has its own state: nothing is known
//! yet, the security stage, the operational stage (which only an [`Authenticated`] reaches), and the pause in which
//! the caller finds or makes the session.
use crate::chap::{Algorithm, Secret};
use crate::names::IscsiName;
use crate::negotiate::{Parameters, Policy};
use crate::wire::{Bhs, LoginStatus};
use alloc::string::String;
use alloc::vec::Vec;
use primitives::Serial;

mod fault;
mod header;
mod identify;
mod machine;
mod security;

#[cfg(test)]
mod tests;

pub use crate::negotiate::Transport;
pub use machine::Login;

/// Proof that the initiator may enter full-feature phase: it authenticated itself, or policy asks for nothing. Only
/// this module makes one.
#[derive(Debug)]
pub struct Authenticated(());

#[cfg(test)]
impl Authenticated {
    /// A proof of nothing, for tests of what comes after login.
    pub(crate) const fn for_tests() -> Self {
        Self(())
    }
}

/// What the configuration allows, as seen from one portal and one peer address: published and immutable. Names are
/// in normal form ([`IscsiName`]).
pub trait Access {
    /// May this initiator use this target?
    ///
    /// # Errors
    /// [`Refusal`]: not found, not authorised, removed, moved, …
    fn target(&self, initiator: &str, target: &str) -> Result<TargetAccess, Refusal>;

    /// May this initiator ask for targets here?
    ///
    /// # Errors
    /// [`Refusal`].
    fn discovery(&self, initiator: &str) -> Result<DiscoveryAccess, Refusal>;

    /// The secret of a CHAP user of a group.
    fn secret(&self, group: u32, user: &str) -> Option<Secret>;
}

/// A target that may be used.
#[derive(Clone, Debug)]
pub struct TargetAccess {
    /// The caller's name for the target; comes back in [`SessionKind::Normal`].
    pub handle: u32,
    pub portal_group_tag: u16,
    pub alias: Option<String>,
    pub auth: AuthPolicy,
    pub policy: Policy,
}

/// Discovery that may be used.
#[derive(Clone, Debug)]
pub struct DiscoveryAccess {
    pub auth: AuthPolicy,
    pub policy: Policy,
    /// Sent when known (RFC 7143 §6.3.1; §13.9 asks for it in normal sessions only).
    pub portal_group_tag: Option<u16>,
}

/// Whether an initiator has to authenticate itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AuthPolicy {
    /// AuthMethod=None only.
    None,
    /// As the initiator prefers.
    Optional(ChapPolicy),
    /// AuthMethod=CHAP only.
    Required(ChapPolicy),
}

impl AuthPolicy {
    #[must_use]
    pub const fn is_required(self) -> bool {
        matches!(self, Self::Required(_))
    }
}

/// How CHAP is done.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ChapPolicy {
    /// The group whose users are admitted.
    pub group: u32,
    /// The initiator must ask for the target's proof too.
    pub mutual_required: bool,
    /// The weakest algorithm that is accepted.
    pub weakest: Algorithm,
}

/// Why access is not given.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    pub status: LoginStatus,
    /// TargetAddress of a redirection: `host[:port][,portal-group-tag]`.
    pub address: Option<String>,
}

impl Refusal {
    /// The target has moved to `address`.
    #[must_use]
    pub const fn moved(permanently: bool, address: String) -> Self {
        let status = if permanently { LoginStatus::MOVED_PERMANENTLY } else { LoginStatus::MOVED_TEMPORARILY };
        Self { status, address: Some(address) }
    }
}

impl From<LoginStatus> for Refusal {
    fn from(status: LoginStatus) -> Self {
        Self { status, address: None }
    }
}

/// What the session is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SessionKind {
    Normal {
        /// [`TargetAccess::handle`].
        target: u32,
    },
    Discovery,
}

/// A Login Response, ready to be sent.
#[derive(Clone, Debug)]
pub struct Response {
    /// Its DataSegmentLength is that of `text`.
    pub bhs: Bhs,
    pub text: Vec<u8>,
}

impl Response {
    /// Status-Class and Status-Detail.
    #[must_use]
    pub fn status(&self) -> LoginStatus {
        crate::wire::LoginResponse::decode(&self.bhs).status()
    }
}

/// What happens next.
#[derive(Debug)]
pub enum Step {
    /// Send it and stay in login.
    Reply(Response),
    /// Find or make the session, then call [`Login::registered`].
    Register(Registration),
    /// Send it; full-feature phase begins.
    Established(Response, Established),
    /// Send it, then close. The text says why, for the log.
    Refuse(Response, &'static str),
    /// Close without an answer. The text says why, for the log.
    Close(&'static str),
}

/// A session the initiator has a right to (RFC 7143 §6.3.1 tells which).
#[derive(Debug)]
pub struct Registration {
    pub initiator_name: IscsiName,
    pub isid: [u8; 6],
    /// 0 for a new session (or one to reinstate); else the session to join.
    pub tsih: u16,
    pub cid: u16,
    pub session: SessionKind,
    pub parameters: Parameters,
    /// ExpCmdSN of a new session.
    pub exp_cmd_sn: Serial,
    pub authenticated: Authenticated,
}

/// The session that [`Step::Register`] asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Registered {
    /// Its handle; never 0.
    pub tsih: u16,
}

/// A login that succeeded.
#[derive(Debug)]
pub struct Established {
    pub initiator_name: IscsiName,
    pub isid: [u8; 6],
    pub tsih: u16,
    pub cid: u16,
    pub session: SessionKind,
    pub parameters: Parameters,
    /// The CmdSN the first ordered command will carry.
    pub exp_cmd_sn: Serial,
    /// The StatSN of the next response.
    pub stat_sn: Serial,
    /// The CmdSN window that was announced.
    pub command_window: u16,
    pub authenticated: Authenticated,
}
