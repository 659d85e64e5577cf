//! `Stock`: message buffers cut from pool buffers, and the way back.

use primitives::Buf;
use reactors::{Carving, Class, Pools};

/// Pool buffers that were cut into pieces of given sizes.
#[derive(Debug, Default)]
pub struct Stock {
    carvings: Vec<(usize, Carving)>,
}

impl Stock {
    /// Cuts pieces of `size` bytes from further pool buffers until there are `count` more, or no pool buffer is left.
    pub fn add(&mut self, pools: &mut Pools, size: usize, count: usize, mut each: impl FnMut(Buf)) -> usize {
        let mut made = 0;
        while made < count {
            let Some(whole) = pools.take_class(Class::Large) else { break };
            made += self.cut(whole, &[(size, count - made)], &mut each);
        }
        made
    }

    /// Cuts one pool buffer into pieces of several sizes; returns how many there are.
    pub fn cut(&mut self, whole: Buf, sizes: &[(usize, usize)], mut each: impl FnMut(Buf)) -> usize {
        let (start, mut made) = (whole.as_ptr().addr(), 0);
        let carving = Carving::new(whole, sizes, |piece| {
            made += 1;
            each(piece);
        });
        self.carvings.push((start, carving));
        self.carvings.sort_by_key(|(start, _)| *start);
        made
    }

    /// Takes a piece back for good.
    pub fn give(&mut self, piece: &Buf) {
        let after = self.carvings.partition_point(|(start, _)| *start <= piece.as_ptr().addr());
        match after.checked_sub(1).and_then(|at| self.carvings.get_mut(at)) {
            Some((_, carving)) => carving.give(piece),
            None => debug_assert!(false, "a piece of no buffer of this stock"),
        }
    }

    /// Gives those pool buffers back that are whole again; returns how many are not.
    pub fn settle(&mut self, pools: &mut Pools) -> usize {
        let parts = core::mem::take(&mut self.carvings);
        for (start, carving) in parts {
            match carving.join() {
                Ok(whole) => pools.give(whole),
                Err(carving) => self.carvings.push((start, carving)),
            }
        }
        self.carvings.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_find_their_way_back() {
        let mut pools = Pools::for_tests(0, 1, 3);
        let (mut stock, mut pieces) = (Stock::default(), Vec::new());
        assert_eq!(stock.add(&mut pools, 8320, 20, |piece| pieces.push(piece)), 20);
        assert_eq!(pools.outstanding(), 2, "fifteen fit into one");
        assert_eq!(stock.add(&mut pools, 8320, 40, |piece| pieces.push(piece)), 15, "as many as there are");
        let last = pieces.pop().unwrap();
        pieces.iter().for_each(|piece| stock.give(piece));
        assert_eq!((stock.settle(&mut pools), pools.outstanding()), (1, 1));
        stock.give(&last);
        assert_eq!((stock.settle(&mut pools), pools.outstanding()), (0, 0));
    }
}
