//! The demonstration that runs without a file, and its far end.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use crate::common::{
    PATIENCE, Ran, Started, command, examples, folder, has, meminfo, pcap, run, run_config, skipped,
};

/// Signs and compresses the built-in capture, as anybody does who types `warpdrive run`.
fn demonstration(folder: &Path) -> Ran {
    run(folder, ["run"]).well()
}

/// The frames of the built-in capture.
fn originals(folder: &Path) -> Vec<Vec<u8>> {
    let toml = r#"
        version = 1
        [port.in]
        driver = "pcap"
        file = "builtin:demo"
        [port.out]
        driver = "pcap"
        out = "originals.pcap"
        [[pipeline]]
        name = "copy"
        stages = [ { rx = "in" }, { tx = "out" } ]
    "#;
    run_config(folder, toml, &[]).well();
    pcap::read(&folder.join("originals.pcap"))
}

#[test]
fn without_a_file_the_demonstration_signs_and_compresses_and_says_what_it_did() {
    let _huge = crate::resources::hugepages();
    let folder = folder();
    let ran = demonstration(folder.path());
    for part in ["input at its end", "rsa", "zip", "p99.9", "total", "in use 0", "sign-and-zip"] {
        assert!(ran.stdout.contains(part), "no {part:?} on standard output: {}", ran.stdout);
    }
    assert!(!ran.stderr.contains("ran "), "numbers go to standard output");
    assert!(ran.stderr.contains("software"), "it says that the engines are software: {}", ran.stderr);
    if meminfo("HugePages_Total") == 0 {
        assert!(ran.stderr.contains("running without"), "{}", ran.stderr);
        assert!(ran.stderr.contains("hugepages for mempool \"pkt\""), "{}", ran.stderr);
    }
    let sent = pcap::read(&folder.path().join("sign-zip.pcap"));
    assert_eq!(sent.len(), 64);
    for file in ["rsa2048.pem", "rsa2048.pub.pem"] {
        assert!(folder.path().join("warpdrive-demo").join(file).exists(), "{file}");
    }
    let key = std::fs::metadata(folder.path().join("warpdrive-demo/rsa2048.pem")).expect("the key");
    assert_eq!(key.permissions().mode() & 0o777, 0o600, "nobody else reads the private key");
}

#[test]
fn a_second_start_takes_the_key_of_the_first() {
    let folder = folder();
    assert!(demonstration(folder.path()).stderr.contains("made now"));
    let key = folder.path().join("warpdrive-demo/rsa2048.pem");
    let before = std::fs::read(&key).expect("the key");
    assert!(demonstration(folder.path()).stderr.contains("made earlier"));
    assert!(std::fs::read(&key).expect("the key") == before);
}

#[test]
fn the_far_end_gives_every_packet_back_byte_for_byte() {
    let folder = folder();
    demonstration(folder.path());
    let far_end = examples().join("unzip-verify.toml");
    let ran = run(folder.path(), ["run", far_end.to_str().expect("UTF-8")]).well();
    assert!(!ran.stdout.contains("dropped"), "{}", ran.stdout);
    let (sent, restored) = (originals(folder.path()), pcap::read(&folder.path().join("restored.pcap")));
    assert_eq!(restored.len(), sent.len());
    for (i, (a, b)) in sent.iter().zip(&restored).enumerate() {
        assert_eq!(a, b, "frame {i}");
    }
}

#[test]
fn what_is_sent_has_right_checksums_and_is_shorter_where_it_can_be() {
    let folder = folder();
    demonstration(folder.path());
    let (before, after) = (originals(folder.path()), pcap::read(&folder.path().join("sign-zip.pcap")));
    let mut treated = 0;
    for (i, (a, b)) in before.iter().zip(&after).enumerate() {
        let Some(payload) = pcap::udp_payload(a) else {
            assert_eq!(a, b, "frame {i} is no UDP and untouched");
            continue;
        };
        assert!(pcap::udp_is_right(b), "frame {i}");
        let sent = &b[pcap::udp_payload(b).expect("still UDP")];
        assert_eq!(sent[..3], *b"WD\x02", "frame {i} carries the header of a compressed payload");
        let signed = payload.len() + 8 + 256;
        assert!(sent.len() <= signed + 8, "frame {i}: never longer than stored");
        treated += 1;
    }
    assert_eq!(treated, 52);
}

/// Reads the capture with nothing of ours: header as documented, zlib for DEFLATE, the openssl command for RSA.
const INDEPENDENT: &str = r#"
import struct, subprocess, sys, zlib, tempfile, os
data = open(sys.argv[1], "rb").read()
at, verified, other, streamed = 24, 0, 0, 0
flows = {}
while at < len(data):
    n = struct.unpack_from("<I", data, at + 8)[0]
    f = data[at + 16:at + 16 + n]
    at += 16 + n
    l3 = 18 if f[12:14] == b"\x81\x00" else 14
    kind = f[l3 - 2:l3]
    if kind == b"\x08\x00" and f[l3 + 9] == 17: udp = l3 + 20
    elif kind == b"\x86\xdd" and f[l3 + 6] == 17: udp = l3 + 40
    else:
        other += 1
        continue
    p = f[udp + 8:udp + struct.unpack(">H", f[udp + 4:udp + 6])[0]]
    magic, kind, algo, flags, number, length = struct.unpack(">2sBBBBH", p[:8])
    assert magic == b"WD", p[:8]
    if kind == 3:
        assert algo == 1 and flags in (0, 2), p[:8]
        flow = (f[l3 + 12:l3 + 20] if udp == l3 + 20 else f[l3 + 8:l3 + 40]) + f[udp:udp + 4]
        if flags & 2: flows[flow] = [zlib.decompressobj(-15), 0, number]
        d, crc, expected = flows[flow]
        assert number == expected, (number, expected)
        inner = d.decompress(p[12:])
        crc = zlib.crc32(inner, crc)
        assert crc == struct.unpack(">I", p[8:12])[0]
        flows[flow][1:] = [crc, (number + 1) % 256]
        streamed += 1
    elif algo == 1:
        assert (kind, flags, number) == (2, 0, 0), p[:8]
        d = zlib.decompressobj(-15)
        inner = d.decompress(p[8:]) + d.flush()
        assert d.eof and not d.unused_data
    else:
        assert (kind, algo, flags, number) == (2, 0, 0, 0), p[:8]
        inner = p[8:]
    assert len(inner) == length, (len(inner), length)
    magic, kind, algo, flags, zero, length = struct.unpack(">2sBBBBH", inner[:8])
    assert (magic, kind, algo, zero, length) == (b"WD", 1, 1, 0, 256), inner[:8]
    with tempfile.TemporaryDirectory() as t:
        s, m = os.path.join(t, "s"), os.path.join(t, "m")
        open(s, "wb").write(inner[-256:])
        open(m, "wb").write(inner[8:-256])
        subprocess.run(["openssl", "dgst", "-sha256", "-verify", "warpdrive-demo/rsa2048.pub.pem", "-signature", s, m],
                       check=True, stdout=subprocess.DEVNULL)
    verified += 1
print(verified, other, streamed)
"#;

/// What Python says of a capture: payloads verified, other packets, payloads that are parts of a flow's stream.
fn independent(folder: &Path, capture: &str) -> String {
    let mut python = Command::new("python3");
    python.args(["-c", INDEPENDENT, capture]).current_dir(folder);
    let out = Ran::from(python.output().expect("python3 starts"));
    assert_eq!(out.code, Some(0), "{}", out.stderr);
    out.stdout.trim().to_owned()
}

#[test]
fn python_and_openssl_confirm_every_packet() {
    if !has("python3") || !has("openssl") {
        return;
    }
    let folder = folder();
    demonstration(folder.path());
    assert_eq!(independent(folder.path(), "sign-zip.pcap"), "52 12 0");
}

#[test]
fn flows_compressed_across_their_packets_come_back_and_python_and_openssl_confirm_every_packet() {
    let folder = folder();
    let config = |name: &str| examples().join(name).to_str().expect("UTF-8").to_owned();
    run(folder.path(), ["run", &config("sign-zip-flows.toml")]).well();
    let ran = run(folder.path(), ["run", &config("unzip-verify-flows.toml")]).well();
    assert!(!ran.stdout.contains("dropped"), "{}", ran.stdout);
    assert!(pcap::read(&folder.path().join("restored-flows.pcap")) == originals(folder.path()));
    demonstration(folder.path());
    let size = |file: &str| std::fs::metadata(folder.path().join(file)).expect("a capture").len();
    assert!(size("sign-zip-flows.pcap") < size("sign-zip.pcap"));
    if has("python3") && has("openssl") {
        let said = independent(folder.path(), "sign-zip-flows.pcap");
        let streamed =
            said.strip_prefix("52 12 ").and_then(|n| n.parse::<u32>().ok()).expect("three numbers");
        assert!(streamed > 26, "{said}: most are part of a stream");
    }
}

#[test]
fn tshark_finds_no_malformed_packet_and_no_wrong_checksum() {
    if !has("tshark") {
        return;
    }
    let folder = folder();
    demonstration(folder.path());
    let tshark = |filter: &str| {
        let mut tshark = Command::new("tshark");
        tshark.args(["-r", "sign-zip.pcap", "-o", "udp.check_checksum:TRUE", "-o", "ip.check_checksum:TRUE"]);
        // Signed and compressed bytes look like anything at times: nobody is to guess what is in a datagram.
        tshark.args(["-d", "udp.port==1-65535,data"]);
        tshark.args(["-o", "tcp.check_checksum:TRUE", "-Y", filter]).current_dir(folder.path());
        Ran::from(tshark.output().expect("tshark starts"))
    };
    let all = tshark("frame");
    if all.code != Some(0) {
        return skipped(&format!("tshark does not work here: {}", all.stderr));
    }
    assert_eq!(all.stdout.lines().count(), 64);
    let wrong =
        "_ws.malformed || ip.checksum.status == 0 || udp.checksum.status == 0 || tcp.checksum.status == 0";
    assert_eq!(tshark(wrong).stdout, "");
    assert_eq!(tshark("udp.checksum.status == 1").stdout.lines().count(), 52);
}

#[test]
fn programs_that_start_at_once_have_the_same_key() {
    let keys = folder();
    let started: Vec<_> = (0..4)
        .map(|_| {
            let own = folder();
            let mut command = command(own.path(), ["run", "--no-huge"]);
            command.env("WARPDRIVE_DEMO_DIR", keys.path());
            (Started::new(command), own)
        })
        .collect();
    for (program, _own) in started {
        program.end(PATIENCE).well();
    }
    let mut left: Vec<_> = std::fs::read_dir(keys.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["rsa2048.pem", "rsa2048.pub.pem"]);
}
