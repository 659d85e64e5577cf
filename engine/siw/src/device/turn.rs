//! A turn: what is ready, what is due.

use super::Device;
use crate::limits::{FEW, LOOK_EVERY, MISSES};
use crate::pair::Pair;
use crate::stream::epoll::{Kind, Ready};
use primitives::Key;

/// Turns in a row with something to receive after which the next is expected to have something too.
const STREAK: u32 = 2;

impl Device {
    /// [`rdma::Provider::progress`].
    ///
    /// A connection that had something to receive in every one of the last turns is read from at once; so are a few
    /// that had something a short while ago, because finding out that there is something costs as much as reading it.
    /// Only when there is no such connection, and now and then, the kernel is asked which sockets are ready.
    pub fn progress(&mut self, now: u64) {
        self.core.now = now;
        self.turn = self.turn.wrapping_add(1);
        self.since_look += 1;
        let busy = !self.hot.is_empty();
        self.read_hot();
        if !busy || self.since_look >= LOOK_EVERY {
            self.since_look = 0;
            self.look();
        }
        if self.core.resume {
            self.resume();
        }
        if now >= self.core.wake {
            self.check_timers();
        }
    }

    fn read_hot(&mut self) {
        let mut i = 0;
        let few = self.hot.len() <= FEW;
        while let Some(&key) = self.hot.get(i) {
            let turn = self.turn;
            let heard = self.with(key, |pair, core| {
                let heard = !pair.is_paused() && pair.receive(core);
                if heard {
                    (pair.last_turn, pair.misses) = (turn, 0);
                } else {
                    pair.misses += 1;
                }
                let stays = heard || (few && !pair.is_paused() && pair.misses < MISSES);
                if !stays {
                    (pair.streak, pair.misses) = (0, 0);
                }
                stays
            });
            if heard == Some(true) {
                i += 1;
            } else {
                self.hot.swap_remove(i);
            }
            self.free_if_over(key);
        }
    }

    fn look(&mut self) {
        let Some(ready) = self.core.epoll.look() else { return };
        self.core.stats.looks += 1;
        for i in 0..ready {
            let ready = self.core.epoll.ready(i);
            match ready.kind {
                Kind::Listener => self.core.accept(ready),
                Kind::Incoming => self.core.incoming_ready(ready),
                Kind::Lingering => self.core.linger_ready(ready),
                Kind::Pair => self.pair_ready(ready),
            }
        }
    }

    fn pair_ready(&mut self, ready: Ready) {
        let turn = self.turn;
        let Some((key, pair)) = self.pairs.at(ready.index()).filter(|(key, _)| ready.is(*key)) else { return };
        // One that is hot was read from already.
        let read = pair.streak < STREAK;
        if pair.ready(&mut self.core, ready, read) {
            heard(pair, turn);
            if pair.streak == STREAK && self.hot.len() < self.hot.capacity() {
                self.hot.push(key);
            }
        }
        self.free_if_over(key);
    }

    fn resume(&mut self) {
        self.core.resume = false;
        // Those that wait again are behind those that are not served this time.
        let mut i = 0;
        for _ in 0..self.core.paused.len() {
            let Some(&key) = self.core.paused.get(i) else { return };
            let Some(pair) = self.pairs.get_mut(key) else {
                self.core.paused.remove(i);
                continue;
            };
            let shared = pair.plan().shared.and_then(|s| self.core.receives.get_mut(s));
            match shared {
                Some(shared) if shared.rung == 0 => {
                    shared.awaited = true;
                    i += 1;
                }
                _ => {
                    self.core.paused.remove(i);
                    pair.resume(&mut self.core);
                }
            }
        }
    }

    fn check_timers(&mut self) {
        self.core.wake = u64::MAX;
        let mut next = u64::MAX;
        for index in 0..self.pairs.capacity() as u32 {
            let Some((key, pair)) = self.pairs.at(index) else { continue };
            pair.check_timer(&mut self.core);
            next = next.min(pair.due().unwrap_or(u64::MAX));
            self.free_if_over(key);
        }
        self.core.note_due(next);
        self.core.check_incoming();
        self.core.check_lingering();
    }

    /// The queue pair's own doorbell.
    pub fn ring(&mut self, key: Key) {
        self.with(key, Pair::ring);
    }
}

fn heard(pair: &mut Pair, turn: u32) {
    pair.streak = if turn.wrapping_sub(pair.last_turn) <= 1 { pair.streak + 1 } else { 1 };
    pair.last_turn = turn;
}
