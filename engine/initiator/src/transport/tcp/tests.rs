//! The table of transfers against a hostile target's Data-In and R2T.
use iscsi::wire::{DataIn, R2t, RESERVED_TAG, ScsiCommand};
use primitives::Serial;

use super::transfers::{Immediate, Transfers};
use crate::arena::Arena;
use crate::error::Violation;
use crate::transport::{Agreed, Data, Finished};

const ITT: u32 = 0x0007_0001;

fn agreed() -> Agreed {
    let lengths = Agreed { max_send_segment: 1000, max_burst: 4000, first_burst: 2500, ..Agreed::DURING_LOGIN };
    Agreed { initial_r2t: false, immediate_data: true, max_outstanding_r2t: 2, ..lengths }
}

fn begin(arena: &mut Arena, len: u32, write: bool, agreed: &Agreed) -> (Transfers, Immediate) {
    let mut transfers = Transfers::new(4);
    let mut buf = arena.take().unwrap();
    let data = if write {
        buf.set_len(len as usize);
        Data::Write { buf }
    } else {
        Data::Read { buf, len }
    };
    let immediate = transfers.begin(&ScsiCommand { itt: ITT, ..ScsiCommand::default() }, data, agreed);
    (transfers, immediate)
}

fn r2t(offset: u32, len: u32, sn: u32) -> R2t {
    R2t { itt: ITT, ttt: 9, r2t_sn: Serial(sn), buffer_offset: offset, desired_length: len, ..R2t::default() }
}

#[test]
fn data_in_stays_inside_the_buffer_and_in_order() {
    let mut arena = Arena::new(1, 4096);
    let (mut t, _) = begin(&mut arena, 4096, false, &agreed());
    let at = |offset, sn| DataIn { itt: ITT, buffer_offset: offset, data_sn: Serial(sn), ..DataIn::default() };
    assert_eq!(t.data_in(&at(u32::MAX, 0), 2), Err(Violation::DataBounds(u32::MAX, 2)));
    assert_eq!(t.data_in(&at(0, 0), 4097), Err(Violation::DataBounds(0, 4097)));
    assert_eq!(t.data_in(&at(512, 0), 512), Err(Violation::DataOrder(512, 0)));
    assert_eq!(t.data_in(&at(0, 1), 512), Err(Violation::DataSn(1, 0)));
    assert_eq!(t.data_in(&at(0, 0), 512), Ok(()));
    assert_eq!(t.data_in(&at(0, 1), 512), Err(Violation::DataOrder(0, 512)));
    assert_eq!(t.data_in(&at(512, 1), 3585), Err(Violation::DataBounds(512, 3585)));
    assert_eq!(t.data_in(&at(512, 1), 3584), Ok(()));
    for wrong in [ITT + 1, ITT ^ 0x1_0000, RESERVED_TAG, 0x0007_ffff] {
        let pdu = DataIn { itt: wrong, ..DataIn::default() };
        assert_eq!(t.data_in(&pdu, 0), Err(Violation::TaskTag(wrong)));
    }
    assert_eq!(t.r2t(&r2t(0, 1, 2), &agreed()), Err(Violation::R2tBounds(0, 1)), "an R2T for a read");
}

#[test]
fn r2t_stays_inside_the_command_and_the_negotiated_limits() {
    let mut arena = Arena::new(1, 8192);
    let agreed = Agreed { initial_r2t: true, immediate_data: false, ..agreed() };
    let (mut t, immediate) = begin(&mut arena, 8000, true, &agreed);
    assert_eq!(immediate, Immediate { len: 0, final_bit: true });
    assert_eq!(t.r2t(&r2t(u32::MAX, 2, 0), &agreed), Err(Violation::R2tBounds(u32::MAX, 2)));
    assert_eq!(t.r2t(&r2t(0, 0, 0), &agreed), Err(Violation::R2tBounds(0, 0)));
    assert_eq!(t.r2t(&r2t(0, 4001, 0), &agreed), Err(Violation::R2tBounds(0, 4001)));
    assert_eq!(t.r2t(&r2t(7000, 1001, 0), &agreed), Err(Violation::R2tBounds(7000, 1001)));
    assert_eq!(t.r2t(&r2t(0, 4000, 1), &agreed), Err(Violation::DataSn(1, 0)));
    let reserved = R2t { ttt: RESERVED_TAG, ..r2t(0, 4000, 0) };
    assert!(matches!(t.r2t(&reserved, &agreed), Err(Violation::Field(_))));
    assert_eq!(t.r2t(&r2t(0, 4000, 0), &agreed), Ok(()));
    assert_eq!(t.r2t(&r2t(4000, 2000, 1), &agreed), Ok(()));
    assert_eq!(t.r2t(&r2t(6000, 2000, 2), &agreed), Err(Violation::TooManyR2t));
    let pdu = DataIn { itt: ITT, ..DataIn::default() };
    assert_eq!(t.data_in(&pdu, 1), Err(Violation::DataBounds(0, 1)), "Data-In for a write");
}

#[test]
fn a_task_that_ends_early_sends_no_more_and_keeps_what_is_queued() {
    let mut arena = Arena::new(1, 8192);
    let (mut t, immediate) = begin(&mut arena, 5000, true, &agreed());
    assert_eq!(immediate, Immediate { len: 1000, final_bit: false });
    let out = t.next_data_out(1000, Serial(5)).unwrap();
    assert!(matches!(t.finish(ITT), Finished::InUse));
    assert!(t.next_data_out(1000, Serial(5)).is_none());
    t.payload_sent(out.slot);
    let Finished::Free(Some(buf)) = t.finish(ITT) else { panic!("still in use") };
    arena.give(buf);
}

/// The unsolicited rest of the first burst, then an R2T: each byte once, in order, split by segment.
#[test]
fn bursts_are_split_into_segments() {
    let mut arena = Arena::new(1, 8192);
    let (mut t, _) = begin(&mut arena, 5000, true, &agreed());
    t.r2t(&r2t(2500, 2500, 0), &agreed()).unwrap();
    let all: Vec<_> = std::iter::from_fn(|| t.next_data_out(1000, Serial(5)))
        .map(|o| (o.header.ttt, o.header.buffer_offset, o.len, o.header.data_sn.0, o.header.final_bit))
        .collect();
    let (free, tag) = (RESERVED_TAG, 9);
    assert_eq!(
        all,
        [
            (free, 1000, 1000, 0, false),
            (free, 2000, 500, 1, true),
            (tag, 2500, 1000, 0, false),
            (tag, 3500, 1000, 1, false),
            (tag, 4500, 500, 2, true)
        ]
    );
}
