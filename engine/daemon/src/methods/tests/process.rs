//! Methods about the process.

use super::Daemon;
use serde_json::{Value, json};

#[test]
fn methods_are_listed_by_phase() {
    let daemon = Daemon::new();
    let names =
        |params: Value| -> Vec<String> { serde_json::from_value(daemon.ok("rpc_get_methods", params)).unwrap() };
    let all = names(json!({"current": false, "include_aliases": false}));
    let early = names(json!({"current": true}));
    assert_eq!(names(Value::Null), all);
    assert!(all.contains(&"bdev_get_bdevs".into()) && !early.contains(&"bdev_get_bdevs".into()));
    assert!(early.contains(&"iscsi_set_options".into()) && early.contains(&"framework_start_init".into()));
    daemon.ok("framework_start_init", Value::Null);
    let late = names(json!({"current": true}));
    assert!(late.contains(&"bdev_get_bdevs".into()) && !late.contains(&"iscsi_set_options".into()));
}

#[test]
fn versions() {
    let daemon = Daemon::new();
    let version = daemon.ok("spdk_get_version", Value::Null);
    assert!(version["version"].as_str().unwrap().starts_with("SPDK v26.09"));
    assert_eq!(version["fields"]["major"], 26);
    let refused = daemon.call("spdk_get_version", json!({})).unwrap_err();
    assert_eq!((refused.code, refused.message.as_str()), (-32602, "spdk_get_version method requires no parameters"));
    assert_eq!(daemon.ok("isere_get_version", Value::Null)["version"], env!("CARGO_PKG_VERSION"));
}

#[test]
fn phases_are_enforced() {
    let daemon = Daemon::new();
    assert_eq!(daemon.code("bdev_get_bdevs", Value::Null), -1);
    daemon.ok("iscsi_set_options", json!({"max_sessions": 7, "mutual_chap": false, "disable_chap": false}));
    daemon.ok("bdev_set_options", json!({"bdev_auto_examine": false}));
    daemon.ok("framework_start_init", Value::Null);
    assert_eq!(daemon.code("iscsi_set_options", json!({})), -1);
    assert_eq!(daemon.code("framework_start_init", Value::Null), -1);
    assert_eq!(daemon.ok("framework_wait_init", Value::Null), true);
    assert_eq!(daemon.ok("iscsi_get_options", Value::Null)["max_sessions"], 7);
}

#[test]
fn signals_are_named() {
    let daemon = Daemon::new();
    // Every real signal would end the test.
    for params in [json!({}), json!({"sig_name": "SIGSTOP"}), json!({"sig_name": 9}), Value::Null] {
        assert_eq!(daemon.code("spdk_kill_instance", params), -32602);
    }
}

#[test]
fn log_levels_and_flags() {
    let daemon = Daemon::new();
    assert_eq!(daemon.ok("log_get_level", Value::Null), "NOTICE");
    daemon.ok("log_set_print_level", json!({"level": "DEBUG"}));
    assert_eq!(daemon.ok("log_get_print_level", Value::Null), "DEBUG");
    daemon.invalid("log_set_level", json!({"level": "LOUD"}), "level: unknown variant `LOUD`, expected one of `ERROR`");
    daemon.ok("log_set_flag", json!({"flag": "bdev"}));
    assert_eq!(daemon.ok("log_get_flags", Value::Null)["bdev"], true);
    daemon.ok("log_clear_flag", json!({"flag": "bdev"}));
    assert_eq!(daemon.code("log_set_flag", json!({"flag": "nonsense"})), -32602);
}

#[test]
fn the_framework_describes_itself() {
    let daemon = Daemon::running();
    let subsystems = daemon.ok("framework_get_subsystems", Value::Null);
    assert_eq!(subsystems[0], json!({"subsystem": "bdev", "depends_on": []}));
    assert!(daemon.ok("framework_get_config", json!({"name": "iscsi", "with_batches": false})).is_array());
    daemon.invalid("framework_get_config", json!({"name": "nvmf"}), "name: Subsystem 'nvmf' not found");
    assert_eq!(daemon.ok("framework_get_reactors", Value::Null)["pid"], std::process::id());
    assert!(daemon.ok("framework_get_scheduler", Value::Null)["scheduler_name"].is_string());
    for method in ["thread_get_stats", "thread_get_pollers", "thread_get_io_channels"] {
        assert!(daemon.ok(method, Value::Null)["threads"].is_array());
    }
    assert!(daemon.ok("iobuf_get_stats", Value::Null).is_array());
}

#[test]
fn events_are_numbered() {
    let daemon = Daemon::running();
    for name in ["a", "b"] {
        daemon.ok("bdev_null_create", json!({"name": name, "num_blocks": 8, "block_size": 512}));
    }
    daemon.ok("bdev_null_delete", json!({"name": "a"}));
    let events = daemon.ok("notify_get_notifications", json!({"id": 1, "max": 5}));
    assert_eq!(
        events,
        json!([{"type": "bdev_register", "ctx": "b", "id": 1}, {"type": "bdev_unregister", "ctx": "a", "id": 2}])
    );
    assert_eq!(daemon.ok("notify_get_notifications", json!({"max": 1})).as_array().unwrap().len(), 1);
    assert_eq!(daemon.ok("notify_get_types", Value::Null)[0], "bdev_register");
}

/// Every method that takes parameters refuses those it does not know, whatever the phase.
#[test]
fn no_method_takes_unknown_parameters() {
    let (early, late) = (Daemon::new(), Daemon::running());
    for method in late.ctx.catalog() {
        let daemon = if method.phase.allows(true) { &late } else { &early };
        assert_eq!(daemon.code(method.name, json!({"no_such_parameter": 1})), -32602, "{}", method.name);
        assert_eq!(daemon.code(method.name, json!([1])), -32602, "{}", method.name);
    }
}
