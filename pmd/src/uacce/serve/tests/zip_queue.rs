use warpdrive_mempool::{Mapping, PageChoice, PageSize, Sharing};

use super::client::{Client, me};
use super::{server, zip};
use crate::uacce::abi::zip::{Asked, COMPRESS, DECOMPRESS, Ended, Entry, Format, status};
use crate::uacce::abi::{self, SHARE, Share, UNSHARE};

/// Something like text.
fn text(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|i| b"the quick brown fox jumps "[(i * i / 7 + i) % 26]).collect()
}

pub fn asked(format: Format, source: &[u8], output: &mut [u8]) -> Asked {
    Asked {
        format,
        source: source.as_ptr() as u64,
        input: source.len() as u32,
        destination: output.as_mut_ptr() as u64,
        room: output.len() as u32,
        stream: None,
        begins: true,
        finish: true,
    }
}

pub fn call(client: &mut Client, asked: &Asked) -> Ended {
    let done = client.call(&Entry::new(asked, 0, 77).0);
    let entry = Entry(done.try_into().unwrap());
    assert_eq!(entry.tag(), 77);
    entry.ended()
}

fn inflate(format: Format, bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![0; 1 << 20];
    let mut inflater = libdeflater::Decompressor::new();
    let n = match format {
        Format::Deflate => inflater.deflate_decompress(bytes, &mut out),
        Format::Zlib => inflater.zlib_decompress(&[&[0x78, 0x9c], bytes].concat(), &mut out),
        Format::Gzip => {
            let header = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3];
            inflater.gzip_decompress(&[&header, bytes].concat(), &mut out)
        }
    };
    out.truncate(n.unwrap());
    out
}

const FORMATS: [Format; 3] = [Format::Deflate, Format::Zlib, Format::Gzip];

#[test]
fn blocks_are_compressed_and_decompressed_wherever_they_are() {
    let server = server(vec![zip()]);
    let device = &*server.devices()[0];
    let (mut packer, mut unpacker) =
        (Client::open(device, COMPRESS, 32), Client::open(device, DECOMPRESS, 32));
    for format in FORMATS {
        for bytes in [1, 100, 4096, 65_536, 65_537, 300_000] {
            let (plain, mut packed) = (text(bytes), vec![0; bytes + 1000]);
            let ended = call(&mut packer, &asked(format, &plain, &mut packed));
            assert_eq!((ended.status, ended.consumed), (status::DONE, bytes as u32), "{format:?} {bytes}");
            let packed = &packed[..ended.produced as usize];
            assert!(inflate(format, packed) == plain);
            let mut back = vec![0; bytes + 1];
            let ended = call(&mut unpacker, &asked(format, packed, &mut back));
            assert_eq!((ended.status, ended.last_block), (status::END, false), "{format:?} {bytes}");
            assert_eq!((ended.consumed as usize, ended.produced as usize), (packed.len(), bytes));
            assert!(back[..bytes] == plain);
        }
    }
}

#[test]
fn what_is_given_is_worked_on_without_a_copy_to_the_process() {
    let server = server(vec![zip()]);
    let device = &*server.devices()[0];
    let mut packer = Client::open(device, COMPRESS, 32);
    let given = Mapping::new(1 << 20, PageChoice::Exactly(PageSize::Size4K), Sharing::Shared, None).unwrap();
    use std::os::fd::AsRawFd as _;
    // At an address that this process has not: a copy to or from there would fail.
    let share = Share {
        address: 0x6000_0000_0000,
        bytes: 1 << 20,
        offset: 0,
        fd: given.memfd().unwrap().as_raw_fd(),
        access: abi::ACCESS_READ | abi::ACCESS_WRITE,
    };
    let argument = |share: &Share| {
        let mut bytes = Vec::new();
        for long in [share.address, share.bytes, share.offset] {
            bytes.extend(long.to_ne_bytes());
        }
        bytes.extend(share.fd.to_ne_bytes());
        bytes.extend(share.access.to_ne_bytes());
        bytes
    };
    packer.file.ioctl(me(), SHARE, &argument(&share)).unwrap();
    // SAFETY: the test's own memory; the server touches it only during calls.
    let memory = unsafe { std::slice::from_raw_parts_mut(given.as_ptr(), 1 << 20) };
    let plain = text(16 << 10);
    memory[..16 << 10].copy_from_slice(&plain);
    let mut request = Asked {
        format: Format::Gzip,
        source: share.address,
        input: 16 << 10,
        destination: share.address + (512 << 10),
        room: 64 << 10,
        stream: None,
        begins: true,
        finish: true,
    };
    let ended = call(&mut packer, &request);
    assert_eq!(ended.status, status::DONE);
    assert!(inflate(Format::Gzip, &memory[512 << 10..][..ended.produced as usize]) == plain);
    request.destination = share.address + (1 << 20) - 100;
    assert_eq!(call(&mut packer, &request).status, status::ADDRESS, "beyond the end");
    packer.file.ioctl(me(), UNSHARE, &argument(&share)).unwrap();
    request.destination = share.address + (512 << 10);
    assert_eq!(call(&mut packer, &request).status, status::ADDRESS, "taken back");
}

#[test]
fn streams_go_on_where_they_were() {
    let server = server(vec![zip()]);
    let device = &*server.devices()[0];
    let (mut packer, mut unpacker) =
        (Client::open(device, COMPRESS, 32), Client::open(device, DECOMPRESS, 32));
    for format in FORMATS {
        let plain = text(200_000);
        let (context, mut packed, mut at) = ([0_u8; 64], Vec::new(), 0);
        for piece in plain.chunks(30_000) {
            let mut out = vec![0; 40_000];
            let finish = at + piece.len() == plain.len();
            let stream = Some(context.as_ptr() as u64);
            let request = Asked { stream, begins: at == 0, finish, ..asked(format, piece, &mut out) };
            let ended = call(&mut packer, &request);
            assert_eq!((ended.status, ended.consumed as usize), (status::DONE, piece.len()));
            packed.extend_from_slice(&out[..ended.produced as usize]);
            at += piece.len();
        }
        assert!(inflate(format, &packed) == plain);
        // The trailer comes in two pieces.
        let (mut back, mut begins, mut last) = (Vec::new(), true, Ended::default());
        let cut = packed.len() - 2;
        for piece in packed[..cut].chunks(5_000).chain([&packed[cut..]]) {
            let mut rest = piece;
            while !rest.is_empty() {
                let mut out = vec![0; 7_000];
                let stream = Some(context.as_ptr() as u64);
                last = call(
                    &mut unpacker,
                    &Asked { stream, begins, finish: false, ..asked(format, rest, &mut out) },
                );
                assert!(matches!(last.status, status::DONE | status::END), "{format:?} {last:?}");
                back.extend_from_slice(&out[..last.produced as usize]);
                rest = &rest[last.consumed as usize..];
                begins = false;
                assert!(last.consumed > 0 || last.produced > 0, "it gets on");
            }
        }
        // What did not fit comes without more input.
        while back.len() < plain.len() && last.status != status::END {
            let mut out = vec![0; 7_000];
            let stream = Some(context.as_ptr() as u64);
            last =
                call(&mut unpacker, &Asked { stream, begins, finish: false, ..asked(format, &[], &mut out) });
            back.extend_from_slice(&out[..last.produced as usize]);
        }
        assert!(back == plain, "{format:?}");
        assert_eq!((last.status, last.last_block), (status::END, true), "{format:?}");
    }
}

#[test]
fn errors_are_told_apart() {
    let server = server(vec![zip()]);
    let device = &*server.devices()[0];
    let (mut packer, mut unpacker) =
        (Client::open(device, COMPRESS, 32), Client::open(device, DECOMPRESS, 32));
    let plain: Vec<u8> = (0..10_000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let mut out = vec![0; 20_000];
    let ended = call(&mut packer, &asked(Format::Zlib, &plain, &mut out[..100]));
    assert_eq!(ended.status, status::FULL);
    let ended = call(&mut packer, &asked(Format::Zlib, &plain, &mut out));
    assert_eq!(ended.status, status::DONE);
    let packed = out[..ended.produced as usize].to_vec();
    let mut back = vec![0; 10_000];
    assert_eq!(call(&mut unpacker, &asked(Format::Zlib, &packed, &mut back[..9_999])).status, status::FULL);
    let mut wrong = packed.clone();
    *wrong.last_mut().unwrap() ^= 1;
    assert_eq!(call(&mut unpacker, &asked(Format::Zlib, &wrong, &mut back)).status, status::CHECKSUM);
    assert_eq!(
        call(&mut unpacker, &asked(Format::Zlib, &packed[..packed.len() / 2], &mut back)).status,
        status::DATA
    );
    assert_eq!(call(&mut unpacker, &asked(Format::Deflate, &[0xff; 50], &mut back)).status, status::DATA);
    let mut request = asked(Format::Deflate, &plain, &mut out);
    request.source = 0x1000;
    assert_eq!(call(&mut packer, &request).status, status::ADDRESS);
    request.source = u64::MAX - 100;
    assert_eq!(call(&mut packer, &request).status, status::ADDRESS);
    request = asked(Format::Deflate, &plain, &mut out);
    request.destination = 0x1000;
    assert_eq!(call(&mut packer, &request).status, status::ADDRESS);
    request = Asked { input: u32::MAX, ..asked(Format::Deflate, &plain, &mut out) };
    assert_eq!(call(&mut packer, &request).status, status::DATA);
    let stream = Some(0x1234);
    request = Asked { stream, begins: false, ..asked(Format::Deflate, &plain, &mut out) };
    assert_eq!(call(&mut packer, &request).status, status::DATA, "a stream that was not begun");
}
