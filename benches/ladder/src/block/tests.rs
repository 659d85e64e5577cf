use super::*;

fn args(device: &str, rw: Rw, lend: bool) -> Args {
    Args {
        device: device.parse().unwrap(),
        rw,
        bs: 4096,
        qd: vec![4],
        time: 0.01,
        warmup: 0.0,
        core: CpuList::usable().as_slice()[0].0,
        block_size: 4096,
        lend,
        pool: false,
        scsi: false,
        sqpoll: None,
        bare: false,
        json: true,
    }
}

#[test]
fn every_kind_of_device_can_be_driven() {
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(1 << 20).unwrap();
    let uring = format!("uring:{}", file.path().display());
    for device in ["null", "malloc:1M", &uring] {
        run(&args(device, Rw::Randwrite, false)).unwrap();
        run(&args(device, Rw::Read, false)).unwrap();
    }
    run(&args("malloc:1M", Rw::Randread, true)).unwrap();
    run(&Args { pool: true, ..args("null", Rw::Randread, false) }).unwrap();
    run(&Args { scsi: true, ..args("malloc:1M", Rw::Randwrite, false) }).unwrap();
}

#[test]
fn what_makes_no_sense_is_refused() {
    assert!("malloc".parse::<Device>().is_err() && "uring:".parse::<Device>().is_err());
    assert!(run(&Args { bs: 1000, ..args("null", Rw::Read, false) }).is_err());
    assert!(run(&Args { qd: vec![0], ..args("null", Rw::Read, false) }).is_err());
    assert!(run(&args("uring:/nonexistent", Rw::Read, false)).is_err());
}

#[test]
fn cdbs_become_block_operations() {
    let rig = reactors::Arena::new(reactors::Hugepages::Off);
    let params = MallocParams { name: "m".into(), block_size: 512, num_blocks: 64, ..MallocParams::default() };
    let bdev = Malloc::create(&params, &rig).unwrap();
    let mut unit = decide::Unit::new(&*bdev).unwrap();
    assert_eq!(unit.decide(bdev::Op::Read, 56, 8), Some((56, 8)));
    assert_eq!(unit.decide(bdev::Op::Write, 57, 8), None, "beyond the end");
}

#[test]
fn what_is_measured_may_begin_before_the_first_turn() {
    let config = FleetConfig { idle: Idle::Spin, ..FleetConfig::on(CpuList::usable()) };
    let fleet = Fleet::start(config).unwrap();
    let bdev = Device::Null.create(512, None, &fleet).unwrap();
    let plan = Plan { rw: Rw::Randread, bytes: 4096, qd: 1, lend: false, scsi: false };
    let (began, now) = fleet
        .call(CORE, move |core| {
            let mut load = Load::new(plan, bdev.open(core).unwrap(), &*bdev, core.now()).unwrap();
            (load.begin().at, core.now())
        })
        .unwrap();
    assert_eq!(began, now);
    assert!(fleet.shutdown(Duration::from_secs(5)).is_clean());
}
