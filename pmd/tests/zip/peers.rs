//! What others make of our streams, and we of theirs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use warpdrive_pmd::device::{Flush, Status};
use warpdrive_pmd::engine::Placement;
use warpdrive_pmd::engine::zip::{BackEnd, Checksum, ZipConfig, ZipFormat, ZipOp};

use crate::data::{FORMATS, KINDS, Kind, Sample};
use crate::feed::{Feed, even};
use crate::rig::{Call, Rig};

/// A job for zlib (peer.py).
struct Job {
    compress: bool,
    wbits: i8,
    level: u8,
    strategy: u8,
    memory: u8,
    flush: u8,
    dictionary: Vec<u8>,
    data: Vec<u8>,
}

impl Job {
    fn new(compress: bool, format: ZipFormat, window_bits: u8, data: Vec<u8>) -> Self {
        let wbits = match format {
            ZipFormat::Deflate => -(window_bits as i8),
            ZipFormat::Zlib => window_bits as i8,
            ZipFormat::Gzip => 16 + window_bits as i8,
        };
        Self { compress, wbits, level: 6, strategy: 0, memory: 8, flush: 0, dictionary: Vec::new(), data }
    }
}

/// What came of them: bytes, and how many of the input were not needed. `None` if there is no zlib.
fn zlib(jobs: &[Job]) -> Option<Vec<(Vec<u8>, usize)>> {
    let dir = tempfile::tempdir().unwrap();
    let [script, from, to] = ["peer.py", "jobs", "results"].map(|name| dir.path().join(name));
    let mut bytes = Vec::new();
    for job in jobs {
        bytes.push(if job.compress { b'c' } else { b'd' });
        bytes.extend([job.wbits as u8, job.level, job.strategy, job.memory, job.flush]);
        bytes.extend((job.dictionary.len() as u32).to_le_bytes());
        bytes.extend((job.data.len() as u32).to_le_bytes());
        bytes.extend(&job.dictionary);
        bytes.extend(&job.data);
    }
    fs::write(&from, bytes).unwrap();
    fs::write(&script, include_str!("peer.py")).unwrap();
    let output = match Command::new("python3").args([&script, &from, &to]).output() {
        Ok(output) => output,
        Err(e) => {
            println!("skipped: python3: {e}");
            return None;
        }
    };
    let message = String::from_utf8_lossy(&output.stderr);
    if message.contains("No module named") {
        println!("skipped: this python3 has no zlib");
        return None;
    }
    assert!(output.status.success(), "{message}");
    let mut results = &fs::read(&to).unwrap()[..];
    let mut take = |n: usize| {
        let (now, later) = results.split_at(n);
        results = later;
        now.to_vec()
    };
    let mut all = Vec::new();
    for (i, job) in jobs.iter().enumerate() {
        let head = take(9);
        let number = |at: usize| u32::from_le_bytes(head[at..at + 4].try_into().unwrap()) as usize;
        let out = take(number(5));
        let of = |e: &Vec<u8>| format!("job {i}, wbits {}: {}", job.wbits, String::from_utf8_lossy(e));
        assert_eq!(head[0], 1, "{}", of(&out));
        all.push((out, number(1)));
    }
    Some(all)
}

#[test]
fn zlib_reads_what_we_write() {
    let mut rig = Rig::new(Placement::Inline);
    let (mut jobs, mut plains) = (Vec::new(), Vec::new());
    let none = || Sample { kind: Kind::Text, len: 0, seed: 0 };
    for (n, level) in (0..=12).chain(0..=9).enumerate() {
        for (k, kind) in KINDS.into_iter().enumerate() {
            for format in FORMATS {
                let streamed = n > 12;
                let narrow = level < 10 && (n + k).is_multiple_of(2);
                let window_bits = if narrow { 9 + (n + k) as u8 / 2 % 7 } else { 15 };
                let with_dictionary = level < 10 && format != ZipFormat::Gzip && k.is_multiple_of(3);
                let dictionary = Sample { len: if with_dictionary { 900 } else { 0 }, ..none() };
                let config = ZipConfig {
                    window_bits,
                    dictionary: dictionary.bytes(),
                    ..ZipConfig::new(ZipOp::Compress, format, level)
                };
                let plain = Sample { kind, len: [40_000, 1, 0][n % 3], seed: n as u64 }.bytes();
                let session = rig.session(config);
                let stream = if streamed {
                    let stream = rig.stream(session);
                    let flush = [Flush::None, Flush::Sync, Flush::Full][k % 3];
                    let pieces = even(plain.len(), 3_333, flush, Flush::Finish);
                    Feed::new(session, &[700]).run(&mut rig, stream, &plain, pieces).1.unwrap().output
                } else {
                    rig.run(Call::new(session, &plain, 90_000)).output
                };
                let data = [&stream[..], b"behind"].concat();
                // With a window of no more than was asked for.
                jobs.push(Job {
                    dictionary: dictionary.bytes(),
                    ..Job::new(false, format, window_bits, data)
                });
                plains.push(plain);
            }
        }
    }
    let Some(results) = zlib(&jobs) else { return };
    assert_eq!(results.len(), 23 * 18);
    for ((out, unused), plain) in results.iter().zip(&plains) {
        assert!(out == plain, "zlib reads something else");
        assert_eq!(*unused, b"behind".len());
    }
}

#[test]
fn we_read_what_zlib_writes() {
    let (mut jobs, mut plains) = (Vec::new(), Vec::new());
    for level in 0..=9_u8 {
        for (k, kind) in KINDS.into_iter().enumerate() {
            for (f, format) in FORMATS.into_iter().enumerate() {
                let plain = Sample { kind, len: 30_000, seed: u64::from(level) }.bytes();
                let some = format != ZipFormat::Gzip && k == 1;
                jobs.push(Job {
                    level,
                    strategy: (level + k as u8 + f as u8) % 5,
                    memory: 1 + (level + k as u8) % 9,
                    flush: [0, 1, 2, 3, 5][(k + f) % 5],
                    dictionary: Sample { kind, len: if some { 700 } else { 0 }, seed: 1 }.bytes(),
                    ..Job::new(true, format, 9 + (level + k as u8) % 7, plain.clone())
                });
                plains.push((format, plain));
            }
        }
    }
    let Some(results) = zlib(&jobs) else { return };
    let mut rig = Rig::new(Placement::Inline);
    for ((job, (src, _)), (format, plain)) in jobs.iter().zip(&results).zip(&plains) {
        let dictionary = job.dictionary.clone();
        let config = ZipConfig { dictionary, ..ZipConfig::new(ZipOp::Decompress, *format, 0) };
        let session = rig.session(config);
        let done = rig.run(Call::new(session, src, plain.len()));
        assert!(done.status == Status::Ok && done.output == *plain, "{:?}", done.status);
        let stream = rig.stream(session);
        let pieces = even(src.len(), 777, Flush::None, Flush::Finish);
        let fed = Feed::new(session, &[1_111]).run(&mut rig, stream, src, pieces).1.unwrap();
        assert!(fed.output == *plain && fed.consumed == src.len());
    }
}

/// Runs a tool on files; `None` if it is not on this machine.
fn tool(name: &str, options: &[&str], files: &[PathBuf]) -> Option<Vec<u8>> {
    let output = match Command::new(name).args(options).args(files).output() {
        Ok(output) => output,
        Err(e) => {
            println!("skipped: {name}: {e}");
            return None;
        }
    };
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    Some(output.stdout)
}

fn files(dir: &Path, suffix: &str, contents: &[Vec<u8>]) -> Vec<PathBuf> {
    let write = |(i, bytes): (usize, &Vec<u8>)| {
        let path = dir.join(format!("{i}{suffix}"));
        fs::write(&path, bytes).unwrap();
        path
    };
    contents.iter().enumerate().map(write).collect()
}

fn plains() -> Vec<Vec<u8>> {
    let lens = [200_000, 10, 0];
    let kinds = KINDS.iter().enumerate();
    kinds.map(|(i, kind)| Sample { kind: *kind, len: lens[i % 3], seed: 11 }.bytes()).collect()
}

#[test]
fn the_gzips_read_what_we_write() {
    let (mut rig, dir, plains) = (Rig::new(Placement::Inline), tempfile::tempdir().unwrap(), plains());
    let mut streams = Vec::new();
    for (i, plain) in plains.iter().enumerate() {
        let session = rig.session(ZipConfig::new(ZipOp::Compress, ZipFormat::Gzip, 2 * i as u8));
        // Two members: as a whole, and as a stream.
        let first = rig.run(Call::new(session, plain, 210_000)).output;
        let session = rig.session(ZipConfig::new(ZipOp::Compress, ZipFormat::Gzip, i as u8));
        let stream = rig.stream(session);
        let pieces = even(plain.len(), 10_000, Flush::Sync, Flush::Finish);
        let second = Feed::new(session, &[9_999]).run(&mut rig, stream, plain, pieces).1.unwrap().output;
        streams.push([first, second].concat());
    }
    let wanted: Vec<u8> = plains.iter().flat_map(|plain| plain.repeat(2)).collect();
    let files = files(dir.path(), ".gz", &streams);
    for name in ["gzip", "pigz", "igzip"] {
        // igzip takes one file at a time.
        let each: Vec<&[PathBuf]> = if name == "igzip" { files.chunks(1).collect() } else { vec![&files] };
        let outputs: Option<Vec<_>> = each.into_iter().map(|files| tool(name, &["-dc"], files)).collect();
        if let Some(outputs) = outputs {
            assert!(outputs.concat() == wanted, "{name} reads something else");
        }
    }
}

#[test]
fn we_read_what_the_gzips_write() {
    let (mut rig, dir, plains) = (Rig::new(Placement::Inline), tempfile::tempdir().unwrap(), plains());
    let files = files(dir.path(), ".txt", &plains);
    let session = rig.session(ZipConfig::new(ZipOp::Decompress, ZipFormat::Gzip, 0));
    let runs = [
        ("gzip", "-1"),
        ("gzip", "-6"),
        ("gzip", "-9"),
        ("pigz", "-0"),
        ("pigz", "-b128"),
        ("pigz", "-ib64"),
        ("igzip", "-0"),
        ("igzip", "-1"),
        ("igzip", "-3"),
    ];
    for (name, option) in runs {
        for (path, plain) in files.iter().zip(&plains) {
            let Some(src) = tool(name, &["-c", option], std::slice::from_ref(path)) else { break };
            let done = rig.run(Call::new(session, &src, plain.len()));
            assert_eq!((done.status, done.consumed), (Status::Ok, src.len()), "{name} {option}");
            assert!(done.output == *plain, "{name} {option}");
            let stream = rig.stream(session);
            let pieces = even(src.len(), 1_500, Flush::None, Flush::Finish);
            let fed = Feed::new(session, &[65_000]).run(&mut rig, stream, &src, pieces).1.unwrap();
            assert!(fed.ended && fed.output == *plain, "{name} {option}");
        }
    }
}

#[test]
fn headers_with_every_set_of_optional_parts_are_read() {
    let mut rig = Rig::new(Placement::Inline);
    let plain = Sample { kind: Kind::Text, len: 500, seed: 1 }.bytes();
    let session = rig.session(ZipConfig::new(ZipOp::Compress, ZipFormat::Gzip, 6));
    let usual = rig.run(Call::new(session, &plain, 1_000)).output;
    let (text, crc, extra, name, comment) = (1_u8, 2_u8, 4_u8, 8_u8, 16_u8);
    for flags in 0..32_u8 {
        let mut src = vec![0x1f, 0x8b, 8, flags & (text | crc | extra | name | comment), 1, 2, 3, 4, 2, 3];
        if flags & extra != 0 {
            src.extend(300_u16.to_le_bytes());
            src.extend([9; 300]);
        }
        if flags & name != 0 {
            src.extend(b"a name.txt\0");
        }
        if flags & comment != 0 {
            src.extend(b"\0");
        }
        let body = src.len();
        if flags & crc != 0 {
            src.extend((Checksum::Crc32.of(&src) as u16).to_le_bytes());
        }
        src.extend(&usual[10..]);
        for back_end in [BackEnd::Libdeflate, BackEnd::ZlibRs] {
            let config = ZipConfig { back_end, ..ZipConfig::new(ZipOp::Decompress, ZipFormat::Gzip, 0) };
            let session = rig.session(config);
            let done = rig.run(Call::new(session, &src, plain.len()));
            assert_eq!((done.status, done.consumed), (Status::Ok, src.len()), "flags {flags:#x}");
            assert!(done.output == plain);
            if flags & crc != 0 {
                let mut bad = src.clone();
                bad[body] ^= 1;
                assert_eq!(rig.run(Call::new(session, &bad, plain.len())).status, Status::BadInput);
            }
        }
        let session = rig.session(ZipConfig::new(ZipOp::Decompress, ZipFormat::Gzip, 0));
        for piece in [1, 7, src.len()] {
            let stream = rig.stream(session);
            let pieces = even(src.len(), piece, Flush::None, Flush::Finish);
            let fed = Feed::new(session, &[600]).run(&mut rig, stream, &src, pieces).1.unwrap();
            assert!(fed.output == plain, "flags {flags:#x}, pieces of {piece}");
        }
    }
}
