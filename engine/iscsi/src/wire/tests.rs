//! Every PDU against bytes written by hand from RFC 7143 §11, and round trips of random headers.
use super::ahs::{Ahs, AhsError};
use super::*;
use alloc::vec;
use alloc::vec::Vec;
use primitives::Serial;
use proptest::prelude::*;

const LUN: [u8; 8] = [0x00, 0x05, 0, 0, 0, 0, 0, 0];
const ITT: u32 = 0x1011_1213;
const TTT: u32 = 0x2021_2223;

/// A header from 4-byte words.
fn words(words: [u32; 12]) -> Bhs {
    let mut bytes = [0; BHS_LEN];
    for (place, word) in bytes.chunks_mut(4).zip(words) {
        place.copy_from_slice(&word.to_be_bytes());
    }
    Bhs(bytes)
}

/// A header whose words 2..9 are LUN, ITT, TTT and three sequence numbers, as in most PDUs.
fn usual(first: u32, tail: [u32; 3]) -> Bhs {
    words([first, 0, 0x0005_0000, 0, ITT, TTT, 6, 7, 8, tail[0], tail[1], tail[2]])
}

macro_rules! same {
    ($pdu:expr, $golden:expr, $t:ty) => {{
        let (pdu, golden): ($t, Bhs) = ($pdu, $golden);
        assert_eq!(pdu.encode(), golden, "encode {}", stringify!($t));
        assert_eq!(<$t>::decode(&golden), pdu, "decode {}", stringify!($t));
        assert_eq!(golden.opcode(), <$t>::OPCODE);
    }};
}

#[test]
fn scsi_command() {
    let cdb = [0x28, 0, 0, 0, 0x10, 0, 0, 0, 8, 0, 0xA, 0xB, 0xC, 0xD, 0xE, 0xF];
    same!(
        ScsiCommand {
            immediate: true,
            final_bit: true,
            read: true,
            write: true,
            attribute: attribute::ORDERED,
            priority: 9,
            lun: LUN,
            itt: ITT,
            edtl: 4096,
            cmd_sn: Serial(6),
            exp_stat_sn: Serial(7),
            cdb,
        },
        words([0x41E2_9000, 0, 0x0005_0000, 0, ITT, 4096, 6, 7, 0x2800_0000, 0x1000_0000, 0x0800_0A0B, 0x0C0D_0E0F]),
        ScsiCommand
    );
}

#[test]
fn scsi_response() {
    same!(
        ScsiResponse {
            bidi_overflow: true,
            bidi_underflow: false,
            overflow: false,
            underflow: true,
            response: service::TARGET_FAILURE,
            status: 2,
            status_qualifier: 0x4001,
            itt: ITT,
            snack_tag: 5,
            stat_sn: Serial(6),
            exp_cmd_sn: Serial(7),
            max_cmd_sn: Serial(8),
            exp_data_sn: Serial(9),
            bidi_residual: 10,
            residual: 11,
        },
        words([0x2192_0102, 0, 0x4001_0000, 0, ITT, 5, 6, 7, 8, 9, 10, 11]),
        ScsiResponse
    );
}

#[test]
fn task_management() {
    same!(
        TmfRequest {
            immediate: true,
            function: function::LOGICAL_UNIT_RESET,
            lun: LUN,
            itt: ITT,
            referenced_task_tag: RESERVED_TAG,
            cmd_sn: Serial(6),
            exp_stat_sn: Serial(7),
            ref_cmd_sn: Serial(8),
            exp_data_sn: Serial(9),
        },
        words([0x4285_0000, 0, 0x0005_0000, 0, ITT, 0xFFFF_FFFF, 6, 7, 8, 9, 0, 0]),
        TmfRequest
    );
    same!(
        TmfResponse {
            response: tmf_response::FUNCTION_REJECTED,
            additional: [1, 2, 3],
            itt: ITT,
            stat_sn: Serial(6),
            exp_cmd_sn: Serial(7),
            max_cmd_sn: Serial(8),
        },
        words([0x2280_FF00, 0, 0x0102_0300, 0, ITT, 0, 6, 7, 8, 0, 0, 0]),
        TmfResponse
    );
}

#[test]
fn data() {
    same!(
        DataOut {
            final_bit: true,
            lun: LUN,
            itt: ITT,
            ttt: TTT,
            exp_stat_sn: Serial(7),
            data_sn: Serial(9),
            buffer_offset: 0x0001_0000,
        },
        words([0x0580_0000, 0, 0x0005_0000, 0, ITT, TTT, 0, 7, 0, 9, 0x0001_0000, 0]),
        DataOut
    );
    same!(
        DataIn {
            final_bit: true,
            acknowledge: true,
            overflow: true,
            underflow: false,
            has_status: true,
            status: 0x18,
            lun: LUN,
            itt: ITT,
            ttt: TTT,
            stat_sn: Serial(6),
            exp_cmd_sn: Serial(7),
            max_cmd_sn: Serial(8),
            data_sn: Serial(9),
            buffer_offset: 10,
            residual: 11,
        },
        usual(0x25C5_0018, [9, 10, 11]),
        DataIn
    );
    same!(
        R2t {
            lun: LUN,
            itt: ITT,
            ttt: TTT,
            stat_sn: Serial(6),
            exp_cmd_sn: Serial(7),
            max_cmd_sn: Serial(8),
            r2t_sn: Serial(9),
            buffer_offset: 10,
            desired_length: 11,
        },
        usual(0x3180_0000, [9, 10, 11]),
        R2t
    );
}

#[test]
fn login() {
    let isid = [0x40, 1, 2, 3, 0, 4];
    same!(
        LoginRequest {
            transit: true,
            cont: false,
            csg: Stage::Operational.bits(),
            nsg: Stage::FullFeature.bits(),
            version_max: 1,
            version_min: 0,
            isid,
            tsih: 0x0607,
            itt: ITT,
            cid: 0x0809,
            cmd_sn: Serial(6),
            exp_stat_sn: Serial(7),
        },
        words([0x4387_0100, 0, 0x4001_0203, 0x0004_0607, ITT, 0x0809_0000, 6, 7, 0, 0, 0, 0]),
        LoginRequest
    );
    let response = LoginResponse {
        transit: false,
        cont: true,
        csg: Stage::Security.bits(),
        nsg: Stage::Operational.bits(),
        version_max: 1,
        version_active: 2,
        isid,
        tsih: 0x0607,
        itt: ITT,
        stat_sn: Serial(6),
        exp_cmd_sn: Serial(7),
        max_cmd_sn: Serial(8),
        status_class: 2,
        status_detail: 0x0b,
    };
    let golden = words([0x2341_0102, 0, 0x4001_0203, 0x0004_0607, ITT, 0, 6, 7, 8, 0x020B_0000, 0, 0]);
    same!(response, golden, LoginResponse);
    assert_eq!(response.status(), LoginStatus::INVALID_DURING_LOGIN);
    assert!(LoginStatus::MOVED_PERMANENTLY.is_redirect() && !LoginStatus::SUCCESS.is_redirect());
    assert_eq!([0, 1, 2, 3].map(|b| Stage::from_bits(b).map(Stage::bits)), [Some(0), Some(1), None, Some(3)]);
}

#[test]
fn text() {
    same!(
        TextRequest {
            immediate: true,
            final_bit: true,
            cont: true,
            lun: LUN,
            itt: ITT,
            ttt: TTT,
            cmd_sn: Serial(6),
            exp_stat_sn: Serial(7),
        },
        words([0x44C0_0000, 0, 0x0005_0000, 0, ITT, TTT, 6, 7, 0, 0, 0, 0]),
        TextRequest
    );
    same!(
        TextResponse {
            final_bit: false,
            cont: true,
            lun: LUN,
            itt: ITT,
            ttt: TTT,
            stat_sn: Serial(6),
            exp_cmd_sn: Serial(7),
            max_cmd_sn: Serial(8),
        },
        usual(0x2440_0000, [0, 0, 0]),
        TextResponse
    );
}

#[test]
fn logout() {
    same!(
        LogoutRequest {
            immediate: true,
            reason: logout_reason::REMOVE_FOR_RECOVERY,
            itt: ITT,
            cid: 3,
            cmd_sn: Serial(6),
            exp_stat_sn: Serial(7),
        },
        words([0x4682_0000, 0, 0, 0, ITT, 0x0003_0000, 6, 7, 0, 0, 0, 0]),
        LogoutRequest
    );
    same!(
        LogoutResponse {
            response: logout_response::CLEANUP_FAILED,
            itt: ITT,
            stat_sn: Serial(6),
            exp_cmd_sn: Serial(7),
            max_cmd_sn: Serial(8),
            time2wait: 2,
            time2retain: 20,
        },
        words([0x2680_0300, 0, 0, 0, ITT, 0, 6, 7, 8, 0, 0x0002_0014, 0]),
        LogoutResponse
    );
}

#[test]
fn nop() {
    same!(
        NopOut { immediate: false, lun: LUN, itt: ITT, ttt: TTT, cmd_sn: Serial(6), exp_stat_sn: Serial(7) },
        words([0x0080_0000, 0, 0x0005_0000, 0, ITT, TTT, 6, 7, 0, 0, 0, 0]),
        NopOut
    );
    same!(
        NopIn { lun: LUN, itt: ITT, ttt: TTT, stat_sn: Serial(6), exp_cmd_sn: Serial(7), max_cmd_sn: Serial(8) },
        usual(0x2080_0000, [0, 0, 0]),
        NopIn
    );
}

#[test]
fn reject_async_and_snack() {
    same!(
        Reject {
            reason: reject_reason::INVALID_PDU_FIELD,
            stat_sn: Serial(6),
            exp_cmd_sn: Serial(7),
            max_cmd_sn: Serial(8),
            data_sn: Serial(9),
        },
        words([0x3F80_0900, 0, 0, 0, 0xFFFF_FFFF, 0, 6, 7, 8, 9, 0, 0]),
        Reject
    );
    same!(
        AsyncMessage {
            lun: LUN,
            stat_sn: Serial(6),
            exp_cmd_sn: Serial(7),
            max_cmd_sn: Serial(8),
            event: event::CONNECTION_DROP,
            vendor_code: 1,
            parameter1: 2,
            parameter2: 3,
            parameter3: 4,
        },
        words([0x3280_0000, 0, 0x0005_0000, 0, 0xFFFF_FFFF, 0, 6, 7, 8, 0x0201_0002, 0x0003_0004, 0]),
        AsyncMessage
    );
    same!(
        SnackRequest {
            kind: snack_type::R_DATA,
            lun: LUN,
            itt: ITT,
            ttt: TTT,
            exp_stat_sn: Serial(7),
            begin_run: Serial(10),
            run_length: 11,
        },
        words([0x1083_0000, 0, 0x0005_0000, 0, ITT, TTT, 0, 7, 0, 0, 10, 11]),
        SnackRequest
    );
}

#[test]
fn common_fields() {
    let bhs = words([0xC1FF_0000, 0x07AB_CDEF, 0x0005_0000, 0, ITT, TTT, 6, 7, 8, 0, 0, 0]);
    assert_eq!(bhs.opcode(), Opcode::SCSI_COMMAND, "the top two bits are not the opcode's");
    assert!(bhs.immediate() && bhs.final_bit());
    assert_eq!((bhs.total_ahs_length(), bhs.ahs_bytes(), bhs.data_segment_length()), (7, 28, 0x00AB_CDEF));
    assert_eq!((bhs.lun(), bhs.itt(), bhs.ttt()), (LUN, ITT, TTT));
    assert_eq!((bhs.cmd_sn(), bhs.exp_stat_sn()), (Serial(6), Serial(7)));
    assert_eq!((bhs.stat_sn(), bhs.exp_cmd_sn(), bhs.max_cmd_sn()), (Serial(6), Serial(7), Serial(8)));

    let mut made = Bhs::new(Opcode::NOP_IN).with_data_segment_length(0x00FF_FFFF).with_total_ahs_length(255);
    made.stamp(Serial(1), Serial(2), Serial(3));
    assert_eq!(made, words([0x2000_0000, 0xFFFF_FFFF, 0, 0, 0, 0, 1, 2, 3, 0, 0, 0]));
    assert!(Bhs::from_slice(&[0; 47]).is_none() && Bhs::from_slice(&[0; 49]).is_some());
}

#[test]
fn target_opcodes_are_told_apart() {
    assert!((0..0x40).all(|n| Opcode(n).is_target() == (n >= 0x20)));
}

#[test]
fn extended_cdb_round_trips() {
    for len in 17..=260usize {
        let cdb: Vec<u8> = (0..len).map(|i| u8::try_from(i % 251).unwrap()).collect();
        let (head, tail) = cdb.split_first_chunk::<16>().unwrap();
        let mut bytes = [0xDB; 1020];
        let words = ahs::write_extended_cdb(tail, &mut bytes).unwrap();
        let parsed = ahs::parse(&bytes[..usize::from(words) * 4]).unwrap();
        let mut joined = [0; 260];
        let joined_len = ahs::join_cdb(head, &parsed, &mut joined).unwrap();
        assert_eq!(&joined[..joined_len], &cdb[..]);
        assert!(ahs::join_cdb(head, &parsed, &mut joined[..len - 1]).is_none());
    }
    assert_eq!(ahs::write_extended_cdb(&[], &mut [0; 64]), None);
    assert_eq!(ahs::write_extended_cdb(&[0; 1017], &mut [0; 2048]), None);
    assert_eq!(ahs::write_extended_cdb(&[1; 4], &mut [0; 7]), None);
}

#[test]
fn l2_hostile_ahs() {
    assert_eq!(ahs::parse(&[]), Ok(Ahs::default()));
    let bidi = [0, 5, 2, 0, 0, 0, 0x10, 0];
    let cdb = [0, 2, 1, 0, 0xAA, 0, 0, 0];
    assert_eq!(ahs::parse(&bidi).unwrap().bidi_read_length, Some(4096));
    assert_eq!(ahs::parse(&cdb).unwrap().extended_cdb, &[0xAA]);
    let both = [&bidi[..], &cdb].concat();
    assert_eq!(ahs::parse(&both), Ok(Ahs { extended_cdb: &[0xAA], bidi_read_length: Some(4096) }));
    for (bytes, error) in [
        (vec![0], AhsError::Length),
        (vec![0, 5], AhsError::Length),
        (vec![0, 0, 1, 0], AhsError::Length),
        (vec![0, 1, 1, 0], AhsError::Length),
        (vec![0, 0, 2, 0], AhsError::Length),
        (vec![0, 4, 2, 0, 0, 0, 0, 0], AhsError::Length),
        (vec![0xFF, 0xFF, 1, 0, 1, 2, 3, 4], AhsError::Length),
        (vec![0, 2, 1, 0, 0xAA], AhsError::Length),
        (vec![0, 1, 0, 0], AhsError::Type),
        (vec![0, 1, 63, 0], AhsError::Type),
        ([&cdb[..], &cdb].concat(), AhsError::Twice),
        ([&bidi[..], &bidi].concat(), AhsError::Twice),
    ] {
        assert_eq!(ahs::parse(&bytes), Err(error), "{bytes:?}");
    }
}

macro_rules! round_trips {
    ($bhs:expr; $($t:ty)*) => {$({
        let pdu = <$t>::decode(&$bhs);
        let encoded = pdu.encode();
        prop_assert_eq!(<$t>::decode(&encoded), pdu);
        prop_assert_eq!(encoded.opcode(), <$t>::OPCODE);
        prop_assert_eq!((encoded.total_ahs_length(), encoded.data_segment_length()), (0, 0));
        prop_assert_eq!(encoded.0[0] & 0x80, 0);
    })*};
}

proptest! {
    #[test]
    fn any_header_decodes_and_what_is_decoded_round_trips(bytes in any::<[u8; 32]>(), tail in any::<[u8; 16]>()) {
        let mut all = [0; BHS_LEN];
        all[..32].copy_from_slice(&bytes);
        all[32..].copy_from_slice(&tail);
        let bhs = Bhs(all);
        round_trips!(bhs; ScsiCommand ScsiResponse TmfRequest TmfResponse DataOut DataIn R2t LoginRequest
            LoginResponse TextRequest TextResponse LogoutRequest LogoutResponse NopOut NopIn Reject AsyncMessage
            SnackRequest);
    }

    #[test]
    fn no_ahs_panics(bytes in proptest::collection::vec(any::<u8>(), 0..1020)) {
        if let Ok(ahs) = ahs::parse(&bytes) {
            prop_assert!(ahs.extended_cdb.len() < bytes.len().max(1));
        }
    }
}
