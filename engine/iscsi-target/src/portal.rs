//! What a portal is to serve, and how that is done with what the machine has.

use std::net::SocketAddr;

/// What a portal speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Speaks {
    /// Whatever its listeners can: iSCSI, and iSER by every provider that serves its address.
    #[default]
    Auto,
    /// iSCSI over TCP only (RFC 7143).
    Tcp,
    /// iSER only (RFC 7145).
    Iser,
}

/// What carries a portal's iSER connections.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Carrier {
    /// The RDMA device that has the portal's address, or soft-iWARP.
    #[default]
    Auto,
    /// The RDMA device that has the portal's address.
    Verbs,
    /// Soft-iWARP: over TCP, without a device.
    Siw,
}

/// A portal to be opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PortalSpec {
    /// Where to listen.
    pub address: SocketAddr,
    /// What it speaks.
    pub speaks: Speaks,
    /// What carries iSER.
    pub carrier: Carrier,
}

impl PortalSpec {
    /// A portal that serves whatever can be served at `address`.
    #[must_use]
    pub const fn auto(address: SocketAddr) -> Self {
        Self { address, speaks: Speaks::Auto, carrier: Carrier::Auto }
    }
}

/// What is served on an accepted TCP connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Serves {
    /// iSCSI.
    pub iscsi: bool,
    /// MPA, and with it iSER over soft-iWARP.
    pub mpa: bool,
}

/// An RDMA device at a portal's address, as far as listening goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Hardware {
    /// InfiniBand or RoCE: its listeners and those of TCP do not know of each other.
    InfiniBand,
    /// iWARP: a listener takes the TCP port.
    Iwarp,
}

/// How much something is wanted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Want {
    /// Without it the portal is not opened.
    Must,
    /// If it can be had.
    May,
}

/// The listeners of a portal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Plan {
    /// An RDMA CM listener; opened first.
    pub verbs: Option<Want>,
    /// A TCP listener.
    pub tcp: Option<(Want, Serves)>,
}

impl Plan {
    /// The listeners for `spec`, where `hardware` has its address.
    #[must_use]
    pub const fn new(spec: &PortalSpec, hardware: Option<Hardware>) -> Self {
        const ISCSI: Serves = Serves { iscsi: true, mpa: false };
        const MPA: Serves = Serves { iscsi: false, mpa: true };
        const BOTH: Serves = Serves { iscsi: true, mpa: true };
        match (spec.speaks, spec.carrier, hardware) {
            (Speaks::Tcp, ..) => Self { verbs: None, tcp: Some((Want::Must, ISCSI)) },
            (Speaks::Iser, Carrier::Siw, _) | (Speaks::Iser, Carrier::Auto, None) => {
                Self { verbs: None, tcp: Some((Want::Must, MPA)) }
            }
            (Speaks::Iser, ..) => Self { verbs: Some(Want::Must), tcp: None },
            (Speaks::Auto, Carrier::Siw, _) | (Speaks::Auto, Carrier::Auto, None) => {
                Self { verbs: None, tcp: Some((Want::Must, BOTH)) }
            }
            (Speaks::Auto, Carrier::Verbs, _) => Self { verbs: Some(Want::Must), tcp: Some((Want::May, ISCSI)) },
            (Speaks::Auto, Carrier::Auto, Some(Hardware::InfiniBand)) => {
                Self { verbs: Some(Want::May), tcp: Some((Want::Must, BOTH)) }
            }
            // The device's listener has the port; initiators over TCP need a portal of their own.
            (Speaks::Auto, Carrier::Auto, Some(Hardware::Iwarp)) => Self { verbs: Some(Want::Must), tcp: None },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(speaks: Speaks, carrier: Carrier, hardware: Option<Hardware>) -> Plan {
        let address = SocketAddr::from(([127, 0, 0, 1], 3260));
        Plan::new(&PortalSpec { address, speaks, carrier }, hardware)
    }

    #[test]
    fn without_a_device_one_listener_serves_both() {
        let both = Plan { verbs: None, tcp: Some((Want::Must, Serves { iscsi: true, mpa: true })) };
        assert_eq!(plan(Speaks::Auto, Carrier::Auto, None), both);
        assert_eq!(plan(Speaks::Auto, Carrier::Siw, Some(Hardware::Iwarp)), both);
    }

    #[test]
    fn what_is_asked_for_is_had_or_refused() {
        for hardware in [None, Some(Hardware::InfiniBand), Some(Hardware::Iwarp)] {
            let verbs = plan(Speaks::Iser, Carrier::Verbs, hardware);
            assert_eq!(verbs, Plan { verbs: Some(Want::Must), tcp: None });
            assert_eq!(plan(Speaks::Auto, Carrier::Verbs, hardware).verbs, Some(Want::Must));
            let tcp = plan(Speaks::Tcp, Carrier::Verbs, hardware);
            assert_eq!(tcp, Plan { verbs: None, tcp: Some((Want::Must, Serves { iscsi: true, mpa: false })) });
            let siw = plan(Speaks::Iser, Carrier::Siw, hardware);
            assert_eq!(siw, Plan { verbs: None, tcp: Some((Want::Must, Serves { iscsi: false, mpa: true })) });
        }
    }

    #[test]
    fn a_device_is_used_where_there_is_one() {
        assert_eq!(plan(Speaks::Iser, Carrier::Auto, Some(Hardware::Iwarp)).verbs, Some(Want::Must));
        let roce = plan(Speaks::Auto, Carrier::Auto, Some(Hardware::InfiniBand));
        assert!(matches!(roce, Plan { verbs: Some(Want::May), tcp: Some((Want::Must, _)) }));
        let iwarp = plan(Speaks::Auto, Carrier::Auto, Some(Hardware::Iwarp));
        assert_eq!(iwarp, Plan { verbs: Some(Want::Must), tcp: None });
    }
}
