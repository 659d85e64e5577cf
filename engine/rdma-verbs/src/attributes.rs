//! What a device can do, in the seam's words.

use crate::limits::{QUEUE_DEPTH, READ_DEPTH, WINDOWS};
use crate::sys::{Facts, Rights};
use rdma::attributes::PrivateRoom;
use rdma::limits::MAX_SGE;
use rdma::{Attributes, ReadDepth, Transport};
use rdma_sys::{ibv_device_cap_flags as capability, ibv_wc_flags as flag};

/// Private data over iWARP. The connection manager's structures have 256 bytes, of which the enhanced set-up takes
/// four; siw delivers 248 of the rest, and not all.
const IWARP_PRIVATE: u16 = 248;

/// How windows are made on a device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WindowKind {
    /// As type 2 memory windows, by requests in the send queue.
    Bound,
    /// As registrations, in a protection domain of the queue pair's own.
    Registered,
}

/// What rxe calls its vendor.
const RXE: u32 = 0xFF_FFFF;

/// What siw calls its vendor.
const SIW: u32 = 0x62_6D74;

impl Facts {
    /// Which flags of a completion say that the peer invalidated a key. rxe gives programs the kernel's number for that
    /// (IB_WC_WITH_INVALIDATE), which is that of another flag here, one without a meaning for reliable connections.
    pub fn invalidated_flags(&self) -> u32 {
        let kernels = if self.vendor == RXE { flag::IBV_WC_IP_CSUM_OK.0 } else { 0 };
        flag::IBV_WC_WITH_INV.0 | kernels
    }

    /// Whether it is the kernel's soft-iWARP.
    pub const fn is_siw(&self) -> bool {
        self.vendor == SIW
    }

    fn has(&self, wanted: capability) -> bool {
        self.capabilities & wanted.0 != 0
    }

    /// How windows are made.
    pub fn windows(&self) -> WindowKind {
        let typed =
            self.has(capability::IBV_DEVICE_MEM_WINDOW_TYPE_2A) || self.has(capability::IBV_DEVICE_MEM_WINDOW_TYPE_2B);
        // A window is closed by requests that are part of the memory management extensions.
        if typed && self.max_mw > 0 && self.has(capability::IBV_DEVICE_MEM_MGT_EXTENSIONS) {
            WindowKind::Bound
        } else {
            WindowKind::Registered
        }
    }

    /// What memory is registered for.
    pub fn rights(&self) -> Rights {
        Rights::Local { sinks: self.transport == Transport::Iwarp, windows: self.windows() == WindowKind::Bound }
    }

    /// The attributes of the seam; `max_inline` is what the device grants to a queue pair.
    pub fn attributes(&self, max_inline: u32) -> Attributes {
        let iwarp = self.transport == Transport::Iwarp;
        let bounded = |n: i32, limit: u16| u16::try_from(n.max(0)).unwrap_or(limit).min(limit);
        let room = PrivateRoom { connect: IWARP_PRIVATE, accept: IWARP_PRIVATE, reject: IWARP_PRIVATE };
        // A registration that InfiniBand's users make cannot be invalidated from afar; iWARP's can.
        let windows = self.windows() == WindowKind::Bound;
        Attributes {
            transport: self.transport,
            max_depth: ReadDepth {
                ird: bounded(self.max_qp_rd_atom, READ_DEPTH),
                ord: bounded(self.max_qp_init_rd_atom, READ_DEPTH),
            },
            max_send: bounded(self.max_qp_wr, QUEUE_DEPTH),
            max_receive: bounded(self.max_qp_wr, QUEUE_DEPTH),
            max_sge: bounded(self.max_sge, MAX_SGE as u16) as u8,
            max_inline,
            shared_receive: self.max_srq > 0 && self.max_srq_wr > 0,
            read_sink_exposed: iwarp,
            send_invalidate: self.has(capability::IBV_DEVICE_MEM_MGT_EXTENSIONS) && (windows || iwarp),
            max_windows: if windows { bounded(self.max_mw, WINDOWS) } else { WINDOWS },
            private_data: if iwarp { room } else { PrivateRoom::INFINIBAND },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(transport: Transport, capabilities: capability) -> Facts {
        Facts {
            name: String::from("test0"),
            transport,
            max_qp_wr: 32_768,
            max_sge: 30,
            max_cqe: 1 << 22,
            max_mw: 1 << 24,
            max_srq: 1 << 20,
            max_srq_wr: 32_767,
            max_qp_rd_atom: 16,
            max_qp_init_rd_atom: 300,
            capabilities: capabilities.0,
            vendor: 0x15B3,
        }
    }

    #[test]
    fn an_adapter_is_cut_to_the_seams_bounds() {
        let caps = capability::IBV_DEVICE_MEM_MGT_EXTENSIONS | capability::IBV_DEVICE_MEM_WINDOW_TYPE_2B;
        let facts = facts(Transport::InfiniBand, caps);
        let attributes = facts.attributes(64);
        assert_eq!(facts.windows(), WindowKind::Bound);
        assert_eq!(attributes.max_depth, ReadDepth { ird: 16, ord: 255 });
        assert_eq!((attributes.max_send, attributes.max_sge, attributes.max_inline), (QUEUE_DEPTH, 2, 64));
        assert!(attributes.shared_receive && attributes.send_invalidate && !attributes.read_sink_exposed);
        assert_eq!(attributes.private_data, PrivateRoom::INFINIBAND);
    }

    #[test]
    fn rxe_speaks_the_kernels_language() {
        let facts = facts(Transport::InfiniBand, capability::IBV_DEVICE_MEM_WINDOW);
        assert_eq!((facts.invalidated_flags(), Facts { vendor: RXE, ..facts }.invalidated_flags()), (8, 8 | 4));
    }

    #[test]
    fn iwarp_without_windows_registers_them_and_exposes_sinks() {
        let facts =
            Facts { max_srq: 0, max_mw: 0, ..facts(Transport::Iwarp, capability::IBV_DEVICE_MEM_MGT_EXTENSIONS) };
        let attributes = facts.attributes(0);
        assert_eq!(facts.windows(), WindowKind::Registered);
        assert!(attributes.read_sink_exposed && attributes.send_invalidate && !attributes.shared_receive);
        assert_eq!((attributes.max_windows, attributes.private_data.connect), (WINDOWS, 248));
    }

    #[test]
    fn nothing_is_promised_that_the_device_lacks() {
        let mut facts = facts(Transport::InfiniBand, capability::IBV_DEVICE_MEM_WINDOW_TYPE_2B);
        assert_eq!(facts.windows(), WindowKind::Registered, "it could not close what it binds");
        assert!(!facts.attributes(0).send_invalidate);
        (facts.max_qp_wr, facts.max_qp_rd_atom) = (-1, 0);
        assert_eq!((facts.attributes(0).max_send, facts.attributes(0).max_depth.ird), (0, 0));
    }
}
