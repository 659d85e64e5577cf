//! The directory of the engine under test.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use iscsi::chap::{Mutual, Secret};
use iscsi::discovery::Which;
use iscsi::login::{AuthPolicy, DiscoveryAccess, Refusal, TargetAccess};
use iscsi::negotiate::Policy;
use iscsi::wire::LoginStatus;
use target::target::{Directory, Entrance, Settings, Visible};

/// The targets; handles are their places here, counted from 1.
pub const ROOMS: [&str; 2] = ["iqn.2025-01.test:room", "iqn.2025-01.test:vault"];

/// The one initiator the vault is for.
pub const ADMIN: &str = "iqn.2025-01.test:admin";

/// Who may do what; change it before the engine starts.
#[derive(Clone, Debug)]
pub struct House {
    pub policy: Policy,
    pub auth: AuthPolicy,
    pub discovery_auth: AuthPolicy,
    pub secret: Option<(String, Secret)>,
    pub settings: Settings,
    pub login_timeout: Duration,
    /// How often each target is announced, under numbered names: for long answers.
    pub copies: usize,
    /// Where the portal is, once it is open.
    pub portal: Arc<Mutex<Option<SocketAddr>>>,
}

impl Default for House {
    fn default() -> Self {
        Self {
            // As the daemon has it.
            policy: Policy {
                initial_r2t: false,
                max_recv_data_segment_length: 256 << 10,
                max_burst: 1 << 20,
                first_burst: 128 << 10,
                max_outstanding_r2t: 4,
                command_window: 64,
                ..Policy::default()
            },
            auth: AuthPolicy::None,
            discovery_auth: AuthPolicy::None,
            secret: None,
            settings: Settings { max_sessions: 64, nop_in_interval: 0, nop_timeout: 0 },
            login_timeout: Duration::from_secs(15),
            copies: 1,
            portal: Arc::default(),
        }
    }
}

impl House {
    /// CHAP with this user, and with a proof of the target's own if `mutual`.
    pub fn lock(&mut self, user: &str, secret: &str, mutual: Option<(&str, &str)>) {
        let mutual = mutual.map(|(user, secret)| Mutual { user: user.into(), secret: secret.into() });
        self.secret = Some((user.into(), Secret { secret: secret.into(), mutual }));
    }
}

impl Directory for House {
    fn target(&self, _: &Entrance, initiator: &str, target: &str) -> Result<TargetAccess, Refusal> {
        let handle = ROOMS.iter().position(|name| *name == target).ok_or(LoginStatus::NOT_FOUND)?;
        if handle == 1 && initiator != ADMIN {
            return Err(LoginStatus::AUTHORIZATION_FAILURE.into());
        }
        let (auth, policy) = (self.auth, self.policy);
        Ok(TargetAccess { handle: handle as u32 + 1, portal_group_tag: 1, alias: None, auth, policy })
    }

    fn discovery(&self, _: &Entrance, _: &str) -> Result<DiscoveryAccess, Refusal> {
        Ok(DiscoveryAccess { auth: self.discovery_auth, policy: self.policy, portal_group_tag: Some(1) })
    }

    fn secret(&self, _: u32, user: &str) -> Option<Secret> {
        self.secret.as_ref().filter(|(known, _)| known == user).map(|(_, secret)| secret.clone())
    }

    fn visible(&self, _: &Entrance, initiator: &str, which: &Which, own: Option<&str>) -> Vec<Visible> {
        let portal = self.portal.lock().unwrap().expect("nobody can ask before the portal is open");
        let shown = |name: &&str| {
            let named = match which {
                Which::All => own.is_none() || own == Some(*name),
                Which::Named(wanted) => wanted.as_str() == *name && own.is_none_or(|own| own == *name),
                Which::Own => own == Some(*name),
            };
            named && (**name != *ROOMS[1] || initiator == ADMIN)
        };
        let copies = |name: &'static str| {
            (0..self.copies).map(move |n| if n == 0 { name.to_owned() } else { format!("{name}.{n:04}") })
        };
        let names = ROOMS.into_iter().filter(|name| shown(name)).flat_map(copies);
        names.map(|name| Visible { name, portals: vec![(portal, 1)] }).collect()
    }

    fn settings(&self) -> Settings {
        self.settings
    }

    fn login_timeout(&self) -> Duration {
        self.login_timeout
    }
}
