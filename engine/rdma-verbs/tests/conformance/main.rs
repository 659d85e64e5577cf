//! The conformance suite of the verbs seam over libibverbs and librdmacm.
//!
//! `RDMA_VERBS_ADDRESS` names a local address that is bound to an RDMA device: an adapter, or the kernel's rxe or siw.
//! Without it, the tests run under `libsoftverbs.so`, which the build of this test leaves beside it (`SOFTVERBS` names
//! another). There is one device for all of them, so they run one after the other.

mod beyond;
mod harness;
mod preload;
#[macro_use]
#[path = "../../../rdma/tests/conformance/suite/mod.rs"]
mod suite;

#[global_allocator]
static ALLOCATOR: reactors::guard::Counting = reactors::guard::Counting;

conformance!(verbs, crate::harness::Device);
