//! An error injected over RPC reaches the initiator as the sense that names the block.

mod support;

use initiator::session::Outcome;
use initiator::{Client, Options, Transfer, Url};
use support::Serving;

const READ_10: u8 = 0x28;

/// Reads `blocks` blocks from `lba` on; the sense key, code, qualifier and information of a failure.
fn read(client: &mut Client, lba: u8, blocks: u8) -> Option<(u8, u8, u8, u32)> {
    let cdb = [READ_10, 0, 0, 0, 0, lba, 0, 0, blocks, 0];
    let reply = client.command(&cdb, Transfer::Read(usize::from(blocks) * 512)).unwrap();
    if matches!(reply.outcome, Outcome::Status { status: 0, .. }) {
        return None;
    }
    // Fixed format (SPC-4 §4.5.3).
    let s = reply.sense;
    Some((s[2] & 0x0F, s[12], s[13], u32::from_be_bytes([s[3], s[4], s[5], s[6]])))
}

#[test]
fn the_block_is_named() {
    let serving = Serving::start(&[]);
    let port = support::free_port();
    serving.ok(&["bdev_malloc_create", r#"{"name":"M","num_blocks":256,"block_size":512}"#]);
    serving.ok(&["bdev_error_create", r#"{"base_name":"M"}"#]);
    support::export(&serving, "EE_M", port);
    let url: Url = format!("iscsi://127.0.0.1:{port}/{}/0", support::TARGET).parse().unwrap();
    let mut client = Client::connect(&url, &Options::default()).unwrap();
    assert_eq!(read(&mut client, 0, 64), None);
    let inject = r#"{"name":"EE_M","io_type":"read","error_type":"failure","num":2,"lba":40,"num_blocks":4}"#;
    serving.ok(&["bdev_error_inject_error", inject]);
    assert_eq!(read(&mut client, 0, 40), None, "ends before the range");
    assert_eq!(read(&mut client, 44, 8), None, "begins behind it");
    assert_eq!(read(&mut client, 36, 8), Some((3, 0x11, 0, 40)), "unrecovered read error, first bad block");
    assert_eq!(read(&mut client, 43, 1), Some((3, 0x11, 0, 43)));
    assert_eq!(read(&mut client, 40, 4), None, "two were asked for");
}
