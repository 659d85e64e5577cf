//! The kinds of block device.

use super::{ModelError, Uuid};
use serde::{Deserialize, Serialize};

/// `bdev_malloc_create`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Malloc {
    /// Chosen (`Malloc0`, …) if absent.
    #[serde(default)]
    pub name: Option<String>,
    /// Length in blocks.
    pub num_blocks: u64,
    /// 512 or 4096.
    pub block_size: u32,
    /// Bytes; a power-of-two multiple of the block size. 0 is the block size.
    #[serde(default)]
    pub physical_block_size: u32,
    /// Chosen if absent.
    #[serde(default)]
    pub uuid: Option<Uuid>,
    /// Blocks; 0 is none.
    #[serde(default)]
    pub optimal_io_boundary: u32,
    /// Bytes of metadata; must be 0.
    #[serde(default, skip_serializing)]
    pub md_size: u32,
    /// Means nothing without metadata.
    #[serde(default, skip_serializing)]
    pub md_interleave: bool,
    /// Protection information; must be 0.
    #[serde(default, skip_serializing)]
    pub dif_type: i32,
    /// Means nothing without metadata.
    #[serde(default, skip_serializing)]
    pub dif_is_head_of_md: bool,
    /// Means nothing without protection information.
    #[serde(default, skip_serializing)]
    pub dif_pi_format: u32,
    /// Ignored: memory belongs to the cores.
    #[serde(default, skip_serializing)]
    pub numa_id: Option<i32>,
}

impl Malloc {
    pub(super) fn check(&self) -> Result<(), ModelError> {
        check_blocks(self.block_size, self.num_blocks)?;
        check_physical(self.physical_block_size, self.block_size)?;
        check_unprotected(self.md_size, self.dif_type)
    }
}

/// `bdev_null_create`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Null {
    /// Unique.
    pub name: String,
    /// Length in blocks.
    pub num_blocks: u64,
    /// 512 or 4096.
    pub block_size: u32,
    /// As in [`Malloc`].
    #[serde(default)]
    pub physical_block_size: u32,
    /// Chosen if absent.
    #[serde(default)]
    pub uuid: Option<Uuid>,
    /// Bytes of metadata; must be 0.
    #[serde(default, skip_serializing)]
    pub md_size: u32,
    /// Protection information; must be 0.
    #[serde(default, skip_serializing)]
    pub dif_type: i32,
    /// Means nothing without metadata.
    #[serde(default, skip_serializing)]
    pub dif_is_head_of_md: bool,
    /// Means nothing without protection information.
    #[serde(default, skip_serializing)]
    pub dif_pi_format: u32,
    /// In blocks; 0 is none. Reported, no more.
    #[serde(default)]
    pub preferred_write_granularity: u32,
    /// See `preferred_write_granularity`, as for the following.
    #[serde(default)]
    pub preferred_write_alignment: u32,
    /// See `preferred_write_granularity`.
    #[serde(default)]
    pub optimal_write_size: u32,
    /// See `preferred_write_granularity`.
    #[serde(default)]
    pub preferred_unmap_granularity: u32,
    /// See `preferred_write_granularity`.
    #[serde(default)]
    pub preferred_unmap_alignment: u32,
}

impl Null {
    pub(super) fn check(&self) -> Result<(), ModelError> {
        check_blocks(self.block_size, self.num_blocks)?;
        check_physical(self.physical_block_size, self.block_size)?;
        check_unprotected(self.md_size, self.dif_type)
    }
}

/// `bdev_uring_create`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Uring {
    /// Unique.
    pub name: String,
    /// File or block device.
    pub filename: String,
    /// 512 or 4096; what the device says if 0.
    #[serde(default)]
    pub block_size: u32,
    /// Chosen if absent.
    #[serde(default)]
    pub uuid: Option<Uuid>,
}

impl Uring {
    pub(super) fn check(&self) -> Result<(), ModelError> {
        check_file(&self.filename, self.block_size)
    }
}

/// `bdev_aio_create`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Aio {
    /// Unique.
    pub name: String,
    /// File or block device.
    pub filename: String,
    /// 512 or 4096; what the device says if 0.
    #[serde(default)]
    pub block_size: u32,
    /// No writes.
    #[serde(default)]
    pub readonly: bool,
    /// Unmap by `fallocate`; always so here.
    #[serde(default)]
    pub fallocate: bool,
    /// Chosen if absent.
    #[serde(default)]
    pub uuid: Option<Uuid>,
    /// No effect: io_uring never blocks the submitter.
    #[serde(default)]
    pub nowait: bool,
}

impl Aio {
    pub(super) fn check(&self) -> Result<(), ModelError> {
        check_file(&self.filename, self.block_size)
    }
}

/// `bdev_delay_create`. Latencies are in microseconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Delay {
    /// Unique.
    pub name: String,
    /// The device underneath.
    pub base_bdev_name: String,
    /// Added to most reads.
    pub avg_read_latency: u64,
    /// Added to one read in a hundred.
    pub p99_read_latency: u64,
    /// Added to most writes.
    pub avg_write_latency: u64,
    /// Added to one write in a hundred.
    pub p99_write_latency: u64,
    /// Chosen if absent.
    #[serde(default)]
    pub uuid: Option<Uuid>,
}

impl Delay {
    pub(super) fn check(&self) -> Result<(), ModelError> {
        for (field, avg, p99) in [
            ("p99_read_latency", self.avg_read_latency, self.p99_read_latency),
            ("p99_write_latency", self.avg_write_latency, self.p99_write_latency),
        ] {
            if p99 < avg {
                let expected = format!("{field}: expected at least the average, {avg}, got {p99}");
                return Err(ModelError::errno(libc::EINVAL, expected));
            }
        }
        Ok(())
    }
}

/// `bdev_error_create`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ErrorLayer {
    /// The device underneath.
    pub base_name: String,
    /// Chosen if absent.
    #[serde(default)]
    pub uuid: Option<Uuid>,
    /// SPDK's choice: `EE_` and the base's name.
    #[serde(skip)]
    pub name: String,
}

fn check_blocks(block_size: u32, num_blocks: u64) -> Result<(), ModelError> {
    check_block_size(block_size)?;
    // A byte address must fit the kernel's signed offsets.
    let most = i64::MAX as u64 / u64::from(block_size);
    if (1..=most).contains(&num_blocks) {
        return Ok(());
    }
    Err(ModelError::errno(libc::EINVAL, format!("num_blocks: expected 1 to {most}, got {num_blocks}")))
}

fn check_block_size(block_size: u32) -> Result<(), ModelError> {
    if matches!(block_size, 512 | 4096) {
        return Ok(());
    }
    Err(ModelError::errno(libc::EINVAL, format!("block_size: expected 512 or 4096, got {block_size}")))
}

fn check_physical(physical: u32, block_size: u32) -> Result<(), ModelError> {
    if physical == 0 || physical.is_power_of_two() && (block_size..=1 << 20).contains(&physical) {
        return Ok(());
    }
    let expected = format!("expected a power of two from {block_size} to 1048576, got {physical}");
    Err(ModelError::errno(libc::EINVAL, format!("physical_block_size: {expected}")))
}

fn check_unprotected(md_size: u32, dif_type: i32) -> Result<(), ModelError> {
    if md_size != 0 {
        return Err(ModelError::invalid("md_size", format!("expected 0 (metadata is not supported), got {md_size}")));
    }
    if dif_type != 0 {
        return Err(ModelError::invalid("dif_type", format!("expected 0 (no protection information), got {dif_type}")));
    }
    Ok(())
}

fn check_file(filename: &str, block_size: u32) -> Result<(), ModelError> {
    if filename.is_empty() || filename.contains('\0') {
        return Err(ModelError::errno(libc::EINVAL, "filename: expected a path"));
    }
    if block_size == 0 { Ok(()) } else { check_block_size(block_size) }
}
