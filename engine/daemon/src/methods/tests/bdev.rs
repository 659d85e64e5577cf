//! Block device methods.

use super::Daemon;
use crate::engine::Rehearsal;
use serde_json::{Value, json};

#[test]
fn malloc_with_everything_spdks_client_sends() {
    let daemon = Daemon::running();
    let params = json!({
        "num_blocks": 131_072, "block_size": 512, "md_interleave": false, "dif_is_head_of_md": false,
    });
    assert_eq!(daemon.ok("bdev_malloc_create", params.clone()), "Malloc0");
    assert_eq!(daemon.ok("bdev_malloc_create", params), "Malloc1");
    let bdevs = daemon.ok("bdev_get_bdevs", json!({"name": "Malloc1"}));
    let bdev = &bdevs[0];
    assert_eq!(
        (&bdev["name"], &bdev["num_blocks"], &bdev["product_name"]),
        (&json!("Malloc1"), &json!(131_072), &json!("Malloc disk"))
    );
    assert_eq!(
        (&bdev["claimed"], &bdev["zoned"], &bdev["driver_specific"]),
        (&json!(false), &json!(false), &json!({}))
    );
    assert_eq!(bdev["supported_io_types"]["write"], true);
    assert_eq!(bdev["assigned_rate_limits"]["rw_ios_per_sec"], 0);
    let by_uuid = daemon.ok("bdev_get_bdevs", json!({"name": bdev["uuid"]}));
    assert_eq!(by_uuid, bdevs);
    assert_eq!(daemon.ok("bdev_get_bdevs", Value::Null).as_array().unwrap().len(), 2);
}

#[test]
fn error_codes_are_spdks() {
    let daemon = Daemon::running();
    let null = |name: &str| json!({"name": name, "num_blocks": 8, "block_size": 512});
    daemon.ok("bdev_null_create", null("N"));
    let exists = daemon.call("bdev_null_create", null("N")).unwrap_err();
    assert!(exists.code == -17 && exists.message.starts_with("File exists"), "{exists}");
    let missing = daemon.call("bdev_get_bdevs", json!({"name": "X"})).unwrap_err();
    assert!(missing.code == -19 && missing.message.starts_with("No such device"), "{missing}");
    assert_eq!(daemon.code("bdev_null_delete", json!({"name": "X"})), -19);
    assert_eq!(daemon.code("bdev_malloc_delete", json!({"name": "N"})), -19, "of another kind");
    assert_eq!(daemon.code("bdev_null_create", json!({"name": "Z", "num_blocks": 8, "block_size": 520})), -22);
    assert_eq!(daemon.code("bdev_null_create", json!({"name": "Z", "num_blocks": 0, "block_size": 512})), -22);
    daemon.invalid(
        "bdev_null_create",
        json!({"name": "Z", "num_blocks": "8", "block_size": 512}),
        "num_blocks: invalid type",
    );
    daemon.invalid("bdev_null_create", json!({"name": "Z", "block_size": 512}), "missing field `num_blocks`");
    daemon.invalid(
        "bdev_malloc_create",
        json!({"num_blocks": 8, "block_size": 512, "md_size": 8}),
        "md_size: expected 0",
    );
    daemon.invalid(
        "bdev_malloc_create",
        json!({"num_blocks": 8, "block_size": 512, "uuid": "x"}),
        "uuid: expected a UUID",
    );
}

#[test]
fn same_uuid_twice_is_refused() {
    let daemon = Daemon::running();
    let uuid = "2f7c0a55-1b6e-4d0c-9a3e-0123456789ab";
    daemon.ok("bdev_null_create", json!({"name": "A", "num_blocks": 8, "block_size": 512, "uuid": uuid}));
    assert_eq!(
        daemon.code("bdev_null_create", json!({"name": "B", "num_blocks": 8, "block_size": 512, "uuid": uuid})),
        -17
    );
    assert_eq!(daemon.code("bdev_null_create", json!({"name": uuid, "num_blocks": 8, "block_size": 512})), -17);
}

#[test]
fn waiting_for_a_device() {
    let daemon = Daemon::running();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| daemon.ok("bdev_get_bdevs", json!({"name": "N", "timeout": 60_000})));
        daemon.ok("bdev_null_create", json!({"name": "N", "num_blocks": 8, "block_size": 512}));
        assert_eq!(waiting.join().unwrap()[0]["name"], "N");
    });
    assert_eq!(daemon.code("bdev_get_bdevs", json!({"name": "X", "timeout": 1})), -19);
    daemon.invalid("bdev_get_bdevs", json!({"name": "X", "timeout": 10_000_000}), "timeout: expected at most");
}

#[test]
fn layers_claim_their_base() {
    let daemon = Daemon::running();
    let delay = |name: &str, base: &str, p99: u64| {
        json!({
            "name": name, "base_bdev_name": base, "avg_read_latency": 5, "p99_read_latency": p99,
            "avg_write_latency": 5, "p99_write_latency": 9,
        })
    };
    daemon.ok("bdev_null_create", json!({"name": "N", "num_blocks": 8, "block_size": 512}));
    assert_eq!(daemon.code("bdev_delay_create", delay("D", "X", 9)), -19);
    assert_eq!(daemon.code("bdev_delay_create", delay("D", "N", 4)), -22);
    assert_eq!(daemon.ok("bdev_delay_create", delay("D", "N", 9)), "D");
    assert_eq!(daemon.code("bdev_delay_create", delay("E", "N", 9)), -1, "EPERM: claimed");
    assert_eq!(daemon.code("bdev_null_delete", json!({"name": "N"})), -16);
    let base = &daemon.ok("bdev_get_bdevs", json!({"name": "N"}))[0];
    assert_eq!((&base["claimed"], &base["claim_type"]), (&json!(true), &json!("exclusive_write")));
    daemon
        .ok("bdev_delay_update_latency", json!({"delay_bdev_name": "D", "latency_type": "p99_read", "latency_us": 77}));
    let shown = &daemon.ok("bdev_get_bdevs", json!({"name": "D"}))[0]["driver_specific"]["delay"];
    assert_eq!((&shown["p99_read_latency"], &shown["base_bdev_name"]), (&json!(77), &json!("N")));
    let update = |name: &str| json!({"delay_bdev_name": name, "latency_type": "avg_read", "latency_us": 1});
    assert_eq!(daemon.code("bdev_delay_update_latency", update("X")), -32602);
    assert_eq!(daemon.code("bdev_delay_update_latency", update("N")), -32600);
    daemon.ok("bdev_delay_delete", json!({"name": "D"}));
    daemon.ok("bdev_null_delete", json!({"name": "N"}));
}

#[test]
fn error_layers() {
    let daemon = Daemon::running();
    daemon.ok("bdev_null_create", json!({"name": "N", "num_blocks": 8, "block_size": 512}));
    assert_eq!(daemon.ok("bdev_error_create", json!({"base_name": "N"})), true);
    daemon.ok("bdev_error_inject_error", json!({"name": "EE_N", "io_type": "read", "error_type": "failure", "num": 2}));
    daemon.ok("bdev_error_resume_pending", json!({"name": "EE_N"}));
    assert_eq!(
        daemon.code("bdev_error_inject_error", json!({"name": "N", "io_type": "read", "error_type": "failure"})),
        -19
    );
    let nvme = json!({"name": "EE_N", "io_type": "read", "error_type": "nvme_failure", "nvme_sc": 1});
    assert_eq!(daemon.code("bdev_error_inject_error", nvme), -22);
    daemon.invalid(
        "bdev_error_inject_error",
        json!({"name": "EE_N", "io_type": "x", "error_type": "failure"}),
        "io_type: unknown variant",
    );
    let ranged = |lba: Value, num_blocks: Value| {
        let mut params = json!({"name": "EE_N", "io_type": "read", "error_type": "failure"});
        params["lba"] = lba;
        params["num_blocks"] = num_blocks;
        params
    };
    daemon.ok("bdev_error_inject_error", ranged(json!(3), json!(2)));
    daemon.ok("bdev_error_inject_error", ranged(json!(3), Value::Null));
    assert_eq!(daemon.code("bdev_error_inject_error", ranged(json!(3), json!(0))), -22);
    assert_eq!(daemon.code("bdev_error_inject_error", ranged(Value::Null, json!(1))), -22);
    daemon.ok("bdev_error_delete", json!({"name": "EE_N"}));
}

#[test]
fn resizing() {
    let daemon = Daemon::running();
    daemon.ok("bdev_null_create", json!({"name": "N", "num_blocks": 8, "block_size": 512}));
    assert_eq!(daemon.ok("bdev_null_resize", json!({"name": "N", "new_size": 1})), true);
    assert_eq!(daemon.ok("bdev_get_bdevs", json!({"name": "N"}))[0]["num_blocks"], 2048);
    assert_eq!(daemon.code("bdev_null_resize", json!({"name": "N", "new_size": 0})), -22);
    assert_eq!(daemon.code("bdev_null_resize", json!({"name": "N", "new_size": u64::MAX})), -22);
    assert_eq!(daemon.code("bdev_null_resize", json!({"name": "X", "new_size": 1})), -19);
    assert_eq!(daemon.code("bdev_uring_rescan", json!({"name": "N"})), -19);
}

#[test]
fn rate_limits_are_set_one_by_one_and_shown() {
    let daemon = Daemon::running();
    daemon.ok("bdev_null_create", json!({"name": "N", "num_blocks": 8, "block_size": 512}));
    let shown = |daemon: &Daemon| daemon.ok("bdev_get_bdevs", json!({"name": "N"}))[0]["assigned_rate_limits"].clone();
    let limits = |ios: u64, both: u64, reads: u64, writes: u64| {
        json!({
            "rw_ios_per_sec": ios, "rw_mbytes_per_sec": both, "r_mbytes_per_sec": reads, "w_mbytes_per_sec": writes,
        })
    };
    assert_eq!(shown(&daemon), limits(0, 0, 0, 0));
    assert_eq!(daemon.ok("bdev_set_qos_limit", json!({"name": "N", "rw_ios_per_sec": 1})), true);
    daemon.ok("bdev_set_qos_limit", json!({"name": "N", "rw_mbytes_per_sec": 20, "w_mbytes_per_sec": 10}));
    assert_eq!(shown(&daemon), limits(1, 20, 0, 10), "what is not given stays");
    let missing = daemon.call("bdev_set_qos_limit", json!({"name": "X", "rw_ios_per_sec": 1})).unwrap_err();
    assert!(missing.code == -19 && missing.message.ends_with('X'), "{missing}");
    let nothing = daemon.call("bdev_set_qos_limit", json!({"name": "N"})).unwrap_err();
    assert!(nothing.code == -22 && nothing.message.contains("no rate limits"), "{nothing}");
    let huge = json!({"name": "N", "r_mbytes_per_sec": u64::MAX});
    let huge = daemon.call("bdev_set_qos_limit", huge).unwrap_err();
    assert!(huge.code == -22 && huge.message.contains("r_mbytes_per_sec: expected at most"), "{huge}");
    daemon.invalid("bdev_set_qos_limit", json!({"name": "N", "rw_ios_per_sec": -1}), "rw_ios_per_sec: invalid value");
    daemon.invalid("bdev_set_qos_limit", json!({"name": "N", "r_ios_per_sec": 1}), "r_ios_per_sec: unknown field");
    assert_eq!(shown(&daemon), limits(1, 20, 0, 10), "what is refused changes nothing");
    daemon.ok("bdev_null_delete", json!({"name": "N"}));
    daemon.ok("bdev_null_create", json!({"name": "N", "num_blocks": 8, "block_size": 512}));
    assert_eq!(shown(&daemon), limits(0, 0, 0, 0), "limits end with their device");
    daemon.ok("bdev_set_qos_limit", json!({"name": "N", "rw_ios_per_sec": 3}));
    daemon.ok("bdev_set_qos_limit", json!({"name": "N", "rw_ios_per_sec": 0}));
    assert!(daemon.ctx.model().rate_limits.is_empty());
}

#[test]
fn iostat_has_spdks_shape() {
    let daemon = Daemon::running();
    daemon.ok("bdev_null_create", json!({"name": "N", "num_blocks": 8, "block_size": 512}));
    let stat = daemon.ok("bdev_get_iostat", json!({"names": ["N"], "per_channel": false}));
    assert_eq!((&stat["bdevs"][0]["name"], &stat["bdevs"][0]["num_read_ops"]), (&json!("N"), &json!(0)));
    for key in ["bytes_written", "num_unmap_ops", "copy_latency_ticks", "min_write_latency_ticks", "io_error"] {
        assert!(!stat["bdevs"][0][key].is_null(), "{key}");
    }
    assert!(daemon.ok("bdev_get_iostat", json!({"names": ["N"], "per_channel": true}))["channels"].is_array());
    assert_eq!(daemon.code("bdev_get_iostat", json!({"per_channel": true, "names": []})), -22);
    assert_eq!(daemon.code("bdev_get_iostat", json!({"names": ["X"]})), -19);
    daemon.ok("bdev_reset_iostat", json!({"name": "N", "mode": "maxmin"}));
    assert_eq!(daemon.code("bdev_reset_iostat", json!({"name": "X"})), -19);
    daemon.ok("bdev_wait_for_examine", Value::Null);
    daemon.ok("bdev_examine", json!({"name": "N"}));
}

#[test]
fn deleting_a_mapped_device_removes_its_luns() {
    let daemon = Daemon::with_target();
    daemon.ok("bdev_malloc_delete", json!({"name": "M0"}));
    assert_eq!(daemon.target()["luns"], json!([]));
    assert_eq!(daemon.ok("bdev_get_bdevs", Value::Null), json!([]));
}

#[test]
fn what_cannot_be_published_is_undone() {
    let daemon = Daemon::on(Rehearsal::publishing(1));
    daemon.ok("framework_start_init", Value::Null);
    assert_eq!(daemon.code("bdev_null_create", json!({"name": "N", "num_blocks": 8, "block_size": 512})), -5);
    assert!(daemon.ctx.engine().bdev("N").is_none(), "the engine forgot it");
    assert!(daemon.ctx.model().bdevs.is_empty(), "so did the model");
    assert_eq!(daemon.ok("notify_get_notifications", json!({})), json!([]));
}

#[test]
fn limits_are_refusals() {
    let daemon = Daemon::running();
    for at in 0..crate::limits::MAX_BDEVS {
        daemon.ok("bdev_null_create", json!({"name": format!("n{at}"), "num_blocks": 8, "block_size": 512}));
    }
    assert_eq!(daemon.code("bdev_null_create", json!({"name": "more", "num_blocks": 8, "block_size": 512})), -28);
}

#[test]
fn concurrent_creation_and_deletion_leave_one_story() {
    let daemon = Daemon::running();
    let params = json!({"name": "N", "num_blocks": 8, "block_size": 512});
    let (created, deleted) = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let mut done = (0, 0);
                    for _ in 0..200 {
                        match daemon.call("bdev_null_create", params.clone()) {
                            Ok(_) => done.0 += 1,
                            Err(error) => assert_eq!(error.code, -17, "{error}"),
                        }
                        match daemon.call("bdev_null_delete", json!({"name": "N"})) {
                            Ok(_) => done.1 += 1,
                            Err(error) => assert_eq!(error.code, -19, "{error}"),
                        }
                    }
                    done
                })
            })
            .collect();
        let done = workers.into_iter().map(|worker| worker.join().unwrap());
        done.fold((0, 0), |sum, done| (sum.0 + done.0, sum.1 + done.1))
    });
    let left = daemon.ctx.model().bdevs.len();
    assert_eq!(created - deleted, left);
    assert_eq!(daemon.ok("bdev_get_bdevs", Value::Null).as_array().unwrap().len(), left);
}
