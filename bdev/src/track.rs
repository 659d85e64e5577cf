//! `Tracker`: what a layer remembers of the operations it passed on.

use primitives::{Key, Slab, Tag};

use crate::channel::Channel;
use crate::io::Io;
use crate::limits;

/// Outstanding operations of a layer. Below the layer each goes by a tag of the layer's own, which finds the caller's
/// tag and the layer's note again in a few instructions.
#[derive(Debug)]
pub(crate) struct Tracker<T> {
    entries: Slab<Entry<T>>,
}

#[derive(Debug)]
struct Entry<T> {
    tag: Tag,
    note: T,
}

impl<T> Tracker<T> {
    pub fn new() -> Self {
        Self { entries: Slab::new(limits::CHANNEL_DEPTH) }
    }

    /// Remembers the caller's `tag` and returns the layer's own, unless the channel is full.
    pub fn enter(&mut self, tag: Tag, note: T) -> Result<Tag, T> {
        let key = self.entries.insert(Entry { tag, note }).map_err(|entry| entry.note)?;
        // CHANNEL_DEPTH fits 16 bits (asserted below); the tag keeps 24 bits of the generation.
        Ok(Tag::new(0, 0, key.index as u16, key.generation))
    }

    /// Forgets the operation `own`; nothing for a tag that is not outstanding.
    pub fn leave(&mut self, own: Tag) -> Option<(Tag, T)> {
        let key = self.key(own)?;
        self.entries.remove(key).map(|entry| (entry.tag, entry.note))
    }

    /// The layer's own tag of the caller's `tag`, and the note. Linear; for aborts, not for the data path.
    pub fn find(&mut self, tag: Tag) -> Option<(Tag, &mut T)> {
        let (key, entry) = self.entries.iter_mut().find(|(_, entry)| entry.tag == tag)?;
        Some((Tag::new(0, 0, key.index as u16, key.generation), &mut entry.note))
    }

    /// Submits `io` to the channel below under the layer's own tag; gives it back unchanged where there is no room.
    pub fn submit(&mut self, below: &mut dyn Channel, mut io: Io, note: T) -> Result<(), Io> {
        let Ok(own) = self.enter(io.tag, note) else { return Err(io) };
        io.tag = own;
        below.submit(io).map_err(|mut io| {
            if let Some((tag, _)) = self.leave(own) {
                io.tag = tag;
            }
            io
        })
    }

    /// Forgets any operation. Linear; for the end of things.
    pub fn leave_any(&mut self) -> Option<(Tag, T)> {
        let key = self.entries.iter().next()?.0;
        self.entries.remove(key).map(|entry| (entry.tag, entry.note))
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    fn key(&mut self, own: Tag) -> Option<Key> {
        let (key, _) = self.entries.at(own.index().into())?;
        (key.generation % Tag::GENERATIONS == own.generation()).then_some(key)
    }
}

const _: () = assert!(limits::CHANNEL_DEPTH <= 1 << 16, "a slot's index is 16 bits of a tag");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_callers_tag_comes_back_once() {
        let mut tracker = Tracker::new();
        let tag = Tag::new(9, 8, 7, 6);
        let own = tracker.enter(tag, 'a').unwrap();
        assert_ne!(own, tag);
        assert_eq!(tracker.find(tag).map(|(own, note)| (own, *note)), Some((own, 'a')));
        assert_eq!(tracker.leave(own), Some((tag, 'a')));
        assert_eq!(tracker.leave(own), None, "a late completion finds nothing");
        let next = tracker.enter(tag, 'b').unwrap();
        assert_ne!(own, next);
        assert_eq!(tracker.leave(own), None);
        assert_eq!(tracker.len(), 1);
    }

    #[test]
    fn full_is_a_value() {
        let mut tracker = Tracker::new();
        assert!((0..limits::CHANNEL_DEPTH).all(|_| tracker.enter(Tag::default(), 0).is_ok()));
        assert_eq!(tracker.enter(Tag::default(), 5), Err(5));
    }
}
