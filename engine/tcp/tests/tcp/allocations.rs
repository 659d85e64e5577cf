//! The data path allocates nothing.
use crate::support::*;
use iscsi::datamover::{Advertised, Arrival, Datamover, Upcall};
use iscsi::negotiate::Parameters;
use iscsi::wire::{Bhs, ScsiResponse};
use iscsi_tcp::listen::{Accepted, Listener};
use iscsi_tcp::{Limits, Tcp};
use primitives::Buf;
use std::io::{Read, Write};
use std::net::TcpStream;

#[global_allocator]
static ALLOCATOR: reactors::guard::Counting = reactors::guard::Counting;

/// What one round of a 4 KiB write by R2T, a 16 KiB write with immediate data and an 8 KiB read needs.
struct Loop {
    tcp: Tcp,
    client: TcpStream,
    buffers: Vec<Buf>,
    rig: Rig,
    immediate: Vec<u8>,
    answer: Vec<u8>,
    scratch: Box<[u8; 65_536]>,
    header: usize,
}

fn prepare(digest: bool) -> Loop {
    let mut listener = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let Accepted::Connection(stream, _) = listener.accept() else { panic!("a connection waits") };
    let mut tcp = Tcp::new(stream, Limits::default()).unwrap();
    let parameters = Parameters { header_digest: digest, data_digest: digest, ..parameters() };
    tcp.enable(&parameters);
    let mut rig = Rig::new();
    rig.peer = Peer { header_digest: digest, data_digest: digest };
    let buffers = (0..3).map(|_| rig.pool.filled(&bytes(32 * 1024))).collect();
    let immediate = rig.peer.frame(&write_command(1, true), &[], &bytes(32 * 1024));
    let answer = rig.peer.frame(&data_out(2, 0, 0, 0, true), &[], &bytes(4096));
    let scratch = Box::new([0; 65_536]);
    Loop { tcp, client, buffers, rig, immediate, answer, scratch, header: if digest { 52 } else { 48 } }
}

impl Loop {
    fn upcall(&mut self) -> Upcall {
        loop {
            if let Some(upcall) = self.tcp.poll() {
                return upcall;
            }
            self.tcp.flush();
            self.tcp.receive();
        }
    }

    fn data_done(&mut self) {
        match self.upcall() {
            Upcall::DataDone { buf, .. } => self.buffers.push(buf),
            other => panic!("{other:?}"),
        }
    }

    fn round(&mut self) {
        self.client.write_all(&self.immediate).unwrap();
        let Upcall::Control(control) = self.upcall() else { panic!("a command") };
        assert_eq!(control.arrival, Arrival::Coming);
        let sink = self.buffers.pop().unwrap();
        self.tcp.accept_immediate(tag(1), sink, 0);
        self.data_done();

        let get = iscsi::datamover::GetData { sink: self.buffers.pop().unwrap(), ..template_get() };
        self.tcp.get_data(get).unwrap();
        self.tcp.flush();
        self.client.read_exact(&mut self.scratch[..self.header]).unwrap();
        let ttt: [u8; 4] = self.scratch[20..24].try_into().unwrap();
        self.answer[20..24].copy_from_slice(&ttt);
        if self.header == 52 {
            let digest = slow_crc(&self.answer[..48]);
            self.answer[48..52].copy_from_slice(&digest);
        }
        self.client.write_all(&self.answer).unwrap();
        self.data_done();

        let put = iscsi::datamover::PutData { data: self.buffers.pop().unwrap(), ..template_put() };
        self.tcp.put_data(put).unwrap();
        let response: Bhs = ScsiResponse { itt: 2, ..ScsiResponse::default() }.encode();
        self.tcp.send_control(&response, b"sense").unwrap();
        self.data_done();
        let extra = if self.header == 52 { 4 + 4 } else { 0 };
        let all = 2 * self.header + 8192 + 8 + extra;
        self.client.read_exact(&mut self.scratch[..all]).unwrap();
    }
}

fn nowhere() -> Buf {
    // SAFETY: a handle to nothing.
    unsafe { Buf::from_raw(std::ptr::NonNull::dangling(), 0, primitives::Home::Lent) }
}

fn template_get() -> iscsi::datamover::GetData {
    iscsi::datamover::GetData {
        tag: tag(2),
        task: iscsi::datamover::TaskName { itt: 2, lun: LUN },
        remote: Advertised::default(),
        sink: nowhere(),
        start: 0,
        len: 4096,
        offset: 0,
        solicited_from: 0,
        unsolicited: false,
        r2t_sn: 0,
        numbers: numbers(),
    }
}

fn template_put() -> iscsi::datamover::PutData {
    iscsi::datamover::PutData {
        tag: tag(3),
        task: iscsi::datamover::TaskName { itt: 3, lun: LUN },
        remote: Advertised::default(),
        data: nowhere(),
        start: 0,
        len: 8192,
        offset: 0,
        data_sn: 0,
        last: true,
        status: None,
        numbers: numbers(),
    }
}

#[test]
fn reads_and_writes_allocate_nothing() {
    for digest in [false, true] {
        let mut setup = prepare(digest);
        setup.round();
        let ((), counts) = reactors::guard::count(|| (0..50).for_each(|_| setup.round()));
        assert_eq!((counts.allocations, counts.deallocations), (0, 0), "with digests: {digest}");
        for buf in setup.buffers.drain(..) {
            setup.rig.pool.give(buf);
        }
        assert_eq!(setup.rig.pool.outstanding(), 0);
    }
}
