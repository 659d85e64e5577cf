//! The buffers that Sends are made in.

use crate::limits::{CONTROL, MESSAGE};
use crate::wire::HEADERS;
use alloc::vec::Vec;
use primitives::{Buf, Tag};

/// Registered buffers for the Sends of one connection. Stacks: the one used last is used first.
#[derive(Debug, Default)]
#[must_use = "supplies carry buffers"]
pub struct Supplies {
    /// Of [`CONTROL`] bytes at least: one for each response that may be under way.
    pub control: Vec<Buf>,
    /// Of [`MESSAGE`] bytes at least, for the login phase and for text: one or two are enough.
    pub messages: Vec<Buf>,
}

/// Which stack a buffer is from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Size {
    Control,
    Message,
}

impl Size {
    /// The tag of a Send in such a buffer.
    #[inline]
    pub const fn tag(self) -> Tag {
        Tag::new(self as u8, 0, 0, 0)
    }

    /// Of the buffer of a Send with this tag.
    #[inline]
    pub const fn of_tag(tag: Tag) -> Self {
        if tag.kind() == Self::Message as u8 { Self::Message } else { Self::Control }
    }

    /// The smaller one that holds a message with `segment` bytes of data; `None` if neither does.
    #[inline]
    pub fn of(segment: usize) -> Option<Self> {
        const IN_CONTROL: usize = CONTROL - HEADERS;
        const IN_MESSAGE: usize = MESSAGE - HEADERS;
        // What fits does so with its padding.
        const { assert!(IN_CONTROL.is_multiple_of(4) && IN_MESSAGE.is_multiple_of(4)) };
        if segment <= IN_CONTROL { Some(Self::Control) } else { (segment <= IN_MESSAGE).then_some(Self::Message) }
    }
}

impl Supplies {
    /// The buffers are as large as they should be.
    pub(crate) fn suffice(&self) -> bool {
        self.control.iter().all(|buf| buf.capacity() >= CONTROL)
            && self.messages.iter().all(|buf| buf.capacity() >= MESSAGE)
    }

    #[inline]
    pub(crate) fn stack(&mut self, size: Size) -> &mut Vec<Buf> {
        match size {
            Size::Control => &mut self.control,
            Size::Message => &mut self.messages,
        }
    }
}
