//! Codes of the libraries in the seam's words.

use crate::sys::Kind;
use rdma::{Ended, RejectReason, Status, Transport};
use rdma_sys::ibv_wc_status as wc;

/// The status of a completion.
pub const fn status(code: u32) -> Status {
    match code {
        wc::IBV_WC_SUCCESS => Status::Success,
        wc::IBV_WC_LOC_LEN_ERR => Status::LocalLength,
        wc::IBV_WC_LOC_QP_OP_ERR => Status::LocalOperation,
        wc::IBV_WC_LOC_PROT_ERR => Status::LocalProtection,
        wc::IBV_WC_WR_FLUSH_ERR => Status::Flushed,
        wc::IBV_WC_MW_BIND_ERR => Status::Window,
        wc::IBV_WC_BAD_RESP_ERR => Status::BadResponse,
        wc::IBV_WC_LOC_ACCESS_ERR => Status::LocalAccess,
        wc::IBV_WC_REM_INV_REQ_ERR | wc::IBV_WC_REM_INV_RD_REQ_ERR => Status::RemoteInvalidRequest,
        wc::IBV_WC_REM_ACCESS_ERR => Status::RemoteAccess,
        wc::IBV_WC_REM_OP_ERR | wc::IBV_WC_REM_ABORT_ERR => Status::RemoteOperation,
        wc::IBV_WC_RETRY_EXC_ERR | wc::IBV_WC_RESP_TIMEOUT_ERR => Status::RetryExceeded,
        wc::IBV_WC_RNR_RETRY_EXC_ERR => Status::RnrRetryExceeded,
        other => Status::Fatal(other),
    }
}

/// How a connection ends when a request of it completes with this status. On iWARP the peer says what it refuses in a
/// Terminate message.
pub const fn failure(transport: Transport, status: Status) -> Ended {
    match (transport, status) {
        (Transport::Iwarp, Status::RemoteAccess | Status::RemoteInvalidRequest | Status::RemoteOperation) => {
            Ended::Terminated
        }
        _ => Ended::Failed(status),
    }
}

/// InfiniBand's reasons for a rejection (IBTA 12.6.7.2) that mean something here.
mod reason {
    pub const INVALID_SERVICE_ID: i32 = 8;
    pub const CONSUMER_DEFINED: i32 = 28;
    /// What [`CmId::reject_unseen`](crate::sys::CmId::reject_unseen) gives.
    pub const VENDOR_OPTION: i32 = 35;
    pub const NO_QP: i32 = 1;
    pub const NO_EEC: i32 = 2;
    pub const NO_RESOURCES: i32 = 3;
    pub const TIMEOUT: i32 = 4;
}

/// Why a connection did not come about, from the connection manager's event. `said` tells whether the peer said
/// anything in its private data.
pub const fn rejection(transport: Transport, kind: Kind, status: i32, said: bool) -> RejectReason {
    match (kind, transport) {
        (Kind::Rejected, Transport::Iwarp) => match status.saturating_abs() {
            // Some adapters report a refused TCP connection so, and some a rejection.
            libc::ECONNREFUSED if !said => RejectReason::NoListener,
            _ => RejectReason::Consumer,
        },
        (Kind::Rejected, Transport::InfiniBand) => match status {
            reason::CONSUMER_DEFINED => RejectReason::Consumer,
            reason::INVALID_SERVICE_ID
            | reason::VENDOR_OPTION
            | reason::NO_QP
            | reason::NO_EEC
            | reason::NO_RESOURCES => RejectReason::NoListener,
            reason::TIMEOUT => RejectReason::Unreachable,
            _ => RejectReason::Incompatible,
        },
        _ => refusal(status.saturating_abs()),
    }
}

/// Why a connection did not come about, from an error number.
pub const fn refusal(errno: i32) -> RejectReason {
    match errno {
        libc::ECONNREFUSED => RejectReason::NoListener,
        libc::EPROTO | libc::EINVAL | libc::EOPNOTSUPP | libc::EPROTONOSUPPORT => RejectReason::Incompatible,
        _ => RejectReason::Unreachable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_has_a_meaning_and_unknown_ones_keep_their_code() {
        let known: Vec<Status> = (0..64).map(status).collect();
        assert_eq!((known[0], known[5], known[10]), (Status::Success, Status::Flushed, Status::RemoteAccess));
        assert_eq!(known.iter().filter(|s| s.is_ok()).count(), 1);
        for code in [14, 17, 18, 19, 21, 22, 23, 24, 63, u32::MAX] {
            assert_eq!(status(code), Status::Fatal(code));
        }
    }

    #[test]
    fn who_refuses_is_told_apart() {
        use RejectReason::{Consumer, Incompatible, NoListener, Unreachable};
        let iwarp = |kind, status, said| rejection(Transport::Iwarp, kind, status, said);
        let ib = |kind, status| rejection(Transport::InfiniBand, kind, status, false);
        assert_eq!(iwarp(Kind::Rejected, -libc::ECONNRESET, false), Consumer);
        assert_eq!(iwarp(Kind::Rejected, -libc::ECONNREFUSED, true), Consumer);
        assert_eq!(iwarp(Kind::Rejected, -libc::ECONNREFUSED, false), NoListener);
        assert_eq!(
            (ib(Kind::Rejected, 28), ib(Kind::Rejected, 8), ib(Kind::Rejected, 35)),
            (Consumer, NoListener, NoListener)
        );
        assert_eq!((ib(Kind::Rejected, 4), ib(Kind::Rejected, 12)), (Unreachable, Incompatible));
        assert_eq!(
            (ib(Kind::Unreachable, -libc::ETIMEDOUT), ib(Kind::Failed, -libc::EPROTO)),
            (Unreachable, Incompatible)
        );
        assert_eq!(iwarp(Kind::Failed, i32::MIN, false), Unreachable);
    }

    #[test]
    fn a_refusal_over_iwarp_is_a_terminate() {
        assert_eq!(failure(Transport::Iwarp, Status::RemoteAccess), Ended::Terminated);
        assert_eq!(failure(Transport::Iwarp, Status::LocalLength), Ended::Failed(Status::LocalLength));
        let ended = failure(Transport::InfiniBand, Status::RemoteAccess);
        assert_eq!(ended, Ended::Failed(Status::RemoteAccess));
    }
}
