use super::*;
use crate::model::bdev::Null;

fn live() -> Live {
    let fleet = Arc::new(Fleet::start(FleetConfig::for_tests(2)).unwrap());
    let devices = Devices::new(fleet.arena().clone());
    let targets = Targets::start(&fleet, devices.registry(), siw::Config::default()).unwrap();
    let tids = fleet.core_ids().map(|core| thread_id(&fleet, core).unwrap()).collect();
    Live { fleet, tids, devices, targets }
}

#[test]
fn cores_are_described() {
    let live = live();
    let cores = live.cores();
    assert_eq!(cores.iter().map(|core| core.core).collect::<Vec<_>>(), [0, 1]);
    assert!(cores.iter().all(|core| core.tid != 0 && core.pools.iter().all(|pool| pool.total > 0)));
    assert_ne!(cores[0].tid, cores[1].tid);
    live.shutdown();
}

#[test]
fn a_device_opened_on_a_core_is_counted_and_can_be_deleted() {
    let live = live();
    let spec = BdevSpec::Null(Null { name: "N".into(), num_blocks: 8, block_size: 512, ..Null::default() });
    live.create_bdev(&spec).unwrap();
    let registry = live.devices.registry().clone();
    live.fleet.call(CoreId(0), move |core| drop(registry.open(core, "N").unwrap())).unwrap();
    assert_eq!(live.bdev_stats("N").total, BdevStats::default());
    live.delete_bdev("N").unwrap();
    live.shutdown();
}
