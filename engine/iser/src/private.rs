//! Linux's private data in connection requests and answers: four bytes, of which the first is flags. RFC 7145 knows
//! nothing of it, and a peer that knows nothing of it sends none, or zeros.

use rdma::{Attributes, PrivateData};

/// Bytes of it.
pub const LEN: usize = 4;

/// Base offsets are virtual addresses: zero-based ones are not used. Who speaks this format always sets it.
const NO_ZERO_BASED: u8 = 0x80;
/// Send with Invalidate is not supported, or will not be used.
const NO_INVALIDATE: u8 = 0x40;

/// What a connection request and our device come to.
#[derive(Clone, Copy, Debug)]
pub struct Agreement {
    /// To be sent with the acceptance.
    pub reply: PrivateData,
    /// We may Send with Invalidate: [`Setup::peer_invalidates`](crate::Setup::peer_invalidates).
    pub invalidates: bool,
}

/// Answers the private data of a request, whatever it is. Only a peer that says it can gets its STags invalidated.
#[must_use]
pub fn answer(request: &[u8], attributes: &Attributes) -> Agreement {
    let invalidates = attributes.send_invalidate && invites_invalidation(request);
    Agreement { reply: flags(invalidates), invalidates }
}

/// The private data of a request, or of an answer: `invalidates` says that this side can take, or will send, Sends
/// with Invalidate.
#[must_use]
pub fn flags(invalidates: bool) -> PrivateData {
    let flags = NO_ZERO_BASED | if invalidates { 0 } else { NO_INVALIDATE };
    PrivateData::new(&[flags, 0, 0, 0]).unwrap_or_default()
}

/// Whether a peer's private data says that it takes, or will send, Sends with Invalidate. Of bytes that are not this
/// format, or that only look like it because a transport pads with zeros, it does not.
#[must_use]
pub fn invites_invalidation(private: &[u8]) -> bool {
    matches!(private, [flags, _, _, _, ..] if flags & (NO_ZERO_BASED | NO_INVALIDATE) == NO_ZERO_BASED)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rdma::loopback::NodeConfig;

    fn device(send_invalidate: bool) -> Attributes {
        let addr = core::net::IpAddr::V4(core::net::Ipv4Addr::LOCALHOST);
        Attributes { send_invalidate, ..NodeConfig::infiniband(addr).attributes }
    }

    #[test]
    fn k5_private_data_of_any_kind_is_answered() {
        let long = [&[0x80u8, 0, 0, 0][..], &[0xFF; 504]].concat();
        let zeros = [0u8; 56];
        let requests: [(&[u8], bool); 10] = [
            (&[0x80, 0, 0, 0], true),
            (&[0xC0, 0, 0, 0], false),
            (&[0x40, 0, 0, 0], false),
            (&[0x00, 0, 0, 0], false),
            (&[0xBF, 9, 9, 9], true),
            (&[], false),
            (&[0x80], false),
            (&[0x80, 0, 0], false),
            (&long, true),
            (&zeros, false),
        ];
        for (request, able) in requests {
            let agreement = answer(request, &device(true));
            assert_eq!(agreement.invalidates, able, "{request:02x?}");
            assert_eq!(agreement.reply.as_slice(), [if able { 0x80 } else { 0xC0 }, 0, 0, 0]);
            assert_eq!(invites_invalidation(agreement.reply.as_slice()), able, "the peer reads it the same way");
            let incapable = answer(request, &device(false));
            assert!(!incapable.invalidates && incapable.reply.as_slice() == [0xC0, 0, 0, 0]);
        }
    }
}
