//! LUNs without a logical unit, and the REPORT LUNS well known logical unit.

use super::*;

const NOWHERE: Lun = Lun([0, 9, 0, 0, 0, 0, 0, 0]);

fn run(lun: Lun, cdb: &[u8]) -> (Plan, Vec<u8>) {
    let luns = [Lun::from_number(5)];
    let mut reply = vec![POISON; limits::REPLY];
    let plan = execute_without_lu(lun, &luns, cdb, &mut reply);
    if let Plan::Reply { len, .. } = plan {
        reply.truncate(len);
    }
    (plan, reply)
}

#[test]
fn inquiry_says_that_nobody_is_there() {
    for lun in [NOWHERE, Lun::from_number(0), Lun([0xFF; 8])] {
        let (_, data) = run(lun, &[0x12, 0, 0, 0, 255, 0]);
        assert_eq!((data[0], data[4], data.len()), (0x7F, 69, 74));
        let (_, data) = run(lun, &[0x12, 1, 0, 0, 255, 0]);
        assert_eq!(data, [0x7F, 0, 0, 1, 0]);
        assert_eq!(failure(run(lun, &[0x12, 1, 0x83, 0, 255, 0]).0), Sense::cdb_byte(2));
        assert_eq!(failure(run(lun, &[0x12, 0, 0x83, 0, 255, 0]).0), Sense::cdb_byte(2));
    }
    assert_eq!(run(Lun::REPORT_LUNS, &[0x12, 0, 0, 0, 255, 0]).1[0], 0x1E);
}

#[test]
fn report_luns_answers_everywhere() {
    for lun in [NOWHERE, Lun::from_number(0), Lun::REPORT_LUNS] {
        let (_, data) = run(lun, &[0xA0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 0, 0]);
        assert_eq!(data, [0, 0, 0, 8, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0]);
    }
}

#[test]
fn request_sense_tells_why() {
    assert_eq!(run(NOWHERE, &[0x03, 1, 0, 0, 255, 0]).1, [0x72, 5, 0x25, 0, 0, 0, 0, 0]);
    assert_eq!(run(Lun::REPORT_LUNS, &[0x03, 1, 0, 0, 255, 0]).1, [0x72, 0, 0, 0, 0, 0, 0, 0]);
}

#[test]
fn everything_else_is_refused() {
    for opcode in 0..=255u8 {
        let mut cdb = [0; 16];
        cdb[0] = opcode;
        for length in 0..=16 {
            if length > 0 && matches!(opcode, 0x03 | 0x12 | 0xA0) {
                assert!(matches!(run(NOWHERE, &cdb[..length]).0, Plan::Reply { len: 0, .. }));
                continue;
            }
            let sense = failure(run(NOWHERE, &cdb[..length]).0);
            assert_eq!(sense, Sense::LOGICAL_UNIT_NOT_SUPPORTED);
            let well_known = run(Lun::REPORT_LUNS, &cdb[..length]).0;
            match cdb[..length].first() {
                None | Some(0) => assert_eq!(well_known, Plan::Done(Outcome::GOOD)),
                _ => assert_eq!(failure(well_known), Sense::INVALID_OPERATION_CODE),
            }
        }
    }
}
