//! A registered device, as its users see it: its channels count and keep to its limits.

use std::sync::Arc;

use reactors::Core;

use super::Lifeline;
use crate::channel::Channel;
use crate::device::{Bdev, Features, Geometry, OpenError};
use crate::stats::Counted;

#[derive(Debug)]
pub(super) struct Underlay {
    device: Arc<dyn Bdev>,
    lifeline: Arc<Lifeline>,
}

impl Underlay {
    pub fn new(device: Arc<dyn Bdev>, lifeline: Arc<Lifeline>) -> Self {
        Self { device, lifeline }
    }
}

impl Bdev for Underlay {
    fn name(&self) -> &str {
        self.device.name()
    }

    fn product(&self) -> &'static str {
        self.device.product()
    }

    fn uuid(&self) -> [u8; 16] {
        self.device.uuid()
    }

    fn geometry(&self) -> Geometry {
        self.device.geometry()
    }

    fn features(&self) -> Features {
        self.device.features()
    }

    fn open(&self, core: &mut Core) -> Result<Box<dyn Channel>, OpenError> {
        if self.lifeline.is_removed() {
            return Err(OpenError::Removed { name: self.name().to_owned() });
        }
        let channel = self.device.open(core)?;
        let clock = core.spawner().clone();
        let block_size = self.device.geometry().block_size;
        Ok(Box::new(Counted::new(channel, clock, block_size, self.lifeline.clone())))
    }
}
