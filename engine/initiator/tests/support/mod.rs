mod tgtd;

pub use tgtd::{DISK_BYTES, TARGET, Tgtd};
