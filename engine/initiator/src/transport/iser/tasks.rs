//! The memory of outstanding commands: in whose hands it is, and how much of it was filled.

use iscsi::wire::{RESERVED_TAG, ScsiResponse, service};
use primitives::Buf;
use rdma::{Op, QueuePair, Sgl, Stag, WorkRequest};

use super::tag;
use crate::error::Violation;
use crate::transport::Finished;

/// Where a task's buffer is.
#[derive(Debug)]
pub(super) enum Memory {
    /// There is none.
    None,
    /// Here: all that the target is to have of it went with the command.
    Held(Buf),
    /// In a window the target may use.
    Window(Stag),
    /// In a window that is being closed from this side.
    Closing(Stag),
}

/// One slot. It is live while `itt` is not the reserved tag.
#[derive(Debug)]
struct Task {
    itt: u32,
    /// Of a read, the Expected Data Transfer Length.
    reads: Option<u32>,
    /// Of a read, the bytes that came, as the response says.
    moved: u32,
    memory: Memory,
}

impl Task {
    const FREE: Self = Self { itt: RESERVED_TAG, reads: None, moved: 0, memory: Memory::None };
}

/// The table, indexed by the low 16 bits of the ITT.
#[derive(Debug)]
pub(super) struct Tasks {
    slots: Box<[Task]>,
    windows: usize,
}

impl Tasks {
    pub fn new(slots: usize) -> Self {
        Self { slots: (0..slots).map(|_| Task::FREE).collect(), windows: 0 }
    }

    /// Windows that are open.
    pub fn windows(&self) -> usize {
        self.windows
    }

    /// Takes a command's memory; `reads` is the length of a read.
    pub fn begin(&mut self, itt: u32, reads: Option<u32>, memory: Memory) {
        let task = &mut self.slots[usize::from(itt as u16)];
        assert!(task.itt == RESERVED_TAG, "slot {} still has a task", itt as u16);
        self.windows += usize::from(matches!(memory, Memory::Window(_)));
        *task = Task { itt, reads, moved: 0, memory };
    }

    /// Takes note of a response, and holds the window it closed against the one its task has open (RFC 7145 §7.3.2).
    /// Whether there is such a task at all is for the session to judge, unless a window hangs on it.
    pub fn responded(&mut self, response: &ScsiResponse, invalidated: Option<Stag>) -> Result<(), Violation> {
        let task = self.live(response.itt);
        if let Some(stag) = invalidated {
            let own = task.as_ref().map(|task| &task.memory);
            if !matches!(own, Some(Memory::Window(open)) if *open == stag) {
                return Err(Violation::Invalidated(stag.0));
            }
        }
        if let Some(task) = task
            && let Some(edtl) = task.reads
            && response.response == service::COMMAND_COMPLETED
        {
            task.moved = if response.underflow { edtl.saturating_sub(response.residual) } else { edtl };
        }
        Ok(())
    }

    /// Ends the task, closing its window if nobody else has.
    pub fn finish(&mut self, itt: u32, queue: &mut impl QueuePair) -> Finished {
        let Some(task) = self.live(itt) else { return Finished::Free(None) };
        let mut buf = match task.memory {
            Memory::None => None,
            Memory::Held(_) => task.take_held(),
            Memory::Window(stag) | Memory::Closing(stag) => {
                let Some(sge) = queue.reclaim(stag) else {
                    task.close(queue);
                    return Finished::InUse;
                };
                self.windows -= 1;
                Some(sge.buf)
            }
        };
        let task = &mut self.slots[usize::from(itt as u16)];
        if let (Some(buf), Some(_)) = (&mut buf, task.reads) {
            buf.set_len(task.moved as usize);
        }
        *task = Task::FREE;
        Finished::Free(buf)
    }

    fn live(&mut self, itt: u32) -> Option<&mut Task> {
        self.slots.get_mut(usize::from(itt as u16)).filter(|t| t.itt == itt && itt != RESERVED_TAG)
    }
}

impl Task {
    fn take_held(&mut self) -> Option<Buf> {
        match std::mem::replace(&mut self.memory, Memory::None) {
            Memory::Held(buf) => Some(buf),
            _ => None,
        }
    }

    /// Begins to close the window. When there is no room for that, asking again does it; when the connection is over,
    /// its drain does.
    fn close(&mut self, queue: &mut impl QueuePair) {
        let Memory::Window(stag) = self.memory else { return };
        let request = WorkRequest { tag: tag::INVALIDATE, op: Op::Invalidate(stag), sgl: Sgl::NONE, signalled: true };
        if queue.post_send(request).is_ok() {
            self.memory = Memory::Closing(stag);
        }
    }
}
