use super::*;
use crate::model::bdev::{Delay as DelaySpec, ErrorLayer, Null as NullSpec, Uring as UringSpec};
use reactors::Hugepages;

fn devices() -> Devices {
    Devices::new(Arena::new(Hugepages::Off))
}

fn null(name: &str, uuid: u8) -> BdevSpec {
    let uuid = Some(Uuid([uuid; 16]));
    BdevSpec::Null(NullSpec { name: name.into(), num_blocks: 100, block_size: 512, uuid, ..NullSpec::default() })
}

fn delay(name: &str, base: &str) -> BdevSpec {
    let uuid = Some(Uuid([9; 16]));
    BdevSpec::Delay(DelaySpec { name: name.into(), base_bdev_name: base.into(), uuid, ..DelaySpec::default() })
}

#[test]
fn devices_are_made_described_and_deleted() {
    let devices = devices();
    devices.create(&null("N", 1)).unwrap();
    let info = devices.info("N").unwrap();
    assert_eq!((info.product, info.block_size, info.blocks, info.uuid), ("Null disk", 512, 100, Uuid([1; 16])));
    assert_eq!(devices.create(&null("N", 2)).unwrap_err().errno, libc::EEXIST);
    assert_eq!(devices.create(&null("M", 1)).unwrap_err().errno, libc::EEXIST, "same uuid");
    devices.alter("N", &BdevChange::Resize(200)).unwrap();
    assert_eq!(devices.info("N").unwrap().blocks, 200);
    assert_eq!(devices.alter("N", &BdevChange::Rescan).unwrap_err().errno, libc::EINVAL);
    assert_eq!(devices.alter("X", &BdevChange::Rescan).unwrap_err().errno, libc::ENODEV);
    devices.delete("N").unwrap();
    assert!(devices.info("N").is_none());
    assert_eq!(devices.delete("N").unwrap_err().errno, libc::ENODEV);
}

#[test]
fn a_layer_keeps_its_base() {
    let devices = devices();
    assert_eq!(devices.create(&delay("D", "N")).unwrap_err().errno, libc::ENODEV);
    devices.create(&null("N", 1)).unwrap();
    devices.create(&delay("D", "N")).unwrap();
    assert_eq!(devices.delete("N").unwrap_err().errno, libc::EBUSY);
    let latency = BdevChange::Latency(LatencyKind::P99Read, Duration::from_micros(5));
    devices.alter("D", &latency).unwrap();
    devices.delete("D").unwrap();
    devices.delete("N").unwrap();
}

#[test]
fn a_layer_that_fails_lets_go_of_its_base() {
    let devices = devices();
    devices.create(&null("N", 1)).unwrap();
    devices.create(&null("D", 2)).unwrap();
    assert_eq!(devices.create(&delay("D", "N")).unwrap_err().errno, libc::EEXIST);
    devices.delete("N").unwrap();
}

#[test]
fn errors_are_injected_into_error_devices_only() {
    let devices = devices();
    devices.create(&null("N", 1)).unwrap();
    let layer = ErrorLayer { base_name: "N".into(), uuid: Some(Uuid([2; 16])), name: "EE_N".into() };
    devices.create(&BdevSpec::Error(layer)).unwrap();
    let injection = Injection {
        on: InjectOn::Read,
        what: InjectWhat::Failure,
        count: 1,
        queue_depth: 0,
        corrupt_offset: 0,
        corrupt_value: 0,
        range: Some((0, 7)),
    };
    devices.alter("EE_N", &BdevChange::Inject(injection)).unwrap();
    assert_eq!(devices.alter("N", &BdevChange::Inject(injection)).unwrap_err().errno, libc::EINVAL);
    devices.alter("EE_N", &BdevChange::Inject(Injection { on: InjectOn::Clear, ..injection })).unwrap();
    devices.alter("EE_N", &BdevChange::ResumePending).unwrap();
    let deep = Injection { queue_depth: 4, ..injection };
    assert_eq!(devices.alter("EE_N", &BdevChange::Inject(deep)).unwrap_err().errno, libc::ENOTSUP);
}

#[test]
fn a_missing_file_is_named() {
    let uring = UringSpec { name: "U".into(), filename: "/nonexistent/file".into(), ..UringSpec::default() };
    let error = devices().create(&BdevSpec::Uring(uring)).unwrap_err();
    assert_eq!(error.errno, libc::ENOENT);
    assert!(error.what.contains("/nonexistent/file"), "{error}");
}

#[test]
fn what_is_gone_has_counted_nothing() {
    let devices = devices();
    assert_eq!(devices.stats("N"), DeviceCounts::default());
    devices.reset_stats("N", ResetStats::All);
}
