//! One io_uring: setting it up on whatever kernel there is, and entering the kernel as seldom as possible.

use std::io;
use std::os::fd::RawFd;
use std::time::Duration;

use io_uring::types::{CancelBuilder, SubmitArgs, Timespec};
use io_uring::{IoUring, squeue};
use reactors::CpuId;

use crate::limits;
use crate::shape::CreateError;

/// An io_uring owned by one thread.
pub(super) struct Ring {
    uring: IoUring,
    mode: Mode,
    /// The kernel was entered since the last [`Ring::run_completions`].
    entered: bool,
    /// Something is queued that nobody will kick for.
    owing: bool,
    /// Something was queued since the last [`Ring::submit`].
    pushed: bool,
    /// Calls of `io_uring_enter` so far.
    pub enters: u64,
}

/// How completions get from the kernel into the completion queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mode {
    /// Only when this thread enters the kernel; a flag in the ring says when it should. A thread that spins and never
    /// enters would wait forever.
    Flagged,
    /// By themselves: the kernel interrupts the thread. Before Linux 5.19.
    Interrupting,
    /// Only when this thread enters the kernel to poll the device.
    Polled,
    /// By a thread of the kernel's, which also takes what is queued. It is entered for only to wake that thread.
    Threaded,
}

/// Ways to set up a ring with interrupt-driven completions, best first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Setup {
    /// Deferred task work, Linux 6.1.
    Deferred,
    /// Cooperative task work, Linux 5.19.
    Cooperative,
    /// Neither.
    Plain,
}

impl Ring {
    /// A ring with interrupt-driven completions, set up in the best way this kernel knows.
    pub fn new() -> io::Result<Self> {
        let or_else = |error, setup| if is_too_old(&error) { Self::set_up(setup) } else { Err(error) };
        Self::set_up(Setup::Deferred)
            .or_else(|error| or_else(error, Setup::Cooperative))
            .or_else(|error| or_else(error, Setup::Plain))
    }

    fn set_up(setup: Setup) -> io::Result<Self> {
        let mut builder = IoUring::builder();
        let mode = match setup {
            Setup::Deferred => {
                builder.setup_single_issuer().setup_defer_taskrun().setup_taskrun_flag();
                Mode::Flagged
            }
            Setup::Cooperative => {
                builder.setup_coop_taskrun().setup_taskrun_flag();
                Mode::Flagged
            }
            Setup::Plain => Mode::Interrupting,
        };
        build(builder, mode)
    }

    /// A ring that polls the device for completions, for reads and writes with direct I/O only.
    pub fn polled() -> io::Result<Self> {
        let mut builder = IoUring::builder();
        builder.setup_iopoll();
        let plain = builder.clone();
        builder.setup_single_issuer().setup_defer_taskrun();
        build(builder, Mode::Polled)
            .or_else(|error| if is_too_old(&error) { build(plain, Mode::Polled) } else { Err(error) })
    }

    /// A ring whose entries a thread of the kernel's takes, on `cpu`: no system call while there is work. That CPU must
    /// not be a reactor's: left to inherit its creator's, the thread would wait for ever behind a loop that never ends.
    pub fn threaded(cpu: CpuId) -> io::Result<Self> {
        let mut builder = IoUring::builder();
        builder.setup_sqpoll(limits::URING_THREAD_IDLE_MS).setup_sqpoll_cpu(cpu.0.into());
        build(builder, Mode::Threaded)
    }

    pub fn register_files(&self, files: &[RawFd]) -> io::Result<()> {
        self.uring.submitter().register_files(files)
    }

    /// Registers the eventfd to be signalled while [`Ring::arm`]ed.
    pub fn register_event(&mut self, event: RawFd) -> io::Result<()> {
        self.uring.submitter().register_eventfd(event)?;
        self.disarm();
        Ok(())
    }

    /// # Safety
    /// The memory must stay valid until the ring is dropped.
    pub unsafe fn register_buffers(&self, buffers: &[libc::iovec]) -> io::Result<()> {
        // SAFETY: passed on to the caller.
        unsafe { self.uring.submitter().register_buffers(buffers) }
    }

    /// Queues an operation for the next [`Ring::submit`]; `false` when the queue is full.
    ///
    /// # Safety
    /// The memory the entry points to must stay valid, and its owner must leave it alone, until the completion.
    pub unsafe fn push(&mut self, entry: &squeue::Entry) -> bool {
        self.pushed = true;
        // SAFETY: passed on to the caller.
        unsafe { self.uring.submission().push(entry).is_ok() }
    }

    /// Hands everything queued to the kernel, which runs pending completions on the same occasion.
    pub fn submit(&mut self) {
        let wanted = match self.mode {
            // The thread sees the queue by itself, unless it sleeps. Woken once, it comes when it gets a CPU.
            Mode::Threaded => std::mem::take(&mut self.pushed) && self.uring.submission().need_wakeup(),
            _ => !self.uring.submission().is_empty(),
        };
        if wanted {
            self.enter();
        }
    }

    /// Lets the kernel move finished operations into the completion queue, if that takes a system call and none was
    /// made since this was last called. What the kernel did not take before goes along.
    pub fn run_completions(&mut self, outstanding: bool) {
        let entered = std::mem::take(&mut self.entered);
        if !entered && (self.owing || (outstanding && self.uring.completion().is_empty() && self.wants_enter())) {
            self.enter();
            self.entered = false;
        }
    }

    /// The next [`Ring::run_completions`] submits what is queued, even without a kick.
    pub fn owe(&mut self) {
        self.owing = true;
    }

    /// The next completion: user data and result.
    pub fn next(&mut self) -> Option<(u64, i32)> {
        self.uring.completion().next().map(|cqe| (cqe.user_data(), cqe.result()))
    }

    /// A completion can be had without waiting.
    pub fn is_ready(&mut self) -> bool {
        self.owing || !self.uring.completion().is_empty() || (self.mode == Mode::Flagged && self.wants_enter())
    }

    /// Completions signal the registered eventfd from now on. Look at [`Ring::is_ready`] once more afterwards.
    pub fn arm(&mut self) {
        self.uring.completion().enable_eventfd();
        std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
    }

    /// Completions no longer signal, and cost nothing for it.
    pub fn disarm(&mut self) {
        self.uring.completion().disable_eventfd();
    }

    /// Asks the kernel to cancel everything, without waiting for it. Before Linux 6.0 nothing is cancelled.
    pub fn cancel_all(&mut self) {
        self.submit();
        let now = Timespec::new();
        // Nothing to cancel, or too slow to cancel: in either case the completions tell.
        let _ = self.uring.submitter().register_sync_cancel(Some(now), CancelBuilder::any().all());
    }

    /// Waits for a completion, at most for `timeout`. Not for the data path.
    pub fn wait(&mut self, timeout: Duration) {
        let timeout = Timespec::from(timeout);
        self.enters += 1;
        // Whatever ended the wait, the caller looks at the completions.
        let _ = self.uring.submitter().submit_with_args(1, &SubmitArgs::new().timespec(&timeout));
    }

    /// Lets go of the registered files, which closing the ring alone does some time later: until then they count as
    /// in use. To be called when nothing is under way.
    pub fn release_files(&mut self) {
        let _ = self.uring.submitter().unregister_files();
    }

    fn wants_enter(&mut self) -> bool {
        let sq = self.uring.submission();
        match self.mode {
            Mode::Polled => true,
            Mode::Flagged | Mode::Interrupting | Mode::Threaded => sq.taskrun() || sq.cq_overflow(),
        }
    }

    fn enter(&mut self) {
        self.entered = true;
        self.enters += 1;
        if let Err(error) = self.uring.submit() {
            // EINTR, EAGAIN, EBUSY: what was not taken stays queued and goes with the next call.
            tracing::debug!(%error, "io_uring_enter");
        }
        self.owing = self.mode != Mode::Threaded && !self.uring.submission().is_empty();
    }
}

fn build(mut builder: io_uring::Builder, mode: Mode) -> io::Result<Ring> {
    // One entry an operation, and as many for their cancellations; the completion queue is twice that.
    let uring = builder.dontfork().build(2 * limits::CHANNEL_DEPTH as u32)?;
    Ok(Ring { uring, mode, entered: false, owing: false, pushed: false, enters: 0 })
}

/// The kernel does not know one of the set-up flags.
fn is_too_old(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EINVAL)
}

/// Says why there is no io_uring, and what to do.
pub(super) fn explain(error: io::Error) -> CreateError {
    let disabled = std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled").unwrap_or_default();
    let advice = advice(error.raw_os_error().unwrap_or(0), disabled.trim());
    CreateError::System { what: "setting up", subject: "io_uring".to_owned(), error, advice: advice.to_owned() }
}

fn advice(errno: libc::c_int, disabled: &str) -> &'static str {
    match (errno, disabled) {
        (libc::EPERM, "2") => "; kernel.io_uring_disabled is 2: run `sysctl kernel.io_uring_disabled=0`",
        (libc::EPERM, "1") => {
            "; kernel.io_uring_disabled is 1: run as root, add the process to kernel.io_uring_group, or set it to 0"
        }
        (libc::EPERM | libc::EACCES, _) => {
            "; a seccomp filter (container runtimes have one by default) forbids io_uring: allow io_uring_setup, \
             io_uring_enter and io_uring_register in its profile"
        }
        (libc::ENOSYS, _) => {
            "; this kernel has no io_uring (5.11 or later with CONFIG_IO_URING is needed), or a seccomp filter hides it"
        }
        (libc::ENOMEM, _) => "; raise the limit on locked memory (ulimit -l, LimitMEMLOCK=)",
        (libc::EMFILE | libc::ENFILE, _) => "; raise the limit on open files (ulimit -n, LimitNOFILE=)",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use io_uring::{opcode, types};
    use reactors::CpuList;
    use std::io::Write;
    use std::os::fd::AsRawFd;
    use std::time::Instant;

    /// What older kernels get works on this one too.
    #[test]
    fn every_set_up_completes_by_reaping_alone() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&[7; 4096]).unwrap();
        let mut into = [0u8; 512];
        let cpu = CpuList::usable().as_slice().last().copied().unwrap();
        let set_ups = [Setup::Deferred, Setup::Cooperative, Setup::Plain].map(Ring::set_up);
        for (which, ring) in set_ups.into_iter().chain([Ring::threaded(cpu)]).enumerate() {
            let Ok(mut ring) = ring else { continue };
            let sync = opcode::Fsync::new(types::Fd(file.as_raw_fd())).build().user_data(1);
            let read = opcode::Read::new(types::Fd(file.as_raw_fd()), into.as_mut_ptr(), 512).build().user_data(2);
            // SAFETY: `into` and the file outlive the completions, which are waited for below.
            assert!(unsafe { ring.push(&sync) && ring.push(&read) });
            ring.submit();
            let (mut seen, start) = (0, Instant::now());
            while seen != 1 + 2 {
                ring.run_completions(true);
                seen += ring.next().map_or(0, |(data, result)| if result >= 0 { data } else { 100 });
                assert!(start.elapsed() < Duration::from_secs(20), "set-up {which}: nothing completes");
            }
            assert_eq!(into, [7; 512]);
            into.fill(0);
        }
        assert!(is_too_old(&io::Error::from_raw_os_error(libc::EINVAL)));
        assert!(!is_too_old(&io::Error::from_raw_os_error(libc::EPERM)), "a refusal is not to be papered over");
    }

    #[test]
    fn every_refusal_comes_with_advice() {
        assert!(advice(libc::EPERM, "2").contains("sysctl kernel.io_uring_disabled=0"));
        assert!(advice(libc::EPERM, "1").contains("io_uring_group"));
        assert!(advice(libc::EPERM, "0").contains("seccomp") && advice(libc::EPERM, "").contains("seccomp"));
        assert!(advice(libc::ENOSYS, "").contains("CONFIG_IO_URING"));
        let error = explain(io::Error::from_raw_os_error(libc::ENOMEM));
        assert!(error.to_string().contains("locked memory"), "{error}");
        assert_eq!(error.errno(), libc::ENOMEM);
    }
}
