//! Data as RDMA Writes and RDMA Reads (RFC 7145 §7.3.5, §7.3.6).
use crate::memory::Buffers;
use crate::rig::{Options, Rig, Seen, bytes, statuses, tag};
use iscsi::datamover::{Advertised, Advertisement, DataStatus, Datamover, Ended, GetData, PutData, Upcall, Violation};
use iscsi::wire::{NopIn, TmfResponse};
use rdma::Access;

fn writable(rig: &mut Rig, itt: u32, bytes: &[u8]) -> Advertised {
    let read = Some(rig.peer.open(itt, bytes, Access::RemoteWrite));
    rig.settle();
    Advertised { write: None, read }
}

fn readable(rig: &mut Rig, itt: u32, bytes: &[u8]) -> Advertised {
    let write = Some(rig.peer.open(itt, bytes, Access::RemoteRead));
    rig.settle();
    Advertised { write, read: None }
}

#[test]
fn puts_go_to_their_offsets_from_any_part_of_a_buffer() {
    for options in Options::kinds() {
        let mut rig = Rig::enabled(options);
        let remote = writable(&mut rig, 1, &[0; 5000]);
        for (i, (offset, start, len)) in [(0, 0, 1000), (1000, 17, 3000), (4000, 5, 1000)].into_iter().enumerate() {
            let data = [&vec![0xEE; start], &bytes(5000)[offset..offset + len], b"not this"].concat();
            let put = rig.put(tag(i as u16), remote, offset as u32, &data);
            rig.mover.put_data(PutData { start: start as u32, len: len as u32, ..put }).unwrap();
        }
        assert_eq!(statuses(&rig.settle()), [0, 1, 2].map(|i| (i, DataStatus::Ok)));
        assert_eq!(rig.peer.peek(1), bytes(5000));
        assert_eq!((rig.counters().writes, rig.mover.stats().bytes_out), (3, 5000));
        rig.finish();
    }
}

#[test]
fn a_put_is_done_although_nothing_follows_it() {
    let mut rig = Rig::enabled(Options::default());
    let remote = writable(&mut rig, 1, &[0; 100]);
    let put = rig.put(tag(1), remote, 0, &bytes(100));
    rig.mover.put_data(PutData { last: false, ..put }).unwrap();
    assert!(!rig.mover.is_flushed());
    rig.mover.flush();
    assert!(rig.mover.is_flushed());
    assert_eq!(statuses(&rig.settle()), [(1, DataStatus::Ok)]);
    rig.finish();
}

#[test]
fn a_put_of_nothing_is_done_at_once() {
    let mut rig = Rig::enabled(Options::default());
    let put = rig.put(tag(1), Advertised::default(), 0, b"x");
    rig.mover.put_data(PutData { len: 0, ..put }).unwrap();
    assert!(rig.mover.has_more());
    assert_eq!(statuses(&rig.drain()), [(1, DataStatus::Ok)]);
    assert_eq!(rig.counters().writes, 0);
    rig.finish();
}

#[test]
fn d5_the_write_address_is_past_the_unsolicited_data() {
    // Linux: the buffer has 8,192 bytes, the first 4,096 went as immediate data, and the address is that of the rest.
    for options in Options::kinds() {
        let mut rig = Rig::enabled(options);
        let whole = bytes(8192);
        let Advertised { write: Some(rest), .. } = readable(&mut rig, 1, &whole[4096..]) else { panic!() };
        let remote = Advertised { write: Some(rest), read: None };
        for (i, (offset, len)) in [(4096u32, 1024u32), (5120, 3072)].into_iter().enumerate() {
            let get = rig.get(tag(i as u16), remote, offset, len);
            rig.mover.get_data(GetData { solicited_from: 4096, ..get }).unwrap();
        }
        let mut seen = rig.settle();
        seen.sort_by_key(|seen| if let Seen::Done { tag, .. } = seen { tag.index() } else { 0 });
        let got: Vec<u8> = seen
            .iter()
            .flat_map(|seen| if let Seen::Done { bytes, status: DataStatus::Ok, .. } = seen { &bytes[..] } else { &[] })
            .copied()
            .collect();
        assert_eq!(got, whole[4096..]);
        rig.finish();
    }
}

#[test]
fn a_get_fills_its_sink_from_the_start_it_names() {
    let mut rig = Rig::enabled(Options::default());
    let remote = readable(&mut rig, 1, b"solicited");
    let mut get = GetData { start: 10, solicited_from: 10, ..rig.get(tag(1), remote, 10, 9) };
    get.sink.copy_in(0, b"immediate ");
    rig.mover.get_data(get).unwrap();
    assert_eq!(
        rig.settle(),
        [Seen::Done { tag: tag(1), bytes: b"immediate solicited".to_vec(), status: DataStatus::Ok }]
    );
    rig.finish();
}

#[test]
fn an_ord_of_one_serves_eight_gets_one_after_the_other() {
    for options in Options::kinds() {
        let mut rig = Rig::enabled(Options { ird: 1, ..options });
        let remote = readable(&mut rig, 1, &bytes(8000));
        for i in 0..8 {
            let get = rig.get(tag(i), remote, u32::from(i) * 1000, 1000);
            rig.mover.get_data(get).unwrap();
        }
        rig.mover.flush();
        assert_eq!(rig.counters().reads, 1);
        assert!(!rig.mover.is_flushed(), "seven wait");
        let seen = rig.settle();
        for (i, seen) in seen.iter().enumerate() {
            let expected = bytes(8000)[i * 1000..][..1000].to_vec();
            assert_eq!(*seen, Seen::Done { tag: tag(i as u16), bytes: expected, status: DataStatus::Ok });
        }
        assert_eq!((seen.len(), rig.counters().reads, rig.mover.stats().read_waits), (8, 8, 7));
        rig.finish();
    }
}

#[test]
fn a_get_without_a_read_depth_ends_the_connection() {
    for options in Options::kinds() {
        let mut rig = Rig::enabled(Options { ird: 0, ..options });
        let remote = readable(&mut rig, 1, &bytes(100));
        let get = rig.get(tag(1), remote, 0, 100);
        rig.mover.get_data(get).unwrap();
        let seen = rig.settle();
        assert_eq!(statuses(&seen), [(1, DataStatus::Released)]);
        assert!(matches!(seen.last(), Some(Seen::Terminated(Ended::Failed(_)))), "{seen:?}");
        rig.finished();
    }
}

#[test]
fn gets_beyond_their_table_come_back() {
    let options = Options::default();
    let limits = iser::Limits { gets: 2, ..options.limits };
    let mut rig = Rig::enabled(Options { ird: 1, limits, ..options });
    let remote = readable(&mut rig, 1, &bytes(100));
    for i in 0..3 {
        let get = rig.get(tag(i), remote, 0, 100);
        match rig.mover.get_data(get) {
            Ok(()) => assert!(i < 2),
            Err(get) => {
                assert_eq!((i, get.tag, get.len), (2, tag(2), 100));
                rig.buffers.give(get.sink);
            }
        }
    }
    assert_eq!(rig.settle().len(), 2);
    rig.finish();
}

#[test]
fn m5_data_without_an_advertisement_or_past_the_last_address() {
    let at = |va| Some(Advertisement { stag: 0x1234, va });
    for buffer in [None, at(u64::MAX), at(u64::MAX - 99)] {
        for put in [false, true] {
            let mut rig = Rig::enabled(Options::default());
            let remote = Advertised { write: buffer.filter(|_| !put), read: buffer.filter(|_| put) };
            if put {
                let put = rig.put(tag(1), remote, 0, &bytes(100));
                rig.mover.put_data(put).unwrap();
            } else {
                let get = rig.get(tag(1), remote, 0, 100);
                rig.mover.get_data(get).unwrap();
            }
            let seen = rig.settle();
            assert_eq!(statuses(&seen), [(1, DataStatus::Released)]);
            assert_eq!(seen.last(), Some(&Seen::Violation(Violation::Header)));
            assert_eq!((rig.counters().writes, rig.counters().reads), (0, 0), "nothing went out");
            rig.finish();
        }
    }
}

#[test]
fn m1_a_wrong_stag_ends_the_connection_and_returns_everything() {
    for options in Options::kinds() {
        for put in [false, true] {
            let mut rig = Rig::enabled(options);
            let wrong = Some(Advertisement { stag: 0xBAD, va: 0x1000 });
            let remote = Advertised { write: wrong, read: wrong };
            if put {
                let put = rig.put(tag(1), remote, 0, &bytes(100));
                rig.mover.put_data(put).unwrap();
            } else {
                let get = rig.get(tag(1), remote, 0, 100);
                rig.mover.get_data(get).unwrap();
            }
            rig.mover.send_control(&NopIn { itt: 1, ..NopIn::default() }.encode(), &[]).unwrap();
            let seen = rig.settle();
            assert_eq!(statuses(&seen).len(), 1);
            assert!(matches!(seen.last(), Some(Seen::Terminated(Ended::Failed(_)))), "{seen:?}");
            assert!(!rig.world.take_violations().is_empty(), "the test provoked it");
            rig.finished();
        }
    }
}

#[test]
fn t2_released_reads_are_waited_for() {
    for options in Options::kinds() {
        let mut rig = Rig::enabled(Options { ird: 1, ..options });
        let remote = readable(&mut rig, 1, &bytes(1000));
        for i in [1, 2] {
            let get = rig.get(tag(i), remote, 0, 1000);
            rig.mover.get_data(get).unwrap();
        }
        rig.mover.flush();
        rig.mover.release_task(tag(1));
        rig.mover.release_task(tag(2));
        // The second had not begun; the first is the device's until it completes.
        assert_eq!(statuses(&rig.drain()), [(2, DataStatus::Released)]);
        assert_eq!(statuses(&rig.settle()), [(1, DataStatus::Released)]);
        // Only then may the task's end be told.
        rig.mover.send_control(&TmfResponse::default().encode(), &[]).unwrap();
        rig.settle();
        assert_eq!(rig.counters().reads, 1);
        rig.finish();
    }
}

#[test]
fn a_release_leaves_other_tasks_alone() {
    let mut rig = Rig::enabled(Options { ird: 1, ..Options::default() });
    let remote = readable(&mut rig, 1, &bytes(1000));
    for i in [1, 2, 3] {
        let get = rig.get(tag(i), remote, 0, 1000);
        rig.mover.get_data(get).unwrap();
    }
    rig.mover.release_task(tag(2));
    let mut seen = statuses(&rig.settle());
    seen.sort_by_key(|(index, _)| *index);
    assert_eq!(seen, [(1, DataStatus::Ok), (2, DataStatus::Released), (3, DataStatus::Ok)]);
    rig.finish();
}

#[test]
fn gets_that_wait_are_released_from_wherever_they_stand() {
    for released in [[2, 3, 4], [4, 3, 2], [3, 4, 5], [2, 4, 6], [4, 5, 6]] {
        let mut rig = Rig::enabled(Options { ird: 1, ..Options::default() });
        let remote = readable(&mut rig, 1, &bytes(1000));
        for i in 1..=6 {
            let get = rig.get(tag(i), remote, 0, 1000);
            rig.mover.get_data(get).unwrap();
        }
        for i in released {
            rig.mover.release_task(tag(i));
            assert_eq!(statuses(&rig.drain()), [(i, DataStatus::Released)]);
        }
        let rest: Vec<_> = (1..=6).filter(|i| !released.contains(i)).map(|i| (i, DataStatus::Ok)).collect();
        assert_eq!(statuses(&rig.settle()), rest, "in their order");
        rig.finish();
    }
}

#[test]
fn memory_that_is_not_registered_ends_the_connection_and_comes_back() {
    for put in [false, true] {
        let mut rig = Rig::enabled(Options::default());
        let buffer = Some(rig.peer.open(1, &bytes(100), Access::RemoteWrite));
        rig.settle();
        let mut foreign = Buffers::new(512);
        let remote = Advertised { write: buffer, read: buffer };
        if put {
            let put = rig.put(tag(1), remote, 0, &bytes(100));
            rig.buffers.give(put.data);
            rig.mover.put_data(PutData { data: foreign.filled(&bytes(100)), ..put }).unwrap();
        } else {
            let get = rig.get(tag(1), remote, 0, 100);
            rig.buffers.give(get.sink);
            rig.mover.get_data(GetData { sink: foreign.take(100), ..get }).unwrap();
        }
        rig.mover.send_control(&NopIn::default().encode(), &[]).unwrap();
        rig.mover.flush();
        let Some(Upcall::DataDone { buf, status: DataStatus::Released, .. }) = rig.mover.poll() else { panic!() };
        foreign.give(buf);
        assert!(matches!(rig.settle()[..], [Seen::Terminated(Ended::Failed(_))]));
        rig.finished();
    }
}
