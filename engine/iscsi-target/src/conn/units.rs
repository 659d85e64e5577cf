//! A session's view of its target: the logical units it may address, and nothing else. There is no other way from a
//! CDB to a device.

use primitives::{IndexQueue, Key};
use scsi::{Lun, Nexus, NexusId, Plan, TaskSet, UnitAttention, View};

use crate::limits::LUNS_PER_TARGET;
use crate::unit::LocalUnits;

/// One logical unit of a session.
#[derive(Debug)]
pub struct SessionUnit {
    /// Its number.
    pub lun: u16,
    /// The unit's identity in the process.
    pub id: u64,
    /// It has left the view: only tasks that were there before still use it.
    pub lost: bool,
    /// The core's way to it.
    pub local: Key,
    /// Bytes of a logical block, which never change.
    pub block_size: u32,
    /// What this nexus has to know about it.
    pub nexus: Nexus,
    /// The order of this nexus's tasks.
    pub tasks: TaskSet,
    /// Tasks the order holds back, oldest first.
    pub blocked: IndexQueue,
}

/// All logical units of a session.
#[derive(Debug)]
pub struct SessionUnits {
    nexus: NexusId,
    by_lun: Vec<Option<u16>>,
    entries: Vec<Option<SessionUnit>>,
    luns: Vec<Lun>,
    depth: usize,
}

impl SessionUnits {
    /// A view without units. `depth` tasks may be outstanding.
    #[must_use]
    pub fn new(nexus: NexusId, depth: usize) -> Self {
        Self { nexus, by_lun: vec![None; LUNS_PER_TARGET], entries: Vec::new(), luns: Vec::new(), depth }
    }

    /// Adds a unit that the core reaches by `local`.
    pub fn add(&mut self, lun: u16, id: u64, local: Key, block_size: u32) {
        let unit = SessionUnit {
            lun,
            id,
            lost: false,
            local,
            block_size,
            nexus: Nexus::new(self.nexus),
            tasks: TaskSet::default(),
            blocked: IndexQueue::new(self.depth),
        };
        let free = self.entries.iter().position(Option::is_none);
        let at = free.unwrap_or(self.entries.len());
        if free.is_none() {
            self.entries.push(None);
        }
        if let Some(place) = self.by_lun.get_mut(usize::from(lun)) {
            *place = Some(at as u16);
            self.entries[at] = Some(unit);
        }
        self.relist();
    }

    /// Takes the units out of the view for which `keep` is false, and returns their identities. They can no longer be
    /// addressed; their entries stay until [`SessionUnits::forget`].
    pub fn retain(&mut self, keep: impl Fn(u16, u64) -> bool) -> Vec<u64> {
        let mut gone = Vec::new();
        for entry in self.entries.iter_mut().flatten().filter(|e| !e.lost && !keep(e.lun, e.id)) {
            entry.lost = true;
            self.by_lun[usize::from(entry.lun)] = None;
            gone.push(entry.id);
        }
        self.relist();
        gone
    }

    /// Entries of units that left the view.
    #[must_use]
    pub fn lost(&self) -> Vec<u16> {
        let lost = |e: &Option<SessionUnit>| e.as_ref().is_some_and(|e| e.lost);
        (0..self.entries.len() as u16).filter(|i| lost(&self.entries[usize::from(*i)])).collect()
    }

    /// Forgets an entry whose unit left the view and whose tasks are gone.
    pub fn forget(&mut self, index: u16) -> Option<SessionUnit> {
        self.entries.get_mut(usize::from(index))?.take()
    }

    /// The identity of the unit that a LUN means.
    #[must_use]
    pub fn id_at(&self, lun: u16) -> Option<u64> {
        self.id_of(self.find(u64::from(lun))?)
    }

    fn relist(&mut self) {
        let present = self.by_lun.iter().enumerate().filter(|(_, place)| place.is_some());
        self.luns = present.map(|(lun, _)| Lun::from_number(lun as u32)).collect();
    }

    /// The entry of a LUN.
    #[must_use]
    pub fn find(&self, lun: u64) -> Option<u16> {
        *self.by_lun.get(usize::try_from(lun).ok()?)?
    }

    /// An entry found by [`SessionUnits::find`].
    ///
    /// # Panics
    /// If it was removed meanwhile, which waits for its tasks.
    #[inline]
    pub fn entry(&mut self, index: u16) -> &mut SessionUnit {
        self.entries[usize::from(index)].as_mut().expect("a unit leaves the view after its tasks")
    }

    /// The identity of an entry's unit.
    #[must_use]
    pub fn id_of(&self, index: u16) -> Option<u64> {
        self.entries.get(usize::from(index))?.as_ref().map(|e| e.id)
    }

    /// Every unit with its entry.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (u16, &mut SessionUnit)> {
        self.entries.iter_mut().enumerate().filter_map(|(i, e)| e.as_mut().map(|e| (i as u16, e)))
    }

    /// Raises a unit attention on the unit `id`, if the session has it.
    pub fn raise(&mut self, id: u64, attention: UnitAttention) {
        self.iter_mut().filter(|(_, u)| u.id == id).for_each(|(_, u)| u.nexus.raise(attention));
    }

    /// A reset reached the unit `id`, or all units.
    pub fn reset(&mut self, id: Option<u64>, attention: UnitAttention) {
        let hit = |u: &SessionUnit| id.is_none_or(|id| u.id == id);
        self.iter_mut().filter(|(_, u)| hit(u)).for_each(|(_, u)| u.nexus.reset(attention));
    }

    /// Raises a unit attention on every unit.
    pub fn raise_all(&mut self, attention: UnitAttention) {
        self.iter_mut().for_each(|(_, u)| u.nexus.raise(attention));
    }

    /// Decides a command against the core's copy of its unit.
    pub fn execute(
        &mut self,
        locals: &LocalUnits,
        unit: Option<u16>,
        lun: [u8; 8],
        cdb: &[u8],
        reply: &mut [u8],
    ) -> Plan {
        let entry = unit.and_then(|u| self.entries.get_mut(usize::from(u))?.as_mut());
        match entry.and_then(|e| locals.get(e.local).map(|l| (e, l))) {
            Some((entry, local)) => {
                scsi::execute(View { lu: &local.view, luns: &self.luns }, &mut entry.nexus, cdb, reply)
            }
            None => scsi::execute_without_lu(Lun(lun), &self.luns, cdb, reply),
        }
    }
}
