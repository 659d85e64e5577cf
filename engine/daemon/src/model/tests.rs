use super::initiator::Netmask;
use super::*;

fn portal(host: &str, port: &str) -> Portal {
    Portal { host: host.into(), port: port.into(), transport: Default::default(), provider: Default::default() }
}

fn initiators(tag: i32, names: &[&str], masks: &[&str]) -> InitiatorGroup {
    let own = |list: &[&str]| list.iter().map(|s| s.to_string()).collect();
    InitiatorGroup { tag, initiators: own(names), netmasks: own(masks) }.normalise().unwrap()
}

fn target(maps: &[(i32, i32)]) -> TargetNode {
    TargetNode {
        name: "iqn.2016-06.io.spdk:t".into(),
        alias: String::new(),
        maps: maps.iter().map(|&(pg_tag, ig_tag)| Map { pg_tag, ig_tag }).collect(),
        luns: vec![],
        queue_depth: 64,
        auth: AuthPolicy::default(),
        header_digest: false,
        data_digest: false,
        redirects: vec![],
    }
}

#[test]
fn portals_are_numeric() {
    for (host, port) in [("127.0.0.1", "3260"), ("[::1]", "3260"), ("::1", "1"), ("*", "65535"), ("[*]", "3260")] {
        portal(host, port).normalise().expect(host);
    }
    assert_eq!(portal("*", "3260").normalise().unwrap().host, "0.0.0.0");
    assert_eq!(portal("[*]", "3260").normalise().unwrap().host, "[::]");
    for (host, port) in [
        ("localhost", "3260"),
        ("", "3260"),
        ("[127.0.0.1]", "1"),
        ("[::1", "1"),
        ("127.0.0.1", "0"),
        ("127.0.0.1", "65536"),
        ("127.0.0.1", "x"),
    ] {
        assert!(portal(host, port).normalise().is_err(), "{host} {port}");
    }
}

#[test]
fn portal_groups_need_portals_once() {
    let group = |tag, portals| PortalGroup { tag, portals, private: false, wait: false, auth: AuthPolicy::default() };
    assert!(group(1, vec![portal("::", "3260")]).normalise().is_ok());
    assert!(group(1, vec![]).normalise().is_err());
    assert!(group(0, vec![portal("::", "3260")]).normalise().is_err());
    assert!(group(65_536, vec![portal("::", "3260")]).normalise().is_err());
    assert!(group(1, vec![portal("::", "3260"), portal("[::]", "3260")]).normalise().is_err());
}

#[test]
fn netmasks() {
    let hit = |mask: &str, from: &str| Netmask::parse(mask).expect(mask).contains(from.parse().unwrap());
    assert!(hit("ANY", "10.1.2.3") && hit("any", "::1"));
    assert!(hit("10.0.0.0/8", "10.255.0.1") && !hit("10.0.0.0/8", "11.0.0.1"));
    assert!(hit("10.0.0.1", "10.0.0.1") && !hit("10.0.0.1", "10.0.0.2"));
    assert!(hit("0.0.0.0/0", "1.2.3.4") && !hit("0.0.0.0/0", "::1"));
    assert!(hit("[fe80::]/10", "fe80::1") && hit("fe80::/10", "febf::1") && !hit("[fe80::]/10", "fec0::1"));
    assert!(hit("[::]/0", "::1") && !hit("[::1]", "::2"));
    assert!(hit("10.0.0.0/8", "::ffff:10.0.0.1"), "a mapped address is an IPv4 one");
    for text in
        ["", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/+8", "10.0.0.0/", "[::]/129", "[10.0.0.1]", "host", "10.0.0/8"]
    {
        assert_eq!(Netmask::parse(text), None, "{text}");
    }
}

#[test]
fn initiator_groups_are_normalised() {
    let group = initiators(1, &["ALL", "!iqn.2020-01.x:bad"], &["ALL"]);
    assert_eq!((group.initiators[0].as_str(), group.netmasks[0].as_str()), ("ANY", "ANY"));
    let raw = |names: &[&str]| InitiatorGroup {
        tag: 1,
        initiators: names.iter().map(|s| s.to_string()).collect(),
        netmasks: vec!["ANY".into()],
    };
    for names in [&["a", "a"][..], &[""], &["!"], &["a b"], &["a\n"]] {
        assert!(raw(names).normalise().is_err(), "{names:?}");
    }
}

#[test]
fn the_first_matching_name_decides() {
    let group = initiators(1, &["!iqn.2020-01.x:bad", "ANY"], &["ANY"]);
    assert_eq!(group.allows_name("iqn.2020-01.x:BAD"), Some(false));
    assert_eq!(group.allows_name("iqn.2020-01.x:good"), Some(true));
    assert_eq!(initiators(1, &["iqn.2020-01.x:a"], &["ANY"]).allows_name("iqn.2020-01.x:b"), None);
}

#[test]
fn access_follows_the_maps_of_the_portal_group() {
    let mut model = Model::default();
    model.initiator_groups.push(initiators(1, &["iqn.a:1"], &["10.0.0.0/8"]));
    model.initiator_groups.push(initiators(2, &["!iqn.a:2", "ANY"], &["ANY"]));
    let from: IpAddr = "192.168.0.1".parse().unwrap();
    let both = target(&[(1, 1), (1, 2)]);
    assert!(model.allows(&both, 1, "iqn.a:1", from), "refused address in group 1, admitted by group 2");
    assert!(!model.allows(&both, 1, "iqn.a:2", from), "named with !");
    assert!(!model.allows(&both, 2, "iqn.a:1", from), "not mapped there");
    assert!(!model.allows(&target(&[(1, 1)]), 1, "iqn.a:1", from));
    assert!(model.allows(&target(&[(1, 1)]), 1, "iqn.a:1", "10.0.0.9".parse().unwrap()));
    assert!(!model.allows(&target(&[]), 1, "iqn.a:1", from));
}

#[test]
fn lun_numbers() {
    let mut node = target(&[]);
    assert_eq!(node.add_lun("a", Some(1)), Ok(1));
    assert_eq!(node.add_lun("b", None), Ok(0));
    assert_eq!(node.add_lun("c", Some(-1)), Ok(2));
    assert!(node.add_lun("d", Some(2)).is_err());
    assert!(node.add_lun("d", Some(256)).is_err());
    assert!(node.add_lun("d", Some(-2)).is_err());
    assert_eq!(node.luns.iter().map(|lun| lun.lun_id).collect::<Vec<_>>(), [0, 1, 2]);
    while node.add_lun("x", None).is_ok() {}
    assert_eq!(node.luns.len(), crate::limits::MAX_LUNS);
}

#[test]
fn redirections_go_with_the_last_map() {
    let mut node = target(&[(1, 1), (1, 2)]);
    node.redirects.push(target::Redirect { pg_tag: 1, to: "10.0.0.1:3260".parse().unwrap() });
    node.remove_map(Map { pg_tag: 1, ig_tag: 1 }).unwrap();
    assert!(node.redirect(1).is_some());
    node.remove_map(Map { pg_tag: 1, ig_tag: 2 }).unwrap();
    assert!(node.redirect(1).is_none());
    assert!(node.remove_map(Map { pg_tag: 1, ig_tag: 2 }).is_err());
}

#[test]
fn chap_flags() {
    let policy = |disable_chap, require_chap, mutual_chap, chap_group| AuthPolicy {
        disable_chap,
        require_chap,
        mutual_chap,
        chap_group,
    };
    for good in [
        policy(false, false, false, 0),
        policy(true, false, false, 0),
        policy(false, true, false, 1),
        policy(false, true, true, 1),
    ] {
        assert_eq!(good.check(), Ok(()));
    }
    for bad in [
        policy(true, true, false, 0),
        policy(true, false, true, 0),
        policy(false, false, true, 0),
        policy(false, false, false, -1),
    ] {
        assert!(bad.check().is_err(), "{bad:?}");
    }
}

#[test]
fn secrets_stay_out_of_texts() {
    let parse = |json: &str| serde_json::from_str::<Credential>(json);
    let credential = parse(r#"{"user":"u","secret":"hunter2hunter2"}"#).unwrap();
    assert!(!format!("{credential:?}").contains("hunter2"));
    let error = parse(r#"{"user":"u","secret":1234567}"#).unwrap_err().to_string();
    assert!(!error.contains("1234567"), "{error}");
    assert!(parse(r#"{"user":"u"}"#).is_err());
    let mutual = |msecret: &str| Credential {
        user: "u".into(),
        secret: "hunter2hunter2".into(),
        muser: Some("t".into()),
        msecret: Some(msecret.into()),
    };
    assert!(mutual("another secret").check().is_ok());
    let same = mutual("hunter2hunter2").check().unwrap_err().to_string();
    assert!(!same.contains("hunter2"), "{same}");
    let half = Credential { msecret: None, ..mutual("x") };
    assert!(half.check().is_err());
}

#[test]
fn options_are_checked() {
    assert_eq!(Options::default().check(), Ok(()));
    let bad = |edit: fn(&mut Options)| {
        let mut options = Options::default();
        edit(&mut options);
        options.check().expect_err("out of range").to_string()
    };
    assert!(bad(|o| o.max_sessions = 0).starts_with("max_sessions: expected 1 to"));
    assert!(bad(|o| o.error_recovery_level = 1).starts_with("error_recovery_level"));
    assert!(bad(|o| o.first_burst_length = 1 << 24).starts_with("first_burst_length"));
    assert!(bad(|o| o.node_base = "x y".into()).starts_with("node_base"));
    assert!(bad(|o| o.auth_file = Some("f".into())).starts_with("auth_file"));
}

#[test]
fn bdev_parameters_are_checked() {
    let malloc = |json: &str| BdevSpec::Malloc(serde_json::from_str(json).expect(json)).check();
    assert!(
        malloc(r#"{"name":"M","num_blocks":1,"block_size":512,"md_interleave":false,"dif_is_head_of_md":false}"#)
            .is_ok()
    );
    for json in [
        r#"{"name":"M","num_blocks":0,"block_size":512}"#,
        r#"{"name":"M","num_blocks":1,"block_size":520}"#,
        r#"{"name":"M","num_blocks":1,"block_size":0}"#,
        r#"{"name":"M","num_blocks":18446744073709551615,"block_size":512}"#,
        r#"{"name":"M","num_blocks":1,"block_size":4096,"physical_block_size":512}"#,
        r#"{"name":"M","num_blocks":1,"block_size":512,"physical_block_size":1000}"#,
        r#"{"name":"M","num_blocks":1,"block_size":512,"md_size":8}"#,
        r#"{"name":"M","num_blocks":1,"block_size":512,"dif_type":1}"#,
        r#"{"name":"","num_blocks":1,"block_size":512}"#,
        r#"{"name":"a b","num_blocks":1,"block_size":512}"#,
    ] {
        assert!(malloc(json).is_err(), "{json}");
    }
}
