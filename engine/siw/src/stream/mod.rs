//! FPDUs between a socket and memory. Nothing here knows what a message means.

pub(crate) mod epoll;
pub(crate) mod outbox;
pub(crate) mod receiver;
pub(crate) mod socket;

pub(crate) use epoll::{Epoll, Interest};
pub(crate) use outbox::Outbox;
pub(crate) use receiver::{Received, Receiver, Step};
pub(crate) use socket::Socket;

#[cfg(test)]
mod tests;
