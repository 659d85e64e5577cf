//! What the RPC methods work on.

use crate::engine::{Engine, Rehearsal};
use crate::limits::MAX_NOTIFICATIONS;
use crate::log::LogControl;
use crate::model::Model;
use rpc::{MethodInfo, RpcError};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};

/// The control plane: the current configuration and the engine it is applied to.
pub struct Control {
    engine: Box<dyn Engine>,
    /// Held for the whole of a change, so that changes come one at a time; reading goes on meanwhile.
    changing: Mutex<()>,
    model: Mutex<Arc<Model>>,
    running: AtomicBool,
    started: (Mutex<bool>, Condvar),
    events: Mutex<Events>,
    /// Where log levels are changed.
    pub log: LogControl,
    catalog: OnceLock<Vec<MethodInfo>>,
}

impl std::fmt::Debug for Control {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Control").field("running", &self.running).finish_non_exhaustive()
    }
}

impl rpc::Context for Control {
    fn is_running(&self) -> bool {
        self.running.load(Ordering::Acquire)
    }
}

/// Takes a lock whose holder may have panicked: everything here is replaced whole, so what is behind it is sound.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Control {
    /// A control plane with an empty configuration, before initialisation.
    pub fn new(engine: Box<dyn Engine>, log: LogControl) -> Self {
        Self {
            engine,
            changing: Mutex::default(),
            model: Mutex::default(),
            running: AtomicBool::new(false),
            started: Default::default(),
            events: Mutex::default(),
            log,
            catalog: OnceLock::new(),
        }
    }

    /// A control plane in the same state whose engine does nothing, to try changes on.
    pub fn rehearsal(&self) -> Self {
        let model = self.model();
        let rehearsal = Self::new(Box::new(Rehearsal::with(&model.bdevs)), LogControl::detached(self.log.level()));
        *lock(&rehearsal.model) = model;
        if rpc::Context::is_running(self) {
            rehearsal.set_running();
        }
        rehearsal
    }

    /// The engine, for reading. Changes go through [`Control::change`].
    pub fn engine(&self) -> &dyn Engine {
        &*self.engine
    }

    /// The current configuration.
    pub fn model(&self) -> Arc<Model> {
        lock(&self.model).clone()
    }

    /// Changes the configuration. `edit` works on a copy and may use the engine; if it fails, nothing has changed, so
    /// it must undo what it did to the engine. The copy is then published to the engine and becomes current.
    ///
    /// # Errors
    /// Those of `edit` and of publishing.
    pub fn change<T, E: Into<RpcError>>(
        &self,
        edit: impl FnOnce(&mut Model, &dyn Engine) -> Result<T, E>,
    ) -> Result<T, RpcError> {
        self.change_undoably(|model, engine| edit(model, engine).map(|value| (value, |_: &dyn Engine| ())))
    }

    /// Like [`Control::change`] for edits that do something to the engine before the configuration is published:
    /// `edit` also returns what undoes that, should publishing fail.
    ///
    /// # Errors
    /// Those of `edit` and of publishing.
    pub fn change_undoably<T, U, E>(
        &self,
        edit: impl FnOnce(&mut Model, &dyn Engine) -> Result<(T, U), E>,
    ) -> Result<T, RpcError>
    where
        U: FnOnce(&dyn Engine),
        E: Into<RpcError>,
    {
        let _one_at_a_time = lock(&self.changing);
        let mut next = Model::clone(&self.model());
        let (value, undo) = edit(&mut next, &*self.engine).map_err(Into::into)?;
        let next = Arc::new(next);
        if let Err(error) = self.engine.publish(&next) {
            undo(&*self.engine);
            return Err(error.into());
        }
        *lock(&self.model) = next;
        Ok(value)
    }

    /// The methods there are.
    pub fn catalog(&self) -> &[MethodInfo] {
        self.catalog.get().map(Vec::as_slice).unwrap_or_default()
    }

    /// Says what methods there are, once the table is complete.
    pub fn set_catalog(&self, methods: Vec<MethodInfo>) {
        // A second call would say the same.
        let _ = self.catalog.set(methods);
    }

    /// Ends initialisation.
    pub fn set_running(&self) {
        self.running.store(true, Ordering::Release);
        *lock(&self.started.0) = true;
        self.started.1.notify_all();
    }

    /// Waits until initialisation has ended.
    pub fn wait_running(&self) {
        let mut started = lock(&self.started.0);
        while !*started {
            started = self.started.1.wait(started).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Records an event for `notify_get_notifications`.
    pub fn notify(&self, kind: &'static str, what: &str) {
        lock(&self.events).push(kind, what);
    }

    /// Events from number `id` on, at most `most`.
    pub fn notifications(&self, id: u64, most: u64) -> Vec<Event> {
        lock(&self.events).since(id, most)
    }
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Consecutive number.
    pub id: u64,
    /// Kind, one of `notify_get_types`.
    pub kind: &'static str,
    /// To what.
    pub what: String,
}

/// The last events; older ones are forgotten.
#[derive(Debug, Default)]
struct Events {
    next: u64,
    kept: VecDeque<Event>,
}

impl Events {
    fn push(&mut self, kind: &'static str, what: &str) {
        if self.kept.len() == MAX_NOTIFICATIONS {
            self.kept.pop_front();
        }
        self.kept.push_back(Event { id: self.next, kind, what: what.to_owned() });
        self.next += 1;
    }

    fn since(&self, id: u64, most: u64) -> Vec<Event> {
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        self.kept.iter().filter(|event| event.id >= id).take(most).cloned().collect()
    }
}
