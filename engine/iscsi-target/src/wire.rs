//! What carries a connection.

/// The datamover of a connection.
pub type Wire = iscsi_tcp::Tcp;
