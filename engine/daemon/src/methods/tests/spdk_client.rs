//! SPDK's own client against our server. Needs `spdk-rpc` (PyPI package `spdk`); its path is taken from
//! `ISERE_SPDK_RPC`, and without that variable there is nothing to test.

use super::Daemon;
use rpc::{Listener, Server};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

fn run(program: &str, socket: &Path, arguments: &str) -> String {
    let arguments = arguments.split(' ').filter(|argument| !argument.is_empty());
    // Tildes stand for spaces within an argument.
    let arguments = arguments.map(|argument| argument.replace('~', " "));
    let output = Command::new(program).arg("-s").arg(socket).args(arguments).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

#[test]
fn drives_us_unchanged() {
    let Ok(program) = std::env::var("ISERE_SPDK_RPC") else { return };
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("rpc.sock");
    let Daemon { ctx, table } = Daemon::new();
    let server = Server::start(Listener::bind(&socket).unwrap(), Arc::new(table), Arc::new(ctx)).unwrap();
    let call = |arguments: &str| run(&program, &socket, arguments);

    call("iscsi_set_options -a 64 -q 32");
    call("framework_start_init");
    assert!(call("rpc_get_methods").contains("bdev_get_bdevs"));
    assert!(call("spdk_get_version").contains("SPDK v26.09"));
    assert_eq!(call("bdev_malloc_create -b M0 64 512").trim(), "M0");
    assert_eq!(call("bdev_null_create N0 64 4096").trim(), "N0");
    call("bdev_delay_create -b N0 -d D0 -r 1 -t 2 -w 3 -n 4");
    assert!(call("bdev_get_bdevs -b M0").contains("\"num_blocks\": 131072"));
    call("bdev_get_iostat --names M0");
    call("bdev_set_qos_limit M0 --rw-ios-per-sec 2000 --r-mbytes-per-sec 10");
    assert!(call("bdev_get_bdevs -b M0").contains("\"rw_ios_per_sec\": 2000"));
    call("iscsi_create_auth_group 1 -c user:u1~secret:s1s1s1s1s1s1");
    call("iscsi_create_portal_group 1 127.0.0.1:3260");
    call("iscsi_create_initiator_group 2 ANY 127.0.0.1/32");
    call("iscsi_create_target_node disk1 Data~Disk1 M0:0 1:2 64 -d");
    call("iscsi_target_node_add_lun iqn.2016-06.io.spdk:disk1 D0 -i 1");
    assert!(call("iscsi_get_target_nodes").contains("iqn.2016-06.io.spdk:disk1"));
    for method in ["iscsi_get_portal_groups", "iscsi_get_initiator_groups", "iscsi_get_auth_groups"] {
        assert!(call(method).contains("\"tag\""));
    }
    for method in ["iscsi_get_options", "iscsi_get_connections", "iscsi_get_stats", "framework_get_reactors"] {
        call(method);
    }
    for method in ["thread_get_stats", "thread_get_pollers", "log_get_flags", "notify_get_types", "iobuf_get_stats"] {
        call(method);
    }
    call("log_set_level DEBUG");

    let saved = call("save_config");
    server.stop();

    let Daemon { ctx, table } = Daemon::new();
    let server = Server::start(Listener::bind(&socket).unwrap(), Arc::new(table), Arc::new(ctx)).unwrap();
    let file = dir.path().join("saved.json");
    std::fs::write(&file, &saved).unwrap();
    run(&program, &socket, &format!("load_config -j {}", file.display()));
    assert_eq!(run(&program, &socket, "save_config"), saved, "SPDK's client saves what it loaded");
    server.stop();
}
