//! Lists that have the room they need from the beginning.

use alloc::vec::Vec;

/// Adds a value to a list that was made with room for it; `false`, and the value is lost, if it was not. [`Vec::push`]
/// would put the value together on the stack, in case that the list had to grow.
#[inline]
pub(crate) fn push<T>(list: &mut Vec<T>, value: T) -> bool {
    let room = list.len() < list.capacity();
    if room {
        list.push(value);
    }
    room
}
