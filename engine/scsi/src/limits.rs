//! Every bound of the crate. What does not fit is refused with sense, never grown into.

/// Bytes the caller must provide for parameter data returned to the initiator (Data-In of INQUIRY, MODE SENSE, ...).
pub const REPLY: usize = 4096;

/// Most Data-Out parameter bytes a command may ask the caller to fetch. A longer list is INVALID FIELD IN CDB.
pub const PARAMETERS: usize = 4096;

/// Longest sense data [`crate::Sense::encode`] writes: header, information and sense-key-specific descriptors.
pub const SENSE: usize = 28;

/// Longest unit serial number, in bytes (VPD page 80h).
pub const SERIAL: usize = 64;

/// Longest iSCSI target name, in bytes (RFC 7143 section 4.2.7.1).
pub const TARGET_NAME: usize = 223;

/// Logical units one session may see. REPORT LUNS reports no more than these.
pub const LUNS: usize = 256;

/// Block descriptors one UNMAP may carry; the list with its header fits [`PARAMETERS`].
pub const UNMAP_DESCRIPTORS: u32 = 255;

/// Bytes of the longest mode page kept (Control Extension).
pub(crate) const MODE_PAGE: usize = 32;

const _: () = assert!(8 + 16 * UNMAP_DESCRIPTORS as usize <= PARAMETERS);
const _: () = assert!(8 + 8 * (LUNS + 1) <= REPLY);
