use super::*;
use crate::io::{Op, Status};
use crate::null::{Null, NullParams};
use crate::testing::Rig;

fn null(name: &str, uuid: Option<[u8; 16]>) -> Arc<Null> {
    let params = NullParams { name: name.into(), block_size: 512, num_blocks: 64, uuid, ..NullParams::default() };
    Null::create(&params).unwrap()
}

fn lun(n: u8) -> User {
    User::Lun(format!("iqn.x/{n}"))
}

/// Events as they come, as text.
fn listen(registry: &Registry) -> Arc<Mutex<Vec<Event>>> {
    let events = Arc::new(Mutex::new(Vec::new()));
    let sink = events.clone();
    registry.subscribe(move |event| sink.lock().unwrap().push(event.clone())).unwrap();
    events
}

#[test]
fn names_aliases_and_uuids_are_one_space() {
    let registry = Registry::new();
    registry.register(null("a", Some([1; 16]))).unwrap();
    registry.register(null("b", None)).unwrap();
    registry.add_alias("a", "lvs/a").unwrap();
    let text = uuid::format(&[1; 16]);
    for name in ["a", "lvs/a", &text, &text.to_uppercase()] {
        assert_eq!(registry.get(name).unwrap().name(), "a");
    }
    for (name, uuid) in [("a", None), ("lvs/a", None), (text.as_str(), None), ("c", Some([1; 16]))] {
        assert_eq!(registry.register(null(name, uuid)).unwrap_err().errno(), libc::EEXIST, "{name}");
    }
    for alias in ["a", "b", "lvs/a", &text] {
        assert_eq!(registry.add_alias("b", alias).unwrap_err().errno(), libc::EEXIST);
    }
    assert_eq!(registry.add_alias("b", "").unwrap_err().errno(), libc::EINVAL);
    assert_eq!(registry.add_alias("none", "x").unwrap_err().errno(), libc::ENODEV);
    registry.remove_alias("a", "lvs/a").unwrap();
    assert!(registry.get("lvs/a").is_none() && registry.remove_alias("a", "lvs/a").is_err());
    assert!(registry.get_as::<Null>("a").is_some() && registry.get_as::<crate::Malloc>("a").is_none());
    assert_eq!(registry.list().len(), 2);
    let extra = (0..limits::ALIASES).map(|i| registry.add_alias("b", &format!("b{i}"))).filter(Result::is_ok).count();
    assert_eq!((extra, registry.add_alias("b", "one more").unwrap_err().errno()), (limits::ALIASES, libc::ENOSPC));
}

#[test]
fn luns_share_and_layers_do_not() {
    let registry = Registry::new();
    registry.register(null("a", None)).unwrap();
    let first = registry.claim("a", lun(0)).unwrap();
    let second = registry.claim("a", lun(1)).unwrap();
    assert_eq!(registry.users("a"), [lun(0), lun(1)]);
    let error = registry.claim("a", User::Layer("d".into())).unwrap_err();
    assert_eq!((error.errno(), error.to_string().as_str()), (libc::EBUSY, "block device a is in use by LUN iqn.x/0"));
    drop((first, second));
    let layer = registry.claim("a", User::Layer("d".into())).unwrap();
    assert!(registry.claim("a", lun(0)).is_err() && registry.claim("a", User::Layer("e".into())).is_err());
    let error = registry.unregister("a").unwrap_err();
    assert_eq!(
        (error.errno(), error.to_string().as_str()),
        (libc::EBUSY, "block device a is in use by block device d")
    );
    assert_eq!(layer.name(), "a");
    drop(layer);
    registry.unregister("a").unwrap();
    assert!(registry.get("a").is_none());
}

#[test]
fn removal_waits_for_luns_and_stops_their_operations() {
    let (mut rig, registry) = (Rig::new(), Registry::new());
    registry.register(null("a", None)).unwrap();
    let events = listen(&registry);
    let claim = registry.claim("a", lun(0)).unwrap();
    let mut channel = registry.open(&mut rig.cores[0].core(), "a").unwrap();
    let under_way = rig.io(1, Op::Read, 0, 1);
    channel.submit(under_way).unwrap();
    registry.unregister("a").unwrap();
    assert_eq!(*events.lock().unwrap(), [Event::Removing { name: "a".into() }]);
    let late = rig.io(2, Op::Read, 0, 1);
    channel.submit(late).unwrap();
    assert!(!channel.arm());
    let mut done = rig.reap_all(&mut *channel, 2);
    done.sort_by_key(|d| d.tag.index());
    assert_eq!([done[0].status, done[1].status], [Status::Ok, Status::Removed]);
    assert!(done[1].data.is_some());
    assert!(registry.open(&mut rig.cores[0].core(), "a").is_err());
    assert!(registry.claim("a", lun(1)).is_err() && registry.unregister("a").is_err());
    assert_eq!(registry.register(null("a", None)).unwrap_err().errno(), libc::EEXIST, "the name is not free yet");
    drop(claim);
    assert_eq!(events.lock().unwrap().last(), Some(&Event::Removed { name: "a".into() }));
    registry.register(null("a", None)).unwrap();
    let fresh = registry.open(&mut rig.cores[0].core(), "a").unwrap();
    assert_eq!(fresh.outstanding(), 0);
}

#[test]
fn subscribers_may_call_back_and_leave() {
    let registry = Registry::new();
    registry.register(null("a", None)).unwrap();
    let (inner, seen) = (registry.clone(), Arc::new(Mutex::new(Vec::new())));
    let sink = seen.clone();
    let id = registry.subscribe(move |_| sink.lock().unwrap().push(inner.get("a").unwrap().geometry().blocks)).unwrap();
    registry.get_as::<Null>("a").unwrap().resize(128).unwrap();
    registry.resized("a");
    registry.resized("none");
    registry.unsubscribe(id);
    registry.resized("a");
    assert_eq!(*seen.lock().unwrap(), [128]);
}

#[test]
fn a_resize_reaches_open_channels_at_once() {
    let (mut rig, device) = (Rig::new(), null("a", None));
    let mut channel = device.open(&mut rig.cores[0].core()).unwrap();
    let last = |rig: &mut Rig, channel: &mut dyn Channel| {
        let io = rig.io(1, Op::Read, 99, 1);
        rig.run(channel, io).status
    };
    assert_eq!(last(&mut rig, &mut *channel), Status::OutOfRange);
    device.resize(100).unwrap();
    assert_eq!((last(&mut rig, &mut *channel), device.geometry().blocks), (Status::Ok, 100));
    device.resize(10).unwrap();
    assert_eq!(last(&mut rig, &mut *channel), Status::OutOfRange);
    assert!(device.resize(0).is_err());
}
