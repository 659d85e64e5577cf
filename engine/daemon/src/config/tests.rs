use super::*;
use crate::methods::tests::Daemon;
use serde_json::{Value, json};
use std::path::PathBuf;

/// A configuration that has one of everything.
fn full() -> Daemon {
    let daemon = Daemon::new();
    daemon.ok("iscsi_set_options", json!({"max_sessions": 9, "nop_in_interval": 5, "first_burst_length": 8192}));
    daemon.ok("bdev_set_options", json!({"bdev_auto_examine": false}));
    daemon.ok("framework_start_init", Value::Null);
    daemon.ok("bdev_malloc_create", json!({"num_blocks": 128, "block_size": 512, "optimal_io_boundary": 8}));
    daemon.ok("bdev_null_create", json!({"name": "N", "num_blocks": 128, "block_size": 4096}));
    daemon.ok("bdev_null_resize", json!({"name": "N", "new_size": 2}));
    daemon.ok("bdev_set_qos_limit", json!({"name": "N", "rw_ios_per_sec": 7, "w_mbytes_per_sec": 5}));
    daemon.ok("bdev_uring_create", json!({"name": "U", "filename": "/dev/u"}));
    daemon.ok("bdev_aio_create", json!({"name": "A", "filename": "/dev/a", "readonly": true, "block_size": 512}));
    let delay = json!({
        "name": "D", "base_bdev_name": "N", "avg_read_latency": 1, "p99_read_latency": 2,
        "avg_write_latency": 3, "p99_write_latency": 4,
    });
    daemon.ok("bdev_delay_create", delay);
    daemon.ok("bdev_error_create", json!({"base_name": "D"}));
    let secret = json!({"user": "u", "secret": "ssssssssssss", "muser": "m", "msecret": "mmmmmmmmmmmm"});
    daemon.ok("iscsi_create_auth_group", json!({"tag": 3, "secrets": [secret]}));
    daemon.ok("iscsi_set_discovery_auth", json!({"require_chap": true, "chap_group": 3}));
    let iser = json!({"host": "[::1]", "port": "3261", "transport": "iser", "provider": "siw"});
    let tcp = json!({"host": "127.0.0.1", "port": "3261", "transport": "tcp"});
    let verbs = json!({"host": "127.0.0.2", "port": "3261", "provider": "verbs"});
    let portals = json!([{"host": "127.0.0.1", "port": "3260"}, iser, tcp, verbs]);
    daemon.ok("iscsi_create_portal_group", json!({"tag": 1, "portals": portals, "wait": true}));
    daemon.ok("iscsi_portal_group_set_auth", json!({"tag": 1, "disable_chap": true}));
    let private = json!({"tag": 2, "portals": [{"host": "127.0.0.1", "port": "3262"}], "private": true});
    daemon.ok("iscsi_create_portal_group", private);
    daemon.ok("iscsi_create_initiator_group", json!({"tag": 1, "initiators": ["!x", "ANY"], "netmasks": ["ANY"]}));
    let node = json!({
        "name": "t", "alias_name": "", "queue_depth": 8, "header_digest": true, "require_chap": true,
        "chap_group": 3, "luns": [{"bdev_name": "EE_D", "lun_id": 4}, {"bdev_name": "U"}],
        "pg_ig_maps": [{"pg_tag": 1, "ig_tag": 1}],
    });
    daemon.ok("iscsi_create_target_node", node);
    let redirect = json!({
        "name": "iqn.2016-06.io.spdk:t", "pg_tag": 1, "redirect_host": "127.0.0.1", "redirect_port": "3262",
    });
    daemon.ok("iscsi_target_node_set_redirect", redirect);
    daemon
}

fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.json");
    std::fs::write(&path, text).unwrap();
    (dir, path)
}

fn load(daemon: &Daemon, path: &std::path::Path) -> Result<(), ConfigError> {
    apply(&crate::methods::table(), &daemon.ctx, &read(path)?, Apply::All)
}

#[test]
fn what_is_saved_loads_as_the_same() {
    let saved = full();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.json");
    assert_eq!(saved.ok("save_config", json!({"filename": path})), true);
    let loaded = Daemon::new();
    load(&loaded, &path).unwrap();
    assert_eq!(*loaded.ctx.model(), *saved.ctx.model());
    assert_eq!(document(&loaded.ctx.model()), document(&saved.ctx.model()));
    assert_eq!(saved.ok("save_config", json!({})), document(&saved.ctx.model()));
}

#[test]
fn rate_limits_follow_their_device() {
    let document = document(&full().ctx.model());
    let calls = document["subsystems"][0]["config"].as_array().unwrap();
    let at = calls.iter().position(|call| call["method"] == "bdev_set_qos_limit").unwrap();
    assert_eq!(calls[at - 1]["params"]["name"], "N");
    assert_eq!(calls[at]["params"], json!({"name": "N", "rw_ios_per_sec": 7, "w_mbytes_per_sec": 5}));
    assert_eq!(calls.iter().filter(|call| call["method"] == "bdev_set_qos_limit").count(), 1);
}

#[test]
fn files_are_private_and_replaced_whole() {
    use std::os::unix::fs::PermissionsExt;
    let (dir, path) = file("old");
    write(&path, &json!({"subsystems": []})).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "no temporary file is left");
    assert!(read(&path).unwrap().is_empty());
    let daemon = Daemon::running();
    assert_eq!(daemon.code("save_config", json!({"filename": dir.path().join("no/such/dir")})), -2);
    assert_eq!(daemon.code("save_config", json!({"filename": "/"})), -21);
}

#[test]
fn mistakes_name_the_file_the_method_and_the_field() {
    let bad = |text: &str| {
        let (_dir, path) = file(text);
        let daemon = Daemon::new();
        let error = load(&daemon, &path).expect_err(text).in_file(&path);
        assert!(daemon.ctx.model().bdevs.is_empty(), "nothing was changed");
        let text = error.to_string();
        text.strip_prefix(&format!("{}: ", path.display())).unwrap_or(&text).to_owned()
    };
    let calls = |calls: &str| format!(r#"{{"subsystems":[{{"subsystem":"bdev","config":[{calls}]}}]}}"#);
    let good = r#"{"method":"bdev_null_create","params":{"name":"N","num_blocks":8,"block_size":512}}"#;
    let with = |bad: &str| calls(&format!("{good},{bad}"));
    let text = bad(&with(r#"{"method":"bdev_null_create","params":{"name":"M","num_blocks":"8","block_size":512}}"#));
    assert!(text.starts_with("bdev_null_create: Invalid parameters: num_blocks: invalid type"), "{text}");
    let text = bad(&with(r#"{"method":"accel_set_options","params":{}}"#));
    assert!(text.starts_with("accel_set_options: no method that a configuration may call"), "{text}");
    assert!(bad(&with(r#"{"method":"spdk_kill_instance","params":{"sig_name":"SIGKILL"}}"#)).starts_with("spdk_kill"));
    assert!(bad(&with(r#"{"method":"x","extra":1}"#)).contains("unknown field `extra`"));
    assert!(bad(&with("7")).contains("invalid type"));
    assert!(bad("{").contains("EOF"));
    assert!(bad(r#"{"subsystem":[]}"#).contains("unknown field `subsystem`"));
    assert!(bad(&with(good)).contains("File exists"), "the second of the same name");
}

#[test]
fn spdks_null_and_batched_configurations_load() {
    let text = r#"{"subsystems":[{"subsystem":"scsi","config":null},{"subsystem":"bdev","config":[
        [{"method":"bdev_null_create","params":{"name":"A","num_blocks":8,"block_size":512}},
         {"method":"bdev_null_create","params":{"name":"B","num_blocks":8,"block_size":512}}],
        {"method":"bdev_wait_for_examine","params":null}]}]}"#;
    let (_dir, path) = file(text);
    let daemon = Daemon::new();
    load(&daemon, &path).unwrap();
    assert_eq!(daemon.ctx.model().bdevs.len(), 2);
}

#[test]
fn loading_over_rpc_adds_or_changes_nothing() {
    let daemon = Daemon::running();
    daemon.ok("bdev_null_create", json!({"name": "N", "num_blocks": 8, "block_size": 512}));
    let (_dir, path) = file(&document(&daemon.ctx.model()).to_string());
    daemon.invalid("load_config", json!({"filename": path}), "filename: ");
    daemon.ok("bdev_null_delete", json!({"name": "N"}));
    daemon.ok("load_config", json!({"filename": path}));
    assert_eq!(daemon.ctx.model().bdevs.len(), 1);
    daemon.invalid("load_config", json!({"filename": "/no/such/file"}), "filename: /no/such/file: No such file");
}
