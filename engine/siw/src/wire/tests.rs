//! Bytes as the kernel's siw sends them, and everything else that may come.

use super::ddp::{UNTAGGED_LEN, len_of};
use super::mpa::{MAX_FRAME, Malformed, UNNEGOTIATED};
use super::*;
use proptest::prelude::*;
use rdma::{PrivateData, ReadDepth};

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|c| u8::from_str_radix(std::str::from_utf8(c).unwrap(), 16).unwrap()).collect()
}

fn encoded(header: &Header) -> Vec<u8> {
    let mut out = [0; UNTAGGED_LEN];
    let len = header.encode(&mut out);
    out[..len].to_vec()
}

/// The request of ib_iser over siw: revision 2, enhanced, IRD 128, ORD 1, four bytes of its own.
const REQUEST: &str = "4d504120494420526571204672616d65 1002 0008 00800001 80000000";
/// What isert answers.
const REPLY: &str = "4d504120494420526570204672616d65 1002 0008 00010080 c0000000";

#[test]
fn the_set_up_frames_of_siw() {
    let private = PrivateData::new(&[0x80, 0, 0, 0]).unwrap();
    let enhanced = Some(Depths { depth: ReadDepth { ird: 128, ord: 1 }, ..Depths::default() });
    let request = bytes(REQUEST);
    let (frame, len) = Frame::decode(Role::Request, &request).unwrap().unwrap();
    assert_eq!((len, frame.revision, frame.enhanced), (28, 2, enhanced));
    assert!(!frame.markers && !frame.crc && !frame.reject && frame.private == private);
    let mut out = [0; MAX_FRAME];
    assert_eq!((frame.encode(&mut out), &out[..28]), (28, &request[..]));
    let (reply, _) = Frame::decode(Role::Reply, &bytes(REPLY)).unwrap().unwrap();
    assert_eq!(reply.enhanced.unwrap().depth, ReadDepth { ird: 1, ord: 128 });
    let with_crc = bytes("4d504120494420526570204672616d65 5002 0004 00010001");
    let (reply, len) = Frame::decode(Role::Reply, &with_crc).unwrap().unwrap();
    assert!(reply.crc && reply.private.is_empty() && len == 24);
    assert_eq!((reply.encode(&mut out), &out[..24]), (24, &with_crc[..]));
}

#[test]
fn a_frame_is_whole_or_not_there_or_wrong() {
    let request = bytes(REQUEST);
    for n in 0..request.len() {
        assert!(matches!(Frame::decode(Role::Request, &request[..n]), Ok(None)), "{n} bytes");
        let mut wrong = request[..=n].to_vec();
        wrong[n.min(15)] ^= 1;
        assert_eq!(Frame::decode(Role::Request, &wrong).unwrap_err(), Malformed::Key);
    }
    assert_eq!(Frame::decode(Role::Reply, &request).unwrap_err(), Malformed::Key, "the key of the other side");
    let with = |flags: u8, length: u16| {
        let mut frame = request[..20].to_vec();
        frame[16] = flags;
        frame[18..20].copy_from_slice(&length.to_be_bytes());
        frame.resize(20 + usize::from(length), 0);
        Frame::decode(Role::Request, &frame)
    };
    assert_eq!(with(0x10, 3).unwrap_err(), Malformed::Length(3), "no room for the enhanced set-up");
    assert_eq!(with(0x10, 513).unwrap_err(), Malformed::Length(513));
    assert_eq!(with(0, u16::MAX).unwrap_err(), Malformed::Length(u16::MAX));
    assert_eq!(with(0, 512).unwrap_err(), Malformed::Length(512), "more than the seam carries");
    assert_eq!(with(0x10, 512).unwrap().unwrap().0.private.len(), 508);
    assert!(with(0, 0).unwrap().unwrap().0.enhanced.is_none());
}

#[test]
fn the_segments_of_siw() {
    let send = Place::Untagged { ulp: 0, queue: 0, msn: 1, mo: 0 };
    let invalidate = Place::Untagged { ulp: 0x433d_b901, queue: 0, msn: 2, mo: 0 };
    let write = Place::Tagged { stag: 0x433d_b901, to: 0xff11_0000_0f27_2100 };
    let request = Place::Untagged { ulp: 0, queue: 1, msn: 1, mo: 0 };
    let response = Place::Tagged { stag: 0x42b3_2201, to: 0xff11_0000_0649_a000 };
    for (hex, last, opcode, place) in [
        ("4143 00000000 00000000 00000001 00000000", true, Opcode::Send, send),
        ("4144 433db901 00000000 00000002 00000000", true, Opcode::SendInvalidate, invalidate),
        ("c140 433db901 ff1100000f272100", true, Opcode::Write, write),
        ("4141 00000000 00000001 00000001 00000000", true, Opcode::ReadRequest, request),
        ("8142 42b32201 ff1100000649a000", false, Opcode::ReadResponse, response),
    ] {
        let (bytes, header) = (bytes(hex), Header { last, opcode, place });
        assert_eq!((encoded(&header), len_of(bytes[0])), (bytes.clone(), bytes.len()));
        assert_eq!(Header::decode(&bytes), Ok(header));
    }
    let read = bytes("42b32201 ff1100000649a000 0007e000 433db912 ff11000020438000");
    let header = ReadRequest {
        sink_stag: 0x42b3_2201,
        sink_to: 0xff11_0000_0649_a000,
        len: 516_096,
        source_stag: 0x433d_b912,
        source_to: 0xff11_0000_2043_8000,
    };
    assert_eq!((ReadRequest::decode(&read), &header.encode()[..]), (Some(header), &read[..]));
    assert!(ReadRequest::decode(&read[..27]).is_none() && ReadRequest::decode(&[0; 29]).is_none());
}

#[test]
fn the_crc_of_siw() {
    // A whole FPDU of rping: length, header, 16 bytes, no padding.
    let fpdu = bytes("0022 4143 00000000 00000000 00000001 00000000 000055a114e04890592a7f0000000040 2533 0ca3");
    let (covered, sum) = fpdu.split_at(fpdu.len() - CRC);
    assert_eq!(crc::crc32c(covered), sum);
    let mut pieces = crc::Crc32c::default();
    covered.chunks(5).for_each(|c| pieces.update(c));
    assert_eq!(pieces.to_wire(), sum);
    assert_eq!([0, 1, 2, 3, 34, 538, 65_535].map(padding), [2, 1, 0, 3, 0, 0, 3]);
}

#[test]
fn every_wrong_header_has_its_fault() {
    let tagged = bytes("c140 00000001 0000000000000000");
    let untagged = bytes("4143 00000000 00000000 00000001 00000000");
    let fault = |mut bytes: Vec<u8>, at: usize, byte: u8| {
        bytes[at] = byte;
        Header::decode(&bytes)
    };
    assert_eq!(fault(tagged.clone(), 0, 0xC0), Err(Fault::TAGGED_VERSION));
    assert_eq!(fault(untagged.clone(), 0, 0x42), Err(Fault::UNTAGGED_VERSION));
    assert_eq!(fault(tagged.clone(), 1, 0x00), Err(Fault::RDMAP_VERSION));
    assert_eq!(fault(untagged.clone(), 1, 0x83), Err(Fault::RDMAP_VERSION));
    for opcode in 0..16 {
        let (on_tagged, on_untagged) =
            (fault(tagged.clone(), 1, 0x40 | opcode), fault(untagged.clone(), 1, 0x40 | opcode));
        assert_eq!(on_tagged.is_ok(), matches!(opcode, 0 | 2), "opcode {opcode}");
        assert_eq!(on_untagged.is_ok(), matches!(opcode, 1 | 3..=7), "opcode {opcode}");
        assert!(on_tagged.is_ok() || on_tagged == Err(Fault::OPCODE));
        assert!(on_untagged.is_ok() || on_untagged == Err(Fault::OPCODE));
    }
    // Reserved bits are ignored.
    assert!(fault(tagged, 0, 0xFD).is_ok() && fault(untagged, 1, 0x73).is_ok());
    for short in 0..14 {
        assert_eq!(Header::decode(&[0xC1, 0x40, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0][..short]), Err(Fault::FPDU));
    }
}

#[test]
fn terminate_messages() {
    let header = bytes("4141 00000000 00000001 00000001 00000000");
    let terminate = Terminate::new(Fault::READ_BOUNDS).with_segment(&header, 46).with_read([7; ReadRequest::LEN]);
    let mut out = [0xFF; Terminate::MAX];
    let len = terminate.encode(&mut out);
    assert_eq!(len, 4 + 2 + 18 + 28);
    assert_eq!((&out[..6], &out[6..24], &out[24..52]), (&bytes("0101 e000 002e")[..], &header[..], &[7u8; 28][..]));
    assert_eq!(Terminate::decode(&out[..len]).fault, Fault::READ_BOUNDS);
    let mut out = [0xFF; Terminate::MAX];
    let len = Terminate::new(Fault::CRC).with_segment(&header, 46).encode(&mut out);
    assert_eq!((len, &out[..4]), (4, &bytes("2002 0000")[..]), "MPA has no segment to show");
    assert_eq!(Terminate::new(Fault::STAG).with_segment(&[0; 19], 1).encode(&mut out), 4, "no header is that long");
    // As little-endian bit-fields lay it out: type in front of layer.
    assert_eq!(Terminate::decode(&[0x40, 0x09, 0x07]).fault, Fault { layer: 0, kind: 4, code: 9 });
    assert_eq!(Terminate::decode(&[]).fault, Fault { layer: 0, kind: 0, code: 0 });
    assert!(Fault::TOO_LONG.to_string().contains("DDP"));
}

fn any_depth() -> impl Strategy<Value = ReadDepth> {
    (0..=UNNEGOTIATED, 0..=UNNEGOTIATED).prop_map(|(ird, ord)| ReadDepth { ird, ord })
}

proptest! {
    #[test]
    fn frames_come_back_as_they_were(
        flags in any::<[bool; 8]>(), depth in any_depth(), revision: u8,
        private in prop::collection::vec(any::<u8>(), 0..=508),
    ) {
        let [markers, crc, reject, is_enhanced, peer_to_peer, by_send, by_write, by_read] = flags;
        let enhanced = is_enhanced.then_some(Depths { depth, peer_to_peer, by_send, by_write, by_read });
        let private = PrivateData::new(&private).unwrap();
        let frame = Frame { role: Role::Reply, markers, crc, reject, revision, enhanced, private };
        let mut out = [0; MAX_FRAME];
        let len = frame.encode(&mut out);
        let (back, taken) = Frame::decode(Role::Reply, &out).unwrap().unwrap();
        prop_assert_eq!((taken, back.enhanced, back.revision, back.private), (len, enhanced, revision, private));
        prop_assert_eq!((back.markers, back.crc, back.reject), (markers, crc, reject));
        prop_assert!(matches!(Frame::decode(Role::Reply, &out[..len - 1]), Ok(None)));
    }

    #[test]
    fn no_bytes_are_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let _ = Header::decode(&bytes);
        let _ = ReadRequest::decode(&bytes);
        let _ = Terminate::decode(&bytes);
        for role in [Role::Request, Role::Reply] {
            let _ = Frame::decode(role, &bytes);
            let key = if role == Role::Request { b"MPA ID Req Frame" } else { b"MPA ID Rep Frame" };
            let keyed = [&key[..], &bytes].concat();
            if let Ok(Some((_, len))) = Frame::decode(role, &keyed) {
                prop_assert!(len <= keyed.len());
            }
        }
    }

    #[test]
    fn headers_come_back_as_they_were(bits in 0u8..8, last: bool, stag: u32, to: u64, queue: u32, msn: u32, mo: u32) {
        let opcode = Opcode::from_bits(bits).unwrap();
        let place = if opcode.is_tagged() {
            Place::Tagged { stag, to }
        } else {
            Place::Untagged { ulp: stag, queue, msn, mo }
        };
        let header = Header { last, opcode, place };
        let bytes = encoded(&header);
        prop_assert_eq!((Header::decode(&bytes), len_of(bytes[0])), (Ok(header), bytes.len()));
    }
}
