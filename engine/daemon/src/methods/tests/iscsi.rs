//! iSCSI methods.

use super::Daemon;
use serde_json::{Value, json};

#[test]
fn portal_groups() {
    let daemon = Daemon::running();
    let group = |tag: i32, host: &str| json!({"tag": tag, "portals": [{"host": host, "port": "3260"}]});
    assert_eq!(daemon.ok("iscsi_create_portal_group", group(1, "127.0.0.1")), true);
    daemon.invalid("iscsi_create_portal_group", group(1, "127.0.0.2"), "tag: portal group 1 exists already");
    daemon.invalid("iscsi_create_portal_group", group(2, "127.0.0.1"), "portals: 127.0.0.1:3260 belongs to");
    daemon.invalid("iscsi_create_portal_group", group(2, "host"), "host: expected an IPv4 address");
    daemon.invalid(
        "iscsi_create_portal_group",
        json!({"tag": 2, "portals": [{"host": "::1", "port": 3260}]}),
        "portals[0].port: invalid type",
    );
    daemon.invalid("iscsi_create_portal_group", json!({"tag": 2, "portals": []}), "portals: expected 1 to");
    let shown = json!([{"tag": 1, "portals": [{"host": "127.0.0.1", "port": "3260"}], "private": false}]);
    assert_eq!(daemon.ok("iscsi_get_portal_groups", Value::Null), shown);
    daemon.ok("iscsi_start_portal_group", json!({"tag": 1}));
    daemon.ok("iscsi_portal_group_set_auth", json!({"tag": 1, "require_chap": true, "chap_group": 1}));
    daemon.invalid(
        "iscsi_portal_group_set_auth",
        json!({"tag": 1, "mutual_chap": true}),
        "mutual_chap: expected together",
    );
    daemon.invalid("iscsi_portal_group_set_auth", json!({"tag": 9}), "tag: there is no portal group 9");
    daemon.ok("iscsi_delete_portal_group", json!({"tag": 1}));
    daemon.invalid("iscsi_delete_portal_group", json!({"tag": 1}), "tag: there is no portal group 1");
    daemon.invalid("iscsi_start_portal_group", json!({"tag": 1}), "tag: there is no portal group 1");
}

#[test]
fn initiator_groups() {
    let daemon = Daemon::running();
    let group = json!({"tag": 1, "initiators": ["ANY"], "netmasks": ["10.0.0.0/8"]});
    daemon.ok("iscsi_create_initiator_group", group.clone());
    assert_eq!(daemon.ok("iscsi_get_initiator_groups", Value::Null), json!([group]));
    daemon.invalid("iscsi_create_initiator_group", group, "tag: initiator group 1 exists already");
    daemon.ok(
        "iscsi_initiator_group_add_initiators",
        json!({"tag": 1, "initiators": ["iqn.2020-01.x:a"], "netmasks": ["[fe80::]/10"]}),
    );
    daemon.invalid(
        "iscsi_initiator_group_add_initiators",
        json!({"tag": 1, "initiators": ["new", "ANY"]}),
        "initiators: \"ANY\" is listed twice",
    );
    daemon.invalid(
        "iscsi_initiator_group_add_initiators",
        json!({"tag": 1, "netmasks": ["10.0.0.0/99"]}),
        "netmasks: expected",
    );
    daemon.invalid(
        "iscsi_initiator_group_remove_initiators",
        json!({"tag": 1, "initiators": ["ANY", "nobody"]}),
        "initiators: \"nobody\"",
    );
    let now = &daemon.ok("iscsi_get_initiator_groups", Value::Null)[0];
    assert_eq!(now["initiators"], json!(["ANY", "iqn.2020-01.x:a"]), "refused changes change nothing");
    daemon.ok(
        "iscsi_initiator_group_remove_initiators",
        json!({"tag": 1, "initiators": ["ANY"], "netmasks": ["10.0.0.0/8"]}),
    );
    daemon.ok("iscsi_delete_initiator_group", json!({"tag": 1}));
    daemon.invalid("iscsi_delete_initiator_group", json!({"tag": 1}), "tag: there is no initiator group 1");
}

#[test]
fn target_nodes_have_spdks_shape() {
    let daemon = Daemon::with_target();
    let shown = json!({
        "name": "iqn.2016-06.io.spdk:disk1",
        "alias_name": "a disk",
        "pg_ig_maps": [{"pg_tag": 1, "ig_tag": 1}],
        "luns": [{"bdev_name": "M0", "lun_id": 0}],
        "queue_depth": 32,
        "disable_chap": false,
        "require_chap": false,
        "mutual_chap": false,
        "chap_group": 0,
        "header_digest": false,
        "data_digest": false,
    });
    assert_eq!(daemon.target(), shown);
    let devices = daemon.ok("scsi_get_devices", Value::Null);
    assert_eq!(devices, json!([{"id": 0, "device_name": "iqn.2016-06.io.spdk:disk1"}]));
}

#[test]
fn target_nodes_are_checked() {
    let daemon = Daemon::with_target();
    let node = |field: &str, value: Value| {
        let mut node = json!({"name": "t", "alias_name": "", "pg_ig_maps": [], "luns": [], "queue_depth": 0});
        node[field] = value;
        node
    };
    let refused =
        |field: &str, value: Value, start: &str| daemon.invalid("iscsi_create_target_node", node(field, value), start);
    refused("name", json!("a b"), "name: expected letters");
    refused("name", json!("DISK1"), "name: target iqn.2016-06.io.spdk:disk1 exists already");
    refused("pg_ig_maps", json!([{"pg_tag": 2, "ig_tag": 1}]), "pg_tag: there is no portal group 2");
    refused("pg_ig_maps", json!([{"pg_tag": 1, "ig_tag": 2}]), "ig_tag: there is no initiator group 2");
    refused(
        "pg_ig_maps",
        json!([{"pg_tag": 1, "ig_tag": 1}, {"pg_tag": 1, "ig_tag": 1}]),
        "pg_ig_maps: 1:1 is mapped already",
    );
    refused("luns", json!([{"bdev_name": "X"}]), "bdev_name: there is no bdev \"X\"");
    refused("luns", json!([{"bdev_name": "M0", "lun_id": 256}]), "lun_id: expected 0 to 255");
    refused("luns", json!([{"lun_id": 0}]), "luns[0]: missing field `bdev_name`");
    refused("disable_chap", json!("no"), "disable_chap: invalid type");
    refused("chap_group", json!(-1), "chap_group: expected 0 or more");
    refused("alias_name", json!("x\n"), "alias_name: expected at most");
    daemon.ok("iscsi_create_target_node", node("queue_depth", json!(1_000_000)));
    assert_eq!(daemon.ok("iscsi_get_target_nodes", Value::Null)[1]["queue_depth"], 64, "the most there may be");
    daemon.ok("iscsi_delete_target_node", json!({"name": "IQN.2016-06.io.spdk:t"}));
    assert_eq!(daemon.code("iscsi_delete_target_node", json!({"name": "iqn.2016-06.io.spdk:t"})), -2);
}

#[test]
fn luns_come_and_go() {
    let daemon = Daemon::with_target();
    let name = "iqn.2016-06.io.spdk:disk1";
    daemon.ok("iscsi_target_node_add_lun", json!({"name": name, "bdev_name": "M0"}));
    daemon.ok("iscsi_target_node_add_lun", json!({"name": name, "bdev_name": "M0", "lun_id": 9}));
    daemon.invalid(
        "iscsi_target_node_add_lun",
        json!({"name": name, "bdev_name": "M0", "lun_id": 9}),
        "lun_id: 9 is taken",
    );
    daemon.invalid(
        "iscsi_target_node_add_lun",
        json!({"name": "x", "bdev_name": "M0"}),
        "name: there is no target \"x\"",
    );
    daemon.ok("iscsi_target_node_remove_lun", json!({"name": name, "lun_id": 0}));
    daemon.invalid(
        "iscsi_target_node_remove_lun",
        json!({"name": name, "lun_id": 0}),
        "lun_id: the target has no LUN 0",
    );
    let ids: Vec<_> = daemon.target()["luns"].as_array().unwrap().iter().map(|lun| lun["lun_id"].clone()).collect();
    assert_eq!(ids, [1, 9]);
}

#[test]
fn maps_come_and_go() {
    let daemon = Daemon::with_target();
    let name = "iqn.2016-06.io.spdk:disk1";
    let maps = |pg: i32, ig: i32| json!({"name": name, "pg_ig_maps": [{"pg_tag": pg, "ig_tag": ig}]});
    daemon.ok("iscsi_create_initiator_group", json!({"tag": 2, "initiators": ["ANY"], "netmasks": ["ANY"]}));
    daemon.ok("iscsi_target_node_add_pg_ig_maps", maps(1, 2));
    daemon.invalid("iscsi_target_node_add_pg_ig_maps", maps(1, 2), "pg_ig_maps: 1:2 is mapped already");
    daemon.invalid(
        "iscsi_target_node_add_pg_ig_maps",
        json!({"name": "x", "pg_ig_maps": []}),
        "name: there is no target",
    );
    daemon.ok("iscsi_target_node_remove_pg_ig_maps", maps(1, 1));
    daemon.invalid("iscsi_target_node_remove_pg_ig_maps", maps(1, 1), "pg_ig_maps: 1:1 is not mapped");
    daemon.ok("iscsi_delete_initiator_group", json!({"tag": 2}));
    assert_eq!(daemon.target()["pg_ig_maps"], json!([]), "maps go with their group");
}

#[test]
fn authentication() {
    let daemon = Daemon::with_target();
    let name = "iqn.2016-06.io.spdk:disk1";
    daemon.ok("iscsi_create_auth_group", json!({"tag": 1, "secrets": [{"user": "u1", "secret": "s1s1s1s1s1s1"}]}));
    daemon.invalid("iscsi_create_auth_group", json!({"tag": 1}), "tag: auth group 1 exists already");
    daemon.ok(
        "iscsi_auth_group_add_secret",
        json!({"tag": 1, "user": "u2", "secret": "s2s2s2s2s2s2", "muser": "t", "msecret": "ttttttttttttt"}),
    );
    daemon.invalid(
        "iscsi_auth_group_add_secret",
        json!({"tag": 1, "user": "u2", "secret": "x"}),
        "user: \"u2\" is in the group already",
    );
    daemon.invalid(
        "iscsi_auth_group_add_secret",
        json!({"tag": 2, "user": "u", "secret": "x"}),
        "tag: there is no auth group 2",
    );
    daemon.invalid(
        "iscsi_auth_group_add_secret",
        json!({"tag": 1, "user": "u", "secret": ""}),
        "secret: expected 1 to 255 bytes",
    );
    let groups = daemon.ok("iscsi_get_auth_groups", Value::Null);
    assert_eq!(groups[0]["secrets"][0], json!({"user": "u1", "secret": "s1s1s1s1s1s1"}));
    assert_eq!(groups[0]["secrets"][1]["msecret"], "ttttttttttttt");
    daemon.ok("iscsi_auth_group_remove_secret", json!({"tag": 1, "user": "u1"}));
    daemon.invalid("iscsi_auth_group_remove_secret", json!({"tag": 1, "user": "u1"}), "user: no secret of \"u1\"");
    daemon.ok(
        "iscsi_target_node_set_auth",
        json!({"name": name, "require_chap": true, "chap_group": 1, "mutual_chap": false}),
    );
    daemon.invalid("iscsi_target_node_set_auth", json!({"name": "x"}), "name: there is no target");
    daemon.ok("iscsi_set_discovery_auth", json!({"require_chap": true, "mutual_chap": true, "chap_group": 1}));
    daemon.invalid(
        "iscsi_set_discovery_auth",
        json!({"disable_chap": true, "require_chap": true}),
        "disable_chap: expected alone",
    );
    assert_eq!(daemon.ok("iscsi_get_options", Value::Null)["chap_group"], 1);
    daemon.ok("iscsi_delete_auth_group", json!({"tag": 1}));
    daemon.invalid("iscsi_delete_auth_group", json!({"tag": 1}), "tag: there is no auth group 1");
}

#[test]
fn a_secret_of_the_wrong_type_is_not_quoted() {
    let daemon = Daemon::running();
    let error = daemon.call("iscsi_auth_group_add_secret", json!({"tag": 1, "user": "u", "secret": 987_654_321}));
    let error = error.unwrap_err();
    assert!(error.code == -32602 && !error.message.contains("987654321"), "{error}");
}

#[test]
fn redirection_and_logout() {
    let daemon = Daemon::with_target();
    let name = "iqn.2016-06.io.spdk:disk1";
    let to = |host: &str, port: &str| json!({"name": name, "pg_tag": 1, "redirect_host": host, "redirect_port": port});
    daemon.ok("iscsi_target_node_set_redirect", to("10.0.0.1", "3260"));
    daemon.invalid(
        "iscsi_target_node_set_redirect",
        to("127.0.0.1", "3260"),
        "redirect_host: expected a portal of another",
    );
    daemon.invalid("iscsi_target_node_set_redirect", to("nowhere", "3260"), "host: expected");
    daemon.invalid(
        "iscsi_target_node_set_redirect",
        json!({"name": name, "pg_tag": 1, "redirect_host": "10.0.0.1"}),
        "redirect_host: expected together",
    );
    daemon.invalid(
        "iscsi_target_node_set_redirect",
        json!({"name": name, "pg_tag": 2}),
        "pg_tag: there is no portal group 2",
    );
    assert!(daemon.ctx.model().target(name).unwrap().redirect(1).is_some());
    daemon.ok("iscsi_target_node_set_redirect", json!({"name": name, "pg_tag": 1}));
    assert!(daemon.ctx.model().target(name).unwrap().redirect(1).is_none());
    daemon.ok("iscsi_target_node_request_logout", json!({"name": name, "pg_tag": 1}));
    daemon.invalid("iscsi_target_node_request_logout", json!({"name": "x"}), "name: there is no target");
    assert_eq!(daemon.ok("iscsi_get_connections", Value::Null), json!([]));
    assert_eq!(daemon.ok("iscsi_get_stats", Value::Null)["running"], 0);
}
