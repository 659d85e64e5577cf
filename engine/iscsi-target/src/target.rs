//! Targets, and the directory that says who may use them.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use iscsi::chap::Secret;
use iscsi::discovery::Which;
use iscsi::login::{Access, DiscoveryAccess, Refusal, TargetAccess, Transport};

use crate::limits::LOGIN_SECONDS;
use crate::unit::Unit;

/// A target's logical units, as all cores see them.
#[derive(Debug)]
pub struct Target {
    /// Stable while the target exists; what [`TargetAccess::handle`] says.
    pub handle: u32,
    /// Full iSCSI name.
    pub name: String,
    /// Logical units by number.
    pub luns: Vec<(u16, Arc<Unit>)>,
}

/// Where a connection came in, and from where.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entrance {
    /// Tag of the portal group.
    pub portal_group: i32,
    /// Our address.
    pub local: SocketAddr,
    /// The initiator's address.
    pub peer: SocketAddr,
    /// What carries the connection.
    pub transport: Transport,
    /// The initiator may be a libiscsi that needs care (see `conn/quirks.rs`).
    pub old_libiscsi: bool,
}

/// A target that SendTargets shows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Visible {
    /// Full iSCSI name.
    pub name: String,
    /// Its portals with their portal group tags.
    pub portals: Vec<(SocketAddr, u16)>,
}

/// Times and limits of sessions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Settings {
    /// Sessions in the process.
    pub max_sessions: usize,
    /// Seconds without a sign of life after which an initiator is pinged; 0 never.
    pub nop_in_interval: u64,
    /// Seconds after which an unanswered ping ends the connection.
    pub nop_timeout: u64,
}

/// The configuration's say in logins and discovery: published, immutable, replaced as a whole.
pub trait Directory: Send + Sync + fmt::Debug {
    /// May this initiator use this target?
    ///
    /// # Errors
    /// The login status that refuses it.
    fn target(&self, entrance: &Entrance, initiator: &str, target: &str) -> Result<TargetAccess, Refusal>;

    /// May this initiator ask for targets?
    ///
    /// # Errors
    /// The login status that refuses it.
    fn discovery(&self, entrance: &Entrance, initiator: &str) -> Result<DiscoveryAccess, Refusal>;

    /// The secret of a CHAP user.
    fn secret(&self, group: u32, user: &str) -> Option<Secret>;

    /// The targets SendTargets shows this initiator. `own` is the target of a normal session.
    fn visible(&self, entrance: &Entrance, initiator: &str, which: &Which, own: Option<&str>) -> Vec<Visible>;

    /// Times and limits.
    fn settings(&self) -> Settings;

    /// A login that has not reached full-feature phase after this long is cut off.
    fn login_timeout(&self) -> Duration {
        Duration::from_secs(LOGIN_SECONDS)
    }
}

/// What is in force.
#[derive(Clone, Debug)]
pub struct Published {
    /// Counts publications.
    pub generation: u64,
    /// Who may do what.
    pub directory: Arc<dyn Directory>,
    /// All targets.
    pub targets: Vec<Arc<Target>>,
}

impl Published {
    /// The target of a handle.
    #[must_use]
    pub fn target(&self, handle: u32) -> Option<&Arc<Target>> {
        self.targets.iter().find(|t| t.handle == handle)
    }
}

/// The directory as one connection sees it.
#[derive(Debug)]
pub(crate) struct At<'a> {
    pub directory: &'a dyn Directory,
    pub entrance: &'a Entrance,
}

impl Access for At<'_> {
    fn target(&self, initiator: &str, target: &str) -> Result<TargetAccess, Refusal> {
        let mut access = self.directory.target(self.entrance, initiator, target)?;
        access.policy.immediate_data &= !self.entrance.old_libiscsi;
        Ok(access)
    }

    fn discovery(&self, initiator: &str) -> Result<DiscoveryAccess, Refusal> {
        self.directory.discovery(self.entrance, initiator)
    }

    fn secret(&self, group: u32, user: &str) -> Option<Secret> {
        self.directory.secret(group, user)
    }
}
