//! Packets that were changed on the way, carry no header of ours, or become too long.

use std::path::Path;

use crate::common::{Statistics, folder, pcap, run, run_config};

const SIGN: &str = r#"{ rsa = "r", op = "sign", key = "demo:rsa2048", scheme = "pkcs1-sha256" }"#;
const VERIFY: &str = r#"{ rsa = "r", op = "verify", key = "demo:rsa2048", scheme = "pkcs1-sha256" }"#;
const COMPRESS: &str = r#"{ zip = "z", op = "compress" }"#;
const DECOMPRESS: &str = r#"{ zip = "z", op = "decompress" }"#;

/// A stage with one more key.
fn with(stage: &str, key: &str) -> String {
    stage.replace(" }", &format!(", {key} }}"))
}

/// Sends a capture through stages: the frames that come out, and the numbers.
#[track_caller]
fn through(folder: &Path, input: &[Vec<u8>], stages: &[&str], out_size: usize) -> (Vec<Vec<u8>>, Statistics) {
    pcap::write(&folder.join("in.pcap"), input);
    let toml = format!(
        r#"
        version = 1
        [mempool.pkt]
        [mempool.out]
        buffers = 2048
        size = {out_size}
        [port.in]
        driver = "pcap"
        file = "in.pcap"
        [port.out]
        driver = "pcap"
        out = "out.pcap"
        mempool = "out"
        [device.r]
        driver = "soft-rsa"
        [device.z]
        driver = "soft-zip"
        [[pipeline]]
        name = "p"
        stages = [ {{ rx = "in" }}, {}, {{ tx = "out" }} ]
        "#,
        stages.join(", ")
    );
    let s = run_config(folder, &toml, &["-l", "0"]).well().statistics();
    (pcap::read(&folder.join("out.pcap")), s)
}

fn datagrams(n: u16, len: usize) -> Vec<Vec<u8>> {
    (0..n)
        .map(|i| {
            let body: Vec<u8> = format!("value {i}, ").into_bytes().into_iter().cycle().take(len).collect();
            pcap::udp([192, 0, 2, 1], 1000 + i, [192, 0, 2, 2], 9999, &body)
        })
        .collect()
}

/// Changes a byte of the payload, and mends nothing.
fn flip(frame: &mut [u8], at: usize) {
    let payload = pcap::udp_payload(frame).expect("UDP");
    frame[payload.start + at] ^= 0x10;
}

#[test]
fn a_changed_signature_or_payload_is_dropped_and_counted() {
    let folder = folder();
    let sent = datagrams(40, 100);
    let (mut signed, _) = through(folder.path(), &sent, &[SIGN], 2048);
    flip(&mut signed[3], 8 + 50); // the payload
    flip(&mut signed[7], 8 + 100 + 17); // the signature
    flip(&mut signed[39], 8 + 100 + 255);
    let (restored, s) = through(folder.path(), &signed, &[VERIFY], 2048);
    assert_eq!(s.dropped("p", 1, "bad_signature"), 3);
    assert_eq!(s.all_dropped(), 3);
    let intact: Vec<_> =
        sent.iter().enumerate().filter(|(i, _)| ![3, 7, 39].contains(i)).map(|(_, f)| f).collect();
    assert!(restored.iter().eq(intact));
}

#[test]
fn a_signature_of_another_key_is_not_accepted() {
    let (ours, theirs) = (folder(), folder());
    let sent = datagrams(10, 100);
    let (signed, _) = through(ours.path(), &sent, &[SIGN], 2048);
    let (restored, s) = through(theirs.path(), &signed, &[VERIFY], 2048);
    assert!(restored.is_empty());
    assert_eq!(s.dropped("p", 1, "bad_signature"), 10);
}

#[test]
fn every_changed_byte_of_a_compressed_payload_is_survived() {
    let folder = folder();
    let sent = datagrams(1, 300);
    let (compressed, _) = through(folder.path(), &sent, &[COMPRESS], 2048);
    let payload = pcap::udp_payload(&compressed[0]).expect("UDP");
    let mut input = compressed.clone();
    for at in 0..payload.len() {
        input.push(compressed[0].clone());
        flip(&mut input[at + 1], at);
    }
    let (restored, s) = through(folder.path(), &input, &[DECOMPRESS], 2048);
    assert_eq!(restored[0], sent[0]);
    let bad = s.dropped("p", 1, "bad_data");
    assert!(bad > 0);
    assert_eq!(restored.len() as u64 + s.all_dropped(), input.len() as u64, "each is given on or counted");
}

#[test]
fn a_compressed_payload_that_is_cut_or_lies_about_its_length_is_bad_data() {
    let folder = folder();
    let (compressed, _) = through(folder.path(), &datagrams(1, 300), &[COMPRESS], 2048);
    let payload = pcap::udp_payload(&compressed[0]).expect("UDP");
    let mut lies = compressed.clone();
    lies[0][payload.start + 7] ^= 1; // the original length, 300
    lies.push(compressed[0].clone());
    lies[1][payload.start + 6] = 0; // shorter than it is
    let cut = &compressed[0][payload.start..payload.end - 4];
    lies.push(pcap::udp([192, 0, 2, 1], 1, [192, 0, 2, 2], 2, cut));
    let (restored, s) = through(folder.path(), &lies, &[DECOMPRESS], 2048);
    assert!(restored.is_empty());
    assert_eq!(s.dropped("p", 1, "bad_data"), 3);
}

#[test]
fn packets_without_our_header_are_dropped_or_passed_as_told() {
    let folder = folder();
    let mut sent = datagrams(10, 64);
    sent.push(pcap::arp_request([192, 0, 2, 1], [192, 0, 2, 2]));
    for (stage, at_end) in [(VERIFY, true), (DECOMPRESS, false)] {
        let (restored, s) = through(folder.path(), &sent, &[stage], 2048);
        assert_eq!(s.dropped("p", 1, "plain"), 10, "{stage}");
        assert_eq!(s.passed("p", 1, "not_udp"), 1);
        assert!(restored == sent[10..], "ARP goes on, {at_end}");
        let (restored, s) = through(folder.path(), &sent, &[&with(stage, "plain = \"pass\"")], 2048);
        assert_eq!(s.passed("p", 1, "plain"), 10, "{stage}");
        assert!(restored == sent);
    }
}

#[test]
fn a_signature_of_another_scheme_counts_as_plain() {
    let folder = folder();
    let (signed, _) = through(folder.path(), &datagrams(5, 64), &[SIGN], 2048);
    let other = VERIFY.replace("pkcs1-sha256", "pss-sha256");
    let (restored, s) = through(folder.path(), &signed, &[&other], 2048);
    assert!(restored.is_empty());
    assert_eq!(s.dropped("p", 1, "plain"), 5);
}

#[test]
fn what_would_be_longer_than_the_mtu_of_the_output_is_dropped_or_passed_as_told() {
    let folder = folder();
    // Buffers of 512 bytes: an MTU of less than 370, and 8 + 256 bytes are added.
    let sent = [datagrams(4, 20), datagrams(6, 300)].concat();
    let (out, s) = through(folder.path(), &sent, &[SIGN], 512);
    assert_eq!(s.dropped("p", 1, "oversize"), 6);
    assert_eq!(out.len(), 4);
    let (out, s) = through(folder.path(), &sent, &[&with(SIGN, "oversize = \"pass\"")], 512);
    assert_eq!(s.passed("p", 1, "oversize"), 6);
    assert!(out[4..] == sent[4..], "untouched");
    assert!(out[..4] != sent[..4], "signed");
}

#[test]
fn decompression_never_makes_more_than_the_mtu() {
    let folder = folder();
    let (compressed, _) = through(folder.path(), &datagrams(8, 1400), &[COMPRESS], 2048);
    let (out, s) = through(folder.path(), &compressed, &[DECOMPRESS], 512);
    assert!(out.is_empty());
    assert_eq!(s.dropped("p", 1, "oversize"), 8);
}

#[test]
fn all_lengths_go_through_signing_and_compressing_and_back() {
    let folder = folder();
    let sent: Vec<Vec<u8>> = (0..=1400).step_by(7).flat_map(|len| datagrams(1, len)).collect();
    for scheme in ["pkcs1-sha256", "pss-sha256"] {
        let (sign, verify) = (SIGN.replace("pkcs1-sha256", scheme), VERIFY.replace("pkcs1-sha256", scheme));
        for format in ["deflate", "gzip"] {
            let format = format!("format = {format:?}");
            let (there, _) = through(folder.path(), &sent, &[&sign, &with(COMPRESS, &format)], 2048);
            assert!(there.iter().all(|f| pcap::udp_is_right(f)));
            let (back, s) = through(folder.path(), &there, &[&with(DECOMPRESS, &format), &verify], 2048);
            assert_eq!(s.all_dropped(), 0);
            assert!(back == sent, "{scheme} {format}");
        }
    }
}

#[test]
fn inputs_that_are_no_captures_are_named_with_the_remedy() {
    let folder = folder();
    std::fs::write(folder.path().join("text.pcap"), "this is not a capture, whatever its name says")
        .expect("write");
    for (file, parts) in [
        ("text.pcap", &["port \"in\"", "text.pcap", "Remedy: "][..]),
        ("absent.pcap", &["port \"in\"", "absent.pcap", "No such file", "Remedy: "]),
        (".", &["port \"in\"", "not a regular file", "Remedy: "]),
    ] {
        let toml = format!(
            "version = 1\n[port.in]\ndriver = \"pcap\"\nfile = {file:?}\n[[pipeline]]\nname = \"p\"\nstages = [ {{ rx = \"in\" }}, {{ drop = true }} ]\n"
        );
        std::fs::write(folder.path().join("test.toml"), toml).expect("write");
        let ran = run(folder.path(), ["run", "test.toml"]);
        assert_eq!(ran.code, Some(1), "{}", ran.stderr);
        for part in parts {
            assert!(ran.stderr.contains(part), "no {part:?} in {}", ran.stderr);
        }
    }
}
