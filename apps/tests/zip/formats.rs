//! Formats, levels and sizes, both ways.

use super::common::{folder, has};
use super::{feed, other, sample, zip};

const FORMATS: [&str; 3] = ["-g", "-z", "-r"];

/// Python's way to decompress: window bits say the format.
fn python(format: &str, packed: &[u8]) -> Vec<u8> {
    let bits = match format {
        "-g" => 31,
        "-z" => 15,
        _ => -15,
    };
    let program = format!(
        "import sys,zlib; d=zlib.decompressobj({bits}); b=sys.stdin.buffer.read(); \
         o=d.decompress(b)+d.flush(); assert d.eof and not d.unused_data; sys.stdout.buffer.write(o)"
    );
    let mut command = std::process::Command::new("python3");
    command.args(["-c", &program]);
    feed(command, packed).well()
}

#[test]
fn every_format_and_level_is_understood_by_others_and_by_itself() {
    let (folder, plain) = (folder(), sample(1_400_000));
    let peer = has("python3");
    for format in FORMATS {
        for level in (0..=12).map(|level| level.to_string()) {
            let packed = zip(folder.path(), &[format, "--level", &level, "--block", "200K"], &plain).well();
            assert!(level == "0" || packed.len() < plain.len() * 8 / 10, "{format} {level}");
            assert!(zip(folder.path(), &["-d", format], &packed).well() == plain, "{format} {level}");
            if peer {
                assert!(python(format, &packed) == plain, "python: {format} {level}");
            }
        }
    }
}

#[test]
fn what_others_compress_is_decompressed() {
    let (folder, plain) = (folder(), sample(900_000));
    for line in ["gzip -1", "gzip -9", "pigz -p2 -6", "pigz -z -9"] {
        if has(line.split(' ').next().unwrap_or(line)) {
            assert!(zip(folder.path(), &["-d"], &other(line, &plain)).well() == plain, "{line}");
        }
    }
    if has("python3") {
        let program = "import sys,zlib; c=zlib.compressobj(6,8,-15); \
                       sys.stdout.buffer.write(c.compress(sys.stdin.buffer.read())+c.flush())";
        let mut command = std::process::Command::new("python3");
        command.args(["-c", program]);
        let raw = feed(command, &plain).well();
        assert!(zip(folder.path(), &["-dr"], &raw).well() == plain);
    }
}

#[test]
fn inputs_of_all_sizes_about_a_block_are_right() {
    let folder = folder();
    let plain = sample(100_000);
    let block = 32 << 10;
    let peer = has("gzip");
    for len in [0, 1, 2, 100, block - 1, block, block + 1, 2 * block, 2 * block + 1, 100_000] {
        for format in FORMATS {
            let packed = zip(folder.path(), &[format, "--block", "32K"], &plain[..len]).well();
            assert!(zip(folder.path(), &["-d", format], &packed).well() == plain[..len], "{format} {len}");
            if peer && format == "-g" {
                assert!(other("gzip -d", &packed) == plain[..len], "{len}");
            }
        }
    }
}

#[test]
fn noise_grows_by_no_more_than_its_frames() {
    let folder = folder();
    let mut noise = vec![0; 3_000_000];
    let mut state = 1_u64;
    for byte in &mut noise {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        *byte = (state >> 56) as u8;
    }
    for level in ["-0", "-1", "-6", "-9"] {
        let packed = zip(folder.path(), &[level], &noise).well();
        assert!(packed.len() < noise.len() + noise.len() / 5000, "{level}: {}", packed.len());
        assert!(zip(folder.path(), &["-d"], &packed).well() == noise);
    }
}

#[test]
fn the_number_of_cores_and_the_size_of_reads_do_not_change_the_result() {
    let (folder, plain) = (folder(), sample(700_000));
    let expected = zip(folder.path(), &["-p1", "--block", "64K"], &plain).well();
    assert!(zip(folder.path(), &["--block", "64K"], &plain).well() == expected);
    // From a pipe that gives little at once, blocks are filled all the same.
    let path = folder.path().join("plain");
    std::fs::write(&path, &plain).expect("write");
    let parts = "head -c 1000 $1; sleep 0.1; tail -c +1001 $1 | head -c 70000; sleep 0.1; tail -c +71001 $1";
    let mut command = std::process::Command::new("sh");
    command.arg("-c").arg(format!("({parts}) | $2 zip --block 64K")).arg("sh");
    command.arg(&path).arg(env!("CARGO_BIN_EXE_warpdrive"));
    assert!(feed(command, &[]).well() == expected);
}

#[test]
fn members_one_behind_the_other_are_one_file() {
    let (folder, plain) = (folder(), sample(600_000));
    let mut packed = Vec::new();
    for part in [&plain[..1], &plain[1..300_000], &[], &plain[300_000..]] {
        packed.extend(zip(folder.path(), &["-g"], part).well());
    }
    assert!(zip(folder.path(), &["-d"], &packed).well() == plain);
}

#[test]
fn what_follows_the_last_member_is_treated_as_gzip_does() {
    let (folder, plain) = (folder(), sample(5_000));
    let packed = zip(folder.path(), &["-g"], &plain).well();
    let zeros = [&packed[..], &[0; 1000]].concat();
    assert!(zip(folder.path(), &["-d"], &zeros).well() == plain);
    for garbage in [&b"garbage"[..], &[0x1f], &[0x1f, 0], &[0, 0, 7]] {
        let done = zip(folder.path(), &["-d"], &[&packed[..], garbage].concat());
        assert!(done.out == plain, "{garbage:?}");
        done.fails(2, &["trailing garbage ignored"]);
    }
    let quiet = zip(folder.path(), &["-dq"], &[&packed[..], b"garbage"].concat());
    assert_eq!((quiet.code, quiet.err.as_str()), (Some(2), ""));
}

#[test]
fn gzip_headers_with_every_part_are_read() {
    let (folder, plain) = (folder(), b"hello, hello, hello".as_slice());
    let packed = zip(folder.path(), &["-gn"], plain).well();
    let mut full = vec![0x1f, 0x8b, 8, 0b1_1100, 1, 2, 3, 4, 0, 3];
    full.extend([3, 0, 7, 8, 9]);
    full.extend(b"name\0a comment\0");
    full.extend(&packed[10..]);
    assert_eq!(zip(folder.path(), &["-d"], &full).well(), plain);
    full[3] = 0b1_1110; // now a checksum is promised that is not there
    zip(folder.path(), &["-d"], &full).fails(1, &["header at byte 0", "checksum"]);
}
