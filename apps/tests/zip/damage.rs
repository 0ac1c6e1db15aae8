//! Inputs and outputs that are not as they should be.

use std::process::Command;

use super::common::folder;
use super::{feed, sample, zip};

/// Tries to decompress a damaged file: it must fail, say this, and leave nothing but the file.
#[track_caller]
fn refused(packed: &[u8], args: &[&str], parts: &[&str]) {
    let folder = folder();
    std::fs::write(folder.path().join("bad.gz"), packed).expect("write");
    let args = [&["-d", "bad.gz"], args].concat();
    zip(folder.path(), &args, &[]).fails(1, &[&["error: bad.gz: "], parts].concat());
    assert!(!folder.path().join("bad").exists(), "partial output stayed");
    assert!(folder.path().join("bad.gz").exists(), "the input is gone");
}

#[test]
fn truncated_files_are_refused_wherever_they_end() {
    let folder = folder();
    let packed = zip(folder.path(), &["-gn"], &sample(200_000)).well();
    let len = packed.len();
    for (cut, what) in [
        (0, "header"),
        (1, "header"),
        (2, "header"),
        (9, "header"),
        (10, "compressed data"),
        (len / 2, "compressed data"),
        (len - 9, "compressed data"),
        (len - 8, "checksum"),
        (len - 1, "checksum"),
    ] {
        let at = format!("unexpected end of file at byte {cut}:");
        refused(&packed[..cut], &[], &[&at, what]);
    }
}

#[test]
fn damaged_files_are_refused_with_place_and_cause() {
    let folder = folder();
    let plain = sample(200_000);
    let packed = zip(folder.path(), &["-gn"], &plain).well();
    let len = packed.len();
    let with = |at: usize, value: u8| {
        let mut damaged = packed.clone();
        damaged[at] ^= value;
        damaged
    };
    let before = format!("before byte {}", len - 8);
    refused(&with(len - 8, 1), &[], &[&before, "its checksum should be"]);
    refused(&with(len - 1, 1), &[], &[&before, "its length modulo 2^32 should be"]);
    refused(&with(10, 6), &[], &["invalid compressed data between byte 10 and byte"]);
    refused(&with(2, 1), &[], &["header at byte 0", "method"]);
    refused(&with(3, 0x40), &[], &["header at byte 0", "flags"]);
    refused(&with(0, 1), &[], &["not in gzip or zlib format", "-r"]);
    refused(&packed, &["-z"], &["not in zlib format"]);
    refused(b"\x78\xbb\x11\xe6\x03\x98", &[], &["dictionary"]);
    refused(b"\x1f\x9d\x90", &[], &["compress(1)"]);
    // A second member that is damaged spoils all.
    let second = [&packed[..], &with(len - 8, 1)].concat();
    let before = format!("before byte {}", 2 * len - 8);
    refused(&second, &[], &[&before]);
}

#[test]
fn one_bad_file_does_not_keep_the_others_from_being_done() {
    let folder = folder();
    let plain = sample(400_000);
    let packed = zip(folder.path(), &[], &plain).well();
    let mut bad = packed.clone();
    let middle = bad.len() / 2;
    bad[middle..middle + 50].fill(0xff);
    for (name, bytes) in [("1.gz", &packed), ("2.gz", &bad), ("3.gz", &packed), ("4.gz", &packed)] {
        std::fs::write(folder.path().join(name), bytes).expect("write");
    }
    let args = ["-d", "1.gz", "2.gz", "3.gz", "none.gz", "4.gz"];
    zip(folder.path(), &args, &[]).fails(1, &["error: 2.gz: ", "error: none.gz: No such file"]);
    for name in ["1", "3", "4"] {
        assert!(std::fs::read(folder.path().join(name)).expect("read") == plain, "{name}");
    }
    assert!(!folder.path().join("2").exists());
}

#[test]
fn the_ends_of_an_output_are_told_or_respected() {
    let folder = folder();
    let program = env!("CARGO_BIN_EXE_warpdrive");
    let run = |line: String| {
        let mut command = Command::new("sh");
        command.current_dir(folder.path()).arg("-c").arg(line);
        feed(command, &[])
    };
    std::fs::write(folder.path().join("a"), sample(4_000_000)).expect("write");
    let full = run(format!("{program} zip -c a > /dev/full"));
    full.fails(1, &["error: a: cannot write to standard output: No space left"]);
    run(format!("{program} zip -k a; {program} zip -dc a.gz > /dev/full"))
        .fails(1, &["a.gz", "No space left"]);
    // As any program in a pipe: 128 + SIGPIPE, without a word. The shell tells by its exit code.
    for what in ["zip -c a", "zip -dc a.gz"] {
        let done = run(format!("({program} {what}; echo $? >&2) | head -c 10 > /dev/null"));
        assert_eq!((done.code, done.err.trim()), (Some(0), "141"), "{what}");
    }
}

#[test]
fn what_is_compressed_neither_comes_from_nor_goes_to_a_terminal() {
    let program = env!("CARGO_BIN_EXE_warpdrive");
    if !super::common::has("script") {
        return;
    }
    let run = |line: &str| {
        let mut command = Command::new("script");
        command.args(["-qec", &format!("{program} zip {line}"), "/dev/null"]);
        let done = feed(command, b"");
        (done.code, String::from_utf8_lossy(&done.out).into_owned())
    };
    let folder = folder();
    let path = folder.path().join("a");
    std::fs::write(&path, b"hello").expect("write");
    let (code, said) = run(&format!("-c {}", path.display()));
    assert!(code == Some(1) && said.contains("not written to a terminal"), "{code:?} {said}");
    let (code, said) = run("-d");
    assert!(code == Some(1) && said.contains("not read from a terminal"), "{code:?} {said}");
    let (code, _) = run(&format!("-cf {}", path.display()));
    assert_eq!(code, Some(0));
}
