//! Control-plane tasks: `async fn`s on one core, a few polls a turn. Never on the data path.

mod executor;
pub mod oneshot;
mod sleep;
mod spawner;
#[cfg(test)]
mod tests;

pub(crate) use executor::Executor;
pub use oneshot::oneshot;
pub use sleep::{Elapsed, Sleep, Timeout, yield_now};
pub use spawner::{Spawner, TooManyTasks};
