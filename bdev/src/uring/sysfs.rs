//! What the kernel tells about a block device's request queue.

use std::path::PathBuf;

/// The `queue` directory of a block device.
#[derive(Debug)]
pub(super) struct Queue {
    dir: PathBuf,
}

impl Queue {
    /// The queue of device number `rdev`; a partition has its disk's.
    pub fn of(rdev: u64) -> Self {
        let device = PathBuf::from(format!("/sys/dev/block/{}:{}", libc::major(rdev), libc::minor(rdev)));
        let own = device.join("queue");
        Self { dir: if own.is_dir() { own } else { device.join("../queue") } }
    }

    /// A numeric attribute; 0 when the kernel does not know it.
    pub fn number(&self, attribute: &str) -> u64 {
        let text = std::fs::read_to_string(self.dir.join(attribute)).unwrap_or_default();
        text.trim().parse().unwrap_or(0)
    }
}
