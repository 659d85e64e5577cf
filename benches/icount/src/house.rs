//! One target with one disk that anybody may use, with the daemon's usual parameters.

use iscsi::chap::Secret;
use iscsi::discovery::Which;
use iscsi::login::{AuthPolicy, DiscoveryAccess, Refusal, TargetAccess, Transport};
use iscsi::negotiate::Policy;
use iscsi::wire::LoginStatus;
use target::target::{Directory, Entrance, Settings, Visible};

/// Its name.
pub const TARGET: &str = "iqn.2025-01.isere:icount";
/// Its handle.
pub const HANDLE: u32 = 1;
/// The portal group everything comes in through.
pub const GROUP: i32 = 1;

/// The directory.
#[derive(Debug)]
pub struct House;

fn policy(entrance: &Entrance) -> Policy {
    Policy {
        initial_r2t: entrance.transport == Transport::Iser,
        max_recv_data_segment_length: 256 << 10,
        max_burst: 1 << 20,
        first_burst: 128 << 10,
        max_outstanding_r2t: 4,
        command_window: 64,
        ..Policy::default()
    }
}

impl Directory for House {
    fn target(&self, entrance: &Entrance, _: &str, target: &str) -> Result<TargetAccess, Refusal> {
        if target != TARGET {
            return Err(LoginStatus::NOT_FOUND.into());
        }
        let (auth, policy) = (AuthPolicy::None, policy(entrance));
        Ok(TargetAccess { handle: HANDLE, portal_group_tag: GROUP as u16, alias: None, auth, policy })
    }

    fn discovery(&self, entrance: &Entrance, _: &str) -> Result<DiscoveryAccess, Refusal> {
        let policy = policy(entrance);
        Ok(DiscoveryAccess { auth: AuthPolicy::None, policy, portal_group_tag: Some(GROUP as u16) })
    }

    fn secret(&self, _: u32, _: &str) -> Option<Secret> {
        None
    }

    fn visible(&self, _: &Entrance, _: &str, _: &Which, _: Option<&str>) -> Vec<Visible> {
        Vec::new()
    }

    fn settings(&self) -> Settings {
        Settings { max_sessions: 1024, nop_in_interval: 0, nop_timeout: 0 }
    }
}
