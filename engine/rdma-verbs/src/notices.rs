//! What devices tell by themselves. A device's descriptor is one for the whole process, so whoever reads it reads for
//! every core.

use crate::limits::{DEVICE_EVENTS, NOTICES};
use crate::sys::{self, Context, DeviceEvent};
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// One core's box.
struct Recipient {
    device: usize,
    member: u64,
    inbox: VecDeque<DeviceEvent>,
}

struct Office {
    next: u64,
    recipients: Vec<Recipient>,
}

static OFFICE: Mutex<Office> = Mutex::new(Office { next: 0, recipients: Vec::new() });

fn office() -> MutexGuard<'static, Office> {
    OFFICE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A core's subscription to a device's events.
#[derive(Debug)]
pub struct Notices {
    device: usize,
    member: u64,
}

impl Notices {
    /// Subscribes. The holder keeps the device open.
    pub fn of(context: Context) -> Self {
        let mut office = office();
        let member = office.next;
        office.next += 1;
        let inbox = VecDeque::with_capacity(DEVICE_EVENTS);
        office.recipients.push(Recipient { device: context.id(), member, inbox });
        Self { device: context.id(), member }
    }

    /// Reads what the device tells, for everybody, and moves this core's share to `out`.
    pub fn collect(&self, context: Context, out: &mut Vec<DeviceEvent>) {
        let mut office = office();
        for _ in 0..DEVICE_EVENTS {
            match sys::device_event(context) {
                Ok(Some(event)) => office.distribute(self.device, event),
                Ok(None) => break,
                Err(errno) => {
                    tracing::warn!(device = context.name(), "its events cannot be read: errno {errno}");
                    break;
                }
            }
        }
        if let Some(mine) = office.recipients.iter_mut().find(|r| r.member == self.member) {
            out.extend(mine.inbox.drain(..));
        }
    }

    /// Forgets what was told of a queue pair that is gone: its number may be another's soon.
    pub fn forget(&self, pair: u32) {
        if let Some(mine) = office().recipients.iter_mut().find(|r| r.member == self.member) {
            let gone = [DeviceEvent::PairFailed(pair), DeviceEvent::LastReceive(pair)];
            mine.inbox.retain(|event| !gone.contains(event));
        }
    }
}

impl Office {
    fn distribute(&mut self, device: usize, event: DeviceEvent) {
        for recipient in self.recipients.iter_mut().filter(|r| r.device == device) {
            if recipient.inbox.len() < NOTICES {
                recipient.inbox.push_back(event);
            }
        }
    }
}

impl Drop for Notices {
    fn drop(&mut self) {
        office().recipients.retain(|r| r.member != self.member);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_of_the_device_is_told_within_bounds() {
        let mut office = Office { next: 0, recipients: vec![] };
        for (member, device) in [(0, 7), (1, 7), (2, 8)] {
            office.recipients.push(Recipient { device, member, inbox: VecDeque::new() });
        }
        for n in 0..NOTICES as u32 + 5 {
            office.distribute(7, DeviceEvent::PairFailed(n));
        }
        let counts: Vec<usize> = office.recipients.iter().map(|r| r.inbox.len()).collect();
        assert_eq!(counts, [NOTICES, NOTICES, 0]);
    }
}
