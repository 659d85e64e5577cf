//! What identifies a request in a `wr_id`, and a connection in the context of a connection manager's identifier.
//!
//! Both outlive what they name, as completions and events of a destroyed queue pair may still come; so both carry a
//! generation.

use primitives::Key;

const GENERATION: u32 = 0x3FFF;
const INDEX: u32 = 0xFF_FFFF;
const KIND_SHIFT: u32 = 62;

/// The owner of a request: a slab's index, and as much of the generation as fits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Owner {
    pub index: u32,
    generation: u16,
}

impl Owner {
    pub const fn of(key: Key) -> Self {
        Self { index: key.index & INDEX, generation: (key.generation & GENERATION) as u16 }
    }

    /// Whether `key` is who was meant.
    pub const fn is(self, key: Key) -> bool {
        key.index == self.index && (key.generation & GENERATION) as u16 == self.generation
    }
}

/// A request, as its `wr_id` names it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ident {
    /// Of a queue pair's send queue, with the low 24 bits of its number in it.
    Send(Owner, u32),
    /// Of a queue pair's receive queue.
    Receive(Owner, u32),
    /// Of a shared receive queue, with its slot.
    Shared(Owner, u32),
}

impl Ident {
    pub const fn to_bits(self) -> u64 {
        let (kind, owner, low) = match self {
            Self::Send(owner, low) => (0, owner, low),
            Self::Receive(owner, low) => (1, owner, low),
            Self::Shared(owner, low) => (2, owner, low),
        };
        kind << KIND_SHIFT | (owner.generation as u64) << 48 | (owner.index as u64) << 24 | (low & INDEX) as u64
    }

    /// `None` for what no [`Ident::to_bits`] ever was.
    pub const fn from_bits(bits: u64) -> Option<Self> {
        let generation = (bits >> 48) as u16 & GENERATION as u16;
        let owner = Owner { index: (bits >> 24) as u32 & INDEX, generation };
        let low = bits as u32 & INDEX;
        match bits >> KIND_SHIFT {
            0 => Some(Self::Send(owner, low)),
            1 => Some(Self::Receive(owner, low)),
            2 => Some(Self::Shared(owner, low)),
            _ => None,
        }
    }
}

/// Whom an identifier of the connection manager belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Party {
    /// The identifier that holds the device.
    Anchor,
    /// A listener.
    Listener(Key),
    /// A request that waits for an answer.
    Request(Key),
    /// A queue pair.
    Queue(Key),
}

impl Party {
    pub const fn to_bits(self) -> usize {
        let (kind, key) = match self {
            Self::Anchor => return 0,
            Self::Listener(key) => (1usize, key),
            Self::Request(key) => (2, key),
            Self::Queue(key) => (3, key),
        };
        kind << KIND_SHIFT | ((key.generation & (u32::MAX >> 2)) as usize) << 32 | key.index as usize
    }

    pub const fn from_bits(bits: usize) -> Self {
        let key = Key { index: bits as u32, generation: (bits >> 32) as u32 & (u32::MAX >> 2) };
        match bits >> KIND_SHIFT {
            1 => Self::Listener(key),
            2 => Self::Request(key),
            3 => Self::Queue(key),
            _ => Self::Anchor,
        }
    }
}

/// A key as a request's name, and back.
pub const fn request_id(key: Key) -> rdma::RequestId {
    rdma::RequestId((key.generation as u64) << 32 | key.index as u64)
}

pub const fn request_key(id: rdma::RequestId) -> Key {
    Key { index: id.0 as u32, generation: (id.0 >> 32) as u32 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idents_survive_the_trip_and_know_their_generation() {
        for (index, generation, low) in [(0, 0, 0), (5, 7, 9), (INDEX, GENERATION, INDEX), (1, u32::MAX, 3)] {
            let key = Key { index, generation };
            let owner = Owner::of(key);
            for ident in [Ident::Send(owner, low), Ident::Receive(owner, low), Ident::Shared(owner, low)] {
                assert_eq!(Ident::from_bits(ident.to_bits()), Some(ident));
            }
            assert!(owner.is(key) && !owner.is(Key { index, generation: generation.wrapping_add(1) }));
        }
        assert_eq!(Ident::from_bits(u64::MAX), None);
    }

    #[test]
    fn parties_survive_the_trip() {
        for (index, generation) in [(0, 0), (u32::MAX, u32::MAX >> 2), (3, 1)] {
            let key = Key { index, generation };
            for party in [Party::Anchor, Party::Listener(key), Party::Request(key), Party::Queue(key)] {
                assert_eq!(Party::from_bits(party.to_bits()), party);
            }
            assert_eq!(request_key(request_id(key)), key);
        }
    }
}
