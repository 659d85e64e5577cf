//! `Tag`: what goes down with an operation and comes back with its completion.

/// Identity of one outstanding operation, small enough for io_uring `user_data` and a verbs `wr_id`.
///
/// The generation makes a late completion for a recycled slot detectable: whoever receives a completion compares
/// the tag with the one its slot holds now and drops it when they differ.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(transparent)]
pub struct Tag(u64);

impl Tag {
    /// Generations wrap at this value; a slot would have to be reused this often while one completion is late.
    pub const GENERATIONS: u32 = 1 << 24;

    /// Packs `kind` (what the operation is, private to its owner), `owner` (a connection, a client of a channel),
    /// `index` (a slot of that owner) and the low 24 bits of `generation`.
    #[must_use]
    pub const fn new(kind: u8, owner: u16, index: u16, generation: u32) -> Self {
        let generation = (generation % Self::GENERATIONS) as u64;
        Self((kind as u64) << 56 | generation << 32 | (owner as u64) << 16 | index as u64)
    }

    /// What the operation is; the meaning belongs to the layer that made the tag.
    #[must_use]
    pub const fn kind(self) -> u8 {
        (self.0 >> 56) as u8
    }

    /// Generation of the slot when the operation was issued.
    #[must_use]
    pub const fn generation(self) -> u32 {
        (self.0 >> 32) as u32 & (Self::GENERATIONS - 1)
    }

    /// The owner's index.
    #[must_use]
    pub const fn owner(self) -> u16 {
        (self.0 >> 16) as u16
    }

    /// The slot's index within its owner.
    #[must_use]
    pub const fn index(self) -> u16 {
        self.0 as u16
    }

    /// The same operation seen as another kind (a slot has several sub-operations).
    #[must_use]
    pub const fn with_kind(self, kind: u8) -> Self {
        Self(self.0 & !(0xFF << 56) | (kind as u64) << 56)
    }

    /// The packed word, for a `user_data` or `wr_id` field.
    #[must_use]
    pub const fn to_bits(self) -> u64 {
        self.0
    }

    /// A tag from a `user_data` or `wr_id` field.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }
}

impl core::fmt::Debug for Tag {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Tag(k{} o{} i{} g{})", self.kind(), self.owner(), self.index(), self.generation())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_survives_packing() {
        let tag = Tag::new(0xA5, 0xFFFE, 0x1234, 0x00FF_FFFF);
        assert_eq!((tag.kind(), tag.owner(), tag.index(), tag.generation()), (0xA5, 0xFFFE, 0x1234, 0x00FF_FFFF));
        assert_eq!(Tag::from_bits(tag.to_bits()), tag);
        let other = tag.with_kind(1);
        assert_eq!((other.kind(), other.owner(), other.index(), other.generation()), (1, 0xFFFE, 0x1234, 0x00FF_FFFF));
    }

    #[test]
    fn generation_wraps_without_touching_neighbours() {
        let tag = Tag::new(1, 2, 3, Tag::GENERATIONS);
        assert_eq!((tag.kind(), tag.generation(), tag.owner(), tag.index()), (1, 0, 2, 3));
    }
}
