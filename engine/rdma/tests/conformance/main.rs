//! The conformance suite of the verbs seam, run over the providers of this crate. Another crate runs it over its own
//! with `#[path = "../../rdma/tests/conformance/suite/mod.rs"] mod suite;`, a [`suite::Harness`], and
//! [`conformance!`].

#[macro_use]
mod suite;
mod loopback;

#[global_allocator]
static ALLOCATOR: reactors::guard::Counting = reactors::guard::Counting;

conformance!(infiniband, crate::loopback::InfiniBand);
conformance!(iwarp, crate::loopback::Iwarp);
