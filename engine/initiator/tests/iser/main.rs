//! Sessions over iSER against scripted targets, on every provider that runs in one process.

mod hostile;
mod perf;
mod session;
mod steady;
mod support;
mod teardown;

#[global_allocator]
static ALLOCATOR: reactors::guard::Counting = reactors::guard::Counting;
