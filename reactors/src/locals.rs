//! `Locals`: one object per type, for what control calls and pollers of a core share.

use std::any::{Any, TypeId, type_name};

/// A typed map with at most one value per type. Few entries, so a linear search beats hashing.
///
/// To share a poller, keep an `Rc<RefCell<T>>` here and give a clone to the reactor: [`crate::Core::add_shared`].
#[derive(Default)]
pub struct Locals {
    entries: Vec<Entry>,
}

struct Entry {
    id: TypeId,
    name: &'static str,
    value: Box<dyn Any>,
}

impl Locals {
    /// Stores `value` under its type and returns the one it replaces.
    pub fn insert<T: 'static>(&mut self, value: T) -> Option<T> {
        let old = self.remove();
        self.entries.push(Entry { id: TypeId::of::<T>(), name: type_name::<T>(), value: Box::new(value) });
        old
    }

    /// The value of type `T`.
    #[must_use]
    pub fn get<T: 'static>(&self) -> Option<&T> {
        self.entries.iter().find(|e| e.id == TypeId::of::<T>())?.value.downcast_ref()
    }

    /// The value of type `T`.
    pub fn get_mut<T: 'static>(&mut self) -> Option<&mut T> {
        self.entries.iter_mut().find(|e| e.id == TypeId::of::<T>())?.value.downcast_mut()
    }

    /// The value of type `T`, made by `make` if there is none yet.
    pub fn get_or_insert_with<T: 'static>(&mut self, make: impl FnOnce() -> T) -> &mut T {
        if self.get::<T>().is_none() {
            self.insert(make());
        }
        self.get_mut().expect("was just inserted")
    }

    /// Takes the value of type `T` out.
    pub fn remove<T: 'static>(&mut self) -> Option<T> {
        let at = self.entries.iter().position(|e| e.id == TypeId::of::<T>())?;
        let value = self.entries.swap_remove(at).value.downcast().ok()?;
        Some(*value)
    }
}

impl std::fmt::Debug for Locals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.entries.iter().map(|e| e.name)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_value_per_type() {
        let mut locals = Locals::default();
        assert_eq!(locals.insert(1u32), None);
        assert_eq!(locals.insert("name"), None);
        assert_eq!(locals.insert(2u32), Some(1));
        assert_eq!(locals.get::<u32>(), Some(&2));
        *locals.get_mut::<u32>().unwrap() += 1;
        assert_eq!(locals.get_or_insert_with(|| 9u32), &3);
        assert_eq!(locals.get_or_insert_with(|| 9u64), &9);
        assert!(format!("{locals:?}").contains("u32"));
        assert_eq!(locals.remove::<u32>(), Some(3));
        assert!(locals.get::<u32>().is_none() && locals.get::<u64>().is_some() && locals.get::<&str>().is_some());
    }
}
