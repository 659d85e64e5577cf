//! Driving the whole target on one thread: initiators that are none of the engine's code, and the parts of a target.
//!
//! `icount` counts instructions with it, `scale` looks at many cores.

pub mod counted;
pub mod house;
pub mod iser;
pub mod parts;
pub mod pdu;
pub mod tcp;

use std::net::SocketAddr;

use rdma::loopback::World;

/// A target whose turns somebody else takes.
pub trait Stage {
    /// Where RDMA happens.
    fn world(&self) -> &World;

    /// The TCP portal, if there is one.
    fn portal(&self) -> Option<SocketAddr>;

    /// So many turns of every core, with nobody else's between them.
    fn turns(&mut self, turns: u32);

    /// One turn of every core.
    fn turn(&mut self) {
        self.turns(1);
    }
}

/// Something that keeps a target busy.
pub trait Load {
    /// Begins what can be begun, has the target turn once, and says what ended.
    fn round(&mut self, rig: &mut dyn Stage) -> Ended;
}

/// Commands that ended.
#[derive(Clone, Copy, Default, Debug)]
pub struct Ended {
    /// In any way.
    pub commands: u64,
    /// Not with good status.
    pub failed: u64,
}

impl Ended {
    /// A command ended with this status.
    pub fn note(&mut self, status: u8) {
        self.commands += 1;
        self.failed += u64::from(status != 0);
    }
}
