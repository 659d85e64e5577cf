//! The program as scripts see it: exit codes, the socket, signals, configuration files.

mod support;

use std::process::Command;
use support::{ISERE, Serving, serve};

#[test]
fn exit_codes() {
    let serving = Serving::start(&[]);
    assert_eq!(
        serving.ok(&["bdev_malloc_create", r#"{"name":"M0","num_blocks":128,"block_size":512}"#]).trim(),
        r#""M0""#
    );
    assert!(serving.ok(&["bdev_get_bdevs"]).contains("Malloc disk"));
    assert!(serving.ok(&["framework_get_reactors"]).contains("lw_threads"));
    let refused = serving.rpc(&["bdev_malloc_delete", r#"{"name":"X"}"#]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("No such device"));
    assert_eq!(serving.rpc(&["bdev_get_bdevs", "{"]).status.code(), Some(2));
    assert_eq!(serving.rpc(&["bdev_get_bdevs", "[]"]).status.code(), Some(2));
    serving.ok(&["spdk_kill_instance", r#"{"sig_name":"SIGTERM"}"#]);
    assert_eq!(serving.end(), Some(0));
}

#[test]
fn a_second_instance_is_refused() {
    let serving = Serving::start(&[]);
    let second = serve(serving.dir.path(), &[]).output().unwrap();
    assert_eq!(second.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&second.stderr).contains("another instance"));
    serving.ok(&["spdk_get_version"]);
    serving.ok(&["spdk_kill_instance", r#"{"sig_name":"SIGINT"}"#]);
    assert_eq!(serving.end(), Some(0));
}

#[test]
fn configurations_are_saved_and_started_with() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("config.json");
    let first = Serving::start(&["--wait-for-rpc"]);
    first.ok(&["iscsi_set_options", r#"{"max_sessions":5}"#]);
    first.ok(&["framework_start_init"]);
    first.ok(&["bdev_null_create", r#"{"name":"N","num_blocks":128,"block_size":512}"#]);
    first.ok(&["save_config", &format!(r#"{{"filename":{file:?}}}"#)]);
    let saved = first.ok(&["save_config"]);
    first.ok(&["spdk_kill_instance", r#"{"sig_name":"SIGTERM"}"#]);
    assert_eq!(first.end(), Some(0));

    let second = Serving::start(&["--config", file.to_str().unwrap()]);
    assert_eq!(second.ok(&["save_config"]), saved);
    second.ok(&["spdk_kill_instance", r#"{"sig_name":"SIGTERM"}"#]);
    assert_eq!(second.end(), Some(0));

    std::fs::write(&file, saved.replace("\"num_blocks\": 128", "\"num_blocks\": \"many\"")).unwrap();
    let output = serve(dir.path(), &["--config", file.to_str().unwrap()]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(text.contains("config.json: bdev_null_create: Invalid parameters: num_blocks"), "{text}");
}

#[test]
fn without_a_target_nothing_answers() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("none.sock");
    let output = Command::new(ISERE).arg("rpc").arg("--rpc-socket").arg(&socket).arg("x").output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    let usage = Command::new(ISERE).args(["serve", "--cores"]).output().unwrap();
    assert_eq!(usage.status.code(), Some(2));
    let cores = serve(dir.path(), &["--cores", "9999"]).output().unwrap();
    assert_eq!(cores.status.code(), Some(1));
    for arguments in [&["version"][..], &["completions", "bash"], &["--help"], &["serve", "--help"]] {
        assert!(Command::new(ISERE).args(arguments).output().unwrap().status.success(), "{arguments:?}");
    }
}
