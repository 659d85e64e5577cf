//! From failures of devices and transports to SCSI status and sense.

use bdev::{Op, Status};
use scsi::{BlockFailure, Outcome, Sense, SenseKey, block_failure};

/// How a command ends whose block operation, beginning at `lba`, ended with `status`.
#[must_use]
pub fn of_device(status: Status, op: Op, lba: u64) -> Outcome {
    let fault = |lba| if op == Op::Read { BlockFailure::MediumError { lba } } else { BlockFailure::WriteFault { lba } };
    block_failure(match status {
        Status::Ok => return Outcome::GOOD,
        Status::OutOfRange => BlockFailure::OutOfRange,
        Status::MediumError { lba } => fault(lba),
        Status::NoSpace => BlockFailure::NoSpace,
        Status::ReadOnly => BlockFailure::ReadOnly,
        Status::Unsupported => BlockFailure::Unsupported,
        Status::Removed => BlockFailure::Removed,
        Status::Aborted => BlockFailure::Aborted,
        Status::Failed(libc::EIO) => fault(lba),
        Status::Failed(libc::EAGAIN | libc::ENOMEM | libc::EBUSY) => BlockFailure::Busy,
        Status::Failed(_) => BlockFailure::Internal,
    })
}

/// PROTOCOL SERVICE CRC ERROR: data of the command arrived with a wrong digest (RFC 7143 §11.4.7.2).
#[must_use]
pub fn digest_error() -> Outcome {
    Outcome::check(Sense::new(SenseKey::AbortedCommand, 0x47, 0x05))
}

/// INCORRECT AMOUNT OF DATA: Data-Out broke the sequence or the bounds of its transfer (RFC 7143 §11.4.7.2).
#[must_use]
pub fn sequence_error() -> Outcome {
    Outcome::check(Sense::new(SenseKey::AbortedCommand, 0x0C, 0x0D))
}
