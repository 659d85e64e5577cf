//! The RPC methods, one file per family. Names, parameters, results and error codes are SPDK's; what is ours alone says
//! so. Parameters are decoded strictly: an error names the field.

mod app;
mod bdev_alter;
mod bdev_create;
mod bdev_info;
mod bdev_options;
mod bdev_qos;
mod bdev_stat;
mod configuration;
mod framework;
mod iobuf;
mod iscsi_auth;
mod iscsi_info;
mod iscsi_initiator;
mod iscsi_options;
mod iscsi_portal;
mod iscsi_target;
mod iscsi_target_maps;
mod logging;
mod notify;
mod params;
mod thread;

#[cfg(test)]
pub mod tests;

use crate::context::Control;
use rpc::MethodTable;

/// The table of all methods.
pub fn table() -> MethodTable<Control> {
    let mut table = MethodTable::default();
    let families = [
        app::register,
        framework::register,
        thread::register,
        logging::register,
        notify::register,
        iobuf::register,
        configuration::register,
        bdev_options::register,
        bdev_create::register,
        bdev_alter::register,
        bdev_info::register,
        bdev_stat::register,
        bdev_qos::register,
        iscsi_options::register,
        iscsi_auth::register,
        iscsi_portal::register,
        iscsi_initiator::register,
        iscsi_target::register,
        iscsi_target_maps::register,
        iscsi_info::register,
    ];
    for register in families {
        register(&mut table);
    }
    table
}
