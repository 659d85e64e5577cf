//! What every block device promises, tried on every block device.

mod clauses;
mod devices;
mod rig;

#[global_allocator]
static ALLOCATOR: reactors::guard::Counting = reactors::guard::Counting;

/// One module for each device, one test for each clause.
macro_rules! contract {
    ($($device:ident: $make:expr;)*) => {$(
        mod $device {
            use crate::{clauses, devices};
            every_clause!($make);
        }
    )*};
}

macro_rules! every_clause {
    ($make:expr) => {
        every_clause!($make; reads_what_was_written, keeps_to_a_model,
            returns_tags_and_buffers, refuses_what_is_out_of_range,
            refuses_bad_lengths_and_memory, serves_the_last_block, recovers_from_being_full, aborts_complete_once,
            flushes_and_forces, unmaps, writes_zeroes, serves_two_cores, survives_a_dropped_channel, lends,
            allocates_nothing, wakes_a_sleeper, completes_without_further_kicks, does_at_once_what_it_can,
            reads_in_place_what_it_can);
    };
    ($make:expr; $($clause:ident),*) => {$(
        #[test]
        fn $clause() {
            clauses::$clause(&mut $make);
        }
    )*};
}

contract! {
    null_512: devices::null(512);
    null_4096: devices::null(4096);
    null_lending_4096: devices::null_lending(4096);
    malloc_512: devices::malloc(512);
    malloc_4096: devices::malloc(4096);
    counted_malloc_512: devices::counted_malloc(512);
    limited_null_512: devices::limited(devices::null(512));
    limited_malloc_4096: devices::limited(devices::malloc(4096));
    limited_uring_4096: devices::limited(devices::uring_in_memory(4096));
    uring_buffered_512: devices::uring_buffered(512);
    uring_buffered_4096: devices::uring_buffered(4096);
    uring_direct_512: devices::uring_direct(512);
    uring_direct_4096: devices::uring_direct(4096);
    uring_in_memory_4096: devices::uring_in_memory(4096);
    uring_threaded_4096: devices::uring_threaded(4096);
    remote_malloc_512: devices::remote_malloc(512);
    remote_malloc_4096: devices::remote_malloc(4096);
    remote_uring_4096: devices::remote_uring(4096);
    worker_512: devices::worker(512);
    worker_4096: devices::worker(4096);
    delay_malloc_512: devices::delay_malloc(512);
    error_malloc_4096: devices::error_malloc(4096);
    sim_512: devices::sim(512, true);
    sim_4096: devices::sim(4096, false);
}
