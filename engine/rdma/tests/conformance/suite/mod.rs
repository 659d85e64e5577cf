//! What every provider must do. Each clause is a generic function over a [`Harness`]; [`conformance!`] makes the tests.

pub mod batching;
pub mod connecting;
pub mod depth;
pub mod disconnecting;
pub mod draining;
pub mod link;
pub mod ordering;
pub mod posting;
pub mod receiving;
pub mod shared;
pub mod steady;
pub mod windows;

pub use link::{Link, Shape};

use primitives::Tag;
use rdma::Provider;
use std::net::SocketAddr;
use std::time::Duration;

/// An end of the harness. The server listens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// Listens and accepts.
    Server,
    /// Connects.
    Client,
}

impl Side {
    pub const BOTH: [Self; 2] = [Self::Server, Self::Client];

    pub const fn other(self) -> Self {
        match self {
            Self::Server => Self::Client,
            Self::Client => Self::Server,
        }
    }
}

/// What a clause wants of its harness.
#[derive(Clone, Copy, Default, Debug)]
pub struct Options {
    /// For providers that have one.
    pub seed: u64,
    /// The providers let their owners exceed the negotiated ORD, so that the other end's defence is seen. Only asked of
    /// harnesses that [can](Harness::overruns_depth).
    pub overruns_depth: bool,
    /// A Send waits for a receive as long as it takes, where the transport has it wait at all and the harness can say
    /// how long.
    pub patient: bool,
}

/// What a harness has below it that the seam's words cannot be held against. The software providers need none of it.
#[derive(Clone, Copy, Default, Debug)]
pub struct Leeway {
    /// Requests are carried out as soon as they are rung, not only while [`Harness::pause`] lasts.
    pub eager: bool,
    /// The acceptor's device serves as many Reads as the requester wants, even if its owner wanted fewer (iWARP).
    pub generous_depth: bool,
    /// Nobody counts how often a Send waits for a receive.
    pub uncounted_waits: bool,
    /// A Terminate looks like any other end of the connection (iWARP).
    pub silent_terminate: bool,
    /// A request that the provider turns away looks as if its owner had (iWARP).
    pub silent_refusal: bool,
    /// A completion does not say what the peer's Send has invalidated.
    pub silent_invalidation: bool,
    /// A Send that invalidates what it must not is acknowledged, and ends the connection all the same (InfiniBand).
    pub acknowledged_invalidation: bool,
}

/// Two devices that reach each other, with whatever drives them.
pub trait Harness: Sized {
    type P: Provider;

    fn new(options: Options) -> Self;
    fn provider(&mut self, side: Side) -> &mut Self::P;
    /// Where the server can listen.
    fn address(&self) -> SocketAddr;
    /// Where nobody listens.
    fn nowhere(&self) -> SocketAddr;
    /// Lets a little time pass; the time after it, in nanoseconds.
    fn pause(&mut self) -> u64;
    /// What is not asked of its devices.
    fn leeway(&self) -> Leeway {
        Leeway::default()
    }
    /// How long something that should happen is waited for at least, beside so many turns.
    fn patience(&self) -> Duration {
        Duration::ZERO
    }
    /// Whether [`Options::overruns_depth`] works.
    fn overruns_depth(&self) -> bool {
        false
    }
    /// Removes a device, if the harness can.
    fn remove_device(&mut self, _side: Side) -> bool {
        false
    }
    /// Loses the connection of a queue pair, if the harness can.
    fn lose(&mut self, _queue: Tag) -> bool {
        false
    }
    /// The clause made a peer misbehave towards windows: whoever watches over that must not mind.
    fn forgive(&mut self) {}
    /// Everything has been given back: the harness may look whether it was.
    fn finish(&mut self) {}
}

/// Makes a module of tests of one harness.
#[macro_export]
macro_rules! conformance {
    ($name:ident, $harness:ty) => {
        mod $name {
            conformance!(@clauses $harness,
                connecting: [
                    negotiates_depth_and_carries_private_data, carries_the_largest_private_data,
                    refuses_private_data_that_is_too_long, rejects_with_private_data, nobody_listens,
                    backlog_is_kept, request_is_withdrawn, unlisten_rejects_what_waits,
                    a_queue_starts_once, ends_make_room_for_others, limits_are_refusals
                ],
                disconnecting: [
                    by_either_side, twice, while_connecting, while_requested, while_prepared,
                    while_accepting, never_started, dropped_while_busy, device_removed, connection_lost
                ],
                ordering: [
                    sends_arrive_in_order_and_whole, writes_are_placed_before_the_send_behind_them,
                    reads_bring_what_is_there, completions_keep_the_order_of_posting, gathers_and_empty_messages
                ],
                receiving: [
                    too_long_a_message, no_receive_posted_for_a_while, no_receive_posted_ever,
                    receives_before_start_catch_the_first_message
                ],
                posting: [refuses_what_exceeds_the_buffer, refuses_foreign_memory, refuses_in_the_wrong_state,
                    full_queues_are_values, memory_in_use_stays_registered],
                depth: [read_depth_is_back_pressure, depth_zero_reads_nothing, overrun_is_refused],
                windows: [
                    exactly_its_bytes, every_wrong_edge, wrong_rights, guessed_stags,
                    another_connections_stag, stale_after_local_invalidate, stale_after_remote_invalidate,
                    wrong_remote_invalidate, closed_but_not_reclaimed, nothing_is_declared_meaningful,
                    invalidating_what_is_none, memory_stays_until_closed,
                    windows_run_out_and_come_back, stags_change_with_every_use, empty_accesses_need_no_window,
                    a_window_to_read_holds_only_what_is_meaningful
                ],
                draining: [every_request_completes_once, unsignalled_requests_come_back, windows_come_back,
                    at_any_moment],
                batching: [one_doorbell_for_a_batch, nothing_moves_before_the_doorbell,
                    unsignalled_complete_with_the_next_signalled, small_batches_lose_nothing, counters_add_up],
                shared: [draws_from_one_pool_for_two_connections, survives_one_connections_failure],
                steady: [allocates_nothing_per_request]
            );
        }
    };
    (@clauses $harness:ty, $($module:ident: [$($clause:ident),* $(,)?]),* $(,)?) => {
        $(mod $module {
            $(#[test]
            fn $clause() {
                $crate::suite::$module::$clause::<$harness>();
            })*
        })*
    };
}
