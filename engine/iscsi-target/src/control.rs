//! What reaches beyond one connection: changes of a logical unit, resets, sessions that take another's place.
//!
//! These are control-plane tasks of the core they begin on. They visit the other cores by mail and report back to the
//! connection that waits for them.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use std::cell::RefCell;

use iscsi::wire::LoginStatus;
use primitives::{Key, Tag};
use reactors::{Core, CoreHandle, CoreId};
use scsi::{LogicalUnit, NexusId, UnitAttention};

use crate::context::Context;
use crate::limits::DRAIN_SECONDS;
use crate::session::{ConnId, PortPair, Refused, Registered};
use crate::target::Target;
use crate::worker::Worker;

/// How a worker is kept in its core's locals.
pub type WorkerCell = Rc<RefCell<Worker>>;

/// How long to wait before looking again whether another core has drained.
const LOOK_AGAIN: Duration = Duration::from_micros(200);

/// A login that waits for its session.
#[derive(Clone, Debug)]
pub(crate) struct PendingRegistration {
    pub conn: ConnId,
    pub port: Option<PortPair>,
    pub tsih: u16,
    pub cid: u16,
}

/// A session registered and its units joined.
#[derive(Debug)]
pub(crate) struct Joined {
    pub registered: Registered,
    pub target: Option<Arc<Target>>,
    /// LUN, the unit's identity, and the core's way to it.
    pub units: Vec<(u16, u64, Key)>,
    /// The session takes another's place, whose nexus was lost.
    pub reinstated: bool,
}

/// Whom to tell when every core knows of a change.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ChangeDone {
    pub conn: ConnId,
    pub tag: Tag,
    pub flush: bool,
}

/// A reset that reaches all nexuses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Reset {
    /// LOGICAL UNIT RESET of the unit with this identity.
    Unit(u64),
    /// TARGET WARM or COLD RESET.
    Target {
        /// The target.
        handle: u32,
        /// Sessions end too.
        cold: bool,
    },
}

/// Runs `f` on the worker of a core.
pub fn with_worker<R>(core: &mut Core, f: impl FnOnce(&mut Worker, &mut Core) -> R) -> Option<R> {
    let worker = Rc::clone(core.local::<WorkerCell>()?);
    let mut worker = worker.borrow_mut();
    Some(f(&mut worker, core))
}

/// Runs `f` on the worker of `core`, waiting for room in its mailbox. `None` when the core has stopped.
async fn visit<R: Send + 'static>(
    handle: &CoreHandle,
    core: CoreId,
    f: impl FnOnce(&mut Worker, &mut Core) -> R + Clone + Send + 'static,
) -> Option<R> {
    loop {
        let f = f.clone();
        match handle.mail().ask(core, move |core| with_worker(core, f)) {
            Ok(answer) => return answer.await.ok()?,
            Err(refused) if refused.is_full() => handle.spawner().sleep(LOOK_AGAIN).await,
            Err(_) => return None,
        }
    }
}

/// The core has room for another control-plane task. Asked before anything is begun that one has to finish.
pub(crate) fn has_room(handle: &CoreHandle) -> bool {
    handle.spawner().live() + SPARE_TASKS <= reactors::limits::MAX_TASKS
}

/// Task slots left to what cannot be refused, such as the end of a session.
const SPARE_TASKS: usize = 64;

fn spawn(handle: &CoreHandle, what: &'static str, task: impl Future<Output = ()> + 'static) {
    if let Err(error) = handle.spawner().spawn(task) {
        tracing::error!("{what}: {error}");
    }
}

/// Makes a changed unit known to every core, raises `attention` on every nexus but the one that caused it, then lets
/// the waiting task go on.
pub(crate) fn publish_change(
    core: &CoreHandle,
    id: u64,
    view: Arc<LogicalUnit>,
    attention: Option<(UnitAttention, NexusId)>,
    done: Option<ChangeDone>,
) {
    let handle = core.clone();
    spawn(core, "cannot publish a change of a logical unit", async move {
        tell_all(&handle, id, view, attention).await;
        let Some(done) = done else { return };
        handle.with(|core| with_worker(core, |worker, core| worker.change_done(core, done)));
    });
}

async fn tell_all(handle: &CoreHandle, id: u64, view: Arc<LogicalUnit>, attention: Option<(UnitAttention, NexusId)>) {
    for core in handle.mail().core_ids() {
        let view = Arc::clone(&view);
        visit(handle, core, move |worker, _| worker.unit_changed(id, &view, attention)).await;
    }
}

/// Aborts the tasks of every nexus that a reset reaches, waits until nothing of them moves, then tells the connection
/// that asked for it.
pub(crate) fn reset_everywhere(ctx: &Context<'_>, reset: Reset, conn: ConnId, place: u8) {
    let handle = ctx.handle.clone();
    let published = Arc::clone(ctx.published);
    spawn(ctx.handle, "cannot carry out a reset", async move {
        // The tasks end first: what becomes of them is up to the mode pages before the reset (TAS).
        for core in handle.mail().core_ids() {
            visit(&handle, core, move |worker, core| worker.begin_reset(core, reset, conn)).await;
        }
        for target in &published.targets {
            for (_, unit) in &target.luns {
                let hit = match reset {
                    Reset::Unit(id) => unit.id == id,
                    Reset::Target { handle, .. } => target.handle == handle,
                };
                if hit
                    && let (Some(view), ()) = unit.change(|lu| {
                        lu.reset();
                        (true, ())
                    })
                {
                    tell_all(&handle, unit.id, view, None).await;
                }
            }
        }
        for core in handle.mail().core_ids() {
            while visit(&handle, core, move |worker, _| worker.is_resetting(reset)).await == Some(true) {
                handle.spawner().sleep(LOOK_AGAIN).await;
            }
        }
        handle.with(|core| with_worker(core, |worker, core| worker.reset_done(core, conn, place)));
    });
}

/// Registers a session, ends the connection it takes the place of, joins its units, and lets the login go on.
pub(crate) fn register(ctx: &Context<'_>, pending: PendingRegistration) {
    let handle = ctx.handle.clone();
    let shared = Arc::clone(ctx.shared);
    let published = Arc::clone(ctx.published);
    spawn(ctx.handle, "cannot register a session", async move {
        let PendingRegistration { conn, port, tsih, cid } = pending;
        let limit = published.directory.settings().max_sessions;
        let target = port.as_ref().and_then(|p| published.target(p.target)).cloned();
        let result = match shared.sessions.register(port.clone(), tsih, cid, conn, limit) {
            Err(refused) => Err(status_of(refused)),
            Ok(registered) => {
                if let Some(old) = registered.replaces {
                    replace(&handle, old).await;
                }
                let reinstated = registered.replaces.is_some();
                let joined = handle
                    .with(|core| with_worker(core, |worker, core| worker.join(core, target, registered, reinstated)))
                    .unwrap_or(Err(LoginStatus::TARGET_ERROR));
                if joined.is_err() {
                    shared.sessions.unregister(port.as_ref(), conn);
                }
                joined
            }
        };
        handle.with(|core| with_worker(core, |worker, core| worker.registered(core, conn, result)));
    });
}

/// Closes an old connection and waits until it is gone.
async fn replace(handle: &CoreHandle, old: ConnId) {
    visit(handle, old.core, move |worker, core| worker.close_conn(core, old)).await;
    let give_up = handle.spawner().now() + Duration::from_secs(DRAIN_SECONDS);
    while visit(handle, old.core, move |worker, _| worker.has_conn(old)).await == Some(true) {
        if handle.spawner().now() >= give_up {
            // Its tasks are aborted and its initiator cannot reach it any more; only a device still holds memory.
            tracing::warn!("a session was reinstated while a device still holds operations of its predecessor");
            return;
        }
        handle.spawner().sleep(LOOK_AGAIN).await;
    }
}

fn status_of(refused: Refused) -> LoginStatus {
    match refused {
        Refused::TooMany => LoginStatus::OUT_OF_RESOURCES,
        Refused::NoSuchSession => LoginStatus::SESSION_DOES_NOT_EXIST,
        Refused::SecondConnection => LoginStatus::TOO_MANY_CONNECTIONS,
    }
}
